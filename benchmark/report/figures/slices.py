"""A few rows by group of users: how many users, the relative gain over the reference, the absolute value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from benchmark.metrics import PRIMARY
from benchmark.report.figures import style
from benchmark.report.figures.saving import Words
from benchmark.report.figures.values import Line, lines_of, title_of
from benchmark.report.stored import Stored, is_reference, user_means
from benchmark.report.tables import REFERENCE
from benchmark.slices import Group, Interval, Slicing, by_group

METRIC = "Recall@10"
"""That of the paper's figure of the long tail."""
_OTHERS = 2
"""How many rows are shown beside the best pre-trained one: more lines can't be told apart."""
_HIGHEST = 3.0
"""Gains beyond are cut: a ratio to nearly nothing would flatten all others."""
_APART = 0.1
"""Between the points of a group, so that intervals don't hide each other; groups are 1 apart."""


@dataclass(frozen=True, kw_only=True)
class Sliced:
    title: str
    slicing: str
    metric: str
    reference: str
    users: tuple[int, ...]
    """Of each group, as what follows."""
    base: tuple[Group, ...]
    """The reference itself."""
    lines: tuple[tuple[str, tuple[Group, ...]], ...]
    """Label and groups of each row shown."""


def take(part: Stored, slicing: Slicing) -> Sliced | None:
    """The reference, the best pre-trained row and the best two others, by NDCG@10, without replicas.

    None where there is no reference, nothing beside it, or no knowledge of the users.
    """
    lines = lines_of(part)
    references = [line for line in lines if is_reference(line.job)]
    chosen = _chosen([line for line in lines if line not in references])
    if part.context is None or len(references) != 1 or not chosen:
        return None
    base, cluster = user_means(references[0].group, METRIC), part.context.cluster
    own = by_group(slicing, base, base, cluster)
    return Sliced(
        title=title_of(part),
        slicing=slicing.name,
        metric=METRIC,
        reference=REFERENCE,
        users=tuple(group.users for group in own),
        base=own,
        lines=tuple((line.label, by_group(slicing, user_means(line.group, METRIC), base, cluster)) for line in chosen),
    )


def _chosen(lines: list[Line]) -> list[Line]:
    ordered = sorted(
        (line for line in lines if line.role != "replica" and line.setting == "full" and line.job.control is None),
        key=lambda line: -float(user_means(line.group, PRIMARY).mean()),
    )
    pretrained = [line for line in ordered if line.job.pretraining][:1]
    return pretrained + [line for line in ordered if line not in pretrained][:_OTHERS]


@style.styled
def draw(data: Sliced) -> Figure:
    """Three panels, one above the other, over the same groups."""
    figure = style.figure(6.0)
    figure.suptitle(style.shortened(data.title, 60), fontweight="bold")
    count, gain, value = figure.subplots(3, 1, sharex=True, height_ratios=(1, 2, 2))
    places = np.arange(len(data.users))
    bars = count.bar(places, data.users, color=style.PALE, edgecolor=style.GREY, width=0.7, linewidth=0.7)
    count.bar_label(bars, [f"{users:,}" for users in data.users], padding=2, fontsize=style.SMALL)
    count.set_ylabel("users")
    count.margins(y=0.25)
    count.set_yticks([])  # the bars carry their numbers
    count.spines["left"].set_visible(False)
    gain.axhline(0, color=style.BLACK, linewidth=1.2)
    shown = [(data.reference, data.base, style.Mark(colour=style.BLACK, marker="x"))]
    shown += [(label, groups, style.series(place)) for place, (label, groups) in enumerate(data.lines)]
    for place, (label, groups, mark) in enumerate(shown):
        x = places + (place - (len(shown) - 1) / 2) * _APART
        if place:
            gains = [(group.gain, group.gain_interval) for group in groups]
            _points(gain, x, gains, mark, label)
        _points(value, x, [(group.mean, group.interval) for group in groups], mark, label)
    gain.set_ylabel(f"{data.metric},\nrelative to {data.reference}")
    gain.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    lowest, highest = gain.get_ylim()
    gain.set_ylim(max(lowest, -1.05), min(highest, _HIGHEST))
    value.set_ylabel(data.metric)
    value.set_ylim(bottom=-0.04 * value.get_ylim()[1])  # room for a point at 0
    value.set_xticks(places, [group.label for group in data.base])
    value.set_xlabel(data.slicing)
    for panel in (gain, value):
        panel.grid(axis="y")
    handles, labels = value.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def _points(
    panel: Axes,
    places: NDArray[np.floating],
    found: Sequence[tuple[float | None, Interval | None]],
    mark: style.Mark,
    label: str,
) -> None:
    """A line through the values that have an interval; those without are hollow and stand alone."""
    known = [(x, y, span) for x, (y, span) in zip(places, found, strict=True) if y is not None and span]
    panel.errorbar(
        [x for x, _, _ in known],
        [y for _, y, _ in known],
        yerr=[[y - span.low for _, y, span in known], [span.high - y for _, y, span in known]],
        color=mark.colour,
        marker=mark.marker,
        linestyle=mark.line,
        linewidth=1.1,
        elinewidth=1.1,
        label=style.shortened(label),
        zorder=3,
    )
    alone = [(x, y) for x, (y, span) in zip(places, found, strict=True) if y is not None and span is None]
    if alone:
        x, y = zip(*alone, strict=True)
        panel.plot(x, y, color=mark.colour, marker=mark.marker, markerfacecolor="white", linestyle="")


def words(data: Sliced) -> Words:
    said = []
    for label, groups in data.lines:
        gains = [f"{group.label} {group.gain:+.0%}" for group in groups if group.gain is not None]
        said.append(f"{label}: {', '.join(gains)}")
    return Words(
        title=f"{data.title}: by {data.slicing}",
        caption=f"Above, the users of each group; in the middle the gain in {data.metric} relative to {data.reference} "
        f"(cut at {_HIGHEST:.0%}), below {data.metric} itself, with 95 % intervals. Those of a gain are Fieller's: "
        "they hold the gains that a paired t test does not reject. A hollow point has none: its group has fewer than "
        f"two independent users, does not vary, or {data.reference} can't be told from 0 there. Shown are the best "
        f"pre-trained row and the best others, by {PRIMARY} over all users.",
        alt=f"{data.metric} relative to {data.reference} by {data.slicing} on {data.title}. {'; '.join(said)}.",
    )
