"""``--shard i/n``: the jobs of one of n commands that share a suite, such as the tasks of a SLURM array.

All n must come to the same split, whenever they start, but forecasts change with every run that is stored. So the first
of them writes down what it has split, by names and not by keys: machines that train in another precision have other
keys.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmark import claims
from benchmark.errors import InputError
from benchmark.files import write_text
from benchmark.jobs import Job, digest

UNTRAINED_SECONDS = 1.0
"""Assumed of a job that is not trained, where forecasts of others are known."""
ALLOWED = 1.1
"""How much longer the longest shard may take so that jobs which share an artefact stay together."""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One of ``of``; counted from 1."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``2/4``; raises InputError."""
        number, slash, of = text.partition("/")
        # of digits there are many kinds, and int() knows all of them
        if not slash or not all(part.isascii() and part.isdecimal() and len(part) < 10 for part in (number, of)):
            raise InputError(f"--shard {text}: expected i/n, for example 2/4 for the second of four")
        if not 1 <= int(number) <= int(of):
            raise InputError(f"--shard {text}: shards are counted from 1 to n: 1/{max(int(of), 1)} is the first")
        return cls(number=int(number), of=int(of))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def costs(jobs: Sequence[Job], seconds: Sequence[float | None]) -> list[float]:
    """What each job counts: its forecast, the median of all forecasts where it has none, 1 where nobody has one."""
    known = [each for each in seconds if each is not None]
    if not known:
        return [1.0] * len(jobs)
    usual = median(known)
    return [
        (usual if each is None else each) if job.training else UNTRAINED_SECONDS
        for job, each in zip(jobs, seconds, strict=True)
    ]


def split(costs: Sequence[float], artefacts: Sequence[str | None], n: int) -> list[int]:
    """The shard of each job, 0 to n - 1, such that the sums of costs are near each other.

    artefacts: what each job starts from, or None. Jobs that share one get one shard, unless the longest shard then
    takes over 10 % longer: in that case the others wait until the first has made it. The longest goes first to where
    least is to be done (Graham 1969), with equal costs in turn: round robin.
    """
    alone = _spread([[job] for job in range(len(costs))], costs, n)
    groups: dict[str, list[int]] = {}
    for job, artefact in enumerate(artefacts):
        groups.setdefault(artefact or f"job {job}", []).append(job)
    together = _spread(groups.values(), costs, n)
    return together if _longest(together, costs, n) <= ALLOWED * _longest(alone, costs, n) else alone


def _spread(groups: Iterable[Sequence[int]], costs: Sequence[float], n: int) -> list[int]:
    loads, shards = [0.0] * n, [0] * len(costs)
    for group in sorted(groups, key=lambda group: -sum(costs[job] for job in group)):
        least = loads.index(min(loads))
        for job in group:
            shards[job] = least
            loads[least] += costs[job]
    return shards


def _longest(shards: Sequence[int], costs: Sequence[float], n: int) -> float:
    loads = [0.0] * n
    for shard, cost in zip(shards, costs, strict=True):
        loads[shard] += cost
    return max(loads)


def agreed(jobs: Sequence[Job], found: Sequence[int], n: int, folder: Path, *, write: bool) -> list[int]:
    """The split that the first of these commands found, which may be this one.

    folder: where processes agree on what they do. With ``write`` the first leaves its split there.
    """
    name = digest({"jobs": [job.as_dict() for job in jobs], "n": n})[:32]
    path = folder / f"split-{name}.json"
    if not write:
        return _read(path, len(jobs), n) or list(found)
    with claims.hold(folder, f"split-{name}"):
        if (known := _read(path, len(jobs), n)) is not None:
            return known
        write_text(path, json.dumps(list(found)))
    return list(found)


def _read(path: Path, jobs: int, n: int) -> list[int] | None:
    """A split that was written, or None where there is none or it is damaged."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(known, list) and len(known) == jobs and all(type(s) is int and 0 <= s < n for s in known)
    return known if whole else None
