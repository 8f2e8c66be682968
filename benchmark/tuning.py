"""``transrec tune``: the same number of trials for every row; and what ``transrec run --tuned`` takes from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmark import store, trials
from benchmark.errors import InputError
from benchmark.execute import row_name
from benchmark.jobs import Job
from benchmark.layout import TUNING
from benchmark.method import Method, Registry, configure, content
from benchmark.plan import Named, Task
from benchmark.record import Tuning
from benchmark.suite import TuningEntry
from benchmark.train import Training
from benchmark.trials import LEARNING_RATE, LEARNING_RATES, Trial, TunedRow, in_words, trials_suite

Making = Callable[[Named], Task]
"""Gives a job its key."""


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """A row of a suite on a target, and what is to be tried of it."""

    job: Job
    """The row's seed 0 as the suite has it."""
    label: str | None
    """As of `Named`."""
    space: Mapping[str, tuple[Any, ...]]
    settings: tuple[Mapping[str, Any], ...]
    tasks: tuple[Task, ...]
    """The runs of ``settings``, in their order."""


def candidates(
    jobs: Iterable[Named], make: Making, registry: Registry, n: int, instead: TuningEntry | None = None
) -> list[Candidates]:
    """The first ``n`` trials of every row that is trained, fewer where its space has no more.

    The space is the method's, or what the suite tries ``instead``.
    """
    found: dict[str, Candidates] = {}
    for named in jobs:
        job = named.job
        method = registry.method(job.method)
        if not job.training or job.seed:
            continue
        space = {LEARNING_RATE: instead.learning_rate} if instead else space_of(method)
        defaults = {name: (job.training if name == LEARNING_RATE else job.config)[name] for name in space}
        settings = trials.order(job.suite, job.target, job.method, space, defaults)[:n]
        tasks = tuple(
            replace(
                make(replace(named, job=replace(with_settings(job, each, registry), suite=trials_suite(job.suite)))),
                trial=in_words(each),
                tuning=Tuning(trials=0, note=f"trial {place} of the tuning of suite {job.suite}"),
            )
            for place, each in enumerate(settings)
        )
        # a row that says what is the default anyway is no second row
        row = Candidates(job=job, label=named.label, space=space, settings=tuple(settings), tasks=tasks)
        found.setdefault(tasks[0].key, row)
    return list(found.values())


def space_of(method: Method) -> dict[str, tuple[Any, ...]]:
    """All that may be tried of a method; raises InputError where it declares what it can't be configured with."""
    if LEARNING_RATE in method.space:
        raise InputError(f"method '{method.name}': its space must not name {LEARNING_RATE}; every method has it")
    for name, values in method.space.items():
        for each in values:
            method.configure({name: each}, f"space of method '{method.name}'")
    return {LEARNING_RATE: LEARNING_RATES, **method.space}


def with_settings(job: Job, settings: Mapping[str, Any], registry: Registry) -> Job:
    """The job with other hyper-parameters; its pre-training stays as it is. Raises InputError for impossible ones."""
    where = f"settings tried of '{job.method}'"
    own = {name: value for name, value in settings.items() if name != LEARNING_RATE}
    training = {name: value for name, value in settings.items() if name == LEARNING_RATE}
    config = registry.method(job.method).configure({**job.config, **own}, where)
    loop = configure(Training, {**job.training, **training}, where)
    return replace(job, config=content(config), training=content(loop))


def outcome(tried: Sequence[Candidates], results: Path) -> list[TunedRow]:
    """What came out, from what is stored: values on validation, and why there are none."""
    stored = store.finished(results)
    rows = []
    for row in tried:
        failures = {failure.key: failure for failure in store.read_failures(results, trials_suite(row.job.suite))}
        found = []
        for settings, task in zip(row.settings, row.tasks, strict=True):
            folder = stored.get(task.key[:12])
            failure = failures.get(task.key) if folder is None else None
            found.append(
                Trial(
                    settings=dict(settings),
                    key=task.key,
                    valid=None if folder is None else trials.value(folder),
                    failed=" ".join(failure.reason.split()) if failure else None,
                )
            )
        rows.append(
            TunedRow(
                target=row.job.target,
                method=row.job.method,
                setting=row.job.setting,
                track=row.job.track,
                space=dict(row.space),
                trials=tuple(found),
                chosen=trials.choose(found),
            )
        )
    return rows


def settled(
    jobs: Sequence[Named],
    making: Sequence[Making],
    registry: Registry,
    results: Path,
    say: Callable[[str], None],
    decides: str | None = None,
) -> list[Task]:
    """The tasks of a suite's jobs with the settings that were chosen; rows that were not tuned stay as given.

    making: the keys of this machine, then those of machines that train in another precision: what was chosen there is
    taken over, and the runs have keys of this one.
    decides: the target whose trials decide for those that have none of their own.

    Raises InputError where nothing of the suite was tuned, and where the list says of a trial what can't be its key.
    """
    make, tasks, untuned = making[0], [], {}
    lists = {suite: trials.read(results, suite) for suite in {named.job.suite for named in jobs}}
    for named in jobs:
        job = named.job
        if not job.training:
            tasks.append(make(named))
            continue
        known = lists[job.suite]
        if known is None:
            raise InputError(
                f"{results / job.suite / TUNING}: there is no such list of trials; "
                f"run `transrec tune {job.suite} --trials N` first, or leave out --tuned"
            )
        first = replace(named, job=replace(job, seed=0))
        tried_by, row = next(((by, row) for by in making if (row := known.row(by(first).key))), (make, None))
        if row is None and decides and decides != job.target:
            row = known.alike(decides, job)
        if row is None or row.best is None:
            why = "not tuned as the suite has it now" if row is None else trials.note(row)
            untuned[job.target, row_name(job, named.label)] = why
            tasks.append(make(named))
            continue
        chosen = with_settings(job, row.best.settings, registry)
        if row.target != job.target:
            note = f"taken over from {row.target}: {trials.note(row)}"
            tasks.append(replace(make(replace(named, job=chosen)), tuning=Tuning(trials=0, note=note)))
            continue
        if tried_by(replace(named, job=replace(chosen, seed=0))).key != row.best.key:
            raise InputError(
                f"{results / job.suite / TUNING}: {in_words(row.best.settings)} of {job.method} on {job.target} "
                f"is not the run {row.best.key[:12]}; tune again"
            )
        note = trials.note(row) + ("" if tried_by is make else ", on a machine of another precision")
        tasks.append(replace(make(replace(named, job=chosen)), tuning=Tuning(trials=row.done, note=note)))
    for (target, method), why in untuned.items():
        say(f"warning: {target} {method} is run as given: {why}")
    return tasks


def announce(tried: Sequence[Candidates], stored: Mapping[str, Path], n: int, say: Callable[[str], None]) -> None:
    """What is to be tried, and which of it is there already."""
    for row in tried:
        for place, task in enumerate(row.tasks):
            there = " (stored)" if task.key[:12] in stored else ""
            say(f"trial {place} of {row.job.target} {row_name(row.job, row.label)}: {task.trial}{there}")
        if len(row.tasks) < n:
            whose = f"{row.job.target} {row_name(row.job, row.label)}"
            say(f"{whose} has no more than {len(row.tasks)} trials: {_all_of(row)}")


def _all_of(row: Candidates) -> str:
    return "the defaults and " + ", ".join(f"{name} in {list(values)}" for name, values in row.space.items())


def summary(rows: Sequence[TunedRow]) -> Iterable[str]:
    """A line a row: what was chosen, and what it gains on validation over the defaults."""
    for row in rows:
        best, first = row.best, row.trials[0].valid
        if best is None or best.valid is None:
            yield f"{row.target} {row.method}: nothing chosen, no trial has a result"
            continue
        gain = f", {best.valid - first:+.4f} over the defaults" if first is not None and row.chosen else ""
        yield (
            f"{row.target} {row.method}: trial {row.chosen} of {row.done}: {trials.note(row)} ({best.valid:.4f}{gain})"
        )
