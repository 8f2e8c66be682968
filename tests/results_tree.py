"""Small results folders for the tests of storing and reporting."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from benchmark.jobs import Cut, Job, digest, questions_of
from benchmark.questions import Context, Ranks
from benchmark.record import (
    Cost,
    Epoch,
    MethodInfo,
    Parameters,
    Planned,
    PretrainingInfo,
    Questions,
    Record,
    Role,
    SourceInfo,
    TargetInfo,
    Tuning,
    Versions,
)
from benchmark.report.build import build
from benchmark.report.stored import stored
from benchmark.report.tables import Leaderboard
from benchmark.store import write_context, write_run

USERS, ITEMS = 6, 60
CREATED = "2026-01-02T03:04:05Z"


def make_job(method: str = "SASRec", target: str = "toy", seed: int = 0, **others: Any) -> Job:
    return Job(**({"suite": "small", "target": target, "method": method, "version": 1, "seed": seed} | others))


def make_key(job: Job, fingerprint: str = "data") -> tuple[str, dict[str, Any]]:
    """A key and what it was made of; the suite is no part of it."""
    parts = {name: value for name, value in job.as_dict().items() if name != "suite"} | {"fingerprint": fingerprint}
    return digest(parts), parts


def make_ranks(greater: ArrayLike, equal: ArrayLike = 0) -> Ranks:
    """Test ranks as given, validation ranks all first."""
    above = np.asarray(greater, np.int32)
    tied = np.broadcast_to(np.asarray(equal, np.int32), above.shape).copy()
    zeros = np.zeros_like(above)
    return Ranks(valid_greater=zeros, valid_equal=zeros, test_greater=above, test_equal=tied)


def make_record(
    job: Job,
    ranks: Ranks,
    *,
    data: str = "data",
    role: Role = "paper",
    target: Mapping[str, Any] | None = None,
    **others: Any,
) -> Record:
    key, parts = make_key(job, data)
    about: dict[str, Any] = {
        "name": job.target,
        "title": f"The {job.target} domain",
        "paper_name": None,
        "fingerprint": digest(data),
        "custom": False,
        "split": "released",
        "users": len(ranks.test_greater),
        "items": ITEMS,
        "interactions": 50,
    }
    values: dict[str, Any] = {
        "key": key,
        "key_parts": parts,
        "job": job,
        "method": MethodInfo(name=job.method, family=job.method, role=role, version=job.version, paper=None, note=None),
        "target": TargetInfo(**(about | dict(target or {}))),
        "sources": (),
        "overlap": (),
        "encoder": None,
        "pretraining": None,
        "parameters": Parameters(total=3000, trained=2000),
        "learning_curve": tuple(Epoch(epoch=n, loss=1.0, valid=0.1, seconds=0.5) for n in (1, 2, 3)),
        "best_epoch": 2,
        "stopped": "no better for 1 evaluation",
        "tuning": Tuning(trials=0, note="as published"),
        "cost": Cost(wall_seconds=2.0, core_seconds=4.0, peak_memory_mb=100.0, device="cpu", threads=2),
        "versions": Versions(
            python="3.11.9", numpy="2.4.0", torch="2.13.0", transrec="0.1.0", platform="Linux-x86_64", processor="toy"
        ),
        "commit": None,
        "warnings": (),
        "ranks_sha256": ranks.sha256,
        "created": CREATED,
    }
    return Record(**(values | others))


def strict_job(method: str = "SASRec", test: Literal["last", "successive"] = "last", **others: Any) -> Job:
    return make_job(method, **({"track": "strict", "cut": Cut(test=test)} | others))


def make_questions(test: int, valid: int | None = None, **others: Any) -> Questions:
    values: dict[str, Any] = {
        "rule": "last",
        "valid_from": "2020-01-01T00:00:00Z",
        "test_from": "2020-02-02T00:00:00Z",
        "valid": test if valid is None else valid,
        "test": test,
        "users": min(test, USERS),
        "left_out": 1,
    }
    return Questions(**(values | others))


def make_pretraining(seconds: float, key: str = "artefact") -> PretrainingInfo:
    return PretrainingInfo(
        key=digest(key), weights_sha256=digest("weights"), epochs=4, wall_seconds=seconds, core_seconds=2 * seconds
    )


def make_source(name: str, users: int = 50) -> SourceInfo:
    return SourceInfo(name=name, fingerprint=digest(name), users=users, items=30, interactions=400)


def store_run(results: Path, job: Job, greater: ArrayLike, equal: ArrayLike = 0, **others: Any) -> Path:
    ranks = make_ranks(greater, equal)
    return write_run(results, make_record(job, ranks, **others), ranks)


def store_context(
    results: Path,
    suite: str = "small",
    target: str = "toy",
    *,
    data: str = "data",
    cluster: ArrayLike | None = None,
    cut: Cut | None = None,
) -> None:
    """Of the paper track, or of the strict one under a cut; as many questions as ``cluster`` has, else one a user."""
    users = np.arange(USERS if cluster is None else len(np.asarray(cluster)), dtype=np.int32)
    write_context(
        results,
        suite,
        target,
        Context(
            fingerprint=questions_of(digest(data), cut),
            history_length=users + 2,
            train_count=users,
            cold=users == 0,
            cluster=users if cluster is None else np.asarray(cluster, np.int32),
        ),
        "strict" if cut else "paper",
    )


def board_of(results: Path, suite: str = "small") -> Leaderboard:
    return build(suite, stored(suite, results))


def planned(job: Job, data: str = "data") -> Planned:
    return Planned(
        target=job.target,
        method=job.method,
        setting=job.setting,
        track=job.track,
        seed=job.seed,
        key=make_key(job, data)[0],
    )
