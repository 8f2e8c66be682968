"""How figures look: readable on a phone and in print, by the colour-blind and without colour."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from itertools import accumulate
from typing import Any, ParamSpec

from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmark.record import Role

WIDTH = 5.6
"""Inches: a column of text on paper, and the text is still read where a phone shows it at two thirds of that."""
SMALL, NORMAL = 8.0, 9.0
"""Points; nothing is set smaller."""

# Okabe & Ito, Color Universal Design (2008), without the yellow, which is too light for lines.
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
BLACK, GREY, PALE = "#000000", "#767676", "#D9D9D9"

_PARAMETERS: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same glyphs everywhere
    "font.size": SMALL,
    "axes.labelsize": SMALL,
    "axes.titlesize": SMALL,
    "figure.titlesize": NORMAL,
    "legend.fontsize": SMALL,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "text.parse_math": False,  # names come from outside: a dollar sign is a dollar sign
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "grid.color": PALE,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 5,
    "errorbar.capsize": 2,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.2,
    "savefig.facecolor": "white",
    "svg.hashsalt": "transrec-bench",  # otherwise the names inside an SVG are drawn at random
    "svg.fonttype": "path",
}

P = ParamSpec("P")


@dataclass(frozen=True, kw_only=True)
class Mark:
    """What tells a row, or a line, from others: colour, and what is left of it in grey."""

    colour: str
    marker: str
    line: str | tuple[int, tuple[float, ...]] = "-"
    hatch: str = ""


ROLES: dict[Role, Mark] = {
    "paper": Mark(colour=BLUE, marker="o"),
    "control": Mark(colour=ORANGE, marker="s"),
    "replica": Mark(colour=GREEN, marker="^"),
    "row": Mark(colour=PURPLE, marker="D"),
}
ROLE_NAMES: dict[Role, str] = {"paper": "paper's row", "control": "control", "replica": "replica", "row": "other"}
SERIES = (
    Mark(colour=BLUE, marker="o", hatch="////"),
    Mark(colour=VERMILION, marker="s", line="--", hatch="\\\\\\\\"),
    Mark(colour=GREEN, marker="^", line="-.", hatch="..."),
    Mark(colour=PURPLE, marker="D", line=":", hatch="xxx"),
    Mark(colour=ORANGE, marker="v", line=(0, (5, 1, 1, 1, 1, 1)), hatch="+++"),
    Mark(colour=SKY, marker="P", line=(0, (8, 2)), hatch="ooo"),
)


def series(place: int) -> Mark:
    """The mark of a line by its place; beyond the palette they come round again."""
    return SERIES[place % len(SERIES)]


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw in this style whatever the user's own settings are, and leave those as they were."""

    @wraps(draw)
    def inner(*arguments: P.args, **named: P.kwargs) -> Figure:
        with applied():
            return draw(*arguments, **named)

    return inner


def applied() -> Any:
    """A context in which matplotlib draws and saves in this style."""
    return style.context(["default", _PARAMETERS])


def figure(height: float, *, constrained: bool = True) -> Figure:
    """An empty figure of the common width; height in inches."""
    made = Figure(figsize=(WIDTH, height), layout="constrained" if constrained else None)
    FigureCanvasAgg(made)
    return made


def shortened(text: str, limit: int = 34) -> str:
    """On one line, and no longer than ``limit``: names come from outside."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def wrapped(label: str, across: int = 30) -> str:
    """A row's label on at most three lines of so many letters: the method, then setting and variant."""
    name, _, rest = label.partition(" (")
    lines: list[str] = []
    for piece in re.split(r"(?<=[,;]) ", f"({rest}") if rest else []:
        if lines and (len(lines) == 2 or len(lines[-1]) + 1 + len(piece) <= across):
            lines[-1] += f" {piece}"
        else:
            lines.append(piece)
    return "\n".join(shortened(line, across) for line in (name, *lines))


def stacked(labels: Sequence[str]) -> list[float]:
    """Where rows with labels of one or more lines stand, from 0 downwards, one line a row being 1 apart."""
    heights = [1 + 0.6 * label.count("\n") for label in labels]
    edges = [0.0, *accumulate(heights)]
    return [edge + height / 2 - 0.5 for edge, height in zip(edges, heights, strict=False)]


def in_words(names: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)
