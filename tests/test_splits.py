"""What may be seen when: leave-one-out and the cut in time, by hand and as properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.domain import Domain, Sequences
from benchmark.errors import InputError
from benchmark.jobs import Cut
from benchmark.splits import HeldOut, Split, held_out, instant_of, leave_one_out, split_of, temporal


def domain(histories: dict[str, list[tuple[int, int]]], n_items: int | None = None) -> Domain:
    """Users with (time, item) pairs in order."""
    items = [[item for _, item in history] for history in histories.values()]
    n_items = n_items or max(map(max, filter(None, items))) + 1
    return Domain(
        name="shop",
        sequences=Sequences.of([np.array(row, np.int32) for row in items]),
        item_ids=tuple(f"i{item}" for item in range(n_items)),
        user_ids=tuple(histories),
        texts=tuple(f"thing {item}" for item in range(n_items)),
        timestamps=np.array([time for history in histories.values() for time, _ in history], np.int64),
    )


# Twenty times, 0 to 19. At 0.7 the test part begins at time 14: a rank of 0.7 x 19 = 13.3 among sorted times, upwards.
# Before it are times 0 to 13; 0.7 x 13 = 9.1, so the validation part begins at time 10.
SHOP = domain(
    {
        "ann": [(0, 0), (1, 1), (10, 2), (12, 3), (14, 4), (16, 5), (18, 0)],
        "bob": [(2, 1), (3, 2), (4, 3)],  # gone before validation
        "cid": [(5, 4), (6, 0), (11, 1), (19, 6)],  # item 6 is new in the test part
        "dot": [(13, 2), (15, 3)],  # without history before validation, but before test
        "eve": [(17, 5)],  # without history at all
        "fay": [(7, 0), (8, 1), (9, 2)],
    }
)
CUT = Cut(quantile=0.7)


def asked(found: HeldOut) -> list[tuple[list[int], int]]:
    return [(list(map(int, row)), int(item)) for row, item in zip(found.histories, found.targets, strict=True)]


def rows(found: Sequences) -> list[list[int]]:
    return [list(map(int, row)) for row in found]


def test_a_cut_in_time_by_hand() -> None:
    split = temporal(SHOP, CUT, 1)
    assert split.in_time is not None
    assert (split.in_time.valid_from, split.in_time.test_from) == (10, 14)
    assert instant_of(SHOP, CUT) == 14
    assert rows(split.train) == [[0, 1], [1, 2, 3], [4, 0], [0, 1, 2]]
    assert asked(split.valid) == [([0, 1, 2], 3), ([4, 0], 1)], "the last of the window; dot had no history before it"
    assert rows(split.in_time.refit) == [[0, 1, 2, 3], [1, 2, 3], [4, 0, 1], [2], [0, 1, 2]]
    assert asked(split.test) == [([0, 1, 2, 3, 4, 5], 0), ([4, 0, 1], 6), ([2], 3)]
    assert split.in_time.test_users.tolist() == [0, 2, 3]
    assert split.in_time.left_out == 1, "eve"
    assert split.n_items == 7, "item 6 is a candidate, though nobody had taken it"
    assert split.train_counts.tolist() == [3, 4, 4, 2, 1, 0, 0], "of what the ranked model learns from"


def test_successive_asks_for_every_interaction_after_all_before_it() -> None:
    split = temporal(SHOP, Cut(quantile=0.7, test="successive"), 1)
    assert split.in_time is not None
    assert asked(split.test) == [
        ([0, 1, 2, 3], 4),
        ([0, 1, 2, 3, 4], 5),
        ([0, 1, 2, 3, 4, 5], 0),
        ([4, 0, 1], 6),
        ([2], 3),
    ]
    assert split.in_time.test_users.tolist() == [0, 0, 0, 2, 3]
    last = temporal(SHOP, CUT, 1)
    assert asked(split.valid) == asked(last.valid), "selection is the same"
    assert rows(split.train) == rows(last.train)


def test_what_happens_at_the_instant_itself_is_tested() -> None:
    """All at one time but the first: the quantile falls on that time, and nothing of it may be learnt from."""
    shop = domain({"ann": [(0, 0), (1, 1), (5, 2)], "bob": [(5, 0), (5, 1), (5, 2)], "cid": [(0, 2), (1, 0), (1, 1)]})
    split = temporal(shop, Cut(quantile=0.6), 1)
    assert split.in_time is not None
    assert (split.in_time.valid_from, split.in_time.test_from) == (1, 5)
    assert rows(split.in_time.refit) == [[0, 1], [2, 0, 1]]
    assert asked(split.test) == [([0, 1], 2)]
    assert split.in_time.left_out == 1


def test_held_out_of_each_user() -> None:
    assert rows(held_out(SHOP, CUT)) == [[4, 5, 0], [], [6], [3], [5], []]
    assert rows(held_out(SHOP, None)) == [[5, 0], [2, 3], [1, 6], [2, 3], [5], [1, 2]]


def test_without_a_cut_it_is_leave_one_out() -> None:
    shop = domain({"ann": [(0, 0), (1, 1), (2, 2)]})
    split = split_of(shop, None)
    assert split.in_time is None
    assert asked(split.test) == asked(leave_one_out(shop).test) == [([0, 1], 2)]


def test_a_domain_without_times_is_refused_with_what_to_do() -> None:
    timeless = Domain(
        name="shop", sequences=Sequences.of([[0]]), item_ids=("a",), user_ids=("ann",), texts=("A",), timestamps=None
    )
    with pytest.raises(InputError, match=r"domain 'shop' has no times.*'track: paper'"):
        temporal(timeless, CUT)


def test_times_that_go_back_are_refused() -> None:
    shop = domain({"ann": [(0, 0), (9, 1)], "bob": [(3, 0), (2, 1), (4, 1)]})
    with pytest.raises(InputError, match=r"interactions of user 'bob' are not in the order of their times"):
        temporal(shop, CUT)


def test_sessions_shorter_than_the_window_have_no_questions() -> None:
    shop = domain({f"s{n}": [(10 * n, 0), (10 * n + 1, 1), (10 * n + 2, 0)] for n in range(10)})
    with pytest.raises(InputError, match=r"0 users of the validation part.*takes 10; .*make the customer the user"):
        temporal(shop, Cut(quantile=0.9))


@st.composite
def shops(draw: st.DrawFn) -> Domain:
    """Users with interactions at few times, so that many tie with the instants; each interaction is its own item."""
    histories, item = {}, 0
    for user in range(draw(st.integers(2, 8))):
        times = sorted(draw(st.lists(st.integers(0, 12), min_size=1, max_size=8)))
        histories[f"u{user}"] = [(time, item + place) for place, time in enumerate(times)]
        item += len(times)
    return domain(histories, item)


def split_or_none(shop: Domain, cut: Cut) -> Split | None:
    try:
        return temporal(shop, cut, 1)
    except InputError:
        return None  # no question, which is refused


@given(shops(), st.sampled_from([0.3, 0.5, 0.8, 0.9]), st.sampled_from(["last", "successive"]))
def test_nothing_at_or_after_an_instant_is_learnt_from(shop: Domain, quantile: float, rule: str) -> None:
    split = split_or_none(shop, Cut(quantile=quantile, test=rule))  # pyright: ignore[reportArgumentType]
    if split is None:
        return
    assert split.in_time is not None
    assert shop.timestamps is not None
    times = shop.timestamps  # an item is an interaction here, so this is also the time of each item
    valid_from, test_from = split.in_time.valid_from, split.in_time.test_from
    assert valid_from <= test_from
    assert set(split.train.items.tolist()) == set(np.flatnonzero(times < valid_from).tolist())
    assert set(split.in_time.refit.items.tolist()) == set(np.flatnonzero(times < test_from).tolist())
    assert min(*split.train.lengths, *split.in_time.refit.lengths) > 0
    assert ((times[split.valid.targets] >= valid_from) & (times[split.valid.targets] < test_from)).all()
    assert (times[split.test.targets] >= test_from).all()
    owner = np.repeat(np.arange(shop.n_users), shop.sequences.lengths)
    for part in (split.valid, split.test):
        for history, target in zip(part.histories, part.targets, strict=True):
            assert history.tolist() == list(range(shop.sequences.offsets[owner[target]], target)), "all that was before"
    assert owner[split.test.targets].tolist() == split.in_time.test_users.tolist()
    first = times[shop.sequences.offsets[:-1]]
    last = times[shop.sequences.offsets[1:] - 1]
    assert split.in_time.left_out == int((first >= test_from).sum())
    assert set(split.in_time.test_users.tolist()) == set(
        np.flatnonzero((first < test_from) & (last >= test_from)).tolist()
    )
    if rule == "successive":
        late = np.flatnonzero((times >= test_from) & (first[owner] < test_from))
        assert split.test.targets.tolist() == late.tolist()
    assert rows(held_out(shop, Cut(quantile=quantile))) == [
        [int(item) for item in history if times[item] >= test_from] for history in shop.sequences
    ]
