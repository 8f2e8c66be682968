"""Kendall's tau-b beside scipy, and how sure it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmark.agreement import Order, agreement, kendall_tau_b

Rows = np.ndarray


def both(first: Rows, second: Rows, clusters: tuple[Rows, Rows] | None = None, **others: int) -> Order | str:
    one, other = clusters or (np.arange(first.shape[1]), np.arange(second.shape[1]))
    return agreement((first, one), (second, other), **others)


@given(st.integers(2, 9).flatmap(lambda n: st.tuples(*[st.lists(st.integers(0, 4), min_size=n, max_size=n)] * 2)))
def test_tau_b_is_that_of_scipy(pair: tuple[list[int], list[int]]) -> None:
    wanted = stats.kendalltau(*pair, variant="b")[0]
    assert kendall_tau_b(*pair) == pytest.approx(wanted, abs=1e-12, nan_ok=True)


def test_tau_b_by_hand() -> None:
    assert kendall_tau_b([1, 2, 3], [10, 20, 30]) == 1
    assert kendall_tau_b([1, 2, 3], [3, 2, 1]) == -1
    # of six pairs five in order, one not
    assert kendall_tau_b([1, 2, 3, 4], [1, 2, 4, 3]) == pytest.approx(4 / 6)
    # two pairs agree, the third is tied in one: 2 / sqrt(3 x 2)
    assert kendall_tau_b([1, 2, 2], [1, 2, 3]) == pytest.approx(2 / np.sqrt(6))


def methods(means: list[float], questions: int, noise: float, seed: int = 0) -> Rows:
    return np.array(means)[:, None] + noise * np.random.default_rng(seed).standard_normal((len(means), questions))


def test_clear_orders_leave_no_doubt() -> None:
    found = both(methods([1, 2, 3, 4, 5], 50, 0.01), methods([1, 2, 3, 5, 4], 80, 0.01))
    assert found == Order(tau=0.8, low=0.8, high=0.8)


def test_noise_widens_the_interval_and_more_questions_narrow_it() -> None:
    means = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    few = both(methods(means, 30, 1.0), methods(means, 30, 1.0, seed=1))
    many = both(methods(means, 3000, 1.0), methods(means, 3000, 1.0, seed=1))
    assert isinstance(few, Order)
    assert isinstance(many, Order)
    assert few.low < few.tau <= few.high
    assert few.high - few.low > 2 * (many.high - many.low)


def test_questions_of_one_user_are_drawn_together() -> None:
    """Each question a hundred times over says no more than once, where the copies are of one user."""
    means = [0.0, 0.1, 0.2, 0.3, 0.4]
    once = [methods(means, 30, 1.0, seed=seed) for seed in (0, 1)]
    copied = [np.repeat(values, 100, axis=1) for values in once]
    owners = np.repeat(np.arange(30), 100)
    (one, other), (many, more) = once, copied
    plain, whole, apart = both(one, other), both(many, more, (owners, owners)), both(many, more)
    assert whole == plain
    assert isinstance(plain, Order)
    assert isinstance(apart, Order)
    assert apart.high - apart.low < plain.high - plain.low


def test_the_mean_is_over_questions_not_over_users() -> None:
    """A user with many questions counts for as many: one draw of all users is the mean itself."""
    values = methods([0.0, 1.0, 2.0, 3.0, 4.0], 6, 0.0)
    values[:, 0] = [50, 0, 0, 0, 0]  # one question of six turns the order of the first method
    found = both(values, values, (np.array([0, 1, 1, 1, 1, 1]), np.arange(6)))
    assert isinstance(found, Order)
    assert found.tau == 1


def test_why_nothing_is_said() -> None:
    four = methods([1, 2, 3, 4], 20, 0.1)
    assert both(four, four) == "it takes at least 5 methods with results in both, found 4"
    five = methods([1, 2, 3, 4, 5], 20, 0.1)
    assert both(five, np.ones_like(five)) == "in one of them all methods score the same"


def test_what_does_not_fit_is_an_error() -> None:
    five = methods([1, 2, 3, 4, 5], 20, 0.1)
    for other in (five[:4], five[0]):
        with pytest.raises(ValueError, match="of the same methods"):
            agreement((five, np.arange(20)), (other, np.arange(20)))
    with pytest.raises(ValueError, match="with a cluster for each question"):
        agreement((five, np.arange(20)), (five, np.arange(19)))
