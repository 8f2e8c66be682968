"""Is a difference between two methods more than chance, over users, given these trained models?

The paired t test is the one to use for means of per-user metrics; sign flips and the bootstrap agree with it, the
Wilcoxon and sign tests do not test the mean (Smucker, Allan & Carterette, CIKM 2007; Ihemelandu & Ekstrand,
SIGIR 2023). It speaks of the users that might have been drawn, not of other seeds: `bootstrap` over seeds does. Many
comparisons at once are the business of `benchmark.multiple`.

Shape suffixes: S, T seeds of the first and the second method; U users; G independent units: users, or clusters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from benchmark.errors import InputError

POWER, LEVEL = 0.8, 0.05
"""At which a difference counts as detectable."""

_BLOCK = 1_000_000
"""Numbers that resampling holds at a time."""


@dataclass(frozen=True, kw_only=True)
class Paired:
    """The mean of ``a - b`` over users, with its confidence interval and two-sided p value."""

    difference: float
    low: float
    high: float
    p: float
    units: int
    """Independent units: users, or clusters of users."""
    effect: float
    """Cohen's d_z: the mean difference / the standard deviation of the units' differences. That of a cluster is its sum
    over its users, as a deviation from the mean, in units of the mean cluster size: so d_z is t / sqrt(units) with
    clusters too. Infinite where all users have one and the same difference."""
    detectable: float
    """The smallest true difference that a two-sided test at 5 % finds with power 0.8, given this standard error."""


def paired_t(a: ArrayLike, b: ArrayLike, clusters: ArrayLike | None = None, *, confidence: float = 0.95) -> Paired:
    """Compare two methods by a metric of each user (float [n_users], averaged over seeds beforehand).

    With ``clusters`` (integers [n_users]), users who share a number are dependent and the cluster is the unit: the
    mean is still over users, its standard error is cluster-robust (CR1: Liang & Zeger, Biometrika 1986, with the
    factor G / (G - 1)), and t has G - 1 degrees of freedom. Clusters of one user each give the plain paired t test.
    Raises ValueError for arrays that do not pair, and InputError for fewer than two units.
    """
    differences, groups, units = _paired(a, b, clusters)
    mean = float(differences.mean())
    sums = np.bincount(groups, differences - mean, minlength=units)
    error = float(np.sqrt(units / (units - 1) * (sums**2).sum())) / len(differences)
    if error == 0.0:  # every user has the same difference
        effect = math.copysign(math.inf, mean) if mean else 0.0
        return Paired(
            difference=mean, low=mean, high=mean, p=float(mean == 0.0), units=units, effect=effect, detectable=0.0
        )
    reach = float(special.stdtrit(units - 1, (1 + confidence) / 2)) * error
    return Paired(
        difference=mean,
        low=mean - reach,
        high=mean + reach,
        p=2 * float(special.stdtr(units - 1, -abs(mean) / error)),
        units=units,
        effect=mean / (error * math.sqrt(units)),
        detectable=_noncentrality(units - 1) * error,
    )


def sign_flip(
    a: ArrayLike, b: ArrayLike, clusters: ArrayLike | None = None, *, draws: int = 10_000, seed: int = 0
) -> float:
    """The two-sided p value of the sign-flip permutation test: a second opinion that assumes no distribution.

    Under the null hypothesis the two methods may be exchanged for any user, all users of a cluster at once. p is
    (1 + draws at least as far from 0 as what was observed) / (1 + draws), so never 0 (Phipson & Smyth 2010). Arguments
    and errors as of `paired_t`; neither the order of users nor that of the methods changes the outcome.
    """
    differences, groups, units = _paired(a, b, clusters)
    sums = np.bincount(groups, differences, minlength=units)
    # A sum of zero has no sign. Signs are drawn for sizes in order, so the order of users is of no account.
    sizes = np.sort(np.abs(sums[sums != 0]))
    # Sums that are equal but for the order of a summation are equal.
    least = abs(float(sums.sum())) - 1e-10 * float(sizes.sum())
    rng = np.random.default_rng(seed)
    extreme, at_once = 0, max(1, _BLOCK // max(1, len(sizes)))
    for start in range(0, draws, at_once):
        plus = rng.integers(2, size=(min(at_once, draws - start), len(sizes)), dtype=np.uint8)
        extreme += int((np.abs(2 * (plus @ sizes) - sizes.sum()) >= least).sum())
    return (1 + extreme) / (1 + draws)


def bootstrap(
    a_SU: ArrayLike,
    b_TU: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    over: Literal["users", "seeds"] = "users",
    draws: int = 2_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """The percentile interval of the difference of means, from a metric of each user and seed of two methods.

    Over ``users``: given these trained models; seeds are averaged, users (or whole clusters) drawn with replacement,
    and the mean is over the users drawn. Over ``seeds``: of the methods; the seeds of each are drawn too, each method's
    on their own. That needs seeds: with one of each it is the interval over users, and with few it is somewhat too
    narrow, for the spread of S seeds drawn from S is short by the factor (S - 1) / S in variance.
    Raises as `paired_t`.
    """
    first, second = np.asarray(a_SU, np.float64), np.asarray(b_TU, np.float64)
    if first.ndim != 2 or second.ndim != 2 or not len(first) or not len(second):
        raise ValueError(f"a {first.shape} and b {second.shape} must be seeds x users, of a seed at least")
    _, groups, units = _paired(first[0], second[0], clusters)
    runs = np.concatenate([first, second])
    sums_GR = np.stack([np.bincount(groups, run, minlength=units) for run in (*runs, np.ones_like(runs[0]))], axis=1)
    rng = np.random.default_rng(seed)
    weights = [
        rng.multinomial(n, [1 / n] * n, size=draws) / n if over == "seeds" else np.full((draws, n), 1 / n)
        for n in (len(first), len(second))
    ]
    signed = np.concatenate([weights[0], -weights[1]], axis=1)
    found, at_once = np.empty(draws), max(1, _BLOCK // units)
    for start in range(0, draws, at_once):
        rows = slice(start, min(start + at_once, draws))
        total = resampled(rng, rows.stop - start, units) @ sums_GR
        found[rows] = (total[:, :-1] * signed[rows]).sum(axis=1) / total[:, -1]
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _paired(
    a: ArrayLike, b: ArrayLike, clusters: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.int64], int]:
    """The difference of each user, the unit each belongs to (from 0), and the number of units."""
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    groups = np.arange(len(first)) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    if first.ndim != 1 or not first.shape == second.shape == groups.shape:
        raise ValueError(f"a {first.shape}, b {second.shape} and clusters {groups.shape} must be equally long vectors")
    units = int(groups.max()) + 1 if len(groups) else 0
    if units < 2:
        raise InputError(f"a paired comparison needs at least two independent users or clusters, found {units}")
    return first - second, groups, units


def _noncentrality(freedom: int) -> float:
    """The mean of t, in standard errors, at which the upper tail of the test has its power; the other tail has none."""
    critical = special.stdtrit(freedom, 1 - LEVEL / 2)
    return float(special.nctdtrinc(freedom, 1 - POWER, critical))


def resampled(rng: np.random.Generator, draws: int, units: int) -> NDArray[np.int64]:
    """How often each unit is drawn when as many are drawn with replacement, int64 [draws, units]."""
    chosen = rng.integers(units, size=(draws, units)) + units * np.arange(draws)[:, None]
    return np.bincount(chosen.ravel(), minlength=draws * units).reshape(draws, units)


def variance_split(groups: Sequence[Sequence[float]]) -> tuple[float, float | None]:
    """Standard deviations between and within groups of runs, by one-way analysis of variance with random effects.

    ``between`` is that of the groups' own effects: what chance within groups adds to the variance of their means is
    taken off, and 0 is all that is left where that is more. ``within`` is None where each group has one run; then
    nothing can be taken off. Groups may differ in size. Source: Searle, Casella & McCulloch, Variance Components,
    section 3.6. Raises ValueError for fewer than two groups.
    """
    if len(groups) < 2:
        raise ValueError("the variance between groups needs at least two of them")
    sizes = np.array([len(group) for group in groups])
    means = np.array([np.mean(group) for group in groups])
    n, k = int(sizes.sum()), len(groups)
    apart = float(sizes @ (means - sizes @ means / n) ** 2) / (k - 1)
    if n == k:
        return math.sqrt(apart), None
    inside = sum(float(((np.array(group) - np.mean(group)) ** 2).sum()) for group in groups) / (n - k)
    usual_size = (n - float((sizes**2).sum()) / n) / (k - 1)
    return math.sqrt(max(0.0, (apart - inside) / usual_size)), math.sqrt(inside)
