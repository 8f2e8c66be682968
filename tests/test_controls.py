"""Controls take away what they say and nothing else: small cases by hand, properties, whole runs beside oracles."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.controls import (
    ABOUT,
    PERMUTED_TEXTS,
    SEEN_MASKED,
    SHUFFLED,
    SHUFFLED_TEST,
    asked,
    check,
    contents,
    draw_of,
    learnt,
    shuffled,
)
from benchmark.domain import Domain, Sequences
from benchmark.encode import provenance
from benchmark.encoders import EncoderSpec
from benchmark.errors import InputError
from benchmark.method import Material, registry
from benchmark.place import Place
from benchmark.plan import Task, jobs_of, task_of
from benchmark.questions import Ranks
from benchmark.record import TargetInfo
from benchmark.runner import Facts, run_job
from benchmark.splits import Split, leave_one_out
from benchmark.store import Run, find, read_run
from benchmark.suite import Suite
from benchmark.testing import scores, toy_domain

ROOT = Path(__file__).parents[1]
HISTORIES = st.lists(st.lists(st.integers(0, 9), max_size=12), max_size=6)
DOMAIN = toy_domain(n_users=40)
SPLIT = leave_one_out(DOMAIN)
DRAW = draw_of(DOMAIN.fingerprint, 0)
SMALL = {"width": 16, "inner": 16, "layers": 1, "experts": 2}


def rows(sequences: Sequences) -> list[list[int]]:
    return [row.tolist() for row in sequences]


def same(one: Sequences, other: Sequences) -> bool:
    return rows(one) == rows(other)


# --- order


@given(HISTORIES, st.integers(0, 2**63 - 1), st.one_of(st.none(), st.integers(1, 13)))
def test_a_shuffle_keeps_items_lengths_and_what_is_too_old(given: list[list[int]], draw: int, last: int | None) -> None:
    found = rows(shuffled(Sequences.of(given), draw, last))
    assert [len(row) for row in found] == [len(row) for row in given]
    for before, after in zip(given, found, strict=True):
        older = len(before) - min(last if last is not None else len(before), len(before))
        assert after[:older] == before[:older]
        assert Counter(after[older:]) == Counter(before[older:])
    assert rows(shuffled(Sequences.of(given), draw, last)) == found


def test_a_shuffle_gives_every_order_as_often() -> None:
    found = Counter(map(tuple, rows(shuffled(Sequences.of([[0, 1, 2]] * 6000), 7))))
    assert len(found) == 6
    assert all(850 < count < 1150 for count in found.values()), found  # 1,000 expected, five deviations of 29


def test_shuffles_of_users_seeds_and_parts_are_different() -> None:
    whole = [list(range(20))] * 3
    first, second, third = rows(shuffled(Sequences.of(whole), 1))
    assert first != second != third != first
    assert rows(shuffled(Sequences.of(whole), 2)) != [first, second, third]
    assert draw_of("a", 0) != draw_of("a", 1) != draw_of("b", 1)


def test_shuffled_test_touches_the_test_histories_alone() -> None:
    assert learnt(SHUFFLED_TEST, SPLIT, DRAW) is SPLIT
    chosen_by, final = asked(SHUFFLED_TEST, SPLIT, DRAW, 50)
    assert chosen_by is SPLIT
    assert (final.train, final.valid) == (SPLIT.train, SPLIT.valid)
    assert not same(final.test.histories, SPLIT.test.histories)
    assert final.test.targets is SPLIT.test.targets


@pytest.mark.parametrize("limit", [49, 50])
@pytest.mark.parametrize("control", [SHUFFLED_TEST, SHUFFLED])
def test_what_a_model_may_read_of_a_long_history_is_the_same_set(control: str, limit: int) -> None:
    _, final = asked(control, SPLIT, DRAW, limit)
    long = np.flatnonzero(SPLIT.test.histories.lengths > 50)
    assert len(long)
    for user in long.tolist():
        before, after = (split.test.histories[user].tolist() for split in (SPLIT, final))
        assert after[:-limit] == before[:-limit]
        assert Counter(after[-limit:]) == Counter(before[-limit:])
        assert after != before


def test_shuffled_touches_all_orders_and_no_held_out_item() -> None:
    found = learnt(SHUFFLED, SPLIT, DRAW)
    assert [Counter(row) for row in rows(found.train)] == [Counter(row) for row in rows(SPLIT.train)]
    assert not same(found.train, SPLIT.train)
    assert (found.valid, found.test) == (SPLIT.valid, SPLIT.test)
    chosen_by, final = asked(SHUFFLED, found, DRAW, 50)
    assert chosen_by is final
    assert final.train is found.train
    for part in ("valid", "test"):
        one, other = getattr(SPLIT, part), getattr(final, part)
        assert other.targets is one.targets
        assert not same(other.histories, one.histories)
        assert [Counter(row) for row in rows(other.histories)] == [Counter(row) for row in rows(one.histories)]


def test_both_shuffles_ask_the_same_test_questions() -> None:
    questions = [asked(control, SPLIT, DRAW, 50)[1].test.histories for control in (SHUFFLED, SHUFFLED_TEST)]
    assert same(*questions)


# --- texts and candidates


@given(st.integers(2, 300), st.integers(0, 2**63 - 1))
def test_a_permutation_has_no_fixed_point(n_items: int, draw: int) -> None:
    found = contents(PERMUTED_TEXTS, n_items, draw)
    assert sorted(found.tolist()) == list(range(n_items))
    assert (found != np.arange(n_items)).all()
    assert (found == contents(PERMUTED_TEXTS, n_items, draw)).all()


def test_one_item_has_no_other_text() -> None:
    with pytest.raises(InputError, match="the target has one item"):
        contents(PERMUTED_TEXTS, 1, 0)


def test_seen_masked_asks_the_finished_model_alone() -> None:
    chosen_by, final = asked(SEEN_MASKED, SPLIT, DRAW, 50)
    assert chosen_by is SPLIT
    for part in ("valid", "test"):
        one, other = getattr(SPLIT, part), getattr(final, part)
        assert one.masked is None
        assert (other.histories, other.targets, other.masked) == (one.histories, one.targets, one.histories)


@pytest.mark.parametrize("control", [None, *ABOUT])
def test_what_is_not_a_controls_own_is_left_alone(control: str | None) -> None:
    if control != SHUFFLED:
        assert learnt(control, SPLIT, DRAW) is SPLIT
    if control != PERMUTED_TEXTS:
        assert contents(control, 5, DRAW).tolist() == [0, 1, 2, 3, 4]
    if control in (None, PERMUTED_TEXTS):
        assert asked(control, SPLIT, DRAW, 50) == (SPLIT, SPLIT)


# --- what may be asked


def test_a_control_that_takes_nothing_is_refused() -> None:
    check(PERMUTED_TEXTS, {"text"}, "")
    check(PERMUTED_TEXTS, {"taxonomy"}, "")
    check(None, frozenset(), "")
    with pytest.raises(
        InputError, match=r"suite 'small', method 'SASRec': it reads no item texts, so .*permuted-texts"
    ):
        planned("SASRec", PERMUTED_TEXTS)
    with pytest.raises(InputError, match=r"method 'SASRec': unknown control 'shuffeld'; did you mean 'shuffled'"):
        planned("SASRec", "shuffeld")


def planned(method: str, control: str | None, domain: Domain = DOMAIN) -> Task:
    known = {field.name for field in fields(registry().method(method).config)}
    suite: dict[str, Any] = {
        "name": "small",
        "about": "a suite of tests",
        "targets": ["toy"],
        "encoder": "hash",
        "methods": [{"name": method, "control": control}],
        "config": {name: size for name, size in SMALL.items() if name in known},
        "training": {"epochs": 2, "batch_targets": 64},
    }
    (job,) = jobs_of(Suite.model_validate(suite), registry())
    return task_of(job, {"toy": domain.fingerprint}, {"hash": provenance(EncoderSpec.parse("hash"))}, "float32")


def test_a_control_is_part_of_a_key_and_a_row_without_one_knows_nothing_of_it() -> None:
    keys = {control: planned("UniSRec_t-scratch", control) for control in (None, *ABOUT)}
    assert len({task.key for task in keys.values()}) == len(ABOUT) + 1
    assert "control" not in keys[None].parts
    assert keys[None].parts == {name: value for name, value in keys[SHUFFLED].parts.items() if name != "control"}


@pytest.mark.parametrize("method", ["Markov", "SASRec", "SASRec-cos"])
def test_keys_of_stored_runs_are_what_they_were(method: str) -> None:
    found = sorted((ROOT / "results" / "lite" / "amazon2018-scientific" / method).iterdir())
    assert found
    for folder in found:
        record = read_run(folder).record
        precision = record.key_parts["training"].get("precision", "float32")
        task = task_of(record.job, {record.target.name: record.target.fingerprint}, {}, precision)
        assert task.key == record.key


# --- whole runs


def run(folder: Path, method: str, control: str | None, domain: Domain = DOMAIN) -> Run:
    task = planned(method, control, domain)
    domain.save(folder / "cache" / "domains" / "toy")
    about = TargetInfo(
        name="toy",
        title="Toy",
        paper_name=None,
        fingerprint=domain.fingerprint,
        custom=False,
        split="own",
        users=domain.n_users,
        items=domain.n_items,
        interactions=domain.n_interactions,
    )
    facts = Facts(target=about, sources=(), overlap=(), removed=(), warnings=(), may_show=True)
    run_job(task, facts, Place(cache=folder / "cache", results=folder / "results", device="cpu"))
    stored = find(folder / "results", task.key)
    assert stored is not None
    return read_run(stored)


def ranks_of(split: Split, method: str) -> Ranks:
    """The ranks of a counting method, item by item; what is masked is no candidate, and a masked target is last."""
    built = registry().method(method).build(None, Material(n_items=split.n_items, train=split.train))
    counts = []
    for part in (split.valid, split.test):
        table_UN = scores(built, part.histories).numpy()
        greater, equal = [], []
        for user, target in enumerate(part.targets):
            out = set() if part.masked is None else set(part.masked[user].tolist())
            others = [table_UN[user, item] for item in range(split.n_items) if item not in out | {target}]
            missed = target in out
            greater.append(split.n_items - 1 if missed else sum(s > table_UN[user, target] for s in others))
            equal.append(0 if missed else sum(s == table_UN[user, target] for s in others))
        counts += [np.array(greater, np.int32), np.array(equal, np.int32)]
    return Ranks(valid_greater=counts[0], valid_equal=counts[1], test_greater=counts[2], test_equal=counts[3])


@pytest.mark.parametrize("control", [None, SHUFFLED_TEST, SHUFFLED, SEEN_MASKED])
def test_a_counting_run_under_a_control(control: str | None, tmp_path: Path) -> None:
    done = run(tmp_path, "Markov", control)
    _, final = asked(control, learnt(control, SPLIT, DRAW), DRAW, 50)
    assert done.ranks.sha256 == ranks_of(final, "Markov").sha256
    assert done.record.job.control == control
    assert done.record.method.role == "control"
    assert done.record.method.note == (None if control is None else ABOUT[control])


def test_a_trained_run_differs_from_the_plain_one_in_what_is_taken_alone(tmp_path: Path) -> None:
    plain, test, masked, all_ = (run(tmp_path, "SASRec", name) for name in (None, SHUFFLED_TEST, SEEN_MASKED, SHUFFLED))

    def learning(done: Run) -> list[tuple[float, float]]:
        return [(epoch.loss, epoch.valid) for epoch in done.record.learning_curve]

    assert plain.record.method.role == "paper"
    assert {done.record.method.role for done in (test, masked, all_)} == {"control"}
    assert learning(plain) == learning(test) == learning(masked) != learning(all_)
    assert (plain.ranks.valid_greater == test.ranks.valid_greater).all()
    assert (plain.ranks.test_greater != test.ranks.test_greater).any()
    # masking takes rivals away, unless the answer itself is masked
    for part, ours, theirs in (
        (SPLIT.valid, masked.ranks.valid_greater, plain.ranks.valid_greater),
        (SPLIT.test, masked.ranks.test_greater, plain.ranks.test_greater),
    ):
        repeated = np.array([target in part.histories[user] for user, target in enumerate(part.targets)])
        assert 0 < repeated.sum() < len(repeated)
        assert (ours[repeated] == SPLIT.n_items - 1).all()
        assert (ours[~repeated] <= theirs[~repeated]).all()
        assert (ours[~repeated] < theirs[~repeated]).any()


@pytest.mark.parametrize("method", ["TextKNN", "UniSRec_t-scratch"])
def test_permuted_texts_are_those_of_a_domain_with_permuted_texts(method: str, tmp_path: Path) -> None:
    whose = contents(PERMUTED_TEXTS, DOMAIN.n_items, DRAW)
    other = replace(DOMAIN, texts=tuple(DOMAIN.texts[item] for item in whose))
    done, by_hand = run(tmp_path / "a", method, PERMUTED_TEXTS), run(tmp_path / "b", method, None, other)
    plain = run(tmp_path / "a", method, None)
    assert done.ranks.sha256 == by_hand.ranks.sha256 != plain.ranks.sha256
    assert not (find(tmp_path / "a" / "results", done.record.key) / "diagnostics.json").exists()  # type: ignore[operator]
