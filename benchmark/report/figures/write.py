"""Which figures the stored runs of a suite allow, and their files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from benchmark.report.cases import Similarity
from benchmark.report.figures import (
    ablation,
    cost,
    critical_difference,
    curves,
    few_shot,
    overall,
    pretraining_length,
    similarity,
    slices,
    sources,
)
from benchmark.report.figures.saving import Words, save
from benchmark.report.stored import Stored
from benchmark.report.tables import Leaderboard
from benchmark.slices import HISTORY, TRAIN_COUNT, slices_of

FOLDER = "figures"
_SLICES = {TRAIN_COUNT: "long-tail", HISTORY: "history"}
"""Cold items are too few for a curve: they are a line in a table."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """A figure that was written."""

    name: str
    """What it shows, for example ``overall``."""
    target: str | None
    """None where it is about all targets."""
    track: str | None
    words: Words
    svg: str
    """The path of the file from the folder of the report, with slashes; as ``png``."""
    png: str


def write_figures(
    parts: Sequence[Stored], board: Leaderboard, alike: Sequence[Similarity | None], folder: Path
) -> tuple[Made, ...]:
    """Draw what there is of a suite into ``folder/figures``, as SVG and PNG.

    ``parts``, the tables of ``board`` and ``alike`` are of the same targets in the same order, as `stored`, `build` and
    `similarity` give them;
    ``folder`` is that of the report. Figures whose data are not there are absent, and files of earlier ones stay.
    """
    made = []
    for name, part, words, draw in _drawn(parts, board, alike):
        place = f"{name}-{part.target}" if part else name
        if part and sum(other.target == part.target for other in parts) > 1:
            place = f"{place}-{part.track}"
        svg, png = save(draw(), folder / FOLDER, place, words)
        made.append(
            Made(
                name=name,
                target=part.target if part else None,
                track=part.track if part else None,
                words=words,
                svg=f"{FOLDER}/{svg}",
                png=f"{FOLDER}/{png}",
            )
        )
    return tuple(made)


def _drawn(
    parts: Sequence[Stored], board: Leaderboard, alike: Sequence[Similarity | None]
) -> Iterator[tuple[str, Stored | None, Words, Callable[[], Figure]]]:
    """Name, target, words and drawing of each figure, those of a target together."""
    ranking = critical_difference.take(board)
    if ranking is not None:
        yield "ranks", None, critical_difference.words(ranking), lambda: critical_difference.draw(ranking)
    shares = cost.shares_of(parts)
    for part, table, near in zip(parts, board.tables, alike, strict=True):
        if (rows := overall.take(table)) is not None:
            yield "overall", part, overall.words(rows), lambda data=rows: overall.draw(data)
        for slicing in slices_of(part.context, part.target) if part.context else ():
            if slicing.name in _SLICES and (sliced := slices.take(part, slicing)) is not None:
                yield _SLICES[slicing.name], part, slices.words(sliced), lambda data=sliced: slices.draw(data)
        if (found := ablation.take(part)) is not None:
            yield "ablation", part, ablation.words(found), lambda data=found: ablation.draw(data)
        if (origins := sources.take(part)) is not None:
            yield "sources", part, sources.words(origins), lambda data=origins: sources.draw(data)
        if (lengths := pretraining_length.take(part)) is not None:
            words = pretraining_length.words(lengths)
            yield "pretraining-length", part, words, lambda data=lengths: pretraining_length.draw(data)
        if (shots := few_shot.take(part)) is not None:
            yield "few-shot", part, few_shot.words(shots), lambda data=shots: few_shot.draw(data)
        if near is not None:
            yield "similarity", part, similarity.words(near), lambda data=near: similarity.draw(data)
        if (costs := cost.take(part, shares)) is not None:
            yield "cost", part, cost.words(costs), lambda data=costs: cost.draw(data)
        if (grown := curves.take(part)) is not None:
            yield "curves", part, curves.words(grown), lambda data=grown: curves.draw(data)
