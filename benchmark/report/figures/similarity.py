"""How alike item vectors are, before and after the adaptor."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from benchmark.report.cases import Similarity
from benchmark.report.figures import style
from benchmark.report.figures.saving import Words


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
            label=f"{style.shortened(one.label)}, mean {one.mean:.2f}",
        )
        panel.axvline(one.mean, color=mark.colour, linestyle=mark.line, linewidth=0.8)
    panel.set_xlabel("cosine similarity of two items")
    panel.set_ylabel("density")
    panel.set_ylim(bottom=0)
    used = np.flatnonzero(np.sum([one.counts for one in data.histograms], axis=0))
    panel.set_xlim(data.edges[used[0]], data.edges[used[-1] + 1])
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def words(data: Similarity) -> Words:
    said = [f"{one.label}, mean {one.mean:.2f}" for one in data.histograms]
    return Words(
        title=f"Similarity of items, {data.title}",
        caption="Distribution of the cosine similarity of pairs of items, each of area 1; upright lines are the means.",
        alt=f"Cosine similarity of item pairs on {data.title}: {'; '.join(said)}.",
    )
