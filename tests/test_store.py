"""What is stored is whole, is found again under its key, and is refused when damaged."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from results_tree import (
    ITEMS,
    USERS,
    make_job,
    make_key,
    make_pretraining,
    make_ranks,
    make_record,
    planned,
    store_context,
    store_run,
)
from safetensors.numpy import save_file

from benchmark import store
from benchmark.errors import InputError
from benchmark.jobs import digest
from benchmark.layout import slug
from benchmark.store import (
    find,
    finished,
    list_runs,
    read_context,
    read_failures,
    read_plan,
    read_run,
    write_failure,
    write_plan,
    write_run,
)
from benchmark.verify import verify

GREATER = [0, 1, 5, 9, 12, ITEMS - 1]


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_run_comes_back_as_it_was_written(tmp_path: Path) -> None:
    job = make_job(config={"hidden": 64, "lr": 1e-3, "layers": [1, 2]}, sources=("a", "b"))
    ranks = make_ranks(GREATER, [0, 3, 0, 0, 1, 0])
    record = make_record(job, ranks)
    folder = write_run(tmp_path, record, ranks)
    key = make_key(job)[0]
    assert folder == tmp_path / "small" / "toy" / "SASRec" / f"full-seed0-{key[:12]}"
    assert files(tmp_path) == [f"small/toy/SASRec/{folder.name}/{name}" for name in ("ranks.parquet", "record.json")]
    run = read_run(folder)
    assert run.record == record
    np.testing.assert_array_equal(run.ranks.test_greater, GREATER)
    np.testing.assert_array_equal(run.ranks.test_equal, [0, 3, 0, 0, 1, 0])
    assert pq.read_schema(folder / "ranks.parquet").names == [
        "user",
        "valid_greater",
        "valid_equal",
        "test_greater",
        "test_equal",
    ]


def test_the_hash_of_ranks_is_of_the_numbers_not_of_the_file() -> None:
    ranks = make_ranks([1, 2, 3])
    content = b"transrec ranks 1\n"
    for name in ("valid_greater", "valid_equal", "test_greater", "test_equal"):
        content += f"{name} 3\n".encode() + struct.pack("<3i", *getattr(ranks, name))
    assert ranks.sha256 == hashlib.sha256(content).hexdigest()
    assert make_ranks([1, 2, 4]).sha256 != ranks.sha256


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("recbole:GRU4Rec", "recbole-GRU4Rec"),
        ("UniSRec_t+ID", "UniSRec_t+ID"),
        ("UniSRec_t", "UniSRec_t"),
        ("S3-Rec", "S3-Rec"),
        ("a/../../b c", "a-..-..-b-c"),
        ("..", digest("..")[:12]),
    ],
)
def test_folder_names_are_readable_and_stay_inside(name: str, expected: str) -> None:
    assert slug(name) == expected


@pytest.mark.parametrize("name", ["failed", "artefacts"])
@pytest.mark.parametrize("what", ["suite", "target"])
def test_names_of_folders_beside_the_targets_are_reserved(tmp_path: Path, what: str, name: str) -> None:
    job = replace(make_job(), **{what: name})
    with pytest.raises(InputError, match=f"{what} '{name}': the name is reserved"):
        store_run(tmp_path, job, GREATER)
    assert files(tmp_path) == []


@pytest.mark.parametrize("name", ["../out", "a/b", "", ".hidden", "two words"])
def test_a_target_that_can_not_name_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="can't name a folder"):
        store_run(tmp_path, make_job(target=name), GREATER)
    assert files(tmp_path) == []


def test_a_finished_key_is_found_under_any_suite(tmp_path: Path) -> None:
    job = make_job(method="recbole:GRU4Rec", suite="other")
    folder = store_run(tmp_path, job, GREATER)
    key, _ = make_key(make_job(method="recbole:GRU4Rec", suite="small"))
    assert find(tmp_path, key) == folder
    assert find(tmp_path, make_key(make_job(seed=1))[0]) is None
    assert list_runs(tmp_path, "small") == []
    assert list_runs(tmp_path, "other") == [folder]
    assert finished(tmp_path) == {key[:12]: folder}


def test_half_a_run_is_no_run_and_is_replaced(tmp_path: Path) -> None:
    folder = store_run(tmp_path, make_job(), GREATER)
    (folder / "ranks.parquet").unlink()
    assert find(tmp_path, make_key(make_job())[0]) is None
    assert store_run(tmp_path, make_job(), GREATER) == folder
    assert read_run(folder).record.target.users == USERS


def test_the_run_that_is_there_stays_unless_replaced(tmp_path: Path) -> None:
    folder = store_run(tmp_path, make_job(), GREATER, stopped="first")
    store_run(tmp_path, make_job(), GREATER[::-1], stopped="second")
    assert read_run(folder).record.stopped == "first"
    ranks = make_ranks(GREATER[::-1])
    write_run(tmp_path, make_record(make_job(), ranks, stopped="third"), ranks, replace=True)
    assert read_run(folder).record.stopped == "third"
    assert len(files(tmp_path)) == 2


def test_many_writers_of_one_run_leave_one_whole_run(tmp_path: Path) -> None:
    barrier = threading.Barrier(8)

    def write(n: int) -> Path:
        barrier.wait()
        return store_run(tmp_path, make_job(), GREATER, stopped=f"writer {n}")

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(write, range(8)))) == 1
    store_context(tmp_path)
    assert verify(tmp_path) == []
    assert len(finished(tmp_path)) == 1


def test_nothing_is_left_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "write_model", full)
    with pytest.raises(OSError, match="No space"):
        store_run(tmp_path, make_job(), GREATER)
    assert files(tmp_path) == []
    assert find(tmp_path, make_key(make_job())[0]) is None


@pytest.mark.parametrize(
    ("greater", "equal", "message"),
    [
        ([0, 0, 0, 0, 0, -1], 0, "test_greater of user 5 is negative"),
        ([0, 0, ITEMS, 0, 0, 0], 0, "user 2 exceeds 59"),
        ([0, 0, 0, ITEMS - 2, 0, 0], 2, "user 3 exceeds 59"),
        ([0, 0, 0, 0, 0, 0], 2**31 - 1, "user 0 exceeds 59"),
        ([2**31 - 1, 0, 0, 0, 0, 0], 1, "user 0 exceeds 59"),
    ],
)
def test_ranks_out_of_range_are_not_stored(tmp_path: Path, greater: list[int], equal: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        store_run(tmp_path, make_job(), greater, equal)
    assert files(tmp_path) == []


def _edit(folder: Path, change: Callable[[dict], object]) -> None:
    content = json.loads((folder / "record.json").read_text())
    change(content)
    (folder / "record.json").write_text(json.dumps(content))


def _rewrite_ranks(folder: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(folder / "ranks.parquet")), folder / "ranks.parquet")


def _set(table: pa.Table, column: str, values: list, kind: pa.DataType | None = None) -> pa.Table:
    return table.set_column(table.column_names.index(column), column, pa.array(values, kind or pa.int32()))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "record cut short": (lambda run: os.truncate(run / "record.json", 100), r"record\.json: .*JSON"),
    "record empty": (lambda run: os.truncate(run / "record.json", 0), r"record\.json: .*JSON"),
    "record is garbage": (lambda run: (run / "record.json").write_bytes(b"\xff\x00\x80"), r"record\.json"),
    "record is a list": (lambda run: (run / "record.json").write_text("[]"), r"record\.json"),
    "unknown key": (lambda run: _edit(run, lambda r: r.update(extra=1)), r"record\.json: extra: "),
    "unknown key of the job": (lambda run: _edit(run, lambda r: r["job"].update(extra=1)), r"record\.json: job\.extra"),
    "missing key": (lambda run: _edit(run, lambda r: r.pop("cost")), r"record\.json: cost: "),
    "text for a number": (lambda run: _edit(run, lambda r: r["job"].update(seed="0")), r"record\.json: job\.seed: "),
    "another format": (lambda run: _edit(run, lambda r: r.update(format=2)), r"record\.json: format: "),
    "other key parts": (lambda run: _edit(run, lambda r: r["key_parts"].update(seed=7)), "not that of its parts"),
    "more users": (lambda run: _edit(run, lambda r: r["target"].update(users=7)), r"expected int32 \[7\]"),
    "fewer items": (lambda run: _edit(run, lambda r: r["target"].update(items=10)), "exceeds 9"),
    "renamed": (lambda run: run.rename(run.with_name("full-seed1" + run.name[10:])), "renamed"),
    "ranks missing": (lambda run: (run / "ranks.parquet").unlink(), r"ranks\.parquet: can't be read"),
    "ranks cut short": (lambda run: os.truncate(run / "ranks.parquet", 60), r"ranks\.parquet: can't be read"),
    "ranks are garbage": (lambda run: (run / "ranks.parquet").write_text("hello"), r"ranks\.parquet: can't be read"),
    "a rank changed": (
        lambda run: _rewrite_ranks(run, lambda t: _set(t, "test_greater", [0, 1, 5, 9, 12, 3])),
        "not those that the record",
    ),
    "a column missing": (lambda run: _rewrite_ranks(run, lambda t: t.drop_columns(["test_equal"])), "the columns are"),
    "a column of another type": (
        lambda run: _rewrite_ranks(run, lambda t: _set(t, "test_greater", GREATER, pa.int64())),
        "the columns are",
    ),
    "an empty cell": (
        lambda run: _rewrite_ranks(run, lambda t: _set(t, "test_greater", [None, 1, 5, 9, 12, 3])),
        "empty cells",
    ),
    "users in another order": (
        lambda run: _rewrite_ranks(run, lambda t: _set(t, "user", [1, 0, 2, 3, 4, 5])),
        "users are not 0, 1, 2",
    ),
    "a user missing": (lambda run: _rewrite_ranks(run, lambda t: t.slice(0, 5)), r"int32 \[5\], expected int32 \[6\]"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_an_error_that_names_the_run(tmp_path: Path, damage: str) -> None:
    inflict, message = DAMAGE[damage]
    folder = store_run(tmp_path, make_job(), GREATER)
    store_context(tmp_path)
    assert verify(tmp_path) == []
    inflict(folder)
    (left,) = (tmp_path / "small" / "toy" / "SASRec").iterdir()
    with pytest.raises(InputError, match=message) as caught:
        read_run(left)
    assert str(left) in str(caught.value)
    assert verify(left) == [str(caught.value)]
    assert verify(tmp_path) == [str(caught.value)]


def test_a_failure_is_no_result_and_goes_when_the_run_succeeds(tmp_path: Path) -> None:
    job = make_job(method="recbole:GRU4Rec")
    key, _ = make_key(job)
    write_failure(tmp_path, job, key, "out of memory")
    path = write_failure(tmp_path, job, key, "diverged")
    assert path == tmp_path / "small" / "failed" / "toy" / "recbole-GRU4Rec" / f"full-seed0-{key[:12]}.json"
    (failure,) = read_failures(tmp_path, "small")
    assert (failure.reason, failure.job) == ("diverged", job)
    assert find(tmp_path, key) is None
    assert list_runs(tmp_path, "small") == []
    assert verify(tmp_path) == []
    store_run(tmp_path, make_job(method="recbole:GRU4Rec", suite="other"), GREATER)
    assert read_failures(tmp_path, "small") == []


@pytest.mark.parametrize(
    ("reason", "kept"),
    [
        ("InputError: /home/ada/data/x.csv:3: empty 'user'", "InputError: x.csv:3: empty 'user'"),
        (
            "[Errno 2] No such file or directory: '/tmp/my run/state.bin'",
            "[Errno 2] No such file or directory: 'state.bin'",
        ),
        ("can't read /srv/cache/, (/opt/a/b) and ~/.cache/model", "can't read cache, (b) and model"),
        (r"can't open C:\Users\ada\x.csv or 'D:/my data/y.csv'", "can't open x.csv or 'y.csv'"),
        (
            "cuda:0: 3/4 of results/lite, see https://example.org/a/b",
            "cuda:0: 3/4 of results/lite, see https://example.org/a/b",
        ),
        ("'/a/b' is not '/c/d'; I/O error, and/or NDCG@10/50", "'b' is not 'd'; I/O error, and/or NDCG@10/50"),
    ],
)
def test_the_reason_of_a_failure_carries_no_path(tmp_path: Path, reason: str, kept: str) -> None:
    job = make_job()
    path = write_failure(tmp_path, job, make_key(job)[0], reason)
    (failure,) = read_failures(tmp_path, "small")
    assert failure.reason == kept
    assert set(json.loads(path.read_text())) == {"format", "key", "job", "reason", "created"}


def test_a_plan_grows_target_by_target_and_takes_new_keys(tmp_path: Path) -> None:
    first = [planned(make_job(method)) for method in ("SASRec", "Popularity")]
    second = [planned(make_job(method, target="other")) for method in ("SASRec", "Popularity")]
    write_plan(tmp_path, "small", first)
    write_plan(tmp_path, "small", second)
    assert read_plan(tmp_path, "small").jobs == (*first, *second)
    raised = planned(make_job("SASRec", version=2))
    write_plan(tmp_path, "small", [raised])
    assert read_plan(tmp_path, "small").jobs == (raised, first[1], *second)


def test_a_plan_keeps_variants_of_one_method_apart(tmp_path: Path) -> None:
    variants = [planned(make_job(sources=sources)) for sources in (("a",), ("b",))]
    write_plan(tmp_path, "small", variants)
    assert read_plan(tmp_path, "small").jobs == tuple(variants)
    write_plan(tmp_path, "small", variants[1:])
    assert read_plan(tmp_path, "small").jobs == tuple(variants[1:])


def test_without_a_plan_there_are_no_planned_jobs_and_a_damaged_one_is_an_error(tmp_path: Path) -> None:
    assert read_plan(tmp_path, "small").jobs == ()
    path = write_plan(tmp_path, "small", [planned(make_job())])
    os.truncate(path, 40)
    with pytest.raises(InputError, match=r"suite\.json"):
        read_plan(tmp_path, "small")


def test_a_context_comes_back_as_it_was_written(tmp_path: Path) -> None:
    assert read_context(tmp_path, "small", "toy") is None
    store_context(tmp_path, cluster=[0, 0, 1, 1, 2, 3])
    context = read_context(tmp_path, "small", "toy")
    assert context is not None
    assert context.clustered
    assert context.cold.tolist() == [True, False, False, False, False, False]
    assert context.cluster.tolist() == [0, 0, 1, 1, 2, 3]
    store_context(tmp_path)
    context = read_context(tmp_path, "small", "toy")
    assert context is not None
    assert not context.clustered
    os.truncate(tmp_path / "small" / "toy" / "context.parquet", 30)
    with pytest.raises(InputError, match=r"context\.parquet: can't be read"):
        read_context(tmp_path, "small", "toy")


class TestVerify:
    @pytest.fixture
    def results(self, tmp_path: Path) -> Path:
        for seed in (0, 1):
            store_run(tmp_path, make_job(seed=seed), GREATER)
        write_plan(tmp_path, "small", [planned(make_job(seed=seed)) for seed in (0, 1)])
        store_context(tmp_path)
        (tmp_path / "README.md").write_text("What these runs are.")
        assert verify(tmp_path) == []
        return tmp_path

    @pytest.mark.parametrize(
        "path", ["notes.txt", "small/notes.txt", "small/toy/x.csv", "small/toy/SASRec/x", "small/failed/toy/x.txt"]
    )
    def test_unknown_files_are_reported(self, results: Path, path: str) -> None:
        (results / path).parent.mkdir(parents=True, exist_ok=True)
        (results / path).write_text("?")
        (problem,) = verify(results)
        assert problem.startswith(f"{results / path}: is no part of a run")

    def test_unknown_files_in_a_run_are_reported(self, results: Path) -> None:
        run = list_runs(results, "small")[0]
        (run / "model.pkl").write_text("?")
        assert [problem.split(":")[0] for problem in verify(results)] == [str(run / "model.pkl")]

    def test_what_an_interrupted_write_left_is_reported(self, results: Path) -> None:
        (results / "small" / "toy" / "SASRec" / ".full-seed0-abc.123").mkdir()
        (problem,) = verify(results)
        assert "interrupted" in problem

    def test_runs_of_other_data_than_the_context_are_reported(self, results: Path) -> None:
        store_context(results, data="newer data")
        problems = verify(results)
        assert len(problems) == 2
        assert all("other data" in problem for problem in problems)

    def test_a_missing_context_is_reported(self, results: Path) -> None:
        (results / "small" / "toy" / "context.parquet").unlink()
        (problem,) = verify(results)
        assert "context.parquet" in problem

    def test_a_run_in_another_place_is_reported(self, results: Path) -> None:
        shutil.move(results / "small" / "toy" / "SASRec", results / "small" / "toy" / "BERT4Rec")
        problems = verify(results)
        assert len(problems) == 2
        assert all("belongs to" in problem for problem in problems)

    def test_a_failure_under_another_name_is_reported(self, results: Path) -> None:
        job = make_job(seed=5)
        path = write_failure(results, job, make_key(job)[0], "diverged")
        assert verify(results) == []
        path.rename(path.with_name("full-seed6-000000000000.json"))
        (problem,) = verify(results)
        assert "another job" in problem

    def test_a_target_is_verified_by_itself(self, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        store_run(results, make_job(target="other"), GREATER)
        (run, _) = list_runs(results, "small")[-2:]
        monkeypatch.chdir(results / "small")
        assert verify(results / "small" / "toy") == verify(Path("toy")) == []
        (problem,) = verify(results / "small" / "other")
        assert problem.startswith(f"{results / 'small' / 'other'}: has no context.parquet")
        os.truncate(run / "ranks.parquet", 60)
        (problem,) = verify(results / "small" / "toy")
        assert str(run) in problem
        (results / "small" / "suite.json").unlink()
        assert verify(results / "small" / "toy") == [problem]

    def test_weights_that_are_not_those_of_the_runs_are_reported(self, results: Path) -> None:
        parts = {"family": "UniSRec", "epochs": 4}
        key = digest(parts)
        about = {"about": json.dumps({"key": key, "key_parts": parts})}
        (results / "small" / "artefacts").mkdir()
        path = results / "small" / "artefacts" / f"UniSRec-4-{key[:12]}.safetensors"
        save_file({"weight": np.arange(8, dtype=np.float16)}, path, about)
        assert verify(results) == []
        info = make_pretraining(1.0).model_copy(
            update={"key": key, "weights_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        )
        store_run(results, make_job("UniSRec_t"), GREATER, pretraining=info)
        assert verify(results) == []
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        for folder in (results, results / "small", path.parent):
            (problem,) = verify(folder)
            assert problem.startswith(f"{path}: not the weights that the runs")

    def test_a_file_is_not_called_a_missing_folder(self, results: Path) -> None:
        with pytest.raises(InputError, match="README.md: is a file; name the folder"):
            verify(results / "README.md")
        with pytest.raises(InputError, match="record.json: is a file; name the folder of its run"):
            verify(list_runs(results, "small")[0] / "record.json")

    def test_a_folder_that_is_no_results_folder_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no such folder"):
            verify(tmp_path / "nowhere")
        with pytest.raises(InputError, match="holds no results"):
            verify(tmp_path)
        (tmp_path / "something").mkdir()
        (problem,) = verify(tmp_path)
        assert "neither runs nor a plan" in problem
