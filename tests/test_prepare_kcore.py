"""The iterative k-core."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.domain import Domain, Sequences
from benchmark.errors import InputError
from benchmark.prepare.kcore import core_rows, domain_core


def test_removing_an_item_may_remove_a_user_and_so_on() -> None:
    # Item 2 is rare; without it user 1 is short; without user 1 nothing else falls.
    users = np.array([0, 0, 1, 1, 2, 2])
    items = np.array([0, 1, 0, 2, 0, 1])
    assert core_rows(users, items, 2).tolist() == [0, 1, 4, 5]


def test_interactions_are_counted_not_distinct_partners() -> None:
    assert core_rows(np.zeros(5, int), np.zeros(5, int), 5).tolist() == [0, 1, 2, 3, 4]
    assert core_rows(np.zeros(4, int), np.zeros(4, int), 5).tolist() == []


@given(rows=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=60), k=st.integers(1, 4))
def test_the_core_is_the_largest_subset_that_fulfils_it(rows: list[tuple[int, int]], k: int) -> None:
    users = np.array([row[0] for row in rows], np.int64)
    items = np.array([row[1] for row in rows], np.int64)
    kept = core_rows(users, items, k).tolist()
    # One offending row at a time, in any order, ends at the same subset.
    left = list(range(len(rows)))
    while True:
        bad = [
            row
            for row in left
            if sum(rows[other][0] == rows[row][0] for other in left) < k
            or sum(rows[other][1] == rows[row][1] for other in left) < k
        ]
        if not bad:
            break
        left.remove(bad[-1])
    assert kept == left


def test_a_domain_keeps_what_belongs_to_the_rows_that_stay() -> None:
    domain = Domain(
        name="toy",
        sequences=Sequences.of([[0, 1, 1], [2], [1, 0]]),
        item_ids=("a", "b", "c"),
        user_ids=("u", "v", "w"),
        texts=("A", "B", "C"),
        timestamps=np.array([1, 2, 3, 4, 5, 6]),
        clusters=np.array([0, 1, 1], np.int32),
        taxonomy=(("x",), ("y",), ("z",)),
    )
    core = domain_core(domain, 2)
    assert [sequence.tolist() for sequence in core.sequences] == [[0, 1, 1], [1, 0]]
    assert core.timestamps is not None
    assert core.clusters is not None
    assert core.timestamps.tolist() == [1, 2, 3, 5, 6]
    assert core.clusters.tolist() == [0, 1]
    assert (core.item_ids, core.user_ids, core.texts) == (("a", "b"), ("u", "w"), ("A", "B"))
    assert core.taxonomy == (("x",), ("y",))
    with pytest.raises(InputError, match="no user and item have 9 interactions"):
        domain_core(domain, 9)
