"""What may be seen when: splits of a domain into training, validation and test.

Leave-one-out lets a model train on other users' future (Ji et al., arXiv:2010.11060): it is kept for comparison
with printed numbers, not because it is realistic.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchmark.domain import Domain, Sequences
from benchmark.errors import InputError
from benchmark.jobs import derive_seed


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What a model is asked: the next item after each history.

    histories: one a user, whole (models cut them at their own limit); targets: int32 [n_users].
    """

    histories: Sequences
    targets: NDArray[np.int32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Training sequences, and the two held-out questions of each user."""

    n_items: int
    train: Sequences
    valid: HeldOut
    test: HeldOut

    @cached_property
    def train_counts(self) -> NDArray[np.int64]:
        """Training interactions of each item, int64 [n_items]."""
        return np.bincount(self.train.items, minlength=self.n_items)


def leave_one_out(domain: Domain) -> Split:
    """Last item for test, second last for validation; the test history contains the validation item.

    Source: UniSRec (arXiv:2206.05941), section 3.1. Raises InputError for a user with fewer than three interactions.
    """
    short = np.flatnonzero(domain.sequences.lengths < 3)
    if len(short):
        raise InputError(
            f"domain '{domain.name}': user '{domain.user_ids[short[0]]}' has "
            f"{domain.sequences.lengths[short[0]]} interactions ({len(short)} users have fewer than three); "
            "leave-one-out needs three: filter such users when preparing the domain"
        )
    return Split(
        n_items=domain.n_items,
        train=domain.sequences.without_last(2),
        valid=HeldOut(domain.sequences.without_last(2), domain.sequences.from_end(2)),
        test=HeldOut(domain.sequences.without_last(1), domain.sequences.from_end(1)),
    )


def some_users(split: Split, share: float, fingerprint: str, seed: int) -> Split:
    """What a few-shot run is trained and selected on: the training sequences and questions of a share of the users.

    Users are ordered by a hash of (fingerprint of the domain, seed, user), and the first of them are taken, at least
    one: all methods of a seed see the same users, and a smaller share is part of a larger one. The order of those who
    stay and the items are the split's.
    """
    n_users = len(split.train)
    order = sorted(range(n_users), key=lambda user: derive_seed("few-shot", fingerprint, seed, user))
    users = np.sort(np.array(order[: max(1, round(share * n_users))]))
    return Split(
        n_items=split.n_items,
        train=split.train.take(users),
        valid=HeldOut(split.valid.histories.take(users), split.valid.targets[users]),
        test=HeldOut(split.test.histories.take(users), split.test.targets[users]),
    )
