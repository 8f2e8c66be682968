"""Quality by the share of the target's users that may be trained on."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from benchmark.report.figures import style
from benchmark.report.figures.saving import Words
from benchmark.report.figures.values import Estimate


@dataclass(frozen=True, kw_only=True)
class Shot:
    label: str
    shares: tuple[float, ...]
    """Of the users, above 0 and at most 1, ascending."""
    values: tuple[Estimate, ...]
    untrained: float | None = None
    """Its zero-shot value, where it has one."""


@dataclass(frozen=True, kw_only=True)
class FewShot:
    title: str
    metric: str
    lines: tuple[Shot, ...]


@style.styled
def draw(data: FewShot) -> Figure:
    """A line a row over a logarithmic share; a thin level line of its colour is its zero-shot value."""
    figure = style.figure(3.4 + 0.16 * len(data.lines) / 2)
    figure.suptitle(style.shortened(data.title, 60), fontweight="bold")
    panel = figure.subplots()
    panel.set_xscale("log")
    shares = sorted({share for line in data.lines for share in line.shares})
    for place, line in enumerate(data.lines):
        mark = style.series(place)
        apart = 1.03 ** (place - (len(data.lines) - 1) / 2)  # so that intervals don't hide each other
        panel.errorbar(
            [share * apart for share in line.shares],
            [value.value for value in line.values],
            yerr=list(zip(*(value.reach for value in line.values), strict=True)),
            color=mark.colour,
            marker=mark.marker,
            linestyle=mark.line,
            elinewidth=1,
            label=style.shortened(line.label),
        )
        if line.untrained is not None:
            panel.axhline(line.untrained, color=mark.colour, linestyle=mark.line, linewidth=0.8, zorder=1)
    panel.xaxis.set_major_locator(FixedLocator(shares))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set_xlabel("users trained on")
    panel.set_ylabel(data.metric)
    panel.grid(axis="y")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def words(data: FewShot) -> Words:
    said = []
    for line in data.lines:
        pairs = zip(line.shares, line.values, strict=True)
        said.append(f"{line.label}: {', '.join(f'{value.value:.4f} at {share:.3g}' for share, value in pairs)}")
    return Words(
        title=f"Few users to train on, {data.title}",
        caption=f"{data.metric} by the share of users that was trained on, with the 95 % interval over users, each "
        "averaged over seeds. Thin level lines are the same rows zero-shot.",
        alt=f"{data.metric} on {data.title} by share of users. {'; '.join(said)}.",
    )
