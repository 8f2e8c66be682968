"""Recall, NDCG and MRR at k, for each user, from the integers a run leaves behind.

One item is relevant (the held-out one), so Recall@k is the hit rate and NDCG@k is ``1 / log2(rank + 1)``.
Where other items have the held-out item's score, its rank is uniform over the orders of the tie, and the metric is
the exact expectation over them: a scorer that gives every item the same score gets Recall@k = k / N.
The mean of a metric is always the mean of `per_user`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmark.errors import InputError, unknown

METRICS = ("Recall@10", "NDCG@10", "Recall@50", "NDCG@50")
"""What the leaderboard prints, in the order of the paper's table."""

PRIMARY = "NDCG@10"
"""What checkpoints are selected on and what comparisons are made in."""

_GAINS = {
    "Recall": lambda rank: np.ones_like(rank),
    "NDCG": lambda rank: 1.0 / np.log2(rank + 1.0),
    "MRR": lambda rank: 1.0 / rank,
}
"""What a held-out item at a rank (float64, from 1) is worth, up to the cut-off."""


@dataclass(frozen=True)
class Metric:
    """A metric and its cut-off, for example NDCG at 10."""

    name: str
    k: int

    def __str__(self) -> str:
        return f"{self.name}@{self.k}"


def parse(text: str) -> Metric:
    """The metric that ``Name@k`` means; raises InputError for another form, name or a cut-off below 1."""
    name, separator, cutoff = text.partition("@")
    if not separator or not cutoff.isascii() or not cutoff.isdecimal() or int(cutoff) < 1:
        raise InputError(f"metric '{text}' is not of the form Name@k with k >= 1; write for example {PRIMARY}")
    if name not in _GAINS:
        raise unknown("metric", name, _GAINS, where=text)
    return Metric(name, int(cutoff))


def per_user(metric: str | Metric, greater: ArrayLike, equal: ArrayLike) -> NDArray[np.float64]:
    """The metric of each user, float64 [n_users], in [0, 1].

    greater: integers [n_users], how many items scored above the held-out one.
    equal: integers [n_users], how many *other* items scored the same.

    The rank is uniform over ``greater + 1 .. greater + equal + 1``. With the gains summed up to each rank (and
    constant beyond k), the expectation is one difference divided by the number of orders, whatever the tie's length.
    Raises InputError for an unknown metric and ValueError for arrays that are no counts.
    """
    metric = parse(metric) if isinstance(metric, str) else metric
    above, tied = np.asarray(greater), np.asarray(equal)
    if above.shape != tied.shape or above.ndim != 1:
        raise ValueError(f"greater {above.shape} and equal {tied.shape} must be one-dimensional and equally long")
    for counts in (above, tied):
        if counts.dtype.kind not in "iu" or (counts < 0).any():
            raise ValueError("greater and equal must be integers of at least 0")
    above, tied = above.astype(np.int64), tied.astype(np.int64)
    gained = np.zeros(metric.k + 1)
    np.cumsum(_GAINS[metric.name](np.arange(1, metric.k + 1, dtype=np.float64)), out=gained[1:])
    last, before = np.minimum(above + tied + 1, metric.k), np.minimum(above, metric.k)
    return (gained[last] - gained[before]) / (tied + 1)
