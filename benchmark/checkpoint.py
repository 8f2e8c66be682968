"""Tensors with what is to be known of them as one safetensors file, and the checkpoint of a training made of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmark.files import parse_json, put, sibling


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """A point of the learning curve. ``valid`` is NDCG@10 on validation; seconds are of training, then of ranking."""

    epoch: int
    loss: float
    valid: float
    train_seconds: float
    rank_seconds: float


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Time that went into a training before it was interrupted."""

    wall_seconds: float = 0.0
    core_seconds: float = 0.0


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Adam's state under the names of the parameters."""
    return {
        f"optimizer/{name}/{key}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    parameters = dict(model.named_parameters())
    for path, value in tensors.items():
        kind, _, rest = path.partition("/")
        if kind == "optimizer":
            name, _, key = rest.rpartition("/")
            optimizer.state[parameters[name]][key] = value.to(parameters[name].device)


def save_tensors(path: Path, tensors: dict[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write a safetensors file with JSON metadata in one step. Equal tensors are stored apart. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = sibling(path)
    try:
        owned = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        try:
            save_file(owned, temporary, metadata={"about": json.dumps(about, sort_keys=True)})
        except SafetensorError as error:  # so it calls whatever the system refuses
            raise OSError(f"{path}: can't be written ({error})") from error
        put(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """What `save_tensors` wrote; None if the file is absent or damaged."""
    try:
        with safe_open(path, "pt") as file:
            names = file.keys()
            tensors, about = {name: file.get_tensor(name) for name in names}, parse_json(file.metadata()["about"])
    except (OSError, SafetensorError, LookupError, TypeError, ValueError, AttributeError):
        return None
    return (tensors, about) if isinstance(about, dict) else None


class Checkpoint:
    """What an interrupted training goes on from, written after each epoch, and what had been spent before.

    So a crash costs at most the epoch that it falls in.
    """

    def __init__(self, path: Path | None, model: nn.Module, log: Callable[[str], None]) -> None:
        self.path = path
        self.started, self.core_started = time.perf_counter(), time.process_time()
        self.tensors, self.about = (load_tensors(path) if path else None) or ({}, {})
        self.earlier = Spent()
        if self.tensors and not self._fits(model):
            log("the checkpoint is damaged, or of another version of the model: not used")
            self.tensors, self.about, self.earlier = {}, {}, Spent()

    def _fits(self, model: nn.Module) -> bool:
        """Whether all is there, and of the form that `write` gives it; takes over the time that was spent."""
        wanted = {name: (value.shape, value.dtype) for name, value in model.state_dict().items()}
        kinds = ("model", "best") if "best_epoch" in self.about else ("model",)
        if any({n: (v.shape, v.dtype) for n, v in self.part(kind).items()} != wanted for kind in kinds):
            return False
        try:
            self.earlier = Spent(**self.about["spent"])
            curve = [Epoch(**point) for point in self.about["curve"]]
        except (LookupError, TypeError):
            return False
        numbers = [*vars(self.earlier).values(), *(value for point in curve for value in vars(point).values())]
        if "best_epoch" in self.about:
            numbers += [self.about["best_epoch"], self.about.get("best_valid")]
        elif "refit" in self.about:
            numbers += [self.about["refit"]]
        else:
            numbers += self.about["phase"] if isinstance(self.about.get("phase"), list) else [None]
        return all(isinstance(number, int | float) for number in numbers) and self._has_adam(model)

    def _has_adam(self, model: nn.Module) -> bool:
        """Whether the optimizer's state is whole: a count and two moments of each parameter that has any."""
        found = {name: value.shape for name, value in self.part("optimizer").items()}
        shapes = {name: value.shape for name, value in model.named_parameters()}
        names = {name.rpartition("/")[0] for name in found}
        wanted = {f"{name}/{key}": shapes.get(name) for name in names for key in ("exp_avg", "exp_avg_sq")}
        return found == wanted | {f"{name}/step": torch.Size() for name in names}

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        model.load_state_dict(self.part("model"))
        restore_optimizer(model, optimizer, self.tensors)

    def part(self, kind: str) -> dict[str, Tensor]:
        """The tensors stored under ``kind/``, by the rest of their names."""
        return {name[len(kind) + 1 :]: value for name, value in self.tensors.items() if name.startswith(f"{kind}/")}

    def write(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        best: Mapping[str, Tensor],
        about: Mapping[str, Any],
    ) -> None:
        """Write where there is a file to write to. Raises OSError."""
        if self.path is None:
            return
        tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
        tensors |= {f"best/{name}": value for name, value in best.items()} | optimizer_tensors(model, optimizer)
        spent = Spent(
            wall_seconds=self.earlier.wall_seconds + time.perf_counter() - self.started,
            core_seconds=self.earlier.core_seconds + time.process_time() - self.core_started,
        )
        save_tensors(self.path, tensors, {**about, "spent": vars(spent)})
