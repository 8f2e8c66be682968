"""Do two ways of asking put methods into the same order?

Kendall's tau-b (1945) of the means of both, with an interval over users: what leave-one-out finds need not hold under a
cut in time (Gusak et al., RecSys 2025, arXiv:2507.16289, report 0.71 to 0.91 for kinds of split).

Shape suffixes: M methods; Q questions; P pairs of methods; D draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmark.significance import resampled

FEWEST_METHODS = 5
"""With fewer, one exchange of neighbours moves tau by a third or more."""
_EQUAL = 1e-9
"""Means that differ by less are equal but for the order of a summation."""
_BLOCK = 1_000_000
"""Numbers that resampling holds at a time."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """Kendall's tau-b of two orders and its 95 % interval over users."""

    tau: float
    low: float
    high: float


def kendall_tau_b(a: ArrayLike, b: ArrayLike) -> float:
    """Tau-b of two vectors of equal length: 1 for the same order, -1 for the reverse; NaN where one has no order."""
    return float(_tau_b(np.asarray(a, np.float64)[None], np.asarray(b, np.float64)[None])[0])


def no_agreement(n_methods: int) -> str | None:
    """Why the agreement on so many methods would tell nothing, for a report; None where it may."""
    if n_methods < FEWEST_METHODS:
        return f"it takes at least {FEWEST_METHODS} methods with results in both, found {n_methods}"
    return None


def agreement(
    first: tuple[ArrayLike, ArrayLike],
    second: tuple[ArrayLike, ArrayLike],
    *,
    draws: int = 2_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Order | str:
    """How far two ways of asking agree on the order of methods, or why that can't be said.

    first, second: the metric of each method and question, float [M, Q], each averaged over seeds beforehand, and the
    cluster of each question, integers [Q]; the same methods in the same order, while the questions are different ones.
    The interval is the bootstrap's, by percentiles: the clusters of each are drawn with replacement, on their own,
    whole clusters at a time. It speaks of these trained models and of the users that might have been drawn.
    Raises ValueError for arrays that do not fit.
    """
    values, clusters = zip(*((np.asarray(v, np.float64), np.asarray(c)) for v, c in (first, second)), strict=True)
    methods = len(values[0])
    if any(v.ndim != 2 or v.shape != (methods, len(c)) for v, c in zip(values, clusters, strict=True)):
        raise ValueError("values must be methods x questions, of the same methods, with a cluster for each question")
    if reason := no_agreement(methods):
        return reason
    tau = kendall_tau_b(*(v.mean(axis=1) for v in values))
    if np.isnan(tau):
        return "in one of them all methods score the same"
    rng = np.random.default_rng(seed)
    drawn = _tau_b(*(_means(v, c, draws, rng) for v, c in zip(values, clusters, strict=True)))
    low, high = np.nanquantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Order(tau=tau, low=float(low), high=float(high))


def _tau_b(a_DM: NDArray[np.float64], b_DM: NDArray[np.float64]) -> NDArray[np.float64]:
    """Tau-b of each pair of rows, float64 [D]."""
    a_DP, b_DP = _signs(a_DM), _signs(b_DM)
    with np.errstate(invalid="ignore"):
        return (a_DP * b_DP).sum(1) / np.sqrt((a_DP**2).sum(1) * (b_DP**2).sum(1))


def _signs(values_DM: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each pair of methods, which is above: 1, -1 or, where they are equal, 0."""
    i, j = np.triu_indices(values_DM.shape[1], 1)
    differences = values_DM[:, i] - values_DM[:, j]
    return np.sign(np.where(np.abs(differences) <= _EQUAL, 0.0, differences))


def _means(
    values_MQ: NDArray[np.float64], clusters: NDArray[np.integer], draws: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """The mean of each method over the questions of drawn clusters, float64 [D, M]."""
    _, group = np.unique(clusters, return_inverse=True)
    units = int(group.max()) + 1
    rows: Sequence[NDArray[np.float64]] = [*values_MQ, np.ones(values_MQ.shape[1])]
    sums = np.stack([np.bincount(group, row, minlength=units) for row in rows], axis=1)
    found, at_once = np.empty((draws, len(values_MQ))), max(1, _BLOCK // units)
    for start in range(0, draws, at_once):
        stop = min(start + at_once, draws)
        total = resampled(rng, stop - start, units) @ sums
        found[start:stop] = total[:, :-1] / total[:, -1:]
    return found
