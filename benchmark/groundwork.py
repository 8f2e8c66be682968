"""What must be there before a suite's jobs and pre-trainings can start: a device, domains, encoded texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmark import claims, derive, features, transfer
from benchmark.cards import Card, Cards
from benchmark.encode import provenance
from benchmark.encoders import FEATURES, EncoderSpec
from benchmark.errors import InputError
from benchmark.jobs import Cut, Job, digest
from benchmark.materials import encoded
from benchmark.method import Registry
from benchmark.plan import ArtefactTask
from benchmark.prepare import Prepared, prepare, prepared
from benchmark.record import RemovedInfo
from benchmark.splits import instant_of
from benchmark.suite import Suite


def chosen_device(name: str) -> torch.device:
    """The device of ``--device``; raises InputError where it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch sees no GPU here; use --device cpu, or install a build with CUDA")
    return torch.device(name)


def card_of(name: str, cards: Cards) -> Card:
    """The card of a domain; of a derived one (``Scientific+unique-texts``) that of what it is made from, with the
    derived name and without printed numbers. Raises InputError for unknown names."""
    base, what = derive.parts(name)
    card = cards[base]
    if what is None:
        return card
    said = what.replace("-", " ")
    changes = {"name": derive.derived_name(card.name, what), "title": f"{card.title}, {said}", "paper_name": None}
    return card.model_copy(update=changes)


def with_full_names(suite: Suite, cards: Cards) -> Suite:
    """The suite with its domains named as their cards are, not by an alias."""

    def full(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(card_of(name, cards).name for name in names)

    rows = tuple(
        row if row.sources is None else row.model_copy(update={"sources": full(row.sources)}) for row in suite.methods
    )
    named = {"targets": full(suite.targets), "sources": full(suite.sources), "methods": rows}
    if suite.tuning and suite.tuning.target:
        named["tuning"] = suite.tuning.model_copy(update={"target": card_of(suite.tuning.target, cards).name})
    return suite.model_copy(update=named)


def prepare_all(
    names: Iterable[str],
    cards: Cards,
    *,
    data: Sequence[Path],
    cache: Path,
    allow_mismatch: bool,
    say: Callable[[str], None],
) -> dict[str, Prepared]:
    """Every domain that is named, prepared and checked; those that are derived are made of such, and kept."""
    found: dict[str, Prepared] = {}
    for name in dict.fromkeys(names):
        base, what = derive.parts(name)
        found[name] = prepare(cards[base], data=data, cache=cache, allow_mismatch=allow_mismatch)
        if what is not None:
            derived = derive.BY_NAME[what](found[name].domain)
            if derived.fingerprint == found[name].domain.fingerprint:
                raise InputError(f"{name}: is all of {base}, in which there is nothing to leave out; name that instead")
            derive.keep(derived, cache)
            found[name] = replace(found[name], domain=derived, card=card_of(name, cards), split="own")
        domain = found[name].domain
        say(f"{name}: {domain.n_users:,} users, {domain.n_items:,} items, {domain.n_interactions:,} interactions")
    return found


def lacking(names: Iterable[str], cards: Cards, *, data: Sequence[Path], cache: Path) -> dict[str, str]:
    """By the name of each domain that can't be prepared here, what is missing and how to get it."""
    found = {name: prepared.lacking(card_of(name, cards), data=data, cache=cache) for name in dict.fromkeys(names)}
    return {name: said for name, said in found.items() if said is not None}


@dataclass(frozen=True, kw_only=True)
class Settled:
    """Jobs whose sources are what they may learn from beside their target, and what those were derived to be."""

    jobs: list[Job]
    prepared: dict[str, Prepared]
    """Of every domain that the jobs name."""
    derived: tuple[str, ...]
    """Of these the ones that lie in no cache yet."""
    removed: dict[str, RemovedInfo]
    """What was taken out of a source, by its name."""


def settle(
    jobs: Sequence[Job], prepared: Mapping[str, Prepared], *, drop_overlap: bool, say: Callable[[str], None]
) -> Settled:
    """Cut the sources of a strict job where its test part begins and, with ``drop_overlap``, take out of them what they
    share with the target. Raises InputError where that can't be done."""
    known, removed = dict(prepared), {}
    names: dict[tuple[str, Cut | None, str], str] = {}

    def derived(target: str, cut: Cut | None, name: str) -> str:
        source = prepared[name]
        transfer.refuse_itself(prepared[target], source)
        if cut is not None:
            source = replace(source, domain=derive.before(source.domain, instant_of(prepared[target].domain, cut)))
        if drop_overlap:
            source, taken = transfer.without_overlap(prepared[target], source)
            if taken is not None:
                removed[taken.source] = taken
                say(
                    f"{name}: {taken.users:,} users, {taken.items:,} items and {taken.texts:,} items of identical text "
                    f"that {target} has too are taken out, and {taken.short_users:,} users of whom too little is left"
                )
        if source.domain.name not in known:
            known[source.domain.name] = source
            domain = source.domain
            sizes = f"{domain.n_users:,} users, {domain.n_items:,} items, {domain.n_interactions:,} interactions"
            say(f"{domain.name}: {sizes}")
        return source.domain.name

    def settled(job: Job) -> Job:
        if job.cut is None and not drop_overlap:
            return job
        for name in job.sources:
            key = (job.target, job.cut, name)
            names[key] = names.get(key) or derived(*key)
        sources = tuple(names[job.target, job.cut, name] for name in job.sources)
        return replace(job, sources=sources, pretraining=job.pretraining and replace(job.pretraining, sources=sources))

    done = [settled(job) for job in jobs]
    return Settled(
        jobs=done, prepared=known, derived=tuple(name for name in known if name not in prepared), removed=removed
    )


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
    """Encode texts here, with all processors, so that those who train only map them. Of several commands that want the
    same texts one encodes them."""
    for name, encoder, noise in dict.fromkeys(texts):
        with claims.hold(cache / claims.RUNNING, digest([prepared[name].domain.fingerprint, encoder, noise])):
            encoded(cache, prepared[name].domain, encoder, noise=noise, progress=True)
