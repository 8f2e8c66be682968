"""Metrics per user, against hand-computed values, enumeration of ties and ir-measures."""

from __future__ import annotations

import itertools
import math

import ir_measures
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.errors import InputError
from benchmark.metrics import METRICS, PRIMARY, Metric, parse, per_user


@pytest.mark.parametrize(
    ("metric", "greater", "equal", "expected"),
    [
        ("Recall@10", 0, 0, 1.0),
        ("Recall@10", 9, 0, 1.0),
        ("Recall@10", 10, 0, 0.0),
        ("NDCG@10", 0, 0, 1.0),
        ("NDCG@10", 1, 0, 1 / math.log2(3)),
        ("NDCG@10", 9, 0, 1 / math.log2(11)),
        ("NDCG@10", 10, 0, 0.0),
        ("MRR@10", 3, 0, 1 / 4),
        ("MRR@3", 3, 0, 0.0),
        # Ranks 1 and 2 are equally likely.
        ("Recall@1", 0, 1, 1 / 2),
        ("NDCG@10", 0, 1, (1 + 1 / math.log2(3)) / 2),
        ("MRR@10", 0, 1, 3 / 4),
        # Ranks 9 to 12: two of four are inside the cut-off.
        ("Recall@10", 8, 3, 1 / 2),
        ("NDCG@10", 8, 3, (1 / math.log2(10) + 1 / math.log2(11)) / 4),
        ("MRR@10", 8, 3, (1 / 9 + 1 / 10) / 4),
        # The whole tie is beyond the cut-off.
        ("Recall@10", 10, 500, 0.0),
    ],
)
def test_hand_computed(metric: str, greater: int, equal: int, expected: float) -> None:
    assert per_user(metric, [greater], [equal]) == pytest.approx([expected], abs=1e-15)


@pytest.mark.parametrize("n_items", [10, 11, 4385])
@pytest.mark.parametrize("k", [1, 10, 50])
def test_a_constant_scorer_gets_k_of_n(n_items: int, k: int) -> None:
    recall = per_user(f"Recall@{k}", np.zeros(3, np.int32), np.full(3, n_items - 1, np.int32))
    assert recall == pytest.approx(min(k, n_items) / n_items, rel=1e-15)


@given(
    greater=st.integers(0, 6),
    equal=st.integers(0, 5),
    k=st.integers(1, 9),
    name=st.sampled_from(["Recall", "NDCG", "MRR"]),
)
def test_ties_are_the_mean_over_all_orders(greater: int, equal: int, k: int, name: str) -> None:
    gain = {"Recall": lambda rank: 1.0, "NDCG": lambda rank: 1 / math.log2(rank + 1), "MRR": lambda rank: 1 / rank}[
        name
    ]
    ranks = [greater + 1 + order.index(0) for order in itertools.permutations(range(equal + 1))]
    expected = math.fsum(gain(rank) if rank <= k else 0.0 for rank in ranks) / len(ranks)
    assert per_user(f"{name}@{k}", [greater], [equal])[0] == pytest.approx(expected, abs=1e-14)


@given(
    st.lists(st.tuples(st.integers(0, 2**31 - 2**20), st.integers(0, 2**20)), min_size=1, max_size=20),
    st.integers(1, 99),
)
def test_within_bounds_and_falling_with_rank(counts: list[tuple[int, int]], k: int) -> None:
    greater, equal = np.array(counts, np.int32).T
    for name in ("Recall", "NDCG", "MRR"):
        values = per_user(Metric(name, k), greater, equal)
        assert values.dtype == np.float64
        assert ((values >= 0) & (values <= 1)).all()
        assert (per_user(Metric(name, k), greater + 1, equal) <= values + 1e-12).all()


def test_agrees_with_ir_measures() -> None:
    rng = np.random.default_rng(7)
    scores, held_out = rng.random((300, 80)), rng.integers(0, 80, 300)
    qrels = {str(user): {str(item): 1} for user, item in enumerate(held_out)}
    run = {str(user): {str(item): float(score) for item, score in enumerate(row)} for user, row in enumerate(scores)}
    own = scores[np.arange(300), held_out][:, None]
    greater, equal = (scores > own).sum(1), (scores == own).sum(1) - 1
    for name, oracle in {"Recall": "R", "NDCG": "nDCG", "MRR": "RR"}.items():
        for k in (1, 10, 50):
            measure = ir_measures.parse_measure(f"{oracle}@{k}")
            expected = {int(found.query_id): found.value for found in ir_measures.iter_calc([measure], qrels, run)}
            values = per_user(f"{name}@{k}", greater, equal)
            np.testing.assert_allclose(values, [expected[user] for user in range(300)], atol=1e-6)


def test_names_round_trip() -> None:
    assert [str(parse(name)) for name in METRICS] == list(METRICS)
    assert parse(PRIMARY) == Metric("NDCG", 10)


@pytest.mark.parametrize("text", ["NDCG", "NDCG@", "NDCG@0", "NDCG@-1", "NDCG@ten", "@10", "NDCG@1.5", "NDCG@²"])
def test_malformed_names_are_errors(text: str) -> None:
    with pytest.raises(InputError, match="metric"):
        parse(text)


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match=r"unknown metric 'ndcg'; did you mean 'NDCG'"):
        per_user("ndcg@10", [0], [0])


@pytest.mark.parametrize(("greater", "equal"), [([0.0], [0]), ([-1], [0]), ([0], [-1]), ([0, 1], [0]), ([[0]], [[0]])])
def test_arrays_that_are_no_counts_are_refused(greater: list[int], equal: list[int]) -> None:
    with pytest.raises(ValueError, match="greater"):
        per_user("Recall@10", greater, equal)
