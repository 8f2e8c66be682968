"""Does a results folder hold what it says? All that can be derived again is, and nothing unknown may lie there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError, safe_open

from benchmark import trials
from benchmark.claims import RUNNING
from benchmark.errors import InputError
from benchmark.files import parse_json
from benchmark.jobs import digest
from benchmark.layout import (
    ARTEFACTS,
    CONTEXTS,
    DIAGNOSTICS,
    FAILED,
    LOCK,
    PLAN,
    RANKS,
    RECORD,
    REFERENCE_FOLDER,
    TUNING,
    VALID,
    context_name,
    failure_path,
    run_folder,
)
from benchmark.questions import Context
from benchmark.record import Record
from benchmark.store import read_context, read_diagnostics, read_failure, read_plan, read_record, read_run

Weights = Mapping[str, set[str]]
"""By the key of a pre-training, the SHA-256 of the files that runs were started from."""

_BESIDE_SUITES = frozenset({LOCK, RUNNING, ".gitkeep", ".gitattributes", ".gitignore", "README.md"})


def verify(path: Path) -> list[str]:
    """Problems of a run's, a target's, a suite's or a whole results folder, each naming its file; empty where all is
    well.

    Raises InputError where ``path`` is none of these.
    """
    if not path.exists():
        raise InputError(f"{path}: no such folder; name a results folder or one in it")
    if not path.is_dir():
        raise InputError(f"{path}: is a file; name the folder of its run, or of all results")
    if (path / RECORD).exists() or (path / RANKS).exists():
        return _run(path.resolve())[1]
    if (path / PLAN).exists():
        return list(_suite(path.resolve(), _weights([path])))
    if any((path / name).exists() for name in CONTEXTS) or (path.resolve().parent / PLAN).exists():
        return list(_part(path.resolve(), _weights([path.resolve().parent])))
    suites = [child for child in sorted(path.iterdir()) if child.name not in _BESIDE_SUITES]
    if not suites:
        raise InputError(f"{path}: holds no results; run a suite first or name another folder")
    weights = _weights(suites)
    problems = [problem for suite in suites if suite.name != REFERENCE_FOLDER for problem in _suite(suite, weights)]
    return problems + (verify(path / REFERENCE_FOLDER) if path / REFERENCE_FOLDER in suites else [])


def _weights(suites: Iterable[Path]) -> Weights:
    """What the runs of these suites were started from; records that can't be read are reported elsewhere."""
    found: dict[str, set[str]] = {}
    for record in (record for suite in suites for record in suite.glob(f"[!.]*/[!.]*/[!.]*/{RECORD}")):
        with suppress(InputError):
            made = read_record(record.parent).pretraining
            if made is not None:
                found.setdefault(made.key, set()).add(made.weights_sha256)
    return found


def _suite(folder: Path, weights: Weights) -> Iterator[str]:
    if _is_unknown(folder):
        yield _unknown(folder)
        return
    children = sorted(folder.iterdir())
    if not any(child.name in (PLAN, FAILED) or child.is_dir() for child in children):
        yield f"{folder}: holds neither runs nor a plan; name a results folder, or move what is no suite elsewhere"
    for child in children:
        yield from _part(child, weights)


def _part(path: Path, weights: Weights) -> Iterator[str]:
    """Problems of what lies in the folder of a suite."""
    if path.name == PLAN:
        try:
            read_plan(path.parent.parent, path.parent.name)
        except InputError as error:
            yield str(error)
    elif path.name == TUNING:
        yield from trials.problems(path.parent.parent, path.parent.name)
    elif _is_unknown(path):
        yield _unknown(path)
    elif path.name == ARTEFACTS:
        yield from _artefacts(path, weights)
    else:
        yield from _failures(path) if path.name == FAILED else _target(path)


def _target(folder: Path) -> Iterator[str]:
    contexts: dict[str, Context | None] = {}
    for track in [track for track in ("paper", "strict") if (folder / context_name(track)).exists()]:
        contexts[context_name(track)] = None
        try:
            contexts[context_name(track)] = read_context(folder.parent.parent, folder.parent.name, folder.name, track)
        except InputError as error:
            yield str(error)
    if not contexts:  # nothing tells of which track it is
        contexts[CONTEXTS[0]] = None
        yield _no_context(folder, CONTEXTS[0])
    for method in sorted(folder.iterdir()):
        if method.name in CONTEXTS:
            continue
        if _is_unknown(method):
            yield _unknown(method)
            continue
        for run in sorted(method.iterdir()):
            if _is_unknown(run):
                yield _unknown(run)
                continue
            record, problems = _run(run)
            yield from problems
            if record is None:
                continue
            name = context_name(record.job.track)
            if name not in contexts:
                contexts[name] = None
                yield _no_context(folder, name)
            yield from _place(run, record, contexts[name])


def _no_context(folder: Path, name: str) -> str:
    return f"{folder}: has no {name}; run the suite again to write it"


def _run(folder: Path) -> tuple[Record | None, list[str]]:
    """The record of a run, where it can be read, and the problems of the run by itself."""
    known = (RECORD, RANKS, VALID, DIAGNOSTICS)
    problems = [_unknown(child) for child in sorted(folder.iterdir()) if child.name not in known]
    try:
        record = read_run(folder).record
    except InputError as error:
        return None, [*problems, str(error)]
    if record.questions is None and (folder / VALID).exists():
        problems.append(_unknown(folder / VALID))
    job = (record.job.target, record.job.method, record.job.version)
    if job != (record.target.name, record.method.name, record.method.version):
        problems.append(f"{folder / RECORD}: the record is of another target, method or version than its job")
    try:
        read_diagnostics(folder, record)
    except InputError as error:
        problems.append(str(error))
    return record, problems


def _place(folder: Path, record: Record, context: Context | None) -> Iterator[str]:
    """Problems of a run with where it lies."""
    try:
        wanted = run_folder(folder.parents[3], record.job, record.key)
    except InputError as error:
        yield f"{folder / RECORD}: {error}"
        return
    if folder != wanted:
        yield f"{folder}: its record belongs to {wanted}; was it moved or edited?"
    elif context is not None and (context.fingerprint, len(context.cluster)) != (record.asked, record.n_test):
        name = context_name(record.job.track)
        yield f"{folder}: was made from other data than the {name} of its target; run this job again"


def _failures(folder: Path) -> Iterator[str]:
    for path in sorted(path for path in folder.rglob("*") if not path.is_dir()):
        if path.suffix != ".json" or path.name.startswith("."):
            yield _unknown(path)
            continue
        try:
            failure = read_failure(path)
            wanted = failure_path(folder.parents[1], failure.job, failure.key)
        except InputError as error:
            yield str(error)
            continue
        if path != wanted:
            yield f"{path}: notes the failure of another job than its name says; delete it"


def _artefacts(folder: Path, weights: Weights) -> Iterator[str]:
    """Problems of published pre-trained weights: each file's key must be that of its parts and in its name, and its
    bytes those that runs were started from."""
    for path in sorted(folder.iterdir()):
        try:
            with safe_open(path, "numpy") as file:
                about = parse_json(file.metadata()["about"])
                names = file.keys()
            key, said = digest(about["key_parts"]), about["key"]
        except (OSError, SafetensorError, TypeError, KeyError, ValueError) as error:
            yield f"{path}: not an artefact of pre-training ({error}); delete it or restore it"
            continue
        if key != said or not path.stem.endswith(key[:12]) or not names:
            yield f"{path}: its key is not that of its parts, or not the one in its name; restore it"
        elif key in weights and hashlib.sha256(path.read_bytes()).hexdigest() not in weights[key]:
            yield f"{path}: not the weights that the runs with pre-training {key[:12]} were started from; restore it"


def _is_unknown(folder: Path) -> bool:
    return not folder.is_dir() or folder.name.startswith(".")


def _unknown(path: Path) -> str:
    if path.name.startswith("."):
        return f"{path}: left by a write that was interrupted or still goes on; delete it if nothing is running"
    return f"{path}: is no part of a run; delete it or move it elsewhere"
