"""A leaderboard as one web page: a single file that asks nothing of any other address.

It can be read without its script, which only sorts and filters what is there. The numbers are inside it once more, as
``leaderboard.json`` has them, in ``<script type="application/json" id="board">``. A content security policy allows
that one script, known by its hash, and no request at all.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from benchmark.errors import InputError
from benchmark.metrics import METRICS, PRIMARY
from benchmark.report import wording
from benchmark.report.export import render_json
from benchmark.report.figures.write import Made
from benchmark.report.printed import SOURCE
from benchmark.report.tables import LEVEL, REFERENCE, Cell, Leaderboard, Row, Table

_STARS = {
    "*": f"Above every paper baseline in {PRIMARY}, but not above every control (p < {LEVEL} after Holm).",
    "**": f"Above every paper baseline and every control in {PRIMARY} (p < {LEVEL} after Holm).",
}


def render_page(board: Leaderboard, figures: Sequence[Made], folder: Path) -> str:
    """The page of a leaderboard, with its figures inside, whose files are in ``folder``; raises InputError for a figure
    that can't be read."""
    environment = Environment(
        loader=PackageLoader("benchmark.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    rows = [row for table in board.tables for row in table.rows]
    has_trials = any(row.trials is not None for row in rows)
    script = environment.get_template("page.js").render(has_trials=has_trials)
    return environment.get_template("page.html").render(
        board=board,
        data=htmlsafe_json_dumps(json.loads(render_json(board)), separators=(",", ":")),
        style=Markup(environment.get_template("page.css").render()),
        script=Markup(script),
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        figures=[_inlined(figure, folder) for figure in figures],
        protocols=[wording.protocol(track) for track in dict.fromkeys(table.track for table in board.tables)],
        has_printed=any(cell.printed is not None for row in rows for cell in row.cells.values()),
        has_versus=any(row.versus for row in rows),
        has_claims=any(row.claim for row in rows),
        has_trials=has_trials,
        has_tied=any(table.tied for table in board.tables),
        metrics=METRICS,
        primary=PRIMARY,
        reference=REFERENCE,
        level=LEVEL,
        source=SOURCE,
        kinds=wording.KINDS,
        star_words=_STARS,
        wording=wording,
        marks=lambda table: {metric: wording.marks(table.rows, metric) for metric in METRICS},
        title=_title,
        groups=_groups,
        letter=_letter,
        whisker=_whisker,
        millions=_millions,
        whole=_whole,
        epochs=_epochs,
        gains=_gains,
        shared=lambda count: "not checkable" if count is None else f"{count:,}",
    )


def _inlined(figure: Made, folder: Path) -> dict[str, Any]:
    # As an image its text is no part of the page: it runs nothing, asks for nothing, and its ids are its own.
    try:
        content = (folder / figure.svg).read_bytes()
    except OSError as error:
        raise InputError(f"{folder / figure.svg}: the figure can't be read ({error.strerror}); draw it anew") from error
    address = f"data:image/svg+xml;base64,{base64.b64encode(content).decode()}"
    return asdict(figure.words) | {"address": address}


def _title(table: Table) -> str:
    title = table.about.title if table.about else table.target
    return wording.titled(title, table.track)


def _letter(place: int) -> str:
    """A, B, ... Z, then A2 and so on."""
    turn, rest = divmod(place, len(ascii_uppercase))
    return ascii_uppercase[rest] + (str(turn + 1) if turn else "")


def _groups(table: Table) -> dict[str, list[str]]:
    """For each row, by label, the letters of the groups it is tied in."""
    letters: dict[str, list[str]] = {}
    for place, group in enumerate(table.tied):
        for label in group:
            letters.setdefault(label, []).append(_letter(place))
    return letters


def _whisker(table: Table, metric: str, cell: Cell) -> Markup:
    """The interval as a bar and the mean as a tick, on a scale that all rows of the table share."""
    cells = [row.cells[metric] for row in table.rows]
    start = min(min(one.mean, one.low if one.low is not None else one.mean) for one in cells)
    end = max(max(one.mean, one.high if one.high is not None else one.mean) for one in cells)

    def share(value: float | None) -> float:
        return 100 * ((cell.mean if value is None else value) - start) / (end - start) if end > start else 50.0

    left, middle, right = share(cell.low), share(cell.mean), share(cell.high)
    return Markup('<i style="left:{:.1f}%;width:{:.1f}%"></i><b style="left:{:.1f}%"></b>').format(
        left, right - left, middle
    )


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f} M" if count >= 100_000 else f"{count:,}"


def _whole(count: int | None) -> str:
    return wording.NOTHING if count is None else f"{count:,}"


def _epochs(row: Row) -> str:
    if row.epochs is None:
        return wording.NOTHING
    return f"{row.epochs:.1f} / {wording.NOTHING if row.best_epoch is None else f'{row.best_epoch:.1f}'}"


def _gains(table: Table) -> str:
    return ", ".join(f"{metric} {gain:+.1%}" for metric, gain in table.improvement.items() if gain is not None)
