"""What stored diagnostics show: how alike items are before and after a model, and which source sequences come near."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tabulate import tabulate

from benchmark.diagnostics import BINS, NEIGHBOURS, Case, Diagnostics, Histogram, Nearness
from benchmark.record import Record
from benchmark.report.escape import plain
from benchmark.report.stored import Stored, rows_of
from benchmark.report.tables import label_of
from benchmark.report.wording import titled
from benchmark.store import read_diagnostics

MOST = 6
"""Distributions in one figure: more lines can't be told apart."""
EDGES = tuple(np.linspace(-1, 1, BINS + 1).round(6).tolist())
_EMPTY = "(no text)"


@dataclass(frozen=True, kw_only=True, eq=False)
class Diagnosed:
    """A row of a target with the diagnostics of those of its runs that have any."""

    label: str
    runs: tuple[tuple[Record, Diagnostics], ...]
    """By seed; at least one."""

    @property
    def encoder(self) -> str:
        return self.runs[0][0].job.encoder or ""

    @property
    def of_paper(self) -> bool:
        return self.runs[0][0].method.role == "paper"


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """Of the cosines of pairs of items."""

    label: str
    counts: tuple[int, ...]
    """Pairs in each bin, of all seeds; at least one."""
    mean: float
    sd: float


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """How alike the items of a target are: first as texts, then as the scores of some rows see them."""

    title: str
    edges: tuple[float, ...]
    """Of the bins, one more than there are."""
    histograms: tuple[Distribution, ...]


def diagnosed(part: Stored) -> tuple[Diagnosed, ...]:
    """The rows of a target that have diagnostics, in the order of the plan; raises InputError for damaged ones."""
    rows = []
    for (method, setting, variant), group in rows_of(part.outcomes).items():
        runs_of_row = sorted(group, key=lambda outcome: outcome.record.job.seed)
        read = [(run.record, read_diagnostics(run.folder, run.record)) for run in runs_of_row]
        runs = tuple((record, found) for record, found in read if found is not None)
        if runs:
            rows.append(Diagnosed(label=label_of(method, setting, variant), runs=runs))
    return tuple(rows)


def similarity(part: Stored, rows: Sequence[Diagnosed]) -> Similarity | None:
    """The distributions of a figure of at most `MOST`: the texts of each encoder, then rows, the paper's first. None
    where no row has them."""
    items: list[Distribution] = []
    texts: dict[str, Histogram] = {}
    for row in sorted(rows, key=lambda row: not row.of_paper):
        cosines = [found.item_cosines for _, found in row.runs if found.item_cosines]
        if cosines:
            texts.setdefault(row.encoder, cosines[0].text)
            items.append(_pooled(row.label, [each.items for each in cosines]))
    if not items:
        return None
    before = [
        _pooled("item texts" if len(texts) == 1 else f"item texts ({encoder})", [histogram])
        for encoder, histogram in texts.items()
    ]
    return Similarity(title=_title(part), edges=EDGES, histograms=(*before, *items)[:MOST])


def study(part: Stored, rows: Sequence[Diagnosed]) -> str:
    """Markdown: both tables below, those that there are."""
    return "\n\n".join(filter(None, (nearest_sources(rows), case_study(part, rows))))


def nearest_sources(rows: Sequence[Diagnosed]) -> str:
    """Markdown: of each pre-trained row and source, for how many users it has the nearest sequence, and how near; the
    empty string where no row reads sources."""
    lines = [line for row in rows for line in _lines_of_sources(row)]
    if not lines:
        return ""
    said = (
        "Users of the target and sequences of the sources, both drawn at random, are read as texts by one model, and "
        "compared by the cosine of their vectors. *Nearest to* is the share of users whose nearest sequence is of that "
        "source, to be compared with the *share of sequences* drawn of it; *highest cosine* is that of a user with "
        "the nearest sequence of that source, mean ± standard deviation over users; *any two* is that of a user and a "
        "sequence at random. Where any two are near, a near one says little. Being near is a property of this model's "
        "space: it does not show that the source has helped."
    )
    headers = ["method", "source", "share of sequences", "nearest to", "highest cosine", "any two"]
    return f"{said}\n\n{_grid(headers, lines)}"


def case_study(part: Stored, rows: Sequence[Diagnosed]) -> str:
    """Markdown: users of the target beside their nearest source sequences, with item texts, by the lowest seed of the
    first row that may show them; the empty string where there is none, as where a card does not allow it."""
    for row in rows:
        for record, found in row.runs:
            if found.nearness and found.nearness.cases:
                said = _said_of_cases(part, row.label, record, found.nearness)
                lines = [line for case in found.nearness.cases for line in _lines_of_case(case)]
                headers = ["user", "last items", "cosine", "source", "sequence", "its last items"]
                return f"{said}\n\n{_grid(headers, lines)}"
    return ""


def _lines_of_sources(row: Diagnosed) -> Iterator[list[str]]:
    runs = [found.nearness for _, found in row.runs if found.nearness]
    users = sum(run.users for run in runs)
    any_two = _pooled("", [run.any_two for run in runs]) if runs else None
    for name in dict.fromkeys(near.source for run in runs for near in run.sources):
        near = [near for run in runs for near in run.sources if near.source == name]
        sequences = sum(each.sequences for run in runs for each in run.sources)
        yield [
            plain(row.label),
            plain(name),
            f"{sum(each.sequences for each in near) / sequences:.1%}",
            f"{sum(each.nearest for each in near) / users:.1%}",
            _mean_and_sd(_pooled("", [each.highest for each in near])),
            _mean_and_sd(any_two),
        ]


def _said_of_cases(part: Stored, label: str, record: Record, nearness: Nearness) -> str:
    sequences = sum(near.sequences for near in nearness.sources)
    return (
        f"{len(nearness.cases)} users of {plain(_title(part))}, drawn at random and not picked, each beside the "
        f"{NEIGHBOURS} sequences that {plain(label)} (seed {record.job.seed}) reads most alike, among {sequences:,} "
        "drawn at random of all sources: nearest first, by the cosine of the vectors that the model makes of the two "
        "histories. Shown are the beginnings of the texts of the last items, oldest first; the target's test item is "
        "not among them, and of a source sequence the last two items are left out, as in pre-training. Users and "
        "sequences are named by their row in the prepared domain. The table shows what the model takes for alike; it "
        "shows neither that the model is right, nor that what was learnt from the one helped to predict the other. Two "
        f"histories at random have a mean cosine of {nearness.any_two.mean:.3f} ± {nearness.any_two.sd:.3f}."
    )


def _lines_of_case(case: Case) -> Iterator[list[str]]:
    for place, near in enumerate(case.nearest):
        user, history = (f"{case.row}", _history(case.texts)) if place == 0 else ("", "")
        yield [user, history, f"{near.cosine:.3f}", plain(near.source), f"{near.row}", _history(near.texts)]


def _history(texts: Sequence[str]) -> str:
    return " → ".join(plain(text) or _EMPTY for text in texts)


def _pooled(label: str, histograms: Sequence[Histogram]) -> Distribution:
    """Histograms of several seeds as one, by the number of their pairs."""
    totals = [histogram.total for histogram in histograms]
    mean = float(np.average([histogram.mean for histogram in histograms], weights=totals))
    square = float(np.average([histogram.sd**2 + histogram.mean**2 for histogram in histograms], weights=totals))
    counts = np.sum([histogram.counts for histogram in histograms], axis=0)
    return Distribution(label=label, counts=tuple(counts.tolist()), mean=mean, sd=max(square - mean**2, 0) ** 0.5)


def _mean_and_sd(one: Distribution | None) -> str:
    return f"{one.mean:.3f} ± {one.sd:.3f}" if one else ""


def _title(part: Stored) -> str:
    return titled(part.outcomes[0].record.target.title if part.outcomes else part.target, part.track)


def _grid(headers: list[str], lines: list[list[str]]) -> str:
    numbers = ("user", "sequence", "cosine", "share of sequences", "nearest to", "highest cosine", "any two")
    align = ["right" if header in numbers else "left" for header in headers]
    return tabulate(lines, headers, tablefmt="github", disable_numparse=True, colalign=align)
