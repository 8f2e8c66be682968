"""Is a method worse than it was, by more than a margin, on the same users?

What varies when nothing was changed is the seed: it moves each user on their own, which averages out over users, and it
moves all users alike, which does not. Both are estimated from the several seeds of both sides: the first from how the
seeds of a user differ, the second from how the means of seeds differ beyond that. The users themselves are *given*:
another run has the same ones, and a loss of a few users is a loss.

Where only one run of each side is known, or where both sides start from weights that were pre-trained anew, seeds do
not show what chance does. Then the users count as *drawn*, and the spread of their differences is taken as the paired t
test takes it, which includes whatever moves users on their own; for users and seeds at once this is Clark's quasi F
(J. Verbal Learning 1973) with Satterthwaite's degrees of freedom (Biometrics Bulletin 1946).

Shape suffixes: S seeds of one side; U users; G independent units: users, or clusters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from benchmark.errors import InputError
from benchmark.significance import POWER

Users = Literal["given", "drawn"]


@dataclass(frozen=True, kw_only=True)
class Shift:
    """A method's mean now beside its reference. Shares are of the reference's mean, which counts as given."""

    reference: float
    now: float
    change: float | None
    """``now / reference - 1``; None, as the other shares, where the reference is 0."""
    low: float | None
    high: float | None
    """95 % interval of the change, over users and seeds."""
    p_below: float
    """One-sided, of the hypothesis that no more than the margin is lost."""
    p_above: float
    """One-sided, of the hypothesis that no more than the margin is gained."""
    detectable: float | None
    """The smallest true loss that this test, at its level, finds with power 0.8."""
    units: int
    freedom: float
    """Degrees of freedom of the test of a loss."""


def shift(
    now_SU: ArrayLike,
    reference_SU: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    margin: float,
    level: float,
    users: Users = "given",
) -> Shift:
    """Compare a metric of each user and seed with that of a reference, whose seeds may be more or fewer.

    now_SU, reference_SU: float [n_seeds, n_users] of the same users. With one seed a side users count as drawn, and
    nothing is known of what a seed does to all of them. clusters: integers [n_users] as of `significance.paired_t`.
    margin: the share of the reference that may be lost (or gained). level: of the test, for `Shift.detectable`.
    Raises ValueError for arrays that do not pair, and InputError for fewer than two independent users.
    """
    now, reference = np.asarray(now_SU, np.float64), np.asarray(reference_SU, np.float64)
    if now.ndim != 2 or reference.ndim != 2 or now.shape[1] != reference.shape[1] or not len(now) * len(reference):
        raise ValueError(f"now {now.shape} and reference {reference.shape} must be seeds x the same users")
    groups = np.arange(now.shape[1]) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    if groups.shape != now.shape[1:]:
        raise ValueError(f"{len(groups)} clusters for {now.shape[1]} users")
    units = len(np.unique(groups))
    if units < 2:
        raise InputError(f"a comparison with the reference needs at least two independent users, found {units}")
    old = float(reference.mean())
    lost = _Difference.of(now, (1 - margin) * reference, groups, users)
    gained = _Difference.of(now, (1 + margin) * reference, groups, users)
    plain = _Difference.of(now, reference, groups, users)
    change = low = high = detectable = None
    if old > 0:
        reach = float(special.stdtrit(plain.freedom, 0.975)) * plain.error
        change, low, high = (float(value) / old for value in (plain.mean, plain.mean - reach, plain.mean + reach))
        # Both quantiles of one t: close to the noncentral one, and it can't fail to converge.
        reach = float(special.stdtrit(lost.freedom, 1 - level) + special.stdtrit(lost.freedom, POWER))
        detectable = margin + reach * lost.error / old
    return Shift(
        reference=old,
        now=float(now.mean()),
        change=change,
        low=low,
        high=high,
        p_below=lost.p_below(),
        p_above=1 - gained.p_below(),
        detectable=detectable,
        units=units,
        freedom=lost.freedom,
    )


@dataclass(frozen=True, kw_only=True)
class _Difference:
    """A difference of means over users, its standard error over users and seeds, and the degrees of freedom of that."""

    mean: float
    error: float
    freedom: float

    @classmethod
    def of(
        cls, a_SU: NDArray[np.float64], b_SU: NDArray[np.float64], groups: NDArray[np.int64], users: Users
    ) -> _Difference:
        differences = a_SU.mean(axis=0) - b_SU.mean(axis=0)
        seeds = [side for side in (a_SU, b_SU) if len(side) > 1]
        of_means = float(sum(len(side) - 1 for side in seeds))
        share = 1 / len(a_SU) + 1 / len(b_SU)
        of_seeds = share * _pooled(seeds, [side.mean(axis=1).var(ddof=1) for side in seeds])
        own = expected = share * _pooled(seeds, [_noise(side, groups) for side in seeds])
        doubt, freedoms = 0.0, []
        if users == "drawn" or not seeds:
            own = _variance_of_mean(differences, groups)
            freedoms.append(float(groups.max()))
            doubt += own**2 / freedoms[-1]
        if seeds:
            freedoms.append(of_means)
            doubt += of_seeds**2 / of_means
        variance = own + max(0.0, of_seeds - expected)
        # No sum is known worse than the worst known of its parts.
        freedom = max(variance**2 / doubt, min(freedoms)) if doubt else min(freedoms)
        return cls(mean=float(differences.mean()), error=float(np.sqrt(variance)), freedom=freedom)

    def p_below(self) -> float:
        """Of the hypothesis that the difference is 0 or above."""
        if not self.error:
            return float(self.mean >= 0)
        return float(special.stdtr(self.freedom, self.mean / self.error))


def _pooled(sides: Sequence[NDArray[np.float64]], variances: Sequence[float]) -> float:
    """Variances of several sides, each weighing as its seeds less one; 0 without any."""
    weights = [len(side) - 1 for side in sides]
    return float(np.average(variances, weights=weights)) if weights else 0.0


def _noise(values_SU: NDArray[np.float64], groups: NDArray[np.int64]) -> float:
    """The variance of a seed's mean that what chance does to each user on their own explains."""
    rest_SU = values_SU - values_SU.mean(axis=0)  # the mean that a seed adds to all users drops out below
    share = len(values_SU) / (len(values_SU) - 1)
    return share * float(np.mean([_variance_of_mean(rest_U, groups) for rest_U in rest_SU]))


def _variance_of_mean(values_U: NDArray[np.float64], groups: NDArray[np.int64]) -> float:
    """The squared standard error of a mean over users, cluster-robust (CR1) as of `significance.paired_t`."""
    units = int(groups.max()) + 1
    sums = np.bincount(groups, values_U - values_U.mean(), minlength=units)
    return units / (units - 1) * float((sums**2).sum()) / len(values_U) ** 2
