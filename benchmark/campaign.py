"""``transrec run``: from a suite's name to a written leaderboard."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
import torch

from benchmark import groundwork, pretrain, store, transfer
from benchmark.cards import load_cards
from benchmark.errors import InputError
from benchmark.execute import Failed, default_workers, execute, facts_key, label
from benchmark.forecast import Forecast, Size, in_words
from benchmark.method import registry
from benchmark.plan import Named, Task, named_jobs, task_of
from benchmark.precision import resolve_precision
from benchmark.prepare import Prepared
from benchmark.record import OverlapInfo, Planned, SourceInfo, TargetInfo
from benchmark.report.leaderboard import render_terminal, write_report
from benchmark.runner import Facts, Place
from benchmark.splits import leave_one_out
from benchmark.suite import Suite, load_suite


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """What the command line asked for."""

    suite: str
    targets: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    seeds: int | None = None
    data: tuple[Path, ...] = ()
    cards: tuple[Path, ...] = ()
    cache: Path
    results: Path
    reports: Path
    workers: int | None = None
    device: str = "auto"
    replace: bool = False
    plugins: tuple[str, ...] = ()
    allow_mismatch: bool = False
    dry_run: bool = False


def run(campaign: Campaign, say: Callable[[str], None]) -> list[Failed]:
    """Run what has no result yet, write the report, and return the jobs that failed. Raises InputError."""
    device = groundwork.chosen_device(campaign.device)
    suite = load_suite(campaign.suite)
    cards = load_cards(campaign.cards, campaign.cache)
    suite = groundwork.with_full_names(suite, cards)
    targets = tuple(dict.fromkeys(cards[name].name for name in campaign.targets))
    for name in targets or suite.targets:
        if cards[name].role == "source":
            raise InputError(f"'{name}' is a source of pre-training, not a target; choose another with --targets")
    known = registry(campaign.plugins)
    jobs = named_jobs(suite, known, targets=targets, methods=campaign.methods, seeds=campaign.seeds)
    prepared = groundwork.prepare_all(
        (name for named in jobs for name in (named.job.target, *named.job.sources)),
        cards,
        data=campaign.data,
        cache=campaign.cache,
        allow_mismatch=campaign.allow_mismatch,
        say=say,
    )
    tasks = _tasks(jobs, prepared, device)
    facts = _facts(tasks, prepared)
    place = Place(
        cache=campaign.cache.resolve(),
        results=campaign.results.resolve(),
        device=device.type,
        plugins=campaign.plugins,
        replace=campaign.replace,
    )
    stored = store.finished(place.results)
    todo = [task for task in tasks if campaign.replace or task.key[:12] not in stored]
    say(f"suite {suite.name}: {len(tasks)} jobs, {len(tasks) - len(todo)} already stored")
    _say_forecast(todo, facts, place, say)
    if campaign.dry_run:
        return []
    for warning in dict.fromkeys(warning for fact in facts.values() for warning in fact.warnings):
        say(f"warning: {warning}")
    _encode(todo, prepared, place)
    _write_surroundings(suite, tasks, prepared, place)
    default = 1 if device.type == "cuda" else default_workers()
    workers = min(campaign.workers or default, max(len(todo), 1))
    try:
        failed = execute(todo, facts, place, workers=workers, say=say) if todo else []
    except KeyboardInterrupt:
        say("interrupted: finished runs are stored; the same command goes on from here")
        raise
    if failed:
        say(f"{len(failed)} of {len(todo)} jobs failed:")
        for failure in failed:
            say(f"  {label(failure.task)}: {failure.reason} (log: {failure.log})")
    report = write_report(suite.name, campaign.results, campaign.reports)
    say("\n" + render_terminal(report.board))
    say(f"\nwrote {report.path}")
    return failed


def _say_forecast(tasks: Sequence[Task], facts: Mapping[str, Facts], place: Place, say: Callable[[str], None]) -> None:
    """What is going to be run, and how long that may take from what stored runs took."""
    forecast, total, unknown, guessed = Forecast.of(place.results), 0.0, 0, False
    for (target, name), group in groupby(tasks, key=lambda task: (task.job.target, task.job.method)):
        rows = list(group)
        about = facts[facts_key(rows[0])].target
        size = Size(users=about.users, items=about.items, interactions=about.interactions)
        if not rows[0].job.training:
            say(f"to run: {target} {name}, {len(rows)} x, not trained")
        elif (estimate := forecast.run(name, target, size)) is None:
            say(f"to run: {target} {name}, {len(rows)} x, no estimate: nothing like it is stored")
            unknown += len(rows)
        else:
            never = ", a guess: it was never run" if estimate.guessed else ""
            say(f"to run: {target} {name}, {len(rows)} x, about {in_words(estimate.seconds)} each{never}")
            total, guessed = total + estimate.seconds * len(rows), guessed or estimate.guessed
    if tasks:
        without = f", and {unknown} jobs without an estimate" if unknown else ""
        rough = "; what is guessed may take many times as long" if guessed else ""
        say(f"in all about {in_words(total)} of one worker, without pre-training{without}{rough}")


def _tasks(jobs: Sequence[Named], prepared: Mapping[str, Prepared], device: torch.device) -> list[Task]:
    fingerprints = groundwork.fingerprints(prepared)
    encoders = groundwork.provenances(named.job.encoder for named in jobs if named.job.encoder)
    precision = resolve_precision("auto", device)
    tasks = [replace(task_of(each.job, fingerprints, encoders, precision), label=each.label) for each in jobs]
    # two names of the same data are no second run
    return list({task.key: task for task in tasks}.values())


def _facts(tasks: Sequence[Task], prepared: Mapping[str, Prepared]) -> dict[str, Facts]:
    """What the records of each (target, sources) say of the data; checks the transfer contract. Raises InputError."""
    found: dict[str, Facts] = {}
    for task in tasks:
        if facts_key(task) in found:
            continue
        target = prepared[task.job.target]
        overlaps = [transfer.check(target, prepared[name]) for name in task.job.sources]
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
            warnings=(*target.mismatches, *target.warnings, *(o.warning for o in overlaps if o.warning)),
            # other data under the name of a card are not the data that it speaks of
            may_show=all(
                each.card.texts_may_be_published and not each.custom
                for each in (target, *(prepared[name] for name in task.job.sources))
            ),
        )
    return found


def _context(prepared: Prepared) -> store.Context:
    split, domain = leave_one_out(prepared.domain), prepared.domain
    counts = split.train_counts[split.test.targets]
    cluster = np.arange(domain.n_users)
    if domain.clusters is not None:
        # in order of first appearance, so that nothing of the raw ids is left
        _, first, code = np.unique(domain.clusters, return_index=True, return_inverse=True)
        cluster = np.argsort(np.argsort(first))[code]
    return store.Context(
        fingerprint=domain.fingerprint,
        history_length=split.test.histories.lengths.astype(np.int32),
        train_count=counts.astype(np.int32),
        cold=counts == 0,
        cluster=cluster.astype(np.int32),
    )


def _write_surroundings(suite: Suite, tasks: Sequence[Task], prepared: Mapping[str, Prepared], place: Place) -> None:
    """The plan of the suite and the context of each target: what a report needs besides runs."""
    for target in dict.fromkeys(task.job.target for task in tasks):
        store.write_context(place.results, suite.name, target, _context(prepared[target]))
    entries = [
        Planned(
            target=task.job.target,
            method=task.job.method,
            setting=task.job.setting,
            seed=task.job.seed,
            key=task.key,
            label=task.label,
        )
        for task in tasks
    ]
    store.write_plan(place.results, suite.name, entries)


def _encode(tasks: Sequence[Task], prepared: Mapping[str, Prepared], place: Place) -> None:
    """Encode all texts that the tasks read."""
    wanted = [(task.job.target, task.job.encoder, 0.0) for task in tasks if task.job.encoder]
    artefacts = {task.artefact.key: task.artefact for task in tasks if task.artefact}
    for key, artefact in artefacts.items():
        if pretrain.find(artefact.spec, key, place.cache, place.results) is None:
            wanted += groundwork.texts_of(artefact, place.registry)
    for task in tasks:
        method = place.registry.method(task.job.method)
        if task.job.encoder and "text" in method.needs and method.reads_sources:
            wanted += [(name, task.job.encoder, 0.0) for name in task.job.sources]
    groundwork.encode_all(wanted, prepared, place.cache)
