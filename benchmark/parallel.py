"""Several processes that train as one: all that touches torch.distributed.

torchrun starts the processes and tells each who it is. A process that nobody started so is alone: to it every function
here gives back what it was given. What several do must be called by all of them, in the same order.

Legend: T rows of this process, A rows of all processes, rank by rank.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from benchmark.errors import InputError, ToldElsewhere

TIMEOUT = timedelta(days=7)
"""How long a process waits for another: one may encode the texts of a large catalogue meanwhile. torchrun ends all
processes when one dies, so nobody waits for the dead."""
GRACE_SECONDS = 1.0
"""How long a process with nothing to say outlives a mistake: torchrun ends all processes when the first has ended, and
one of them is about to tell it."""
ENVIRONMENT = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""How torchrun tells a process who it is and where the others are."""

Found = TypeVar("Found")


@contextmanager
def processes() -> Iterator[None]:
    """Join the processes that torchrun has started beside this one, if it has.

    They talk by gloo, and by nccl about what lies on GPUs.
    """
    if not all(name in os.environ for name in ENVIRONMENT) or os.environ["WORLD_SIZE"] == "1":
        yield
        return
    # Optimizers import it. Its functions have the group that there is by then as a default and would keep it for ever,
    # threads and all, and a thread that outlives the group can abort the process as it exits.
    importlib.import_module("torch.distributed.nn")
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=TIMEOUT)
    try:
        yield
    except ToldElsewhere:
        time.sleep(GRACE_SECONDS)
        raise
    finally:
        dist.destroy_process_group()


def own(device: torch.device) -> torch.device:
    """The device that is this process's; raises InputError where there are fewer GPUs than processes."""
    if device.type != "cuda" or world_size() == 1:
        return device
    number, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if number >= gpus:
        raise InputError(f"--device cuda: {gpus} GPUs for more processes; give torchrun --nproc-per-node {gpus}")
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()


def world_size() -> int:
    return dist.get_world_size() if _joined() else 1


def rank() -> int:
    return dist.get_rank() if _joined() else 0


def leads() -> bool:
    """Whether this is the one process that writes and speaks."""
    return rank() == 0


# --- tensors


@dataclass(frozen=True, kw_only=True)
class Rows:
    """How many rows each process has, rank by rank."""

    counts: tuple[int, ...]

    @property
    def first(self) -> int:
        """Place of this process's first row among those of all."""
        return sum(self.counts[: rank()])

    @property
    def share(self) -> float:
        """Of all rows, those of this process."""
        return self.counts[rank()] / sum(self.counts)


def rows(n: int) -> Rows:
    """The rows of all processes, of which ``n`` are here."""
    if world_size() == 1:
        return Rows(counts=(n,))
    parts = [torch.empty(1, dtype=torch.int64) for _ in range(world_size())]
    dist.all_gather(parts, torch.tensor([n]))
    return Rows(counts=tuple(int(part) for part in parts))


def _gather(x: Tensor, layout: Rows) -> Tensor:
    """Gather in blocks of one size, the largest, because that is what backends can do."""
    block = x.new_zeros(max(layout.counts), *x.shape[1:])
    block[: len(x)] = x
    blocks = [torch.empty_like(block) for _ in layout.counts]
    dist.all_gather(blocks, block)
    return torch.cat([block[:n] for block, n in zip(blocks, layout.counts, strict=True)])


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, layout: Rows) -> Tensor:
        ctx.own = slice(layout.first, layout.first + len(x))
        return _gather(x, layout)

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        gradient = grad_outputs[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient[ctx.own], None


def gather(x: Tensor, layout: Rows) -> Tensor:
    """The rows of all processes, [A, ...] of [T, ...], where ``layout`` is `rows` of T.

    Where x has a gradient, all processes must go back through it: a row's gradient is the sum of what the losses of all
    processes send to it. Losses that each process has a part of thus give the gradients of their sum.
    """
    if world_size() == 1:
        return x
    return _Gather.apply(x, layout) if x.requires_grad else _gather(x, layout)


def part_of_mean(mean: Tensor, n: int) -> Tensor:
    """What a mean over ``n`` rows here contributes to the mean over the rows of all: the parts add up to it."""
    return mean if world_size() == 1 else mean * rows(n).share


def total(x: Tensor) -> Tensor:
    """The sum over processes."""
    if world_size() > 1:
        x = x.clone()
        dist.all_reduce(x)
    return x


def sum_gradients(module: nn.Module) -> None:
    """Add up every trained parameter's gradient over processes, in one message.

    One that has none here counts as zero; one that has none anywhere is left without, as optimizers skip it then.
    """
    if world_size() == 1:
        return
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    given = [parameter.grad for parameter in trained]
    flat = [torch.zeros_like(p).flatten() if g is None else g.flatten() for p, g in zip(trained, given, strict=True)]
    there = torch.tensor([float(gradient is not None) for gradient in given], device=flat[0].device)
    message = torch.cat([*flat, there])
    dist.all_reduce(message)
    *sums, there = message.split([*map(len, flat), len(there)])
    for parameter, found, anywhere in zip(trained, sums, there.tolist(), strict=True):
        parameter.grad = found.view_as(parameter).to(parameter.dtype) if anywhere else None


def follow_leader(tensors: Iterable[Tensor]) -> None:
    """Give tensors, in place, the values that they have in the first process."""
    if world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, 0)


# --- what is said and agreed on


def _told(text: str) -> list[str]:
    """What every process says, rank by rank."""
    said = torch.tensor(list(text.encode()), dtype=torch.uint8)
    layout = rows(len(said))
    return [bytes(part.tolist()).decode() for part in gather(said, layout).split(list(layout.counts))]


@contextmanager
def agreed() -> Iterator[None]:
    """What all processes must come through: a mistake of the user found by one ends all, and is told once.

    Where it was found (by several: in the first of them) the error goes on; the others raise `ToldElsewhere`. Nothing
    within may wait for another process.
    """
    found: InputError | OSError | None = None
    try:
        yield
    except (InputError, OSError) as error:
        found = error
    problems = _told("" if found is None else str(found) or type(found).__name__)
    first = next((place for place, problem in enumerate(problems) if problem), None)
    if first is None:
        return
    raise found if found is not None and first == rank() else ToldElsewhere(problems[first])


def check_same(value: str, problem: str) -> None:
    """Raise InputError with ``problem`` where the value is not the same in all processes."""
    values = set(_told(value))
    with agreed():
        if len(values) > 1:
            raise InputError(problem)


def leader_first(work: Callable[[], Found]) -> Found:
    """Do the same in every process, first of all in the first: what that leaves behind the others find done."""
    found: list[Found] = []
    for turn in (leads(), not leads()):
        with agreed():
            if turn:
                found.append(work())
    return found[0]
