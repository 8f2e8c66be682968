"""What a worker does: one job to a stored run, one pre-training to an artefact.

A worker stays warm between jobs and has one thread, so that a run is the same whatever the number of workers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmark import controls, parallel, pretrain, store
from benchmark.batches import MAX_LENGTH
from benchmark.checkpoint import Spent
from benchmark.claims import RUNNING, claim
from benchmark.diagnose import Examined, Texts, diagnose
from benchmark.diagnostics import Diagnostics
from benchmark.domain import Sequences
from benchmark.files import sweep
from benchmark.jobs import Job, derive_seed
from benchmark.layout import run_folder
from benchmark.machine import commit, device_name, peak_memory_mb, reset_peak_memory, versions
from benchmark.materials import Materials, of_pretraining, source_texts
from benchmark.method import Learned, Method, Model, Scorer, ScoringModel
from benchmark.metrics import per_user
from benchmark.place import Place
from benchmark.plan import ArtefactTask, Task
from benchmark.questions import Ranks
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
    now,
    utc,
)
from benchmark.splits import Split, some_users
from benchmark.train import Trained, Training, refit, train


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


@dataclass(frozen=True, kw_only=True, eq=False)
class _Learnt:
    """A trained model, how it came to be, and what it made of the questions."""

    model: Model | ScoringModel | Scorer
    trained: Trained
    again: Spent
    """Training anew, in the strict track, before it was interrupted."""
    ranks: Ranks


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
    sequences, text, noisy = parallel.leader_first(lambda: of_pretraining(task, family, place))
    with place.logging(task.key) if parallel.leads() else nullcontext(lambda line: None) as log:
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
        sweep(run_folder(place.results, task.job, task.key))
        with place.logging(task.key) as log:
            return _run_job(task, facts, place, log)


def _found(folder: Path, task: Task) -> Outcome:
    run = store.read_run(folder)
    split, ndcg = _told(run.ranks, task)
    return Outcome(folder=folder, split=split, ndcg=ndcg, seconds=run.record.cost.wall_seconds, found=True)


def _run_job(task: Task, facts: Facts, place: Place, log: Callable[[str], None]) -> Outcome:
    job, device = task.job, torch.device(place.device)
    method = place.registry.method(job.method)
    log(f"{job.target} {job.method} seed {job.seed}{f' under {job.control}' if job.control else ''}")
    materials = Materials.read(task, method, place)
    reset_peak_memory(device)
    started, core_started = time.perf_counter(), time.process_time()
    config = method.configure(job.config)
    learnt = _learn(task, method, config, materials, place, log)
    earlier, again = learnt.trained.earlier, learnt.again
    cost = Cost(
        wall_seconds=earlier.wall_seconds + again.wall_seconds + time.perf_counter() - started,
        core_seconds=earlier.core_seconds + again.core_seconds + time.process_time() - core_started,
        peak_memory_mb=peak_memory_mb(device),
        device=device_name(device),
        threads=torch.get_num_threads(),
    )
    record = _record(task, facts, method, materials, learnt, cost)
    diagnostics = _diagnostics(task, facts, method, config, materials, learnt.model, place, log)
    folder = store.write_run(place.results, record, learnt.ranks, diagnostics, replace=place.replace)
    for checkpoint in place.checkpoints(task.key):
        checkpoint.unlink(missing_ok=True)
    split, ndcg = _told(learnt.ranks, task)
    log(f"done: {split} NDCG@10 {ndcg:.4f} after {cost.wall_seconds:.1f} s")
    return Outcome(folder=folder, split=split, ndcg=ndcg, seconds=cost.wall_seconds)


def _learn(
    task: Task, method: Method, config: Any, materials: Materials, place: Place, log: Callable[[str], None]
) -> _Learnt:
    """Train, select, and rank; in the strict track ranks for test are those of a model trained anew on what is known
    by then."""
    job, split, device = task.job, materials.split, torch.device(place.device)

    def shown(whole: Split) -> Split:
        """What it may learn from, and be selected on."""
        share = job.few_shot
        return whole if share is None else some_users(whole, share, materials.domain.fingerprint, job.seed)

    def build(sequences: Sequences) -> Model | ScoringModel | Scorer:
        torch.manual_seed(derive_seed(job.seed, "initial weights"))
        built = method.build(config, materials.material(sequences))
        return built.to(device) if isinstance(built, Learned) else built

    model = build(shown(split).train)
    limit = MAX_LENGTH - (model.room if isinstance(model, Model) else 0)
    selection, asked = controls.asked(job.control, split, materials.draw, limit)
    trained, again = Trained(curve=(), best_epoch=0, stopped="not trained"), Spent()
    first, second = place.checkpoints(task.key)
    if method.trained and not isinstance(model, Learned):
        raise TypeError(
            f"method '{method.name}' builds no Model or ScoringModel: the loop can't train it; "
            "register it as trained=False"
        )
    settings = Training(**task.parts["training"])
    if isinstance(model, Learned) and method.trained:
        trained = train(model, shown(selection), settings, job.seed, device=device, checkpoint=first, log=log)
    valid = rank(model, asked.valid, split.n_items, device)
    if split.in_time is not None:
        known, epochs = split.in_time.refit, trained.best_epoch
        model = build(known)
        if isinstance(model, Learned) and method.trained:
            again = refit(model, known, settings, epochs, job.seed, device=device, checkpoint=second, log=log)
            trained = replace(trained, stopped=f"{trained.stopped}; trained anew for {epochs} epochs")
    test = rank(model, asked.test, split.n_items, device)
    ranks = Ranks(
        valid_greater=valid.greater, valid_equal=valid.equal, test_greater=test.greater, test_equal=test.equal
    )
    return _Learnt(model=model, trained=trained, again=again, ranks=ranks)


def _record(task: Task, facts: Facts, method: Method, materials: Materials, learnt: _Learnt, cost: Cost) -> Record:
    job, text, trained = task.job, materials.text, learnt.trained
    return Record(
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
        questions=_questions(job, materials.split),
        encoder=EncoderInfo(provenance=text.provenance, sha256=text.sha256) if text else None,
        pretraining=_pretraining_info(materials.artefact),
        parameters=_parameters(learnt.model, trained=method.trained),
        learning_curve=tuple(
            Epoch(epoch=e.epoch, loss=e.loss, valid=e.valid, seconds=e.train_seconds + e.rank_seconds)
            for e in trained.curve
        ),
        best_epoch=trained.best_epoch if trained.curve else None,
        stopped=trained.stopped,
        tuning=task.tuning,
        cost=cost,
        versions=versions(),
        commit=commit(),
        warnings=facts.warnings,
        ranks_sha256=learnt.ranks.sha256,
        created=now(),
    )


def _diagnostics(
    task: Task,
    facts: Facts,
    method: Method,
    config: Any,
    materials: Materials,
    model: object,
    place: Place,
    log: Callable[[str], None],
) -> Diagnostics | None:
    """Of a model that reads texts, and under no control: what that leaves of a model is told by its ranks."""
    if materials.text is None or not isinstance(model, Model) or task.job.control is not None:
        return None
    examined = Examined(
        method=method,
        config=config,
        model=model,
        target=Texts(domain=materials.domain, text_NF=materials.text.matrix),
        split=materials.split,
        pretrained=materials.artefact.weights if materials.artefact else None,
        device=torch.device(place.device),
    )
    return diagnose(task.key, examined, lambda: source_texts(task, place), show=facts.may_show, log=log)


def _told(ranks: Ranks, task: Task) -> tuple[str, float]:
    """The split of which is told how a run went, and NDCG@10 on it."""
    split = "valid" if task.trial else "test"
    counts = getattr(ranks, f"{split}_greater"), getattr(ranks, f"{split}_equal")
    return split, float(per_user("NDCG@10", *counts).mean())


def _questions(job: Job, split: Split) -> Questions | None:
    if job.cut is None or split.in_time is None:
        return None
    return Questions(
        rule=job.cut.test,
        valid_from=utc(split.in_time.valid_from),
        test_from=utc(split.in_time.test_from),
        valid=len(split.valid.targets),
        test=len(split.test.targets),
        users=len(np.unique(split.in_time.test_users)),
        left_out=split.in_time.left_out,
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
