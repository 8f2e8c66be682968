"""``transrec check --update``: the runs of a suite become the reference that later ones are compared with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from benchmark.errors import InputError
from benchmark.files import sibling, write_model
from benchmark.layout import PLAN
from benchmark.record import Plan, Planned
from benchmark.report.stored import Stored, stored
from benchmark.store import list_runs, read_record, read_run, write_context, write_run


@dataclass(frozen=True, kw_only=True)
class Moved:
    """Which runs the reference holds now, by how it came to them."""

    kept: int
    """The same run was there before: same key, same ranks."""
    taken: int
    dropped: int


def move(suite: str, results: Path, reference: Path) -> Moved:
    """Replace the reference of a suite, in one step, by the runs of its plan in ``results``: records, ranks and what is
    known of the users; no diagnostics, no weights.

    Raises InputError, before anything is changed, where a planned run is missing or damaged, where users are not known,
    and where both folders are one.
    """
    if results.resolve() == reference.resolve():
        raise InputError(f"{reference}: is where the new runs are; name another folder with --reference")
    parts = stored(suite, results)
    _complete(parts, results)
    place = reference / suite
    before = _held(reference, suite)
    reference.mkdir(parents=True, exist_ok=True)
    temporary = sibling(place)
    try:
        now = _write(suite, parts, temporary)
        _swap(temporary / suite, place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    kept = sum(before.get(key) == ranks for key, ranks in now.items())
    return Moved(kept=kept, taken=len(now) - kept, dropped=len(before) - kept)


def _complete(parts: list[Stored], results: Path) -> None:
    for part in parts:
        for gap in part.gaps:
            raise InputError(
                f"{results}: {gap.method} on {part.target}, seed {gap.seed}, has no result ({gap.reason}); a reference "
                "must be whole: run the suite again first"
            )
        if part.context is None:
            raise InputError(f"{results}: nothing is known of the users of {part.target}; run the suite again first")


def _write(suite: str, parts: list[Stored], folder: Path) -> dict[str, str]:
    """Store the runs as a results folder of this suite alone; the hash of the ranks of each by its key."""
    planned, written = [], {}
    for part in parts:
        for outcome in part.outcomes:
            run = read_run(outcome.folder)
            # A run that another suite made is this suite's here, so that it lies where its record says.
            record = run.record.model_copy(update={"job": replace(run.record.job, suite=suite)})
            write_run(folder, record, run.ranks)
            written[record.key] = record.ranks_sha256
            job = record.job
            planned.append(
                Planned(
                    target=job.target,
                    method=job.method,
                    setting=job.setting,
                    track=job.track,
                    seed=job.seed,
                    key=record.key,
                )
            )
        if part.context is not None:
            write_context(folder, suite, part.target, part.context)
    write_model(folder / suite / PLAN, Plan(suite=suite, jobs=tuple(planned)))
    return written


def _swap(new: Path, place: Path) -> None:
    """Put a folder in the place of another, which comes back where that fails."""
    old = sibling(place)
    if place.exists():
        os.replace(place, old)
    try:
        os.replace(new, place)
    except OSError:
        if old.exists():
            os.replace(old, place)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _held(reference: Path, suite: str) -> Mapping[str, str]:
    """What lies in a reference, by key; a damaged one is about to go, so it counts for nothing."""
    found = {}
    for folder in list_runs(reference, suite):
        try:
            record = read_record(folder)
        except InputError:
            continue
        found[record.key] = record.ranks_sha256
    return found
