"""Paired comparisons against scipy, statsmodels and a simulation."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmark.errors import InputError
from benchmark.significance import paired_t


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


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=30))
def test_exchanging_the_methods_mirrors_the_interval(pairs: list[tuple[float, float]]) -> None:
    a, b = np.array(pairs).T
    forth, back = paired_t(a, b), paired_t(b, a)
    assert forth.low <= forth.difference <= forth.high
    assert 0 <= forth.p <= 1
    assert (back.difference, back.low, back.high) == pytest.approx((-forth.difference, -forth.high, -forth.low))


def test_invoices_of_one_customer_do_not_count_as_independent() -> None:
    """Each customer's difference repeated ten times: as clusters nothing is gained, as users much would be."""
    d = np.random.default_rng(1).normal(0.2, 1, 50)
    repeated, customers = np.repeat(d, 10), np.repeat(np.arange(50), 10)
    alone, clustered = paired_t(d, np.zeros(50)), paired_t(repeated, np.zeros(500), customers)
    assert (clustered.low, clustered.high, clustered.p) == pytest.approx((alone.low, alone.high, alone.p))
    naive = paired_t(repeated, np.zeros(500))
    assert naive.high - naive.low < 0.4 * (clustered.high - clustered.low)


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    intervals = [paired_t(rng.normal(0.3, 1, 20), np.zeros(20)) for _ in range(2000)]
    assert np.mean([found.low <= 0.3 <= found.high for found in intervals]) == pytest.approx(0.95, abs=0.015)


def test_methods_that_do_not_differ_at_all() -> None:
    same = paired_t([0.5, 0.25, 1.0], [0.5, 0.25, 1.0])
    assert (same.difference, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)
    always = paired_t([1.0, 1.0], [0.5, 0.5])
    assert (always.difference, always.low, always.high, always.p) == (0.5, 0.5, 0.5, 0.0)


def test_too_few_units_and_unpaired_arrays_are_errors() -> None:
    with pytest.raises(InputError, match="at least two"):
        paired_t([0.1], [0.2])
    with pytest.raises(InputError, match="found 1"):
        paired_t([0.1, 0.2], [0.2, 0.2], [4, 4])
    with pytest.raises(InputError, match="found 0"):
        paired_t([], [])
    with pytest.raises(ValueError, match="equally long"):
        paired_t([0.1, 0.2], [0.2])
    with pytest.raises(ValueError, match="equally long"):
        paired_t([0.1, 0.2], [0.2, 0.1], [0])
