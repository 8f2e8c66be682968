"""How long a job or a pre-training will take, from what stored runs took.

An epoch's work is the encoder's, in proportion to the training interactions, and the softmax's, in proportion to
interactions times items. The shares of the two are fitted over all stored runs, a method's own pace is its runs' median
ratio to that fit, and the number of epochs is the median of its runs. A few-shot run is a run on so many users. An
epoch of pre-training takes time in proportion to the training interactions of its sources.

All of that is in the time of the usual hardware: the kind that most stored runs were trained on. How many times as long
another kind takes is the median, over its runs, of an epoch's time over what the fit gives on the usual one.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from benchmark.errors import InputError
from benchmark.hardware import Hardware, usual
from benchmark.record import Record, TargetInfo
from benchmark.store import finished, read_record

USUAL_EPOCHS = 30
"""Assumed of a method that was never run."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """What the cost of an epoch depends on."""

    users: int
    items: int
    interactions: int

    @classmethod
    def of_target(cls, about: TargetInfo) -> Size:
        return cls(users=about.users, items=about.items, interactions=about.interactions)

    def of(self, share: float | None) -> Size:
        """What a few-shot run sees of it."""
        few = 1.0 if share is None else share
        return Size(users=round(few * self.users), items=self.items, interactions=round(few * self.interactions))

    @property
    def work(self) -> NDArray[np.float64]:
        """Training interactions, and these times items; float64 [2]."""
        training = self.interactions - 2 * self.users
        return np.array([training, training * self.items / 1000], np.float64)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    seconds: float
    """Of one run on a worker that has a processor of the usual hardware to itself."""
    guessed: bool
    """No run of the method is stored: the pace of all others was taken, which phases of its own may exceed by far."""


class Forecast:
    """Estimates from runs; knows nothing where there are none."""

    def __init__(self, records: Iterable[Record]) -> None:
        trained = [record for record in records if record.learning_curve]
        self.usual = usual(trained)
        self.slowness = {self.usual: 1.0}
        self.records = [record for record in trained if Hardware.of(record) == self.usual]
        work = [self._size(record).work for record in self.records]
        seconds = [self._epoch_seconds(record) for record in self.records]
        self.shares = nnls(np.array(work), np.array(seconds))[0] if work else np.zeros(2)
        for hardware in {Hardware.of(record) for record in trained} - {self.usual}:
            ratios = self._ratios([record for record in trained if Hardware.of(record) == hardware])
            if ratios:
                self.slowness[hardware] = median(ratios)
        self.records = [record for record in trained if Hardware.of(record) in self.slowness]
        self.pretrained = [record for record in self.records if record.pretraining and record.pretraining.epochs]

    def _ratios(self, records: Iterable[Record]) -> list[float]:
        """How many times as long as on the usual hardware an epoch of each took: its own method's there, or, where that
        was not run there, those of all methods."""
        ratios: list[float] = []
        for record in records:
            same = [other for other in self.records if other.job.method == record.job.method]
            known = self._paces(same) or self._paces(self.records)
            ratios += [pace / median(known) for pace in self._paces([record]) if known]
        return ratios

    def _paces(self, records: Iterable[Record]) -> list[float]:
        """How many times as long as the fit an epoch of each took."""
        fitted = [(record, float(self.shares @ self._size(record).work)) for record in records]
        return [self._epoch_seconds(record) / seconds for record, seconds in fitted if seconds > 0]

    @classmethod
    def of(cls, results: Path) -> Forecast:
        """From all stored runs of a results folder that can be read."""
        records = []
        for folder in finished(results).values():
            with suppress(InputError):  # `transrec verify` is there to say so
                records.append(read_record(folder))
        return cls(records)

    @staticmethod
    def _size(record: Record) -> Size:
        return Size.of_target(record.target).of(record.job.few_shot)

    def _slowness(self, record: Record) -> float:
        return self.slowness.get(Hardware.of(record), 1.0)

    def _epoch_seconds(self, record: Record) -> float:
        return median(epoch.seconds for epoch in record.learning_curve) / self._slowness(record)

    def _run_seconds(self, record: Record) -> float:
        """On processors their time, for wall time there is that of whatever else ran beside."""
        cost = record.cost
        seconds = cost.core_seconds / cost.threads if cost.device == "cpu" else cost.wall_seconds
        return seconds / self._slowness(record)

    def run(self, method: str, target: str, size: Size, few_shot: float | None = None) -> Estimate | None:
        """How long one run may take on a target of this size; None where no stored run of a trained method tells."""
        same = [record for record in self.records if record.job.method == method]
        alike = [record for record in same if (record.job.target, record.job.few_shot) == (target, few_shot)]
        here = [self._run_seconds(record) for record in alike]
        if here:
            return Estimate(seconds=median(here), guessed=False)
        paces = self._paces(same or self.records)
        if not paces:
            return None
        epochs = median(len(record.learning_curve) for record in same) if same else USUAL_EPOCHS
        return Estimate(seconds=median(paces) * epochs * float(self.shares @ size.of(few_shot).work), guessed=not same)

    def pretraining(self, family: str, sources: Iterable[Size], epochs: int) -> Estimate | None:
        """How long a pre-training may take; None where no run of any pre-trained method is stored."""
        paces: dict[str, list[float]] = {}
        for record in self.pretrained:
            made, spec = record.pretraining, record.job.pretraining
            pairs = sum(source.interactions - 2 * source.users for source in record.sources)
            if made and spec and pairs > 0:
                paces.setdefault(spec.family, []).append(
                    made.core_seconds / made.epochs / pairs / self._slowness(record)
                )
        every = [pace for found in paces.values() for pace in found]
        if not every:
            return None
        work = epochs * sum(float(source.work[0]) for source in sources)
        return Estimate(seconds=median(paces.get(family, every)) * work, guessed=family not in paces)


def in_words(seconds: float) -> str:
    """A duration as people say it."""
    for limit, unit, divisor in ((90, "s", 1), (5400, "min", 60)):
        if seconds < limit:
            return f"{seconds / divisor:.0f} {unit}"
    return f"{seconds / 3600:.1f} h"
