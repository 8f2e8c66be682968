"""Results folders for the tests of the regression gate, made from the committed reference of suite demo."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.jobs import digest
from benchmark.questions import Ranks
from benchmark.record import Planned, Record
from benchmark.store import Run, list_runs, read_context, read_run, write_context, write_plan, write_run

ROOT = Path(__file__).parents[1]
COMMITTED = ROOT / "results" / "reference"
TARGET = "demo-workshop"
ROWS = ("Popularity", "SASRec", "SASRec-cos", "SASRec_text", "UniSRec_t")

Changed = Callable[[Run], Run | None]
"""A run as it is to be stored; None where it is not to be."""


@cache
def committed() -> tuple[Run, ...]:
    """The reference's runs of a few rows on one target."""
    runs = [read_run(folder) for folder in list_runs(COMMITTED, "demo") if folder.parts[-3] == TARGET]
    return tuple(run for run in runs if run.record.method.name in ROWS)


def of(method: str, seeds: Iterable[int]) -> list[Run]:
    wanted = set(seeds)
    return [run for run in committed() if run.record.method.name == method and run.record.job.seed in wanted]


def write(results: Path, runs: Iterable[Run], change: Changed = lambda run: run) -> Path:
    """Store runs as suite demo, with their plan and users."""
    planned = []
    context = read_context(COMMITTED, "demo", TARGET)
    assert context is not None
    for run in runs:
        job = run.record.job
        changed = change(run)
        key = changed.record.key if changed else run.record.key
        planned.append(Planned(target=job.target, method=job.method, setting=job.setting, seed=job.seed, key=key))
        if changed:
            write_run(results, changed.record, changed.ranks)
            context = replace(context, fingerprint=changed.record.target.fingerprint)
    write_context(results, "demo", TARGET, context)
    write_plan(results, "demo", planned)
    return results


def split(change: Changed = lambda run: run, *, first: int = 5) -> Callable[[Path], tuple[Path, Path]]:
    """New runs and a reference in a folder: the reference has the first seeds, the new runs two of the others."""

    def make(folder: Path) -> tuple[Path, Path]:
        old = [run for run in committed() if run.record.job.seed < first]
        new = [run for run in committed() if not run.record.learning_curve or run.record.job.seed in (first, first + 1)]
        return write(folder / "new", new, change), write(folder / "reference", old)

    return make


def altered(run: Run, ranks: Ranks | None = None, parts: dict[str, Any] | None = None, **changes: Any) -> Run:
    """A run with other ranks, key parts or fields of its record, and a key and hash that fit."""
    ranks = ranks or run.ranks
    key_parts = run.record.key_parts | (parts or {})
    changes |= {"key_parts": key_parts, "key": digest(key_parts), "ranks_sha256": ranks.sha256}
    return Run(record=Record.model_validate(dict(run.record) | changes), ranks=ranks)


def with_test(run: Run, greater: NDArray[Any]) -> Run:
    """A run with other test ranks; ties stay within the catalogue."""
    above = np.clip(greater, 0, run.record.target.items - 1 - run.ranks.test_equal).astype(np.int32)
    return altered(run, replace(run.ranks, test_greater=above))


def reseeded(run: Run, seed: int, greater: NDArray[Any] | None = None) -> Run:
    job = replace(run.record.job, seed=seed)
    other = altered(run, parts={"seed": seed}, job=job)
    return other if greater is None else with_test(other, greater)
