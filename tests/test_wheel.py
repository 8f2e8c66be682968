"""The built wheel stands alone: installed into an empty folder it lists its data and runs the demo suite."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="hatchling builds the wheel")
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder, cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the wheel, and nothing else, is installed into."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target"]
    run(*pip, folder, wheel, cwd=folder)
    return folder


def test_the_wheel_carries_cards_and_demo_files_inside_the_package(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    checkout = ROOT / "datasets"
    carried = [*checkout.glob("*.yaml"), *(path for path in checkout.glob("demo/*") if path.is_file())]
    assert carried
    assert {f"benchmark/datasets/{path.relative_to(checkout).as_posix()}" for path in carried} <= names
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"benchmark", "baselines", "unisrec"}
    assert not [name for name in names if ".data/" in name]


def test_the_wheel_carries_what_reports_are_made_of(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    files = ("templates/page.html", "templates/page.css", "templates/page.js", "leaderboard.schema.json")
    assert {f"benchmark/report/{file}" for file in files} <= names


def test_the_installed_wheel_runs_the_demo_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    transrec = installed / "bin" / "transrec"
    # Before all else on the path, so that the checkout an editable installation points to is not what runs.
    alone = {"PYTHONPATH": str(installed), "TRANSREC_CACHE": str(tmp_path / "cache")}
    where = run(sys.executable, "-c", "import benchmark; print(benchmark.__file__)", cwd=tmp_path, **alone)
    assert Path(where.strip()).is_relative_to(installed)

    names = {row["name"] for row in json.loads(run(transrec, "list", "datasets", "--json", cwd=tmp_path, **alone))}
    assert {"demo-workshop", "demo-shop", "amazon2018-scientific", "online-retail"} <= names

    options = ["--targets", "demo-shop", "--methods", "Popularity,SASRec", "--seeds", "1", "--workers", "1"]
    shown = run(transrec, "run", "demo", *options, cwd=tmp_path, **alone)
    assert "SASRec" in shown
    assert "SASRec" in (tmp_path / "reports" / "demo" / "README.md").read_text()
    assert len(list((tmp_path / "results").rglob("record.json"))) == 2
