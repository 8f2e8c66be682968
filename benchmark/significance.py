"""Is a difference between two methods more than chance, over users, given these trained models?

The paired t test is the one to use for means of per-user metrics (Smucker, Allan & Carterette, CIKM 2007;
Ihemelandu & Ekstrand, SIGIR 2023). It speaks of the users that might have been drawn, not of other seeds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from benchmark.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Paired:
    """The mean of ``a - b`` over users, with its confidence interval and two-sided p value."""

    difference: float
    low: float
    high: float
    p: float
    units: int
    """Independent units: users, or clusters of users."""


def paired_t(a: ArrayLike, b: ArrayLike, clusters: ArrayLike | None = None, *, confidence: float = 0.95) -> Paired:
    """Compare two methods by a metric of each user (float [n_users], averaged over seeds beforehand).

    With ``clusters`` (integers [n_users]), users who share a number are dependent and the cluster is the unit: the
    mean is still over users, its standard error is cluster-robust (CR1: Liang & Zeger, Biometrika 1986, with the
    factor G / (G - 1)), and t has G - 1 degrees of freedom. Clusters of one user each give the plain paired t test.
    Raises ValueError for arrays that do not pair, and InputError for fewer than two units.
    """
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    groups = np.arange(len(first)) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    if first.ndim != 1 or not first.shape == second.shape == groups.shape:
        raise ValueError(f"a {first.shape}, b {second.shape} and clusters {groups.shape} must be equally long vectors")
    units = int(groups.max()) + 1 if len(groups) else 0
    if units < 2:
        raise InputError(f"a paired comparison needs at least two independent users or clusters, found {units}")
    differences = first - second
    mean = float(differences.mean())
    sums = np.bincount(groups, differences - mean, minlength=units)
    error = float(np.sqrt(units / (units - 1) * (sums**2).sum())) / len(differences)
    if error == 0.0:  # every user has the same difference
        return Paired(difference=mean, low=mean, high=mean, p=float(mean == 0.0), units=units)
    reach = float(special.stdtrit(units - 1, (1 + confidence) / 2)) * error
    p = 2 * float(special.stdtr(units - 1, -abs(mean) / error))
    return Paired(difference=mean, low=mean - reach, high=mean + reach, p=p, units=units)
