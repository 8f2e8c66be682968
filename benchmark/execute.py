"""Running tasks on workers: artefacts first where jobs wait for them, everything else beside them."""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark import claims, pretrain, store
from benchmark.jobs import Job
from benchmark.place import Place
from benchmark.plan import ArtefactTask, Task
from benchmark.runner import Facts, Outcome, Taken, claim_artefact, run_job
from benchmark.workers import Died, Workers

LOOK_SECONDS = 2.0
"""How often is looked whether what another process works on is free."""

Work = ArtefactTask | Task


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A job that gave no result, why, and the file that says more."""

    task: Task
    reason: str
    log: Path


def execute(
    tasks: Sequence[Task],
    facts: Mapping[str, Facts],
    place: Place,
    *,
    workers: Workers,
    say: Callable[[str], None],
) -> list[Failed]:
    """Run all tasks and return those that failed; a failure does not stop the others.

    facts: by track, target and sources, see `facts_key`. Longest jobs (those that wait for pre-training) are started as
    soon as their artefact is there, ahead of what is still queued. What another process is at is left to it, and done
    here if that ends without a result. What a worker died of is run once more, alone where nobody knows which of the
    running tasks it was.
    """
    try:
        failed = _Schedule(tasks, facts, place, workers, say).run()
    except BaseException:
        workers.stop()
        raise
    workers.close()
    return failed


class _Schedule:
    """What is to be done, what is being done, and by whom."""

    def __init__(
        self,
        tasks: Sequence[Task],
        facts: Mapping[str, Facts],
        place: Place,
        workers: Workers,
        say: Callable[[str], None],
    ) -> None:
        self.facts, self.place, self.workers, self.say = facts, place, workers, say
        self.total, self.done = len(tasks), 0
        self.failed: list[Failed] = []
        wanted = {task.artefact.key: task.artefact for task in tasks if task.artefact}
        missing = {key: artefact for key, artefact in wanted.items() if not place.has(artefact)}
        ready = [task for task in tasks if not task.artefact or task.artefact.key not in missing]
        self.waiting = {key: [t for t in tasks if t.artefact and t.artefact.key == key] for key in missing}
        # what differs in length only is made in turn, the shortest first: a longer one goes on from a shorter one
        self.lines: dict[str, deque[ArtefactTask]] = {}
        for artefact in sorted(missing.values(), key=lambda artefact: artefact.spec.epochs):
            self.lines.setdefault(pretrain.line(artefact.parts), deque()).append(artefact)
        self.queue: deque[Work] = deque([*(line.popleft() for line in self.lines.values()), *ready])
        self.pending: dict[Future[Any], Work] = {}
        self.elsewhere: dict[str, Work] = {}
        """By key, what other processes are at."""
        self.looked = 0.0
        self.told: set[str] = set()
        """Keys of which was said that others are at them."""
        self.suspects: deque[Work] = deque()
        """What a worker may have died of, where nobody knows."""
        self.died: set[str] = set()
        """Keys of what a worker died at, where that is known."""
        self.alone = False

    def run(self) -> list[Failed]:
        while self.queue or self.suspects or self.pending or self.elsewhere:
            if not self.pending:
                self.alone = bool(self.suspects)
            source = self.suspects if self.alone else self.queue
            self._fill(source, 1 if self.alone else self.workers.n)
            if self.pending:
                self._gather()
            elif source:  # the workers broke while idle
                self.workers.replace()
            else:
                time.sleep(LOOK_SECONDS)
            self._look_elsewhere()
        return self.failed

    def _fill(self, source: deque[Work], most: int) -> None:
        """Start what there is room for: no more than there are workers, so that the dead are among few."""
        while source and len(self.pending) < most:
            try:
                self._start(source[0])
            except Died:
                return  # what is running will report it
            source.popleft()

    def _start(self, task: Work) -> None:
        if isinstance(task, ArtefactTask):
            spec, sources = task.spec, ", ".join(task.spec.sources)
            future = self.workers.submit(claim_artefact, task, self.place)
            self.say(f"pre-training {spec.family} on {sources}: {spec.epochs} epochs (log: {self.place.log(task.key)})")
        else:
            future = self.workers.submit(run_job, task, self.facts[facts_key(task)], self.place)
        self.pending[future] = task

    def _gather(self) -> None:
        """Wait until something is done, or until it is time to look at what others are at."""
        finished = self.workers.wait(self.pending, LOOK_SECONDS if self.elsewhere else None)
        lost: list[tuple[Work, Died]] = []
        for future in finished:
            task, error = self.pending.pop(future), future.exception()
            if isinstance(error, Died):
                lost.append((task, error))
            elif error:
                self._fail(task, error)
            else:
                self._succeed(task, future.result())
        for task, error in lost:
            self._lose(task, error)
        if lost:
            self.workers.replace()

    def _look_elsewhere(self) -> None:
        """Queue again what nobody else is at any more: it is done, or was left."""
        if not self.elsewhere or time.monotonic() - self.looked < LOOK_SECONDS:
            return
        self.looked = time.monotonic()
        for key, task in list(self.elsewhere.items()):
            artefact = isinstance(task, ArtefactTask)
            folder = self.place.cache / claims.RUNNING if artefact else self.place.running
            if claims.is_free(folder, pretrain.line(task.parts) if artefact else key):
                del self.elsewhere[key]
                self.queue.appendleft(task)

    def _succeed(self, task: Work, result: Path | Outcome | Taken) -> None:
        if isinstance(result, Taken):
            if not self.elsewhere:
                self.looked = time.monotonic()
            self.elsewhere[task.key] = task
            if task.key not in self.told:
                self.told.add(task.key)
                self.say(f"{_name(task)}: another process is at it")
        elif isinstance(task, ArtefactTask):
            self.queue.extendleft(reversed(self.waiting[task.key]))
            self._next_in_line(task)
        elif isinstance(result, Outcome):
            self.done += 1
            how = "by another process" if result.found else f"{result.seconds:.1f} s"
            outcome = f"{result.split} NDCG@10 {result.ndcg:.4f}"
            self.say(f"[{self.done}/{self.total}] {label(task)}: {outcome} ({how})")

    def _next_in_line(self, artefact: ArtefactTask) -> None:
        if line := self.lines[pretrain.line(artefact.parts)]:
            self.queue.appendleft(line.popleft())

    def _lose(self, task: Work, error: Died) -> None:
        if self.alone or task.key in self.died:
            self._fail(task, error)
        elif self.workers.share_fate:
            self.suspects.append(task)
        else:
            if error.by_itself:
                self.died.add(task.key)
            self.queue.appendleft(task)

    def _fail(self, task: Work, error: BaseException) -> None:
        if isinstance(task, ArtefactTask):
            for waiter in self.waiting[task.key]:
                self._fail(waiter, error)
            self._next_in_line(task)
            return
        self.done += 1
        if isinstance(error, Died):
            reason = str(error)
        else:
            reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        log = self.place.log(task.key)
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("a", encoding="utf-8") as file:
                file.writelines(traceback.format_exception(error))
            store.write_failure(self.place.results, task.job.published(), task.key, reason)
        except OSError as full:  # a disk that is full must not end the others
            reason += f"; and this could not be noted: {full.strerror or full}"
        self.failed.append(Failed(task=task, reason=reason, log=log))
        self.say(f"{label(task)}: FAILED: {reason} (log: {log})")


def _name(task: Work) -> str:
    if isinstance(task, ArtefactTask):
        return f"pre-training {task.spec.family} on {', '.join(task.spec.sources)}, {task.spec.epochs} epochs"
    return label(task)


def row_name(job: Job, label: str | None) -> str:
    """A job's row as progress shows it."""
    extras = [extra for extra in (label or job.control, "" if job.track == "paper" else f"{job.track} track") if extra]
    return f"{job.method} ({'; '.join(extras)})" if extras else job.method


def label(task: Task) -> str:
    tried = f" ({task.trial})" if task.trial else ""
    return f"{task.job.target} {row_name(task.job, task.label)} seed {task.job.seed}{tried}"


def facts_key(task: Task) -> str:
    return "\n".join((task.job.track, task.job.target, *task.job.sources))
