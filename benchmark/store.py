"""Runs and what belongs to them, written in one step and verified when read. Where they lie: `benchmark.layout`."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from filelock import FileLock
from numpy.typing import NDArray

from benchmark.diagnostics import Diagnostics
from benchmark.errors import InputError, without_folders
from benchmark.files import put, read_model, read_table, sibling, sweep, write_model, write_table
from benchmark.jobs import Job, digest
from benchmark.layout import (
    DIAGNOSTICS,
    FAILED,
    LOCK,
    PLAN,
    RANKS,
    RECORD,
    VALID,
    context_name,
    failure_path,
    run_folder,
    run_name,
    slug,
    suite_folder,
)
from benchmark.questions import COUNTS, Context, Ranks, counts_problem
from benchmark.record import Failure, Listed, Plan, Planned, Record, now

_CONTEXT_COLUMNS: dict[str, pa.DataType] = {
    "history_length": pa.int32(),
    "train_count": pa.int32(),
    "cold": pa.bool_(),
    "cluster": pa.int32(),
}


@dataclass(frozen=True, kw_only=True)
class Run:
    record: Record
    ranks: Ranks


def is_run(folder: Path) -> bool:
    return (folder / RECORD).is_file() and (folder / RANKS).is_file()


def finished(results: Path) -> dict[str, Path]:
    """The run folders of all suites by the first 12 digits of their key; one of them where several suites hold it."""
    found = sorted(record.parent for record in results.glob(f"[!.]*/[!.]*/[!.]*/[!.]*/{RECORD}"))
    return {folder.name[-12:]: folder for folder in reversed(found) if is_run(folder)}


def find(results: Path, key: str) -> Path | None:
    """The folder of the run with this key, under whatever suite it was run."""
    return finished(results).get(key[:12])


def damage(folder: Path) -> str | None:
    """What is wrong with a stored run, or None: half a run, and one whose ranks are not those of its record."""
    try:
        read_run(folder)
    except InputError as error:
        return str(error)
    return None


def find_whole(results: Path, key: str) -> Path | None:
    """As `find`, of undamaged runs only."""
    copies = sorted(record.parent for record in results.glob(f"[!.]*/[!.]*/[!.]*/[!.]*-{key[:12]}/{RECORD}"))
    return next((folder for folder in copies if damage(folder) is None), None)


def list_runs(results: Path, suite: str) -> list[Path]:
    """The run folders stored under a suite, sorted."""
    return sorted(record.parent for record in (results / suite).glob(f"[!.]*/[!.]*/[!.]*/{RECORD}"))


def write_run(
    results: Path, record: Record, ranks: Ranks, diagnostics: Diagnostics | None = None, *, replace: bool = False
) -> Path:
    """Store a run in one step and return its folder; drops what is recorded of earlier failures of the same key, and
    damaged copies of the run under other suites.

    A whole run that is already there stays, unless ``replace``. Raises InputError where record and ranks disagree.
    """
    folder = run_folder(results, record.job, record.key)
    _check(record, ranks, str(folder))
    if replace or damage(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = sibling(folder)
        try:
            for name, (row, columns) in _rank_files(record).items():
                rows = np.arange(len(getattr(ranks, columns[0])), dtype=np.int32)
                write_table(temporary / name, pa.table({row: rows} | {name: getattr(ranks, name) for name in columns}))
            if diagnostics is not None:
                write_model(temporary / DIAGNOSTICS, diagnostics)
            write_model(temporary / RECORD, record)
            if folder.exists() and (replace or damage(folder)):
                doomed = sibling(folder)
                with suppress(FileNotFoundError):  # another worker has moved it away already
                    os.replace(folder, doomed)
                    shutil.rmtree(doomed)
            try:
                put(temporary, folder)
            except OSError:
                if not is_run(folder):  # otherwise another worker has just stored the same run
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    for failure in results.glob(f"*/{FAILED}/*/*/*-{record.key[:12]}.json"):
        failure.unlink(missing_ok=True)
    for copy in results.glob(f"[!.]*/[!.]*/[!.]*/[!.]*-{record.key[:12]}"):
        if copy != folder and damage(copy):
            shutil.rmtree(copy, ignore_errors=True)
    return folder


def read_run(folder: Path) -> Run:
    """A run, checked: schema, key, folder name, number of ranks, their range and hash; raises InputError."""
    record = read_record(folder)
    found = {}
    for name, (row, columns) in _rank_files(record).items():
        table = _read_rows(folder / name, row, dict.fromkeys(columns, pa.int32()))
        found |= {column: table[column].to_numpy() for column in columns}
    ranks = Ranks(**found)
    _check(record, ranks, str(folder))
    if folder.name != run_name(record.job, record.key):
        raise InputError(f"{folder}: holds the run '{run_name(record.job, record.key)}'; was the folder renamed?")
    return Run(record=record, ranks=ranks)


def read_valid(folder: Path, record: Record) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The (greater, equal) counts of a run on validation, [n_questions] each; those on test stay unread.

    Raises InputError. Without the test columns the hash of the ranks can't be checked, which `read_run` does.
    """
    columns = COUNTS[:2]
    (name,) = (name for name, (_, held) in _rank_files(record).items() if set(columns) <= set(held))
    table = _read_rows(folder / name, _row(record.job.track), dict.fromkeys(columns, pa.int32()), others=True)
    greater, equal = (table[column].to_numpy() for column in columns)
    if problem := counts_problem("valid", greater, equal, record.n_valid, record.target.items):
        raise InputError(f"{folder}: {problem}; delete the folder and run this job again")
    return greater, equal


def read_record(folder: Path) -> Record:
    """What a run says about itself, checked for its form only; `read_run` checks it against the ranks."""
    record = read_model(folder / RECORD, Record)
    _stays_inside(folder / RECORD, record.job, record.key)
    return record


def read_diagnostics(folder: Path, record: Record) -> Diagnostics | None:
    """What figures need of a run besides its ranks, or None where it was stored without.

    Raises InputError for a damaged file, and for one that does not fit the run's record.
    """
    path = folder / DIAGNOSTICS
    if not path.exists():
        return None
    found = read_model(path, Diagnostics)
    if problem := found.problem(record):
        raise InputError(f"{path}: {problem}; delete the file, the run is whole without it")
    return found


def write_failure(results: Path, job: Job, key: str, reason: str) -> Path:
    """Note why a job gave no result, replacing what was noted before.

    Results are made to be shown: of a path in the reason only the last part is kept. The log has all of it.
    """
    path = failure_path(results, job, key)
    write_model(path, Failure(key=key, job=job, reason=without_folders(reason), created=now()))
    return path


def read_failures(results: Path, suite: str) -> list[Failure]:
    """The failures noted under a suite, in the order of their paths."""
    return [read_failure(path) for path in sorted((suite_folder(results, suite) / FAILED).glob("*/*/[!.]*.json"))]


def read_failure(path: Path) -> Failure:
    failure = read_model(path, Failure)
    _stays_inside(path, failure.job, failure.key)
    return failure


def write_plan(results: Path, suite: str, entries: Iterable[Planned], rows: Iterable[Listed] = ()) -> Path:
    """Note which runs the suite consists of, so that a report also finds those stored under another suite.

    Entries replace earlier ones of the same target, track, method, setting and seed and take their place; the others
    stay, so that a suite may be run target by target. Deleting the file starts afresh. ``rows``, the whole suite,
    replace those that were noted before.
    """
    path = results / suite / PLAN
    results.mkdir(parents=True, exist_ok=True)
    with FileLock(results / LOCK):  # two runs started together must not drop each other's entries
        sweep(path)
        cells = _by_cell(read_plan(results, suite).jobs) | _by_cell(entries)
        jobs = tuple(entry for cell in cells.values() for entry in cell)
        write_model(path, Plan(suite=suite, jobs=jobs, rows=tuple(rows)))
    return path


def read_plan(results: Path, suite: str) -> Plan:
    """The jobs of a suite as planned, in its order; empty where no plan was written."""
    path = suite_folder(results, suite) / PLAN
    return read_model(path, Plan) if path.exists() else Plan(suite=suite, jobs=())


def write_context(results: Path, suite: str, target: str, context: Context, track: str = "paper") -> Path:
    """Store the context of a target under a track, replacing the one that is there. Only one process may do so at a
    time."""
    path = results / suite / target / context_name(track)
    sweep(path)
    rows = {_row(track): np.arange(len(context.cluster), dtype=np.int32)}
    columns = {name: getattr(context, name) for name in _CONTEXT_COLUMNS}
    table = pa.table(rows | columns, pa.schema({_row(track): pa.int32()} | _CONTEXT_COLUMNS))
    write_table(path, table.replace_schema_metadata({"fingerprint": context.fingerprint}))
    return path


def read_context(results: Path, suite: str, target: str, track: str = "paper") -> Context | None:
    """The context of a target, or None where none was written; raises InputError for a damaged one."""
    path = suite_folder(results, suite) / target / context_name(track)
    if not path.exists():
        return None
    table = _read_rows(path, _row(track), _CONTEXT_COLUMNS)
    fingerprint = (table.schema.metadata or {}).get(b"fingerprint")
    if fingerprint is None:
        raise InputError(f"{path}: names no fingerprint; delete it and run the suite again")
    arrays = {name: table[name].to_numpy() for name in _CONTEXT_COLUMNS}
    if not re.fullmatch(b"[0-9a-f]{64}", fingerprint):
        raise InputError(f"{path}: its fingerprint is none; delete it and run the suite again")
    if any((values < 0).any() for values in arrays.values()) or (arrays["cold"] != (arrays["train_count"] == 0)).any():
        raise InputError(f"{path}: counts below 0, or a cold item that was trained on; delete it and run again")
    return Context(fingerprint=fingerprint.decode(), **arrays)


def _stays_inside(path: Path, job: Job, key: str) -> None:
    """Raise InputError where what a file says of a job could not have been stored: its names lead elsewhere."""
    try:
        run_folder(path, job, key)
    except InputError as error:
        raise InputError(f"{path}: {error}; delete it and run again") from error
    if job.track != slug(job.track) or not 0 <= job.seed < 2**53:
        raise InputError(f"{path}: the job's track or seed is none; delete it and run again")


def _by_cell(entries: Iterable[Planned]) -> dict[tuple[str, str, str, str, int], list[Planned]]:
    cells: dict[tuple[str, str, str, str, int], list[Planned]] = {}
    for entry in entries:
        cell = (entry.target, entry.track, entry.method, entry.setting, entry.seed)
        cells.setdefault(cell, []).append(entry)
    return cells


def _check(record: Record, ranks: Ranks, where: str) -> None:
    problem = ranks.problem(record.n_valid, record.n_test, record.target.items)
    if problem is None and record.questions is not None and record.questions.users > record.target.users:
        problem = f"asks {record.questions.users} of {record.target.users} users"
    if (
        problem is None
        and len({record.job.track == "strict", record.job.cut is not None, record.questions is not None}) > 1
    ):
        problem = "a run of the strict track, and no other, has a cut and questions of its own"
    if problem is None and ranks.sha256 != record.ranks_sha256:
        problem = "the ranks are not those that the record was written with"
    if problem is None and digest(record.key_parts) != record.key:
        problem = "the key is not that of its parts"
    if problem is not None:
        raise InputError(f"{where}: {problem}; delete the folder and run this job again")


def _rank_files(record: Record) -> dict[str, tuple[str, tuple[str, ...]]]:
    """The files that hold a run's ranks: what a line is about, and the columns."""
    row = _row(record.job.track)
    return {RANKS: (row, COUNTS)} if row == "user" else {RANKS: (row, COUNTS[2:]), VALID: (row, COUNTS[:2])}


def _row(track: str) -> str:
    return "question" if track == "strict" else "user"


def _read_rows(path: Path, row: str, columns: Mapping[str, pa.DataType], *, others: bool = False) -> pa.Table:
    table = read_table(path, {row: pa.int32(), **columns}, others=others)
    if not np.array_equal(table[row].to_numpy(), np.arange(table.num_rows)):
        raise InputError(f"{path}: the {row}s are not 0, 1, 2, ...; delete it and run again")
    return table
