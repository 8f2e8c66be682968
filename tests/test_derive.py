"""Domains made from domains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmark.cards import load_cards
from benchmark.derive import before, keep, parts, subset, unique_texts
from benchmark.domain import Domain, Sequences
from benchmark.errors import InputError
from benchmark.groundwork import card_of, prepare_all
from benchmark.prepare import Prepared

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


def test_items_of_a_text_that_was_there_go_and_users_with_too_little_left() -> None:
    domain = Domain(
        name="shop",
        sequences=Sequences.of([[0, 1, 2, 3], [3, 1, 0], [2, 4, 3, 2]]),
        item_ids=("a", "b", "c", "d", "e"),
        user_ids=("ann", "bob", "cid"),
        texts=("Pen", "Pen", "pen", "", ""),
    )
    found = unique_texts(domain)
    assert found.name == "shop+unique-texts"
    assert (found.user_ids, found.item_ids, found.texts) == (("ann", "cid"), ("a", "c", "d"), ("Pen", "pen", ""))
    assert [list(row) for row in found.sequences] == [[0, 1, 2], [1, 2, 1]]
    assert unique_texts(found).fingerprint == found.fingerprint != domain.fingerprint


def test_a_derived_domain_is_known_by_its_name() -> None:
    assert parts("shop") == ("shop", None)
    assert parts("shop+unique-texts") == ("shop", "unique-texts")
    with pytest.raises(InputError, match=r"'shop\+unique-text': unknown derivation .*did you mean 'unique-texts'"):
        parts("shop+unique-text")


CARD = """\
name: pens
aliases: [Pens]
title: Pens and paper
role: target
paper_name: Pens
about: two pens of one text
source: here
licence: none
inputs:
  - {reader: atomic, base: card, files: {interactions: pens.inter, items: pens.item}, split: released}
"""


def prepared(folder: Path, *names: str) -> dict[str, Prepared]:
    folder.joinpath("pens.yaml").write_text(CARD, encoding="utf-8")
    rows = [f"{user}\t{item}\t{time}" for user in ("ann", "bob") for time, item in enumerate("abcd")]
    folder.joinpath("pens.inter").write_text(
        "\n".join(["user_id:token\titem_id:token\ttimestamp:float", *rows]), encoding="utf-8"
    )
    texts = [f"{item}\t{text}" for item, text in zip("abcd", ("pen", "paper", "pen", "ink"), strict=True)]
    folder.joinpath("pens.item").write_text("\n".join(["item_id:token\ttitle:token_seq", *texts]), encoding="utf-8")
    cards = load_cards([folder])
    return prepare_all(
        [card_of(name, cards).name for name in names],
        cards,
        data=(),
        cache=folder / "cache",
        allow_mismatch=False,
        say=lambda line: None,
    )


def test_a_suite_may_name_a_derived_domain_by_the_alias_of_its_base(tmp_path: Path) -> None:
    found = prepared(tmp_path, "Pens", "Pens+unique-texts")
    assert list(found) == ["pens", "pens+unique-texts"]
    base, derived = found.values()
    assert (base.domain.n_items, derived.domain.n_items) == (4, 3)
    assert (base.card.paper_name, derived.card.paper_name, derived.split) == ("Pens", None, "own")
    assert derived.card.title == "Pens and paper, unique texts"
    for name, each in found.items():
        assert each.domain.name == each.card.name == name
        assert Domain.load(tmp_path / "cache" / "domains" / name).fingerprint == each.domain.fingerprint


def test_a_derived_domain_that_is_its_base_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"demo-shop\+unique-texts: is all of demo-shop.*name that instead"):
        prepared(tmp_path, "demo-shop+unique-texts")
