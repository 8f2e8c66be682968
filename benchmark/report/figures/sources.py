"""Which sources pre-training pays from: none, each alone, several, all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from benchmark.report.figures import style
from benchmark.report.figures.dots import dots, scale
from benchmark.report.figures.saving import Words
from benchmark.report.figures.values import (
    SHOWN,
    Estimate,
    Line,
    beside,
    configuration,
    lines_of,
    mean,
    scratch_of,
    title_of,
)
from benchmark.report.stored import Stored

_NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Sourced:
    """One method after pre-training on different sources."""

    method: str
    sources: tuple[str, ...]
    """Labels: ``none``, one source, several joined by a plus, ``all 5``."""
    values: tuple[tuple[Estimate, ...], ...]
    """By metric, then by sources. Where none is there, it has no interval, and the others that of the difference to
    it."""


@dataclass(frozen=True, kw_only=True)
class Sources:
    title: str
    metrics: tuple[str, ...]
    methods: tuple[Sourced, ...]


def take(part: Stored) -> Sources | None:
    """Methods whose rows differ in the sources of their pre-training alone; None where there is none."""
    lines = lines_of(part)
    groups: dict[str, list[Line]] = {}
    for line in lines:
        pretraining = line.job.pretraining
        if pretraining is not None:
            alike = [line.method, line.setting, line.job.few_shot, line.job.encoder, pretraining.epochs]
            alike += configuration(line.job)
            groups.setdefault(json.dumps(alike, sort_keys=True), []).append(line)
    methods = tuple(_sourced(part, lines, group) for group in groups.values() if len(group) > 1)
    return Sources(title=title_of(part), metrics=SHOWN, methods=methods) if methods else None


def _sourced(part: Stored, lines: tuple[Line, ...], group: Sequence[Line]) -> Sourced:
    ordered = sorted(group, key=lambda line: len(_of(line)))  # those of one size keep the plan's order
    every = set().union(*(_of(line) for line in ordered))
    names = [
        f"all {len(every)}" if len(every) > 1 and set(_of(line)) == every else " + ".join(_of(line)) for line in ordered
    ]
    scratch = scratch_of(lines, group[0]) if group[0].setting == "full" else None
    values = []
    for metric in SHOWN:
        found = [beside(part, line, scratch, metric) for line in ordered]
        if scratch is not None:
            found.insert(0, Estimate(value=mean(part, scratch, metric).value, low=None, high=None))
        values.append(tuple(found))
    return Sourced(
        method=group[0].method if group[0].setting == "full" else f"{group[0].method} ({group[0].setting})",
        sources=(*([_NONE] if scratch else []), *names),
        values=tuple(values),
    )


def _of(line: Line) -> tuple[str, ...]:
    return line.job.pretraining.sources if line.job.pretraining else ()


@style.styled
def draw(data: Sources) -> Figure:
    """A column a metric, a row of panels a method; a dotted line where pre-training on nothing stands."""
    heights = [len(method.sources) + 1.0 for method in data.methods]
    figure = style.figure(0.5 + 0.22 * sum(heights) + 0.45 * len(heights))
    figure.suptitle(style.shortened(data.title, 60), fontweight="bold")
    panels = figure.subplots(
        len(heights), len(data.metrics), sharex="col", sharey="row", squeeze=False, height_ratios=heights
    )
    for place, (across, method) in enumerate(zip(panels, data.methods, strict=True)):
        rows = range(len(method.sources))
        for number, panel in enumerate(across):
            found = method.values[number]
            dots(panel, rows, found, [style.series(place)] * len(rows))
            scale(panel, 3)
            if method.sources[0] == _NONE:
                panel.axvline(found[0].value, color=style.GREY, linestyle=":", linewidth=1.2, zorder=1)
            panel.set_title(f"{style.shortened(method.method, 26)}\n{data.metrics[number]}")
        across[0].set_yticks(rows, [style.shortened(name, 30) for name in method.sources])
        across[0].set_ylim(len(rows) - 0.4, -0.6)
    return figure


def words(data: Sources) -> Words:
    said = []
    for method in data.methods:
        pairs = zip(method.sources, method.values[0], strict=True)
        said.append(f"{method.method}: {', '.join(f'{name} {one.value:.4f}' for name, one in pairs)}")
    return Words(
        title=f"Sources of pre-training, on {data.title}",
        caption=f"{style.in_words(data.metrics)} by the sources of pre-training. The dotted line is the same method "
        "trained on the target alone; the others have the 95 % interval of their paired difference to it, so one "
        "that crosses the line may be chance. Without that row, intervals are of the mean.",
        alt=f"{data.metrics[0]} on {data.title} by sources of pre-training. {'; '.join(said)}.",
    )
