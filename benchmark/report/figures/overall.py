"""All rows of a target: quality with its interval, and the printed value where there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmark.metrics import PRIMARY
from benchmark.record import Role
from benchmark.report.figures import style
from benchmark.report.figures.dots import dots, scale
from benchmark.report.figures.saving import Words
from benchmark.report.figures.values import SHOWN, Estimate, short_label
from benchmark.report.printed import SOURCE
from benchmark.report.tables import REFERENCE, Table


@dataclass(frozen=True, kw_only=True)
class Entry:
    label: str
    role: Role
    values: Mapping[str, Estimate]
    """By metric, as `printed`."""
    printed: Mapping[str, float | None]


@dataclass(frozen=True, kw_only=True)
class Overall:
    title: str
    metrics: tuple[str, ...]
    entries: tuple[Entry, ...]
    """From top to bottom."""


def take(table: Table) -> Overall | None:
    """The rows of a table in its order; None where it has none."""
    if not table.rows:
        return None
    entries = tuple(
        Entry(
            label=short_label(row.method, row.setting, row.variant),
            role=row.role,
            values={
                metric: Estimate(value=cell.mean, low=cell.low, high=cell.high)
                for metric, cell in row.cells.items()
                if metric in SHOWN
            },
            printed={metric: cell.printed for metric, cell in row.cells.items() if metric in SHOWN},
        )
        for row in table.rows
    )
    return Overall(title=table.about.title if table.about else table.target, metrics=SHOWN, entries=entries)


@style.styled
def draw(data: Overall) -> Figure:
    """One panel a metric, side by side: a point with its interval a row, a bar where the paper's value lies."""
    labels = [style.wrapped(entry.label) for entry in data.entries]
    places = style.stacked(labels)
    figure = style.figure(1.2 + 0.22 * (places[-1] + 1))
    figure.suptitle(style.shortened(data.title, 60), fontweight="bold")
    panels = figure.subplots(1, len(data.metrics), sharey=True, squeeze=False)[0]
    for panel, metric in zip(panels, data.metrics, strict=True):
        _panel(panel, data, metric, places)
    panels[0].set_yticks(places, labels)
    panels[0].set_ylim(places[-1] + 0.8, places[0] - 0.8)
    figure.legend(handles=_legend(data), loc="outside lower center", ncols=5)
    return figure


def _panel(panel: Axes, data: Overall, metric: str, places: Sequence[float]) -> None:
    found = [entry.values[metric] for entry in data.entries]
    dots(panel, places, found, [style.ROLES[entry.role] for entry in data.entries])
    for number, (place, entry) in enumerate(zip(places, data.entries, strict=True)):
        printed = entry.printed.get(metric)
        if printed is not None:
            panel.plot(printed, place, color=style.BLACK, marker="|", markersize=13, markeredgewidth=1.6, zorder=2)
        if number and entry.role != data.entries[number - 1].role:
            panel.axhline((place + places[number - 1]) / 2, color=style.GREY, linewidth=0.6)
        if entry.label == REFERENCE:
            panel.axvline(found[number].value, color=style.GREY, linestyle=":", linewidth=1, zorder=1)
    panel.set_title(metric)
    scale(panel, 4)


def _legend(data: Overall) -> list[Line2D]:
    roles = dict.fromkeys(entry.role for entry in data.entries)
    handles = [
        Line2D([], [], color=mark.colour, marker=mark.marker, linestyle="", label=style.ROLE_NAMES[role])
        for role, mark in style.ROLES.items()
        if role in roles
    ]
    if any(value is not None for entry in data.entries for value in entry.printed.values()):
        handles.append(
            Line2D(
                [], [], color=style.BLACK, marker="|", markersize=9, markeredgewidth=1.6, linestyle="", label="printed"
            )
        )
    if any(entry.label == REFERENCE for entry in data.entries):
        handles.append(Line2D([], [], color=style.GREY, linestyle=":", linewidth=1, label=REFERENCE))
    return handles


def words(data: Overall) -> Words:
    ordered = sorted(data.entries, key=lambda entry: -entry.values[PRIMARY].value)
    first, last = ordered[0], ordered[-1]
    reference = [entry for entry in data.entries if entry.label == REFERENCE]
    beside = f" {REFERENCE} has {reference[0].values[PRIMARY].value:.4f}." if reference else ""
    return Words(
        title=f"Quality on {data.title}",
        caption=f"{style.in_words(data.metrics)} of every row: the mean over users, each averaged over seeds, with its "
        "95 % interval. Intervals of two rows are of the same users, so that overlapping ones may well differ. "
        f"Upright bars are the values printed in {SOURCE}, the dotted line is {REFERENCE}.",
        alt=f"Points with intervals for {len(data.entries)} rows on {data.title}. {PRIMARY} is highest for "
        f"{first.label} ({first.values[PRIMARY].value:.4f}) and lowest for {last.label} "
        f"({last.values[PRIMARY].value:.4f}).{beside}",
    )
