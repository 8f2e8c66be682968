"""Trials of tuning: what a row may try and in which order, and the list of what was tried and chosen.

A trial is an ordinary run of seed 0. Trial 0 is the row as its suite has it; the others are points of a grid (`order`).
They are stored under a suite of their own (`trials_suite`), without a plan, so that no report of the suite has them for
rows; ``tuning.json`` in the folder of the suite says what came out. Choosing reads ranks on validation, never on test.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock
from pydantic import model_validator

from benchmark import store
from benchmark.errors import InputError
from benchmark.files import read_model, write_model
from benchmark.jobs import Job, digest
from benchmark.layout import LOCK, TUNING
from benchmark.metrics import PRIMARY, per_user
from benchmark.record import FORMAT, Count, Record, Sha256, Stored

SUFFIX = "+trials"
LEARNING_RATE = "learning_rate"
LEARNING_RATES = (3e-4, 1e-3, 3e-3, 1e-2)
"""Tried of every trained method; a setting of the training loop, where all others are the method's own."""


class Trial(Stored):
    settings: dict[str, Any]
    """The value of everything in the row's space."""
    key: Sha256
    """Of its run."""
    valid: float | None
    """NDCG@10 on validation, unrounded; null where there is no result."""
    failed: str | None
    """Why there is none, where the trial was run and failed."""


class TunedRow(Stored):
    """What was tried of a row of a suite on a target."""

    target: str
    method: str
    setting: str
    track: str = "paper"
    space: dict[str, tuple[Any, ...]]
    trials: tuple[Trial, ...]
    """The row as its suite has it, then others in the order of `order`."""
    chosen: Count | None
    """The place in ``trials`` of the one with the highest value, the first of equals; null where all failed."""

    @model_validator(mode="after")
    def _whole(self) -> TunedRow:
        if not self.trials or (self.chosen is not None and self.chosen >= len(self.trials)):
            raise ValueError(f"there is no trial {self.chosen or 0} of {self.method} on {self.target}")
        for place, trial in enumerate(self.trials):
            if trial.settings.keys() != self.space.keys():
                raise ValueError(f"trial {place} of {self.method} on {self.target} does not name what is in the space")
            if type(trial.settings.get(LEARNING_RATE)) is not float:
                raise ValueError(f"trial {place} of {self.method} on {self.target} has no {LEARNING_RATE}")
        return self

    @property
    def best(self) -> Trial | None:
        return None if self.chosen is None else self.trials[self.chosen]

    @property
    def done(self) -> int:
        """Trials that have a value."""
        return sum(trial.valid is not None for trial in self.trials)


class Tuning(Stored):
    """``tuning.json``."""

    format: Literal[1] = FORMAT
    suite: str
    rows: tuple[TunedRow, ...]

    def row(self, key: str) -> TunedRow | None:
        """The row whose seed 0 has this key as its suite has it."""
        return next((row for row in self.rows if row.trials[0].key == key), None)

    def alike(self, target: str, job: Job) -> TunedRow | None:
        """The row that was tuned on ``target`` of the method of a job of another target, by the settings from which
        the tuning began; None also where there are several."""
        wanted = (target, job.track, job.method, job.setting)
        given = {**job.config, LEARNING_RATE: job.training[LEARNING_RATE]}
        found = [
            row
            for row in self.rows
            if (row.target, row.track, row.method, row.setting) == wanted
            and row.trials[0].settings.items() <= given.items()
        ]
        return found[0] if len(found) == 1 else None


def trials_suite(suite: str) -> str:
    """Where the trials of a suite are stored. No suite can be called so: a plus is not allowed in its name."""
    return f"{suite}{SUFFIX}"


def order(
    suite: str, target: str, method: str, space: Mapping[str, Iterable[Any]], defaults: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The settings of all trials: the defaults, then every other point of the grid, in an order drawn by hashing.

    The order depends on the arguments alone. More trials than before go on where these ended.
    """
    names = sorted(space)
    grid = [dict(zip(names, values, strict=True)) for values in itertools.product(*(space[name] for name in names))]
    first = {name: defaults[name] for name in names}
    others = {_text(point): point for point in grid if _text(point) != _text(first)}
    drawn = sorted(others, key=lambda text: digest(["tuning", suite, target, method, text]))
    return [first, *(others[text] for text in drawn)]


def _text(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)


def defaults_of(record: Record, space: Iterable[str]) -> dict[str, Any]:
    """What a run has of everything in a space; raises KeyError for what it has not."""
    return {name: (record.job.training if name == LEARNING_RATE else record.job.config)[name] for name in space}


def value(folder: Path) -> float:
    """What a trial is judged by: mean NDCG@10 over users on validation, unrounded. Raises InputError."""
    greater, equal = store.read_valid(folder, store.read_record(folder))
    return float(per_user(PRIMARY, greater, equal).mean())


def choose(trials: Iterable[Trial]) -> int | None:
    """The place of the trial with the highest value; the first of equals, so that the defaults win a draw."""
    valued = [(trial.valid, -place) for place, trial in enumerate(trials) if trial.valid is not None]
    return -max(valued)[1] if valued else None


def in_words(settings: Mapping[str, Any]) -> str:
    """``dropout 0.2, learning_rate 0.003``"""
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def edge(row: TunedRow) -> str | None:
    """What to say of a learning rate that was chosen at the edge of its grid: a better one may lie beyond."""
    best, rates = row.best, row.space.get(LEARNING_RATE)
    if best is None or not rates:
        return None
    rate = best.settings[LEARNING_RATE]
    if min(rates) < rate < max(rates):
        return None
    return f"the learning rate {rate} is at the {'low' if rate <= min(rates) else 'high'} edge of what may be tried"


def note(row: TunedRow) -> str:
    """How the chosen configuration came about, for records and reports."""
    best = row.best
    if best is None:
        return "as given: no trial has a result"
    said = f"{in_words(best.settings)}, chosen on validation {PRIMARY}"
    if row.chosen == 0:
        said += " (as given)"
    return f"{said}; {beyond}" if (beyond := edge(row)) else said


def shortfall(row: TunedRow) -> str:
    """Why a row has no more trials than it has."""
    failed = [trial.failed for trial in row.trials if trial.failed]
    if failed:
        return f"{len(failed)} of {len(row.trials)} trials failed: {'; '.join(dict.fromkeys(failed))}"
    if missing := len(row.trials) - row.done:
        return f"{missing} of {len(row.trials)} trials have no result yet"
    first = row.trials[0].settings
    if len(order("", "", "", row.space, first)) == len(row.trials):
        return "there is nothing more in its space"
    return "no more were asked for"


def read(results: Path, suite: str) -> Tuning | None:
    """What was tuned of a suite; None where nothing was. Raises InputError for a damaged list."""
    path = results / suite / TUNING
    if not path.exists():
        return None
    return read_model(path, Tuning)


def write(results: Path, suite: str, rows: Iterable[TunedRow]) -> Path:
    """Note what was tuned. It takes the place of all that was noted of the same targets and methods; the rest stays."""
    path = results / suite / TUNING
    results.mkdir(parents=True, exist_ok=True)
    with FileLock(results / LOCK):
        known = read(results, suite)
        new = tuple(rows)
        anew = {(row.target, row.track, row.method) for row in new}
        kept = tuple(row for row in (known.rows if known else ()) if (row.target, row.track, row.method) not in anew)
        write_model(path, Tuning(suite=suite, rows=kept + new))
    return path


def problems(results: Path, suite: str) -> Iterable[str]:
    """What keeps a list from being what the stored runs say."""
    path = results / suite / TUNING
    try:
        found = read(results, suite)
    except InputError as error:
        yield str(error)
        return
    if found is None:
        return
    if found.suite != suite:
        yield f"{path}: is the list of suite '{found.suite}'; was it moved?"
    stored = store.finished(results)
    for row in found.rows:
        where = f"{path}: {row.method} on {row.target}"
        for place, trial in enumerate(row.trials):
            yield from (f"{where}, trial {place}: {problem}" for problem in _wrong(row, trial, stored))
        if row.chosen != (best := choose(row.trials)):
            yield f"{where}: trial {row.chosen} is called the best, which is {best}; tune again"
        settings = [trial.settings for trial in row.trials]
        if settings != order(found.suite, row.target, row.method, row.space, settings[0])[: len(settings)]:
            yield f"{where}: these are not the trials that come first in the order of its space; tune again"


def _wrong(row: TunedRow, trial: Trial, stored: Mapping[str, Path]) -> Iterable[str]:
    folder = stored.get(trial.key[:12])
    if trial.valid is None:
        return
    if folder is None:
        yield f"its run {trial.key[:12]} is not stored; tune again, or restore it"
        return
    try:
        record, found = store.read_record(folder), value(folder)
        settings = defaults_of(record, row.space)
    except InputError as error:
        yield str(error)
        return
    except KeyError as error:
        yield f"{folder} knows nothing of {error}"
        return
    job = record.job
    if record.key != trial.key or job.seed != 0:
        yield f"{folder} is the run {record.key[:12]} of seed {job.seed}, expected {trial.key[:12]} of seed 0"
    elif (job.target, job.track, job.method, job.setting) != (row.target, row.track, row.method, row.setting):
        yield f"{folder} is a run of {job.method} on {job.target}"
    elif settings != trial.settings:
        yield f"{folder} was run with {in_words(settings)}"
    elif abs(found - trial.valid) > 1e-12:
        yield f"the value is {trial.valid}, and its ranks say {found}; tune again"
