"""Tasks on a Ray cluster: one processor each, and one GPU where runs are trained on GPUs.

Everything goes through the shared folders, as it does for processes of one machine: Ray carries what a task is, and how
it ended. Retries are the scheduler's, so that a task which kills its worker is told from one whose machine was lost.
"""

from __future__ import annotations

import importlib
import os
import socket
from collections.abc import Callable, Collection
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from benchmark.errors import InputError
from benchmark.workers import Died, default_workers, one_thread

CONNECT_SECONDS = 10.0
"""How long a cluster may take to answer. Ray itself goes on asking for minutes."""


def require(address: str | None) -> Any:
    """Ray, which is an extra; raises InputError where it is not installed, and where nothing answers at the address."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray = importlib.import_module("ray")
    except ImportError as error:
        raise InputError(
            '--executor ray: Ray is not installed; `python -m pip install "transrec-bench[ray]"`, or in a checkout '
            '`python -m pip install -e ".[ray]"`'
        ) from error
    if address not in (None, "auto"):
        host, _, port = address.rpartition(":")
        if not host or "/" in host or not port.isdecimal():
            raise InputError(
                f"--address {address}: expected HOST:PORT, or auto for the cluster that this machine is in"
            )
        try:
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise InputError(f"--address {address}: no Ray cluster answers there ({error})") from error
    return ray


class _MachineLost(Died):
    by_itself = False


class RayWorkers:
    """Tasks of a Ray cluster, an existing one or one on this machine that ends with this process."""

    share_fate = False

    def __init__(self, address: str | None, workers: int | None, device: str) -> None:
        """Join the cluster at ``address``, or start one here with ``workers`` processors.

        workers: how many tasks run at a time; what the cluster has room for by default. Raises InputError without
        Ray, where there is no cluster at the address, and for a cluster that has no room for any task.
        """
        self.ray = ray = require(address)
        room = {} if address else {"num_cpus": workers or default_workers(), "include_dashboard": False}
        try:
            ray.init(address or "local", log_to_driver=False, configure_logging=False, **room)
        except (ConnectionError, ValueError) as error:
            raise InputError(f"--address {address}: no Ray cluster answers there ({error})") from error
        kind, needs = ("GPU", {"num_gpus": 1}) if device == "cuda" else ("CPU", {})
        there = int(ray.cluster_resources().get(kind, 0))
        if there < 1:
            self.close()
            raise InputError(f"--executor ray: the cluster has no {kind}; use another --device or another cluster")
        self.n = workers or there
        self.remote = ray.remote(num_cpus=1, max_retries=0, **needs)(_run)
        self.references: dict[Future[Any], Any] = {}

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        reference = self.remote.remote(function, *arguments)
        outer: Future[Any] = Future()
        self.references[outer] = reference
        reference.future().add_done_callback(lambda done: self._hand_over(done, outer))
        return outer

    def wait(self, pending: Collection[Future[Any]], timeout: float | None) -> set[Future[Any]]:
        finished, _ = wait(pending, timeout, FIRST_COMPLETED)
        for future in finished:
            self.references.pop(future, None)
        return finished

    def replace(self) -> None:
        """Nothing: Ray starts workers as they are needed."""

    def stop(self) -> None:
        for reference in self.references.values():
            self.ray.cancel(reference, force=True)
        self.close()

    def close(self) -> None:
        self.ray.shutdown()

    def _hand_over(self, inner: Future[Any], outer: Future[Any]) -> None:
        exceptions, error = self.ray.exceptions, inner.exception()
        if error is None:
            outer.set_result(inner.result())
        elif isinstance(error, exceptions.RayTaskError):
            outer.set_exception(_cause(error))
        elif isinstance(error, exceptions.NodeDiedError):
            outer.set_exception(_MachineLost("the machine that a worker process was on is gone"))
        elif isinstance(error, exceptions.OutOfMemoryError):
            outer.set_exception(Died("Ray ended a worker process, for its machine was short of memory"))
        else:
            outer.set_exception(Died(f"a worker process died ({type(error).__name__}: out of memory, or killed)"))


def _cause(error: Any) -> BaseException:
    """What a task raised, with the traceback of the worker as what it came from."""
    cause: BaseException = error.cause
    cause.__cause__ = RuntimeError(f"in a worker of Ray:\n{error}")
    return cause


def _run(function: Callable[..., Any], *arguments: Any) -> Any:
    one_thread()
    return function(*arguments)
