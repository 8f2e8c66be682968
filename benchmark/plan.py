"""From a suite to tasks: every job with its content key, ready to be run anywhere.

Jobs are made from names alone; keys need the fingerprints of the prepared domains and the provenance of the encoder,
but no encoded text: what a run will be called is known before anything is computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from benchmark import pretrain
from benchmark.errors import InputError, unknown
from benchmark.jobs import PROTOCOL, Job, Pretraining, digest
from benchmark.method import Budget, Method, Registry, configure
from benchmark.suite import MethodEntry, Suite
from benchmark.train import Training


@dataclass(frozen=True, kw_only=True)
class ArtefactTask:
    """A pre-training to be done before the jobs that name its key."""

    spec: Pretraining
    key: str
    parts: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Task:
    """A job, the key of its run and what that key was made from."""

    job: Job
    key: str
    parts: Mapping[str, Any]
    artefact: ArtefactTask | None


def jobs_of(
    suite: Suite,
    registry: Registry,
    *,
    targets: Sequence[str] = (),
    methods: Sequence[str] = (),
    seeds: int | None = None,
) -> list[Job]:
    """The jobs of a suite, target by target; ``targets`` and ``methods`` select (and may go beyond the suite's own).

    Raises InputError for unknown methods and keys, and for methods that need what the suite does not give.
    """
    chosen = list(suite.methods)
    if methods:
        rows = {name: [entry for entry in suite.methods if entry.name == name] for name in methods}
        chosen = [entry for name, found in rows.items() for entry in found or [MethodEntry(name=name)]]
    found = [(entry, registry.method(entry.name, f"suite '{suite.name}'")) for entry in chosen]
    _check_shared_keys(suite, registry)
    return [
        job
        for target in targets or suite.targets
        for entry, method in found
        for job in _jobs(suite, entry, method, registry, target, seeds)
    ]


def _check_shared_keys(suite: Suite, registry: Registry) -> None:
    """Every hyper-parameter of a suite is one of a method of the suite, whatever is selected."""
    methods = [registry.method(entry.name, f"suite '{suite.name}'") for entry in suite.methods]
    known = {entry.name for method in methods for entry in fields(method.config)}
    for key in suite.config:
        if key not in known:
            raise unknown("key", key, known, f"suite '{suite.name}', config")


def _jobs(
    suite: Suite, entry: MethodEntry, method: Method, registry: Registry, target: str, seeds: int | None
) -> list[Job]:
    where = f"suite '{suite.name}', method '{method.name}'"
    own = {field.name for field in fields(method.config)}
    shared = {key: value for key, value in suite.config.items() if key in own}
    if entry.budget is not None and entry.budget not in method.budgets:
        raise unknown("budget", entry.budget, method.budgets, where)
    budget = method.budgets[entry.budget] if entry.budget else Budget()
    config = asdict(method.configure(shared | dict(budget.config) | entry.config, where))
    training: dict[str, Any] = {}
    if method.trained:
        settings = suite.training | dict(method.defaults) | dict(budget.training) | entry.training
        training = asdict(configure(Training, settings, f"{where}, training"))
    if method.needs & {"text", "sources"} and suite.encoder is None:
        raise InputError(f"{where}: it reads item texts; give the suite an 'encoder'")
    if "sources" in method.needs and not suite.sources:
        raise InputError(f"{where}: it learns from source domains; give the suite 'sources'")
    pretraining = None
    if method.pretraining:
        wanted = entry.pretraining or suite.pretraining
        common = suite.pretraining.config if suite.pretraining else {}
        if wanted is None:
            raise InputError(f"{where}: it starts from pre-training; give the suite 'pretraining' with its epochs")
        family = registry.family(method.pretraining)
        sizes = {field.name for field in fields(family.config)}
        inherited = {key: value for key, value in config.items() if key in sizes}
        given = inherited | common | wanted.config
        pretraining = Pretraining(
            family=family.name,
            version=family.version,
            sources=suite.sources,
            encoder=suite.encoder or "",
            config=asdict(configure(family.config, given, f"suite '{suite.name}', pretraining")),
            epochs=wanted.epochs,
            seed=wanted.seed,
        )
    n_seeds = (seeds or entry.seeds or suite.seeds) if method.trained else 1
    return [
        Job(
            suite=suite.name,
            target=target,
            method=method.name,
            version=method.version,
            seed=seed,
            setting="full" if method.trained or not method.pretraining else "zero-shot",
            sources=suite.sources if "sources" in method.needs else (),
            encoder=suite.encoder if "text" in method.needs else None,
            config=config,
            training=training,
            pretraining=pretraining,
        )
        for seed in range(n_seeds)
    ]


def artefact_of(
    spec: Pretraining, fingerprints: Mapping[str, str], encoders: Mapping[str, Mapping[str, Any]], precision: str
) -> ArtefactTask:
    """Give a pre-training its key; arguments as of `task_of`."""
    parts = pretrain.key_parts(spec, fingerprints, encoders[spec.encoder], precision)
    return ArtefactTask(spec=spec, key=digest(parts), parts=parts)


def task_of(
    job: Job, fingerprints: Mapping[str, str], encoders: Mapping[str, Mapping[str, Any]], precision: str
) -> Task:
    """Give a job its key.

    fingerprints: of every domain the job names. encoders: provenance by encoder name. precision: what ``auto`` is here.
    """

    def resolved(settings: Mapping[str, Any]) -> dict[str, Any]:
        return {**settings, "precision": precision} if settings.get("precision") == "auto" else dict(settings)

    artefact = artefact_of(job.pretraining, fingerprints, encoders, precision) if job.pretraining else None
    parts = {
        "protocol": PROTOCOL,
        "track": job.track,
        "setting": job.setting,
        "target": fingerprints[job.target],
        "sources": [fingerprints[source] for source in job.sources],
        "method": job.method,
        "version": job.version,
        "config": dict(job.config),
        "training": resolved(job.training),
        "encoder": dict(encoders[job.encoder]) if job.encoder else None,
        "pretraining": artefact.key if artefact else None,
        "seed": job.seed,
    }
    return Task(job=job, key=digest(parts), parts=parts, artefact=artefact)
