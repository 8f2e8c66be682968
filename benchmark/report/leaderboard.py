"""The leaderboard of a suite: written for reading and for programs, or shown on a terminal.

All of it is a function of the stored runs alone, without clock or path: the same runs give the same bytes.
"""

from __future__ import annotations

from pathlib import Path

from tabulate import tabulate

from benchmark.files import write_text
from benchmark.metrics import METRICS, PRIMARY
from benchmark.report import wording
from benchmark.report.build import build
from benchmark.report.export import render_csv, render_json
from benchmark.report.markdown import render_markdown
from benchmark.report.tables import Leaderboard, Row


def write_report(suite: str, results: Path, out: Path) -> Path:
    """Build the leaderboard of a suite and write it; raises as `build` does, before anything is written."""
    return write_board(build(suite, results), out)


def write_board(board: Leaderboard, out: Path) -> Path:
    """Write ``README.md``, ``leaderboard.json`` and ``leaderboard.csv`` to ``out/<suite>``; returns the first."""
    folder = out / board.suite
    rendered = {
        "leaderboard.json": render_json(board),
        "leaderboard.csv": render_csv(board),
        "README.md": render_markdown(board),
    }
    for name, text in rendered.items():
        write_text(folder / name, text)
    return folder / "README.md"


def render_terminal(board: Leaderboard) -> str:
    """Quality and time of each target, as aligned text."""
    parts = []
    for table in board.tables:
        title = table.about.title if table.about else table.target
        parts.append(f"{title} ({table.target}): {wording.size(table)}")
        lines = [
            [
                row.label,
                *(_value(row, metric) for metric in METRICS),
                wording.interval(row.versus),
                len(row.seeds),
                wording.seconds(row.wall_seconds),
            ]
            for row in table.rows
        ]
        if lines:
            headers = ["method", *METRICS, wording.VERSUS, "seeds", "s / seed"]
            parts.append(tabulate(lines, headers, tablefmt="simple", disable_numparse=True))
        if claims := wording.claims(table):
            parts.append("\n".join(claims))
        if table.gaps:
            parts.append("Without a result:\n" + "\n".join(f"  {line}" for line in wording.gaps(table)))
    return "\n\n".join(parts)


def _value(row: Row, metric: str) -> str:
    star = wording.star(row) if metric == PRIMARY else ""
    return wording.mean(row.cells[metric]) + star + wording.spread(row.cells[metric])
