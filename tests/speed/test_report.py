"""The report says what was measured, reached or not. Fast: nothing is timed here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.errors import InputError

from . import SHIPPED, WITHOUT_ANOMALY_DETECTION, generated
from .report import bounds, main, read, render
from .sizes import FULL, Shape


def contender(name: str, *seconds: float, share: float = 1.0) -> dict[str, Any]:
    return {"name": name, "share": share, "seconds": list(seconds)}


def comparison(work: str, *contenders: dict[str, Any]) -> dict[str, Any]:
    sizes = {"data": "generated", "users": 8_442, "items": 4_385, "interactions": 59_427}
    steps = 16.65 if work == "train" else None
    return {"kind": "comparison", "work": work, "width": 300, "steps": steps, "contenders": list(contenders)} | sizes


TRAIN = comparison(
    "train",
    contender(SHIPPED, 270, 272, 320, share=0.24),
    contender(WITHOUT_ANOMALY_DETECTION, 180, 186, 192, share=0.24),
    contender("float32", 2.5, 2.7, 3.0),
    contender("bfloat16", 1.5, 1.6, 2.0),
)
GROWTH = {
    "kind": "growth",
    "axis": "interactions",
    "width": 64,
    "fixed": {"items": 1000},
    "points": [
        {"value": 10**k, "seconds": [10.0 ** (k - 4), 9.0 * 10 ** (k - 4), 10.0 ** (k - 4)], "peak_memory_mb": 400.0}
        for k in (4, 5, 6)
    ],
}


def run_file(folder: Path, *entries: dict[str, Any], quick: bool = False) -> Path:
    machine = {"processor": "A processor", "platform": "Linux", "memory_gb": 24.0, "threads": 2, "quick": quick}
    versions = {"python": "3.11", "torch": "2.13", "numpy": "2.4", "transrec": "0.1", "recbole": "1.2.1"}
    content = {
        "machine_info": {"node": "a-name-that-nobody-needs", "speed": machine | versions | {"precision": "bfloat16"}},
        "commit_info": {"id": "0123456789abcdef", "dirty": False},
        "datetime": "2026-01-02T03:04:05",
        "benchmarks": [{"extra_info": entry} for entry in entries],
    }
    path = folder / "run.json"
    path.write_text(json.dumps(content))
    return path


def test_bounds_are_judged_by_medians(tmp_path: Path) -> None:
    found = bounds(read(run_file(tmp_path, TRAIN, GROWTH)))
    by_unit = [bound for bound in found if bound.value is not None]
    shipped, plain, slope = by_unit
    assert (shipped.value, shipped.holds) == (pytest.approx(272 / 1.6), True)
    assert (plain.value, plain.holds) == (pytest.approx(186 / 1.6), True)
    assert shipped.spread == "160 – 180", "the least and the most of 270 / 1.5, 272 / 1.6 and 320 / 2.0"
    assert (slope.value, slope.holds) == (pytest.approx(1.0), True)
    assert [bound.holds for bound in found].count(None) == len(found) - 3


def test_what_was_not_reached_stands_in_the_report_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = TRAIN | {"contenders": [*TRAIN["contenders"][:3], contender("bfloat16", 2.0, 2.0, 2.0)]}
    arguments = [str(run_file(tmp_path, slow, GROWTH)), str(tmp_path / "out")]
    assert main(arguments) == 1
    page = (tmp_path / "out" / "README.md").read_text()
    assert "136×" in page
    assert "**no**" in page
    assert "not measured" in page
    error = capsys.readouterr().err
    assert "136×" in error
    assert error.count("does not hold") == 2


def test_the_report_is_written_whole(tmp_path: Path) -> None:
    assert main([str(run_file(tmp_path, TRAIN, GROWTH)), str(tmp_path / "out")]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "README.md",
        "measured.json",
        "scaling.png",
        "scaling.svg",
    }
    assert "a-name-that-nobody-needs" not in (tmp_path / "out" / "measured.json").read_text()
    first = (tmp_path / "out" / "scaling.svg").read_bytes()
    main([str(tmp_path / "run.json"), str(tmp_path / "out")])
    assert (tmp_path / "out" / "scaling.svg").read_bytes() == first


def test_throughput_is_told_beside_that_of_one_worker(tmp_path: Path) -> None:
    points = [{"name": "1 worker", "seconds": 30.0}, {"name": "2 workers", "seconds": 16.0}]
    entry = {"kind": "throughput", "jobs": 16, "epochs": 30, "points": points}
    page = render(read(run_file(tmp_path, TRAIN, entry)))
    line = next(line for line in page.splitlines() if line.startswith("| 2 workers"))
    assert [cell.strip() for cell in line.split("|")[2:4]] == ["16", "1.88×"]


def test_tiny_sizes_are_called_so_and_fail_nothing(tmp_path: Path) -> None:
    slow = TRAIN | {"contenders": [*TRAIN["contenders"][:3], contender("bfloat16", 300.0)]}
    slow["contenders"] = [contender(entry["name"], entry["seconds"][0]) for entry in slow["contenders"]]
    path = run_file(tmp_path, slow, quick=True)
    assert main([str(path), str(tmp_path / "out")]) == 0
    assert "say nothing about speed" in render(read(path))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"benchmarks": []}'])
def test_what_is_no_run_is_refused(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"run\.json"):
        read(path)
    assert main([str(path), str(tmp_path / "out")]) == 2
    assert "tox -e speed" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_generated_data_have_exactly_the_size_asked_for() -> None:
    for shape in (FULL.target, Shape(users=3, items=2, interactions=15, shortest=5)):
        found = generated.sequences(shape)
        assert (len(found), len(found.items), int(found.lengths.min())) == (
            shape.users,
            shape.interactions,
            shape.shortest,
        )
        assert int(found.items.max()) < shape.items
    lengths = generated.sequences(FULL.target).lengths
    assert np.percentile(lengths, [25, 50, 75]).tolist() == [5, 6, 8]
