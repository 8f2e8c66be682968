"""Source-domain pre-training: artefacts made once, found by content, shared by all jobs that name them.

An artefact is one safetensors file of half-precision weights, with what it is in its metadata. Its length in epochs is
part of its key; a longer one continues a shorter one where that one's state is still in the cache. The state is written
after each epoch, so that a crash costs at most the epoch that it falls in.

Several processes may make one together: they see the same windows in the same order, each packs its part of every batch
and draws its own dropout and gate noise. The first of them writes.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark import parallel
from benchmark.batches import check_trainable, training_batches
from benchmark.checkpoint import load_tensors, optimizer_tensors, restore_optimizer, save_tensors
from benchmark.domain import Domain, Sequences
from benchmark.errors import InputError
from benchmark.files import sweep
from benchmark.jobs import PROTOCOL, Pretraining, derive_seed, digest
from benchmark.layout import ARTEFACTS
from benchmark.machine import peak_memory_mb, reset_peak_memory
from benchmark.method import Pretrainer, PretrainingFamily, configure
from benchmark.precision import resolve_precision
from benchmark.train import adam, run_epoch


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """Pre-trained weights, float32 in memory, and what they are: key, epochs, cost, learning curve."""

    weights: Mapping[str, Tensor]
    about: Mapping[str, Any]
    sha256: str
    """Of the file."""


def key_parts(
    spec: Pretraining, fingerprints: Mapping[str, str], encoder: Mapping[str, Any], precision: str
) -> dict[str, Any]:
    """Everything an artefact depends on."""
    return {
        "protocol": PROTOCOL,
        "family": spec.family,
        "version": spec.version,
        "config": dict(spec.config),
        "sources": [fingerprints[source] for source in spec.sources],
        "encoder": dict(encoder),
        "epochs": spec.epochs,
        "seed": spec.seed,
        "precision": precision,
    }


def line(parts: Mapping[str, Any]) -> str:
    """What artefacts share that differ in length only, and with it the state that they go on from."""
    return digest({**parts, "epochs": None})


def file_name(spec: Pretraining, key: str) -> str:
    return f"{spec.family}-{spec.epochs}-{key[:12]}.safetensors"


def folder(cache: Path) -> Path:
    return cache / ARTEFACTS


def find(spec: Pretraining, key: str, cache: Path, results: Path) -> Path | None:
    """The artefact of a key: in the cache, else committed beside the results of any suite."""
    name = file_name(spec, key)
    for path in (folder(cache) / name, *sorted(results.glob(f"*/{ARTEFACTS}/{name}"))):
        if path.is_file():
            return path
    return None


def load(path: Path, key: str) -> Artefact:
    """Read an artefact; raises InputError if it is damaged or of another key."""
    found = load_tensors(path)
    if found is None or found[1].get("key") != key:
        raise InputError(f"{path}: not the pre-trained weights of key {key[:12]}; delete the file and run again")
    weights = {name: value.float() for name, value in found[0].items()}
    if not all(bool(value.isfinite().all()) for value in weights.values()):
        raise InputError(f"{path}: weights that are not finite; delete the file and run again")
    return Artefact(weights=weights, about=found[1], sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def merge(domains: Sequence[Domain]) -> Sequences:
    """The training part of all sources in one item table, sources one after another.

    Each user's last two interactions are left out, as in the reference: nothing of a source is held out in vain, and a
    source may be a target elsewhere.
    """
    parts = [domain.sequences.without_last(2) for domain in domains]
    shifts = np.cumsum([0, *(domain.n_items for domain in domains)])
    items = np.concatenate([part.items + shift for part, shift in zip(parts, shifts, strict=False)])
    lengths = np.concatenate([part.lengths for part in parts])
    return Sequences(items.astype(np.int32), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def _state_file(parts: Mapping[str, Any], epochs: int, cache: Path) -> Path:
    """Where the state is kept: one file for all lengths, but what is shorter leaves a longer one's state alone."""
    state = folder(cache) / f".state-{line(parts)[:16]}.safetensors"
    found = load_tensors(state)
    longer = found is not None and len(found[1]["curve"]) > epochs
    return state.with_name(f"{state.stem}-{epochs}.safetensors") if longer else state


def _resume(
    state: Path, epochs: int, model: Pretrainer, optimizer: torch.optim.Optimizer
) -> tuple[list[dict[str, float]], dict[str, float]]:
    """Go on from a state of at most ``epochs``, if it is there: its learning curve, and what it has cost.

    All processes begin with the weights of the first. Raises InputError where they see different states.
    """
    curve: list[dict[str, float]] = []
    spent = {"wall_seconds": 0.0, "core_seconds": 0.0}
    resumed = load_tensors(state)
    try:
        if resumed and len(resumed[1]["curve"]) <= epochs:
            tensors, about = resumed
            model.load_state_dict({name[6:]: value for name, value in tensors.items() if name.startswith("model/")})
            restore_optimizer(model, optimizer, tensors)
            curve, spent = list(about["curve"]), {name: float(about["spent"][name]) for name in spent}
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{state}: no state to go on from ({error}); delete the file and run again") from error
    parallel.check_same(
        f"{len(curve)}", f"{state.parent}: not all processes see the same state there; give them one shared folder"
    )
    parallel.follow_leader([*model.state_dict().values(), *optimizer_tensors(model, optimizer).values()])
    return curve, spent


def pretrain(
    spec: Pretraining,
    family: PretrainingFamily,
    parts: Mapping[str, Any],
    sequences: Sequences,
    text: Tensor,
    noisy_text: Tensor,
    *,
    cache: Path,
    device: torch.device | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> Path:
    """Train for ``spec.epochs`` and write the artefact of ``parts`` (see `key_parts`); returns its file.

    text, noisy_text: [n_items, width] over the items of `merge`, as `PretrainingFamily.build` takes them. Raises
    ArithmeticError on divergence, OSError where it can't be written, and InputError where there is not enough to train
    on for all processes, or where these have different states to resume from.
    """
    device = device or torch.device("cpu")
    precision = resolve_precision(parts["precision"], device)
    config = configure(family.config, spec.config, f"pre-training '{spec.family}'")
    reset_peak_memory(device)
    started, core_started = time.perf_counter(), time.process_time()
    torch.manual_seed(derive_seed(spec.seed, "pre-training"))
    model = family.build(config, text, noisy_text).to(device)
    optimizer = adam(model, config.learning_rate)
    windows = model.windows(sequences)
    with parallel.agreed():
        check_trainable(windows, parallel.world_size())
    state = _state_file(parts, spec.epochs, cache)
    path = folder(cache) / file_name(spec, digest(parts))
    if parallel.leads():
        sweep(state)
        sweep(path)
    curve, spent = _resume(state, spec.epochs, model, optimizer)
    if curve:
        log(f"resumed after epoch {len(curve)}")

    def cost() -> dict[str, float]:
        """What all processes have spent; each must ask."""
        core_seconds = torch.tensor(time.process_time() - core_started, dtype=torch.float64)
        return {
            "wall_seconds": spent["wall_seconds"] + time.perf_counter() - started,
            "core_seconds": spent["core_seconds"] + float(parallel.total(core_seconds)),
        }

    so_far = cost()
    for epoch in range(len(curve) + 1, spec.epochs + 1):
        began = time.perf_counter()
        own = (parallel.rank(),) if parallel.rank() else ()  # the first draws what one alone would draw
        torch.manual_seed(derive_seed(spec.seed, "epoch", epoch, *own))
        rng = np.random.default_rng(derive_seed(spec.seed, "order", epoch))
        batches = training_batches(
            sequences, windows, config.batch_targets, rng, (parallel.rank(), parallel.world_size())
        )
        loss = run_epoch(model, optimizer, batches, precision, device)
        seconds = time.perf_counter() - began
        curve.append({"epoch": epoch, "loss": loss, "seconds": seconds})
        log(f"pre-training {spec.family}, epoch {epoch} of {spec.epochs}: loss {loss:.4f} ({seconds:.1f} s)")
        so_far = cost()
        if parallel.leads():
            tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
            save_tensors(state, tensors | optimizer_tensors(model, optimizer), {"curve": curve, "spent": so_far})

    with parallel.agreed():  # when all are through, all find what was written
        if parallel.leads():
            weights = {name: value.half() for name, value in model.weights().items()}
            about = {
                "key": digest(parts),
                "key_parts": dict(parts),
                "sources": list(spec.sources),
                "epochs": spec.epochs,
                "curve": curve,
                **so_far,
                "peak_memory_mb": peak_memory_mb(device),
                "threads": torch.get_num_threads(),
                "processes": parallel.world_size(),
            }
            save_tensors(path, weights, about)
    return path
