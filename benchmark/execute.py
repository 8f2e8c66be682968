"""Running tasks on warm worker processes: artefacts first where jobs wait for them, everything else beside them."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark import pretrain, store
from benchmark.plan import ArtefactTask, Task
from benchmark.runner import Facts, Outcome, Place, make_artefact, run_job


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A job that gave no result, why, and the file that says more."""

    task: Task
    reason: str
    log: Path


def _start_worker() -> None:
    """One thread a worker: the sums of a run are then always added in the same order."""
    import torch

    torch.set_num_threads(1)


def default_workers() -> int:
    """One worker a processor that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def execute(
    tasks: Sequence[Task],
    facts: Mapping[str, Facts],
    place: Place,
    *,
    workers: int,
    say: Callable[[str], None],
) -> list[Failed]:
    """Run all tasks and return those that failed; a failure does not stop the others.

    facts: by target and by sources, see `facts_key`. Longest jobs (those that wait for pre-training) are started as
    soon as their artefact is there, ahead of what is still queued.
    """
    failed: list[Failed] = []
    context = multiprocessing.get_context("spawn")
    wanted = {task.artefact.key: task.artefact for task in tasks if task.artefact}
    missing = {k: a for k, a in wanted.items() if not pretrain.find(a.spec, k, place.cache, place.results)}
    ready = [task for task in tasks if not task.artefact or task.artefact.key not in missing]
    waiting = {key: [t for t in tasks if t.artefact and t.artefact.key == key] for key in missing}
    done = 0

    def fail(task: Task, error: BaseException) -> None:
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        if isinstance(error, BrokenProcessPool):
            reason = "a worker process died (out of memory, or killed)"
        log = place.log(task.key)
        details = "".join(traceback.format_exception(error))
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            file.write(details)
        store.write_failure(place.results, task.job, task.key, reason, details)
        failed.append(Failed(task=task, reason=reason, log=log))
        say(f"{label(task)}: FAILED: {reason} (log: {log})")

    with ProcessPoolExecutor(max_workers=workers, mp_context=context, initializer=_start_worker) as pool:
        pending: dict[Future[Any], ArtefactTask | Task] = {}
        for artefact in missing.values():
            spec = artefact.spec
            sources = ", ".join(spec.sources)
            say(f"pre-training {spec.family} on {sources}: {spec.epochs} epochs (log: {place.log(artefact.key)})")
            pending[pool.submit(make_artefact, artefact, place)] = artefact
        for task in ready:
            pending[pool.submit(run_job, task, facts[facts_key(task)], place)] = task
        try:
            while pending:
                finished, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in finished:
                    task = pending.pop(future)
                    error = future.exception()
                    if isinstance(task, ArtefactTask):
                        for waiter in waiting[task.key]:
                            if error:
                                fail(waiter, error)
                            else:
                                pending[pool.submit(run_job, waiter, facts[facts_key(waiter)], place)] = waiter
                        continue
                    done += 1
                    if error:
                        fail(task, error)
                    else:
                        outcome: Outcome = future.result()
                        say(
                            f"[{done}/{len(tasks)}] {label(task)}: test NDCG@10 {outcome.ndcg:.4f} "
                            f"({outcome.seconds:.1f} s)"
                        )
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise
    return failed


def label(task: Task) -> str:
    return f"{task.job.target} {task.job.method} seed {task.job.seed}"


def facts_key(task: Task) -> str:
    return "\n".join((task.job.target, *task.job.sources))
