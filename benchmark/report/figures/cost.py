"""Quality against what a run costs, and which rows are not beaten in both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmark.hardware import Hardware, usual
from benchmark.metrics import PRIMARY
from benchmark.record import Role
from benchmark.report.figures import style
from benchmark.report.figures.placement import LED, place
from benchmark.report.figures.saving import Words
from benchmark.report.figures.values import lines_of, title_of
from benchmark.report.stored import Stored, user_means

_PANEL = 3.7
_MARGINS = {"left": 0.66, "right": 0.1, "bottom": 0.72, "top": 0.35}
"""Inches, of the panel's height and around it: labels are placed by its size, which must be known before drawing."""
_LINE = 0.155
"""Inches a line of the key takes."""
_LONG = 30
"""Letters from which on a label is too long to stand beside its point: then numbers do, and a key below."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    label: str
    role: Role
    seconds: float
    """Core seconds a run, its share of pre-training included."""
    quality: float


@dataclass(frozen=True, kw_only=True)
class Costs:
    title: str
    metric: str
    entries: tuple[Entry, ...]
    left_out: tuple[str, ...] = ()
    """Labels of rows that were trained on other hardware than most: times of two kinds belong on no common axis."""

    @property
    def front(self) -> tuple[Entry, ...]:
        """Rows that no other row equals or beats in both cost and quality, the cheapest first."""
        found: list[Entry] = []
        for entry in sorted(self.entries, key=lambda entry: (entry.seconds, -entry.quality)):
            if not found or entry.quality > found[-1].quality:
                found.append(entry)
        return tuple(found)


def shares_of(parts: Sequence[Stored]) -> Mapping[str, int]:
    """How many runs of a report share each pre-trained artefact, by its key."""
    return Counter(
        outcome.record.pretraining.key for part in parts for outcome in part.outcomes if outcome.record.pretraining
    )


def take(part: Stored, shares: Mapping[str, int]) -> Costs | None:
    """Mean cost and quality over the seeds of each row; None for fewer than two rows that cost anything."""
    entries, left_out = [], []
    common = usual(outcome.record for outcome in part.outcomes)
    for line in lines_of(part):
        if line.job.control:  # nobody would run it for its quality
            continue
        if any(Hardware.of(outcome.record) not in (common, None) for outcome in line.group):
            left_out.append(line.label)
            continue
        seconds = fmean(
            record.cost.core_seconds
            + (record.pretraining.core_seconds / shares[record.pretraining.key] if record.pretraining else 0.0)
            for record in (outcome.record for outcome in line.group)
        )
        quality = float(user_means(line.group, PRIMARY).mean())
        if seconds > 0:  # the axis is logarithmic
            entries.append(Entry(label=line.label, role=line.role, seconds=seconds, quality=quality))
    if len(entries) < 2:
        return None
    return Costs(title=title_of(part), metric=PRIMARY, entries=tuple(entries), left_out=tuple(left_out))


@style.styled
def draw(data: Costs) -> Figure:
    """A point a row; the front as a line of steps, its rows filled and in bold."""
    keyed = any(len(entry.label) > _LONG for entry in data.entries)
    key = _LINE * (len(data.entries) + 1) if keyed else 0.0
    height = _PANEL + _MARGINS["bottom"] + _MARGINS["top"] + key
    figure = style.figure(height, constrained=False)
    figure.suptitle(style.shortened(data.title, 60), fontweight="bold", y=1 - 0.06 / height, va="top")
    panel = figure.add_axes(
        (
            _MARGINS["left"] / style.WIDTH,
            (_MARGINS["bottom"] + key) / height,
            1 - (_MARGINS["left"] + _MARGINS["right"]) / style.WIDTH,
            _PANEL / height,
        )
    )
    front = data.front
    seconds = np.array([entry.seconds for entry in data.entries])
    quality = np.array([entry.quality for entry in data.entries])
    panel.set_xscale("log")
    panel.set_xlim(seconds.min() / 1.6, seconds.max() * 3)  # room for labels on the right, and below for one above
    room = max(np.ptp(quality), 1e-3)
    panel.set_ylim(quality.min() - 0.08 * room, quality.max() + 0.16 * room)
    panel.plot(*zip(*_steps(data, panel.get_xlim()[1]), strict=True), color=style.GREY, linewidth=1.1, zorder=1)
    for entry in data.entries:
        mark = style.ROLES[entry.role]
        panel.plot(
            entry.seconds,
            entry.quality,
            color=mark.colour,
            marker=mark.marker,
            linestyle="",
            markerfacecolor=mark.colour if entry in front else "white",
            markersize=6,
            zorder=3,
        )
    panel.xaxis.set_major_locator(LogLocator())
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set_xlabel("core seconds a run, its share of pre-training included")
    panel.set_ylabel(data.metric)
    panel.grid(which="major")
    ordered = sorted(data.entries, key=lambda entry: entry.seconds)
    _label(figure, panel, data, {entry: str(n + 1) if keyed else entry.label for n, entry in enumerate(ordered)})
    for number, entry in enumerate(ordered if keyed else ()):
        weight = "bold" if entry in front else "normal"
        left, top = _MARGINS["left"] / style.WIDTH, (key - _LINE * number) / height
        figure.text(left, top, str(number + 1), fontweight=weight, va="top", ha="right")
        figure.text(left + 0.02, top, style.shortened(entry.label, 66), fontweight=weight, va="top")
    roles = dict.fromkeys(entry.role for entry in data.entries)
    handles = [
        Line2D([], [], color=mark.colour, marker=mark.marker, linestyle="", label=style.ROLE_NAMES[role])
        for role, mark in style.ROLES.items()
        if role in roles
    ]
    handles.append(Line2D([], [], color=style.GREY, linewidth=1.1, label="not beaten in both (filled)"))
    figure.legend(handles=handles, loc="lower center", ncols=5, bbox_to_anchor=(0.5, key / height))
    return figure


def _steps(data: Costs, end: float) -> list[tuple[float, float]]:
    """The corners of the front, up to ``end`` seconds."""
    corners: list[tuple[float, float]] = []
    for entry in data.front:
        corners += [(entry.seconds, corners[-1][1])] if corners else []
        corners.append((entry.seconds, entry.quality))
    return [*corners, (end, corners[-1][1])]


def _label(figure: Figure, panel: Axes, data: Costs, names: Mapping[Entry, str]) -> None:
    """A name beside each point, in typographic points from it."""
    scale = 72 / figure.dpi
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]  # of Agg, which `style.figure` sets
    points = panel.transData.transform([(entry.seconds, entry.quality) for entry in data.entries]) * scale
    texts = [
        panel.text(
            0,
            0,
            style.wrapped(names[entry]),
            fontweight="bold" if entry in data.front else "normal",
            linespacing=1.0,
        )
        for entry in data.entries
    ]
    extents = [text.get_window_extent(renderer) for text in texts]
    sizes = np.array([(extent.width, extent.height) for extent in extents]) * scale
    frame = np.array(panel.bbox.extents) * scale
    corners = panel.transData.transform(_steps(data, panel.get_xlim()[1])) * scale
    lines = np.array([[*np.minimum(a, b) - 1, *np.maximum(a, b) + 1] for a, b in pairwise(corners)])
    for entry, point, box, text in zip(data.entries, points, place(points, sizes, frame, lines), texts, strict=True):
        text.remove()
        near = np.clip(point, box[:2], box[2:])
        if np.hypot(*(near - point)) > LED:
            panel.annotate(
                "",
                (entry.seconds, entry.quality),
                xytext=near - point,
                textcoords="offset points",
                arrowprops={"arrowstyle": "-", "color": style.GREY, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3},
            )
        panel.annotate(
            text.get_text(),
            (entry.seconds, entry.quality),
            xytext=box[:2] - point,
            textcoords="offset points",
            ha="left",
            va="bottom",
            linespacing=1.0,
            fontweight=text.get_fontweight(),
            zorder=4,
        )


def words(data: Costs) -> Words:
    front = [f"{entry.label} ({entry.quality:.4f} for {entry.seconds:,.4g} s)" for entry in data.front]
    named = style.in_words(data.left_out)
    left_out = f" Left out, since they were trained on other hardware: {named}." if data.left_out else ""
    return Words(
        title=f"Quality against cost on {data.title}",
        caption=f"{data.metric} against processor time of a run on this machine: training, selection and ranking, and "
        "the run's share of pre-training, which is made once for all runs of this report that use it. Mean over seeds. "
        f"The line joins the rows that no other beats in both.{left_out}",
        alt=f"{len(data.entries)} rows on {data.title} by core seconds and {data.metric}. Not beaten in both: "
        f"{style.in_words(front)}.",
    )
