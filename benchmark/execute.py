"""Running tasks on warm worker processes: artefacts first where jobs wait for them, everything else beside them."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark import pretrain, store
from benchmark.jobs import Job, digest
from benchmark.plan import ArtefactTask, Task
from benchmark.runner import Facts, Outcome, Place, make_artefact, run_job


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A job that gave no result, why, and the file that says more."""

    task: Task
    reason: str
    log: Path


def _start_worker() -> None:
    """Prepare a worker process.

    It has one thread: the sums of a run are then always added in the same order. It ends with its parent, however that
    ends, and leaves Ctrl-C to it. The commit is looked up now, when the code is loaded.
    """
    import torch

    from benchmark.machine import commit

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    commit()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def default_workers() -> int:
    """One worker a processor that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Workers:
    """Warm processes; all are replaced when one of them dies, which takes the pool with it."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.pool = self._new()

    def _new(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(max_workers=self.n, mp_context=context, initializer=_start_worker)

    def start(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Raises BrokenProcessPool where a process has died since the last look."""
        return self.pool.submit(function, *arguments)

    def replace(self) -> None:
        self.stop()
        self.pool = self._new()

    def stop(self) -> None:
        """Leave at once, whatever is running."""
        processes = list(self.pool._processes.values())
        self.pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()


def execute(
    tasks: Sequence[Task],
    facts: Mapping[str, Facts],
    place: Place,
    *,
    workers: int,
    say: Callable[[str], None],
) -> list[Failed]:
    """Run all tasks and return those that failed; a failure does not stop the others.

    facts: by track, target and sources, see `facts_key`. Longest jobs (those that wait for pre-training) are started as
    soon as their artefact is there, ahead of what is still queued. Where a process dies, nobody knows which of the
    running tasks it died of: each of them is run once more, alone.
    """
    failed: list[Failed] = []
    wanted = {task.artefact.key: task.artefact for task in tasks if task.artefact}
    missing = {k: a for k, a in wanted.items() if not pretrain.find(a.spec, k, place.cache, place.results)}
    ready = [task for task in tasks if not task.artefact or task.artefact.key not in missing]
    waiting = {key: [t for t in tasks if t.artefact and t.artefact.key == key] for key in missing}
    # what differs in length only is made in turn, the shortest first: a longer one goes on from a shorter one
    lines: dict[str, deque[ArtefactTask]] = {}
    for artefact in sorted(missing.values(), key=lambda artefact: artefact.spec.epochs):
        lines.setdefault(_line(artefact), deque()).append(artefact)
    queue: deque[ArtefactTask | Task] = deque([*(line.popleft() for line in lines.values()), *ready])
    suspects: deque[ArtefactTask | Task] = deque()
    pending: dict[Future[Any], ArtefactTask | Task] = {}
    pool = _Workers(workers)
    done = 0

    def start(task: ArtefactTask | Task) -> None:
        if isinstance(task, ArtefactTask):
            spec, sources = task.spec, ", ".join(task.spec.sources)
            say(f"pre-training {spec.family} on {sources}: {spec.epochs} epochs (log: {place.log(task.key)})")
            pending[pool.start(make_artefact, task, place)] = task
        else:
            pending[pool.start(run_job, task, facts[facts_key(task)], place)] = task

    def fill(source: deque[ArtefactTask | Task], most: int) -> None:
        """Start what there is room for: no more than there are workers, so that the dead are among few."""
        while source and len(pending) < most:
            try:
                start(source[0])
            except BrokenProcessPool:
                return  # what is running will report it
            source.popleft()

    def next_in_line(artefact: ArtefactTask) -> None:
        if line := lines[_line(artefact)]:
            queue.appendleft(line.popleft())

    def fail(task: ArtefactTask | Task, error: BaseException) -> None:
        nonlocal done
        if isinstance(task, ArtefactTask):
            for waiter in waiting[task.key]:
                fail(waiter, error)
            next_in_line(task)
            return
        done += 1
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        if isinstance(error, BrokenProcessPool):
            reason = "a worker process died (out of memory, or killed)"
        log = place.log(task.key)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            file.writelines(traceback.format_exception(error))
        store.write_failure(place.results, task.job.published(), task.key, reason)
        failed.append(Failed(task=task, reason=reason, log=log))
        say(f"{label(task)}: FAILED: {reason} (log: {log})")

    def succeed(task: ArtefactTask | Task, result: Path | Outcome) -> None:
        nonlocal done
        if isinstance(task, ArtefactTask):
            queue.extendleft(reversed(waiting[task.key]))
            next_in_line(task)
        elif isinstance(result, Outcome):
            done += 1
            outcome = f"{result.split} NDCG@10 {result.ndcg:.4f}"
            say(f"[{done}/{len(tasks)}] {label(task)}: {outcome} ({result.seconds:.1f} s)")

    alone = False
    try:
        while queue or suspects or pending:
            if not pending:
                alone = bool(suspects)
            fill(suspects if alone else queue, 1 if alone else workers)
            if not pending:  # the pool broke while idle
                pool.replace()
                continue
            finished, _ = wait(pending, return_when=FIRST_COMPLETED)
            errors = {future: future.exception() for future in finished}
            broken = next((error for error in errors.values() if isinstance(error, BrokenProcessPool)), None)
            for future, error in errors.items():
                if isinstance(error, BrokenProcessPool):
                    continue
                task = pending.pop(future)
                if error:
                    fail(task, error)
                else:
                    succeed(task, future.result())
            if broken:
                lost = list(pending.values())
                pending.clear()
                pool.replace()
                if alone:
                    fail(lost[0], broken)
                else:
                    suspects.extend(lost)
    except BaseException:
        pool.stop()
        raise
    pool.pool.shutdown()
    return failed


def _line(artefact: ArtefactTask) -> str:
    """What artefacts share that differ in length only."""
    return digest({**artefact.parts, "epochs": None})


def row_name(job: Job, label: str | None) -> str:
    """A job's row as progress shows it."""
    extras = [extra for extra in (label or job.control, "" if job.track == "paper" else f"{job.track} track") if extra]
    return f"{job.method} ({'; '.join(extras)})" if extras else job.method


def label(task: Task) -> str:
    tried = f" ({task.trial})" if task.trial else ""
    return f"{task.job.target} {row_name(task.job, task.label)} seed {task.job.seed}{tried}"


def facts_key(task: Task) -> str:
    return "\n".join((task.job.track, task.job.target, *task.job.sources))
