"""The regression gate: does a suite still give what its reference gave?

A reference is a results folder of its own, made by the same suite with as many seeds or more. Rows are matched by what
they are (target, track, method, setting, configuration), never by key, for the key holds the resolved precision, which
differs between processors. Judged are

- quality: NDCG@10 on test must not be below the reference's by more than a margin (`benchmark.noninferiority`), nor
  above it without anyone saying so: what gains without a new version has a leak, or was changed. Each row is tested,
  and all rows of a target that are trained from scratch together, which shows what moves all of them a little. Holm
  over the rows and over the targets, with half of the level each: a suite without a change fails by chance in no more
  than 5 % of runs for either, and with the margin far more seldom;
- what numbers can only be compared under: data, encoder, protocol, versions, configurations;
- that every row of the reference still has a result;
- speed, as how much a row slowed down beyond the others (`slowdowns`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.errors import InputError
from benchmark.layout import PLAN
from benchmark.metrics import PRIMARY
from benchmark.multiple import holm
from benchmark.noninferiority import Shift, Users, shift
from benchmark.pace import slowdowns
from benchmark.pairs import Finding, JudgedRow, Pair, Selection, changes, match_rows, note
from benchmark.report.stored import Stored, stored

MARGIN = 0.03
"""Share of the reference that may be lost: about one standard deviation between seeds of the suite `demo` (0.034,
pooled over its trained rows), and twice what other pre-trained weights do to all users alike (0.017), of which the
seeds of a run show nothing."""
LEVEL = 0.05
"""Of all tests of a suite for a loss together, and of all for a gain."""
SLOWER = 2.0
"""A row may take so many times longer, beyond what all rows do. Between runs of one code on a busy machine it was up
to 1.3, and other processors change it by more (docs/regression-gate.md)."""
TOGETHER = "all trained from scratch"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What may be lost without failing."""

    margin: float = MARGIN
    """Of quality, as a share of the reference."""
    slower: float = SLOWER
    """The factor of time."""

    def __post_init__(self) -> None:
        if not 0 <= self.margin < 1:
            raise InputError(f"margin {self.margin:g}: give a share of the reference, from 0 to below 1, such as 0.03")
        if not 1 <= self.slower < float("inf"):
            raise InputError(f"slower {self.slower:g}: give a factor of at least 1, such as 2")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A row of a target beside its reference."""

    target: str
    track: str
    row: str
    """Its label, or `TOGETHER`."""
    seeds: int
    reference_seeds: int
    shift: Shift | None
    """None where the users are not the reference's."""
    p_loss: float | None
    """`Shift.p_below`, adjusted over all cells of the suite: at or below `LEVEL` the check fails."""
    p_gain: float | None
    """`Shift.p_above`, likewise."""
    slower: float | None
    """How many times longer than in the reference, beyond what all rows are; None where it was not measured."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """What came out; `benchmark.report.gate` shows it."""

    suite: str
    limits: Limits
    cells: tuple[Cell, ...]
    findings: tuple[Finding, ...]
    commits: tuple[str, ...]
    """Of the code that made these runs, as far as they know."""
    reference_commits: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not any(finding.failing for finding in self.findings)


def has_reference(suite: str, reference: Path) -> bool:
    """Whether a folder holds a reference of this suite."""
    return (reference / suite / PLAN).is_file()


def read_reference(suite: str, reference: Path) -> list[Stored]:
    """The runs of a reference. Raises InputError where there is none, or not all of it can be used."""
    if not has_reference(suite, reference):
        held = sorted(path.parent.name for path in reference.glob(f"[!.]*/{PLAN}"))
        raise InputError(
            f"{reference}: holds no reference of suite '{suite}' (it holds: {', '.join(held) or 'none'}); name another "
            f"folder, or make one: `transrec run {suite} --results NEW`, then "
            f"`transrec check {suite} --results NEW --reference {reference} --update`"
        )
    parts = stored(suite, reference)
    for part in parts:
        for gap in part.gaps:
            raise InputError(
                f"{reference}: the reference has no usable run of {gap.method} on {part.target}, seed {gap.seed} "
                f"({gap.reason}); restore it, or move it anew with --update"
            )
    return parts


def check(
    suite: str, results: Path, reference: Path, limits: Limits | None = None, only: Selection | None = None
) -> Check:
    """Compare the runs of a suite's plan with those of its reference. ``only``: the rows that were asked for.

    Raises InputError as `read_reference` and `stored` do, and where both folders are one.
    """
    if results.resolve() == reference.resolve():
        raise InputError(f"{reference}: runs can't be their own reference; name the folder of new runs with --results")
    limits = limits or Limits()
    old_parts = {(part.target, part.track): part for part in read_reference(suite, reference)}
    parts = {(part.target, part.track): part for part in stored(suite, results)}
    pairs: list[Pair] = []
    findings: list[Finding] = []
    for place, old in old_parts.items():
        matched, said = match_rows(old, parts.get(place), only)
        pairs += matched
        findings += said
    findings += [
        note(f"new: no reference of {target}; --update takes it in", target)
        for target, track in parts
        if (target, track) not in old_parts
    ]
    findings += [finding for pair in pairs for finding in changes(pair)]
    contexts = {place: (parts[place].context or old_parts[place].context) for place in parts if place in old_parts}
    clusters = {place: context.cluster for place, context in contexts.items() if context is not None}
    cells = _judged(_cells(pairs, clusters, limits))
    findings += [finding for cell in cells for finding in _verdicts(cell, limits)]
    return Check(
        suite=suite,
        limits=limits,
        cells=tuple(cells),
        findings=tuple(dict.fromkeys(findings)),
        commits=_commits(pair.now for pair in pairs),
        reference_commits=_commits(pair.old for pair in pairs),
    )


def _cells(pairs: Sequence[Pair], clusters: Mapping[tuple[str, str], Any], limits: Limits) -> list[Cell]:
    """Every pair, and after those of a target all its rows together that are trained from scratch."""
    slower = slowdowns([(pair.now.runs, pair.old.runs) if pair.alike else None for pair in pairs])
    places = dict.fromkeys((pair.target, pair.track) for pair in pairs)

    def cell(
        place: tuple[str, str],
        row: str,
        now_SU: Any,
        old_SU: Any,
        *,
        same: bool = True,
        users: Users = "given",
        slow: float | None = None,
    ) -> Cell:
        target, track = place
        known = None
        # Holm holds the smallest p value of a family against this level.
        level = LEVEL / 2 / (len(places) if row == TOGETHER else len(pairs))
        if same:
            known = shift(now_SU, old_SU, clusters.get(place), margin=limits.margin, level=level, users=users)
        return Cell(
            target=target,
            track=track,
            row=row,
            seeds=len(now_SU),
            reference_seeds=len(old_SU),
            shift=known,
            p_loss=None,
            p_gain=None,
            slower=slow,
        )

    cells = []
    for place in places:
        here = [(pair, slow) for pair, slow in zip(pairs, slower, strict=True) if (pair.target, pair.track) == place]
        for pair, slow in here:
            values = pair.now.users_SU, pair.old.users_SU
            users = "drawn" if pair.other_weights else "given"
            cells.append(cell(place, pair.old.label, *values, same=pair.same_users, users=users, slow=slow))
        scratch = [pair for pair, _ in here if pair.same_users and pair.now.from_scratch and pair.old.from_scratch]
        scratch = [pair for pair in scratch if pair.old.users_SU.any()]
        if len(scratch) > 1:
            cells.append(cell(place, TOGETHER, *_together(scratch)))
    return cells


def _together(pairs: Sequence[Pair]) -> tuple[np.ndarray, np.ndarray]:
    """The mean over rows, each as a share of its reference, of every seed and user, now and then."""
    means = [pair.old.users_SU.mean() for pair in pairs]
    both = []
    for rows in ([pair.now for pair in pairs], [pair.old for pair in pairs]):
        seeds = min(len(row.runs) for row in rows)
        both.append(np.mean([row.users_SU[:seeds] / mean for row, mean in zip(rows, means, strict=True)], axis=0))
    return both[0], both[1]


def _judged(cells: Sequence[Cell]) -> list[Cell]:
    """The same cells with p values adjusted for their number: single rows have half of the level, and rows together,
    which are few and tell most, the other half."""
    adjusted = list(cells)
    for together in (False, True):
        family = [(n, c.shift) for n, c in enumerate(cells) if c.shift and (c.row == TOGETHER) == together]
        losses = holm([shift.p_below for _, shift in family])
        gains = holm([shift.p_above for _, shift in family])
        for (n, _), loss, gain in zip(family, losses, gains, strict=True):
            adjusted[n] = replace(cells[n], p_loss=min(1.0, 2 * float(loss)), p_gain=min(1.0, 2 * float(gain)))
    return adjusted


def _verdicts(cell: Cell, limits: Limits) -> Iterator[Finding]:
    """What the numbers of a cell say."""
    if cell.shift is not None and cell.shift.change is not None and cell.p_loss is not None and cell.p_gain is not None:
        said = f"{PRIMARY} {cell.shift.reference:.4f}, now {cell.shift.now:.4f} ({cell.shift.change:+.1%})"
        if cell.p_loss <= LEVEL:
            says = f"{said}: more than {limits.margin:.1%} lost, p {cell.p_loss:.2g} after Holm"
            yield Finding(kind="loss", target=cell.target, row=cell.row, says=says)
        if cell.p_gain <= LEVEL:
            says = f"{said}: more than {limits.margin:.1%} gained, p {cell.p_gain:.2g} after Holm"
            says += "; a leak looks like this: look for one, and if there is none move the reference with --update"
            yield Finding(kind="gain", target=cell.target, row=cell.row, says=says)
    if cell.slower is not None and cell.slower > limits.slower:
        says = f"takes {cell.slower:.1f} times as long, beyond what other rows do (limit {limits.slower:g})"
        yield Finding(kind="speed", target=cell.target, row=cell.row, says=says)


def _commits(rows: Iterable[JudgedRow]) -> tuple[str, ...]:
    return tuple(sorted({run.record.commit for row in rows for run in row.runs if run.record.commit}))
