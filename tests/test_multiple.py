"""Families of comparisons against statsmodels and scipy, published tables, and enumeration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests

from benchmark.errors import InputError
from benchmark.multiple import critical_difference, friedman, holm, mean_ranks, no_ranking, tied_groups

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@settings(max_examples=10)  # statsmodels takes 50 ms a call
@given(P_VALUES)
def test_holm_agrees_with_statsmodels(p: list[float]) -> None:
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


@given(P_VALUES)
def test_an_adjusted_p_is_no_smaller_and_keeps_the_order(p: list[float]) -> None:
    adjusted = holm(p)
    assert (adjusted >= p).all()
    assert (adjusted <= 1).all()
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()
    assert holm(p[::-1]).tolist() == adjusted[::-1].tolist()


def test_holm_by_hand() -> None:
    # 3 x 0.01; then 2 x 0.02, and 1 x 0.03, which may not be below the one before
    assert holm([0.03, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.4]) == pytest.approx([0.4])
    assert holm([]).tolist() == []


@pytest.mark.parametrize("p", [[0.1, float("nan")], [-0.1], [1.1], [[0.1]]])
def test_holm_refuses_what_is_no_p_value(p: list[float]) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        holm(p)


def pairwise(n: int, apart: set[tuple[int, int]]) -> NDArray[np.float64]:
    """Adjusted p values, small where two rows are told apart; nothing on and below the diagonal."""
    matrix = np.full((n, n), np.nan)
    for i in range(n):
        for j in range(i + 1, n):
            matrix[i, j] = 0.01 if (i, j) in apart else 0.5
    return matrix


@pytest.mark.parametrize(
    ("apart", "expected"),
    [
        (set(), ("abcd",)),
        ({(0, 1), (0, 2), (0, 3)}, ("bcd",)),
        ({(0, 2), (0, 3), (1, 3)}, ("ab", "bc", "cd")),
        ({(0, 3)}, ("abc", "bcd")),
        # a and c are told apart, b from neither: c and d join b
        ({(0, 2)}, ("ab", "bcd")),
        ({(0, 1), (1, 2), (2, 3)}, ()),
        ({(0, 2), (0, 3), (1, 2), (1, 3)}, ("ab", "cd")),
    ],
)
def test_tied_groups_by_hand(apart: set[tuple[int, int]], expected: tuple[str, ...]) -> None:
    assert tied_groups("abcd", pairwise(4, apart)) == tuple(tuple(group) for group in expected)


@given(st.integers(0, 7).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.tuples(*[st.integers(0, 6)] * 2)))))
def test_tied_groups_are_the_longest_without_a_pair_told_apart(drawn: tuple[int, set[tuple[int, int]]]) -> None:
    n, apart = drawn
    matrix = pairwise(n, apart)
    runs = [(i, j) for i in range(n) for j in range(i + 2, n + 1) if not (matrix[i:j, i:j] < 0.05).any()]
    longest = [(i, j) for i, j in runs if not any(k <= i and j <= m and (k, m) != (i, j) for k, m in runs)]
    labels = "abcdefg"[:n]
    assert tied_groups(labels, matrix) == tuple(tuple(labels[i:j]) for i, j in longest)


def test_a_level_counts_as_told_apart_at_the_level_itself() -> None:
    matrix = np.array([[1.0, 0.05], [0.05, 1.0]])
    assert tied_groups("ab", matrix) == ()
    assert tied_groups("ab", matrix, alpha=0.01) == (("a", "b"),)


def test_a_matrix_that_does_not_fit_or_lacks_a_pair_is_an_error() -> None:
    with pytest.raises(ValueError, match="2 rows"):
        tied_groups("ab", np.ones((3, 3)))
    with pytest.raises(ValueError, match="no p value"):
        tied_groups("ab", np.full((2, 2), np.nan))


def test_ranks_by_hand() -> None:
    # 1, 2.5, 2.5 and 3, 1, 2
    assert mean_ranks([[0.9, 0.5, 0.5], [0.1, 0.3, 0.2]]) == pytest.approx([2.0, 1.75, 2.25])


SCORES = st.integers(3, 5).flatmap(
    lambda m: st.lists(st.lists(st.integers(0, 4), min_size=m, max_size=m), min_size=5, max_size=9)
)


@given(SCORES)
def test_ranks_agree_with_scipy(scores: list[list[int]]) -> None:
    assert mean_ranks(scores) == pytest.approx(stats.rankdata(-np.array(scores), axis=1).mean(axis=0))


@given(SCORES)
def test_friedman_agrees_with_scipy(scores: list[list[int]]) -> None:
    if all(len(set(row)) == 1 for row in scores):
        assert friedman(scores) == 1.0  # scipy divides 0 by 0
    else:
        expected = stats.friedmanchisquare(*np.array(scores).T)
        assert friedman(scores) == pytest.approx(expected.pvalue, rel=1e-6)


@pytest.mark.parametrize(
    ("alpha", "published"),
    [
        (0.05, (1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164)),
        (0.10, (1.645, 2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920)),
    ],
)
def test_critical_differences_are_those_of_the_published_table(alpha: float, published: tuple[float, ...]) -> None:
    """Demsar (2006), Table 5 (a), q of 2 to 10 classifiers, to the last digit printed."""
    for methods, q in enumerate(published, start=2):
        scale = (methods * (methods + 1) / (6 * 14)) ** 0.5
        assert critical_difference(methods, 14, alpha) == pytest.approx(q * scale, abs=0.001 * scale)


@pytest.mark.parametrize(("methods", "targets", "said"), [(3, 4, "found 4"), (3, 1, "1 target$"), (1, 6, "two meth")])
def test_too_few_targets_or_methods_are_refused_with_the_reason(methods: int, targets: int, said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        critical_difference(methods, targets)
    assert str(refused.value) == no_ranking(methods, targets)
    with pytest.raises(InputError, match=said):
        friedman(np.zeros((targets, methods)))
    assert no_ranking(2, 5) is None


@pytest.mark.parametrize("scores", [[0.1, 0.2], np.zeros((0, 3)), [[0.1, float("nan")]]])
def test_ranks_need_a_score_of_every_method_on_every_target(scores: list[float]) -> None:
    with pytest.raises(ValueError, match="targets x methods"):
        mean_ranks(scores)
