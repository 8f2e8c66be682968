"""Iterative k-core: every user and every item keeps at least k interactions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.domain import Domain, Sequences
from benchmark.errors import InputError


def core_rows(users: NDArray[np.integer[Any]], items: NDArray[np.integer[Any]], k: int) -> NDArray[np.int64]:
    """Rows of the largest subset in which each user and each item occurs at least ``k`` times, int64 ascending.

    Interactions are counted, not distinct partners. The subset is unique, whatever the order of removal.
    """
    kept = np.arange(len(users))
    while len(kept):
        enough_users = np.bincount(users[kept]) >= k
        enough_items = np.bincount(items[kept]) >= k
        fine = enough_users[users[kept]] & enough_items[items[kept]]
        if fine.all():
            break
        kept = kept[fine]
    return kept


def domain_core(domain: Domain, k: int) -> Domain:
    """The k-core of a domain; raises InputError if nothing is left."""
    owners = np.repeat(np.arange(domain.n_users), domain.sequences.lengths)
    kept = core_rows(owners, domain.sequences.items, k)
    if not len(kept):
        raise InputError(f"domain '{domain.name}': no user and item have {k} interactions each; use a smaller k-core")
    users, owners = np.unique(owners[kept], return_inverse=True)
    items, taken = np.unique(domain.sequences.items[kept], return_inverse=True)
    offsets = np.zeros(len(users) + 1, np.int64)
    np.cumsum(np.bincount(owners), out=offsets[1:])
    return Domain(
        name=domain.name,
        sequences=Sequences(taken.astype(np.int32), offsets),
        item_ids=tuple(domain.item_ids[item] for item in items),
        user_ids=tuple(domain.user_ids[user] for user in users),
        texts=tuple(domain.texts[item] for item in items),
        timestamps=None if domain.timestamps is None else domain.timestamps[kept],
        clusters=None if domain.clusters is None else domain.clusters[users],
        taxonomy=None if domain.taxonomy is None else tuple(domain.taxonomy[item] for item in items),
    )
