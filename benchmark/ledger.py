"""What a campaign notes beside its runs: of each target what its records and reports need, and what the suite is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from benchmark import claims, store, transfer
from benchmark.domain import Domain
from benchmark.execute import facts_key
from benchmark.jobs import Cut, questions_of
from benchmark.place import Place
from benchmark.plan import Named, Task, alike
from benchmark.prepare import Prepared
from benchmark.questions import Context
from benchmark.record import Listed, OverlapInfo, Planned, RemovedInfo, SourceInfo, TargetInfo
from benchmark.runner import Facts
from benchmark.splits import Split
from benchmark.suite import Suite


def facts_of(
    tasks: Sequence[Task], prepared: Mapping[str, Prepared], removed: Mapping[str, RemovedInfo]
) -> dict[str, Facts]:
    """What the records of each (track, target, sources) say of the data; raises InputError where the transfer contract
    is broken."""
    found: dict[str, Facts] = {}
    for task in tasks:
        if facts_key(task) in found:
            continue
        target = prepared[task.job.target]
        overlaps = [transfer.check(target, prepared[name], task.job.cut) for name in task.job.sources]
        found[facts_key(task)] = Facts(
            target=TargetInfo(
                name=target.card.name,
                title=target.card.title,
                paper_name=None if target.custom else target.card.paper_name,
                fingerprint=target.domain.fingerprint,
                custom=target.custom,
                split=target.split,
                users=target.domain.n_users,
                items=target.domain.n_items,
                interactions=target.domain.n_interactions,
            ),
            sources=tuple(
                SourceInfo(
                    name=name,
                    fingerprint=prepared[name].domain.fingerprint,
                    users=prepared[name].domain.n_users,
                    items=prepared[name].domain.n_items,
                    interactions=prepared[name].domain.n_interactions,
                )
                for name in task.job.sources
            ),
            overlap=tuple(OverlapInfo(source=o.source, users=o.users, items=o.items, texts=o.texts) for o in overlaps),
            removed=tuple(removed[name] for name in task.job.sources if name in removed),
            warnings=(*target.mismatches, *target.warnings, *(o.warning for o in overlaps if o.warning)),
            # other data under the name of a card are not the data that it speaks of
            may_show=all(
                each.card.texts_may_be_published and not each.custom
                for each in (target, *(prepared[name] for name in task.job.sources))
            ),
        )
    return found


def _context(domain: Domain, cut: Cut | None, split: Split) -> Context:
    counts = split.train_counts[split.test.targets]
    cluster = np.arange(domain.n_users)
    if domain.clusters is not None:
        # in order of first appearance, so that nothing of the raw ids is left
        _, first, code = np.unique(domain.clusters, return_index=True, return_inverse=True)
        cluster = np.argsort(np.argsort(first))[code]
    if split.in_time is not None:
        _, cluster = np.unique(cluster[split.in_time.test_users], return_inverse=True)
    return Context(
        fingerprint=questions_of(domain.fingerprint, cut),
        history_length=split.test.histories.lengths.astype(np.int32),
        train_count=counts.astype(np.int32),
        cold=counts == 0,
        cluster=cluster.astype(np.int32),
    )


def write_contexts(
    tasks: Sequence[Task],
    prepared: Mapping[str, Prepared],
    splits: Mapping[tuple[str, Cut | None], Split],
    place: Place,
) -> None:
    """What a report needs to know of the questions of each target and track, beside its runs."""
    for suite, target, track, cut in dict.fromkeys(
        (task.job.suite, task.job.target, task.job.track, task.job.cut) for task in tasks
    ):
        context = _context(prepared[target].domain, cut, splits[target, cut])
        with claims.hold(place.running, f"context-{target}"):
            store.write_context(place.results, suite, target, context, track)


def write_plan(suite: Suite, tasks: Sequence[Task], whole: Sequence[Named], place: Place) -> None:
    """What was asked for, wherever its runs are stored, and what the whole suite consists of."""
    entries = [
        Planned(
            target=task.job.target,
            method=task.job.method,
            setting=task.job.setting,
            track=task.job.track,
            seed=task.job.seed,
            key=task.key,
            label=task.label,
        )
        for task in tasks
    ]
    rows = [
        Listed(
            target=row.job.target,
            method=row.job.method,
            setting=row.job.setting,
            track=row.job.track,
            label=row.label,
            runs=len(group),
            trained=bool(row.job.training),
            few_shot=row.job.few_shot,
        )
        for group in alike(whole, _cell)
        for row in group[:1]
    ]
    store.write_plan(place.results, suite.name, entries, rows)


def _cell(row: Named) -> str:
    """What the jobs of one row of a suite on one target have in common."""
    return " ".join((row.job.target, row.job.track, row.job.method, row.job.setting, row.label or ""))
