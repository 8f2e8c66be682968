"""Groups of users: edges by hand, intervals against the paired t test, statsmodels and a simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmark.questions import Context
from benchmark.significance import paired_t
from benchmark.slices import COLD, HISTORY, TRAIN_COUNT, Slicing, by_group, relative_gain, slices_of


def context(train_count: list[int], history: list[int]) -> Context:
    counts = np.array(train_count, np.int32)
    return Context(
        fingerprint="data",
        history_length=np.array(history, np.int32),
        train_count=counts,
        cold=counts == 0,
        cluster=np.arange(len(counts), dtype=np.int32),
    )


def two_groups(*places: int) -> Slicing:
    return Slicing(name="toy", groups=("few", "many"), group_of_U=np.array(places, np.int8))


class TestEdges:
    def test_a_group_holds_its_lower_edge(self) -> None:
        count, cold, history = slices_of(context([0, 4, 5, 14, 19, 20, 900], [2, 4, 5, 9, 10, 49, 50]), "toy")
        assert (count.name, cold.name, history.name) == (TRAIN_COUNT, COLD, HISTORY)
        assert count.groups == ("[0, 5)", "[5, 10)", "[10, 15)", "[15, 20)", "[20, ∞)")
        assert count.group_of_U.tolist() == [0, 0, 1, 2, 3, 4, 4]
        assert cold.groups == ("no", "yes")
        assert cold.group_of_U.tolist() == [1, 0, 0, 0, 0, 0, 0]
        assert history.groups == ("[0, 5)", "[5, 10)", "[10, 20)", "[20, 50)", "[50, ∞)")
        assert history.group_of_U.tolist() == [0, 0, 1, 1, 2, 3, 4]
        assert {found.group_of_U.dtype for found in (count, cold, history)} == {np.dtype(np.int8)}

    @pytest.mark.parametrize("target", ["online-retail", "online-retail-lineorder"])
    def test_items_of_online_retail_are_sold_more_often(self, target: str) -> None:
        count = slices_of(context([19, 20, 79, 80], [2, 2, 2, 2]), target)[0]
        assert count.groups == ("[0, 20)", "[20, 40)", "[40, 60)", "[60, 80)", "[80, ∞)")
        assert count.group_of_U.tolist() == [0, 1, 3, 4]


class TestGroups:
    def test_means_counts_and_gains_by_hand(self) -> None:
        few, many = by_group(two_groups(0, 0, 1, 1, 1, -1), [1, 0.5, 0, 1, 0.5, 9], [0.5, 0.5, 1, 1, 1, 9])
        assert (few.label, few.users, few.mean, few.gain) == ("few", 2, 0.75, 0.5)
        assert (many.label, many.users, many.mean, many.gain) == ("many", 3, 0.5, -0.5)

    def test_the_interval_of_a_mean_is_scipys(self) -> None:
        values = np.random.default_rng(0).random(30)
        (found, _) = by_group(two_groups(*[0] * 20, *[1] * 10), values, np.ones(30))
        expected = stats.ttest_1samp(values[:20], 0).confidence_interval(0.95)
        assert found.interval is not None
        assert (found.interval.low, found.interval.high) == pytest.approx((expected.low, expected.high))

    def test_dependent_users_count_once(self) -> None:
        """Each customer's invoices repeated ten times say no more than one of them."""
        rng = np.random.default_rng(1)
        a, b = rng.random(20), rng.random(20)
        (alone, _) = by_group(two_groups(*[0] * 20), a, b)
        (ten, _) = by_group(two_groups(*[0] * 200), np.repeat(a, 10), np.repeat(b, 10), np.repeat(np.arange(20), 10))
        for name in ("interval", "gain_interval"):
            one, other = getattr(alone, name), getattr(ten, name)
            assert (other.low, other.high) == pytest.approx((one.low, one.high))

    def test_a_group_of_one_unit_or_none_has_no_interval(self) -> None:
        slicing = two_groups(0, 0, 0)
        few, many = by_group(slicing, [1, 0, 1], [1, 1, 0], [7, 7, 7])
        assert (few.mean, few.interval, few.gain, few.gain_interval) == (pytest.approx(2 / 3), None, 0, None)
        assert (many.users, many.mean, many.interval, many.gain, many.gain_interval) == (0, None, None, None, None)

    def test_no_hit_at_all_is_no_certainty(self) -> None:
        few, _ = by_group(two_groups(0, 0, 0), [0, 0, 0], [0, 1, 0])
        assert (few.mean, few.interval) == (0, None)

    def test_entries_for_other_users_are_an_error(self) -> None:
        with pytest.raises(ValueError, match="one entry for each user"):
            by_group(two_groups(0, 1), [1, 1, 1], [1, 1, 1])


class TestRelativeGain:
    def test_a_reference_of_zero_has_no_gain(self) -> None:
        assert relative_gain([1, 0, 1], [0, 0, 0]) == (None, None)
        assert relative_gain([], []) == (None, None)

    def test_a_reference_that_may_be_zero_gives_no_interval(self) -> None:
        """One hit among many users: nearly every gain is possible."""
        gain, interval = relative_gain([1] * 5 + [0] * 45, [0] * 49 + [1])
        assert gain == pytest.approx(4)
        assert interval is None

    def test_a_known_reference_leaves_the_t_interval(self) -> None:
        a = np.random.default_rng(2).random(40)
        expected = paired_t(a, np.full(40, 0.25))
        gain, interval = relative_gain(a, np.full(40, 0.25))
        assert interval is not None
        assert gain == pytest.approx(expected.difference / 0.25)
        assert (interval.low, interval.high) == pytest.approx((expected.low / 0.25, expected.high / 0.25))

    @given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=40), st.integers(1, 5))
    def test_holds_the_gains_that_the_paired_test_does_not_reject(
        self, pairs: list[tuple[int, int]], per_cluster: int
    ) -> None:
        a, b = np.array(pairs, float).T
        clusters = np.arange(len(a)) // per_cluster
        gain, interval = relative_gain(a, b, clusters)
        if interval is None or gain is None or interval.high - interval.low < 1e-6:
            return
        assert interval.low <= gain + 1e-9
        assert gain - 1e-9 <= interval.high
        width = interval.high - interval.low
        for bound, outwards in ((interval.low, -1), (interval.high, 1)):
            within = paired_t(a, (1 + bound - outwards * 0.01 * width) * b, clusters)
            beyond = paired_t(a, (1 + bound + outwards * 0.01 * width) * b, clusters)
            assert within.p >= 0.05 - 1e-9
            assert beyond.p <= 0.05 + 1e-9

    def test_the_interval_covers_as_often_as_it_says(self) -> None:
        rng = np.random.default_rng(3)
        covered = []
        for _ in range(1000):
            taste = rng.normal(0, 0.5, 60)
            found = relative_gain(3 + taste + rng.normal(0, 1, 60), 2 + taste + rng.normal(0, 1, 60))[1]
            covered.append(found is not None and found.low <= 0.5 <= found.high)
        assert np.mean(covered) == pytest.approx(0.95, abs=0.02)
