"""Who works on what: a lock file a key, held by the process that works and freed when it ends, however it ends.

Processes on one machine never hold the same key. On several, the file system they share must lock files across them
(docs/scale-out.md says which do); where it does not, work may be done twice, and the first result stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

RUNNING = ".running"
"""The folder of lock files, in a results folder for its runs, in a cache for what is made there. It may be deleted when
nothing is running."""
WAIT_SECONDS = 0.5
"""How often is looked whether a key that another process holds is free."""


def _lock(folder: Path, key: str) -> FileLock:
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{key[:32]}.lock")


@contextmanager
def claim(folder: Path, key: str) -> Iterator[bool]:
    """Whether this process has the key to itself until the block ends; does not wait for it."""
    lock = _lock(folder, key)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def is_free(folder: Path, key: str) -> bool:
    """Whether nobody holds the key now."""
    with claim(folder, key) as mine:
        return mine


@contextmanager
def hold(folder: Path, key: str, waits: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Have the key to oneself until the block ends; ``waits`` is called once if another process has it now."""
    lock = _lock(folder, key)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waits()
        while not lock.is_locked:
            try:
                lock.acquire(timeout=60, poll_interval=WAIT_SECONDS)
            except Timeout:
                continue
    try:
        yield
    finally:
        lock.release()
