"""What a leaderboard says, whatever it is rendered as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmark.record import OverlapInfo, Role, SourceInfo, TargetInfo
from benchmark.significance import Paired

REFERENCE = "SASRec"
"""The row that the others are compared with."""


def label_of(method: str, setting: str, variant: str) -> str:
    """A row's name as tables show it."""
    extras = [extra for extra in (setting if setting != "full" else "", variant) if extra]
    return f"{method} ({'; '.join(extras)})" if extras else method


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A metric of a row: the mean over seeds of the mean over users."""

    mean: float
    sd: float | None
    """Sample standard deviation over seeds; None with one seed."""
    printed: float | None
    """The paper's value, where it has one for this target and method."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A method under one setting and configuration, over its seeds."""

    method: str
    setting: str
    variant: str
    """What tells this row from others of the same method and setting; empty where there is no other."""
    role: Role
    note: str | None
    seeds: tuple[int, ...]
    cells: Mapping[str, Cell]
    """By name of the metric."""
    versus: Paired | None
    """Difference to the reference in NDCG@10 over users, each averaged over seeds; None where it is not compared."""
    wall_seconds: float
    """Mean over seeds, without pre-training."""
    core_seconds: float
    """Processor time of the same: on a busy machine the honest one."""
    pretraining_seconds: float | None
    """Mean over seeds of the run's share: the artefact's wall time divided by the runs of the report that use it."""
    peak_memory_mb: float
    """The highest of all seeds."""
    parameters_trained: int | None
    parameters_total: int | None
    epochs: float | None
    """Epochs run, mean over seeds; None for methods without epochs."""
    best_epoch: float | None
    tie_rate: float
    """Share of test items that tie with another item, mean over seeds."""
    tuning: str
    warnings: tuple[str, ...]

    @property
    def label(self) -> str:
        return label_of(self.method, self.setting, self.variant)


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A job of the suite without a result."""

    method: str
    setting: str
    seed: int
    failed: bool
    """It was run and failed; otherwise it was not run."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class Table:
    """One target under one track."""

    target: str
    track: str
    about: TargetInfo | None
    """None where no job of the target has a result."""
    rows: tuple[Row, ...]
    """In the order they are shown: the paper's rows as printed, then controls, replicas and others."""
    gaps: tuple[Gap, ...]
    sources: tuple[SourceInfo, ...]
    overlap: tuple[OverlapInfo, ...]
    encoders: tuple[str, ...]
    cold_users: int | None
    """Users whose test item never occurs in training; None where the users' context is missing."""
    clusters: int | None
    """Independent units of the comparisons where these are clusters of users; None where they are the users."""
    no_comparison: str | None
    """Why no row is compared with the reference; None where they are."""


@dataclass(frozen=True, kw_only=True)
class Leaderboard:
    suite: str
    tables: tuple[Table, ...]
    machines: tuple[str, ...]
    versions: tuple[str, ...]
