"""Users in groups: how often the test item was trained on, whether it is cold, how long the history is.

Users are suffixed U.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from benchmark.questions import Context
from benchmark.significance import paired_t

TRAIN_COUNT, COLD, HISTORY = "training count of the test item", "cold test item", "history length"
"""Names of the slicings."""

_COUNT_EDGES = (0, 5, 10, 15, 20)
_ONLINE_RETAIL_EDGES = (0, 20, 40, 60, 80)
_COUNT_EDGES_OF = {"online-retail": _ONLINE_RETAIL_EDGES, "online-retail-lineorder": _ONLINE_RETAIL_EDGES}
"""The long tail of figure 4 of arXiv:2206.05941: a first group of [0, 5) is printed, the other edges are a choice.
Hardly an item of Online Retail is as rare as that."""
_HISTORY_EDGES = (0, 5, 10, 20, 50)
"""The protocol cuts histories at their last 50."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Slicing:
    """The users of a target in groups."""

    name: str
    groups: tuple[str, ...]
    """Labels in order, for example ``[0, 5)``; a group may be empty."""
    group_of_U: NDArray[np.int8]
    """The group of each user as its place in ``groups``, -1 for none, [n_users]."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A 95 % confidence interval."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Group:
    """A metric of a row in one group of users, and what it gains there over a reference row."""

    label: str
    users: int
    mean: float | None
    """None in an empty group."""
    interval: Interval | None
    """t interval of the mean, cluster-robust where users form clusters; None for fewer than two units, and where all
    users have the same value, which says nothing of how it varies."""
    gain: float | None
    """Relative: mean / mean of the reference - 1; None where the reference's is 0."""
    gain_interval: Interval | None
    """As `relative_gain` gives it."""


def slices_of(context: Context, target: str) -> tuple[Slicing, ...]:
    """The ways in which the users of a target are grouped, always the same three in the same order."""
    return (
        _by_edges(TRAIN_COUNT, context.train_count, _COUNT_EDGES_OF.get(target, _COUNT_EDGES)),
        Slicing(name=COLD, groups=("no", "yes"), group_of_U=context.cold.astype(np.int8)),
        _by_edges(HISTORY, context.history_length, _HISTORY_EDGES),
    )


def by_group(
    slicing: Slicing, values: ArrayLike, reference: ArrayLike, clusters: ArrayLike | None = None
) -> tuple[Group, ...]:
    """A metric of a row in each group, and its relative gain there over a reference row.

    values, reference: float [n_users], each averaged over seeds beforehand; clusters: integers [n_users], users who
    share a number are dependent. Raises ValueError where they are not as long as the slicing.
    """
    own_U, other_U = np.asarray(values, np.float64), np.asarray(reference, np.float64)
    cluster_U = np.arange(len(own_U)) if clusters is None else np.asarray(clusters)
    if not slicing.group_of_U.shape == own_U.shape == other_U.shape == cluster_U.shape:
        raise ValueError("values, reference and clusters must have one entry for each user of the slicing")
    found = []
    for place, label in enumerate(slicing.groups):
        inside = slicing.group_of_U == place
        own, other, cluster = own_U[inside], other_U[inside], cluster_U[inside]
        gain, gain_interval = relative_gain(own, other, cluster)
        found.append(
            Group(
                label=label,
                users=len(own),
                mean=float(own.mean()) if len(own) else None,
                interval=_mean_interval(own, cluster),
                gain=gain,
                gain_interval=gain_interval,
            )
        )
    return tuple(found)


def relative_gain(
    a: ArrayLike, b: ArrayLike, clusters: ArrayLike | None = None
) -> tuple[float | None, Interval | None]:
    """The gain mean(a) / mean(b) - 1 of paired values (float [n_users]) and its 95 % interval after Fieller.

    The interval holds every gain g that the paired t test (`paired_t`, with clusters likewise) of ``a`` against
    ``(1 + g) b`` does not reject at 5 %, so it holds 0 exactly where the t interval of the difference does. Unlike the
    delta method it does not take the reference as known: where mean(b) can't be told from 0 the gains that are not
    rejected have no bound, and there is no interval. There is none either for fewer than two units, and no gain where
    mean(b) is 0 (Fieller, JRSS B 1954).
    """
    pair = np.stack([np.asarray(a, np.float64), np.asarray(b, np.float64)])
    users = pair.shape[1]
    if users == 0 or not pair[1].any():
        return None, None
    own, other = pair.mean(axis=1)
    gain = float(own / other - 1)
    groups = np.arange(users) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    units = int(groups.max()) + 1
    if units < 2:
        return gain, None
    sums = np.stack([np.bincount(groups, row - row.mean(), minlength=units) for row in pair])
    covariance = units / (units - 1) * (sums @ sums.T) / users**2
    # All ratios r with (own - r other)^2 <= t^2 var(own - r other): a parabola in r, bounded where it opens upwards.
    t2 = float(special.stdtrit(units - 1, 0.975)) ** 2
    square = other**2 - t2 * covariance[1, 1]
    linear = own * other - t2 * covariance[0, 1]
    constant = own**2 - t2 * covariance[0, 0]
    if square <= 0 or not covariance.any():
        return gain, None
    reach = float(np.sqrt(max(linear**2 - square * constant, 0.0)))
    return gain, Interval(low=float((linear - reach) / square) - 1, high=float((linear + reach) / square) - 1)


def _by_edges(name: str, counts: NDArray[np.int32], edges: Sequence[int]) -> Slicing:
    """Groups [edge, next edge), the last without an end."""
    labels = [f"[{low}, {high})" for low, high in pairwise(edges)]
    group_of_U = np.searchsorted(edges, counts, side="right") - 1
    return Slicing(name=name, groups=(*labels, f"[{edges[-1]}, ∞)"), group_of_U=group_of_U.astype(np.int8))


def _mean_interval(values: NDArray[np.float64], clusters: NDArray[np.integer]) -> Interval | None:
    if len(np.unique(clusters)) < 2 or np.ptp(values) == 0:
        return None
    found = paired_t(values, np.zeros_like(values), clusters)
    return Interval(low=found.low, high=found.high)
