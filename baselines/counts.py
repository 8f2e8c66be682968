"""Controls that only count: what a learned model must beat to have learned anything."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from benchmark.domain import Sequences
from benchmark.method import Material, Method, NoConfig


class Popularity:
    """An item's score is its number of training interactions."""

    def __init__(self, config: NoConfig, material: Material) -> None:
        self.counts_N = np.bincount(material.train.items, minlength=material.n_items).astype(np.float64)

    def scores(self, histories: Sequences) -> Tensor:
        return torch.from_numpy(self.counts_N).expand(len(histories), -1)


class Markov:
    """First-order chain: how often an item followed the last one in training; ties and the rest by popularity.

    Source: the successor-count baseline of Hidasi & Czapp (arXiv:2307.14951) and others, with popularity as back-off.
    """

    def __init__(self, config: NoConfig, material: Material) -> None:
        train, n = material.train, material.n_items
        is_last = np.zeros(len(train.items), bool)
        is_last[train.offsets[1:][train.lengths > 0] - 1] = True
        before, after = np.flatnonzero(~is_last), np.flatnonzero(~is_last) + 1
        pairs = (train.items[before], train.items[after])
        self.followed_NN = sp.coo_matrix((np.ones(len(before)), pairs), shape=(n, n)).tocsr()
        popularity_N = np.bincount(train.items, minlength=n).astype(np.float64)
        # below 1, so that one more successor outweighs any popularity
        self.back_off_N = popularity_N / (popularity_N.max(initial=0) + 1)

    def scores(self, histories: Sequences) -> Tensor:
        return torch.from_numpy(self.followed_NN[histories.from_end(1)].toarray() + self.back_off_N)


METHODS = (
    Method(
        name="Popularity",
        family="counts",
        role="control",
        version=1,
        paper="training interactions of an item",
        build=Popularity,
        trained=False,
    ),
    Method(
        name="Markov",
        family="counts",
        role="control",
        version=1,
        paper="first-order Markov chain with popularity as back-off",
        build=Markov,
        trained=False,
    ),
)
