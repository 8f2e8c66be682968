"""Throughput of a suite: the same equal jobs by one worker, by two, and by two of Ray, after all have started."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmark import campaign
from benchmark.execute import Failed, execute
from benchmark.workers import Workers

from .fresh import ready

pytestmark = pytest.mark.speed

JOBS = 16
EPOCHS = {"full": 30, "quick": 1}
READY_SECONDS = 3.0
"""How long each worker is kept busy at first, so that every one of them gets its turn to start."""


def timed_run(folder: Path, monkeypatch: pytest.MonkeyPatch, *, epochs: int, workers: int, executor: str) -> float:
    """Seconds from the first job to the last of a run without stored results."""
    seconds: list[float] = []

    def timed(tasks: Any, facts: Any, place: Any, *, workers: Workers, say: Callable[[str], None]) -> list[Failed]:
        for started in [workers.submit(ready, READY_SECONDS) for _ in range(workers.n)]:
            started.result()
        began = time.perf_counter()
        failed = execute(tasks, facts, place, workers=workers, say=say)
        seconds.append(time.perf_counter() - began)
        return failed

    monkeypatch.setattr(campaign, "execute", timed)
    monkeypatch.setattr("benchmark.report.leaderboard.write_figures", lambda parts, board, alike, folder: ())
    suite = folder / "throughput.yaml"
    training = {"epochs": epochs, "patience": epochs, "batch_targets": 256}
    content = {"name": "throughput", "about": "equal jobs", "targets": ["demo-shop"], "sources": [], "seeds": JOBS}
    suite.write_text(yaml.safe_dump(content | {"methods": ["SASRec"], "training": training}))
    asked = campaign.Campaign(
        suite=str(suite),
        cache=folder / "cache",
        results=folder / f"results-{executor}-{workers}",
        reports=folder / "reports",
        workers=workers,
        executor=executor,
        device="cpu",
    )
    assert campaign.run(asked, lambda line: None) == []
    return seconds[0]


def test_throughput(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, benchmark: Any
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # Ray's workers look for this package as well
    epochs = EPOCHS["quick" if request.config.getoption("--speed-quick", default=False) else "full"]
    contenders = [("1 worker", 1, "local"), ("2 workers", 2, "local")]
    contenders += [("2 workers of Ray", 2, "ray")] if find_spec("ray") else []

    def measure() -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "seconds": timed_run(tmp_path, monkeypatch, epochs=epochs, workers=workers, executor=executor),
            }
            for name, workers, executor in contenders
        ]

    points = benchmark.pedantic(measure, rounds=1, iterations=1)
    benchmark.extra_info.update(kind="throughput", jobs=JOBS, epochs=epochs, points=points)
