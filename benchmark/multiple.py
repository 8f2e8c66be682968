"""Many comparisons at once: within a target those of a table's rows, across targets those of the methods' ranks.

Shape suffixes: T targets; M methods.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from benchmark.errors import InputError

FEWEST_TARGETS = 5
"""For ranks across targets. With fewer even an order that never changes is hardly more than chance."""


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """p values of one family, adjusted by Holm (1979) in the order given, float64 [n].

    Those at or below a level are rejected while the chance of any false rejection stays at that level, whatever the
    dependence between the tests. Raises ValueError for what is no vector of numbers from 0 to 1.
    """
    raw = np.asarray(p, np.float64)
    if raw.ndim != 1 or not ((raw >= 0) & (raw <= 1)).all():
        raise ValueError(f"p values must be a vector of numbers from 0 to 1, found {raw}")
    order = np.argsort(raw, kind="stable")
    stepped = np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1))
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def tied_groups(labels: Sequence[str], p_adjusted: ArrayLike, alpha: float = 0.05) -> tuple[tuple[str, ...], ...]:
    """Groups of neighbouring rows of which no pair is told apart, as long as they can be.

    ``labels`` come best first; ``p_adjusted`` [n, n] holds the adjusted p value of each pair above the diagonal. Groups
    may overlap; those within another, and rows that stand alone, are left out.
    Raises ValueError for a matrix that does not fit, and for a pair without a p value.
    """
    matrix = np.asarray(p_adjusted, np.float64)
    if matrix.shape != (len(labels), len(labels)):
        raise ValueError(f"{len(labels)} rows need a square matrix of that size, found {matrix.shape}")
    apart = np.triu(matrix <= alpha, 1)
    if np.isnan(matrix[np.triu_indices(len(labels), 1)]).any():
        raise ValueError("a pair of rows has no p value")
    groups, upto = [], 0
    for first in range(len(labels)):
        end = first + 1
        while end < len(labels) and not apart[first:end, end].any():
            end += 1
        if end > max(upto, first + 1):
            groups.append(tuple(labels[first:end]))
        upto = max(upto, end)
    return tuple(groups)


def mean_ranks(values_TM: ArrayLike) -> NDArray[np.float64]:
    """The mean rank of each method over targets, 1 the best, from a score that is higher for the better, float64 [M].

    Methods with one and the same score share the mean of their ranks.
    """
    return _ranks(values_TM).mean(axis=0)


def friedman(values_TM: ArrayLike) -> float:
    """The p value of Friedman's test (1937) that the methods' ranks differ by chance alone, corrected for ties.

    Raises InputError with the reason where `no_ranking` has one.
    """
    ranks = _ranks(values_TM)
    targets, methods = ranks.shape
    if reason := no_ranking(methods, targets):
        raise InputError(reason)
    between = targets**2 * float(((ranks.mean(axis=0) - (methods + 1) / 2) ** 2).sum())
    within = float(((ranks - (methods + 1) / 2) ** 2).sum()) / (methods - 1)
    # No target tells any methods apart: nothing speaks against chance.
    return float(special.chdtrc(methods - 1, between / within)) if within else 1.0


def critical_difference(n_methods: int, n_targets: int, alpha: float = 0.05) -> float:
    """By how much the mean ranks of two methods must differ to be told apart (Nemenyi; Demsar, JMLR 2006).

    Raises InputError with the reason where `no_ranking` has one.
    """
    if reason := no_ranking(n_methods, n_targets):
        raise InputError(reason)
    from scipy import stats  # takes long to import, and tables need none of it

    q = float(stats.studentized_range.isf(alpha, n_methods, math.inf)) / math.sqrt(2)
    return q * math.sqrt(n_methods * (n_methods + 1) / (6 * n_targets))


def no_ranking(n_methods: int, n_targets: int) -> str | None:
    """Why mean ranks across these targets would tell nothing, as a sentence for a report; None where they may."""
    if n_targets < FEWEST_TARGETS:
        found = "1 target" if n_targets == 1 else f"{n_targets} targets"
        return f"mean ranks need at least {FEWEST_TARGETS} targets on which every method was run, found {found}"
    if n_methods < 2:
        return f"mean ranks need at least two methods, found {n_methods}"
    return None


def _ranks(values_TM: ArrayLike) -> NDArray[np.float64]:
    """The rank of each method on each target, 1 the best, equals sharing the mean of theirs, float64 [T, M]."""
    values = np.asarray(values_TM, np.float64)
    if values.ndim != 2 or not values.size or np.isnan(values).any():
        raise ValueError(f"scores must be numbers, targets x methods, found {values.shape}")
    better = (values[:, None, :] > values[:, :, None]).sum(axis=2)
    as_good = (values[:, None, :] == values[:, :, None]).sum(axis=2)
    return better + (as_good + 1) / 2
