"""What is to be run: frozen jobs with keys that are a function of everything the outcome depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from benchmark.encoders import public_name

PROTOCOL = 1
"""Raised when anything that methods share (splits, batches, layers, the loop, ranking) changes what runs store."""


def digest(value: Any) -> str:
    """SHA-256 (hex) of a value's canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def derive_seed(*parts: object) -> int:
    """A seed in [0, 2**63) from all it depends on, for example (job seed, 'dropout', epoch)."""
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def share_of_users(share: float) -> str:
    """The ``few_shot`` of a job as readers see it: ``10 % of users``."""
    return f"{100 * share:g} % of users"


@dataclass(frozen=True, kw_only=True)
class Cut:
    """How the strict track asks: about what happened from an instant on, which is the same for everybody."""

    quantile: float = 0.9
    """Of the times of the target's interactions, where the test part begins; the validation part begins at the same
    quantile of what is before that."""
    test: Literal["last", "successive"] = "last"
    """What is asked of each user: the last interaction after the cut, or every one after all that came before it."""


def questions_of(fingerprint: str, cut: Cut | None) -> str:
    """What is asked of a domain, as a digest: in leave-one-out the domain's own fingerprint."""
    return digest({"domain": fingerprint, "cut": asdict(cut)}) if cut else fingerprint


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """A pre-training artefact that jobs may share."""

    family: str
    """What is pre-trained, for example ``UniSRec``."""
    version: int
    sources: tuple[str, ...]
    encoder: str
    config: Mapping[str, Any]
    epochs: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run: (target, setting, method, seed, sources) and the configuration it is run under."""

    suite: str
    target: str
    method: str
    version: int
    """The method's version, raised whenever its outcomes change."""
    seed: int
    setting: str = "full"
    track: str = "paper"
    cut: Cut | None = None
    """Of the strict track; None elsewhere."""
    sources: tuple[str, ...] = ()
    encoder: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    """Resolved hyper-parameters of the model."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Resolved settings of the training loop; empty for methods that are not trained."""
    pretraining: Pretraining | None = None
    few_shot: float | None = None
    """Share of the target's users that it is trained on, above 0 and below 1; None for all of them."""
    control: str | None = None
    """What is taken from the row on purpose, by a name of `benchmark.controls`."""

    def as_dict(self) -> dict[str, Any]:
        return json.loads(json.dumps(asdict(self)))

    def published(self) -> Job:
        """The job as it is stored: without the paths of this machine that an encoder's name may hold."""
        if self.encoder is None:
            return self
        spec = self.pretraining and replace(self.pretraining, encoder=public_name(self.pretraining.encoder))
        return replace(self, encoder=public_name(self.encoder), pretraining=spec)
