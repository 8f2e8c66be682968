"""From stored runs to a leaderboard: nothing is trained, and nothing but results is read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import IncompatibleRuns, InputError, unknown
from benchmark.jobs import Job
from benchmark.metrics import METRICS, PRIMARY, per_user
from benchmark.record import Failure, Planned, Record, Role
from benchmark.report import claims, printed
from benchmark.report.claims import Standing
from benchmark.report.tables import REFERENCE, Cell, Gap, Leaderboard, Row, Table, label_of
from benchmark.significance import paired_t
from benchmark.store import (
    Context,
    finished,
    list_runs,
    read_context,
    read_failures,
    read_plan,
    read_record,
    read_run,
    without_folders,
)

Item = TypeVar("Item")
Label = tuple[str, str, str]
"""What makes a row: method, setting, variant."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """A run, its ranks turned into metrics."""

    record: Record
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


def stored(suite: str, results: Path) -> list[Stored]:
    """The runs of a suite's plan or, without a plan, those stored under it, target by target.

    A planned run that is damaged or was edited is left out, and a gap says so. Raises InputError for a suite without
    any job, and IncompatibleRuns for runs of two versions of a target's data or of the protocol.
    """
    failures = {failure.key: failure for failure in read_failures(results, suite)}
    jobs = read_plan(results, suite) or _stored_jobs(results, suite, failures.values())
    if not jobs:
        known = [child.name for child in results.iterdir() if child.is_dir()] if results.is_dir() else []
        if suite in known or not known:
            raise InputError(f"{results}: holds no results of suite '{suite}'; run `transrec run {suite}` first")
        raise unknown("suite", suite, known, str(results))
    done = finished(results)
    folders = {job.key: done[job.key[:12]] for job in jobs if job.key[:12] in done}
    found_runs, damaged = _readable(folders)
    _made_alike({key: outcome.record for key, outcome in found_runs.items()}, folders)
    groups: dict[tuple[str, str], list[Planned]] = {}
    for job in jobs:
        groups.setdefault((job.target, job.track), []).append(job)
    found = []
    for (target, track), group in groups.items():
        outcomes = tuple(found_runs[job.key] for job in group if job.key in found_runs)
        suites = _distinct([suite, *(outcome.record.job.suite for outcome in outcomes)])
        contexts = [context for name in suites if (context := read_context(results, name, target))]
        fits = {outcome.record.target.fingerprint for outcome in outcomes}
        gaps = tuple(
            _gap(job, failures.get(job.key), damaged.get(job.key)) for job in group if job.key not in found_runs
        )
        context = next((context for context in contexts if context.fingerprint in fits), None)
        found.append(Stored(target=target, track=track, outcomes=outcomes, gaps=gaps, context=context))
    return found


def build(suite: str, parts: Sequence[Stored]) -> Leaderboard:
    """The leaderboard of what is `stored` of a suite: a table a part, in their order."""
    records = [outcome.record for part in parts for outcome in part.outcomes]
    shares = Counter(record.pretraining.key for record in records if record.pretraining)
    return Leaderboard(
        suite=suite,
        tables=tuple(_table(part, shares) for part in parts),
        machines=tuple(sorted({_machine(record) for record in records})),
        versions=tuple(sorted({_versions(record) for record in records})),
    )


def _stored_jobs(results: Path, suite: str, failures: Iterable[Failure]) -> tuple[Planned, ...]:
    found = [*(read_record(folder) for folder in list_runs(results, suite)), *failures]
    jobs = {done.key: done.job for done in found}
    return tuple(
        Planned(target=job.target, method=job.method, setting=job.setting, track=job.track, seed=job.seed, key=key)
        for key, job in jobs.items()
    )


def _readable(folders: Mapping[str, Path]) -> tuple[dict[str, Outcome], dict[str, str]]:
    """By key, the runs that are what their record says, and of the others what is wrong."""
    outcomes, damaged = {}, {}
    for key, folder in folders.items():
        try:
            outcomes[key] = _outcome(folder)
        except InputError as error:
            damaged[key] = without_folders(str(error))
    return outcomes, damaged


def _made_alike(records: Mapping[str, Record], folders: Mapping[str, Path]) -> None:
    """Raise IncompatibleRuns where the runs of a target were made from different data or under different protocols."""
    first: dict[str, str] = {}
    for key, record in records.items():
        other = records[first.setdefault(record.target.name, key)]
        if other.target.fingerprint != record.target.fingerprint:
            mine, theirs = (f"version {one.target.fingerprint[:12]} of '{one.target.name}'" for one in (record, other))
        elif other.key_parts.get("protocol") != record.key_parts.get("protocol"):
            mine, theirs = (f"version {one.key_parts.get('protocol')} of the protocol" for one in (record, other))
        else:
            continue
        raise IncompatibleRuns(
            f"{folders[key]}: was made from {mine}, but {folders[other.key]} from {theirs}; one table can't hold "
            "both: delete the runs of the version you no longer want, or report them as two suites"
        )


def _outcome(folder: Path) -> Outcome:
    run = read_run(folder)
    greater, equal = run.ranks.test_greater, run.ranks.test_equal
    return Outcome(
        record=run.record,
        users={metric: per_user(metric, greater, equal) for metric in METRICS},
        tie_rate=float((equal > 0).mean()),
    )


def _gap(job: Planned, failure: Failure | None, damage: str | None) -> Gap:
    reason = " ".join(failure.reason.split()) if failure else "not run yet"
    if damage:
        reason = f"left out, because the stored run is damaged or was edited: {damage}"
    return Gap(method=job.method, setting=job.setting, seed=job.seed, failed=failure is not None, reason=reason)


def _table(part: Stored, shares: Mapping[str, int]) -> Table:
    records = [outcome.record for outcome in part.outcomes]
    about = records[0].target if records else None
    context = part.context
    groups = rows_of(part.outcomes)
    references = [label for label in groups if label[:2] == (REFERENCE, "full")]
    no_comparison = None
    if context is None:
        no_comparison = "what is needed to know of the users is missing; run the suite again"
    elif len(references) != 1:
        no_comparison = f"there is no {REFERENCE} row" if not references else f"there are several {REFERENCE} rows"
    elif len(np.unique(context.cluster)) < 2:
        no_comparison = "there are fewer than two independent users"
    paper_name = about.paper_name if about and not about.custom and part.track == "paper" else None
    cluster = context.cluster if context is not None and len(np.unique(context.cluster)) > 1 else None
    rows = [_row(label, group, shares, paper_name, cluster) for label, group in groups.items()]
    if no_comparison is None and context is not None:
        means = {label: user_means(group, PRIMARY) for label, group in groups.items()}
        base = means[references[0]]
        rows = [
            row if label == references[0] else replace(row, versus=paired_t(means[label], base, context.cluster))
            for label, row in zip(groups, rows, strict=True)
        ]
    standing = Standing.of(rows, _absent(part))
    groups_of_rows: tuple[tuple[str, ...], ...] = ()
    if cluster is not None:
        values = {
            label_of(*label): np.array([outcome.users[PRIMARY] for outcome in group]) for label, group in groups.items()
        }
        rows = [
            replace(row, claim=claims.claim(row.label, standing, values, cluster))
            if row.label in standing.proposed
            else row
            for row in rows
        ]
        groups_of_rows = claims.tied(values, cluster)
    return Table(
        target=part.target,
        track=part.track,
        about=about,
        rows=tuple(sorted(rows, key=_position)),
        tied=groups_of_rows,
        improvement=claims.improvement(rows, standing),
        detectable=claims.detectable(rows),
        gaps=part.gaps,
        sources=_distinct(source for record in records for source in record.sources),
        overlap=_distinct(overlap for record in records for overlap in record.overlap),
        encoders=_distinct(record.job.encoder for record in records if record.job.encoder),
        cold_users=int(context.cold.sum()) if context else None,
        clusters=len(np.unique(context.cluster)) if context and context.clustered else None,
        no_comparison=no_comparison if len(rows) > 1 else None,
    )


def _absent(part: Stored) -> list[str]:
    """The paper's baselines that are planned here and have no result."""
    known = {outcome.record.job.method for outcome in part.outcomes}
    baselines = [method for method in printed.methods() if method not in printed.PROPOSED]
    planned = {gap.method for gap in part.gaps if gap.setting == "full"}
    return [method for method in baselines if method in planned - known]


def rows_of(outcomes: Sequence[Outcome]) -> dict[Label, list[Outcome]]:
    """Runs of jobs that differ in nothing but their seed."""
    named: dict[tuple[str, str], dict[str, list[Outcome]]] = {}
    for outcome in outcomes:
        job = outcome.record.job
        alike = named.setdefault((job.method, job.setting), {})
        alike.setdefault(json.dumps(_configuration(job), sort_keys=True), []).append(outcome)
    rows = {}
    for (method, setting), alike in named.items():
        flat = [_flat(_configuration(group[0].record.job)) for group in alike.values()]
        for group, own in zip(alike.values(), flat, strict=True):
            _one_run_a_seed(group)
            rows[method, setting, _difference(own, flat)] = group
    return rows


def user_means(group: Sequence[Outcome], metric: str) -> NDArray[np.float64]:
    """A metric of each user, averaged over the seeds of a row, [n_users]."""
    return np.mean([outcome.users[metric] for outcome in group], axis=0)


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


def _configuration(job: Job) -> dict[str, Any]:
    """What seeds of one row have in common."""
    content = {name: value for name, value in job.as_dict().items() if name not in ("suite", "seed")}
    if job.pretraining is not None:
        content["pretraining"].pop("seed")
    return content


def _flat(value: Any, path: str = "") -> dict[str, str]:
    """Nested keys as dotted ones, values as text: ``{"config.hidden": "64"}``."""
    if isinstance(value, dict):
        inner = (_flat(child, f"{path}.{name}" if path else name) for name, child in value.items())
        return {name: text for part in inner for name, text in part.items()}
    if isinstance(value, list):
        return {path: "+".join(map(str, value)) or "none"}
    return {path: "none" if value is None else str(value)}


def _difference(own: Mapping[str, str], alike: Sequence[Mapping[str, str]]) -> str:
    """What tells one configuration from the others; empty where there are no others."""
    differing = {name for name in own if any(other.get(name) != own[name] for other in alike)}
    # Sources and encoder of a job are those of its pre-training: once is enough.
    repeated = {f"pretraining.{name}" for name in differing}
    return ", ".join(f"{name}={value}" for name, value in own.items() if name in differing - repeated)


def _row(
    label: Label,
    group: Sequence[Outcome],
    shares: Mapping[str, int],
    paper_name: str | None,
    cluster: NDArray[np.int32] | None,
) -> Row:
    records = [outcome.record for outcome in group]
    first = records[0]
    shown = paper_name if label[1] == "full" else None
    cells = {}
    for metric in METRICS:
        means = [float(outcome.users[metric].mean()) for outcome in group]
        users = user_means(group, metric)
        over = paired_t(users, np.zeros_like(users), cluster) if cluster is not None else None
        cells[metric] = Cell(
            mean=fmean(means),
            sd=stdev(means) if len(means) > 1 else None,
            low=over.low if over else None,
            high=over.high if over else None,
            printed=printed.value(shown, first.job.method, metric) if shown else None,
        )
    pretraining = [
        record.pretraining.wall_seconds / shares[record.pretraining.key] for record in records if record.pretraining
    ]
    epochs = [len(record.learning_curve) for record in records if record.learning_curve]
    best = [record.best_epoch for record in records if record.best_epoch is not None]
    return Row(
        method=label[0],
        setting=label[1],
        variant=label[2],
        role=first.method.role,
        note=first.method.note,
        seeds=tuple(sorted(record.job.seed for record in records)),
        cells=cells,
        versus=None,
        claim=None,
        wall_seconds=fmean(record.cost.wall_seconds for record in records),
        core_seconds=fmean(record.cost.core_seconds for record in records),
        pretraining_seconds=fmean(pretraining) if pretraining else None,
        peak_memory_mb=max(record.cost.peak_memory_mb for record in records),
        parameters_trained=first.parameters.trained if first.parameters else None,
        parameters_total=first.parameters.total if first.parameters else None,
        epochs=fmean(epochs) if epochs else None,
        best_epoch=fmean(best) if best else None,
        tie_rate=fmean(outcome.tie_rate for outcome in group),
        tuning=_tuning(first),
        warnings=_distinct(warning for record in records for warning in record.warnings),
    )


def _position(row: Row) -> tuple[int, int, bool]:
    """Where a row stands; rows of one place keep the order of the plan."""
    order = printed.methods()
    place = order.index(row.method) if row.method in order else len(order)
    return get_args(Role).index(row.role), place, row.method in order and row.setting != "full"


def _tuning(record: Record) -> str:
    trials = record.tuning.trials
    return f"{trials} trial{'' if trials == 1 else 's'}: {record.tuning.note}" if trials else record.tuning.note


def _machine(record: Record) -> str:
    made = record.versions
    return f"{made.processor}, {made.platform}, {record.cost.device} with {record.cost.threads} threads"


def _versions(record: Record) -> str:
    made = record.versions
    return f"transrec {made.transrec}, torch {made.torch}, numpy {made.numpy}, Python {made.python}"


def _distinct(items: Iterable[Item]) -> tuple[Item, ...]:
    """Items without repetitions, in the order of their first appearance."""
    return tuple(dict.fromkeys(items))
