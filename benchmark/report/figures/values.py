"""What figures show of stored runs: rows, means and differences with their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.jobs import Job
from benchmark.metrics import PRIMARY
from benchmark.record import Record, Role
from benchmark.report.stored import Outcome, Stored, rows_of, user_means
from benchmark.report.tables import CONTROL, label_of
from benchmark.report.wording import titled
from benchmark.significance import paired_t

SHOWN = (PRIMARY, "Recall@50")
"""The metrics of figures that show two: the top of the list, and further down."""
_SCRATCH = "-scratch"
"""By convention the row ``X-scratch`` is ``X`` without pre-training."""
ZERO_SHOT = "-zeroshot"
"""By convention the row ``X-zeroshot`` is ``X`` as it is pre-trained, never trained on the target."""
_SHORT = {"config.": "", "training.": "", "pretraining.config.": "", "pretraining.": "pre-training ", f"{CONTROL}=": ""}


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its 95 % interval, None where there are fewer than two independent users."""

    value: float
    low: float | None
    high: float | None

    @property
    def reach(self) -> tuple[float, float]:
        """How far the interval goes below and above the value."""
        if self.low is None or self.high is None:
            return 0.0, 0.0
        return self.value - self.low, self.high - self.value


@dataclass(frozen=True, kw_only=True, eq=False)
class Line:
    """A row of the leaderboard with its runs."""

    label: str
    method: str
    setting: str
    variant: str
    group: tuple[Outcome, ...]
    """One run a seed."""

    @property
    def record(self) -> Record:
        return self.group[0].record

    @property
    def role(self) -> Role:
        return self.record.method.role

    @property
    def job(self) -> Job:
        return self.record.job


def lines_of(part: Stored) -> tuple[Line, ...]:
    """The rows of a target, in the order of the plan."""
    return tuple(
        Line(
            label=short_label(method, setting, variant),
            method=method,
            setting=setting,
            variant=variant,
            group=tuple(group),
        )
        for (method, setting, variant), group in rows_of(part.outcomes).items()
    )


def title_of(part: Stored) -> str:
    return titled(part.outcomes[0].record.target.title if part.outcomes else part.target, part.track)


def short_label(method: str, setting: str, variant: str) -> str:
    """A row's name as figures show it, on one line."""
    return " ".join(label_of(method, setting, short(variant)).split())


def short(variant: str) -> str:
    """What tells a row from its siblings, without the places of the keys: ``freeze=True, pre-training epochs=5``."""
    parts = []
    for text in variant.split(", ") if variant else []:
        prefix = next((prefix for prefix in _SHORT if text.startswith(prefix)), "")
        parts.append(_SHORT.get(prefix, "") + text.removeprefix(prefix))
    return ", ".join(parts)


def scratch_of(lines: tuple[Line, ...], line: Line) -> Line | None:
    """The row of the same method without pre-training, under the same control if there is one."""
    alike = (line.method + _SCRATCH, "full", line.job.control)
    found = [other for other in lines if (other.method, other.setting, other.job.control) == alike]
    return found[0] if len(found) == 1 else None


def mean(part: Stored, line: Line, metric: str) -> Estimate:
    """A metric over users, each averaged over seeds first."""
    users = user_means(line.group, metric)
    return _estimate(part, users, np.zeros_like(users))


def difference(part: Stored, line: Line, other: Line, metric: str) -> Estimate:
    """``line`` less ``other``, paired by user."""
    return _estimate(part, user_means(line.group, metric), user_means(other.group, metric))


def beside(part: Stored, line: Line, other: Line | None, metric: str) -> Estimate:
    """The mean of ``line`` with the interval of its difference to ``other``: it holds the mean of ``other`` where the
    paired t test can't tell the two apart. Without ``other``, the interval of the mean."""
    own = mean(part, line, metric)
    if other is None:
        return own
    apart = difference(part, line, other, metric)
    below, above = apart.reach
    known = apart.low is not None
    return Estimate(
        value=own.value, low=own.value - below if known else None, high=own.value + above if known else None
    )


def configuration(job: Job) -> tuple[Mapping[str, Any], Mapping[str, Any], str | None]:
    """What a model is made and pre-trained with, apart from sources, length and seed of pre-training, and the control
    that it is under."""
    return job.config, job.pretraining.config if job.pretraining else {}, job.control


def _estimate(part: Stored, own: NDArray[np.float64], other: NDArray[np.float64]) -> Estimate:
    cluster = part.context.cluster if part.context else None
    if cluster is None or len(np.unique(cluster)) < 2:
        return Estimate(value=float(np.mean(own - other)), low=None, high=None)
    found = paired_t(own, other, cluster)
    return Estimate(value=found.difference, low=found.low, high=found.high)
