"""Quality after pre-training of different length, fine-tuned and zero-shot, beside training from scratch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from benchmark.report.figures import style
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


@dataclass(frozen=True, kw_only=True)
class Track:
    """Rows that differ in nothing but the length of their pre-training."""

    label: str
    zero_shot: bool
    epochs: tuple[int, ...]
    values: tuple[tuple[Estimate, ...], ...]
    """By metric, then by epochs; the interval is that of the difference to ``scratch`` where there is one."""
    scratch: tuple[str, tuple[float, ...]] | None
    """Label and values, by metric, of the same method without pre-training."""


@dataclass(frozen=True, kw_only=True)
class Lengths:
    title: str
    metrics: tuple[str, ...]
    tracks: tuple[Track, ...]


def take(part: Stored) -> Lengths | None:
    """Every method that was pre-trained for at least two lengths; None where there is none."""
    lines = lines_of(part)
    groups: dict[str, list[Line]] = {}
    for line in lines:
        if line.job.pretraining is not None:
            alike = [line.method, line.setting, line.job.few_shot, line.job.pretraining.sources]
            alike += configuration(line.job)
            groups.setdefault(json.dumps(alike, sort_keys=True), []).append(line)
    tracks = tuple(_track(part, lines, group) for group in groups.values() if len(group) > 1)
    return Lengths(title=title_of(part), metrics=SHOWN, tracks=tracks) if tracks else None


def _track(part: Stored, lines: tuple[Line, ...], group: Sequence[Line]) -> Track:
    epochs = {line: line.job.pretraining.epochs if line.job.pretraining else 0 for line in group}
    ordered = sorted(group, key=epochs.__getitem__)
    scratch = scratch_of(lines, group[0])
    variants = [line.variant.split(", ") for line in group]
    said = [text for text in variants[0] if all(text in variant for variant in variants)]
    freeze = ", ".join(text.rpartition(".")[2] for text in said)
    return Track(
        label=f"{group[0].method} ({freeze})" if freeze else group[0].method,
        zero_shot=group[0].setting == "zero-shot",
        epochs=tuple(epochs[line] for line in ordered),
        values=tuple(tuple(beside(part, line, scratch, metric) for line in ordered) for metric in SHOWN),
        scratch=(scratch.label, tuple(mean(part, scratch, metric).value for metric in SHOWN)) if scratch else None,
    )


@style.styled
def draw(data: Lengths) -> Figure:
    """A column a metric; fine-tuned rows above, zero-shot ones below, each with an axis of its own."""
    kinds = [kind for kind in (False, True) if any(track.zero_shot == kind for track in data.tracks)]
    figure = style.figure(1.1 + 2.1 * len(kinds) + 0.16 * len(data.tracks))
    figure.suptitle(style.shortened(data.title, 60), fontweight="bold")
    panels = figure.subplots(len(kinds), len(data.metrics), sharex=True, squeeze=False)
    for across, kind in zip(panels, kinds, strict=True):
        for place, (panel, metric) in enumerate(zip(across, data.metrics, strict=True)):
            _panel(panel, data, place, kind)
            panel.set_title(f"{metric}, {'zero-shot' if kind else 'fine-tuned'}")
    epochs = sorted({epoch for track in data.tracks for epoch in track.epochs})
    for panel in panels[-1]:
        panel.set_xticks(epochs)
        panel.set_xlabel("epochs of pre-training")
    seen = {label: handle for panel in panels[:, 0] for handle, label in _legend(panel)}
    figure.legend(list(seen.values()), list(seen), loc="outside lower center", ncols=2)
    return figure


def _panel(panel: Axes, data: Lengths, metric: int, zero_shot: bool) -> None:
    shown = [(place, track) for place, track in enumerate(data.tracks) if track.zero_shot == zero_shot]
    span = max(track.epochs[-1] for track in data.tracks)
    scratches = list(dict.fromkeys(track.scratch[0] for _, track in shown if track.scratch))
    for number, (place, track) in enumerate(shown):
        mark, found = style.series(place), track.values[metric]
        shift = (number - (len(shown) - 1) / 2) * 0.025 * span  # so that intervals don't hide each other
        panel.errorbar(
            [epoch + shift for epoch in track.epochs],
            [point.value for point in found],
            yerr=list(zip(*(point.reach for point in found), strict=True)),
            color=mark.colour,
            marker=mark.marker,
            linestyle=mark.line,
            elinewidth=1,
            label=style.shortened(track.label),
        )
        if track.scratch is not None and track.scratch[0] in scratches:
            label, values = track.scratch
            line = ("-", (0, (4, 2)), (0, (1, 1)))[scratches.index(label) % 3]
            scratches = [name if name != label else "" for name in scratches]  # once is enough
            panel.axhline(values[metric], color=style.GREY, linestyle=line, linewidth=1.2, zorder=1, label=label)
    panel.yaxis.set_major_locator(MaxNLocator(5))
    panel.grid(axis="y")


def _legend(panel: Axes) -> list[tuple[Any, str]]:
    """Rows first, then the lines of those from scratch."""
    found = list(zip(*panel.get_legend_handles_labels(), strict=True))
    return sorted(found, key=lambda pair: isinstance(pair[0], Line2D))


def words(data: Lengths) -> Words:
    said = []
    for track in data.tracks:
        values = [
            f"{point.value:.4f} after {epoch}" for epoch, point in zip(track.epochs, track.values[0], strict=True)
        ]
        scratch = f", from scratch {track.scratch[1][0]:.4f}" if track.scratch and not track.zero_shot else ""
        said.append(f"{track.label} {', '.join(values)}{scratch}")
    return Words(
        title=f"Length of pre-training, on {data.title}",
        caption=f"{style.in_words(data.metrics)} after pre-training for so many epochs, fine-tuned on the target "
        "above and zero-shot below. Grey lines are the same methods trained on the target alone; a fine-tuned row has "
        "the 95 % interval of its paired difference to its own grey line, so one that crosses this line may be chance. "
        "Zero-shot rows have the interval of their mean.",
        alt=f"{data.metrics[0]} on {data.title} by epochs of pre-training. {'; '.join(said)}.",
    )
