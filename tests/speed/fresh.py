"""Work that is measured in a process of its own, whose peak memory is that of the work and of nothing before it."""

from __future__ import annotations

import itertools
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from benchmark.batches import training_batches, training_windows
from benchmark.domain import Sequences
from benchmark.method import Material, registry
from benchmark.precision import autocast, resolve_precision
from benchmark.rank import rank
from benchmark.softmax import linear_cross_entropy
from benchmark.splits import HeldOut, Split, leave_one_out
from benchmark.train import adam, run_epoch

from . import generated
from .contenders import CPU, build, epoch
from .sizes import BATCH_TARGETS, THREADS, Shape, Sizes

R = TypeVar("R")

WIDTH = 64
"""Of the model whose cost is followed as data grow."""


def ready(seconds: float) -> None:
    """Nothing but to load all that a job needs, and to keep a worker from taking another's turn meanwhile."""
    registry()
    time.sleep(seconds)


def in_fresh_process(work: Callable[..., R], *arguments: object) -> R:
    """``work(*arguments)`` in a new process of `THREADS` threads; both must be importable from a module."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, torch.set_num_threads, (THREADS,)) as pool:
        return pool.submit(work, *arguments).result()


def peak_memory_mb() -> float:
    """The most memory this process has held so far (Linux)."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def pretraining(sizes: Sizes) -> dict[str, Any]:
    """Some steps of an epoch of UniSRec's pre-training on merged sources, scaled to the epoch."""
    sequences = generated.sequences(sizes.sources)
    text, noisy = (torch.from_numpy(generated.text(sizes.sources.items, sizes.text_width, seed)) for seed in (0, 1))
    family = registry().family("UniSRec")
    config = family.config()
    torch.manual_seed(0)
    model = family.build(config, text, noisy)
    optimizer, precision = adam(model, config.learning_rate), resolve_precision("auto", CPU)
    windows = training_windows(sequences)
    total = int(windows.asked.sum())
    batches = training_batches(sequences, windows, config.batch_targets, np.random.default_rng(0))

    def steps(n: int) -> None:
        run_epoch(model, optimizer, itertools.islice(batches, n), precision, CPU)

    steps(min(2, sizes.pretraining_steps))
    seconds = [timed(lambda: steps(sizes.pretraining_steps)) for _ in range(sizes.rounds)]
    epoch_steps = total / config.batch_targets
    return {
        "seconds": [each / sizes.pretraining_steps * epoch_steps for each in seconds],
        "steps": epoch_steps,
        "timed_steps": sizes.pretraining_steps * sizes.rounds,
        "targets": total,
        "width": config.width,
        "precision": precision,
        "peak_memory_mb": peak_memory_mb(),
    }


def ranking(sizes: Sizes, users: int) -> dict[str, Any]:
    """Each of some users' held-out item among a large catalogue, by a model with a vector an item."""
    rng, length = np.random.default_rng(0), 7
    items = generated.popular_items(users * length, sizes.catalogue, rng)
    histories = Sequences(items, np.arange(users + 1, dtype=np.int64) * length)
    held_out = HeldOut(histories, rng.integers(0, sizes.catalogue, users).astype(np.int32))
    method = registry().method("SASRec")
    material = Material(n_items=sizes.catalogue, train=histories)
    model = method.build(method.configure({"width": sizes.catalogue_width}), material)
    before = peak_memory_mb()
    seconds = timed(lambda: rank(model, held_out, sizes.catalogue))
    return {"users": users, "seconds": seconds, "model_mb": before, "peak_memory_mb": peak_memory_mb()}


def softmax(sizes: Sizes, precision: str) -> dict[str, Any]:
    """Cross-entropy over a large catalogue with its gradients, one step."""
    torch.manual_seed(0)
    items_ND = (torch.randn(sizes.softmax_items, sizes.softmax_width) * 0.02).requires_grad_()
    h_TD = torch.randn(BATCH_TARGETS, sizes.softmax_width, requires_grad=True)
    targets_T = torch.randint(sizes.softmax_items, (BATCH_TARGETS,))
    before = peak_memory_mb()

    def step() -> None:
        with autocast(precision, CPU):
            loss = linear_cross_entropy(h_TD, items_ND, targets_T)
        torch.autograd.grad(loss, (h_TD, items_ND))

    seconds = [timed(step) for _ in range(sizes.rounds)]
    return {
        "precision": precision,
        "seconds": seconds,
        "table_mb": items_ND.numel() * 4 / 2**20,
        "all_logits_mb": BATCH_TARGETS * sizes.softmax_items * 4 / 2**20,
        "before_mb": before,
        "peak_memory_mb": peak_memory_mb(),
    }


def _even(interactions: int, length: int, n_items: int) -> Split:
    """A split whose training sequences all have one length."""
    users = interactions // length
    items = generated.popular_items(users * (length + 2), n_items, np.random.default_rng(0))
    sequences = Sequences(items, np.arange(users + 1, dtype=np.int64) * (length + 2))
    return Split(
        n_items=n_items,
        train=sequences.without_last(2),
        valid=HeldOut(sequences.without_last(2), sequences.from_end(2)),
        test=HeldOut(sequences.without_last(1), sequences.from_end(1)),
    )


def growing(axis: str, value: int, sizes: Sizes) -> dict[str, Any]:
    """A SASRec epoch, batching included, where one of interactions, items and length has a value of its own."""
    if axis == "length":
        split = _even(sizes.fixed_interactions, value, sizes.fixed_items)
    else:
        interactions = value if axis == "interactions" else sizes.fixed_interactions
        items = value if axis == "items" else sizes.fixed_items
        shape = Shape(users=interactions // 7, items=items, interactions=interactions, shortest=5)
        split = leave_one_out(generated.domain(shape))
    work = epoch(axis, build("SASRec", split, {"width": WIDTH}), split, resolve_precision("auto", CPU))
    first = timed(work.run)
    # a long epoch warms up within itself
    seconds = [first] if first > 20 else [timed(work.run) for _ in range(sizes.rounds)]
    return {"value": value, "seconds": seconds, "peak_memory_mb": peak_memory_mb()}
