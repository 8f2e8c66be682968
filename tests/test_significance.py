"""Paired comparisons against scipy, statsmodels, enumeration and a simulation."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.power import TTestPower

from benchmark.errors import InputError
from benchmark.significance import bootstrap, paired_t, sign_flip, variance_split

PAIRS = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=30)


@pytest.mark.parametrize("n", [2, 3, 50, 2000])
def test_agrees_with_scipy(n: int) -> None:
    rng = np.random.default_rng(n)
    a, b = rng.random(n), rng.random(n)
    expected = stats.ttest_rel(a, b)
    interval = expected.confidence_interval(0.95)
    found = paired_t(a, b)
    assert found.difference == pytest.approx(np.mean(a - b))
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert found.units == n


def test_clusters_agree_with_statsmodels() -> None:
    rng = np.random.default_rng(0)
    clusters = rng.integers(0, 40, 300) * 7
    d = rng.normal(0.1, 1, 300) + rng.normal(0, 1, 300)[clusters]
    fitted = sm.OLS(d, np.ones(300)).fit(cov_type="cluster", cov_kwds={"groups": clusters}, use_t=True)
    found = paired_t(d, np.zeros(300), clusters)
    assert found.units == len(np.unique(clusters))
    assert found.difference == pytest.approx(fitted.params[0])
    assert found.p == pytest.approx(fitted.pvalues[0], rel=1e-9)
    assert (found.low, found.high) == pytest.approx(tuple(fitted.conf_int()[0]), rel=1e-9)


@given(PAIRS)
def test_exchanging_the_methods_mirrors_the_interval(pairs: list[tuple[float, float]]) -> None:
    a, b = np.array(pairs).T
    forth, back = paired_t(a, b), paired_t(b, a)
    assert forth.low <= forth.difference <= forth.high
    assert 0 <= forth.p <= 1
    assert (back.difference, back.low, back.high) == pytest.approx((-forth.difference, -forth.high, -forth.low))
    assert back.effect == pytest.approx(-forth.effect)
    assert (back.p, back.detectable) == pytest.approx((forth.p, forth.detectable))


@given(st.lists(st.tuples(*[st.integers(0, 64)] * 2), min_size=3, max_size=20), st.integers(-8, 8), st.randoms())
def test_neither_the_order_of_users_nor_a_constant_matters(
    pairs: list[tuple[int, int]], constant: int, random: Any
) -> None:
    """Sixty-fourths, so that sums are exact and so are the outcomes."""
    shuffled = random.sample(pairs, len(pairs))
    a, b = np.array(pairs).T / 64
    c, d = np.array(shuffled).T / 64 + constant
    left, right = paired_t(a, b), paired_t(c, d)
    assert (right.difference, right.low, right.high) == pytest.approx((left.difference, left.low, left.high))
    assert right.p == pytest.approx(left.p)
    assert sign_flip(a, b, draws=50) == sign_flip(c, d, draws=50) == sign_flip(d, c, draws=50)
    assert bootstrap([a], [b], draws=50) == bootstrap([a + constant], [b + constant], draws=50)


def test_invoices_of_one_customer_do_not_count_as_independent() -> None:
    """Each customer's difference repeated ten times: as clusters nothing is gained, as users much would be."""
    d = np.random.default_rng(1).normal(0.2, 1, 50)
    repeated, customers = np.repeat(d, 10), np.repeat(np.arange(50), 10)
    alone, clustered = paired_t(d, np.zeros(50)), paired_t(repeated, np.zeros(500), customers)
    assert (clustered.low, clustered.high, clustered.p) == pytest.approx((alone.low, alone.high, alone.p))
    naive = paired_t(repeated, np.zeros(500))
    assert naive.high - naive.low < 0.4 * (clustered.high - clustered.low)


def test_the_effect_is_the_mean_over_the_spread() -> None:
    assert paired_t([0.5, 0.5, 0.75], [0.25, 0.5, 0.25]).effect == pytest.approx(1.0)  # 1/4, 0 and 1/2: both are 1/4


def test_the_effect_with_clusters() -> None:
    """Three pairs of users: differences 1, 1 | 0, 0 | 0, 1; mean 1/2, deviations of sums 1, -1, 0, their spread 1, half
    of it for clusters of two."""
    d, clusters = [1.0, 1.0, 0.0, 0.0, 0.0, 1.0], [0, 0, 1, 1, 2, 2]
    assert paired_t(d, np.zeros(6), clusters).effect == pytest.approx(1.0)
    alone, repeated = paired_t([1.0, 0.0, 0.5], np.zeros(3)), paired_t([1, 1, 0, 0, 0.5, 0.5], np.zeros(6), clusters)
    assert repeated.effect == pytest.approx(alone.effect)


@pytest.mark.parametrize("n", [2, 3, 10, 100, 8442])
def test_the_detectable_difference_agrees_with_statsmodels(n: int) -> None:
    rng = np.random.default_rng(n)
    d = rng.normal(0.0, 0.25, n)
    standardised = TTestPower().solve_power(nobs=n, alpha=0.05, power=0.8)
    assert paired_t(d, np.zeros(n)).detectable == pytest.approx(standardised * d.std(ddof=1), rel=2e-4)


def test_a_detectable_difference_is_detected_four_times_in_five() -> None:
    """Of clusters of four dependent users each."""
    rng, clusters = np.random.default_rng(3), np.repeat(np.arange(30), 4)

    def drawn(shift: float) -> NDArray[np.float64]:
        return shift + rng.normal(0, 1, 30)[clusters] + rng.normal(0, 1, 120)

    detectable = np.mean([paired_t(drawn(0), np.zeros(120), clusters).detectable for _ in range(300)])
    found = np.mean([paired_t(drawn(float(detectable)), np.zeros(120), clusters).p < 0.05 for _ in range(1000)])
    assert found == pytest.approx(0.8, abs=0.05)


def exhaustive(sums: list[int]) -> float:
    """The share of all sign flips whose sum, in whole numbers, lies as far from 0."""
    flips = itertools.product((-1, 1), repeat=len(sums))
    return float(np.mean([abs(np.dot(flip, sums)) >= abs(sum(sums)) for flip in flips]))


@pytest.mark.parametrize(
    "tenths",
    [[1, 2, 3], [1, 1, 1, -1, 2, 3], [3, -3], [7, 1, -2, 4, 4, -1, 0, 0, 6], [1, 2, 3, 4, 5, 6, 7, -8, -9, -1], [0, 0]],
)
def test_sign_flips_agree_with_all_of_them(tenths: list[int]) -> None:
    """Tenths have no exact sums in binary: equal sums must count as equal all the same."""
    a = np.array(tenths) / 10 + 0.7
    found = sign_flip(a, np.full(len(a), 0.7), draws=20_000, seed=5)
    assert found == pytest.approx(exhaustive(tenths), abs=0.018)  # five standard errors


def test_sign_flips_agree_with_scipy() -> None:
    rng = np.random.default_rng(6)
    a, b = rng.random(40), rng.random(40) + 0.1

    def difference(x: NDArray[np.float64], y: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        return (x - y).mean(axis=axis)

    expected = stats.permutation_test((a, b), difference, permutation_type="samples", n_resamples=20_000, rng=7)
    assert sign_flip(a, b, draws=20_000) == pytest.approx(expected.pvalue, abs=0.02)
    assert sign_flip(a, b, draws=20_000) == pytest.approx(paired_t(a, b).p, abs=0.02)


def test_sign_flips_exchange_whole_clusters() -> None:
    """Two customers: four ways to flip, two of which are as extreme; eight users alone would give 2 / 256."""
    d, customers = np.full(8, 0.25), [3, 3, 3, 3, 9, 9, 9, 9]
    assert sign_flip(d, np.zeros(8), customers) == pytest.approx(0.5, abs=0.03)
    assert sign_flip(d, np.zeros(8)) == pytest.approx(2 / 256, abs=0.005)


def test_a_p_of_sign_flips_is_never_zero_and_one_where_nothing_differs() -> None:
    assert sign_flip(np.ones(200), np.zeros(200), draws=99) == 1 / 100
    assert sign_flip(np.ones(200), np.ones(200), draws=99) == 1.0


def test_the_bootstrap_over_users_agrees_with_scipy() -> None:
    rng = np.random.default_rng(8)
    a_SU, b_TU = rng.random((3, 150)) ** 3, rng.random((2, 150)) ** 3
    d = a_SU.mean(axis=0) - b_TU.mean(axis=0)
    expected = stats.bootstrap((d,), np.mean, n_resamples=20_000, method="percentile", rng=9).confidence_interval
    found = bootstrap(a_SU, b_TU, draws=20_000)
    assert found == pytest.approx((expected.low, expected.high), abs=0.03 * (expected.high - expected.low))
    t = paired_t(a_SU.mean(axis=0), b_TU.mean(axis=0))
    assert found == pytest.approx((t.low, t.high), abs=0.1 * (t.high - t.low))


def test_the_bootstrap_draws_whole_clusters_and_takes_the_mean_over_the_users_drawn() -> None:
    """Clusters of one and of three users: means 0, 3 / 4 (half of the draws) and 1, not 1 / 2."""
    a, clusters = np.array([[0.0, 1.0, 1.0, 1.0]]), [0, 7, 7, 7]
    assert bootstrap(a, np.zeros((1, 4)), clusters) == (0.0, 1.0)
    assert bootstrap(a, np.zeros((1, 4)), clusters, confidence=0.3) == (0.75, 0.75)


def test_the_bootstrap_over_seeds_draws_the_seeds_of_each_method_on_their_own() -> None:
    """Users do not differ. Two seeds with means 0 and 1 against one: 0, 1/2 (half of the draws) and 1."""
    a, b = np.array([[0.0] * 9, [1.0] * 9]), np.full((1, 9), 0.25)
    assert bootstrap(a, b, over="users") == (0.25, 0.25)
    assert bootstrap(a, b, over="seeds") == (-0.25, 0.75)
    assert bootstrap(a, b, over="seeds", confidence=0.4) == (0.25, 0.25)
    # Seeds drawn together would never differ.
    assert bootstrap(a, a, over="seeds") == (-1.0, 1.0)
    assert bootstrap(a, a, over="users") == (0.0, 0.0)


def test_with_one_seed_of_each_an_interval_over_seeds_is_one_over_users() -> None:
    a, b = np.random.default_rng(10).random((2, 1, 80))
    assert bootstrap(a, b, over="seeds") == bootstrap(a, b, over="users")


def test_resampling_is_reproducible_and_takes_bounded_memory() -> None:
    a, b = np.random.default_rng(11).random((2, 30_000))
    clusters = np.arange(30_000) // 2
    tracemalloc.start()
    try:
        assert sign_flip(a, b, draws=600) == sign_flip(a, b, draws=600) != sign_flip(a, b, draws=600, seed=1)
        found = bootstrap([a], [b], clusters, draws=600)
        assert found == bootstrap([a], [b], clusters, draws=600) != bootstrap([a], [b], clusters, draws=600, seed=1)
        assert tracemalloc.get_traced_memory()[1] < 48e6  # all draws at once would take 72e6 as bytes or counts
    finally:
        tracemalloc.stop()


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    intervals = [paired_t(rng.normal(0.3, 1, 20), np.zeros(20)) for _ in range(2000)]
    assert np.mean([found.low <= 0.3 <= found.high for found in intervals]) == pytest.approx(0.95, abs=0.015)


def test_methods_that_do_not_differ_at_all() -> None:
    same = paired_t([0.5, 0.25, 1.0], [0.5, 0.25, 1.0])
    assert (same.difference, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)
    assert (same.effect, same.detectable) == (0.0, 0.0)
    always = paired_t([1.0, 1.0], [0.5, 0.5])
    assert (always.difference, always.low, always.high, always.p) == (0.5, 0.5, 0.5, 0.0)
    assert (always.effect, paired_t([0.5, 0.5], [1.0, 1.0]).effect) == (math.inf, -math.inf)


def of_one_seed(a: Any, b: Any, clusters: Any = None) -> tuple[float, float]:
    return bootstrap([a], [b], clusters)


@pytest.mark.parametrize("test", [paired_t, sign_flip, of_one_seed])
def test_too_few_units_and_unpaired_arrays_are_errors(test: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match="at least two"):
        test([0.1], [0.2])
    with pytest.raises(InputError, match="found 1"):
        test([0.1, 0.2], [0.2, 0.2], [4, 4])
    with pytest.raises(InputError, match="found 0"):
        test([], [])
    with pytest.raises(ValueError, match="equally long"):
        test([0.1, 0.2], [0.2])
    with pytest.raises(ValueError, match="equally long"):
        test([0.1, 0.2], [0.2, 0.1], [0])


@pytest.mark.parametrize("a", [[0.1, 0.2], np.zeros((0, 2))])
def test_the_bootstrap_needs_seeds_by_users(a: Any) -> None:
    with pytest.raises(ValueError, match="seeds x users"):
        bootstrap(a, [[0.2, 0.1]])


def test_the_variance_between_groups_is_what_chance_within_does_not_explain() -> None:
    """Two groups of two: means 2 and 6, within 2 and 2. MS between 16, within 2: (16 - 2) / 2 = 7."""
    between, within = variance_split([[1, 3], [5, 7]])
    assert (between, within) == (pytest.approx(math.sqrt(7)), pytest.approx(math.sqrt(2)))
    assert variance_split([[1, 3], [1, 3]]) == (0.0, pytest.approx(math.sqrt(2)))


def test_groups_of_one_run_have_a_variance_between_them_alone() -> None:
    assert variance_split([[1], [3], [8]]) == (pytest.approx(stats.tstd([1, 3, 8])), None)
    with pytest.raises(ValueError, match="at least two"):
        variance_split([[1.0, 2.0]])


def test_the_split_of_groups_of_unequal_size_is_unbiased() -> None:
    """Over 4,000 worlds of effects with variance 4 and noise of variance 1, before negative ones are cut at 0."""
    rng = np.random.default_rng(3)
    sizes = [1, 2, 4]
    found = []
    for _ in range(4_000):
        groups = [(2 * rng.standard_normal() + rng.standard_normal(n)).tolist() for n in sizes]
        found.append(variance_split(groups))
    between, within = np.array(found, float).T
    assert float((within**2).mean()) == pytest.approx(1.0, abs=0.06)
    assert float((between**2).mean()) == pytest.approx(4.0, abs=0.35)
