"""What a worker does: one job to a stored run, one pre-training to an artefact.

A worker stays warm between jobs and has one thread, so that a run is the same whatever the number of workers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark import controls, features, parallel, pretrain, source_text, store
from benchmark.batches import MAX_LENGTH
from benchmark.claims import RUNNING, claim
from benchmark.diagnose import Examined, Texts, diagnose
from benchmark.domain import Domain, Sequences
from benchmark.encode import Encoded, cached, drop_words, encode
from benchmark.encoders import FEATURES
from benchmark.errors import InputError
from benchmark.files import sweep
from benchmark.jobs import Job, derive_seed
from benchmark.machine import commit, device_name, peak_memory_mb, reset_peak_memory, versions
from benchmark.method import (
    Learned,
    Material,
    Method,
    Model,
    PretrainingFamily,
    Registry,
    Scorer,
    ScoringModel,
    SourceMaterial,
    configure,
    registry,
)
from benchmark.metrics import per_user
from benchmark.plan import ArtefactTask, Task
from benchmark.rank import rank
from benchmark.record import (
    Cost,
    EncoderInfo,
    Epoch,
    MethodInfo,
    OverlapInfo,
    Parameters,
    PretrainingInfo,
    Questions,
    Record,
    RemovedInfo,
    SourceInfo,
    TargetInfo,
)
from benchmark.splits import Split, some_users, split_of
from benchmark.taxonomy import attributes
from benchmark.train import Spent, Trained, Training, refit, train


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a worker finds and leaves things."""

    cache: Path
    results: Path
    device: str
    plugins: tuple[str, ...] = ()
    replace: bool = False

    @property
    def registry(self) -> Registry:
        return registry(self.plugins)

    @property
    def running(self) -> Path:
        """Where runs are claimed."""
        return self.results / RUNNING

    def checkpoints(self, key: str) -> tuple[Path, Path]:
        """Of training, and of training anew after it."""
        folder = self.cache / "checkpoints"
        return folder / f"{key[:32]}.safetensors", folder / f"{key[:32]}.refit.safetensors"

    def log(self, key: str) -> Path:
        return self.cache / "logs" / f"{key[:12]}.log"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the planner knows of a job's data: what a record must say of them, and what may be shown."""

    target: TargetInfo
    sources: tuple[SourceInfo, ...]
    overlap: tuple[OverlapInfo, ...]
    removed: tuple[RemovedInfo, ...]
    warnings: tuple[str, ...]
    may_show: bool
    """Whether target and sources allow that single users and item texts get into results."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What is said of a finished job."""

    folder: Path
    split: str
    """``test``; of a trial of tuning ``valid``, for nobody should choose by what happened on test."""
    ndcg: float
    """NDCG@10 on it."""
    seconds: float
    found: bool = False
    """Another process had stored it meanwhile."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """Nothing was done, for another process is at it."""


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


def matrix(source: Encoded, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """The vectors of these rows in memory of this process, writable as torch wants it."""
    return source.matrix[rows].astype(np.float32, copy=False)


@contextmanager
def logging_to(path: Path) -> Iterator[Callable[[str], None]]:
    """A function that writes a line at a time to a file, with the time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:

        def log(line: str) -> None:
            file.write(f"{store.now()} {line}\n")
            file.flush()

        yield log


def claim_artefact(task: ArtefactTask, place: Place) -> Path | Taken:
    """Pre-train, unless the artefact is there or another process works on one that shares its state."""
    with claim(place.cache / RUNNING, pretrain.line(task.parts)) as mine:
        return make_artefact(task, place) if mine else Taken()


def make_artefact(task: ArtefactTask, place: Place) -> Path:
    """Pre-train, unless the artefact is there. Processes that torchrun started do it together.

    Who calls this holds the claim to it.
    """
    found = pretrain.find(task.spec, task.key, place.cache, place.results)
    parallel.check_same(
        f"{task.key} {found}", f"{place.cache}: not all processes see the same there; give them one shared folder"
    )
    if found:
        return found
    family = place.registry.family(task.spec.family)
    sequences, text, noisy = parallel.leader_first(lambda: _sources(task, family, place))
    with logging_to(place.log(task.key)) if parallel.leads() else nullcontext(lambda line: None) as log:
        return pretrain.pretrain(
            task.spec,
            family,
            task.parts,
            sequences,
            text,
            noisy,
            cache=place.cache,
            device=torch.device(place.device),
            log=log,
        )


def _sources(task: ArtefactTask, family: PretrainingFamily, place: Place) -> tuple[Sequences, Tensor, Tensor]:
    """What a pre-training learns from: the sequences of its sources, their texts, and the noisy copy of these."""
    spec = task.spec
    domains = [
        _domain(place.cache, name, fingerprint)
        for name, fingerprint in zip(spec.sources, task.parts["sources"], strict=True)
    ]
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


def _pretraining(task: Task, place: Place) -> pretrain.Artefact | None:
    if task.artefact is None:
        return None
    path = pretrain.find(task.artefact.spec, task.artefact.key, place.cache, place.results)
    if path is None:
        raise FileNotFoundError(f"the pre-trained weights {task.artefact.key[:12]} are gone")
    return pretrain.load(path, task.artefact.key)


def run_job(task: Task, facts: Facts, place: Place) -> Outcome | Taken:
    """Train, rank and store one run, unless another process does or has done so. Nothing is stored if anything fails.

    A run that was interrupted goes on from its checkpoint.
    """
    with claim(place.running, task.key) as mine:
        if not mine:
            return Taken()
        if not place.replace and (folder := store.find_whole(place.results, task.key)):
            return _found(folder, task)
        for checkpoint in place.checkpoints(task.key):
            sweep(checkpoint)
        sweep(store.run_folder(place.results, task.job, task.key))
        with logging_to(place.log(task.key)) as log:
            return _run_job(task, facts, place, log)


def _found(folder: Path, task: Task) -> Outcome:
    run, split = store.read_run(folder), "valid" if task.trial else "test"
    counts = getattr(run.ranks, f"{split}_greater"), getattr(run.ranks, f"{split}_equal")
    ndcg = float(per_user("NDCG@10", *counts).mean())
    return Outcome(folder=folder, split=split, ndcg=ndcg, seconds=run.record.cost.wall_seconds, found=True)


def _run_job(task: Task, facts: Facts, place: Place, log: Callable[[str], None]) -> Outcome:
    job, device = task.job, torch.device(place.device)
    method = place.registry.method(job.method)
    log(f"{job.target} {job.method} seed {job.seed}{f' under {job.control}' if job.control else ''}")
    domain = _domain(place.cache, job.target, task.parts["target"])
    draw = controls.draw_of(domain.fingerprint, job.seed)
    split = controls.learnt(job.control, split_of(domain, job.cut), draw)
    whose_N = controls.contents(job.control, domain.n_items, draw)
    text = encoded(place.cache, domain, job.encoder) if job.encoder else None
    artefact = _pretraining(task, place)
    read = _own_sources(task, method, place)
    taxonomy = attributes([domain, *read]) if "taxonomy" in method.needs else []
    sources = _source_material(task, method, place, read, taxonomy[1:]) if read else None
    reset_peak_memory(device)
    started, core_started = time.perf_counter(), time.process_time()
    config = method.configure(job.config)

    def shown(whole: Split) -> Split:
        """What it may learn from, and be selected on."""
        share = job.few_shot
        return whole if share is None else some_users(whole, share, domain.fingerprint, job.seed)

    def build(sequences: Sequences) -> Model | ScoringModel | Scorer:
        torch.manual_seed(derive_seed(job.seed, "initial weights"))
        material = Material(
            n_items=domain.n_items,
            train=sequences,
            text=matrix(text, whose_N) if text else None,
            taxonomy=tuple(taxonomy[0][item] for item in whose_N) if "taxonomy" in method.needs else None,
            sources=sources,
            pretrained={name: value.clone() for name, value in artefact.weights.items()} if artefact else None,
        )
        built = method.build(config, material)
        return built.to(device) if isinstance(built, Learned) else built

    built = build(shown(split).train)
    limit = MAX_LENGTH - (built.room if isinstance(built, Model) else 0)
    selection, asked = controls.asked(job.control, split, draw, limit)
    trained, again = Trained(curve=(), best_epoch=0, stopped="not trained"), Spent()
    checkpoints = place.checkpoints(task.key)
    if method.trained and not isinstance(built, Learned):
        raise TypeError(
            f"method '{method.name}' builds no Model or ScoringModel: the loop can't train it; "
            "register it as trained=False"
        )
    settings = Training(**task.parts["training"])
    if isinstance(built, Learned) and method.trained:
        trained = train(built, shown(selection), settings, job.seed, device=device, checkpoint=checkpoints[0], log=log)
    valid = rank(built, asked.valid, split.n_items, device)
    if split.in_time is not None:
        built = build(split.in_time.refit)
        if isinstance(built, Learned) and method.trained:
            known, epochs = split.in_time.refit, trained.best_epoch
            again = refit(built, known, settings, epochs, job.seed, device=device, checkpoint=checkpoints[1], log=log)
            trained = replace(trained, stopped=f"{trained.stopped}; trained anew for {epochs} epochs")
    test = rank(built, asked.test, split.n_items, device)
    ranks = store.Ranks(
        valid_greater=valid.greater, valid_equal=valid.equal, test_greater=test.greater, test_equal=test.equal
    )
    seconds = trained.earlier.wall_seconds + again.wall_seconds + time.perf_counter() - started
    record = Record(
        key=task.key,
        key_parts=dict(task.parts),
        job=job.published(),
        method=MethodInfo(
            name=method.name,
            family=method.family,
            role="control" if job.control else method.role,
            version=method.version,
            paper=method.paper,
            note=": ".join(filter(None, (controls.ABOUT.get(job.control or ""), method.note))) or None,
        ),
        target=facts.target,
        sources=facts.sources,
        overlap=facts.overlap,
        removed=facts.removed,
        questions=_questions(job, split),
        encoder=EncoderInfo(provenance=text.provenance, sha256=text.sha256) if text else None,
        pretraining=_pretraining_info(artefact),
        parameters=_parameters(built, trained=method.trained),
        learning_curve=tuple(
            Epoch(epoch=e.epoch, loss=e.loss, valid=e.valid, seconds=e.train_seconds + e.rank_seconds)
            for e in trained.curve
        ),
        best_epoch=trained.best_epoch if trained.curve else None,
        stopped=trained.stopped,
        tuning=task.tuning,
        cost=Cost(
            wall_seconds=seconds,
            core_seconds=trained.earlier.core_seconds + again.core_seconds + time.process_time() - core_started,
            peak_memory_mb=peak_memory_mb(device),
            device=device_name(device),
            threads=torch.get_num_threads(),
        ),
        versions=versions(),
        commit=commit(),
        warnings=facts.warnings,
        ranks_sha256=ranks.sha256,
        created=store.now(),
    )
    diagnostics = None
    # figures show models as they are: what a control leaves of one is told by its ranks
    if text is not None and isinstance(built, Model) and job.control is None:
        examined = Examined(
            method=method,
            config=config,
            model=built,
            target=Texts(domain=domain, text_NF=text.matrix),
            split=split,
            pretrained=artefact.weights if artefact else None,
            device=device,
        )
        diagnostics = diagnose(task.key, examined, lambda: _texts(task, place), show=facts.may_show, log=log)
    folder = store.write_run(place.results, record, ranks, diagnostics, replace=place.replace)
    for checkpoint in checkpoints:
        checkpoint.unlink(missing_ok=True)
    split_shown, told = ("valid", valid) if task.trial else ("test", test)
    ndcg = float(per_user("NDCG@10", told.greater, told.equal).mean())
    log(f"done: {split_shown} NDCG@10 {ndcg:.4f} after {seconds:.1f} s")
    return Outcome(folder=folder, split=split_shown, ndcg=ndcg, seconds=seconds)


def _questions(job: Job, split: Split) -> Questions | None:
    if job.cut is None or split.in_time is None:
        return None
    return Questions(
        rule=job.cut.test,
        valid_from=store.utc(split.in_time.valid_from),
        test_from=store.utc(split.in_time.test_from),
        valid=len(split.valid.targets),
        test=len(split.test.targets),
        users=len(np.unique(split.in_time.test_users)),
        left_out=split.in_time.left_out,
    )


def _own_sources(task: Task, method: Method, place: Place) -> list[Domain]:
    """The source domains that a method reads itself, having no pre-training artefact to start from."""
    return _source_domains(task, place) if method.reads_sources else []


def _source_domains(task: Task, place: Place) -> list[Domain]:
    return [
        _domain(place.cache, name, fingerprint)
        for name, fingerprint in zip(task.job.sources, task.parts["sources"], strict=True)
    ]


def _texts(task: Task, place: Place) -> list[Texts]:
    """The sources with their encoded texts; raises InputError where these are not in the cache.

    They may never have been needed: published weights spare those who use them the encoding of all sources.
    """
    found, encoder = [], task.job.encoder or ""
    for domain in _source_domains(task, place):
        if encoder.startswith(FEATURES):
            text_NF = features.vectors(encoder, domain)
        elif (known := cached(domain.texts, encoder, place.cache / "encoded")) is not None:
            text_NF = known.matrix
        else:
            raise InputError(f"the texts of {domain.name} were not encoded here, since its weights were at hand")
        found.append(Texts(domain=domain, text_NF=text_NF))
    return found


def _source_material(
    task: Task,
    method: Method,
    place: Place,
    domains: Sequence[Domain],
    taxonomies: Sequence[tuple[tuple[str, ...], ...]],
) -> SourceMaterial:
    text = None
    if task.job.encoder and "text" in method.needs:
        text = np.concatenate([encoded(place.cache, domain, task.job.encoder).matrix for domain in domains])
    return SourceMaterial(
        n_items=sum(domain.n_items for domain in domains),
        train=pretrain.merge(domains),
        text=text,
        taxonomy=tuple(chain.from_iterable(taxonomies)) if "taxonomy" in method.needs else None,
    )


def _parameters(built: object, *, trained: bool) -> Parameters | None:
    if not isinstance(built, Learned):
        return None
    sizes = [(parameter.numel(), trained and parameter.requires_grad) for parameter in built.parameters()]
    return Parameters(total=sum(n for n, _ in sizes), trained=sum(n for n, grad in sizes if grad))


def _pretraining_info(artefact: pretrain.Artefact | None) -> PretrainingInfo | None:
    if artefact is None:
        return None
    about: Mapping[str, float] = artefact.about
    return PretrainingInfo(
        key=str(artefact.about["key"]),
        weights_sha256=artefact.sha256,
        epochs=int(about["epochs"]),
        wall_seconds=about["wall_seconds"],
        core_seconds=about["core_seconds"],
    )
