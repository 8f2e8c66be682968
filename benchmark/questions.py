"""Where the held-out item of each question came, and whom it was asked of: all that metrics and tests read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

COUNTS = ("valid_greater", "valid_equal", "test_greater", "test_equal")


@dataclass(frozen=True, kw_only=True, eq=False)
class Ranks:
    """For each question, int32 [n_questions] each: how many items scored above the held-out item, and how many other
    items scored the same. One question a user (row of the domain) in its order, unless the track is strict."""

    valid_greater: NDArray[np.int32]
    valid_equal: NDArray[np.int32]
    test_greater: NDArray[np.int32]
    test_equal: NDArray[np.int32]

    @property
    def sha256(self) -> str:
        """SHA-256 (hex) of the arrays as little-endian bytes, whatever file they lie in."""
        sha = hashlib.sha256(b"transrec ranks 1\n")
        for name in COUNTS:
            values = getattr(self, name)
            sha.update(f"{name} {len(values)}\n".encode())
            sha.update(np.ascontiguousarray(values, "<i4").tobytes())
        return sha.hexdigest()

    def problem(self, valid: int, test: int, items: int) -> str | None:
        """What keeps these from being the ranks of so many questions for each among so many items, or None."""
        return counts_problem("valid", self.valid_greater, self.valid_equal, valid, items) or counts_problem(
            "test", self.test_greater, self.test_equal, test, items
        )


def counts_problem(
    split: str, greater: NDArray[np.int32], equal: NDArray[np.int32], questions: int, items: int
) -> str | None:
    """What keeps these from being the counts of so many questions of a split among so many items, or None."""
    for name, counts in ((f"{split}_greater", greater), (f"{split}_equal", equal)):
        if counts.dtype != np.int32 or counts.shape != (questions,):
            return f"{name} is {counts.dtype} {list(counts.shape)}, expected int32 [{questions}]"
        if (counts < 0).any():
            return f"{name} of user {int(np.argmax(counts < 0))} is negative"
    beyond = greater.astype(np.int64) + equal > items - 1
    if beyond.any():
        return f"{split}_greater + {split}_equal of user {int(np.argmax(beyond))} exceeds {items - 1}"
    return None


@dataclass(frozen=True, kw_only=True, eq=False)
class Context:
    """What reports need to know of a target's test questions, one entry each; in the paper track one a user."""

    fingerprint: str
    """Of what is asked: `benchmark.jobs.questions_of`."""
    history_length: NDArray[np.int32]
    """Interactions before the test item."""
    train_count: NDArray[np.int32]
    """How often the test item occurs in what the ranked model has learnt from."""
    cold: NDArray[np.bool_]
    """The test item never occurs there."""
    cluster: NDArray[np.int32]
    """What belongs together shares a number, from 0: users of a cluster, questions of one user or, where users have
    clusters, of one cluster; else a number of its own."""

    @property
    def clustered(self) -> bool:
        return len(np.unique(self.cluster)) < len(self.cluster)
