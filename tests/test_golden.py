"""The committed reports are what the committed results give, byte for byte; their figures to the eye."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.report.leaderboard import write_report

ROOT = Path(__file__).parents[1]
SUITES = sorted(path.parent.name for path in (ROOT / "reports").glob("*/leaderboard.json"))
DRAWN = (".svg", ".png")
DIFFERENT = 0.02
"""Mean difference of two drawings, of 1: another version of what draws fonts moves edges by a fraction of a pixel."""


@pytest.fixture(scope="module", params=SUITES)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of a report as committed, and as written now."""
    out = tmp_path_factory.mktemp("reports")
    write_report(request.param, ROOT / "results", out)
    return ROOT / "reports" / request.param, out / request.param


def files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def text(path: Path) -> bytes:
    """A page without the drawings inside it."""
    return re.sub(rb"data:image/[a-z+]+;base64,[A-Za-z0-9+/=]+", b"drawing", path.read_bytes())


def test_there_are_reports() -> None:
    assert {"lite", "pretraining"} <= set(SUITES)


def test_the_committed_report_is_written_again(both: tuple[Path, Path]) -> None:
    committed, written = both
    assert files(committed) == files(written)
    differing = [
        str(name)
        for name in sorted(files(written))
        if name.suffix not in DRAWN and text(committed / name) != text(written / name)
    ]
    assert not differing, f"write {committed.name}'s report again: transrec report {committed.name}"


def test_the_committed_figures_are_drawn_again(both: tuple[Path, Path]) -> None:
    committed, written = both
    for name in sorted(name for name in files(written) if name.suffix == ".png"):
        pixels = [
            np.asarray(Image.open(io.BytesIO((folder / name).read_bytes())).convert("L").resize((400, 300)), float)
            / 255
            for folder in (committed, written)
        ]
        assert np.abs(pixels[0] - pixels[1]).mean() < DIFFERENT, name
