"""The strict track from a suite to its report: what methods get to see, what is stored, what is checked and shown."""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from results_tree import (
    board_of,
    make_job,
    make_questions,
    make_ranks,
    make_record,
    store_context,
    store_run,
    strict_job,
)
from test_campaign import CARD, INTER, ITEM, Done, Place, assert_refused
from torch import Tensor

from baselines.sasrec import METHODS as SASREC
from baselines.sasrec import SASRec
from benchmark import campaign, pretrain
from benchmark.batches import Windows
from benchmark.diagnose import USERS
from benchmark.domain import Domain, Sequences
from benchmark.errors import IncompatibleRuns, InputError
from benchmark.execute import Failed, facts_key
from benchmark.jobs import Cut
from benchmark.method import Material, Method, NoConfig
from benchmark.place import Place as RunPlace
from benchmark.plan import Task
from benchmark.questions import Ranks
from benchmark.report.compare import compare
from benchmark.report.leaderboard import render_terminal, write_report
from benchmark.report.verdict import render
from benchmark.runner import Facts, make_artefact, run_job
from benchmark.store import list_runs, read_context, read_diagnostics, read_run, read_valid, write_run
from benchmark.verify import verify

pytestmark = pytest.mark.usefixtures("undrawn")

SEEN: list[tuple[str, list[list[int]]]] = []
"""What the methods below were shown, in order."""


def shown(what: str, sequences: Sequences) -> None:
    SEEN.append((what, [row.tolist() for row in sequences]))


class CountsAndTells:
    """Scores items by their row, and tells what it saw."""

    def __init__(self, config: NoConfig, material: Material) -> None:
        self.n_items = material.n_items
        shown("counted", material.train)

    def scores(self, histories: Sequences) -> Tensor:
        shown("asked", histories)
        return torch.arange(self.n_items, dtype=torch.float32).expand(len(histories), -1)


class LearnsAndTells(SASRec):
    def windows(self, sequences: Sequences) -> Windows:
        shown("learnt", sequences)
        return super().windows(sequences)


METHODS = (
    Method(
        name="CountsAndTells", family="counts", role="row", version=1, paper="none", build=CountsAndTells, trained=False
    ),
    replace(SASREC[0], name="LearnsAndTells", role="row", build=LearnsAndTells),
)
PLUGIN = ("--plugin", "test_strict_track:METHODS")
STRICT: dict[str, Any] = {
    "targets": ["demo-workshop"],
    "track": ["paper", "strict"],
    "test": "successive",
    "seeds": 1,
    "methods": ["Popularity", "UniSRec_t", "CountsAndTells", "LearnsAndTells"],
}


def here(tasks: Sequence[Task], facts: Mapping[str, Facts], place: RunPlace, **_: Any) -> list[Failed]:
    """Runs everything in this process, so that what methods tell is heard."""
    torch.set_num_threads(1)
    for task in tasks:
        if task.artefact and not pretrain.find(task.artefact.spec, task.artefact.key, place.cache, place.results):
            make_artefact(task.artefact, place)
        run_job(task, facts[facts_key(task)], place)
    return []


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "execute", here)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, Done, list[tuple[str, list[list[int]]]]]:
    """A suite of both tracks, and what its methods were shown."""
    place = Place(tmp_path_factory.mktemp("both"))
    SEEN.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(campaign, "execute", here)
        patch.setattr("benchmark.report.leaderboard.write_figures", lambda *_: ())
        done = place.transrec("run", place.suite(**STRICT), *PLUGIN)
    assert done.code == 0, done.err
    return place, done, list(SEEN)


def domain_of(place: Place, name: str) -> Domain:
    return Domain.load(place.folder / "cache" / "domains" / name)


def runs(place: Place, track: str) -> dict[str, Any]:
    found = map(read_run, list_runs(place.results, "tiny"))
    return {run.record.job.method: run for run in found if run.record.job.track == track}


def seconds(written: str) -> int:
    return int(np.datetime64(written.rstrip("Z"), "s").astype(np.int64))


Both = tuple[Place, Done, list[tuple[str, list[list[int]]]]]


def test_methods_see_nothing_from_the_cut_on_and_are_built_anew_with_what_was_validated(both: Both) -> None:
    place, _, seen = both
    domain = domain_of(place, "demo-workshop")
    assert domain.timestamps is not None
    questions = runs(place, "strict")["CountsAndTells"].record.questions
    times = domain.timestamps
    starts = seconds(questions.valid_from), seconds(questions.test_from)

    def known(instant: int) -> list[list[int]]:
        rows = np.split(np.arange(domain.n_interactions), domain.sequences.offsets[1:-1])
        kept = [domain.sequences.items[row[times[row] < instant]].tolist() for row in rows]
        return [row for row in kept if row]

    for what in ("counted", "learnt"):
        told = [rows for said, rows in seen if said == what]
        assert len(told) == 3, "once under the paper track, twice under the strict one"
        assert told[0] == [row[:-2].tolist() for row in domain.sequences]
        assert told[1:] == [known(starts[0]), known(starts[1])]
        assert sum(map(len, told[1])) < sum(map(len, told[2])) < domain.n_interactions


def test_sources_end_at_the_same_instant(both: Both) -> None:
    place, done, _ = both
    record = runs(place, "strict")["UniSRec_t"].record
    (source,) = record.sources
    assert source.name.startswith("demo-kitchen+before-")
    cut, whole = domain_of(place, source.name), domain_of(place, "demo-kitchen")
    assert cut.timestamps is not None
    assert whole.timestamps is not None
    instant = seconds(record.questions.test_from)
    assert cut.timestamps.max() < instant
    assert cut.n_interactions == source.interactions == int((whole.timestamps < instant).sum()) < whole.n_interactions
    assert (cut.fingerprint, record.job.sources) == (source.fingerprint, (source.name,))
    paper = runs(place, "paper")["UniSRec_t"].record
    assert paper.sources[0].name == "demo-kitchen"
    assert record.pretraining.key != paper.pretraining.key, "pre-trained on other data"
    assert f"{source.name}: " in done.out


def test_one_rank_a_question_and_clusters_are_users(both: Both) -> None:
    place, done, _ = both
    run = runs(place, "strict")["CountsAndTells"]
    questions = run.record.questions
    domain = domain_of(place, "demo-workshop")
    assert domain.timestamps is not None
    instant = seconds(questions.test_from)
    late = domain.timestamps >= instant
    owner = np.repeat(np.arange(domain.n_users), domain.sequences.lengths)
    has_history = domain.timestamps[domain.sequences.offsets[:-1]] < instant
    asked = np.flatnonzero(late & has_history[owner])
    # item rows are the scores, so the items above a target are those of a higher row
    assert run.ranks.test_greater.tolist() == (domain.n_items - 1 - domain.sequences.items[asked]).tolist()
    assert (questions.test, questions.users) == (len(asked), len(np.unique(owner[asked])))
    assert questions.left_out == int((~has_history).sum())
    assert questions.valid == len(run.ranks.valid_greater) != questions.test
    context = read_context(place.results, "tiny", "demo-workshop", "strict")
    assert context is not None
    assert [len(np.unique(owner[asked][context.cluster == c])) for c in range(questions.users)] == [1] * questions.users
    place_in_row = asked - domain.sequences.offsets[owner[asked]]
    assert context.history_length.tolist() == place_in_row.tolist()
    counts = np.bincount(domain.sequences.items[~late], minlength=domain.n_items)
    assert context.train_count.tolist() == counts[domain.sequences.items[asked]].tolist()
    assert f"{questions.test:,} questions of {questions.users:,} users from" in done.out


def test_diagnostics_look_at_what_was_asked(both: Both) -> None:
    """As many users near source sequences as there are questions; by leave-one-out everybody would be looked at."""
    place, _, _ = both
    (folder,) = (
        folder
        for folder in list_runs(place.results, "tiny")
        if (job := read_run(folder).record.job).method == "UniSRec_t" and job.track == "strict"
    )
    record = read_run(folder).record
    questions, found = record.questions, read_diagnostics(folder, record)
    assert questions is not None
    assert found is not None
    assert found.nearness is not None
    assert questions.test != domain_of(place, "demo-workshop").n_users
    assert found.nearness.users == min(questions.test, USERS)
    domain = domain_of(place, "demo-workshop")
    assert domain.timestamps is not None
    first = domain.timestamps[domain.sequences.offsets[:-1]]
    last = domain.timestamps[domain.sequences.offsets[1:] - 1]
    instant = seconds(questions.test_from)
    assert found.nearness.cases
    for case in found.nearness.cases:
        assert first[case.row] < instant <= last[case.row], "a user who is asked"


def test_epochs_are_those_that_selection_found(both: Both) -> None:
    record = runs(both[0], "strict")["LearnsAndTells"].record
    assert record.stopped.endswith(f"; trained anew for {record.best_epoch} epochs")
    assert "anew" not in runs(both[0], "paper")["LearnsAndTells"].record.stopped


def test_results_agree_with_themselves_and_are_shown(both: Both) -> None:
    place, done, _ = both
    assert verify(place.results) == []
    text = (place.folder / "reports" / "tiny" / "README.md").read_text(encoding="utf-8")
    assert "Strict track: one instant" in text
    assert "asked is every interaction from 20" in text
    assert "no rank correlation, since it takes at least 5 methods with results in both, found 4" in text
    again = place.transrec("run", place.suite(**STRICT), *PLUGIN)
    assert "8 jobs, 8 already stored" in again.out
    assert "LearnsAndTells (strict track)" not in again.out
    assert "to run: demo-workshop LearnsAndTells (strict track), 1 x" in done.out


def test_the_paper_track_alone_has_the_same_keys(both: Both) -> None:
    place, _, _ = both
    alone = {name: value for name, value in STRICT.items() if name not in ("track", "test")}
    again = place.transrec("run", place.suite(**alone), "--dry-run", *PLUGIN)
    assert "4 jobs, 4 already stored" in again.out


def test_another_cut_is_another_key(both: Both) -> None:
    place, _, _ = both
    for change in ({"cut": 0.8}, {"test": "last"}):
        again = place.transrec("run", place.suite(**(STRICT | change)), "--dry-run", *PLUGIN)
        assert "8 jobs, 4 already stored" in again.out, again.err


REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "sessions": ({"targets": ["demo-shop"], "track": "strict"}, ["demo-shop", "make the customer the user"]),
    "a cut of the paper track": ({"cut": 0.8}, ["'cut'", "only the strict track has it"]),
    "a rule of the paper track": ({"track": ["paper"], "test": "last"}, ["'test'", "only the strict track has it"]),
    "a cut after everything": ({"track": "strict", "cut": 1.0}, ["'cut'", "less than 1"]),
    "an unknown rule": ({"track": "strict", "test": "first"}, ["'test'", "'last' or 'successive'"]),
    "a few users": (
        {"track": "strict", "methods": [{"name": "SASRec", "few_shot": 0.5}, "UniSRec_t"]},
        ["'SASRec'", "'few_shot'", "'track: paper'"],
    ),
    "an unknown track": ({"track": "lenient"}, ["'track.0'", "'paper' or 'strict'"]),
    "a target that is its own source": (
        {"targets": ["demo-workshop"], "track": "strict", "sources": ["demo-workshop"]},
        ["demo-workshop", "itself"],
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_impossible_suites_say_what_to_do_and_leave_nothing(what: str, tmp_path: Path) -> None:
    changes, said = REFUSED[what]
    place = Place(tmp_path)
    assert_refused(place.transrec("run", place.suite(**changes)), place, said)


# --- sources that share something, on the command line

SHARED = {"id_space": {"users": "people", "items": "things"}}


def cards(place: Place, source: str, **others: Any) -> Path:
    """A target ``own`` and a source ``other`` with these interactions."""
    folder = place.folder / "cards"
    folder.mkdir(exist_ok=True)
    for name, inter, more in (("own", INTER, {}), ("other", source, {"role": "source"} | others)):
        files = {"interactions": f"{name}.inter", "items": f"{name}.item"}
        inputs = [CARD["inputs"][0] | {"files": files}]
        card = CARD | SHARED | {"name": name, "inputs": inputs} | more
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(card), encoding="utf-8")
        (folder / f"{name}.inter").write_text(inter, encoding="utf-8")
        extra = "".join(f"j{item}\tother {item}\n" for item in range(4)) if name == "other" else ""
        (folder / f"{name}.item").write_text(ITEM + extra, encoding="utf-8")
    return folder


def leaking() -> str:
    """User u0 of the target took i3 last; so did this source's, among others who took other things."""
    rows = [("u0", f"i{item}", time) for time, item in enumerate((3, 1, 2))]
    rows += [(f"v{user}", f"j{(user + step) % 4}", step) for user in range(6) for step in range(4)]
    return "user_id:token\titem_id:token\ttimestamp:float\n" + "".join("\t".join(map(str, row)) + "\n" for row in rows)


ROWS = {"targets": ["own"], "sources": ["other"], "methods": ["UniSRec_t"], "seeds": 1}


@pytest.mark.parametrize("command", ["run", "pretrain"])
def test_a_leaking_source_is_refused_and_runs_without_what_both_have(command: str, tmp_path: Path) -> None:
    place = Place(tmp_path)
    folder = cards(place, leaking())
    if command == "run":
        refused = place.transrec("run", place.suite(**ROWS), "--cards", folder)
        assert_refused(refused, place, ["'other' contains 2 held-out", "user 'u0', item 'i2'", "--drop-overlap"])
    done = place.transrec(command, place.suite(**ROWS), "--cards", folder, "--drop-overlap")
    assert done.code == 0, done.err
    assert "other: 1 users, 4 items and 0 items of identical text that own has too are taken out" in done.out
    if command == "run":
        (run,) = map(read_run, list_runs(place.results, "tiny"))
        (removed,) = run.record.removed
        assert (removed.users, removed.items, removed.interactions) == (1, 4, 3)
        assert removed.source == run.record.sources[0].name == "other+without-own"
        assert run.record.overlap[0].model_dump() == {"source": "other+without-own", "users": 0, "items": 0, "texts": 0}
        text = (place.folder / "reports" / "tiny" / "README.md").read_text(encoding="utf-8")
        assert "other+without-own: taken out of the source, since the target has them too, are 1 users, 4 items" in text


def test_ids_of_another_space_only_look_alike(tmp_path: Path) -> None:
    place = Place(tmp_path)
    texts = "".join(f"i{item}\tunlike {item}\n" for item in range(4)) + "".join(f"j{n}\tother {n}\n" for n in range(4))
    folder = cards(place, leaking(), id_space={"users": "aliens", "items": "stuff"})
    (folder / "other.item").write_text(ITEM.splitlines()[0] + "\n" + texts, encoding="utf-8")
    done = place.transrec("run", place.suite(**ROWS), "--cards", folder, "--drop-overlap", "--dry-run")
    assert done.code == 0, done.err
    assert "taken out" not in done.out
    plain = place.transrec("run", place.suite(**ROWS), "--cards", folder, "--dry-run")
    assert plain.out == done.out, "nothing shared is nothing changed"


# --- stored

GREATER = [0, 1, 5, 9, 12, 3, 4]
"""Of seven questions, asked of four users."""
CLUSTERS = [0, 0, 0, 1, 1, 2, 3]


def store_strict(results: Path, method: str = "SASRec", greater: Sequence[int] = GREATER, **others: Any) -> Path:
    ranks = make_ranks(greater)
    zeros = np.zeros(3, np.int32)
    ranks = Ranks(valid_greater=zeros, valid_equal=zeros, test_greater=ranks.test_greater, test_equal=ranks.test_equal)
    job = others.pop("job", None) or strict_job(method, "successive")
    questions = make_questions(len(greater), 3, rule="successive", users=4)
    record = make_record(job, ranks, target={"users": 6}, questions=questions, **others)
    return write_run(results, record, ranks)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    store_strict(tmp_path)
    store_context(tmp_path, cut=Cut(test="successive"), cluster=CLUSTERS)
    return tmp_path


def test_more_questions_than_users_are_stored_and_read(results: Path) -> None:
    (folder,) = list_runs(results, "small")
    run = read_run(folder)
    assert run.ranks.test_greater.tolist() == GREATER
    assert len(run.ranks.valid_greater) == 3
    assert pq.read_schema(folder / "ranks.parquet").names == ["question", "test_greater", "test_equal"]
    assert pq.read_schema(folder / "valid.parquet").names == ["question", "valid_greater", "valid_equal"]
    greater, equal = read_valid(folder, run.record)
    assert (greater.tolist(), equal.tolist()) == ([0, 0, 0], [0, 0, 0]), "what tuning chooses by"
    assert verify(results) == verify(folder) == verify(results / "small" / "toy") == []


def _edit(folder: Path, change: Callable[[dict], object]) -> None:
    content = json.loads((folder / "record.json").read_text())
    change(content)
    (folder / "record.json").write_text(json.dumps(content))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "validation missing": (lambda run: (run / "valid.parquet").unlink(), r"valid\.parquet: can't be read"),
    "validation cut short": (lambda run: os.truncate(run / "valid.parquet", 50), r"valid\.parquet: can't be read"),
    "the ranks of test for validation": (
        lambda run: (run / "valid.parquet").write_bytes((run / "ranks.parquet").read_bytes()),
        r"valid\.parquet: the columns are",
    ),
    "more questions": (
        lambda run: _edit(run, lambda r: r["questions"].update(test=8)),
        r"int32 \[7\], expected.*\[8\]",
    ),
    "more validation": (lambda run: _edit(run, lambda r: r["questions"].update(valid=4)), r"valid_greater is.*\[4\]"),
    "more users than there are": (
        lambda run: _edit(run, lambda r: r["questions"].update(users=7)),
        "asks 7 of 6 users",
    ),
    "no cut": (lambda run: _edit(run, lambda r: r["job"].update(cut=None)), "of the strict track, and no other, has"),
    "no questions": (lambda run: _edit(run, lambda r: r.update(questions=None)), r"expected int32 \[6\]"),
    "another rule": (lambda run: _edit(run, lambda r: r["questions"].update(rule="first")), r"questions\.rule: "),
    "another cut": (lambda run: _edit(run, lambda r: r["job"]["cut"].update(quantile="x")), r"job\.cut\.quantile: "),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_found(results: Path, damage: str) -> None:
    inflict, message = DAMAGE[damage]
    (folder,) = list_runs(results, "small")
    inflict(folder)
    with pytest.raises(InputError, match=message):
        read_run(folder)
    (problem,) = verify(results)
    assert re.search(message, problem)


def test_what_lies_there_must_fit(results: Path) -> None:
    (folder,) = list_runs(results, "small")
    store_context(results, cut=Cut(test="successive"), cluster=CLUSTERS[:-1])
    assert verify(results) == [
        f"{folder}: was made from other data than the context-strict.parquet of its target; run this job again"
    ]
    store_context(results, cut=Cut(test="last"), cluster=CLUSTERS)
    assert len(verify(results)) == 1, "of other questions"
    (results / "small" / "toy" / "context-strict.parquet").unlink()
    store_context(results)
    assert verify(results) == [
        f"{results / 'small' / 'toy'}: has no context-strict.parquet; run the suite again to write it"
    ]
    paper = store_run(results, make_job(), GREATER[:6])
    (paper / "valid.parquet").write_bytes((folder / "valid.parquet").read_bytes())
    assert f"{paper / 'valid.parquet'}: is no part of a run; delete it or move it elsewhere" in verify(results)


# --- shown


def store_both(results: Path, methods: Sequence[str]) -> None:
    """The paper track puts methods into their order, the strict one the last two the other way round."""
    for place, method in enumerate(methods):
        store_run(results, make_job(method), [place * 2] * 6)
        swapped = place if place < len(methods) - 2 else 2 * len(methods) - 3 - place
        store_strict(results, method, [swapped * 2] * 7)
    store_context(results)


def test_a_report_tells_how_far_tracks_agree(results: Path, tmp_path: Path) -> None:
    store_both(results, [f"M{number}" for number in range(5)])
    board = board_of(results)
    (found,) = board.agreements
    assert (found.target, found.tracks, found.reason) == ("toy", ("paper", "strict"), None)
    assert found.methods == ("M0", "M1", "M2", "M3", "M4")
    assert (found.tau, found.low, found.high) == (0.8, 0.8, 0.8)
    out = tmp_path / "reports"
    text = html.unescape(write_report("small", results, out).path.read_text(encoding="utf-8")).replace("\\", "")
    said = "Kendall's tau-b 0.80 [0.80, 0.80], 5 rows"
    assert said in text
    assert said in html.unescape((out / "small" / "index.html").read_text(encoding="utf-8"))
    written = json.loads((out / "small" / "leaderboard.json").read_text(encoding="utf-8"))
    assert written["agreements"][0]["tau"] == 0.8
    strict = {table["track"]: table for table in written["tables"]}
    assert strict["strict"]["questions"]["test"] == 7
    assert "questions" not in strict["paper"]
    assert "7 questions of 4 users" in text
    assert "The questions are those of 4 clusters" in text
    assert "7 questions of 4 users" in render_terminal(board)


def test_with_few_methods_it_says_why_not(results: Path) -> None:
    store_both(results, [f"M{number}" for number in range(4)])
    (found,) = board_of(results).agreements
    assert (found.tau, found.reason) == (None, "it takes at least 5 methods with results in both, found 4")


def test_one_track_has_nothing_to_agree_with(results: Path) -> None:
    assert board_of(results).agreements == ()


def test_two_cuts_are_not_one_table(results: Path) -> None:
    store_strict(results, job=strict_job("FDSA", "successive", cut=Cut(quantile=0.8, test="successive")))
    with pytest.raises(IncompatibleRuns, match=r"the questions of a cut at 0\.[89] with test 'successive'"):
        board_of(results)


def test_two_rows_are_compared_over_questions(results: Path) -> None:
    store_both(results, ["M0", "M1"])
    paper, strict = compare("small", results, "M0", "M1")
    said = render([paper, strict], "M0", "M1")
    assert "The toy domain (toy): 6 users\n" in said
    assert "The toy domain, track strict (toy): 7 questions, 4 independent clusters\n" in said
    assert "7 questions" in said
    assert strict.metrics["NDCG@10"].users == 7
