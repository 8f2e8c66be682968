"""Preparing by card: what is found, what is checked, what is remembered."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmark.cards import Card, load_card
from benchmark.domain import Damaged
from benchmark.errors import InputError
from benchmark.prepare import prepare, raw_folder

CARD = """
name: toy
title: Toy
role: {role}
about: Made up.
source: https://example.org/toy
licence: none
inputs:
  - reader: unisrec
    files: {{prefix: released/toy}}
    split: released
  - reader: atomic
    files: {{interactions: toy.inter, items: toy.item}}
    split: re-processed
    {extra}
    expect: {{users: {users}, items: 3, interactions: 6}}
"""
INTER = "user_id:token\titem_id:token\ttimestamp:float\n" + "".join(
    f"{user}\t{item}\t{time}\n" for user in "uv" for time, item in enumerate("abc")
)
ITEM = "item_id:token\ttitle:token_seq\na\tApple\nb\tBowl\nc\t\n"


def make_card(folder: Path, *, role: str = "target", users: int = 2, extra: str = "") -> Card:
    path = folder / "toy.yaml"
    path.write_text(CARD.format(role=role, users=users, extra=extra))
    return load_card(path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "toy.inter").write_text(INTER)
    (folder / "toy.item").write_text(ITEM)
    return folder


def test_a_domain_is_found_checked_and_labelled(tmp_path: Path, data: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    found = prepare(make_card(tmp_path), data=[other, data], cache=tmp_path / "cache")
    assert found.domain.n_interactions == 6
    assert (found.split, found.custom, found.mismatches) == ("re-processed", False, ())
    assert found.warnings == ("toy: 1 of 3 items have no text",)
    assert (tmp_path / "cache" / "domains" / "toy" / "domain.json").is_file()


def test_a_prepared_domain_is_used_again_even_without_its_raw_files(tmp_path: Path, data: Path) -> None:
    card, cache = make_card(tmp_path), tmp_path / "cache"
    first = prepare(card, data=[data], cache=cache).domain.fingerprint
    stored = cache / "domains" / "toy" / "items.parquet"
    before = stored.stat().st_mtime_ns
    assert prepare(card, data=[data], cache=cache).domain.fingerprint == first
    assert prepare(card, cache=cache).domain.fingerprint == first
    assert stored.stat().st_mtime_ns == before


def test_changed_raw_files_and_changed_recipes_prepare_again(tmp_path: Path, data: Path) -> None:
    card, cache = make_card(tmp_path), tmp_path / "cache"
    first = prepare(card, data=[data], cache=cache).domain
    (data / "toy.item").write_text(ITEM.replace("Apple", "Grape"))
    os.utime(data / "toy.item", (1, 1))
    changed = prepare(card, data=[data], cache=cache).domain
    assert (first.texts[0], changed.texts[0]) == ("Apple", "Grape")
    recipe = make_card(tmp_path, extra="positions: true")
    assert changed.timestamps is not None
    assert prepare(recipe, data=[data], cache=cache).domain.timestamps is None
    with pytest.raises(InputError, match="nothing to prepare it from"):
        prepare(card, cache=cache)


def test_the_first_input_that_is_whole_wins(tmp_path: Path, data: Path) -> None:
    released = data / "released"
    released.mkdir()
    (released / "toy.text").write_text("item_id:token\ttext:token_seq\n")
    card, cache = make_card(tmp_path), tmp_path / "cache"
    assert prepare(card, data=[data], cache=cache).split == "re-processed"
    header = "user_id:token\titem_id_list:token_seq\titem_id:token\n"
    (released / "toy.train.inter").write_text(header)
    (released / "toy.valid.inter").write_text(header + "0\t0\t1\n")
    (released / "toy.test.inter").write_text(header + "0\t0 1\t0\n")
    (released / "toy.item2index").write_text("a\t0\nb\t1\n")
    (released / "toy.user2index").write_text("u\t0\n")
    (released / "toy.text").write_text("item_id:token\ttext:token_seq\na\tApple \n")
    found = prepare(card, data=[data], cache=cache)
    assert (found.split, found.domain.sequences[0].tolist()) == ("released", [0, 1, 0])


def test_what_is_missing_and_where_to_get_it_is_said(tmp_path: Path, data: Path) -> None:
    (data / "toy.item").unlink()
    with pytest.raises(InputError) as error:
        prepare(make_card(tmp_path), data=[data], cache=tmp_path / "cache")
    for part in ("toy.item", f"{data} has only some", "https://example.org/toy", "--data", "transrec data fetch toy"):
        assert part in str(error.value)
    with pytest.raises(InputError, match="no such data folder"):
        prepare(make_card(tmp_path), data=[tmp_path / "nowhere"], cache=tmp_path / "cache")


def test_downloads_are_found_without_being_named(tmp_path: Path, data: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    data.rename(raw_folder(cache))
    assert prepare(make_card(tmp_path), cache=cache).domain.n_users == 2


def test_another_outcome_than_expected_is_an_error_or_a_custom_domain(tmp_path: Path, data: Path) -> None:
    wrong = "sha256: {items: " + "f" * 64 + "}"
    card, cache = make_card(tmp_path, users=5, extra=wrong), tmp_path / "cache"
    for _ in range(2):  # also when it comes from the cache
        with pytest.raises(InputError, match=r"2 users instead of 5; .*toy.item has another SHA-256.*--allow-mismatch"):
            prepare(card, data=[data], cache=cache)
    found = prepare(card, data=[data], cache=cache, allow_mismatch=True)
    assert found.custom
    assert found.mismatches[0] == "2 users instead of 5"


def test_refused_files_do_not_replace_a_good_domain(tmp_path: Path, data: Path) -> None:
    card, cache = make_card(tmp_path), tmp_path / "cache"
    good = prepare(card, data=[data], cache=cache).domain.fingerprint
    for content in (INTER + "w\ta\t1\nw\tb\t2\nw\tc\t3\n", INTER + "w\ta\t1\n"):
        (data / "toy.inter").write_text(content)
        with pytest.raises(InputError, match="3 users instead of 2"):
            prepare(card, data=[data], cache=cache)
        assert prepare(card, cache=cache).domain.fingerprint == good
    with pytest.raises(InputError, match="user 'w' has 1"):
        prepare(card, data=[data], cache=cache, allow_mismatch=True)
    assert prepare(card, cache=cache).domain.fingerprint == good


@pytest.mark.parametrize("damage", ["no item", "no text", "text missing", "another type", "no name", "no object"])
def test_a_damaged_domain_is_named_and_what_to_do(tmp_path: Path, data: Path, damage: str) -> None:
    card, cache = make_card(tmp_path), tmp_path / "cache"
    prepare(card, data=[data], cache=cache)
    home = cache / "domains" / "toy"
    interactions, items = (pq.read_table(home / f"{name}.parquet") for name in ("interactions", "items"))
    match damage:
        case "no item":
            pq.write_table(interactions.drop_columns(["item"]), home / "interactions.parquet")
        case "no text":
            pq.write_table(items.drop_columns(["text"]), home / "items.parquet")
        case "text missing":
            pq.write_table(items.set_column(1, "text", pa.array(["a", None, "c"])), home / "items.parquet")
        case "another type":
            column = pa.array(interactions["item"].to_pylist(), pa.int64())
            pq.write_table(interactions.set_column(0, "item", column), home / "interactions.parquet")
        case "no name":
            (home / "domain.json").write_text("{}")
        case "no object":
            (home / "domain.json").write_text("[]")
    with pytest.raises(Damaged, match="toy: not a prepared domain .*delete it and prepare it again"):
        prepare(card, cache=cache)


def test_a_fingerprint_pins_the_order(tmp_path: Path, data: Path) -> None:
    domain = prepare(make_card(tmp_path), data=[data], cache=tmp_path / "cache").domain
    text = CARD.format(role="target", users=2, extra="").replace("6}", f"6, fingerprint: {domain.fingerprint}}}")
    (tmp_path / "toy.yaml").write_text(text)
    card = load_card(tmp_path / "toy.yaml")
    assert not prepare(card, data=[data], cache=tmp_path / "cache").custom
    (data / "toy.inter").write_text(INTER.replace("\t2", "\t-1"))
    with pytest.raises(InputError, match=r"fingerprint [0-9a-f]{12}... instead of"):
        prepare(card, data=[data], cache=tmp_path / "cache")


def test_short_users_are_refused_for_a_target_only(tmp_path: Path, data: Path) -> None:
    (data / "toy.inter").write_text(INTER + "w\ta\t1\n")
    changed = {"data": [data], "cache": tmp_path / "cache", "allow_mismatch": True}
    with pytest.raises(InputError, match="1 users have fewer than 3 interactions .first: user 'w' has 1"):
        prepare(make_card(tmp_path), **changed)
    assert prepare(make_card(tmp_path, role="source"), **changed).domain.n_users == 3


def test_files_may_lie_beside_the_card(tmp_path: Path, data: Path) -> None:
    card = make_card(data, extra="base: card")
    assert prepare(card, cache=tmp_path / "cache").domain.n_users == 2


def test_a_failed_preparation_leaves_nothing(tmp_path: Path, data: Path) -> None:
    (data / "toy.inter").write_text(INTER + "broken\n")
    with pytest.raises(InputError, match="toy.inter:8"):
        prepare(make_card(tmp_path), data=[data], cache=tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache" / "domains").iterdir() if path.suffix != ".lock"]
