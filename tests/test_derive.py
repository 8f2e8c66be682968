"""Domains made from domains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmark.derive import before, keep, subset
from benchmark.domain import Domain, Sequences
from benchmark.errors import InputError

DAY = 86_400
DOMAIN = Domain(
    name="shop",
    sequences=Sequences.of([[0, 1, 2], [2, 1], [3]]),
    item_ids=("a", "b", "c", "d"),
    user_ids=("ann", "bob", "cid"),
    texts=("A", "B", "C", "D"),
    timestamps=np.array([1, 2, 3, 2, 3, 3], np.int64) * DAY,
    clusters=np.array([5, 5, 6], np.int32),
    taxonomy=(("x",), ("y",), ("z",), ()),
)


def test_a_cut_in_time_leaves_what_was_before_it() -> None:
    found = before(DOMAIN, 3 * DAY)
    assert found.name == "shop+before-19700104T000000Z"
    assert [list(row) for row in found.sequences] == [[0, 1], [2]]
    assert (found.user_ids, found.item_ids, found.texts) == (("ann", "bob"), ("a", "b", "c"), ("A", "B", "C"))
    assert found.timestamps is not None
    assert found.timestamps.tolist() == [DAY, 2 * DAY, 2 * DAY]
    assert found.clusters is not None
    assert found.clusters.tolist() == [5, 5]
    assert found.taxonomy == (("x",), ("y",), ("z",))
    assert found.fingerprint != DOMAIN.fingerprint


def test_a_cut_after_everything_changes_the_name_alone() -> None:
    assert before(DOMAIN, 4 * DAY).fingerprint == DOMAIN.fingerprint


def test_nothing_left_is_said() -> None:
    with pytest.raises(InputError, match=r"domain 'shop\+before-19700102T000000Z': nothing of 'shop' is left"):
        before(DOMAIN, DAY)


def test_a_domain_without_times_cannot_be_cut() -> None:
    timeless = Domain(name="shop", sequences=Sequences.of([[0]]), item_ids=("a",), user_ids=("ann",), texts=("A",))
    with pytest.raises(InputError, match=r"'shop' has no times.* import the table with a column of times"):
        before(timeless, DAY)


def test_items_that_no_longer_occur_go() -> None:
    found = subset(DOMAIN, np.array([0, 0, 1, 1, 0, 1], bool), "some")
    assert [list(row) for row in found.sequences] == [[0], [0], [1]]
    assert found.item_ids == ("c", "d")


def test_a_kept_domain_is_found_and_replaced_only_by_another(tmp_path: Path) -> None:
    cut = before(DOMAIN, 3 * DAY)
    folder = tmp_path / "domains" / cut.name
    keep(cut, tmp_path)
    assert Domain.load(folder).fingerprint == cut.fingerprint
    written = (folder / "items.parquet").stat().st_mtime_ns
    keep(cut, tmp_path)
    assert (folder / "items.parquet").stat().st_mtime_ns == written
    other = subset(DOMAIN, np.ones(6, bool), cut.name)
    keep(other, tmp_path)
    assert Domain.load(folder).fingerprint == DOMAIN.fingerprint
