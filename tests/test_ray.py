"""``--executor ray``: a cluster of two nodes, one of which is lost, gives what processes of one machine give."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from test_campaign import Place
from test_kills import PATH, TINY, Command, assert_nothing_was_done_twice, lines, logs, stored_bytes

from benchmark.store import read_failures

WITH_RAY = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: tox -e ray")
ROWS = [*TINY["methods"], "SASRec-cos", "SASRec_text", "Raises", "Diverges", "Dies"]
SUITE = TINY | {"methods": ROWS, "training": {"epochs": 25, "batch_targets": 64}}
PLUGIN = ("--plugin", "third_party:METHODS")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two nodes of one processor each."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", PATH)
    found = import_module("ray.cluster_utils").Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    found.add_node(num_cpus=1)
    found.wait_for_nodes()
    yield found
    found.shutdown()


def training(place: Place) -> set[str]:
    """Logs that are being written: begun and neither done nor failed."""
    return {key for key, log in logs(place).items() if not any("done:" in line or "Error" in line for line in log)}


@WITH_RAY
def test_the_loss_of_a_node_costs_what_ran_on_it_and_nothing_else(cluster: Any, tmp_path: Path) -> None:
    here, there = Place(tmp_path / "here"), Place(tmp_path / "there")
    for place in (here, there):
        place.folder.mkdir()
    command = Command.start(
        there, there.suite(**SUITE), "--workers", "2", "--executor", "ray", "--address", cluster.address, *PLUGIN
    )
    while len(training(there)) < 2 or sum("epoch" in line for line in lines(there)) < 10:
        assert command.process.poll() is None, command.ends()
        time.sleep(0.02)
    cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)
    code, out = command.ends()
    assert code == 1, out
    assert "3 of 9 jobs failed" in out
    reasons = {failure.job.method: failure.reason for failure in read_failures(there.results, "killed")}
    assert reasons["Raises"] == "RuntimeError: the third party has made a mistake"
    assert "diverged" in reasons["Diverges"]
    assert reasons["Dies"].startswith("a worker process died")
    assert any("third_party.py" in line for log in logs(there).values() for line in log), "where it was raised"
    assert_nothing_was_done_twice(there, kills=2)
    code, out = Command.start(here, here.suite(**SUITE), *PLUGIN).ends()
    assert code == 1, out
    assert stored_bytes(there) == stored_bytes(here)


@WITH_RAY
@pytest.mark.parametrize(
    ("address", "said"),
    [("127.0.0.1:1", "no Ray cluster answers there"), ("here", "HOST:PORT"), ("ray://here:10001", "HOST:PORT")],
)
def test_an_address_without_a_cluster_is_a_mistake(address: str, said: str, tmp_path: Path) -> None:
    place = Place(tmp_path)
    done = place.transrec("run", place.suite(), "--executor", "ray", "--address", address)
    assert done.code == 2
    assert f"--address {address}: " in done.err
    assert said in done.err
    assert not place.results.exists()


def test_without_ray_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    place = Place(tmp_path)
    done = place.transrec("run", place.suite(), "--executor", "ray")
    assert done.code == 2
    assert 'python -m pip install "transrec-bench[ray]"' in done.err
    assert not place.results.exists()
    assert not os.path.exists(place.folder / "reports")


def test_an_address_is_of_a_ray_cluster(tmp_path: Path) -> None:
    place = Place(tmp_path)
    done = place.transrec("run", place.suite(), "--address", "127.0.0.1:6379")
    assert done.code == 2
    assert "use it with --executor ray" in done.err
