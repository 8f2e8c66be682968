"""What a run says about itself: the schema of ``record.json``.

Every number of a report comes from here or from the ranks beside it. Nothing here names a user or an item.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from benchmark.jobs import Job, questions_of

FORMAT = 1
"""Version of the stored files; raised when their meaning changes."""

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, lt=2**53)]
Amount = Annotated[float, Field(ge=0, lt=2**53)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_+]([A-Za-z0-9._+-]*[A-Za-z0-9_+])?$")]
"""Of a suite or a domain: it names folders and files of results and reports, and can't lead out of them."""
Utc = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]

Role = Literal["paper", "control", "replica", "row"]
"""Why a row is there: in the paper's table, a control, a replica of released code, or any other method."""


def now() -> str:
    """The present moment as records write it."""
    return utc(time.time())


def utc(instant: float) -> str:
    """Seconds since 1970 as records write them."""
    return datetime.fromtimestamp(instant, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Stored(BaseModel):
    """Strict and frozen: an unknown key, a wrong type or a number that is not finite is an error."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class MethodInfo(Stored):
    name: str
    family: str
    """Methods that share code and pre-training, for example ``UniSRec``."""
    role: Role
    version: Count
    paper: str | None
    """Where the method was published."""
    note: str | None
    """One sentence on what this row is, where its name does not say it."""


class TargetInfo(Stored):
    name: str
    title: str
    paper_name: str | None
    """The data set's name in the printed table; null where it is not in it."""
    fingerprint: Sha256
    custom: bool
    """The data differ from what its card expects, or have no card: printed numbers do not apply."""
    split: str
    """For example ``released`` or ``re-processed``."""
    users: Count
    items: Count
    interactions: Count


class SourceInfo(Stored):
    name: str
    fingerprint: Sha256
    users: Count
    items: Count
    interactions: Count


class OverlapInfo(Stored):
    """What a source shares with the target; null where their ids are not of one id space, hence not checkable."""

    source: str
    users: Count | None
    items: Count | None
    texts: Count
    """Items of the target whose text is also, letter for letter, in the source."""


class RemovedInfo(Stored):
    """What was taken out of a source before pre-training, because the target has it as well."""

    source: str
    """As the job names it, after the removal."""
    users: Count
    """Shared users, with whole sequences; 0 where ids are not comparable."""
    items: Count
    """Shared items; 0 where ids are not comparable."""
    texts: Count
    """Items that are not shared, but whose text an item of the target has, letter for letter."""
    short_users: Count
    """Users who then had fewer than three interactions left."""
    interactions: Count
    """Interactions that went with all of these."""


class Questions(Stored):
    """What is asked in the strict track, where it is not one question a user for validation and one for test."""

    rule: Literal["last", "successive"]
    """The last interaction of each user of the test part, or every one."""
    valid_from: Utc
    """Where the validation part begins: training ends here while selecting."""
    test_from: Utc
    """Where the test part begins: everything that is learnt from, the sources too, ends here."""
    valid: Count
    """Questions for validation, one a user."""
    test: Count
    """Questions for test."""
    users: Count
    """Users who are asked for test."""
    left_out: Count
    """Users of the test part who are not asked, for want of any history before it."""


class EncoderInfo(Stored):
    provenance: dict[str, Any]
    """Model, revision, pooling, length, dtype: all that the vectors depend on besides the texts."""
    sha256: Sha256
    """Of the target's matrix."""


class PretrainingInfo(Stored):
    key: Sha256
    weights_sha256: Sha256
    epochs: Count
    wall_seconds: Amount
    """Of the artefact as a whole, however many runs share it."""
    core_seconds: Amount


class Parameters(Stored):
    total: Count
    trained: Count


class Epoch(Stored):
    epoch: Count
    loss: float
    """Mean training loss of the epoch."""
    valid: float
    """NDCG@10 on the validation items."""
    seconds: Amount


class Tuning(Stored):
    trials: Count
    """Configurations tried before this one was chosen; 0 where it was taken as given."""
    note: str


class Cost(Stored):
    wall_seconds: Amount
    """Training, selection and ranking of this run; without pre-training, encoding and data preparation."""
    core_seconds: Amount
    """Processor time of all threads."""
    peak_memory_mb: Amount
    """Resident memory at its highest on a CPU, allocated device memory on an accelerator."""
    device: str
    threads: Count


class Versions(Stored):
    python: str
    numpy: str
    torch: str
    transrec: str
    platform: str
    processor: str
    allocator: str | None = None
    """What stood in place of the C library's, which is what None says."""


class Record(Stored):
    """One run, less its ranks."""

    format: Literal[1] = FORMAT
    key: Sha256
    """`benchmark.jobs.digest` of ``key_parts``."""
    key_parts: dict[str, Any]
    """Everything the outcome depends on: fingerprints, configuration, versions, encoder, precision."""
    job: Job
    method: MethodInfo
    target: TargetInfo
    sources: tuple[SourceInfo, ...]
    overlap: tuple[OverlapInfo, ...]
    removed: tuple[RemovedInfo, ...] = ()
    """An entry a source from which something was removed."""
    questions: Questions | None = None
    """Null where each user of the target has one question for validation and one for test."""
    encoder: EncoderInfo | None
    pretraining: PretrainingInfo | None
    parameters: Parameters | None
    learning_curve: tuple[Epoch, ...]
    """One entry an epoch; empty for methods that are not trained by gradient."""
    best_epoch: Count | None
    """The ``epoch`` of the curve whose weights were ranked."""
    stopped: str
    """Why training ended."""
    tuning: Tuning
    cost: Cost
    versions: Versions
    commit: str | None
    warnings: tuple[str, ...]
    ranks_sha256: Sha256
    """Of the rank arrays, not of the file that holds them."""
    created: Utc

    @property
    def n_valid(self) -> int:
        """Ranks for validation."""
        return self.questions.valid if self.questions else self.target.users

    @property
    def n_test(self) -> int:
        """Ranks for test."""
        return self.questions.test if self.questions else self.target.users

    @property
    def asked(self) -> str:
        """The same for all runs that were asked the same: see `benchmark.jobs.questions_of`."""
        return questions_of(self.target.fingerprint, self.job.cut)


class Failure(Stored):
    """A job that ended without a result."""

    format: Literal[1] = FORMAT
    key: Sha256
    job: Job
    reason: str
    created: Utc


class Planned(Stored):
    """One job of a suite and the key under which its run is to be found, in whatever suite it was run."""

    target: Name
    method: str
    setting: str
    track: Name = "paper"
    seed: Count
    key: Sha256
    label: str | None = None
    """What readers call its row; None where the suite gives it no name of its own."""


class Listed(Stored):
    """One row of a suite on one of its targets, whether or not it was ever asked for."""

    target: Name
    method: str
    setting: str
    track: Name = "paper"
    label: str | None = None
    """As of `Planned`."""
    runs: Count
    """How many jobs of it the suite has."""
    trained: bool
    few_shot: float | None = None
    """The share of users that it is trained on."""


class Plan(Stored):
    """The jobs of a suite, in the suite's order."""

    format: Literal[1] = FORMAT
    suite: Name
    jobs: tuple[Planned, ...]
    """Those that were asked for."""
    rows: tuple[Listed, ...] = ()
    """The whole suite, as far as it is known: a report says what of it was not run."""
