"""What breaks costs what it must and nothing else: damaged files, a full disk, workers that are killed."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from results_tree import make_job, make_key, store_run
from test_campaign import CARD, INTER, ITEM, Place
from test_kills import PATH, WITHOUT_FIGURES, stored_bytes

from benchmark import checkpoint, files
from benchmark.checkpoint import load_tensors, save_tensors
from benchmark.files import sweep, write_text
from benchmark.store import damage, find_whole, finished, list_runs, read_failures

pytestmark = pytest.mark.usefixtures("undrawn")

ROWS: dict[str, Any] = {
    "methods": ["Popularity", "TextKNN", "SASRec"],
    "seeds": 1,
    "config": {"width": 64, "inner": 64},
}
FILE_BYTES = 100_000
"""Under a checkpoint of these sizes, over ranks."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A place with prepared domains, encoded texts and the rows of a suite."""
    place = Place(tmp_path_factory.mktemp("whole"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmark.report.leaderboard.write_figures", lambda parts, board, alike, folder: ())
        done = place.transrec("run", place.suite(**ROWS), "--workers", "1")
    assert done.code == 0, done.err
    return place


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def test_damaged_ranks_and_texts_are_made_again(whole: Place) -> None:
    before = stored_bytes(whole)
    (text_knn,) = [folder for folder in list_runs(whole.results, "tiny") if folder.parent.name == "TextKNN"]
    (texts,) = (whole.folder / "cache" / "encoded").glob("*.npy")
    cut(text_knn / "ranks.parquet")
    cut(texts)
    done = whole.transrec("run", whole.suite(**ROWS), "--workers", "1")
    assert done.code == 0, done.err
    assert "run again, for it is damaged: " in done.out
    assert "3 jobs, 2 already stored" in done.out
    assert stored_bytes(whole) == before
    assert whole.transrec("verify", whole.results).code == 0


def test_a_damaged_domain_ends_the_command_and_is_named(whole: Place) -> None:
    items = whole.folder / "cache" / "domains" / "demo-shop" / "items.parquet"
    content = items.read_bytes()
    cut(items)
    done = whole.transrec("run", whole.suite(**ROWS))
    items.write_bytes(content)
    assert done.code == 2
    assert "demo-shop: not a prepared domain" in done.err
    assert "delete it and prepare it again" in done.err


def test_a_full_disk_fails_what_writes_much_and_the_same_command_goes_on(whole: Place) -> None:
    """The system refuses to write files over a size, as it refuses all on a full disk."""
    suite, environment = whole.suite(**ROWS, name="full"), {**os.environ, "PYTHONPATH": PATH}
    command = [sys.executable, "-c", WITHOUT_FIGURES, "run", suite, "--workers", "1", "--results", "full"]
    done = subprocess.run(
        command,
        cwd=whole.folder,
        env=environment | {"TRANSREC_CACHE": str(whole.folder / "cache")},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES)),
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 of 3 jobs failed" in done.stdout
    (failure,) = read_failures(whole.folder / "full", "full")
    assert failure.job.method == "SASRec"
    assert "can't be written" in failure.reason
    assert not list((whole.folder / "cache" / "checkpoints").iterdir()), "half a checkpoint is left"
    again = whole.transrec("run", suite, "--workers", "1", "--results", "full")
    assert again.code == 0, again.err
    assert "3 jobs, 2 already stored" in again.out
    ranks = {path.parent.name: path.read_bytes() for path in (whole.folder / "full").rglob("ranks.parquet")}
    assert ranks == {path.parent.name: content for path, content in stored_bytes(whole).items()}


def test_a_killed_worker_is_a_failure_with_a_log(whole: Place) -> None:
    suite = whole.suite(name="killed", methods=["Markov"], config={}, pretraining=None)
    chosen = ["--methods", "Killed,Markov", "--plugin", "third_party:KILLED", "--workers", "2"]
    done = whole.transrec("run", suite, *chosen)
    assert done.code == 1, done.err
    assert "1 of 2 jobs failed" in done.out
    (line,) = [line for line in done.out.splitlines() if line.startswith("  demo-shop Killed seed 0: ")]
    assert "a worker process died" in line
    assert Path(line.partition("(log: ")[2].rstrip(")")).is_file()


def test_a_raw_file_of_another_hash_is_named_and_nothing_is_kept(tmp_path: Path) -> None:
    place, cards = Place(tmp_path), tmp_path / "cards"
    cards.mkdir()
    given = CARD["inputs"][0] | {
        "sha256": {"interactions": "0" * 64},
        "expect": {"users": 4, "items": 4, "interactions": 12},
    }
    (cards / "own.yaml").write_text(yaml.safe_dump(CARD | {"inputs": [given]}), encoding="utf-8")
    (cards / "own.inter").write_text(INTER, encoding="utf-8")
    (cards / "own.item").write_text(ITEM, encoding="utf-8")
    done = place.transrec("run", place.suite(), "--targets", "own", "--methods", "Popularity", "--cards", cards)
    assert done.code == 2
    assert "3 users instead of 4" in done.err
    assert "own.inter has another SHA-256 than the card knows" in done.err
    assert not (tmp_path / "cache" / "domains" / "own").exists()
    assert not place.results.exists()


# --- files


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_what_is_there_stays_when_writing_fails(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, tensors = tmp_path / "text", tmp_path / "tensors"
    write_text(text, "old")
    save_tensors(tensors, {"a": torch.ones(3)}, {"old": True})

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, call, full)
        with pytest.raises(OSError, match="No space"):
            write_text(text, "new")
        with pytest.raises(OSError, match="No space"):
            save_tensors(tensors, {"a": torch.zeros(3)}, {"old": False})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tensors", "text"]
    assert text.read_text() == "old"
    loaded = load_tensors(tensors)
    assert loaded is not None
    assert loaded[1] == {"old": True}


def test_what_can_not_be_written_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "tensors").mkdir()
    with pytest.raises(OSError, match="tensors"):
        checkpoint.save_tensors(tmp_path / "tensors", {"a": torch.ones(3)}, {})


def test_only_what_a_broken_write_left_is_swept(tmp_path: Path) -> None:
    for name in ("run[1]", ".run[1].lock.x", ".run[1].0a1b", ".run1.0a1b", ".other.0a1b"):
        (tmp_path / name).write_text("")
    (tmp_path / ".run[1].2c3d").mkdir()
    (tmp_path / ".run[1].2c3d" / "ranks.parquet").write_text("")
    sweep(tmp_path / "run[1]")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.0a1b", ".run1.0a1b", "run[1]"]


def test_a_damaged_run_is_replaced_and_its_damaged_copies_go(tmp_path: Path) -> None:
    key, _ = make_key(make_job())
    damaged, kept = store_run(tmp_path, make_job(suite="big"), [1, 2]), store_run(tmp_path, make_job(seed=1), [1, 2])
    cut(damaged / "ranks.parquet")
    assert damage(damaged)
    assert find_whole(tmp_path, key) is None
    folder = store_run(tmp_path, make_job(), [1, 2])
    assert find_whole(tmp_path, key) == folder
    assert set(finished(tmp_path).values()) == {folder, kept}
    cut(folder / "ranks.parquet")
    assert store_run(tmp_path, make_job(), [1, 2]) == folder
    assert damage(folder) is None
