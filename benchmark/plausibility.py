"""Runs that are what they say, and yet hard to believe: what a reviewer of results made elsewhere should ask about.

`benchmark.verify` finds what contradicts itself. What is found here may be right, so it is said and fails nothing. A
forger who knows this page passes it; its use is to catch mistakes: a leak, a mixed-up folder, a copied row.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from benchmark.errors import InputError
from benchmark.layout import RECORD
from benchmark.metrics import PRIMARY, per_user
from benchmark.store import Run, read_run

PERFECT = 0.95
"""Mean NDCG@10 from which a result is too good."""
APART = 2.0
"""Factor between validation and test, or between the curve and the stored ranks of the same weights."""
FEW = 0.01
"""Below this mean NDCG@10 factors are chance."""


def doubts(path: Path) -> list[str]:
    """What is hard to believe of the runs in and below a folder, each naming its folder; damaged ones are left out,
    `benchmark.verify.verify` names those."""
    said: list[str] = []
    seen: dict[str, tuple[Path, Run]] = {}
    for record in sorted(path.resolve().rglob(RECORD)):
        folder = record.parent
        if any(part.startswith(".") for part in folder.relative_to(path.resolve()).parts):
            continue
        with suppress(InputError):
            run = read_run(folder)
            said += [f"{folder}: {doubt}" for doubt in _of_run(run)]
            earlier, other = seen.setdefault(run.record.ranks_sha256, (folder, run))
            if other is not run and other.record.key != run.record.key and _should_differ(run, other):
                said.append(f"{folder}: its ranks are, for every user, those of {earlier}; was a run copied?")
    return said


def _should_differ(run: Run, other: Run) -> bool:
    """Two methods, or two seeds of what is trained."""
    jobs = run.record.job, other.record.job
    return jobs[0].method != jobs[1].method or (jobs[0].seed != jobs[1].seed and bool(run.record.learning_curve))


def _of_run(run: Run) -> Iterator[str]:
    record, ranks = run.record, run.ranks
    valid, test = (
        float(per_user(PRIMARY, greater, equal).mean())
        for greater, equal in ((ranks.valid_greater, ranks.valid_equal), (ranks.test_greater, ranks.test_equal))
    )
    for name, mean in (("validation", valid), ("test", test)):
        if mean >= PERFECT:
            yield f"{PRIMARY} on {name} is {mean:.3f}, as only a model has that sees the answers"
    if _apart(valid, test):
        yield f"{PRIMARY} is {valid:.4f} on validation and {test:.4f} on test; were splits or histories mixed up?"
    curve = {epoch.epoch: epoch for epoch in record.learning_curve}
    if not curve:
        if record.best_epoch is not None:
            yield "names a best epoch, but has no learning curve"
        return
    if list(curve) != list(range(1, len(record.learning_curve) + 1)):
        yield "the epochs of its learning curve are not 1, 2, 3, ..."
    best = curve.get(record.best_epoch or 0)
    if best is None:
        yield f"its best epoch, {record.best_epoch}, is not in its learning curve"
    else:
        if best.valid < max(epoch.valid for epoch in record.learning_curve):
            yield f"its best epoch, {best.epoch}, is not the best of its learning curve"
        # a few-shot run is selected on its own users, and asked of all
        if record.job.few_shot is None and _apart(best.valid, valid):
            yield f"its best epoch had {PRIMARY} {best.valid:.4f} on validation, but its ranks give {valid:.4f}"
    if not record.cost.core_seconds or not record.cost.wall_seconds:
        yield "was trained, and took no time"
    spent = float(np.sum([epoch.seconds for epoch in record.learning_curve]))
    if spent > 1.05 * record.cost.wall_seconds + 1:
        yield f"its epochs took {spent:.0f} s, but the whole run only {record.cost.wall_seconds:.0f} s"
    if record.parameters is None or not record.parameters.trained:
        yield "was trained, and has no trained parameter"


def _apart(first: float, second: float) -> bool:
    low, high = sorted((first, second))
    return high > FEW and high > APART * low
