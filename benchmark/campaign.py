"""``transrec run``: from a suite's name to a written leaderboard."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmark import claims, groundwork, ledger, outlook, pretrain, shards, store, trials, tuning
from benchmark.cards import Cards, load_cards
from benchmark.derive import keep
from benchmark.errors import InputError
from benchmark.execute import Failed, execute, label
from benchmark.forecast import Forecast
from benchmark.hardware import Hardware
from benchmark.jobs import Cut, Job
from benchmark.machine import device_name
from benchmark.method import registry
from benchmark.place import Place
from benchmark.plan import Named, Task, named_jobs, task_of
from benchmark.precision import own_first, resolve_precision
from benchmark.prepare import Prepared
from benchmark.ray_workers import RayWorkers, require
from benchmark.record import utc
from benchmark.report.leaderboard import render_terminal, write_report
from benchmark.runner import Facts
from benchmark.shards import Shard
from benchmark.splits import Split, split_of
from benchmark.suite import load_suite
from benchmark.workers import Pool, Workers, default_workers


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
    executor: str = "local"
    address: str | None = None
    """Of a Ray cluster."""
    shard: Shard | None = None
    device: str = "auto"
    replace: bool = False
    plugins: tuple[str, ...] = ()
    allow_mismatch: bool = False
    drop_overlap: bool = False
    dry_run: bool = False
    tuned: bool = False
    """With the settings that tuning chose."""
    trials: int = 0
    """Of each row, to be tried instead of running the suite."""


Then = Callable[[str, frozenset[tuple[str, str, str]]], None]
"""What is to follow a campaign, given the suite's name and target, method and setting of all rows asked for."""


def run(campaign: Campaign, say: Callable[[str], None], then: Then | None = None) -> list[Failed]:
    """Run what has no result yet, write the report (or what was tuned), and return the jobs that failed.

    Raises InputError.
    """
    if campaign.executor == "ray":
        require(campaign.address)
    device = groundwork.chosen_device(campaign.device)
    suite = load_suite(campaign.suite)
    cards = load_cards(campaign.cards, campaign.cache)
    suite = groundwork.with_full_names(suite, cards)
    targets = tuple(dict.fromkeys(groundwork.card_of(name, cards).name for name in campaign.targets))
    for name in targets or suite.targets:
        if groundwork.card_of(name, cards).role == "source":
            raise InputError(f"'{name}' is a source of pre-training, not a target; choose another with --targets")
    known = registry(campaign.plugins)
    decides = suite.tuning.target if suite.tuning else None
    if campaign.trials and decides and not targets:
        targets = (decides,)
    jobs = named_jobs(suite, known, targets=targets, methods=campaign.methods, seeds=campaign.seeds)
    domains = [name for named in jobs for name in _domains(named.job)]
    jobs, waiting = _startable(jobs, cards, campaign, say)
    encoders = groundwork.provenances(named.job.encoder for named in jobs if named.job.encoder)
    prepared = groundwork.prepare_all(
        (name for named in jobs for name in _domains(named.job)),
        cards,
        data=campaign.data,
        cache=campaign.cache,
        allow_mismatch=campaign.allow_mismatch,
        say=say,
    )
    splits = _splits([named.job for named in jobs], prepared, say)
    settled = groundwork.settle([named.job for named in jobs], prepared, drop_overlap=campaign.drop_overlap, say=say)
    prepared = settled.prepared
    jobs = [replace(named, job=job) for named, job in zip(jobs, settled.jobs, strict=True)]
    place = Place(
        cache=campaign.cache.resolve(),
        results=campaign.results.resolve(),
        device=device.type,
        plugins=campaign.plugins,
        replace=campaign.replace,
    )
    precision = resolve_precision("auto", device)
    make, *elsewhere = (_making(prepared, encoders, each, place) for each in own_first(precision))
    tried = tuning.candidates(jobs, make, known, campaign.trials, suite.tuning) if campaign.trials else []
    if campaign.trials:
        tasks = [task for row in tried for task in row.tasks]
    elif campaign.tuned:
        tasks = tuning.settled(jobs, (make, *elsewhere), known, campaign.results, say, decides)
    else:
        tasks = [make(named) for named in jobs]
    # two names of the same data are no second run
    tasks = list({task.key: task for task in tasks}.values())
    facts = ledger.facts_of(tasks, prepared, settled.removed)
    forecast = Forecast.of(place.results)
    mine = _shard(campaign, tasks, facts, forecast, place)
    stored = _stored(mine, place, say)
    todo = [task for task in mine if campaign.replace or task.key[:12] not in stored]
    wait = f", {len(waiting)} wait for what is missing" if waiting else ""
    what = "trials" if campaign.trials else "jobs"
    if campaign.shard:
        say(f"shard {campaign.shard}: {len(mine)} of {len(tasks)} jobs")
    say(f"suite {suite.name}: {len(mine) + len(waiting)} {what}, {len(mine) - len(todo)} already stored{wait}")
    tuning.announce(tried, stored, campaign.trials, say)
    sizes = outlook.sizes_of([*domains, *prepared], prepared, cards)
    hardware = Hardware(device=device_name(device), precision=precision)
    outlook.say_forecast(todo, waiting, sizes, forecast, hardware, place, say)
    if campaign.dry_run:
        return []
    for warning in dict.fromkeys(warning for fact in facts.values() for warning in fact.warnings):
        say(f"warning: {warning}")
    for name in settled.derived:
        keep(prepared[name].domain, place.cache)
    _encode(todo, prepared, place)
    ledger.write_contexts(tasks, prepared, splits, place)
    if not campaign.trials:
        ledger.write_plan(suite, tasks, named_jobs(suite, known), place)
    for task in todo if campaign.replace else ():
        for checkpoint in place.checkpoints(task.key):
            checkpoint.unlink(missing_ok=True)
    failed = execute(todo, facts, place, workers=_workers(campaign, device, len(todo)), say=say) if todo else []
    if failed:
        say(f"{len(failed)} of {len(todo)} jobs failed:")
        for failure in failed:
            say(f"  {label(failure.task)}: {failure.reason} (log: {failure.log})")
    if campaign.trials:
        rows = tuning.outcome(tried, place.results)
        for line in tuning.summary(rows):
            say(line)
        written = trials.write(campaign.results, suite.name, rows)
        say(f"wrote {written}; `transrec run {campaign.suite} --tuned` runs the suite with what was chosen")
        return failed
    try:
        # whoever is last reads what all have stored
        with claims.hold(place.running, f"report-{suite.name}"):
            report = write_report(suite.name, campaign.results, campaign.reports)
    except OSError as error:
        if not failed:
            raise
        say(f"the report could not be written: {error.filename or campaign.reports}: {error.strerror or error}")
        return failed
    say("\n" + render_terminal(report.board))
    say(f"\nwrote {report.path}")
    if then is not None:
        then(suite.name, frozenset((task.job.target, task.job.method, task.job.setting) for task in tasks))
    return failed


def _workers(campaign: Campaign, device: torch.device, jobs: int) -> Workers:
    """Whatever was asked for, and no more than there are jobs. Raises InputError."""
    if campaign.executor == "ray":
        return RayWorkers(campaign.address, campaign.workers, device.type)
    return Pool(min(campaign.workers or (1 if device.type == "cuda" else default_workers()), jobs))


def _stored(tasks: Sequence[Task], place: Place, say: Callable[[str], None]) -> dict[str, Path]:
    """The runs of the tasks by the first 12 digits of their keys. Says what is damaged, and so has to be run again."""
    finished, whole = store.finished(place.results), {}
    for task in tasks:
        folder = finished.get(task.key[:12])
        if folder is None:
            continue
        problem = store.damage(folder)
        if problem is None:
            whole[task.key[:12]] = folder
        elif other := store.find_whole(place.results, task.key):
            whole[task.key[:12]] = other
        else:
            say(f"run again, for it is damaged: {problem}")
    return whole


def _shard(
    campaign: Campaign, tasks: list[Task], facts: Mapping[str, Facts], forecast: Forecast, place: Place
) -> list[Task]:
    """The tasks of this command's shard, or all."""
    if campaign.shard is None:
        return tasks
    jobs = [task.job for task in tasks]
    estimates = [outlook.estimate(task, facts, forecast) for task in tasks]
    found = shards.split(
        shards.costs(jobs, [estimate and estimate.seconds for estimate in estimates]),
        [task.artefact and pretrain.line(task.artefact.parts) for task in tasks],
        campaign.shard.of,
    )
    of = shards.agreed(jobs, found, campaign.shard.of, place.running, write=not campaign.dry_run)
    return [task for task, number in zip(tasks, of, strict=True) if number == campaign.shard.number - 1]


def _domains(job: Job) -> tuple[str, ...]:
    return (job.target, *job.sources)


def _startable(
    jobs: Sequence[Named], cards: Cards, campaign: Campaign, say: Callable[[str], None]
) -> tuple[list[Named], list[Named]]:
    """The jobs for which all is there that they start from, and the others.

    Raises InputError where there are any of the latter, unless this is only a dry run, which tells what they wait for.
    """
    names = (name for named in jobs for name in _domains(named.job))
    domains = groundwork.lacking(names, cards, data=campaign.data, cache=campaign.cache)
    with_data = [named for named in jobs if domains.keys().isdisjoint(_domains(named.job))]
    encoders = groundwork.lacking_encoders(named.job.encoder for named in with_data if named.job.encoder)
    told = [*domains.values(), *encoders.values()]
    if told and not campaign.dry_run:
        raise InputError("\n".join(["nothing was started, because something is missing", *told]))
    for said in told:
        say(f"missing: {said}")
    ready = [named for named in with_data if named.job.encoder not in encoders]
    return ready, [named for named in jobs if named not in ready]


def _splits(
    jobs: Sequence[Job], prepared: Mapping[str, Prepared], say: Callable[[str], None]
) -> dict[tuple[str, Cut | None], Split]:
    """How each target is split, under each track. Raises InputError for one that can't be."""
    found: dict[tuple[str, Cut | None], Split] = {}
    for job in jobs:
        if (job.target, job.cut) in found:
            continue
        split = found[job.target, job.cut] = split_of(prepared[job.target].domain, job.cut)
        if split.in_time is not None:
            users, left_out = len(np.unique(split.in_time.test_users)), split.in_time.left_out
            say(
                f"{job.target}, {job.track} track: {len(split.test.targets):,} questions of {users:,} users from "
                f"{utc(split.in_time.test_from)} on; {left_out:,} users without history before are left out"
            )
    return found


def _making(
    prepared: Mapping[str, Prepared], encoders: Mapping[str, Mapping[str, Any]], precision: str, place: Place
) -> Callable[[Named], Task]:
    """What gives jobs on these data and encoders the keys that they have where ``auto`` is this precision."""
    fingerprints = groundwork.fingerprints(prepared)
    return lambda named: replace(task_of(named.job, fingerprints, encoders, precision, place.has), label=named.label)


def _encode(tasks: Sequence[Task], prepared: Mapping[str, Prepared], place: Place) -> None:
    """Encode all texts that the tasks read."""
    wanted = [(task.job.target, task.job.encoder, 0.0) for task in tasks if task.job.encoder]
    artefacts = {task.artefact.key: task.artefact for task in tasks if task.artefact}
    for artefact in artefacts.values():
        if not place.has(artefact):
            wanted += groundwork.texts_of(artefact, place.registry)
    for task in tasks:
        method = place.registry.method(task.job.method)
        if task.job.encoder and "text" in method.needs and method.reads_sources:
            wanted += [(name, task.job.encoder, 0.0) for name in task.job.sources]
    groundwork.encode_all(wanted, prepared, place.cache)
