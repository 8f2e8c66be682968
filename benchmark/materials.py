"""What a worker reads before it trains: prepared domains, encoded texts, attributes, pre-trained weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark import controls, features, pretrain, source_text
from benchmark.diagnose import Texts
from benchmark.domain import Domain, Sequences
from benchmark.encode import Encoded, cached, drop_words, encode
from benchmark.encoders import FEATURES
from benchmark.errors import InputError
from benchmark.jobs import derive_seed
from benchmark.method import Material, Method, PretrainingFamily, SourceMaterial, configure
from benchmark.place import Place
from benchmark.plan import ArtefactTask, Task
from benchmark.splits import Split, split_of
from benchmark.taxonomy import attributes


@lru_cache(maxsize=8)
def _domain(cache: Path, name: str, fingerprint: str) -> Domain:
    """A prepared domain, which must still be the one that was planned with."""
    domain = Domain.load(cache / "domains" / name)
    if domain.fingerprint != fingerprint:
        raise InputError(f"{name}: the prepared domain changed since this was planned; run the command again")
    return domain


def encoded(cache: Path, domain: Domain, encoder: str, *, noise: float = 0.0, progress: bool = False) -> Encoded:
    """A domain's encoded texts, or those of a copy without a share of their words, from the cache if they are there."""
    if encoder.startswith(FEATURES):
        return features.read(encoder, domain, noisy=noise > 0)
    texts, label = domain.texts, domain.name
    if noise:
        texts = drop_words(texts, noise, derive_seed("noisy copy", domain.fingerprint))
        label += ", words dropped"
    return encode(texts, encoder, cache / "encoded", label=label, progress=progress)


@dataclass(frozen=True, kw_only=True, eq=False)
class Materials:
    """What one job learns from and is asked, its control applied."""

    domain: Domain
    draw: int
    """What is random in a control depends on this."""
    split: Split
    whose_N: NDArray[np.int64]
    """Whose text and attributes each item shows."""
    text: Encoded | None
    taxonomy: tuple[tuple[str, ...], ...] | None
    """Attributes of each item, for methods that need them."""
    sources: SourceMaterial | None
    artefact: pretrain.Artefact | None

    @classmethod
    def read(cls, task: Task, method: Method, place: Place) -> Materials:
        """Raises InputError where a domain is no longer what it was when the task was planned."""
        job = task.job
        domain = _domain(place.cache, job.target, task.parts["target"])
        draw = controls.draw_of(domain.fingerprint, job.seed)
        split = controls.learnt(job.control, split_of(domain, job.cut), draw)
        whose_N = controls.contents(job.control, domain.n_items, draw)
        text = encoded(place.cache, domain, job.encoder) if job.encoder else None
        artefact = _artefact(task, place)
        # where a method starts from an artefact, that has read the sources
        sources = _domains(place, task.job.sources, task.parts["sources"]) if method.reads_sources else []
        taxonomies = attributes([domain, *sources]) if "taxonomy" in method.needs else None
        return cls(
            domain=domain,
            draw=draw,
            split=split,
            whose_N=whose_N,
            text=text,
            taxonomy=tuple(taxonomies[0][item] for item in whose_N) if taxonomies else None,
            sources=_source_material(task, method, place, sources, taxonomies) if sources else None,
            artefact=artefact,
        )

    def material(self, train: Sequences) -> Material:
        """What a method is built from, given what it may learn from; memory of its own where it might write."""
        weights = self.artefact.weights if self.artefact else None
        return Material(
            n_items=self.domain.n_items,
            train=train,
            text=matrix(self.text, self.whose_N) if self.text else None,
            taxonomy=self.taxonomy,
            sources=self.sources,
            pretrained=None if weights is None else {name: value.clone() for name, value in weights.items()},
        )


def matrix(source: Encoded, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """The vectors of these rows in memory of this process, writable as torch wants it."""
    return source.matrix[rows].astype(np.float32, copy=False)


def of_pretraining(task: ArtefactTask, family: PretrainingFamily, place: Place) -> tuple[Sequences, Tensor, Tensor]:
    """What a pre-training learns from: the sequences of its sources, their texts, and the noisy copy of these."""
    spec = task.spec
    domains = _domains(place, spec.sources, task.parts["sources"])
    rounded = task.parts["precision"] == "bfloat16" and family.rounds_text(
        configure(family.config, spec.config, f"pre-training '{spec.family}'")
    )
    text, noisy = (
        source_text.joined(
            [encoded(place.cache, domain, spec.encoder, noise=noise) for domain in domains],
            torch.bfloat16 if rounded else torch.float32,
            place.cache / "encoded",
        )
        for noise in (0.0, family.noise)
    )
    return pretrain.merge(domains), text, noisy


def source_texts(task: Task, place: Place) -> list[Texts]:
    """The sources with their encoded texts; raises InputError where these are not in the cache.

    They may never have been needed: published weights spare those who use them the encoding of all sources.
    """
    found, encoder = [], task.job.encoder or ""
    for domain in _domains(place, task.job.sources, task.parts["sources"]):
        if encoder.startswith(FEATURES):
            text_NF = features.vectors(encoder, domain)
        elif (known := cached(domain.texts, encoder, place.cache / "encoded")) is not None:
            text_NF = known.matrix
        else:
            raise InputError(f"the texts of {domain.name} were not encoded here, since its weights were at hand")
        found.append(Texts(domain=domain, text_NF=text_NF))
    return found


def _domains(place: Place, names: Sequence[str], fingerprints: Sequence[str]) -> list[Domain]:
    return [_domain(place.cache, name, known) for name, known in zip(names, fingerprints, strict=True)]


def _source_material(
    task: Task,
    method: Method,
    place: Place,
    domains: Sequence[Domain],
    taxonomies: Sequence[tuple[tuple[str, ...], ...]] | None,
) -> SourceMaterial:
    """taxonomies: the target's, then those of the sources."""
    text = None
    if task.job.encoder and "text" in method.needs:
        text = np.concatenate([encoded(place.cache, domain, task.job.encoder).matrix for domain in domains])
    return SourceMaterial(
        n_items=sum(domain.n_items for domain in domains),
        train=pretrain.merge(domains),
        text=text,
        taxonomy=tuple(chain.from_iterable(taxonomies[1:])) if taxonomies else None,
    )


def _artefact(task: Task, place: Place) -> pretrain.Artefact | None:
    if task.artefact is None:
        return None
    path = pretrain.find(task.artefact.spec, task.artefact.key, place.cache, place.results)
    if path is None:
        raise FileNotFoundError(f"the pre-trained weights {task.artefact.key[:12]} are gone")
    return pretrain.load(path, task.artefact.key)
