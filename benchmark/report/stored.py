"""What is stored of a suite, target by target: runs with their ranks turned into metrics, rows of runs that differ in
nothing but their seed, and gaps with their reasons."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark import trials
from benchmark.errors import IncompatibleRuns, InputError, unknown, without_folders
from benchmark.forecast import Forecast, Size
from benchmark.jobs import Job, share_of_users
from benchmark.layout import REFERENCE_FOLDER, suite_folder
from benchmark.metrics import METRICS, per_user
from benchmark.questions import Context
from benchmark.record import Failure, Listed, Planned, Record
from benchmark.report.tables import CONTROL, REFERENCE, Gap, Unrun
from benchmark.store import finished, list_runs, read_context, read_failures, read_plan, read_record, read_run
from benchmark.trials import TunedRow

Label = tuple[str, str, str]
"""What makes a row: method, setting, variant."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """A run, its ranks turned into metrics."""

    record: Record
    folder: Path
    """Where it is stored."""
    label: str | None
    """What the suite calls its row, where it gives it a name of its own."""
    users: Mapping[str, NDArray[np.float64]]
    """Of each metric, the value of each user, [n_users]."""
    tie_rate: float


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What is stored of one target and track of a suite."""

    target: str
    track: str
    outcomes: tuple[Outcome, ...]
    gaps: tuple[Gap, ...]
    context: Context | None
    """Of the users; None where none fits the runs."""
    tuned: tuple[TunedRow, ...] = ()
    """What was tried of its rows; empty where the suite was not tuned."""
    unrun: tuple[Unrun, ...] = ()
    """What of the suite was not even asked for."""


def stored(suite: str, results: Path) -> list[Stored]:
    """The runs of a suite's plan or, without a plan, those stored under it, target by target.

    A planned run that is damaged or was edited is left out, and a gap says so. Raises InputError for a suite without
    any job, and IncompatibleRuns for runs of two versions of a target's data or of the protocol.
    """
    suite_folder(results, suite)
    failures = {failure.key: failure for failure in read_failures(results, suite)}
    plan = read_plan(results, suite)
    jobs = plan.jobs or _stored_jobs(results, suite, failures.values())
    if not jobs:
        folders = [child for child in results.iterdir() if child.is_dir()] if results.is_dir() else []
        known = [folder.name for folder in folders if folder.name != REFERENCE_FOLDER]
        if suite in known or not known:
            raise InputError(f"{results}: holds no results of suite '{suite}'; run `transrec run {suite}` first")
        raise unknown("suite", suite, known, str(results))
    tuning = trials.read(results, suite)
    done = finished(results)
    folders = {job.key: done[job.key[:12]] for job in jobs if job.key[:12] in done}
    found_runs, damaged = _readable(folders, {job.key: job.label for job in jobs})
    _made_alike({key: outcome.record for key, outcome in found_runs.items()}, folders)
    groups: dict[tuple[str, str], list[Planned]] = {}
    for job in jobs:
        groups.setdefault((job.target, job.track), []).append(job)
    forecast = Forecast(outcome.record for outcome in found_runs.values())
    found = []
    for (target, track), group in groups.items():
        outcomes = tuple(found_runs[job.key] for job in group if job.key in found_runs)
        suites = dict.fromkeys([suite, *(outcome.record.job.suite for outcome in outcomes)])
        contexts = [context for name in suites if (context := read_context(results, name, target, track))]
        fits = {(outcome.record.asked, outcome.record.n_test) for outcome in outcomes}
        gaps = tuple(
            _gap(job, failures.get(job.key), damaged.get(job.key)) for job in group if job.key not in found_runs
        )
        context = next((c for c in contexts if (c.fingerprint, len(c.cluster)) in fits), None)
        tuned = tuple(row for row in (tuning.rows if tuning else ()) if (row.target, row.track) == (target, track))
        rows = [row for row in plan.rows if (row.target, row.track) == (target, track)]
        unrun = _unrun(rows, group, outcomes, forecast)
        found.append(
            Stored(target=target, track=track, outcomes=outcomes, gaps=gaps, context=context, tuned=tuned, unrun=unrun)
        )
    return found


def _stored_jobs(results: Path, suite: str, failures: Iterable[Failure]) -> tuple[Planned, ...]:
    found = [*(read_record(folder) for folder in list_runs(results, suite)), *failures]
    # folders of two tracks lie side by side, in the order of their keys
    jobs = {done.key: done.job for done in sorted(found, key=lambda done: (done.job.target, done.job.track))}
    return tuple(
        Planned(target=job.target, method=job.method, setting=job.setting, track=job.track, seed=job.seed, key=key)
        for key, job in jobs.items()
    )


def _readable(
    folders: Mapping[str, Path], labels: Mapping[str, str | None]
) -> tuple[dict[str, Outcome], dict[str, str]]:
    """By key, the runs that are what their record says, and of the others what is wrong."""
    outcomes, damaged = {}, {}
    for key, folder in folders.items():
        try:
            outcomes[key] = _outcome(folder, labels[key])
        except InputError as error:
            damaged[key] = without_folders(str(error))
    return outcomes, damaged


def _made_alike(records: Mapping[str, Record], folders: Mapping[str, Path]) -> None:
    """Raise IncompatibleRuns where the runs of a target were made from different data or under different protocols, or
    those of a track of it with different cuts in time."""
    first: dict[str, str] = {}
    asked: dict[tuple[str, str], str] = {}
    for key, record in records.items():
        other = records[first.setdefault(record.target.name, key)]
        if other.target.fingerprint != record.target.fingerprint:
            mine, theirs = (f"version {one.target.fingerprint[:12]} of '{one.target.name}'" for one in (record, other))
        elif (other.target.users, other.target.items) != (record.target.users, record.target.items):
            mine, theirs = (f"{one.target.users} users and {one.target.items} items" for one in (record, other))
        elif other.key_parts.get("protocol") != record.key_parts.get("protocol"):
            mine, theirs = (f"version {one.key_parts.get('protocol')} of the protocol" for one in (record, other))
        else:
            other = records[asked.setdefault((record.target.name, record.job.track), key)]
            if (other.asked, other.n_test) == (record.asked, record.n_test):
                continue
            mine, theirs = (f"the questions of {_cut(one)}" for one in (record, other))
        raise IncompatibleRuns(
            f"{folders[key]}: was made from {mine}, but {folders[other.key]} from {theirs}; one table can't hold "
            "both: delete the runs of the version you no longer want, or report them as two suites"
        )


def _cut(record: Record) -> str:
    cut = record.job.cut
    return f"a cut at {cut.quantile} with test '{cut.test}'" if cut else "leave-one-out"


def _outcome(folder: Path, label: str | None) -> Outcome:
    run = read_run(folder)
    greater, equal = run.ranks.test_greater, run.ranks.test_equal
    return Outcome(
        record=run.record,
        folder=folder,
        label=label,
        users={metric: per_user(metric, greater, equal) for metric in METRICS},
        tie_rate=float((equal > 0).mean()),
    )


def _gap(job: Planned, failure: Failure | None, damage: str | None) -> Gap:
    reason = " ".join(failure.reason.split()) if failure else "not run yet"
    if damage:
        reason = f"left out, because the stored run is damaged or was edited: {damage}"
    return Gap(
        method=job.method,
        setting=job.setting,
        seed=job.seed,
        failed=failure is not None,
        reason=reason,
        label=job.label,
    )


def _unrun(
    rows: Iterable[Listed], asked: Iterable[Planned], outcomes: Sequence[Outcome], forecast: Forecast
) -> tuple[Unrun, ...]:
    """The rows of a suite's target of which there are fewer jobs than the suite has."""
    jobs = Counter((job.method, job.setting, job.label) for job in asked)
    done = Counter((o.record.job.method, o.record.job.setting, o.label) for o in outcomes)
    size = Size.of_target(outcomes[0].record.target) if outcomes else None
    found = []
    for row in rows:
        cell = (row.method, row.setting, row.label)
        if jobs[cell] >= row.runs:
            continue
        estimate = forecast.run(row.method, row.target, size, row.few_shot) if size else None
        known = estimate.seconds if estimate and not estimate.guessed else None
        found.append(
            Unrun(
                method=row.method,
                setting=row.setting,
                done=done[cell],
                runs=row.runs,
                seconds=known if row.trained else 0.0,
                label=row.label,
            )
        )
    return tuple(found)


def rows_of(outcomes: Sequence[Outcome]) -> dict[Label, list[Outcome]]:
    """Runs of jobs that differ in nothing but their seeds.

    A row that the suite gives a label is told from the others by that; those that have none, or share one, by the
    settings in which they differ from each other.
    """
    named: dict[tuple[str, str, str], dict[str, list[Outcome]]] = {}
    for outcome in outcomes:
        job = outcome.record.job
        alike = named.setdefault((job.method, job.setting, _name(outcome)), {})
        alike.setdefault(json.dumps(seedless(job), sort_keys=True), []).append(outcome)
    rows: dict[Label, list[Outcome]] = {}
    for (method, setting, name), alike in named.items():
        flat = [flattened(seedless(group[0].record.job)) for group in alike.values()]
        for group, own in zip(alike.values(), flat, strict=True):
            _one_run_a_seed(group)
            rows[method, setting, ", ".join(filter(None, (name, _difference(own, flat))))] = group
    return rows


def _name(outcome: Outcome) -> str:
    share = outcome.record.job.few_shot
    return outcome.label or (share_of_users(share) if share is not None else "")


def is_reference(job: Job) -> bool:
    """Whether a row of such jobs is one that others are compared with."""
    return (job.method, job.setting, job.control) == (REFERENCE, "full", None)


def user_means(group: Sequence[Outcome], metric: str) -> NDArray[np.float64]:
    """A metric of each user, averaged over the seeds of a row, [n_users]."""
    return np.mean([outcome.users[metric] for outcome in group], axis=0)


def by_pretraining(group: Sequence[Outcome]) -> dict[int, list[Outcome]]:
    """The runs of a row by the seed of the pre-training that they start from; empty where they start from none."""
    found: dict[int, list[Outcome]] = {}
    for outcome in group:
        if (pretraining := outcome.record.job.pretraining) is not None:
            found.setdefault(pretraining.seed, []).append(outcome)
    return found


def seed_values(group: Sequence[Outcome], metric: str) -> NDArray[np.float64]:
    """A metric of each user under each seed of a row, [seeds, n_users].

    Where a row has several pre-trainings, these are its seeds, each with the mean of the runs that start from it: such
    runs have their pre-training in common, and are no independent witnesses of the method.
    """
    pretrainings = by_pretraining(group)
    if len(pretrainings) > 1:
        return np.stack([user_means(runs, metric) for runs in pretrainings.values()])
    return np.stack([outcome.users[metric] for outcome in group])


def _one_run_a_seed(group: Sequence[Outcome]) -> None:
    """Raise IncompatibleRuns where a job was run twice under different keys: they would count as two seeds."""
    seen: dict[tuple[int, int | None], Record] = {}
    for outcome in group:
        record = outcome.record
        pretraining = record.job.pretraining
        # The same seed on weights of another pre-training is another run.
        other = seen.setdefault((record.job.seed, pretraining.seed if pretraining else None), record)
        if other is not record:
            raise IncompatibleRuns(
                f"the runs {other.key[:12]} and {record.key[:12]} of {record.job.method} on {record.job.target} are of "
                f"the same job and seed {record.job.seed}, but were not made alike; delete the folder of one of them"
            )


def seedless(job: Job) -> dict[str, Any]:
    """A job as plain values, less its suite and its seeds: what the runs of one row have in common."""
    content = {name: value for name, value in job.as_dict().items() if name not in ("suite", "seed")}
    if job.pretraining is not None:
        content["pretraining"].pop("seed")
    return content


def flattened(value: Any, path: str = "") -> dict[str, str]:
    """Nested keys as dotted ones, values as text: ``{"config.hidden": "64"}``."""
    if isinstance(value, dict):
        inner = (flattened(child, f"{path}.{name}" if path else name) for name, child in value.items())
        return {name: text for part in inner for name, text in part.items()}
    if isinstance(value, list):
        return {path: "+".join(map(str, value)) or "none"}
    return {path: "none" if value is None else str(value)}


def _difference(own: Mapping[str, str], alike: Sequence[Mapping[str, str]]) -> str:
    """What tells one configuration from the others; empty where there are no others.

    A control is always named, and a row without one never says so: it is the plain row, whatever stands beside it.
    """
    differing = {name for name in own if any(other.get(name) != own[name] for other in alike)} - {CONTROL}
    differing |= {CONTROL} if own[CONTROL] != "none" else set()
    # Sources and encoder of a job are those of its pre-training: once is enough.
    repeated = {f"pretraining.{name}" for name in differing}
    return ", ".join(f"{name}={value}" for name, value in own.items() if name in differing - repeated)
