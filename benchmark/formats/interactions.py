"""Interactions in any order -> sequences in time, and what every domain read from files must fulfil."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmark.domain import Domain, Sequences
from benchmark.errors import InputError

Ties = Literal["hash", "line-order"]
"""Order inside equal times: by SHA-256 (free of information), or as the file has them (may leak)."""

MIN_LENGTH = 3
"""Leave-one-out needs one interaction each for training, validation and test."""


LATEST = 2**53
"""Times in seconds stay below this: larger numbers are no times, and a float does not hold them exactly."""


def is_time(seconds: float) -> bool:
    """Whether a number can be a time in seconds since 1970."""
    return abs(seconds) < LATEST  # neither NaN nor infinity is


def number_of(text: str) -> float:
    """A number in plain digits: NaN for what only Python takes for one, such as ``1_0`` and digits of other scripts."""
    try:
        return float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return math.nan


def tie_key(user: str, item: str, line: str) -> int:
    """Rank of an interaction among those of the same user and time: first 8 bytes of a SHA-256, big-endian."""
    return int.from_bytes(hashlib.sha256(f"{user}\x1f{item}\x1f{line}".encode()).digest()[:8], "big")


def time_order(
    users: NDArray[np.integer[Any]], times: NDArray[np.number[Any]], key: Callable[[int], int] | None
) -> NDArray[np.int64]:
    """Rows sorted by user, then time, then ``key(row)``, then row; int64 [n].

    ``key`` is asked only for rows that share user and time with another. None keeps those in row order.
    """
    order = np.lexsort((times, users))
    if key is None or len(order) < 2:
        return order
    same = (users[order][1:] == users[order][:-1]) & (times[order][1:] == times[order][:-1])
    tied = np.zeros(len(order), bool)
    tied[1:] |= same
    tied[:-1] |= same
    keys = np.zeros(len(order), np.uint64)
    rows = order[tied]
    keys[rows] = np.fromiter((key(int(row)) for row in rows), np.uint64, len(rows))
    return np.lexsort((keys, times, users))


def to_sequences(
    users: NDArray[np.integer[Any]], items: NDArray[np.integer[Any]], order: NDArray[np.int64], n_users: int
) -> Sequences:
    """Sequences of users 0..n_users-1 from rows and their `time_order`."""
    offsets = np.zeros(n_users + 1, np.int64)
    np.cumsum(np.bincount(users, minlength=n_users), out=offsets[1:])
    return Sequences(items[order].astype(np.int32), offsets)


def check_texts(texts: Sequence[str], where: object) -> None:
    """Raises InputError if no item has any text; single items without are for `text_warnings` to count."""
    if not any(text.strip() for text in texts):
        raise InputError(f"{where}: no item has any text; give a table with a text column that is filled")


def text_warnings(domain: Domain) -> list[str]:
    """What to tell about items without text."""
    empty = sum(not text.strip() for text in domain.texts)
    return [f"{domain.name}: {empty} of {domain.n_items} items have no text"] if empty else []


def check_lengths(domain: Domain, where: object) -> None:
    """Raises InputError if a user is too short to be split by leave-one-out."""
    short = np.flatnonzero(domain.sequences.lengths < MIN_LENGTH)
    if len(short):
        user = domain.user_ids[int(short[0])]
        length = int(domain.sequences.lengths[short[0]])
        raise InputError(
            f"{where}: {len(short)} users have fewer than {MIN_LENGTH} interactions (first: user '{user}' has "
            f"{length}), and leave-one-out needs {MIN_LENGTH}; remove them, or import the table with --k-core "
            f"{MIN_LENGTH} or more"
        )
