"""``transrec pretrain``: the artefacts that a suite's jobs start from, made by one process or by several together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmark import groundwork, parallel, pretrain
from benchmark.cards import load_cards
from benchmark.claims import RUNNING, hold
from benchmark.derive import keep
from benchmark.errors import InputError
from benchmark.place import Place
from benchmark.plan import ArtefactTask, artefact_of, jobs_of
from benchmark.precision import resolve_precision
from benchmark.runner import make_artefact
from benchmark.suite import load_suite
from benchmark.workers import default_workers


@dataclass(frozen=True, kw_only=True)
class Order:
    """What the command line asked for."""

    suite: str
    data: tuple[Path, ...] = ()
    cards: tuple[Path, ...] = ()
    cache: Path
    results: Path
    device: str = "auto"
    plugins: tuple[str, ...] = ()
    allow_mismatch: bool = False
    drop_overlap: bool = False


def make(order: Order, say: Callable[[str], None]) -> int:
    """Make what is missing, and return how many pre-trainings have diverged. Raises InputError."""
    with parallel.processes():
        with parallel.agreed():
            device = parallel.own(groundwork.chosen_device(order.device))
        place = Place(
            cache=order.cache.resolve(), results=order.results.resolve(), device=str(device), plugins=order.plugins
        )
        if not parallel.leads():
            return _make(order, place, lambda line: None)
        if parallel.world_size() > 1:
            say(f"{parallel.world_size()} processes")
        return _make(order, place, say)


def _make(order: Order, place: Place, say: Callable[[str], None]) -> int:
    # the first process prepares and encodes for all with all processors; then each trains with one thread
    torch.set_num_threads(default_workers())
    tasks = parallel.leader_first(lambda: _plan(order, place, say))
    torch.set_num_threads(1)
    failed = 0
    for task in tasks:
        spec, began = task.spec, time.perf_counter()
        what = f"{spec.family} on {', '.join(spec.sources)}, {spec.epochs} epochs"
        try:
            with _claim(task, place, lambda what=what: say(f"{what}: another process is at it; waiting for it")):
                if found := pretrain.find(spec, task.key, place.cache, place.results):
                    say(f"{what}: already there: {found}")
                else:
                    say(f"{what}: pre-training (log: {place.log(task.key)})")
                path = make_artefact(task, place)
        except ArithmeticError as error:  # of the loss of all processes, so in all of them
            say(f"{what}: FAILED: {error}")
            failed += 1
        else:
            if not found:
                say(f"{what}: wrote {path} ({time.perf_counter() - began:.1f} s)")
    return failed


@contextmanager
def _claim(task: ArtefactTask, place: Place, waits: Callable[[], None]) -> Iterator[None]:
    """Have an artefact to all processes of this command; the first of them holds the claim."""
    with ExitStack() as held:
        with parallel.agreed():
            if parallel.leads():
                held.enter_context(hold(place.cache / RUNNING, pretrain.line(task.parts), waits))
        yield


def _plan(order: Order, place: Place, say: Callable[[str], None]) -> list[ArtefactTask]:
    """The artefacts that the suite's jobs name, shortest first: a longer one goes on from a shorter one."""
    suite, cards = load_suite(order.suite), load_cards(order.cards, order.cache)
    suite = groundwork.with_full_names(suite, cards)
    jobs = [job for job in jobs_of(suite, place.registry) if job.pretraining]
    if not jobs:
        raise InputError(
            f"suite '{suite.name}': none of its methods starts from pre-training; there is nothing to make"
        )
    # what may be learnt from depends on the target only where that is cut in time, or sources are cleared of it
    targets = [job.target for job in jobs if job.cut or order.drop_overlap]
    prepared = groundwork.prepare_all(
        [*targets, *(name for job in jobs for name in job.sources)],
        cards,
        data=order.data,
        cache=order.cache,
        allow_mismatch=order.allow_mismatch,
        say=say,
    )
    settled = groundwork.settle(jobs, prepared, drop_overlap=order.drop_overlap, say=say)
    prepared = settled.prepared
    for name in settled.derived:
        keep(prepared[name].domain, order.cache)
    specs = [job.pretraining for job in settled.jobs if job.pretraining]
    fingerprints = groundwork.fingerprints(prepared)
    encoders = groundwork.provenances(spec.encoder for spec in specs)
    precision = resolve_precision("auto", torch.device(place.device))
    made = (artefact_of(spec, fingerprints, encoders, precision, place.has) for spec in specs)
    tasks = {task.key: task for task in made}
    missing = [task for task in tasks.values() if not place.has(task)]
    if parallel.leads():
        texts = [text for task in missing for text in groundwork.texts_of(task, place.registry)]
        groundwork.encode_all(texts, prepared, place.cache)
    return sorted(tasks.values(), key=lambda task: task.spec.epochs)
