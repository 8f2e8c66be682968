"""From what is stored to a leaderboard: nothing is trained, and nothing but results is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from statistics import fmean, stdev
from typing import TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from benchmark import trials
from benchmark.agreement import Order, agreement, no_agreement
from benchmark.hardware import Hardware, usual
from benchmark.metrics import METRICS, PRIMARY
from benchmark.record import Record, Role
from benchmark.report import claims, printed
from benchmark.report.claims import Standing
from benchmark.report.stored import (
    Label,
    Outcome,
    Stored,
    by_pretraining,
    is_reference,
    rows_of,
    seed_values,
    user_means,
)
from benchmark.report.tables import REFERENCE, Agreement, Cell, Leaderboard, Pretrainings, Row, Table, label_of
from benchmark.significance import paired_t, variance_split
from benchmark.trials import TunedRow

Item = TypeVar("Item")


def build(suite: str, parts: Sequence[Stored]) -> Leaderboard:
    """The leaderboard of what is `stored` of a suite: a table a part, in their order."""
    records = [outcome.record for part in parts for outcome in part.outcomes]
    shares = Counter(record.pretraining.key for record in records if record.pretraining)
    return Leaderboard(
        suite=suite,
        tables=tuple(_table(part, shares) for part in parts),
        machines=tuple(sorted({_machine(record) for record in records})),
        versions=tuple(sorted({_versions(record) for record in records})),
        agreements=tuple(_agreement(one, other) for one, other in combinations(parts, 2) if one.target == other.target),
    )


def _agreement(one: Stored, other: Stored) -> Agreement:
    """Of two tracks of a target."""
    rows = [{label_of(*label): group for label, group in rows_of(part.outcomes).items()} for part in (one, other)]
    labels = [label for label in rows[0] if label in rows[1]]
    found: Order | str | None = no_agreement(len(labels))
    if found is None and (one.context is None or other.context is None):
        found = "what is needed to know of the users is missing; run the suite again"
    if found is None:
        found = agreement(_over_questions(one, rows[0], labels), _over_questions(other, rows[1], labels))
    known = found if isinstance(found, Order) else None
    return Agreement(
        target=one.target,
        tracks=(one.track, other.track),
        methods=tuple(labels),
        tau=known.tau if known else None,
        low=known.low if known else None,
        high=known.high if known else None,
        reason=found if isinstance(found, str) else None,
    )


def _over_questions(
    part: Stored, rows: Mapping[str, Sequence[Outcome]], labels: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """The primary metric of each row and question, and the cluster of each question."""
    assert part.context is not None
    return np.stack([user_means(rows[label], PRIMARY) for label in labels]), part.context.cluster


def _table(part: Stored, shares: Mapping[str, int]) -> Table:
    records = [outcome.record for outcome in part.outcomes]
    about = records[0].target if records else None
    context = part.context
    groups = rows_of(part.outcomes)
    references = [label for label, group in groups.items() if is_reference(group[0].record.job)]
    no_comparison = None
    if context is None:
        no_comparison = "what is needed to know of the users is missing; run the suite again"
    elif len(references) != 1:
        no_comparison = f"there is no {REFERENCE} row" if not references else f"there are several {REFERENCE} rows"
    elif len(np.unique(context.cluster)) < 2:
        no_comparison = "there are fewer than two independent users"
    paper_name = about.paper_name if about and not about.custom and part.track == "paper" else None
    cluster = context.cluster if context is not None and len(np.unique(context.cluster)) > 1 else None
    rows = [_row(label, group, shares, paper_name, cluster, usual(records)) for label, group in groups.items()]
    if part.tuned:
        rows = _budgets(rows, groups.values(), part.tuned)
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
        values = {label_of(*label): seed_values(group, PRIMARY) for label, group in groups.items()}
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
        unrun=part.unrun,
        sources=_distinct(source for record in records for source in record.sources),
        overlap=_distinct(overlap for record in records for overlap in record.overlap),
        encoders=_distinct(record.job.encoder for record in records if record.job.encoder),
        cold_users=int(context.cold.sum()) if context else None,
        clusters=len(np.unique(context.cluster)) if context and context.clustered else None,
        no_comparison=no_comparison if len(rows) > 1 else None,
        questions=records[0].questions if records else None,
        removed=_distinct(removed for record in records for removed in record.removed),
    )


def _absent(part: Stored) -> list[str]:
    """The paper's baselines that the suite has here and that have no result."""
    known = {outcome.record.job.method for outcome in part.outcomes}
    baselines = [method for method in printed.methods() if method not in printed.PROPOSED]
    wanted = {gap.method for gap in (*part.gaps, *part.unrun) if gap.setting == "full"}
    return [method for method in baselines if method in wanted - known]


def _row(
    label: Label,
    group: Sequence[Outcome],
    shares: Mapping[str, int],
    paper_name: str | None,
    cluster: NDArray[np.int32] | None,
    common: Hardware | None,
) -> Row:
    records = [outcome.record for outcome in group]
    first = records[0]
    shown = paper_name if label[1] == "full" and first.job.control is None else None
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
    others = {str(hardware) for record in records if (hardware := Hardware.of(record)) not in (common, None)}
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
        pretrainings=_pretrainings(group),
        other_hardware=", ".join(sorted(others)) or None,
    )


def _pretrainings(group: Sequence[Outcome]) -> Pretrainings | None:
    found = by_pretraining(group)
    if len(found) < 2:
        return None
    between, within = variance_split([[run.users[PRIMARY].mean() for run in runs] for runs in found.values()])
    return Pretrainings(seeds=tuple(sorted(found)), between=between, within=within)


def _budgets(rows: Sequence[Row], groups: Iterable[Sequence[Outcome]], tuned: Sequence[TunedRow]) -> list[Row]:
    """The rows with what was tried of each, and why of some less than of others."""
    chosen = {row.best.key: row for row in tuned if row.best}
    tried = {trial.key for row in tuned for trial in row.trials}
    found, reasons = [], []
    for row, group in zip(rows, groups, strict=True):
        keys = [outcome.record.key for outcome in group]
        budget = next((chosen[key] for key in keys if key in chosen), None) or _elsewhere(group[0].record, tuned)
        shown, reason = row, "not tuned"
        if budget is not None:
            reason = trials.shortfall(budget)
            note = trials.note(budget) if chosen.keys() & set(keys) else group[0].record.tuning.note
            shown = replace(row, trials=budget.done, tuning=_in_words(budget.done, note))
        elif any(outcome.record.job.training for outcome in group):
            shown = replace(row, trials=0)
            if tried.intersection(keys):
                reason = "run as given, though tuning chose other settings (`--tuned` runs it with these)"
        else:
            shown = replace(row, tuning="nothing to tune: it is not trained")
        found.append(shown)
        reasons.append(reason)
    most = max((row.trials or 0 for row in found), default=0)
    return [
        replace(row, under_tuned=reason) if row.trials is not None and row.trials < most else row
        for row, reason in zip(found, reasons, strict=True)
    ]


def _elsewhere(record: Record, tuned: Sequence[TunedRow]) -> TunedRow | None:
    """The trials that a run says it took its settings from, which were made on a machine of another precision."""
    job = record.job
    wanted = (job.target, job.track, job.method, job.setting, record.tuning.trials)
    given = {**job.config, trials.LEARNING_RATE: job.training.get(trials.LEARNING_RATE)}
    for row in tuned:
        alike = (row.target, row.track, row.method, row.setting, row.done) == wanted
        if alike and row.best and row.best.settings.items() <= given.items():
            return row
    return None


def _position(row: Row) -> tuple[int, int, bool]:
    """Where a row stands; rows of one place keep the order of the plan."""
    order = printed.methods()
    place = order.index(row.method) if row.method in order else len(order)
    return get_args(Role).index(row.role), place, row.method in order and row.setting != "full"


def _tuning(record: Record) -> str:
    return _in_words(record.tuning.trials, record.tuning.note)


def _in_words(tried: int, note: str) -> str:
    return f"{tried} trial{'' if tried == 1 else 's'}: {note}" if tried else note


def _machine(record: Record) -> str:
    made = record.versions
    return f"{made.processor}, {made.platform}, {record.cost.device} with {record.cost.threads} threads"


def _versions(record: Record) -> str:
    made = record.versions
    software = f"transrec {made.transrec}, torch {made.torch}, numpy {made.numpy}, Python {made.python}"
    return software if made.allocator is None else f"{software}, {made.allocator}"


def _distinct(items: Iterable[Item]) -> tuple[Item, ...]:
    """Items without repetitions, in the order of their first appearance."""
    return tuple(dict.fromkeys(items))
