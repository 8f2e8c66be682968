"""On what a run was trained, as far as it decides how long that took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from benchmark.record import Record


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What makes the largest difference to training time. Processors of one name differ by less than a factor of two,
    those without bfloat16 are several times as slow as those that multiply it."""

    device: str
    """``cpu``, or the name of an accelerator."""
    precision: str
    """Of matrix products."""

    @classmethod
    def of(cls, record: Record) -> Hardware | None:
        """None where nothing was trained."""
        settings = record.key_parts.get("training")
        precision = settings.get("precision") if isinstance(settings, Mapping) else None
        return cls(device=record.cost.device, precision=str(precision)) if precision else None

    def __str__(self) -> str:
        return f"{self.precision} on {self.device}"


def usual(records: Iterable[Record]) -> Hardware | None:
    """What most of the runs were trained on; None where none was."""
    counted = Counter(hardware for record in records if (hardware := Hardware.of(record)))
    return counted.most_common(1)[0][0] if counted else None
