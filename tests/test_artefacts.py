"""``transrec pretrain``: by torchrun or alone it makes what a suite's rows start from, once, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_campaign import ROOT, Done, Place, assert_refused

from benchmark.checkpoint import load_tensors
from benchmark.execute import Failed, facts_key
from benchmark.place import Place as RunPlace
from benchmark.plan import Task
from benchmark.runner import Facts, run_job
from benchmark.store import list_runs, read_run

ROWS: dict[str, Any] = {
    "sources": ["demo-kitchen", "demo-toys"],
    "methods": ["SASRec", "UniSRec_t", {"name": "UniSRec_t-zeroshot", "pretraining": {"epochs": 3}}],
}


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, Done]:
    """The artefacts of a suite, made by two processes."""
    place = Place(tmp_path_factory.mktemp("together"))
    environment = {**os.environ, "TRANSREC_CACHE": str(place.folder / "cache"), "PYTHONPATH": str(ROOT)}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, "-m", "benchmark", "pretrain", place.suite(**ROWS)],
        cwd=place.folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return place, Done(done.returncode, done.stdout, done.stderr)


def artefacts(place: Path) -> list[Path]:
    return sorted((place / "cache" / "artefacts").glob("UniSRec-*.safetensors"))


def test_two_processes_make_what_the_suite_names_and_say_so_once(together: tuple[Place, Done]) -> None:
    place, done = together
    assert done.code == 0, done.err
    shorter, longer = artefacts(place.folder)
    lines = done.out.splitlines()
    assert lines[0] == "2 processes"
    assert [line.partition(":")[0] for line in lines[1:3]] == ROWS["sources"]
    wrote = [line for line in lines if "wrote" in line]
    assert [path.name in line for path, line in zip((shorter, longer), wrote, strict=True)] == [True, True]
    assert len(lines) == len(set(lines)) == 7
    for path, epochs in ((shorter, 1), (longer, 3)):
        found = load_tensors(path)
        assert found is not None
        about = found[1]
        assert (about["processes"], about["threads"], about["epochs"]) == (2, 1, epochs)
        assert [point["epoch"] for point in about["curve"]] == list(range(1, epochs + 1))
    log = (place.folder / "cache" / "logs" / f"{longer.stem[-12:]}.log").read_text(encoding="utf-8")
    assert log.count("resumed after epoch 1") == 1


def test_nothing_else_is_made(together: tuple[Place, Done]) -> None:
    place, _ = together
    made = {path.name for path in (place.folder / "cache" / "domains").iterdir() if path.is_dir()}
    assert made == set(ROWS["sources"])
    assert not place.results.exists()
    assert not (place.folder / "reports").exists()


def test_what_is_there_is_named_and_left_alone(together: tuple[Place, Done]) -> None:
    place, _ = together
    before = {path: path.stat().st_mtime_ns for path in artefacts(place.folder)}
    again = place.transrec("pretrain", place.suite(**ROWS))
    assert again.code == 0, again.err
    assert {path: path.stat().st_mtime_ns for path in artefacts(place.folder)} == before
    said = [line for line in again.out.splitlines() if "already there" in line]
    assert [path.name in line for path, line in zip(before, said, strict=True)] == [True, True]
    assert "wrote" not in again.out


def test_a_run_starts_from_what_two_processes_made(
    together: tuple[Place, Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    def here(tasks: list[Task], facts: dict[str, Facts], place: RunPlace, **rest: Any) -> list[Failed]:
        """Without worker processes, and without pre-training: what is not there is missed."""
        for task in tasks:
            run_job(task, facts[facts_key(task)], place)
        return []

    monkeypatch.setattr("benchmark.campaign.execute", here)
    place, _ = together
    done = place.transrec("run", place.suite(**ROWS), "--methods", "UniSRec_t-zeroshot")
    assert done.code == 0, done.err
    (run,) = map(read_run, list_runs(place.results, "tiny"))
    assert run.record.pretraining is not None
    assert run.record.pretraining.key[:12] == artefacts(place.folder)[1].stem[-12:]


def test_a_pre_training_that_diverges_is_a_failure(tmp_path: Path) -> None:
    place = Place(tmp_path)
    hopeless = {"epochs": 1, "config": {"batch_targets": 1024, "learning_rate": 1e30}}
    done = place.transrec("pretrain", place.suite(pretraining=hopeless))
    assert done.code == 1
    assert "FAILED: the training loss is nan" in done.out
    assert artefacts(tmp_path) == []


CALLS: dict[str, tuple[list[str], dict[str, Any], list[str]]] = {
    "an unknown suite": (["dmeo"], {}, ["unknown suite 'dmeo'", "did you mean 'demo'"]),
    "nothing to pre-train": (["SUITE"], {"methods": ["UniSRec_t-scratch"]}, ["'tiny'", "none of its methods"]),
    "an unknown source": (["SUITE"], {"sources": ["demo-kitchn"]}, ["'demo-kitchn'", "demo-kitchen"]),
    "no folder of data": (["SUITE", "--data", "nowhere"], {}, ["nowhere", "folder"]),
}


@pytest.mark.parametrize("what", CALLS)
def test_impossible_commands_say_what_to_do_and_leave_nothing(what: str, tmp_path: Path) -> None:
    arguments, changes, said = CALLS[what]
    place = Place(tmp_path)
    suite = place.suite(**changes)
    done = place.transrec("pretrain", *(suite if argument == "SUITE" else argument for argument in arguments))
    assert_refused(done, place, said)
