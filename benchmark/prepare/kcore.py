"""Iterative k-core: every user and every item keeps at least k interactions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.derive import subset
from benchmark.domain import Domain
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
    chosen = np.zeros(domain.n_interactions, bool)
    chosen[kept] = True
    return subset(domain, chosen, domain.name)
