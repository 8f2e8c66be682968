"""Mean ranks across targets, and which of them are too close to be told apart."""

from __future__ import annotations

import math
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.metrics import PRIMARY
from benchmark.multiple import critical_difference, mean_ranks, no_ranking
from benchmark.report.figures import style
from benchmark.report.figures.saving import Words
from benchmark.report.tables import Leaderboard

_LINE = 0.19
"""Inches a method's label takes."""


@dataclass(frozen=True, kw_only=True)
class Ranking:
    labels: tuple[str, ...]
    """Best first."""
    ranks: tuple[float, ...]
    """Mean over targets, 1 the best."""
    difference: float
    """Critical: mean ranks less far apart than that can't be told apart."""
    targets: int
    metric: str

    @property
    def groups(self) -> tuple[tuple[int, int], ...]:
        """First and last place of each run of methods that lie within the critical difference, as long as it can be."""
        found: list[tuple[int, int]] = []
        for first, rank in enumerate(self.ranks):
            last = max(place for place, other in enumerate(self.ranks) if other - rank < self.difference)
            if last > first and (not found or last > found[-1][1]):
                found.append((first, last))
        return tuple(found)


def take(board: Leaderboard) -> Ranking | None:
    """Rows that have a result on every target with one, replicas left out; None where `absent` says why."""
    scores, labels = _compared(board)
    if absent(board) is not None:
        return None
    ranks = mean_ranks([[score[label] for label in labels] for score in scores])
    ordered = sorted(zip(ranks.tolist(), labels, strict=True), key=lambda pair: pair[0])
    return Ranking(
        labels=tuple(label for _, label in ordered),
        ranks=tuple(rank for rank, _ in ordered),
        difference=critical_difference(len(labels), len(scores)),
        targets=len(scores),
        metric=PRIMARY,
    )


def absent(board: Leaderboard) -> str | None:
    """Why there are no mean ranks across the targets of a leaderboard; None where there are."""
    scores, labels = _compared(board)
    return no_ranking(len(labels), len(scores))


def _compared(board: Leaderboard) -> tuple[list[dict[str, float]], list[str]]:
    """By target the primary metric of its rows, replicas left out, and the rows that all targets have. A target under
    several tracks is one target: its first track counts."""
    first = {table.target: table for table in reversed(board.tables) if table.rows}
    tables = [table for table in board.tables if first.get(table.target) is table]
    scores = [{row.label: row.cells[PRIMARY].mean for row in table.rows if row.role != "replica"} for table in tables]
    return scores, [label for label in (scores[0] if scores else {}) if all(label in score for score in scores)]


@style.styled
def draw(data: Ranking) -> Figure:
    """Ranks on a line, the best at the left; names hang from it, and a thick bar joins those not told apart."""
    count = len(data.labels)
    left = -(-count // 2)
    bars = 0.13 * len(data.groups)
    height = 0.75 + bars + _LINE * left
    figure = style.figure(height, constrained=False)
    panel = figure.add_axes((0.24, 0, 0.52, 1))
    panel.set_axis_off()
    lowest, highest = math.floor(data.ranks[0]), math.ceil(data.ranks[-1])
    panel.set_xlim(lowest, max(highest, lowest + 1))
    panel.set_ylim(-height + 0.62, 0.62)  # in inches, so that nothing depends on how many methods there are
    panel.plot(panel.get_xlim(), (0, 0), color=style.BLACK, linewidth=1, clip_on=False)
    for tick in range(lowest, int(panel.get_xlim()[1]) + 1):
        panel.plot((tick, tick), (0, 0.06), color=style.BLACK, linewidth=1, clip_on=False)
        panel.text(tick, 0.08, str(tick), ha="center", va="bottom")
    _ruler(panel, lowest, data.difference)
    for place, (label, rank) in enumerate(zip(data.labels, data.ranks, strict=True)):
        near = place < left
        depth = -(bars + 0.12 + _LINE * (place if near else count - 1 - place))
        edge = panel.get_xlim()[0 if near else 1]
        panel.plot((rank, rank, edge), (0, depth, depth), color=style.GREY, linewidth=0.8, clip_on=False)
        panel.annotate(
            f"{style.shortened(label, 22)}  {rank:.2f}" if near else f"{rank:.2f}  {style.shortened(label, 22)}",
            (edge, depth),
            xytext=(-4 if near else 4, 0),
            textcoords="offset points",
            ha="right" if near else "left",
            va="center",
            annotation_clip=False,
        )
    reach = 0.006 * (panel.get_xlim()[1] - lowest)
    for number, (first, last) in enumerate(data.groups):
        y = -0.08 - 0.13 * number
        panel.plot(
            (data.ranks[first] - reach, data.ranks[last] + reach),
            (y, y),
            color=style.BLACK,
            linewidth=3.5,
            solid_capstyle="butt",
            clip_on=False,
        )
    return figure


def _ruler(panel: Axes, start: float, length: float) -> None:
    """The critical difference as a length above the line."""
    panel.plot((start, start + length), (0.36, 0.36), color=style.BLACK, linewidth=1.2, clip_on=False)
    for end in (start, start + length):
        panel.plot((end, end), (0.32, 0.40), color=style.BLACK, linewidth=1.2, clip_on=False)
    panel.text(start + length / 2, 0.42, f"critical difference {length:.2f}", ha="center", va="bottom")


def words(data: Ranking) -> Words:
    ranked = [f"{label} {rank:.2f}" for label, rank in zip(data.labels, data.ranks, strict=True)]
    groups = [style.in_words(data.labels[first : last + 1]) for first, last in data.groups]
    return Words(
        title="Mean ranks across targets",
        caption=f"Mean rank in {data.metric} over {data.targets} targets, 1 the best. Bars join rows whose ranks are "
        "less apart than the critical difference of Nemenyi's test at 5 %. With so few targets the test finds only "
        "large differences: rows that a bar joins need not be equal.",
        alt=f"Mean ranks over {data.targets} targets: {', '.join(ranked)}. "
        + (f"Not told apart: {'; '.join(groups)}." if groups else "All are told apart."),
    )
