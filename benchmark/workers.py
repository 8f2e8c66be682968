"""Who runs tasks: what the scheduling of `benchmark.execute` asks of them, and warm processes on this machine."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, Protocol

from benchmark.environment import worker_environment


class Died(Exception):
    """A worker ended while it was at a task, or just before: the task has no outcome."""

    by_itself: bool = True
    """Whether it may have died of the task, and not of the loss of a whole machine."""


class Workers(Protocol):
    """Where tasks are run. Each is a function of a module and arguments that can be sent."""

    n: int
    """How many tasks run at a time."""
    share_fate: bool
    """Whether the death of one takes the others with it, so that nobody knows what it died of."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Start a task; its future may raise `Died`, and so may this where nothing can be started before `replace`."""
        ...

    def wait(self, pending: Collection[Future[Any]], timeout: float | None) -> set[Future[Any]]:
        """Those that are done, at least one, or none after ``timeout`` seconds."""
        ...

    def replace(self) -> None:
        """New workers for those that died."""
        ...

    def stop(self) -> None:
        """Leave at once, whatever is running."""
        ...

    def close(self) -> None:
        """Leave when nothing is running any more."""
        ...


def default_workers() -> int:
    """One worker a processor that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Pool:
    """Warm processes of this machine, in the environment that training is fastest in.

    All are replaced when one of them dies, which takes the pool with it.
    """

    share_fate = True

    def __init__(self, n: int) -> None:
        self.n = n
        self.pool = self._new()

    def _new(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(max_workers=self.n, mp_context=context, initializer=_start_worker)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        with _without_ctrl_c(), _environment(worker_environment()):
            try:
                inner = self.pool.submit(function, *arguments)
            except BrokenProcessPool as error:
                raise _died() from error
        outer: Future[Any] = Future()
        inner.add_done_callback(lambda done: _hand_over(done, outer))
        return outer

    def wait(self, pending: Collection[Future[Any]], timeout: float | None) -> set[Future[Any]]:
        finished, _ = wait(pending, timeout, FIRST_COMPLETED)
        if any(isinstance(future.exception(), Died) for future in finished):
            finished, _ = wait(pending)  # all are broken
        return finished

    def replace(self) -> None:
        self.stop()
        self.pool = self._new()

    def stop(self) -> None:
        processes = list(self.pool._processes.values())
        self.pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(5)

    def close(self) -> None:
        self.pool.shutdown()


def _died() -> Died:
    return Died("a worker process died (out of memory, or killed)")


def _hand_over(inner: Future[Any], outer: Future[Any]) -> None:
    if inner.cancelled():
        return
    error = inner.exception()
    if error is None:
        outer.set_result(inner.result())
    else:
        outer.set_exception(_died() if isinstance(error, BrokenProcessPool) else error)


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Processes started within never see Ctrl-C, not even while they start; here it comes through afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Processes started within have these variables as well, none of which is set before."""
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            del os.environ[name]


def _start_worker() -> None:
    """Prepare a worker process.

    It ends with its parent, however that ends. The commit is looked up now, when the code is loaded.
    """
    from benchmark.machine import commit

    one_thread()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    commit()


def one_thread() -> None:
    """The sums of a run are then always added in the same order."""
    import torch

    torch.set_num_threads(1)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
