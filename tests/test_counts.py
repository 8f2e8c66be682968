"""The controls that only count, by hand."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.counts import METHODS, Markov, Popularity
from benchmark.domain import Sequences
from benchmark.method import Material, NoConfig

TRAIN = Sequences.of([[0, 1, 2], [0, 1], [3, 1, 2, 2], [], [4]])
"""Of six items: 1 three times, 2 three times, 0 twice, 3 and 4 once, 5 never."""
POPULARITY = [2, 3, 3, 1, 1, 0]


def material(train: Sequences = TRAIN, n_items: int = 6) -> Material:
    return Material(n_items=n_items, train=train)


def order(scores: Sequence[Any]) -> list[set[int]]:
    """Items from the best to the worst; those that tie together."""
    return [
        {item for item, other in enumerate(scores) if other == score} for score in sorted(set(scores), reverse=True)
    ]


def test_popularity_counts_training_interactions() -> None:
    scores = Popularity(NoConfig(), material()).scores(Sequences.of([[5], [0, 1]]))
    assert scores.tolist() == [POPULARITY, POPULARITY]


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        # after 1 comes 2, twice; then everything by popularity
        ([3, 1], [{2}, {1}, {0}, {3, 4}, {5}]),
        # after 0 comes 1, twice
        ([0], [{1}, {2}, {0}, {3, 4}, {5}]),
        # after 2 comes 2 itself, once
        ([1, 2], [{2}, {1}, {0}, {3, 4}, {5}]),
        # after 3 comes 1
        ([2, 3], [{1}, {2}, {0}, {3, 4}, {5}]),
        # 4 was last where it was, 5 was never: popularity alone, and nothing leads over the end of a sequence
        ([1, 4], [{1, 2}, {0}, {3, 4}, {5}]),
        ([5], [{1, 2}, {0}, {3, 4}, {5}]),
    ],
)
def test_markov_counts_successors_of_the_last_item(history: list[int], expected: list[set[int]]) -> None:
    (scores,) = Markov(NoConfig(), material()).scores(Sequences.of([history])).tolist()
    assert order(scores) == expected


def test_one_more_successor_outweighs_any_popularity() -> None:
    # 0 is followed by 1 twice and by 2 once; 2 is by far the most popular
    train = Sequences.of([[0, 1], [0, 1], [0, 2], *([[2]] * 1000), [3]])
    (scores,) = Markov(NoConfig(), material(train, 4)).scores(Sequences.of([[0]])).tolist()
    assert order(scores) == [{1}, {2}, {0}, {3}]


def test_equal_successors_are_ordered_by_popularity() -> None:
    train = Sequences.of([[0, 1], [0, 2], [2], [1, 3], [1], [1]])
    (scores,) = Markov(NoConfig(), material(train, 4)).scores(Sequences.of([[0]])).tolist()
    assert order(scores) == [{1}, {2}, {0}, {3}]


@given(rows=st.lists(st.lists(st.integers(0, 6), max_size=8), min_size=1, max_size=12), last=st.integers(0, 6))
@settings(max_examples=50)
def test_markov_sorts_by_successors_then_popularity(rows: list[list[int]], last: int) -> None:
    followed = np.zeros(7, int)
    for row in rows:
        for before, after in pairwise(row):
            followed[after] += before == last
    popularity = np.bincount([item for row in rows for item in row], minlength=7)
    (scores,) = Markov(NoConfig(), material(Sequences.of(rows), 7)).scores(Sequences.of([[0, last]])).tolist()
    keys = list(zip(followed.tolist(), popularity.tolist(), strict=True))
    assert order(scores) == [
        {i for i, other in enumerate(keys) if other == key} for key in sorted(set(keys), reverse=True)
    ]


def test_without_any_training_everything_ties() -> None:
    empty = material(Sequences.of([[], []]), 3)
    for build in (Popularity, Markov):
        assert len(order(build(NoConfig(), empty).scores(Sequences.of([[1]]))[0].tolist())) == 1


def test_they_are_registered_as_controls_with_one_run_each() -> None:
    assert {method.name: (method.role, method.trained, method.needs) for method in METHODS} == {
        "Popularity": ("control", False, frozenset()),
        "Markov": ("control", False, frozenset()),
    }
