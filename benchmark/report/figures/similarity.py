"""How alike item vectors are, before and after the adaptor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from benchmark.report.figures import style
from benchmark.report.figures.saving import Words


@dataclass(frozen=True, kw_only=True)
class Histogram:
    label: str
    counts: tuple[int, ...]
    """Pairs of items in each bin; at least one."""


@dataclass(frozen=True, kw_only=True)
class Similarity:
    title: str
    edges: tuple[float, ...]
    """Of the bins, one more than there are: cosines in [-1, 1]."""
    histograms: tuple[Histogram, ...]

    def mean(self, one: Histogram) -> float:
        """Mean cosine, each pair taken as the middle of its bin."""
        middles = (np.array(self.edges[1:]) + np.array(self.edges[:-1])) / 2
        return float(np.average(middles, weights=one.counts))


@style.styled
def draw(data: Similarity) -> Figure:
    """Outlines of the histograms, each of area 1, and their means as upright lines."""
    figure = style.figure(3.2)
    figure.suptitle(style.shortened(data.title, 60), fontweight="bold")
    panel = figure.subplots()
    widths = np.diff(data.edges)
    for place, one in enumerate(data.histograms):
        mark, counts = style.series(place), np.array(one.counts, float)
        panel.stairs(
            counts / counts.sum() / widths,
            data.edges,
            color=mark.colour,
            linestyle=mark.line,
            linewidth=1.6,
            label=f"{style.shortened(one.label)}, mean {data.mean(one):.2f}",
        )
        panel.axvline(data.mean(one), color=mark.colour, linestyle=mark.line, linewidth=0.8)
    panel.set_xlabel("cosine similarity of two items")
    panel.set_ylabel("density")
    panel.set_ylim(bottom=0)
    used = np.flatnonzero(np.sum([one.counts for one in data.histograms], axis=0))
    panel.set_xlim(data.edges[used[0]], data.edges[used[-1] + 1])
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def words(data: Similarity) -> Words:
    said = [f"{one.label}, mean {data.mean(one):.2f}" for one in data.histograms]
    return Words(
        title=f"Similarity of items, {data.title}",
        caption="Distribution of the cosine similarity of pairs of items, each of area 1; upright lines are the means.",
        alt=f"Cosine similarity of item pairs on {data.title}: {'; '.join(said)}.",
    )
