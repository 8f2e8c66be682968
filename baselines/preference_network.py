"""CCDR's diversified preference networks: users, items, attributes of the target; items, attributes of the sources.

Source: Xie et al., KDD 2022 (arXiv:2112.00999). There users link the two sides too; here nobody is in both, and
attributes of one name are all that does. Only training interactions make edges.
Legend: E edges, N items, K pairs of items.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.domain import Sequences
from benchmark.errors import InputError
from benchmark.method import Material

Taxonomy = Sequence[Sequence[str]]
NOBODY = -1
"""Owner of an edge that comes from no history."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """Undirected edges between nodes, which are numbered users first, then items, then attributes."""

    n_users: int
    n_items: int
    n_attributes: int
    ends_E2: NDArray[np.int64]
    owner_E: NDArray[np.int64]
    """The user whose history an edge comes from, `NOBODY` for an item and its attribute."""

    @property
    def sizes(self) -> tuple[int, int, int]:
        return self.n_users, self.n_items, self.n_attributes


@dataclass(frozen=True, kw_only=True, eq=False)
class Networks:
    """The two sides. The source's attributes are the target's first ones, in the same order; its items are numbered
    anew."""

    target: Network
    source: Network
    attributes: tuple[str, ...]
    """The target's: those that the source has, then the others, each sorted."""
    source_items: NDArray[np.int64]
    """Which items of the sources the source network has, by their place there."""
    related_K3: NDArray[np.int64]
    """Target item, source item and the rare attribute that both have."""


def build_networks(material: Material, *, share: float, source_items: int, rare: int) -> Networks:
    """The networks of a target and its sources.

    share: an attribute that more than this share of either side's items have tells nothing apart, and is left out.
    source_items: how many items of the sources are kept: those most often taken, of those that share an attribute with
    the target. rare: an attribute is rare if at most so many items of the target and as many of the kept ones have it.
    Raises InputError where the material lacks attributes or sources.
    """
    sources = material.sources
    if sources is None or sources.taxonomy is None or material.taxonomy is None:
        raise InputError("CCDR links a target to sources by attributes of items; it got no sources or no attributes")
    left_out = _common(material.taxonomy, share) | _common(sources.taxonomy, share)
    wanted = {name for row in material.taxonomy for name in row} - left_out
    linked_N = np.array([not wanted.isdisjoint(row) for row in sources.taxonomy], bool)
    order_N = np.argsort(-np.bincount(sources.train.items, minlength=sources.n_items), kind="stable")
    kept_N = np.sort(order_N[linked_N[order_N]][:source_items])
    kept_taxonomy = [sources.taxonomy[item] for item in kept_N]
    shared = wanted & {name for row in kept_taxonomy for name in row}
    attributes = (*sorted(shared), *sorted(wanted - shared))
    numbers = {name: number for number, name in enumerate(attributes)}

    target_holders, source_holders = _holders(material.taxonomy, numbers), _holders(kept_taxonomy, numbers)
    related = [
        (target_item, source_item, number)
        for number in range(len(shared))
        if max(len(target_holders[number]), len(source_holders[number])) <= rare
        for target_item in target_holders[number]
        for source_item in source_holders[number]
    ]
    return Networks(
        target=_target(material, target_holders, len(attributes)),
        source=_source(sources.train, kept_N, sources.n_items, source_holders, len(shared)),
        attributes=attributes,
        source_items=kept_N,
        related_K3=np.array(related, np.int64).reshape(-1, 3),
    )


def _target(material: Material, holders: Mapping[int, list[int]], n_attributes: int) -> Network:
    n_users, n_items = len(material.train), material.n_items
    user = np.repeat(np.arange(n_users), material.train.lengths)
    taken_E2 = np.stack([user, n_users + material.train.items.astype(np.int64)], 1)
    adjacent_E2, owner = _adjacent(material.train)
    having_E2 = _having(holders, n_items)
    return Network(
        n_users=n_users,
        n_items=n_items,
        n_attributes=n_attributes,
        ends_E2=np.concatenate([taken_E2, n_users + adjacent_E2, n_users + having_E2]),
        owner_E=np.concatenate([user, owner, np.full(len(having_E2), NOBODY)]),
    )


def _source(
    train: Sequences, kept_N: NDArray[np.int64], n_items: int, holders: Mapping[int, list[int]], n_attributes: int
) -> Network:
    new_number_N = np.full(n_items, -1)
    new_number_N[kept_N] = np.arange(len(kept_N))
    adjacent_E2 = new_number_N[_adjacent(train)[0]]
    adjacent_E2 = adjacent_E2[(adjacent_E2 >= 0).all(1)]
    ends_E2 = np.concatenate([adjacent_E2, _having(holders, len(kept_N))])
    return Network(
        n_users=0,
        n_items=len(kept_N),
        n_attributes=n_attributes,
        ends_E2=ends_E2,
        owner_E=np.full(len(ends_E2), NOBODY),
    )


def _common(taxonomy: Taxonomy, share: float) -> set[str]:
    counts = Counter(name for row in taxonomy for name in row)
    return {name for name, count in counts.items() if count > share * len(taxonomy)}


def _holders(taxonomy: Taxonomy, numbers: Mapping[str, int]) -> Mapping[int, list[int]]:
    """The items that have each attribute, of the attributes that have a number."""
    holders: defaultdict[int, list[int]] = defaultdict(list)
    for item, row in enumerate(taxonomy):
        for name in row:
            if name in numbers:
                holders[numbers[name]].append(item)
    return holders


def _having(holders: Mapping[int, list[int]], n_items: int) -> NDArray[np.int64]:
    """Edges of items and their attributes, [E, 2], where items are numbered first."""
    edges = [(item, n_items + number) for number, items in holders.items() for item in items]
    return np.array(edges, np.int64).reshape(-1, 2)


def _adjacent(train: Sequences) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Different items that stand side by side in a history, [E, 2], and whose history it is, [E]."""
    user = np.repeat(np.arange(len(train)), train.lengths)
    pairs_E2 = np.stack([train.items[:-1], train.items[1:]], 1).astype(np.int64)
    joined = (user[:-1] == user[1:]) & (pairs_E2[:, 0] != pairs_E2[:, 1])
    return pairs_E2[joined], user[:-1][joined]
