"""From a suite to tasks: every job with its content key, ready to be run anywhere.

Jobs are made from names alone; keys need the fingerprints of the prepared domains and the provenance of the encoder,
but no encoded text: what a run will be called is known before anything is computed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from benchmark import controls, pretrain
from benchmark.errors import InputError, unknown
from benchmark.jobs import PROTOCOL, Cut, Job, Pretraining, digest, share_of_users
from benchmark.method import Budget, Method, PretrainingFamily, Registry, configure, content
from benchmark.precision import own_first
from benchmark.record import Tuning
from benchmark.suite import MethodEntry, PretrainingEntry, Suite
from benchmark.train import Training

Item = TypeVar("Item")

AS_GIVEN = Tuning(trials=0, note="hyper-parameters as given, not tuned")


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
    label: str | None = None
    """As of `Named`."""
    tuning: Tuning = AS_GIVEN
    """What the record is to say of how the configuration was chosen."""
    trial: str = ""
    """Of a trial of tuning, what it tries; of it only the outcome on validation is told."""


@dataclass(frozen=True, kw_only=True)
class Named:
    """A job, and what readers call its row: the suite's label, of a few-shot row else its share of users."""

    job: Job
    label: str | None


def jobs_of(
    suite: Suite,
    registry: Registry,
    *,
    targets: Sequence[str] = (),
    methods: Sequence[str] = (),
    seeds: int | None = None,
) -> list[Job]:
    """The jobs of `named_jobs`, without the names of their rows."""
    return [named.job for named in named_jobs(suite, registry, targets=targets, methods=methods, seeds=seeds)]


def named_jobs(
    suite: Suite,
    registry: Registry,
    *,
    targets: Sequence[str] = (),
    methods: Sequence[str] = (),
    seeds: int | None = None,
) -> list[Named]:
    """The jobs of a suite, target by target; ``targets`` and ``methods`` select (and may go beyond the suite's own).

    Raises InputError for unknown methods and keys, for methods that need what the suite does not give, for rows that
    ask what their method can't do, and for domains and rows that are named twice.
    """
    chosen = list(suite.methods)
    if methods:
        rows = {name: [entry for entry in suite.methods if entry.name == name] for name in methods}
        chosen = [entry for name, found in rows.items() for entry in found or [MethodEntry(name=name)]]
    found = [(entry, registry.method(entry.name, f"suite '{suite.name}'")) for entry in chosen]
    _check_shared_keys(suite, registry)
    _check_domains(suite)
    jobs = [
        Named(job=job, label=entry.label or (share_of_users(job.few_shot) if job.few_shot is not None else None))
        for target in targets or suite.targets
        for track in suite.track
        for entry, method in found
        for job in _jobs(suite, entry, method, registry, target, track, seeds)
    ]
    rows_alone = [_jobs(suite, entry, method, registry, "any", suite.track[0], seeds) for entry, method in found]
    _check_rows(suite, chosen, rows_alone)
    return jobs


def _check_shared_keys(suite: Suite, registry: Registry) -> None:
    """Every hyper-parameter of a suite is one of a method of the suite, whatever is selected."""
    methods = [registry.method(entry.name, f"suite '{suite.name}'") for entry in suite.methods]
    known = {entry.name for method in methods for entry in fields(method.config)}
    for key in suite.config:
        if key not in known:
            raise unknown("key", key, known, f"suite '{suite.name}', config")


def _check_domains(suite: Suite) -> None:
    """No target and no source is named twice."""
    named = [("suite", "targets", suite.targets), ("suite", "sources", suite.sources)]
    named += [(f"row {place}", "sources", row.sources or ()) for place, row in enumerate(suite.methods, 1)]
    for whose, what, names in named:
        for name, times in Counter(names).items():
            if times > 1:
                where = f"suite '{suite.name}'" + ("" if whose == "suite" else f", {whose}")
                raise InputError(f"{where}: '{name}' stands twice in '{what}'; name it once")


def _check_rows(suite: Suite, rows: Sequence[MethodEntry], jobs: Sequence[Sequence[Job]]) -> None:
    """No two rows ask for the same job, and no two of one method have one label."""
    places = {id(row): place for place, row in enumerate(suite.methods, 1)}
    seen: dict[str, int] = {}
    labels: dict[tuple[str, str], int] = {}
    for row, own in zip(rows, jobs, strict=True):
        place = places.get(id(row), 0)  # what a command adds to a suite is there once
        where = f"suite '{suite.name}': rows {{}} and {place} ('{row.name}')"
        for key in {digest(job.as_dict()) for job in own}:
            if (other := seen.setdefault(key, place)) != place:
                raise InputError(f"{where.format(other)} are the same in everything; delete one of them")
        if row.label is not None and (other := labels.setdefault((row.name, row.label), place)) != place:
            raise InputError(f"{where.format(other)} have the same label '{row.label}'; rename one of them")


def _jobs(
    suite: Suite, entry: MethodEntry, method: Method, registry: Registry, target: str, track: str, seeds: int | None
) -> list[Job]:
    where = f"suite '{suite.name}', method '{method.name}'"
    _check_possible(entry, method, where)
    if entry.few_shot is not None and track == "strict":
        raise InputError(
            f"{where}: 'few_shot' takes a share of users who each have one question, which the strict track does not "
            "give them; leave it out, or make it a suite of 'track: paper'"
        )
    controls.check(entry.control, method.needs, where)
    own = {field.name for field in fields(method.config)}
    shared = {key: value for key, value in suite.config.items() if key in own}
    if entry.budget is not None and entry.budget not in method.budgets:
        raise unknown("budget", entry.budget, method.budgets, where)
    budget = method.budgets[entry.budget] if entry.budget else Budget()
    config = method.configure(shared | dict(budget.config) | entry.config, where)
    training: dict[str, Any] = {}
    if method.trained:
        settings = suite.training | dict(method.defaults) | dict(budget.training) | entry.training
        training = content(configure(Training, settings, f"{where}, training"))
    encoder = entry.encoder or suite.encoder
    sources = suite.sources if entry.sources is None else entry.sources
    if method.needs & {"text", "sources"} and encoder is None:
        raise InputError(f"{where}: it reads item texts; give the suite an 'encoder'")
    if "sources" in method.needs and not sources:
        raise InputError(f"{where}: it learns from source domains; give the suite 'sources'")
    pretrainings: Sequence[Pretraining | None] = [None]
    if method.pretraining:
        family = registry.family(method.pretraining)
        pretrainings = _pretrainings(suite, entry, family, asdict(config), sources, encoder or "", where)
    n_seeds = (seeds or entry.seeds or suite.seeds) if method.trained else 1
    return [
        Job(
            suite=suite.name,
            target=target,
            method=method.name,
            version=method.version,
            seed=seed,
            setting=_setting(entry, method),
            track=track,
            cut=Cut(quantile=suite.cut, test=suite.test) if track == "strict" else None,
            sources=sources if "sources" in method.needs else (),
            encoder=encoder if "text" in method.needs else None,
            config=content(config),
            training=training,
            pretraining=pretraining,
            few_shot=entry.few_shot,
            control=entry.control,
        )
        for pretraining in pretrainings
        for seed in range(n_seeds)
    ]


def _check_possible(entry: MethodEntry, method: Method, where: str) -> None:
    """A row asks of its method nothing that would have no effect."""
    idle = {
        "few_shot": (entry.few_shot is not None and not method.trained, "it is not trained on the target"),
        "training": (bool(entry.training) and not method.trained, "it is not trained on the target"),
        "sources": (entry.sources is not None and "sources" not in method.needs, "it reads no source domains"),
        "encoder": (entry.encoder is not None and not method.needs & {"text", "sources"}, "it reads no item texts"),
        "pretraining": (entry.pretraining is not None and not method.pretraining, "it starts from no pre-training"),
    }
    for key, (asked, reason) in idle.items():
        if asked:
            raise InputError(f"{where}: '{key}' of its row would have no effect, because {reason}; leave it out")


def _setting(entry: MethodEntry, method: Method) -> str:
    if entry.few_shot is not None:
        return "few-shot"
    return "full" if method.trained or not method.pretraining else "zero-shot"


def _pretrainings(
    suite: Suite,
    entry: MethodEntry,
    family: PretrainingFamily,
    config: Mapping[str, Any],
    sources: tuple[str, ...],
    encoder: str,
    where: str,
) -> list[Pretraining]:
    """The pre-trainings that a row starts from, one a seed of them."""
    common = suite.pretraining.model_dump() if suite.pretraining else {"config": {}}
    own = entry.pretraining.model_dump(exclude_none=True) if entry.pretraining else {"config": {}}
    merged = common | own
    if "epochs" not in merged:
        raise InputError(f"{where}: it starts from pre-training; give the suite 'pretraining' with its epochs")
    wanted = PretrainingEntry(**merged)
    sizes = {field.name for field in fields(family.config)}
    inherited = {key: value for key, value in config.items() if key in sizes}
    given = inherited | common["config"] | own["config"]
    return [
        Pretraining(
            family=family.name,
            version=family.version,
            sources=sources,
            encoder=encoder,
            config=content(configure(family.config, given, f"suite '{suite.name}', pretraining")),
            epochs=wanted.epochs,
            seed=wanted.seed + number,
        )
        for number in range(wanted.seeds)
    ]


def artefact_of(
    spec: Pretraining,
    fingerprints: Mapping[str, str],
    encoders: Mapping[str, Mapping[str, Any]],
    precision: str,
    there: Callable[[ArtefactTask], bool] = lambda artefact: False,
) -> ArtefactTask:
    """Give a pre-training its key; arguments as of `task_of`."""

    def made_in(precision: str) -> ArtefactTask:
        parts = pretrain.key_parts(spec, fingerprints, encoders[spec.encoder], precision)
        return ArtefactTask(spec=spec, key=digest(parts), parts=parts)

    own, *others = (made_in(each) for each in own_first(precision))
    return own if there(own) else next(filter(there, others), own)


def task_of(
    job: Job,
    fingerprints: Mapping[str, str],
    encoders: Mapping[str, Mapping[str, Any]],
    precision: str,
    there: Callable[[ArtefactTask], bool] = lambda artefact: False,
) -> Task:
    """Give a job its key.

    fingerprints: of every domain the job names. encoders: provenance by encoder name. precision: what ``auto`` is here.
    there: whether pre-trained weights are at hand. Those that were trained in another precision, on a machine of
    another kind, are as good as those that would have to be made.
    """

    def resolved(settings: Mapping[str, Any]) -> dict[str, Any]:
        return {**settings, "precision": precision} if settings.get("precision") == "auto" else dict(settings)

    artefact = artefact_of(job.pretraining, fingerprints, encoders, precision, there) if job.pretraining else None
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
    if job.few_shot is not None:  # a key holds what departs from what there was when the first runs were stored
        parts["few_shot"] = job.few_shot
    if job.cut is not None:
        parts["cut"] = asdict(job.cut)
    if job.control is not None:
        parts["control"] = job.control
    return Task(job=job, key=digest(parts), parts=parts, artefact=artefact)


def alike(items: Iterable[Item], key: Callable[[Item], str]) -> list[list[Item]]:
    """Items that have a key in common, in the order of their first appearance."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.values())
