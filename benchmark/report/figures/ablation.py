"""What each part of a method contributes: variants less the full row, paired by user."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.report.figures import style
from benchmark.report.figures.dots import scale
from benchmark.report.figures.saving import Words
from benchmark.report.figures.values import (
    SHOWN,
    Estimate,
    Line,
    configuration,
    difference,
    lines_of,
    mean,
    scratch_of,
    short,
    title_of,
)
from benchmark.report.stored import Stored

_FEWEST = 2
"""Variants beside the full row: one alone is a comparison, not an ablation."""


@dataclass(frozen=True, kw_only=True)
class Ablated:
    """The variants of one method."""

    full: str
    values: tuple[float, ...]
    """Of the full row, by metric."""
    variants: tuple[str, ...]
    differences: tuple[tuple[Estimate, ...], ...]
    """Variant less full row, by metric, then by variant."""


@dataclass(frozen=True, kw_only=True)
class Ablation:
    title: str
    metrics: tuple[str, ...]
    methods: tuple[Ablated, ...]


def take(part: Stored) -> Ablation | None:
    """Methods with at least two variants that differ in configuration or control alone: not in setting, sources or
    length of pre-training. The first in the plan without a control is the full row. None where there is no such
    method."""
    lines = lines_of(part)
    groups: dict[str, list[Line]] = {}
    for line in lines:
        pretraining = line.job.pretraining
        alike = [line.method, line.setting, line.job.few_shot, line.job.sources, line.job.encoder]
        alike += [pretraining.sources, pretraining.epochs] if pretraining else []
        groups.setdefault(json.dumps(alike), []).append(line)
    methods = tuple(
        _ablated(part, lines, group)
        for group in groups.values()
        if len({json.dumps(configuration(line.job), sort_keys=True) for line in group}) > _FEWEST
        and any(line.job.control is None for line in group)
    )
    return Ablation(title=title_of(part), metrics=SHOWN, methods=methods) if methods else None


def _ablated(part: Stored, lines: tuple[Line, ...], group: Sequence[Line]) -> Ablated:
    full, *variants = sorted(group, key=lambda line: line.job.control is not None)
    names = [_unlike(variant, full) for variant in variants]
    scratch = scratch_of(lines, full)
    if scratch is not None:
        variants.append(scratch)
        names.append(scratch.variant or "no pre-training")
    return Ablated(
        full=full.method if full.setting == "full" else f"{full.method} ({full.setting})",
        values=tuple(mean(part, full, metric).value for metric in SHOWN),
        variants=tuple(names),
        differences=tuple(tuple(difference(part, variant, full, metric) for variant in variants) for metric in SHOWN),
    )


def _unlike(variant: Line, full: Line) -> str:
    """What a variant does otherwise: ``experts=1``; its whole name where it only leaves something out."""
    usual = set(full.variant.split(", "))
    return short(", ".join(text for text in variant.variant.split(", ") if text not in usual)) or variant.label


@style.styled
def draw(data: Ablation) -> Figure:
    """A column a metric, a row of panels a method; bars go from the full row."""
    rows = [[style.wrapped(name) for name in method.variants] for method in data.methods]
    places = [style.stacked(labels) for labels in rows]
    heights = [own[-1] + 2 for own in places]
    figure = style.figure(0.5 + 0.24 * sum(heights) + 0.5 * len(rows))
    figure.suptitle(style.shortened(data.title, 60), fontweight="bold")
    panels = figure.subplots(
        len(rows), len(data.metrics), sharex="col", sharey="row", squeeze=False, height_ratios=heights
    )
    for across, method, labels, own in zip(panels, data.methods, rows, places, strict=True):
        for number, panel in enumerate(across):
            _bars(panel, own, method.differences[number])
            panel.set_title(f"{data.metrics[number]}\n{style.shortened(method.full, 24)}: {method.values[number]:.4f}")
        across[0].set_yticks(own, labels)
        across[0].set_ylim(own[-1] + 0.7, own[0] - 0.7)
    for panel in panels[-1]:
        panel.set_xlabel("difference")
    return figure


def _bars(panel: Axes, places: Sequence[float], found: Sequence[Estimate]) -> None:
    better, worse = style.SERIES[0], style.SERIES[1]
    for place, one in zip(places, found, strict=True):
        mark = better if one.value > 0 else worse
        below, above = one.reach
        panel.barh(place, one.value, height=0.6, color="white", edgecolor=mark.colour, hatch=mark.hatch)
        panel.errorbar(one.value, place, xerr=[[below], [above]], color=style.BLACK, linestyle="", elinewidth=1)
        panel.annotate(
            f"{one.value:+.4f}".replace("-", "−"),
            (1.02, place),
            xycoords=("axes fraction", "data"),
            va="center",
            annotation_clip=False,
        )
    panel.axvline(0, color=style.BLACK, linewidth=1)
    scale(panel, 2)


def words(data: Ablation) -> Words:
    said = []
    for method in data.methods:
        pairs = zip(method.variants, method.differences[0], strict=True)
        said.append(f"{method.full}: {', '.join(f'{name} {one.value:+.4f}' for name, one in pairs)}")
    return Words(
        title=f"Variants, on {data.title}",
        caption=f"{style.in_words(data.metrics)} of each variant less the full row (its value above the panel), over "
        "users, each averaged over seeds, with the 95 % interval of the paired difference: one that reaches 0 may be "
        "chance.",
        alt=f"Difference of variants to the full row in {data.metrics[0]} on {data.title}. {'; '.join(said)}.",
    )
