"""The page that shows how to add a method does what it says."""

from __future__ import annotations

import re
import runpy
import sys
import tomllib
from pathlib import Path

import pytest
import torch
import yaml

from benchmark import cli
from benchmark.method import ENTRY_POINTS, Method, load_plugin
from benchmark.store import list_runs, read_run
from benchmark.testing import CHECKS

torch.set_num_threads(1)

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "add-a-method.md"
MOST_LINES = 80
SUITE = {
    "name": "tiny",
    "about": "small enough for a test",
    "targets": ["demo-shop"],
    "config": {"width": 16, "inner": 16, "layers": 1},
    "training": {"epochs": 2, "batch_targets": 512},
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of somebody who did what the page says."""
    example, test = blocks("python")
    (tmp_path / "recency_pool.py").write_text(example, encoding="utf-8")
    (tmp_path / "test_recency_pool.py").write_text(test, encoding="utf-8")
    return tmp_path


def test_the_example_is_short(folder: Path) -> None:
    assert len((folder / "recency_pool.py").read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_the_example_passes_the_checks_as_the_page_writes_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(folder)
    page = runpy.run_path(str(folder / "test_recency_pool.py"))
    assert page["CHECKS"] == CHECKS
    (method,) = page["METHODS"]
    for check in CHECKS:
        page["test_contract"](method, check)


def test_the_example_runs_as_a_plugin(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the rows of the page's own suite, through the command line, to a leaderboard."""
    plugin = ("--plugin", "recency_pool:METHODS")
    assert " ".join(plugin) in PAGE.read_text(encoding="utf-8")
    (rows,) = blocks("yaml")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(SUITE | yaml.safe_load(rows)), encoding="utf-8")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("TRANSREC_CACHE", str(folder / "cache"))
    monkeypatch.setattr(sys, "argv", ["transrec", "run", "tiny.yaml", *plugin, "--workers", "1"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 0
    jobs = {run.record.job.method: run.record.job for run in map(read_run, list_runs(folder / "results", "tiny"))}
    assert set(jobs) == {"SASRec", "RecencyPool"}
    assert (jobs["RecencyPool"].config["width"], jobs["SASRec"].config["width"]) == (64, 16)
    assert (jobs["RecencyPool"].training["patience"], jobs["SASRec"].training["patience"]) == (20, 10)
    assert "RecencyPool" in (folder / "reports" / "tiny" / "README.md").read_text(encoding="utf-8")


def test_the_entry_point_of_the_page_finds_the_example(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (given,) = blocks("toml")
    monkeypatch.syspath_prepend(folder)
    (value,) = tomllib.loads(given)["project"]["entry-points"][ENTRY_POINTS].values()
    assert [entry.name for entry in load_plugin(value) if isinstance(entry, Method)] == ["RecencyPool"]
