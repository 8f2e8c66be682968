"""The leaderboard of a suite: written for reading and for programs, or shown on a terminal.

All of it is a function of the stored runs alone, without clock or path: the same runs give the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from benchmark.files import write_text
from benchmark.metrics import METRICS, PRIMARY
from benchmark.report import cases, wording
from benchmark.report.build import build
from benchmark.report.export import render_csv, render_json
from benchmark.report.figures.write import write_figures
from benchmark.report.groups import render_slices
from benchmark.report.latex import render_tables
from benchmark.report.markdown import render_markdown
from benchmark.report.page import render_page
from benchmark.report.stored import stored
from benchmark.report.tables import Leaderboard, Row


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was written."""

    board: Leaderboard
    path: Path
    """Of the page to read first."""


def write_report(suite: str, results: Path, out: Path) -> Report:
    """Write all renderings of a suite's leaderboard to ``out/<suite>``; raises as `stored` does, before anything is
    written.

    ``README.md`` is the one to read first; ``index.html`` says the same as a page; ``leaderboard.json``,
    ``leaderboard.csv`` and ``tables/`` are for programs and for LaTeX; ``figures/`` are drawn where the suite allows.
    """
    parts = stored(suite, results)
    board = build(suite, parts)
    folder = out / suite
    diagnosed = [cases.diagnosed(part) for part in parts]
    alike = [cases.similarity(part, rows) for part, rows in zip(parts, diagnosed, strict=True)]
    studies = [cases.study(part, rows) for part, rows in zip(parts, diagnosed, strict=True)]
    figures = write_figures(parts, board, alike, folder)
    rendered = {
        "leaderboard.json": render_json(board),
        "leaderboard.csv": render_csv(board),
        **render_tables(board),
        "tables/slices.csv": render_slices(suite, parts),
        "index.html": render_page(board, figures, folder),
        "README.md": render_markdown(board, figures, studies),
    }
    for name, text in rendered.items():
        write_text(folder / name, text)
    return Report(board=board, path=folder / "README.md")


def render_terminal(board: Leaderboard) -> str:
    """Quality and time of each target, as aligned text."""
    parts = []
    for table in board.tables:
        title = table.about.title if table.about else table.target
        parts.append(f"{wording.titled(title, table.track)} ({table.target}): {wording.size(table)}")
        lines = [
            [
                row.label,
                *(_value(row, metric) for metric in METRICS),
                wording.interval(row.versus),
                wording.runs(row),
                wording.seconds(row.wall_seconds),
            ]
            for row in table.rows
        ]
        if lines:
            headers = ["method", *METRICS, wording.VERSUS, "seeds", "s / seed"]
            parts.append(tabulate(lines, headers, tablefmt="simple", disable_numparse=True))
        if claims := wording.claims(table):
            parts.append("\n".join(claims))
        if less := wording.under_tuned(table):
            parts.append("Under-tuned:\n" + "\n".join(f"  {line}" for line in less))
        if missing := wording.gaps(table):
            parts.append("Without a result:\n" + "\n".join(f"  {line}" for line in missing))
    return "\n\n".join(parts)


def _value(row: Row, metric: str) -> str:
    star = wording.star(row) if metric == PRIMARY else ""
    return wording.mean(row.cells[metric]) + star + wording.spread(row.cells[metric])
