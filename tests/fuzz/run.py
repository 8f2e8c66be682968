"""Feeding damaged files to readers, and the oracle: a value of which everything holds, or an `InputError` that names
the file, and that soon."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import FrameType

from benchmark.errors import InputError
from benchmark.jobs import derive_seed

from .mutate import mutant
from .readers import Files, Reader

HANG_SECONDS = 20.0
"""Of processor time for files of a few kilobytes: whatever takes as long does not end."""


class Hang(BaseException):
    """A reader that does not come back; not an Exception, lest the reader catch it."""


@contextmanager
def no_hang() -> Iterator[None]:
    def stop(signal_number: int, frame: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, HANG_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextmanager
def memory_folder() -> Iterator[Path]:
    """A temporary folder, in memory where there is such a place."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=place) as folder:
        yield Path(folder)


def put(folder: Path, files: Files) -> None:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


def judge(reader: Reader, folder: Path) -> bool:
    """Whether what lies in ``folder`` is read; whatever else happens than an `InputError` naming it goes through."""
    try:
        with no_hang():
            value = reader.read(folder)
    except InputError as error:
        message = str(error)
        assert str(folder) in message or (reader.speaks_of and reader.speaks_of in message), (
            f"does not name the file: {message}"
        )
        assert len(message) < 5000, f"a message of {len(message)} characters"
        return False
    reader.check(value)
    return True


def mutants(seed: Files, rng: Random) -> Iterator[Mapping[str, bytes]]:
    """Without end: the changed files of one valid set after another; mostly one file is changed."""
    names, contents = list(seed), list(seed.values())
    while True:
        chosen = rng.sample(names, min(len(names), rng.choice((1, 1, 1, 1, 2))))
        yield {name: mutant(seed[name], contents, rng) for name in chosen}


def fuzz(reader: Reader, n: int, *, seed: int = 0) -> list[tuple[str, Mapping[str, bytes]]]:
    """What is wrong with a reader, by ``n`` mutants: each finding in words, and the files it was found by."""
    findings: list[tuple[str, Mapping[str, bytes]]] = []
    files = reader.seed()
    rng = Random(derive_seed("fuzz", reader.name, seed))
    with memory_folder() as folder:
        put(folder, files)
        assert judge(reader, folder), f"{reader.name}: the valid files are refused"
        for _, changed in zip(range(n), mutants(files, rng), strict=False):
            put(folder, changed)
            try:
                judge(reader, folder)
            except (Exception, Hang) as error:  # noqa: BLE001 -- every other end is a finding
                findings.append((f"{type(error).__name__}: {error}", changed))
            put(folder, {name: files[name] for name in changed})
    return findings
