"""The transfer contract: what a source may share with a target, and what it must not.

Ids are compared only inside one declared id space (card key ``id_space``): opaque numbers of two domains mean nothing
to each other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from benchmark.derive import derived_name, subset
from benchmark.errors import InputError
from benchmark.jobs import Cut
from benchmark.prepare import Prepared
from benchmark.record import RemovedInfo
from benchmark.splits import held_out

FEWEST = 3
"""Interactions of a user who is left in a source after others were removed: with fewer there is nothing to learn."""


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


def refuse_itself(target: Prepared, source: Prepared) -> None:
    """Raise InputError where both are the same domain, whatever they are called."""
    if target.domain.fingerprint == source.domain.fingerprint:
        raise InputError(f"source '{source.domain.name}' is the target '{target.domain.name}' itself; remove it")


def check(target: Prepared, source: Prepared, cut: Cut | None = None) -> Overlap:
    """Count what a source shares with a target.

    Raises InputError where both are the same domain, or where a held-out (user, item) pair of the target occurs in the
    source: a model pre-trained on that source has seen the answer. Held out is what leave-one-out or, where given, the
    ``cut`` in time holds out.
    """
    refuse_itself(target, source)
    users, items = _shared(target, source)
    if users and items:
        _refuse_held_out(target, source, users, items, cut)
    known = set(source.domain.texts) - {""}
    return Overlap(
        source=source.domain.name,
        users=None if users is None else len(users),
        items=None if items is None else len(items),
        texts=sum(text in known for text in target.domain.texts),
    )


def without_overlap(target: Prepared, source: Prepared) -> tuple[Prepared, RemovedInfo | None]:
    """The source less what it shares with the target, and what that was; the source itself where it shares nothing.

    Users and items go where their ids are comparable, and items whose text an item of the target has, letter for
    letter; then users with fewer than `FEWEST` interactions left. Raises InputError where both are the same domain, and
    where nothing is left.
    """
    refuse_itself(target, source)
    domain, sequences = source.domain, source.domain.sequences
    users, items = _shared(target, source)
    texts = set(target.domain.texts) - {""}
    shared_user_U = np.array([user in (users or ()) for user in domain.user_ids], bool)
    shared_item_N = np.array([item in (items or ()) for item in domain.item_ids], bool)
    same_text_N = ~shared_item_N & np.array([text in texts for text in domain.texts], bool)
    if not (shared_user_U.any() or shared_item_N.any() or same_text_N.any()):
        return source, None
    owners = np.repeat(np.arange(domain.n_users), sequences.lengths)
    kept = ~shared_user_U[owners] & ~(shared_item_N | same_text_N)[sequences.items]
    left_U = np.bincount(owners[kept], minlength=domain.n_users)
    short_U = ~shared_user_U & (left_U < FEWEST)
    kept &= ~short_U[owners]
    derived = subset(domain, kept, derived_name(domain.name, f"without-{target.domain.name}"))
    removed = RemovedInfo(
        source=derived.name,
        users=int(shared_user_U.sum()),
        items=int(shared_item_N.sum()),
        texts=int(same_text_N.sum()),
        short_users=int(short_U.sum()),
        interactions=int((~kept).sum()),
    )
    return replace(source, domain=derived), removed


def _shared(target: Prepared, source: Prepared) -> tuple[set[str] | None, set[str] | None]:
    """Users and items of both, by raw id; None where these are not of one declared space."""
    ours, theirs = target.card.id_space, source.card.id_space
    same_users, same_items = _same(ours.users, theirs.users), _same(ours.items, theirs.items)
    return (
        set(target.domain.user_ids) & set(source.domain.user_ids) if same_users else None,
        set(target.domain.item_ids) & set(source.domain.item_ids) if same_items else None,
    )


def _refuse_held_out(target: Prepared, source: Prepared, users: set[str], items: set[str], cut: Cut | None) -> None:
    row = {user: number for number, user in enumerate(source.domain.user_ids)}
    leaked = []
    for user, hidden in zip(target.domain.user_ids, held_out(target.domain, cut), strict=True):
        if user in users:
            answers = {target.domain.item_ids[item] for item in hidden} & items
            seen = {source.domain.item_ids[item] for item in np.unique(source.domain.sequences[row[user]])}
            leaked += [(user, item) for item in answers & seen]
    if leaked:
        user, item = sorted(leaked)[0]
        raise InputError(
            f"source '{source.domain.name}' contains {len(leaked)} held-out interactions of '{target.domain.name}' "
            f"(first: user '{user}', item '{item}'); remove the source or those interactions, or take out all that "
            "both share with --drop-overlap"
        )
