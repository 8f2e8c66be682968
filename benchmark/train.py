"""The one training loop: a method's own first phases, then epochs over whole sequences, selection on validation, early
stopping; checkpoint and resume throughout.

Every epoch draws its randomness from (seed, epoch) alone, so that a resumed run is the undisturbed one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmark import parallel
from benchmark.batches import Batch, Windows, training_batches
from benchmark.checkpoint import Checkpoint, Epoch, Spent
from benchmark.domain import Sequences
from benchmark.environment import RETAINED_MB, give_back_memory
from benchmark.jobs import derive_seed
from benchmark.method import Model, Phase, ScoringModel, Trainable, check_ranges
from benchmark.metrics import per_user
from benchmark.precision import PRECISIONS, autocast, resolve_precision
from benchmark.rank import rank
from benchmark.splits import Split

SELECTION = "NDCG@10"
"""What is compared on validation, unrounded."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """Settings of the loop (UniSRec's fine-tuning: Adam, 2,048 targets a batch, patience 10)."""

    epochs: int = 300
    batch_targets: int = 2048
    """Asked positions (prefix rows of the reference) a step."""
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    patience: int = 10
    """Evaluations without a better validation score before stopping (RecBole's ``stopping_step`` allows one more, and
    counts scores that are equal to four decimals as better)."""
    precision: str = "auto"
    """Of matrix products in training: ``float32``, ``bfloat16``, or ``auto`` for the latter where it is in hardware."""

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision '{self.precision}' is not one of {', '.join(PRECISIONS)}")
        check_ranges(self, epochs=(0, inf), batch_targets=(1, inf), patience=(1, inf))
        check_ranges(self, learning_rate=(1e-12, inf), weight_decay=(0, inf))


@dataclass(frozen=True, kw_only=True)
class Trained:
    """How a training went; the model itself holds the best weights."""

    curve: tuple[Epoch, ...]
    best_epoch: int
    stopped: str
    earlier: Spent = field(default_factory=Spent)
    """What the checkpoint it was resumed from had cost."""


def adam(
    model: nn.Module, learning_rate: float, weight_decay: float = 0.0, betas: tuple[float, float] = (0.9, 0.999)
) -> torch.optim.Adam:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.Adam(trained, lr=learning_rate, weight_decay=weight_decay, betas=betas, fused=True)


def run_epoch(
    model: Trainable, optimizer: torch.optim.Optimizer, batches: Iterable[Batch], precision: str, device: torch.device
) -> float:
    """One pass of gradient steps; the mean loss a batch. Raises ArithmeticError when it is no longer finite.

    Where several processes train, each gives its own part of every batch, and all get the loss of the whole.
    """
    model.train()
    losses: list[Tensor] = []
    bound_mb = RETAINED_MB
    for batch in batches:
        optimizer.zero_grad(set_to_none=True)
        with autocast(precision, device):
            loss = parallel.part_of_mean(model.loss(batch.to(device)), len(batch.targets_T))
        loss.backward()
        parallel.sum_gradients(model)
        optimizer.step()
        losses.append(loss.detach())
        bound_mb = give_back_memory(bound_mb)
    mean = float(parallel.total(torch.stack(losses).mean()))
    if not np.isfinite(mean):
        raise ArithmeticError(f"the training loss is {mean}: the model has diverged (try a smaller learning rate)")
    return mean


def _run_phases(
    model: Model | ScoringModel,
    phases: Sequence[Phase],
    train_part: Sequences,
    seed: int,
    precision: str,
    device: torch.device,
    checkpoint: Checkpoint,
    log: Callable[[str], None],
) -> None:
    """What goes before the loop's own training; phases that the checkpoint has behind it are left out."""
    at_phase, at_epoch = checkpoint.about.get("phase", (len(phases) if checkpoint.about else 0, 0))
    for number, phase in enumerate(phases):
        if number < at_phase:
            continue
        optimizer = adam(phase.trainable, phase.learning_rate, betas=phase.betas)
        first = 1
        if number == at_phase and at_epoch:
            checkpoint.restore(model, optimizer)
            first = at_epoch + 1
            log(f"resumed after epoch {at_epoch} of {phase.name}")
        sequences = train_part if phase.sequences is None else phase.sequences
        windows = phase.trainable.windows(sequences)
        for epoch in range(first, phase.epochs + 1):
            began = time.perf_counter()
            torch.manual_seed(derive_seed(seed, phase.name, "epoch", epoch))
            rng = np.random.default_rng(derive_seed(seed, phase.name, "order", epoch))
            batches = training_batches(sequences, windows, phase.batch_targets, rng)
            loss = run_epoch(phase.trainable, optimizer, batches, precision, device)
            seconds = time.perf_counter() - began
            log(f"{phase.name}, epoch {epoch} of {phase.epochs}: loss {loss:.4f} ({seconds:.1f} s)")
            checkpoint.write(model, optimizer, {}, {"phase": (number, epoch), "curve": []})


def _epoch(
    model: Model | ScoringModel,
    optimizer: torch.optim.Optimizer,
    sequences: Sequences,
    windows: Windows,
    batch_targets: int,
    seed: int,
    epoch: int,
    precision: str,
    device: torch.device,
) -> float:
    """An epoch of the loop's own training; its mean loss. What it draws depends on seed and epoch alone."""
    torch.manual_seed(derive_seed(seed, "epoch", epoch))
    rng = np.random.default_rng(derive_seed(seed, "order", epoch))
    return run_epoch(model, optimizer, training_batches(sequences, windows, batch_targets, rng), precision, device)


def train(
    model: Model | ScoringModel,
    split: Split,
    training: Training,
    seed: int,
    *,
    device: torch.device | None = None,
    checkpoint: Path | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> Trained:
    """Train until validation NDCG@10 has not risen for ``patience`` epochs, then restore the best weights.

    checkpoint: file to resume from and to write to; removed by the caller once the run is stored.
    Raises ArithmeticError on a loss or scores that are not finite.
    """
    device = device or torch.device("cpu")
    precision = resolve_precision(training.precision, device)
    model.to(device)
    state = Checkpoint(checkpoint, model, log)
    _run_phases(model, tuple(model.phases()), split.train, seed, precision, device, state, log)
    optimizer = adam(model, training.learning_rate, training.weight_decay)
    windows = model.windows(split.train)
    curve: list[Epoch] = []
    best = {name: value.detach().clone() for name, value in model.state_dict().items()}
    best_epoch, best_valid = 0, -1.0

    if "best_epoch" in state.about:
        state.restore(model, optimizer)
        best = {name: value.to(device) for name, value in state.part("best").items()}
        curve = [Epoch(**point) for point in state.about["curve"]]
        best_epoch, best_valid = state.about["best_epoch"], state.about["best_valid"]
        log(f"resumed after epoch {len(curve)}")

    stopped = f"reached {training.epochs} epochs"
    for epoch in range(len(curve) + 1, training.epochs + 1):
        began = time.perf_counter()
        loss = _epoch(model, optimizer, split.train, windows, training.batch_targets, seed, epoch, precision, device)
        trained = time.perf_counter()
        ranks = rank(model, split.valid, split.n_items, device, precision)
        valid = float(per_user(SELECTION, ranks.greater, ranks.equal).mean())
        ranked = time.perf_counter()
        curve.append(
            Epoch(epoch=epoch, loss=loss, valid=valid, train_seconds=trained - began, rank_seconds=ranked - trained)
        )
        log(f"epoch {epoch}: loss {loss:.4f}, valid {SELECTION} {valid:.4f} ({ranked - began:.1f} s)")
        if valid > best_valid:
            best_epoch, best_valid = epoch, valid
            best = {name: value.detach().clone() for name, value in model.state_dict().items()}
        elif epoch - best_epoch >= training.patience:
            stopped = f"no better {SELECTION} in {training.patience} epochs"
            break
        progress = {"curve": [vars(point) for point in curve], "best_epoch": best_epoch, "best_valid": best_valid}
        state.write(model, optimizer, best, progress)
    model.load_state_dict(best)
    return Trained(curve=tuple(curve), best_epoch=best_epoch, stopped=stopped, earlier=state.earlier)


def refit(
    model: Model | ScoringModel,
    sequences: Sequences,
    training: Training,
    epochs: int,
    seed: int,
    *,
    device: torch.device | None = None,
    checkpoint: Path | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> Spent:
    """Train a new model on all that may be learnt from, for as many epochs as selection has found, and drawing the same
    randomness: on the same sequences it becomes the model that was selected. Returns what an interrupted one had cost.

    Arguments and errors otherwise as of `train`.
    """
    device = device or torch.device("cpu")
    precision = resolve_precision(training.precision, device)
    model.to(device)
    state = Checkpoint(checkpoint, model, log)
    _run_phases(model, tuple(model.phases()), sequences, seed, precision, device, state, log)
    optimizer = adam(model, training.learning_rate, training.weight_decay)
    windows = model.windows(sequences)
    done = state.about.get("refit", 0)
    if done:
        state.restore(model, optimizer)
        log(f"resumed after epoch {done} of training anew")
    for epoch in range(done + 1, epochs + 1):
        began = time.perf_counter()
        loss = _epoch(model, optimizer, sequences, windows, training.batch_targets, seed, epoch, precision, device)
        log(f"training anew, epoch {epoch} of {epochs}: loss {loss:.4f} ({time.perf_counter() - began:.1f} s)")
        state.write(model, optimizer, {}, {"refit": epoch, "curve": []})
    return state.earlier
