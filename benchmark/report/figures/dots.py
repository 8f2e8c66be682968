"""Rows as points on a common scale, one below the other, with their numbers at the right."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from benchmark.report.figures import style
from benchmark.report.figures.values import Estimate


def dots(panel: Axes, places: Sequence[float], found: Sequence[Estimate], marks: Sequence[style.Mark]) -> None:
    """A point with its interval at each place, and its value in numbers, the highest in bold."""
    best = max(one.value for one in found)
    for place, one, mark in zip(places, found, marks, strict=True):
        below, above = one.reach
        panel.errorbar(
            one.value, place, xerr=[[below], [above]], color=mark.colour, marker=mark.marker, linestyle="", zorder=3
        )
        panel.annotate(
            f"{one.value:.4f}",
            (1.02, place),
            xycoords=("axes fraction", "data"),
            va="center",
            fontweight="bold" if one.value == best else "normal",
        )


def scale(panel: Axes, steps: int) -> None:
    """At most so many steps between the numbers below, light lines upwards, no ticks at the names."""
    panel.xaxis.set_major_locator(MaxNLocator(steps))
    panel.grid(axis="x")
    panel.tick_params(axis="y", length=0)
