"""The transfer contract: what a source may share with a target, and what it must not.

Ids are compared only inside one declared id space (card key ``id_space``): opaque numbers of two domains mean nothing
to each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmark.errors import InputError
from benchmark.prepare import Prepared


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """What a source shares with the target; None where ids cannot be compared."""

    source: str
    users: int | None
    items: int | None
    texts: int
    """Items of the target whose text a source item has, letter for letter."""

    @property
    def warning(self) -> str | None:
        shared = [
            f"{count:,} {what}"
            for what, count in (("users", self.users), ("items", self.items), ("identical item texts", self.texts))
            if count
        ]
        return f"{self.source} shares {', '.join(shared)} with the target" if shared else None


def _same(a: str | None, b: str | None) -> bool:
    return a is not None and a == b


def check(target: Prepared, source: Prepared) -> Overlap:
    """Count what a source shares with a target.

    Raises InputError where both are the same domain, or where a held-out (user, item) pair of the target occurs in the
    source: a model pre-trained on that source has seen the answer.
    """
    if target.domain.fingerprint == source.domain.fingerprint:
        raise InputError(f"source '{source.card.name}' is the target '{target.card.name}' itself; remove it")
    ours, theirs = target.card.id_space, source.card.id_space
    same_users, same_items = _same(ours.users, theirs.users), _same(ours.items, theirs.items)
    users = set(target.domain.user_ids) & set(source.domain.user_ids) if same_users else None
    items = set(target.domain.item_ids) & set(source.domain.item_ids) if same_items else None
    if users and items:
        _refuse_held_out(target, source, users, items)
    known = set(source.domain.texts) - {""}
    return Overlap(
        source=source.card.name,
        users=None if users is None else len(users),
        items=None if items is None else len(items),
        texts=sum(text in known for text in target.domain.texts),
    )


def _refuse_held_out(target: Prepared, source: Prepared, users: set[str], items: set[str]) -> None:
    row = {user: number for number, user in enumerate(source.domain.user_ids)}
    leaked = []
    for number, user in enumerate(target.domain.user_ids):
        if user in users:
            held_out = {target.domain.item_ids[item] for item in target.domain.sequences[number][-2:]} & items
            seen = {source.domain.item_ids[item] for item in np.unique(source.domain.sequences[row[user]])}
            leaked += [(user, item) for item in held_out & seen]
    if leaked:
        user, item = sorted(leaked)[0]
        raise InputError(
            f"source '{source.card.name}' contains {len(leaked)} held-out interactions of '{target.card.name}' "
            f"(first: user '{user}', item '{item}'); remove the source or those interactions"
        )
