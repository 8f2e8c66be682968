"""How validation quality grew while each row was trained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter

from benchmark.metrics import PRIMARY
from benchmark.report.figures import style
from benchmark.report.figures.saving import Words
from benchmark.report.figures.values import lines_of, title_of
from benchmark.report.stored import Stored
from benchmark.report.tables import REFERENCE

_COLUMNS = 3


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One seed: the metric after each epoch, and the epoch that was kept."""

    epochs: tuple[int, ...]
    values: tuple[float, ...]
    best: int | None


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A row with one curve a seed."""

    label: str
    seeds: tuple[Curve, ...]

    @property
    def mean(self) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """Epochs that all seeds reached, and the mean over seeds: later ones would be a mean of the longest runs."""
        common = sorted(set.intersection(*(set(curve.epochs) for curve in self.seeds)))
        lookup = [dict(zip(curve.epochs, curve.values, strict=True)) for curve in self.seeds]
        return tuple(common), tuple(float(np.mean([values[epoch] for values in lookup])) for epoch in common)

    @property
    def best(self) -> tuple[tuple[int, float], ...]:
        """Epoch and value that each seed kept."""
        found = []
        for curve in self.seeds:
            values = dict(zip(curve.epochs, curve.values, strict=True))
            if curve.best in values:
                found.append((curve.best, values[curve.best]))
        return tuple(found)


@dataclass(frozen=True, kw_only=True)
class Curves:
    title: str
    rows: tuple[Trained, ...]
    reference: Trained | None
    """Drawn behind each row."""


def take(part: Stored) -> Curves | None:
    """All rows that were trained in epochs, in the order of the plan; None where there is none."""
    rows = []
    for line in lines_of(part):
        records = [outcome.record for outcome in line.group if outcome.record.learning_curve]
        seeds = tuple(
            Curve(
                epochs=tuple(point.epoch for point in record.learning_curve),
                values=tuple(point.valid for point in record.learning_curve),
                best=record.best_epoch,
            )
            for record in records
        )
        if seeds:
            rows.append(Trained(label=line.label, seeds=seeds))
    reference = next((row for row in rows if row.label == REFERENCE), None)
    return Curves(title=title_of(part), rows=tuple(rows), reference=reference) if rows else None


@style.styled
def draw(data: Curves) -> Figure:
    """A small panel a row, all with the same axes; epochs are logarithmic, so that short runs are read too."""
    columns = min(_COLUMNS, len(data.rows))
    lines = -(-len(data.rows) // columns)
    titles = [style.wrapped(row.label, 26) for row in data.rows]
    figure = style.figure(1.1 + (1.3 + 0.14 * max(title.count("\n") for title in titles)) * lines)
    figure.suptitle(style.shortened(data.title, 60), fontweight="bold")
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for panel, row, title in zip(panels.flat, data.rows, titles, strict=False):
        _panel(panel, row, data.reference)
        panel.set_title(title)
    for panel in panels.flat[len(data.rows) :]:
        panel.set_visible(False)
    for column in range(columns):  # the lowest visible panel of each column carries the numbers
        lowest = panels[(len(data.rows) - 1 - column) // columns, column]
        lowest.tick_params(axis="x", labelbottom=True)
        lowest.set_xlabel("epoch")
    last = max(curve.epochs[-1] for row in data.rows for curve in row.seeds)
    first = panels[0, 0]
    first.set_xscale("log")
    first.set_xlim(0.9, last * 1.15)
    first.xaxis.set_major_locator(
        FixedLocator([tick for tick in (1, 3, 10, 30, 100, 300, 1000) if tick <= last * 1.15])
    )
    first.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    first.xaxis.set_minor_formatter(NullFormatter())
    first.yaxis.set_major_locator(MaxNLocator(3))
    figure.supylabel(f"{PRIMARY} on validation", fontsize=style.SMALL)
    figure.legend(handles=_legend(data), loc="outside lower center", ncols=4)
    return figure


def _panel(panel: Axes, row: Trained, reference: Trained | None) -> None:
    if reference is not None and reference is not row:
        panel.plot(*reference.mean, color=style.BLACK, linestyle=":", linewidth=1)
    if len(row.seeds) > 1:
        for curve in row.seeds:
            panel.plot(curve.epochs, curve.values, color=style.SKY, linewidth=0.7)
    panel.plot(*row.mean, color=style.BLUE)
    if row.best:
        epochs, values = zip(*row.best, strict=True)
        panel.plot(epochs, values, color=style.VERMILION, marker="o", markersize=4, linestyle="", zorder=3)
    panel.grid()


def _legend(data: Curves) -> list[Line2D]:
    handles = [Line2D([], [], color=style.BLUE, label="mean over seeds")]
    if any(len(row.seeds) > 1 for row in data.rows):
        handles.append(Line2D([], [], color=style.SKY, linewidth=0.7, label="a seed"))
    handles.append(Line2D([], [], color=style.VERMILION, marker="o", markersize=4, linestyle="", label="kept"))
    if data.reference is not None and len(data.rows) > 1:
        handles.append(Line2D([], [], color=style.BLACK, linestyle=":", linewidth=1, label=data.reference.label))
    return handles


def words(data: Curves) -> Words:
    said = []
    for row in data.rows:
        if row.best:
            epoch, value = np.mean(row.best, axis=0)
            said.append(f"{row.label} {value:.4f} at epoch {epoch:.0f}")
    return Words(
        title=f"Learning curves on {data.title}",
        caption=f"{PRIMARY} on validation after each epoch: a thin line a seed, a thick one the mean over "
        "seeds as far as all of them were trained, a dot where a seed's weights were kept. Rows share their axes.",
        alt=f"Validation {PRIMARY} by epoch for {len(data.rows)} rows on {data.title}. Best, mean over seeds: "
        f"{', '.join(said)}.",
    )
