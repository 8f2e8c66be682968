"""EASE: a linear model of which items stand together in a history, solved at once.

It sees no order, no text and nothing of a sequence but its set of items: what a sequence model scores beyond it, order
or content has brought.
Legend: U users or histories, N items.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from benchmark.batches import MAX_LENGTH
from benchmark.domain import Sequences
from benchmark.errors import InputError
from benchmark.method import Material, Method, check_ranges

MOST_ITEMS = 30_000
"""Three matrices of as many rows and columns in float64 take 22 GB."""


@dataclass(frozen=True, kw_only=True)
class EASEConfig:
    l2: float = 500.0
    """Lambda, in squared interactions: what the paper chose for MovieLens-20M."""

    def __post_init__(self) -> None:
        check_ranges(self, l2=(1e-6, inf))


def taken(sequences: Sequences, n_items: int, last: int | None = None) -> sp.csr_matrix:
    """Which items each sequence has among its last ``last`` (by default all): zeros and ones, float32 [U, N]."""
    user = np.repeat(np.arange(len(sequences)), sequences.lengths)
    kept = np.ones(len(user), bool) if last is None else sequences.among_last(last)
    shape = (len(sequences), n_items)
    counts = sp.csr_matrix((np.ones(kept.sum(), np.float32), (user[kept], sequences.items[kept])), shape)
    counts.sum_duplicates()
    counts.data[:] = 1
    return counts


class EASE:
    """Scores x B, where B minimises |X - X B|^2 + l2 |B|^2 with a diagonal of zeros (Steck 2019).

    X: users of the training part by items, x: the items of a history, zeros and ones. No item speaks for itself, so
    those of the history are seldom on top. Raises InputError for more than `MOST_ITEMS` items.
    """

    def __init__(self, config: EASEConfig, material: Material) -> None:
        self.n_items = material.n_items
        if self.n_items > MOST_ITEMS:
            gigabytes = 24e-9 * self.n_items**2
            raise InputError(
                f"EASE inverts a matrix of items by items, for {self.n_items:,} items {gigabytes:,.0f} GB; it is for "
                f"at most {MOST_ITEMS:,}: leave it out with --methods"
            )
        x_UN = taken(material.train, self.n_items).astype(np.float64)
        together_NN = torch.from_numpy((x_UN.T @ x_UN).toarray())
        together_NN.diagonal().add_(config.l2)
        inverse_NN = torch.cholesky_inverse(torch.linalg.cholesky(together_NN))
        weights_NN = (inverse_NN / -inverse_NN.diagonal()).float().fill_diagonal_(0)
        self.weights_NN = weights_NN.numpy()

    def scores(self, histories: Sequences) -> Tensor:
        return torch.from_numpy(taken(histories, self.n_items, MAX_LENGTH) @ self.weights_NN)


METHODS = (
    Method(
        name="EASE",
        family="counts",
        role="control",
        version=1,
        paper="Steck, WWW 2019, arXiv:1905.03375",
        config=EASEConfig,
        build=EASE,
        trained=False,
        note="a linear model of which items stand together, in closed form (l2 500, not tuned); no order, no text",
    ),
)
