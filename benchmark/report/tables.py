"""What a leaderboard says, whatever it is rendered as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmark.record import OverlapInfo, Questions, RemovedInfo, Role, SourceInfo, TargetInfo
from benchmark.significance import Paired

REFERENCE = "SASRec"
"""The row that the others are compared with."""
CONTROL = "control"
"""What the variant of a row begins with that something was taken from, as in ``control=shuffled-test``."""
LEVEL = 0.01
"""Of a mark: as the paper's stars have it, but adjusted for the number of rivals."""


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
    low: float | None
    high: float | None
    """Of the 95 % interval of the mean over users, each averaged over seeds; None without knowledge of the users."""
    printed: float | None
    """The paper's value, where it has one for this target and method."""


@dataclass(frozen=True, kw_only=True)
class Against:
    """A row beside a rival, in NDCG@10 over users, each averaged over seeds."""

    rival: str
    """Label of the rival's row."""
    paired: Paired
    p_holm: float
    """The two-sided p value, adjusted by Holm within its family on this target."""

    @property
    def above(self) -> bool:
        """The row is better, at the level of a mark."""
        return self.paired.difference > 0 and self.p_holm < LEVEL

    @property
    def below(self) -> bool:
        return self.paired.difference < 0 and self.p_holm < LEVEL


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What the tests say of a row that stands for a new method (UniSRec's, or a submitted one) on this target."""

    baselines: tuple[Against, ...]
    """The paper's baselines; siblings of the row and replicas are outside the family."""
    controls: tuple[Against, ...]
    """A family of its own."""
    absent: tuple[str, ...]
    """Paper baselines that the suite has here and that have no result: with any of them no mark is given."""
    beats_baselines: bool
    """Better than every paper baseline with a Holm-adjusted p below 0.01: the mark ``*``."""
    beats_controls: bool
    """That, and better than every control likewise: the mark ``**``."""
    best_baseline: str
    """Label of the paper baseline with the highest mean."""
    low: float
    high: float
    """95 % interval, over seeds x users, of the difference to it: where it includes 0 the claim is about
    these trained models, not about the method."""


@dataclass(frozen=True, kw_only=True)
class Pretrainings:
    """Of a row whose runs start from several pre-trainings: where the variance of NDCG@10 over runs comes from."""

    seeds: tuple[int, ...]
    """Of the pre-trainings."""
    between: float
    """Standard deviation between pre-trainings, less what chance within them adds to it; 0 where there is no more."""
    within: float | None
    """Standard deviation of runs that start from the same; None where each has one run."""


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
    claim: Claim | None
    """None for baselines, controls and replicas, and where there is no baseline to compare with."""
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
    pretrainings: Pretrainings | None = None
    """Left out unless there are several."""
    trials: int | None = None
    """Configurations that were tried before this one was chosen, this one included; 0 where none was. Left out where
    the suite was not tuned, and where a method has nothing to tune."""
    under_tuned: str | None = None
    """Why these are fewer than another row of the table had; left out where they are not."""
    other_hardware: str | None = None
    """What it was trained on, where that is not what most runs of the table were; its times are no measure beside
    theirs. Left out otherwise."""

    @property
    def label(self) -> str:
        return label_of(self.method, self.setting, self.variant)

    @property
    def controlled(self) -> bool:
        """Something was taken from it on purpose (`benchmark.controls`): it competes with no other row."""
        return any(part.startswith(f"{CONTROL}=") for part in self.variant.split(", "))


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A job that was asked for and has no result."""

    method: str
    setting: str
    seed: int
    failed: bool
    """It was run and failed; otherwise it was not run."""
    reason: str
    label: str | None = None
    """What the suite calls its row; left out where it has no name of its own."""


@dataclass(frozen=True, kw_only=True)
class Unrun:
    """A row of the suite of which fewer runs were asked for than the suite has."""

    method: str
    setting: str
    done: int
    """Runs with a result."""
    runs: int
    """Runs that the suite has."""
    seconds: float | None
    """That one run is forecast to take on a processor to itself, from the runs of this report; None where they tell
    nothing of the method, and 0 where nothing is trained."""
    label: str | None = None
    """What the suite calls its row; left out where it has no name of its own."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """One target under one track."""

    target: str
    track: str
    about: TargetInfo | None
    """None where no job of the target has a result."""
    rows: tuple[Row, ...]
    """In the order they are shown: the paper's rows as printed, then controls, replicas and others."""
    tied: tuple[tuple[str, ...], ...]
    """Groups of rows, by label, that can't be told apart in NDCG@10: best first, none within another, rows that stand
    alone left out."""
    improvement: Mapping[str, float | None]
    """By metric: the best UniSRec or submitted row over the best paper baseline, relative; None where that is 0, empty
    without either and while a baseline of the suite has no result."""
    detectable: float | None
    """The smallest difference to the reference in NDCG@10 that would be found here with power 0.8 at 5 %, in the median
    of the rows; None where no row is compared."""
    gaps: tuple[Gap, ...]
    sources: tuple[SourceInfo, ...]
    overlap: tuple[OverlapInfo, ...]
    encoders: tuple[str, ...]
    cold_users: int | None
    """Users whose test item never occurs in training; None where the users' context is missing. In the strict track
    test questions instead of users."""
    clusters: int | None
    """Independent units of the comparisons where these are clusters of users; None where they are the users."""
    no_comparison: str | None
    """Why no row is compared with the reference; None where they are."""
    questions: Questions | None = None
    """What is asked in the strict track; absent elsewhere, where it is one question a user."""
    removed: tuple[RemovedInfo, ...] = ()
    """What was taken out of sources because the target has it too; absent where nothing was."""
    unrun: tuple[Unrun, ...] = ()
    """What else of the suite has no result; absent where all of it was asked for."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far two tracks of a target agree on the order of the rows that both have, in NDCG@10."""

    target: str
    tracks: tuple[str, str]
    methods: tuple[str, ...]
    """Labels of the rows that both have."""
    tau: float | None
    """Kendall's tau-b: 1 is the same order, 0 no relation, -1 the reverse; None where `reason` says why."""
    low: float | None
    high: float | None
    """95 % interval by resampling the users of each track, given these trained models."""
    reason: str | None
    """Why there is no tau; None where there is."""


@dataclass(frozen=True, kw_only=True)
class Leaderboard:
    suite: str
    tables: tuple[Table, ...]
    machines: tuple[str, ...]
    versions: tuple[str, ...]
    agreements: tuple[Agreement, ...] = ()
    """One a target with two tracks; absent where there is none."""
