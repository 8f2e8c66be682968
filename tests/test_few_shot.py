"""Few-shot: what a share of the users may teach, and that everybody is asked all the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.domain import Domain, Sequences
from benchmark.jobs import derive_seed
from benchmark.splits import leave_one_out, some_users

USERS, ITEMS = 40, 60


def domain() -> Domain:
    rng = np.random.default_rng(1)
    return Domain(
        name="toy",
        sequences=Sequences.of([rng.integers(0, ITEMS, rng.integers(3, 8)).tolist() for _ in range(USERS)]),
        item_ids=tuple(f"i{n}" for n in range(ITEMS)),
        user_ids=tuple(f"u{n}" for n in range(USERS)),
        texts=("text",) * ITEMS,
    )


SPLIT = leave_one_out(domain())


def chosen(share: float, seed: int = 0, fingerprint: str = "data") -> list[int]:
    """Which users' training sequences a share holds, found by what the sequences are."""
    rows = [tuple(row) for row in some_users(SPLIT, share, fingerprint, seed).train]
    every = [tuple(row) for row in SPLIT.train]
    assert len(set(every)) == USERS, "sequences of the toy are told apart"
    return [every.index(row) for row in rows]


@given(st.floats(0.001, 0.999), st.floats(0.001, 0.999), st.integers(0, 3))
def test_a_smaller_share_is_part_of_a_larger_one(one: float, other: float, seed: int) -> None:
    small, large = sorted((one, other))
    few, many = chosen(small, seed), chosen(large, seed)
    assert set(few) <= set(many)
    assert (len(few), len(many)) == (max(1, round(small * USERS)), max(1, round(large * USERS)))
    assert few == sorted(few), "users keep their order"


def test_the_users_are_the_first_by_their_hash() -> None:
    order = sorted(range(USERS), key=lambda user: derive_seed("few-shot", "data", 2, user))
    assert chosen(0.25, 2) == sorted(order[:10])


def test_another_seed_and_other_data_draw_other_users() -> None:
    draws = [chosen(0.25, 0), chosen(0.25, 1), chosen(0.25, 0, "other")]
    assert len({tuple(draw) for draw in draws}) == 3
    assert chosen(0.25, 0) == draws[0]


def test_only_the_drawn_users_are_learnt_from_and_selected_on_and_every_item_stays() -> None:
    few, users = some_users(SPLIT, 0.2, "data", 0), chosen(0.2)
    assert few.n_items == ITEMS
    assert [row.tolist() for row in few.train] == [SPLIT.train[user].tolist() for user in users]
    for name in ("valid", "test"):
        own, every = getattr(few, name), getattr(SPLIT, name)
        assert own.targets.tolist() == every.targets[users].tolist()
        assert [row.tolist() for row in own.histories] == [every.histories[user].tolist() for user in users]
    unseen = np.setdiff1d(SPLIT.test.targets, few.train.items)
    assert len(unseen), "items that no drawn user has taken are still asked for"


@pytest.mark.parametrize("share", [1e-9, 0.001])
def test_there_is_always_one_user(share: float) -> None:
    assert len(chosen(share)) == 1
