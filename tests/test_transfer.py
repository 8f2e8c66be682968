"""The transfer contract: what a source may share with a target, counted, and what it must not, refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmark.cards import Card
from benchmark.domain import Domain, Sequences
from benchmark.errors import InputError
from benchmark.jobs import Cut
from benchmark.prepare import Prepared
from benchmark.strict import parse
from benchmark.transfer import Overlap, check, without_overlap

SHARED = {"users": "people", "items": "things"}


def prepared(
    name: str,
    histories: dict[str, list[str]],
    *,
    id_space: dict[str, str] | None = None,
    texts: dict[str, str] | None = None,
    times: dict[str, list[int]] | None = None,
) -> Prepared:
    """A domain given as histories by user; an item's text is its own unless given. Without times unless these are."""
    items = sorted({item for history in histories.values() for item in history})
    row = {item: number for number, item in enumerate(items)}
    domain = Domain(
        name=name,
        sequences=Sequences.of([np.array([row[item] for item in history], np.int32) for history in histories.values()]),
        item_ids=tuple(items),
        user_ids=tuple(histories),
        texts=tuple((texts or {}).get(item, f"{name} {item}") for item in items),
        timestamps=None if times is None else np.array([time for user in histories for time in times[user]], np.int64),
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


# --- the strict track

TIMES = {"ann": [0, 2, 4, 9], "bob": [1, 3, 5], "cid": [6, 7, 8]}
CUT = Cut(quantile=0.7)
"""The test part begins at 7: 0.7 x 9 = 6.3 among the times 0 to 9, upwards."""


def test_held_out_is_what_the_cut_holds_out() -> None:
    target = prepared("target", TARGET, id_space=SHARED, times=TIMES)
    before_the_cut = prepared("source", {"ann": ["x", "c", "b"], "bob": ["a", "d", "y"]}, id_space=SHARED)
    assert check(target, before_the_cut, CUT).users == 2
    with pytest.raises(InputError, match=r"3 held-out interactions of 'target' \(first: user 'ann', item 'c'\)"):
        check(target, before_the_cut)
    after_the_cut = prepared("source", {"cid": ["x", "b", "y"], "ann": ["d"]}, id_space=SHARED)
    with pytest.raises(InputError, match=r"2 held-out interactions of 'target' \(first: user 'ann', item 'd'\)"):
        check(target, after_the_cut, CUT)


# --- what both have, taken out


def histories(found: Prepared) -> dict[str, list[str]]:
    domain = found.domain
    rows = zip(domain.user_ids, domain.sequences, strict=True)
    return {user: [domain.item_ids[item] for item in row] for user, row in rows}


def test_shared_users_items_and_texts_are_taken_out() -> None:
    target = prepared("target", TARGET, id_space=SHARED, texts={"a": "kettle", "b": "spoon", "c": "", "d": "kettle"})
    source = prepared(
        "source",
        {
            "ann": ["x", "y", "z", "w"],  # a shared user: the whole sequence
            "eve": ["x", "y", "a", "z", "w", "y"],  # a is shared, and x says what a says
            "fay": ["x", "y", "z", "d", "x"],  # two left: too few
            "gus": ["w", "z", "y"],
        },
        id_space=SHARED,
        texts={"x": "kettle", "y": "", "z": "fork", "w": "knife"},
    )
    found, removed = without_overlap(target, source)
    assert found.domain.name == "source+without-target"
    assert histories(found) == {"eve": ["y", "z", "w", "y"], "gus": ["w", "z", "y"]}
    assert found.domain.fingerprint != source.domain.fingerprint
    assert removed is not None
    counts = removed.model_dump()
    assert counts.pop("source") == "source+without-target"
    assert counts == {"users": 1, "items": 2, "texts": 1, "short_users": 1, "interactions": 4 + 2 + 5}
    again = check(target, found)
    assert (again.users, again.items, again.texts, again.warning) == (0, 0, 0, None)


def test_a_leak_is_refused_and_runs_once_it_is_taken_out() -> None:
    target = prepared("target", TARGET, id_space=SHARED)
    leaking = prepared("source", {"ann": ["x", "d", "y"], "eve": ["x", "y", "z"]}, id_space=SHARED)
    with pytest.raises(InputError, match="or take out all that both share with --drop-overlap"):
        check(target, leaking)
    found, _ = without_overlap(target, leaking)
    assert check(target, found).users == 0
    assert histories(found) == {"eve": ["x", "y", "z"]}


def test_ids_that_merely_look_alike_stay() -> None:
    target = prepared("target", TARGET, id_space=SHARED)
    for space in ({}, {"users": "others", "items": "elsewhere"}):
        source = prepared("source", TARGET | {"eve": ["a", "b", "c"]}, id_space=space)
        check(target, source)
        found, removed = without_overlap(target, source)
        assert removed is None
        assert found is source


def test_texts_are_compared_whatever_the_ids() -> None:
    target = prepared("target", TARGET, texts={"a": "kettle"})
    source = prepared("source", {"ann": ["x", "y", "z", "w"], "eve": ["x", "y", "z"]}, texts={"x": "kettle"})
    found, removed = without_overlap(target, source)
    assert histories(found) == {"ann": ["y", "z", "w"]}
    assert removed is not None
    assert (removed.users, removed.items, removed.texts, removed.short_users, removed.interactions) == (0, 0, 1, 1, 4)


def test_nothing_left_and_the_target_itself_are_refused() -> None:
    target = prepared("target", TARGET, id_space=SHARED)
    with pytest.raises(InputError, match=r"nothing of 'source' is left"):
        without_overlap(target, prepared("source", {"ann": ["x", "y", "z"]}, id_space=SHARED))
    with pytest.raises(InputError, match="is the target 'target' itself"):
        without_overlap(target, target)
