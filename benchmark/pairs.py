"""A suite's rows beside their reference: matched by what they are, never by key, and what changed between the two."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from benchmark.hardware import Hardware
from benchmark.metrics import PRIMARY
from benchmark.record import Record
from benchmark.report.stored import Outcome, Stored, flattened, rows_of, seedless
from benchmark.report.tables import Gap, label_of

Kind = Literal["loss", "gain", "data", "missing", "changed", "speed", "note"]
Selection = Collection[tuple[str, str, str]]
"""Target, method and setting of each row that was asked for."""


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


@dataclass(frozen=True, kw_only=True, eq=False)
class JudgedRow:
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
class Pair:
    """A row now and in the reference."""

    target: str
    track: str
    now: JudgedRow
    old: JudgedRow

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


def match_rows(old: Stored, new: Stored | None, only: Selection | None) -> tuple[list[Pair], list[Finding]]:
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
        if not reasons and new and any((never.method, never.setting) == row.method for never in new.unrun):
            reasons = {"not asked for"}
        why = "; ".join(sorted(reasons)) or "the suite no longer has this row"
        findings.append(Finding(kind="missing", target=old.target, row=row.label, says=f"no result: {why}"))
    for gap in gaps:
        label = label_of(gap.method, gap.setting, "")
        if any(row.method == (gap.method, gap.setting) for _, row in shared):
            findings.append(Finding(kind="missing", target=old.target, row=label, says=_gap(gap)))
        elif not any(row.method == (gap.method, gap.setting) for row in alone):
            findings.append(note(f"new, and without a result: {_gap(gap)}", old.target, label))
    findings += [note("new: it has no reference; --update takes it in", old.target, row.label) for row in fresh]
    return [Pair(target=old.target, track=old.track, now=row, old=other) for row, other in shared], findings


def _rows(part: Stored, asked: Any) -> dict[tuple[str, str, str], JudgedRow]:
    """The rows of a target by what they are: versions may differ, and are looked at later."""
    found = {}
    for (method, setting, variant), runs in rows_of(part.outcomes).items():
        if asked(method, setting):
            told = json.dumps(_described(runs[0].record), sort_keys=True)
            ordered = sorted(runs, key=lambda run: run.record.job.seed)
            found[method, setting, told] = JudgedRow(label=label_of(method, setting, variant), runs=ordered)
    return found


def _described(record: Record) -> dict[str, str]:
    """The configuration of a row, less the versions of code."""
    described = flattened(seedless(record.job))
    return {name: text for name, text in described.items() if name.split(".")[-1] != "version"}


def _gap(gap: Gap) -> str:
    return f"seed {gap.seed} {'failed' if gap.failed else 'has no result'}: {gap.reason}"


def note(says: str, target: str | None = None, row: str | None = None) -> Finding:
    return Finding(kind="note", target=target, row=row, says=says)


def changes(pair: Pair) -> Iterator[Finding]:
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


def _moved(pair: Pair) -> int:
    now, old = (row.runs[0].users[PRIMARY] for row in (pair.now, pair.old))
    return int((now != old).sum())


def _conditions(record: Record) -> dict[str, str]:
    """What may differ between machines without being a change."""
    hardware = Hardware.of(record)
    return asdict(hardware) if hardware else {"device": record.cost.device}


def _differences(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """``dropout 0.2, now 0.5; layers 2, now none``."""
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return "; ".join(f"{name} {before.get(name, 'none')}, now {after.get(name, 'none')}" for name in names)
