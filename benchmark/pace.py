"""How much longer rows of a suite take than in its reference, beyond what the machine makes of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import quantiles

from benchmark.report.stored import Outcome

MEASURABLE = 0.5
"""Seconds of training from which speed is judged."""
FEWEST_TIMED = 4
"""Rows that must have been timed for the machine's own pace to be known."""


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
