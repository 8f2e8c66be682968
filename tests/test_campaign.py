"""``transrec run`` from end to end on demo domains: once is enough, workers change nothing, failures stay apart."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from benchmark import cli
from benchmark.domain import Domain
from benchmark.store import list_runs, read_failures, read_plan, read_run

pytestmark = pytest.mark.usefixtures("undrawn")

ROOT = Path(__file__).parents[1]
SUITE: dict[str, Any] = {
    "name": "tiny",
    "about": "small enough for a test",
    "targets": ["demo-shop"],
    "sources": ["demo-kitchen"],
    "encoder": "hash",
    "seeds": 2,
    "methods": ["Popularity", "SASRec", "UniSRec_t"],
    "config": {"width": 16, "inner": 16, "layers": 1, "experts": 2},
    "training": {"epochs": 2, "batch_targets": 512},
    "pretraining": {"epochs": 1, "config": {"batch_targets": 1024}},
}


@dataclass(frozen=True)
class Done:
    """What a command left: exit code and what it said."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Place:
    """A folder that commands run in."""

    folder: Path

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def suite(self, **changes: Any) -> str:
        path = self.folder / f"{changes.get('name', 'tiny')}.yaml"
        path.write_text(yaml.safe_dump(SUITE | changes), encoding="utf-8")
        return str(path)

    def transrec(self, *arguments: str | Path) -> Done:
        """The command line in this process; jobs still run in processes of their own."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            patch.setenv("TRANSREC_CACHE", str(self.folder / "cache"))
            patch.setattr(sys, "argv", ["transrec", *map(str, arguments)])
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    cli.main()
                    code: Any = 0
                except SystemExit as left:
                    code = left.code
        return Done(int(code or 0), out.getvalue(), err.getvalue())

    def ranks(self, suite: str = "tiny") -> dict[tuple[str, str, int], tuple[str, list[list[int]]]]:
        """Key and ranks of every run."""
        found = {}
        for run in map(read_run, list_runs(self.results, suite)):
            job, ranks = run.record.job, run.ranks
            arrays = (ranks.valid_greater, ranks.valid_equal, ranks.test_greater, ranks.test_equal)
            found[job.target, job.method, job.seed] = (run.record.key, [array.tolist() for array in arrays])
        return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, Done]:
    """The suite, run by one worker through the installed module's own door."""
    place = Place(tmp_path_factory.mktemp("alone"))
    environment = {**os.environ, "TRANSREC_CACHE": str(place.folder / "cache"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "benchmark", "run", place.suite(), "--workers", "1"],
        cwd=place.folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return place, Done(done.returncode, done.stdout, done.stderr)


def test_one_command_ends_with_a_leaderboard(alone: tuple[Place, Done]) -> None:
    place, done = alone
    assert done.code == 0, done.err
    assert "Traceback" not in done.out + done.err
    report = (place.folder / "reports" / "tiny" / "README.md").read_text(encoding="utf-8")
    for name in SUITE["methods"]:
        assert name in report
        assert name in done.out
    assert sorted(place.ranks()) == [
        ("demo-shop", "Popularity", 0),
        *(("demo-shop", name, seed) for name in ("SASRec", "UniSRec_t") for seed in (0, 1)),
    ]


def test_a_record_says_what_was_done(alone: tuple[Place, Done]) -> None:
    place, _ = alone
    runs = {
        (run.record.job.method, run.record.job.seed): run.record
        for run in map(read_run, list_runs(place.results, "tiny"))
    }
    full, ids, counts = runs["UniSRec_t", 1], runs["SASRec", 0], runs["Popularity", 0]
    assert [source.name for source in full.sources] == ["demo-kitchen"]
    assert (ids.sources, ids.encoder, ids.pretraining) == ((), None, None)
    assert full.pretraining is not None
    assert full.pretraining.epochs == 1
    assert full.parameters is not None
    assert ids.parameters is not None
    assert full.parameters.trained < full.parameters.total
    assert ids.parameters.trained == ids.parameters.total
    assert [point.epoch for point in ids.learning_curve] == [1, 2]
    assert ids.best_epoch in (1, 2)
    assert ids.stopped == "reached 2 epochs"
    assert (counts.parameters, counts.learning_curve, counts.stopped) == (None, (), "not trained")
    assert counts.target.users == 520
    for record in runs.values():
        assert record.cost.threads == 1
        assert record.cost.wall_seconds > 0
        assert record.cost.peak_memory_mb > 20


def test_nothing_of_the_raw_data_is_written_into_results(alone: tuple[Place, Done]) -> None:
    place, _ = alone
    for path in (path for path in place.results.rglob("*") if path.is_file()):
        written = path.read_bytes()
        assert not [word for word in (b"shop-s0", b"shop-i0", b"kitchen-u", b"kitchen-i0") if word in written]
        # texts of demo items may be published, which tests/test_shown_texts.py tells from others
        assert path.name == "diagnostics.json" or not [word for word in (b"COASTER", b"coaster") if word in written]


def test_what_is_stored_is_never_run_again(alone: tuple[Place, Done]) -> None:
    place, _ = alone
    before = {
        path: path.stat().st_mtime_ns for path in place.results.rglob("*.parquet") if path.name == "ranks.parquet"
    }
    report = (place.folder / "reports" / "tiny" / "leaderboard.json").read_bytes()
    again = place.transrec("run", place.suite())
    assert again.code == 0
    assert "5 jobs, 5 already stored" in again.out
    assert {path: path.stat().st_mtime_ns for path in place.results.rglob("ranks.parquet")} == before
    assert (place.folder / "reports" / "tiny" / "leaderboard.json").read_bytes() == report


def test_a_run_is_found_under_whatever_suite_it_was_made(alone: tuple[Place, Done]) -> None:
    place, _ = alone
    other = place.transrec("run", place.suite(name="another"), "--methods", "SASRec,Popularity")
    assert other.code == 0
    assert "3 jobs, 3 already stored" in other.out
    assert list_runs(place.results, "another") == []
    assert len(read_plan(place.results, "another").jobs) == 3
    report = (place.folder / "reports" / "another" / "README.md").read_text(encoding="utf-8")
    assert "| SASRec " in report
    assert "| UniSRec_t " not in report, "what was not asked for has no row"
    assert "- Not run, with what a run is forecast to take of one processor: UniSRec_t (unknown, it was never run)" in (
        report
    )


def test_stored_results_agree_with_themselves(alone: tuple[Place, Done]) -> None:
    place, _ = alone
    found = place.transrec("verify", place.results)
    assert (found.code, found.err) == (0, ""), found.out
    assert "all is well" in found.out


def test_a_dry_run_shows_what_is_missing_and_writes_nothing(alone: tuple[Place, Done]) -> None:
    place, _ = alone
    before = sorted(place.folder.rglob("*"))
    found = place.transrec("run", place.suite(), "--methods", "SASRec,Markov", "--seeds", "3", "--dry-run")
    assert found.code == 0
    assert "4 jobs, 2 already stored" in found.out
    shown = [line for line in found.out.splitlines() if "Markov" in line or "SASRec" in line]
    assert len(shown) == 2
    assert sorted(place.folder.rglob("*")) == before


def test_a_job_named_twice_is_one_job(alone: tuple[Place, Done]) -> None:
    place, _ = alone
    found = place.transrec("run", place.suite(), "--targets", "demo-shop,demo-shop", "--methods", "Markov", "--dry-run")
    assert "1 jobs, 0 already stored" in found.out


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, Done]:
    """The same suite in another place by two workers, with a third party's methods beside it."""
    place = Place(tmp_path_factory.mktemp("together"))
    rows = [*SUITE["methods"], "Raises", "Diverges", "LastItem"]
    suite = place.suite(methods=rows)
    return place, place.transrec("run", suite, "--workers", "2", "--plugin", "third_party:METHODS")


def test_the_number_of_workers_changes_nothing(alone: tuple[Place, Done], together: tuple[Place, Done]) -> None:
    expected, found = alone[0].ranks(), together[0].ranks()
    assert {name: found[name] for name in expected} == expected


def test_failures_stay_apart(together: tuple[Place, Done]) -> None:
    place, done = together
    assert done.code == 1
    assert "3 of 9 jobs failed" in done.out
    assert {method for _, method, _ in place.ranks()} == {*SUITE["methods"], "LastItem"}
    failures = {(found.job.method, found.job.seed): found for found in read_failures(place.results, "tiny")}
    assert sorted(failures) == [("Diverges", 0), ("Diverges", 1), ("Raises", 0)]
    mistake = failures["Raises", 0]
    assert mistake.reason == "RuntimeError: the third party has made a mistake"
    assert "diverged" in failures["Diverges", 0].reason
    report = (place.folder / "reports" / "tiny" / "README.md").read_text(encoding="utf-8")
    assert "the third party has made a mistake" in report


def test_the_log_of_a_failure_is_named_and_says_more(together: tuple[Place, Done]) -> None:
    place, done = together
    (line,) = [line for line in done.out.splitlines() if "Raises seed 0: RuntimeError" in line]
    log = Path(line.partition("(log: ")[2].rstrip(")"))
    assert log.is_relative_to(place.folder)
    said = log.read_text(encoding="utf-8")
    assert "third_party.py" in said
    assert "in scores" in said


def test_only_what_failed_is_tried_again(together: tuple[Place, Done]) -> None:
    place, _ = together
    again = place.transrec("run", place.suite(), "--methods", "Raises,LastItem", "--plugin", "third_party:METHODS")
    assert again.code == 1
    assert "2 jobs, 1 already stored" in again.out
    assert len(read_failures(place.results, "tiny")) == 3


def test_a_method_of_a_third_party_is_a_row(together: tuple[Place, Done]) -> None:
    place, _ = together
    assert "LastItem" in (place.folder / "reports" / "tiny" / "README.md").read_text(encoding="utf-8")
    listed = json.loads(place.transrec("list", "methods", "--plugin", "third_party:GOOD", "--json").out)
    assert "LastItem" in {row["name"] for row in listed}


def test_a_worker_that_dies_takes_no_other_job_with_it(tmp_path: Path) -> None:
    place = Place(tmp_path)
    chosen = ["--methods", "Dies,Popularity,Markov,LastItem", "--plugin", "third_party:METHODS"]
    done = place.transrec("run", place.suite(), *chosen, "--workers", "2")
    assert done.code == 1
    assert {method for _, method, _ in place.ranks()} == {"Popularity", "Markov", "LastItem"}
    (failure,) = read_failures(place.results, "tiny")
    assert failure.job.method == "Dies"
    assert "worker process died" in failure.reason


def test_ranks_are_those_of_the_domain(alone: tuple[Place, Done]) -> None:
    """Popularity by hand, from the prepared domain to the stored integers."""
    place, _ = alone
    domain = Domain.load(place.folder / "cache" / "domains" / "demo-shop")
    counts = np.zeros(domain.n_items, int)
    for row in domain.sequences:
        np.add.at(counts, row[:-2], 1)
    _, (_, _, greater, equal) = place.ranks()["demo-shop", "Popularity", 0]
    for user, row in enumerate(domain.sequences):
        assert greater[user] == (counts > counts[row[-1]]).sum()
        assert equal[user] == (counts == counts[row[-1]]).sum() - 1


# --- bad input

CARD: dict[str, Any] = {
    "name": "own",
    "title": "Own",
    "role": "target",
    "about": "test",
    "source": "test",
    "licence": "none",
    "inputs": [
        {
            "reader": "atomic",
            "base": "card",
            "split": "own",
            "files": {"interactions": "own.inter", "items": "own.item"},
        }
    ],
}
INTER = "user_id:token\titem_id:token\ttimestamp:float\n" + "".join(
    f"u{user}\ti{(user + step) % 4}\t{step}\n" for user in range(3) for step in range(4)
)
ITEM = "item_id:token\ttitle:token_seq\n" + "".join(f"i{item}\tthing {item}\n" for item in range(4))

BROKEN_DATA = {
    "a malformed line": (INTER + "u0\ti1\n", ITEM, ["own.inter:14", "columns"]),
    "a time that is no number": (INTER + "u0\ti1\tsoon\n", ITEM, ["own.inter:14", "soon"]),
    "an unknown column": (INTER.replace("timestamp", "when"), ITEM, ["own.inter:1", "when"]),
    "an unknown item": (INTER + "u0\ti9\t9\n", ITEM, ["own.inter:14", "i9"]),
    "a user with two interactions": (INTER + "u9\ti1\t1\nu9\ti2\t2\n", ITEM, ["u9", "fewer than 3"]),
    "no interactions": (INTER.splitlines()[0] + "\n", ITEM, ["own.inter", "no interactions"]),
    "no texts": (
        INTER,
        "item_id:token\ttitle:token_seq\n" + "".join(f"i{n}\t\n" for n in range(4)),
        ["own.item", "text"],
    ),
    "an item twice": (INTER, ITEM + "i1\tthing\n", ["own.item:6", "i1"]),
    "an empty file": ("", ITEM, ["own.inter"]),
}


@pytest.mark.parametrize("what", BROKEN_DATA)
def test_broken_data_are_said_with_the_line_and_leave_nothing(what: str, tmp_path: Path) -> None:
    inter, item, said = BROKEN_DATA[what]
    place, cards = Place(tmp_path), tmp_path / "cards"
    cards.mkdir()
    (cards / "own.yaml").write_text(yaml.safe_dump(CARD), encoding="utf-8")
    (cards / "own.inter").write_text(inter, encoding="utf-8")
    (cards / "own.item").write_text(item, encoding="utf-8")
    done = place.transrec("run", place.suite(), "--targets", "own", "--methods", "Popularity", "--cards", cards)
    assert_refused(done, place, said)


CALLS: dict[str, tuple[list[str], dict[str, Any], list[str]]] = {
    "an unknown suite": (["run", "dmeo"], {}, ["unknown suite 'dmeo'", "did you mean 'demo'"]),
    "a suite file that is not there": (["run", "nowhere.yaml"], {}, ["nowhere.yaml"]),
    "an unknown data set": (
        ["run", "SUITE", "--targets", "demo-shpo"],
        {},
        ["'demo-shpo'", "mean 'demo-shop'"],
    ),
    "an unknown data set in the suite": (["run", "SUITE"], {"targets": ["demoshop"]}, ["'demoshop'", "demo-shop"]),
    "an unknown source": (["run", "SUITE"], {"sources": ["demo-kitchn"]}, ["'demo-kitchn'", "demo-kitchen"]),
    "an unknown method": (["run", "SUITE", "--methods", "Popular"], {}, ["'Popular'", "did you mean 'Popularity'"]),
    "an unknown key": (["run", "SUITE"], {"seed": 3}, ["tiny.yaml", "'seed'", "did you mean 'seeds'"]),
    "an unknown hyper-parameter": (["run", "SUITE"], {"config": {"with": 3}}, ["'with'", "did you mean 'width'"]),
    "an impossible hyper-parameter": (["run", "SUITE"], {"training": {"epochs": "all"}}, ["'epochs'", "'all'"]),
    "an unknown encoder": (["run", "SUITE"], {"encoder": "hash,width=3"}, ["hash,width=3"]),
    "a target that is its own source": (["run", "SUITE"], {"sources": ["demo-shop"]}, ["demo-shop", "itself"]),
    "no folder of data": (["run", "SUITE", "--data", "nowhere"], {}, ["nowhere", "folder"]),
    "no folder of cards": (["run", "SUITE", "--cards", "nowhere"], {}, ["nowhere", "folder"]),
    "no such plugin": (["run", "SUITE", "--plugin", "nowhere:It"], {}, ["--plugin nowhere:It", "module:Name"]),
    "a plugin that is none": (["run", "SUITE", "--plugin", "third_party:NO_METHOD"], {}, ["third_party:NO_METHOD"]),
    "data that are not here": (["run", "SUITE", "--targets", "Scientific"], {}, ["amazon2018-scientific", "--data"]),
    "no seeds": (["run", "SUITE", "--seeds", "0"], {}, ["--seeds"]),
    "an unknown device": (["run", "SUITE", "--device", "tpu"], {}, ["tpu"]),
    "nothing to report": (["report", "tiny"], {}, ["tiny"]),
    "nothing to verify": (["verify", "nowhere"], {}, ["nowhere"]),
}


@pytest.mark.parametrize("what", CALLS)
def test_impossible_commands_say_what_to_do_and_leave_nothing(what: str, tmp_path: Path) -> None:
    arguments, changes, said = CALLS[what]
    place = Place(tmp_path)
    suite = place.suite(**changes)
    done = place.transrec(*(suite if argument == "SUITE" else argument for argument in arguments))
    assert_refused(done, place, said)


def assert_refused(done: Done, place: Place, said: list[str]) -> None:
    assert done.code == 2, done.out + done.err
    assert "Traceback" not in done.out + done.err
    for words in said:
        assert words in done.err
    assert not place.results.exists()
    assert not (place.folder / "reports").exists()
    for left in (place.folder / "cache").rglob("*"):
        assert left.is_dir() or left.suffix == ".lock" or (left.parent / "prepared.json").is_file(), f"{left} is left"


def test_an_odd_user_of_a_source_is_no_mistake(tmp_path: Path) -> None:
    """Sources hold nothing out: a user with two interactions may stay, and teaches nothing."""
    place, cards = Place(tmp_path), tmp_path / "cards"
    cards.mkdir()
    (cards / "own.yaml").write_text(yaml.safe_dump(CARD | {"role": "source"}), encoding="utf-8")
    (cards / "own.inter").write_text(INTER + "u9\ti1\t1\nu9\ti2\t2\n", encoding="utf-8")
    (cards / "own.item").write_text(ITEM, encoding="utf-8")
    rows = {"methods": ["UniSRec_t"], "sources": ["own"]}
    done = place.transrec("run", place.suite(**rows), "--cards", cards, "--dry-run")
    assert done.code == 0, done.err
    assert "own: 4 users, 4 items, 14 interactions" in done.out
