"""Domains made from domains: pure functions, whose outcome is named after where it came from.

A derived domain is data of its own, with its own fingerprint; its name is that of the domain it was made from, a plus
sign and what was done (``lite-kitchen+without-amazon2018-scientific``). No card may have a plus sign in its name, so
none is taken for another. Workers find it in the cache, where `keep` leaves it beside the prepared domains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from benchmark.domain import Domain, Sequences
from benchmark.errors import InputError, unknown
from benchmark.files import read_json


def derived_name(name: str, what: str) -> str:
    """``what``: letters, digits and ``._-`` only, since the name may name a folder."""
    return f"{name}+{what}"


def subset(domain: Domain, kept: NDArray[np.bool_], name: str) -> Domain:
    """The interactions that are ``kept`` (bool [n_interactions]), with the users and items that still occur.

    Raises InputError where none is.
    """
    if not kept.any():
        raise InputError(f"domain '{name}': nothing of '{domain.name}' is left")
    owners = np.repeat(np.arange(domain.n_users), domain.sequences.lengths)
    users, owners = np.unique(owners[kept], return_inverse=True)
    items, taken = np.unique(domain.sequences.items[kept], return_inverse=True)
    offsets = np.zeros(len(users) + 1, np.int64)
    np.cumsum(np.bincount(owners), out=offsets[1:])
    return Domain(
        name=name,
        sequences=Sequences(taken.astype(np.int32), offsets),
        item_ids=tuple(domain.item_ids[item] for item in items),
        user_ids=tuple(domain.user_ids[user] for user in users),
        texts=tuple(domain.texts[item] for item in items),
        timestamps=None if domain.timestamps is None else domain.timestamps[kept],
        clusters=None if domain.clusters is None else domain.clusters[users],
        taxonomy=None if domain.taxonomy is None else tuple(domain.taxonomy[item] for item in items),
    )


def before(domain: Domain, instant: int) -> Domain:
    """What had happened before an instant (seconds since 1970): nothing at or after it is left.

    Raises InputError for a domain without times, and where nothing is left.
    """
    at = datetime.fromtimestamp(instant, UTC)
    if domain.timestamps is None:
        raise InputError(
            f"domain '{domain.name}' has no times, so it can't be cut at {at:%Y-%m-%d}: use another source, or import "
            "the table with a column of times"
        )
    return subset(domain, domain.timestamps < instant, derived_name(domain.name, f"before-{at:%Y%m%dT%H%M%SZ}"))


def unique_texts(domain: Domain) -> Domain:
    """Without items whose text is, letter for letter, that of an earlier one (no text is a text), nor what was done
    with them; users who are left with fewer than the three interactions that leave-one-out needs go as well.

    Two copies of a product are one answer under two names: no reader of texts can tell them apart, but ids can.
    Raises InputError where nothing is left.
    """
    name = derived_name(domain.name, "unique-texts")
    first: dict[str, int] = {}
    for item, text in enumerate(domain.texts):
        first.setdefault(text, item)
    is_first = np.zeros(domain.n_items, bool)
    is_first[list(first.values())] = True
    kept = is_first[domain.sequences.items]
    owners = np.repeat(np.arange(domain.n_users), domain.sequences.lengths)
    left = np.bincount(owners[kept], minlength=domain.n_users)
    return subset(domain, kept & (left[owners] >= 3), name)


BY_NAME: Mapping[str, Callable[[Domain], Domain]] = MappingProxyType({"unique-texts": unique_texts})
"""What a suite may name behind the plus sign."""


def parts(name: str) -> tuple[str, str | None]:
    """The name of the prepared domain and, for one that is derived of it, what is done; raises InputError for what
    nobody knows to do."""
    base, plus, what = name.partition("+")
    if not plus:
        return name, None
    if what not in BY_NAME:
        raise unknown("derivation", what, BY_NAME, f"domain '{name}'")
    return base, what


def keep(domain: Domain, cache: Path) -> None:
    """Leave a derived domain where workers look for it, unless just this one is there."""
    folder = cache / "domains" / domain.name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{domain.name}.lock")):  # shards started together share a cache
        if _fingerprint(folder) != domain.fingerprint:
            domain.save(folder)


def _fingerprint(folder: Path) -> str | None:
    try:
        return read_json(folder / "domain.json")["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
