"""The transfer contract: what a source may share with a target, counted, and what it must not, refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmark.cards import Card
from benchmark.domain import Domain, Sequences
from benchmark.errors import InputError
from benchmark.prepare import Prepared
from benchmark.strict import parse
from benchmark.transfer import Overlap, check

SHARED = {"users": "people", "items": "things"}


def prepared(
    name: str,
    histories: dict[str, list[str]],
    *,
    id_space: dict[str, str] | None = None,
    texts: dict[str, str] | None = None,
) -> Prepared:
    """A domain given as histories by user; an item's text is its own unless given."""
    items = sorted({item for history in histories.values() for item in history})
    row = {item: number for number, item in enumerate(items)}
    domain = Domain(
        name=name,
        sequences=Sequences.of([np.array([row[item] for item in history], np.int32) for history in histories.values()]),
        item_ids=tuple(items),
        user_ids=tuple(histories),
        texts=tuple((texts or {}).get(item, f"{name} {item}") for item in items),
    )
    fields: dict[str, Any] = {
        "name": name,
        "title": name,
        "role": "both",
        "about": "test",
        "source": "test",
        "licence": "none",
        "id_space": id_space or {},
        "inputs": [{"reader": "imported", "split": "own"}],
    }
    return Prepared(domain=domain, card=parse(Card, fields, "test"), split="own")


TARGET = {"ann": ["a", "b", "c", "d"], "bob": ["b", "a", "d"], "cid": ["c", "b", "a"]}


def test_ids_of_different_spaces_are_not_compared() -> None:
    target = prepared("target", TARGET, id_space=SHARED)
    for space in ({}, {"users": "others", "items": "elsewhere"}):
        found = check(target, prepared("source", TARGET, id_space=space))
        assert (found.users, found.items) == (None, None), "not checkable is not the same as none"
        assert found.warning is None


def test_undeclared_spaces_are_never_the_same() -> None:
    found = check(prepared("target", TARGET), prepared("source", TARGET))
    assert (found.users, found.items) == (None, None)


def test_shared_users_items_and_texts_are_counted() -> None:
    target = prepared("target", TARGET, id_space=SHARED, texts={"a": "kettle", "b": "spoon", "c": "", "d": "kettle"})
    source = prepared(
        "source",
        {"ann": ["x", "y", "a"], "bob": ["x", "z", "b"], "zoe": ["c", "d", "x"]},
        id_space=SHARED,
        texts={"x": "kettle", "y": "", "z": "fork"},
    )
    found = check(target, source)
    # two items of the target say "kettle"; that both have an empty text means nothing
    assert found == Overlap(source="source", users=2, items=4, texts=2)
    assert found.warning == "source shares 2 users, 4 items, 2 identical item texts with the target"


def test_one_space_may_be_shared_without_the_other() -> None:
    found = check(
        prepared("target", TARGET, id_space=SHARED),
        prepared("source", {"ann": ["d", "c", "e"]}, id_space={"users": "people", "items": "elsewhere"}),
    )
    assert (found.users, found.items) == (1, None)


def test_nothing_shared_is_no_warning() -> None:
    found = check(
        prepared("target", TARGET, id_space=SHARED), prepared("source", {"eve": ["x", "y", "z"]}, id_space=SHARED)
    )
    assert (found.users, found.items, found.texts, found.warning) == (0, 0, 0, None)


@pytest.mark.parametrize("held_out", ["c", "d"], ids=["validation item", "test item"])
def test_a_source_that_knows_an_answer_is_refused(held_out: str) -> None:
    source = prepared("source", {"ann": ["x", held_out, "y"], "zoe": ["d", "c", "x"]}, id_space=SHARED)
    with pytest.raises(InputError, match="contains 1 held-out interactions of 'target'") as error:
        check(prepared("target", TARGET, id_space=SHARED), source)
    assert f"user 'ann', item '{held_out}'" in str(error.value)
    assert "remove the source" in str(error.value)


def test_what_a_user_did_before_may_be_in_a_source() -> None:
    source = prepared("source", {"ann": ["a", "b", "x"], "zoe": ["d", "c", "x"]}, id_space=SHARED)
    assert check(prepared("target", TARGET, id_space=SHARED), source).users == 1


def test_a_domain_is_no_source_of_itself() -> None:
    target = prepared("target", TARGET, texts=dict.fromkeys("abcd", "the same"))
    renamed = prepared("renamed", TARGET, texts=dict.fromkeys("abcd", "the same"))
    with pytest.raises(InputError, match="source 'renamed' is the target 'target' itself; remove it"):
        check(target, renamed)
