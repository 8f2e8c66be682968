"""What must be there before a suite's jobs and pre-trainings can start: a device, domains, encoded texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmark import features
from benchmark.cards import Cards
from benchmark.encode import provenance
from benchmark.encoders import FEATURES, EncoderSpec
from benchmark.errors import InputError
from benchmark.method import Registry
from benchmark.plan import ArtefactTask
from benchmark.prepare import Prepared, prepare, prepared
from benchmark.runner import encoded
from benchmark.suite import Suite


def chosen_device(name: str) -> torch.device:
    """The device of ``--device``; raises InputError where it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch sees no GPU here; use --device cpu, or install a build with CUDA")
    return torch.device(name)


def with_full_names(suite: Suite, cards: Cards) -> Suite:
    """The suite with its domains named as their cards are, not by an alias."""

    def full(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(cards[name].name for name in names)

    rows = tuple(
        row if row.sources is None else row.model_copy(update={"sources": full(row.sources)}) for row in suite.methods
    )
    return suite.model_copy(update={"targets": full(suite.targets), "sources": full(suite.sources), "methods": rows})


def prepare_all(
    names: Iterable[str],
    cards: Cards,
    *,
    data: Sequence[Path],
    cache: Path,
    allow_mismatch: bool,
    say: Callable[[str], None],
) -> dict[str, Prepared]:
    """Every domain that is named, prepared and checked."""
    found: dict[str, Prepared] = {}
    for name in dict.fromkeys(names):
        found[name] = prepare(cards[name], data=data, cache=cache, allow_mismatch=allow_mismatch)
        domain = found[name].domain
        say(f"{name}: {domain.n_users:,} users, {domain.n_items:,} items, {domain.n_interactions:,} interactions")
    return found


def lacking(names: Iterable[str], cards: Cards, *, data: Sequence[Path], cache: Path) -> dict[str, str]:
    """By the name of each domain that can't be prepared here, what is missing and how to get it."""
    found = {name: prepared.lacking(cards[name], data=data, cache=cache) for name in dict.fromkeys(names)}
    return {name: said for name, said in found.items() if said is not None}


def fingerprints(prepared: Mapping[str, Prepared]) -> dict[str, str]:
    return {name: each.domain.fingerprint for name, each in prepared.items()}


def provenances(encoders: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """What decides the numbers of each encoder, by its name."""
    return {
        name: features.provenance(name) if name.startswith(FEATURES) else provenance(EncoderSpec.parse(name))
        for name in set(encoders)
    }


def lacking_encoders(encoders: Iterable[str]) -> dict[str, str]:
    """By the name of each encoder that can't be had here, why. Raises InputError for what names no encoder."""
    found = {}
    for name in dict.fromkeys(encoders):
        if not name.startswith(FEATURES):
            EncoderSpec.parse(name)
        try:
            provenances([name])
        except InputError as error:
            found[name] = str(error)
    return found


Text = tuple[str, str, float]
"""(domain, encoder, share of words left out)."""


def texts_of(artefact: ArtefactTask, registry: Registry) -> list[Text]:
    """The texts that a pre-training reads: of each source, and of its noisy copy."""
    spec = artefact.spec
    shares = (0.0, registry.family(spec.family).noise)
    return [(name, spec.encoder, share) for name in spec.sources for share in shares]


def encode_all(texts: Iterable[Text], prepared: Mapping[str, Prepared], cache: Path) -> None:
    """Encode texts here, with all processors, so that those who train only map them."""
    for name, encoder, noise in dict.fromkeys(texts):
        encoded(cache, prepared[name].domain, encoder, noise=noise, progress=True)
