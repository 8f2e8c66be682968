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

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import quantiles
from typing import Any, Literal

import numpy as np

from benchmark.errors import InputError
from benchmark.metrics import PRIMARY
from benchmark.multiple import holm
from benchmark.noninferiority import Shift, Users, shift
from benchmark.record import Record
from benchmark.report.stored import Outcome, Stored, flattened, rows_of, seedless, stored
from benchmark.report.tables import Gap, label_of
from benchmark.store import PLAN

MARGIN = 0.03
"""Share of the reference that may be lost: about one standard deviation between seeds of the suite `demo` (0.034,
pooled over its trained rows), and twice what other pre-trained weights do to all users alike (0.017), of which the
seeds of a run show nothing."""
LEVEL = 0.05
"""Of all tests of a suite for a loss together, and of all for a gain."""
SLOWER = 2.0
"""A row may take so many times longer, beyond what all rows do. Between runs of one code on a busy machine it was up
to 1.3, and other processors change it by more (docs/regression-gate.md)."""
MEASURABLE = 0.5
"""Seconds of training from which speed is judged."""
FEWEST_TIMED = 4
"""Rows that must have been timed for the machine's own pace to be known."""
TOGETHER = "all trained from scratch"

Kind = Literal["loss", "gain", "data", "missing", "changed", "speed", "note"]
Selection = Collection[tuple[str, str, str]]
"""Target, method and setting of each row that was asked for."""


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
class Finding:
    """Something to say of a suite, of a target or of a row; all but notes fail the check."""

    kind: Kind
    target: str | None
    row: str | None
    says: str

    @property
    def failing(self) -> bool:
        return self.kind != "note"


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


@dataclass(frozen=True, kw_only=True, eq=False)
class _Row:
    label: str
    runs: Sequence[Outcome]

    @property
    def record(self) -> Record:
        return self.runs[0].record

    @property
    def method(self) -> tuple[str, str]:
        return self.record.job.method, self.record.job.setting

    @property
    def from_scratch(self) -> bool:
        """Its seeds show all that chance does to it."""
        return all(run.record.learning_curve and run.record.pretraining is None for run in self.runs)

    @property
    def users_SU(self) -> np.ndarray:
        return np.stack([run.users[PRIMARY] for run in self.runs])


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pair:
    """A row now and in the reference."""

    target: str
    track: str
    now: _Row
    old: _Row

    @property
    def same_users(self) -> bool:
        return self.now.record.target.fingerprint == self.old.record.target.fingerprint

    @property
    def other_weights(self) -> bool:
        """Both start from pre-training, but not from the same weights."""
        now, old = self.now.record.pretraining, self.old.record.pretraining
        return now is not None and old is not None and now.weights_sha256 != old.weights_sha256

    @property
    def alike(self) -> bool:
        """Timed under the same conditions, as far as records tell."""
        return _conditions(self.now.record) == _conditions(self.old.record)


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
    pairs: list[_Pair] = []
    findings: list[Finding] = []
    for place, old in old_parts.items():
        matched, said = _match(old, parts.get(place), only)
        pairs += matched
        findings += said
    findings += [
        _note(f"new: no reference of {target}; --update takes it in", target)
        for target, track in parts
        if (target, track) not in old_parts
    ]
    findings += [finding for pair in pairs for finding in _changes(pair)]
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


def _match(old: Stored, new: Stored | None, only: Selection | None) -> tuple[list[_Pair], list[Finding]]:
    """The rows of a target that are in both, and what is to be said of the others."""

    def asked(method: str, setting: str) -> bool:
        return only is None or (old.target, method, setting) in only

    before, now = _rows(old, asked), _rows(new, asked) if new else {}
    gaps = [gap for gap in new.gaps if asked(gap.method, gap.setting)] if new else []
    shared = [(now[key], row) for key, row in before.items() if key in now]
    alone = [row for key, row in before.items() if key not in now]
    fresh = [row for key, row in now.items() if key not in before]
    findings: list[Finding] = []
    for row in alone:
        instead = [other for other in fresh if other.method == row.method]
        if len(instead) == 1 == len([other for other in alone if other.method == row.method]):
            shared.append((instead[0], row))
            fresh.remove(instead[0])
            continue
        reasons = {gap.reason for gap in gaps if (gap.method, gap.setting) == row.method}
        why = "; ".join(sorted(reasons)) or "the suite no longer has this row"
        findings.append(Finding(kind="missing", target=old.target, row=row.label, says=f"no result: {why}"))
    for gap in gaps:
        label = label_of(gap.method, gap.setting, "")
        if any(row.method == (gap.method, gap.setting) for _, row in shared):
            findings.append(Finding(kind="missing", target=old.target, row=label, says=_gap(gap)))
        elif not any(row.method == (gap.method, gap.setting) for row in alone):
            findings.append(_note(f"new, and without a result: {_gap(gap)}", old.target, label))
    findings += [_note("new: it has no reference; --update takes it in", old.target, row.label) for row in fresh]
    return [_Pair(target=old.target, track=old.track, now=row, old=other) for row, other in shared], findings


def _rows(part: Stored, asked: Any) -> dict[tuple[str, str, str], _Row]:
    """The rows of a target by what they are: versions may differ, and are looked at later."""
    found = {}
    for (method, setting, variant), runs in rows_of(part.outcomes).items():
        if asked(method, setting):
            told = json.dumps(_described(runs[0].record), sort_keys=True)
            ordered = sorted(runs, key=lambda run: run.record.job.seed)
            found[method, setting, told] = _Row(label=label_of(method, setting, variant), runs=ordered)
    return found


def _described(record: Record) -> dict[str, str]:
    """The configuration of a row, less the versions of code."""
    described = flattened(seedless(record.job))
    return {name: text for name, text in described.items() if name.split(".")[-1] != "version"}


def _gap(gap: Gap) -> str:
    return f"seed {gap.seed} {'failed' if gap.failed else 'has no result'}: {gap.reason}"


def _note(says: str, target: str | None = None, row: str | None = None) -> Finding:
    return Finding(kind="note", target=target, row=row, says=says)


def _changes(pair: _Pair) -> Iterator[Finding]:
    """What makes two rows something else than the same thing, run twice."""
    now, old = pair.now.record, pair.old.record

    def finding(kind: Kind, says: str, *, row: bool = True, target: bool = True) -> Finding:
        return Finding(
            kind=kind, target=pair.target if target else None, row=pair.old.label if row else None, says=says
        )

    if not pair.same_users:
        was, is_ = old.target.fingerprint[:12], now.target.fingerprint[:12]
        yield finding("data", f"the data of {pair.target} changed (fingerprint {was}, now {is_})", row=False)
    before, after = ({source.name: source.fingerprint for source in record.sources} for record in (old, now))
    for name in sorted(before.keys() & after.keys()):
        if before[name] != after[name]:
            says = f"the data of source {name} changed (fingerprint {before[name][:12]}, now {after[name][:12]})"
            yield finding("data", says, row=False, target=False)
    encoders = [record.encoder.provenance if record.encoder else {} for record in (old, now)]
    if differences := _differences(*(flattened(dict(encoder)) for encoder in encoders)):
        yield finding("data", f"the encoder of item texts changed: {differences}", row=False)
    elif pair.same_users and old.encoder and now.encoder and old.encoder.sha256 != now.encoder.sha256:
        yield finding("note", "the encoder gave other bits for the same texts, as other processors do", row=False)
    protocols = [record.key_parts.get("protocol") for record in (old, now)]
    if protocols[0] != protocols[1]:
        says = f"the protocol changed from version {protocols[0]} to {protocols[1]}"
        yield finding("changed", says, row=False, target=False)
    if old.job.version != now.job.version:
        yield finding("changed", f"the method's version changed from {old.job.version} to {now.job.version}")
    stages = [record.job.pretraining.version if record.job.pretraining else None for record in (old, now)]
    if None not in stages and stages[0] != stages[1]:
        yield finding("changed", f"the version of its pre-training changed from {stages[0]} to {stages[1]}")
    if differences := _differences(_described(old), _described(now)):
        yield finding("changed", f"the configuration changed: {differences}")
    conditions = _differences(_conditions(old), _conditions(now))
    if conditions:
        says = f"made under other conditions, hence with other bits and untimed: {conditions}"
        yield finding("note", says, row=False, target=False)
    if pair.other_weights and not conditions:
        says = "starts from weights that were pre-trained anew, which may differ from the reference's"
        yield finding("note", says, target=False)
    if pair.same_users and _repeatable(old) and (n := _moved(pair)):
        yield finding("note", f"nothing in it is random, yet the ranks of {n:,} users are not the reference's")


def _repeatable(record: Record) -> bool:
    return not record.learning_curve and record.pretraining is None


def _moved(pair: _Pair) -> int:
    now, old = (row.runs[0].users[PRIMARY] for row in (pair.now, pair.old))
    return int((now != old).sum())


def _conditions(record: Record) -> dict[str, str]:
    """What may differ between machines without being a change."""
    settings = record.key_parts.get("training")
    precision = settings.get("precision") if isinstance(settings, Mapping) else None
    return ({"precision": str(precision)} if precision else {}) | {"device": record.cost.device}


def _differences(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """``dropout 0.2, now 0.5; layers 2, now none``."""
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return "; ".join(f"{name} {before.get(name, 'none')}, now {after.get(name, 'none')}" for name in names)


def _cells(pairs: Sequence[_Pair], clusters: Mapping[tuple[str, str], Any], limits: Limits) -> list[Cell]:
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


def _together(pairs: Sequence[_Pair]) -> tuple[np.ndarray, np.ndarray]:
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


def slowdowns(pairs: Sequence[tuple[Sequence[Outcome], Sequence[Outcome]] | None]) -> list[float | None]:
    """How many times longer an epoch takes now than in the reference, over what it is for the rows of the suite that
    slowed down least: their lower quartile is taken for the machine.

    An epoch's time is taken twice, and the smaller factor counts: as the wall time of the fastest epoch of all seeds,
    which other processes can stretch, and as processor time an epoch, of the seed that took least, which includes what
    a process does once, such as to load libraries. A method that is slower is so in both. On an accelerator processor
    time says little and is left out. None where training is too short to be timed, or too few rows were.
    """
    factors = [_factor(*pair) if pair is not None else None for pair in pairs]
    timed = [factor for factor in factors if factor is not None]
    if len(timed) < FEWEST_TIMED:
        return [None] * len(pairs)
    machine = quantiles(timed, n=4, method="inclusive")[0]
    return [factor / machine if factor is not None else None for factor in factors]


def _factor(now: Sequence[Outcome], old: Sequence[Outcome]) -> float | None:
    after, before = _paces(now), _paces(old)
    if after is None or before is None:
        return None
    return min(late / early for late, early in zip(after, before, strict=True))


def _paces(runs: Sequence[Outcome]) -> tuple[float, ...] | None:
    """Seconds an epoch, in one or two ways, of the least disturbed run; None where it is too little to be timed."""
    records = [run.record for run in runs]
    if not all(record.learning_curve for record in records):
        return None
    fastest = min(epoch.seconds for record in records for epoch in record.learning_curve)
    if min(fastest * len(record.learning_curve) for record in records) < MEASURABLE:
        return None
    core = min(record.cost.core_seconds / len(record.learning_curve) for record in records)
    return (fastest, core) if core and all(record.cost.device == "cpu" for record in records) else (fastest,)


def _commits(rows: Iterable[_Row]) -> tuple[str, ...]:
    return tuple(sorted({run.record.commit for row in rows for run in row.runs if run.record.commit}))
