"""What two processes of a group do in the tests of `benchmark.parallel`; each leaves what it found in a file."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from benchmark import cli, parallel, pretrain
from benchmark.batches import Batch, training_batches
from benchmark.domain import Sequences
from benchmark.errors import InputError
from benchmark.jobs import Pretraining
from benchmark.method import Pretrainer, PretrainingFamily, configure, registry
from benchmark.train import run_epoch
from unisrec.objectives import PretrainingConfig, UniSRecPretrainer

N = 2
"""Processes."""
FAMILY = registry().families["UniSRec"]
CPU = torch.device("cpu")

# --- one process and two must do the same: nothing is left to chance

SIZES: dict[str, Any] = {"width": 8, "inner": 12, "experts": 3, "dropout": 0.0, "attention_dropout": 0.0}
N_ITEMS, TEXT, BATCH_TARGETS = 30, 10, 60


def sequences(*lengths: int) -> Sequences:
    rng = np.random.default_rng(0)
    return Sequences.of([rng.integers(0, N_ITEMS, length).tolist() for length in lengths])


TAUGHT = sequences(9, 3, 60, 2, 7, 5, 4, 12, 6, 8, 3, 11, 5, 9, 14, 2, 10, 7, 8)
"""One of them has two windows, which may come to different processes."""
RELEASED = {"prefix_rows": True, "released_negatives": True, "released_sequence_denominator": True}
LOSSES: dict[str, dict[str, Any]] = {
    "paper": {},
    "paper, prefix rows": {"prefix_rows": True},
    "sequence-item alone": {"sequence_weight": 0.0},
    "sequence-sequence alone": {"item_weight": 0.0},
    "released negatives": {"prefix_rows": True, "released_negatives": True},
    "released denominator": {"released_sequence_denominator": True},
    "released": RELEASED,
}
AUGMENTATIONS: dict[str, dict[str, Any]] = {"none": {"drop": 0.0}, "noisy texts": {"drop": 1.0, "item_drop_share": 0.0}}
CASES = [(loss, augmentation) for loss in LOSSES for augmentation in AUGMENTATIONS]


def texts(n_items: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n_items, TEXT))).float()


def without_chance(loss: str, augmentation: str) -> UniSRecPretrainer:
    """Without dropout, and away from the start, where biases and gates are zero."""
    config = configure(
        PretrainingConfig, SIZES | {"sequence_weight": 0.5} | LOSSES[loss] | AUGMENTATIONS[augmentation], "x"
    )
    torch.manual_seed(3)
    model = UniSRecPretrainer(config, texts(N_ITEMS, 1), texts(N_ITEMS, 2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.train()


def taught(loss: str, augmentation: str, share: tuple[int, int] = (0, 1)) -> dict[str, Tensor]:
    """Loss and gradients of an epoch's first batch, as they are after they were added up; then weights and loss of an
    epoch of gradient descent, and how many pairs each of its batches had here."""
    with mock.patch.object(torch, "randn_like", torch.zeros_like):  # the gate's noise
        model = without_chance(loss, augmentation)
    windows = model.windows(TAUGHT)

    def batches() -> list[Batch]:
        return list(training_batches(TAUGHT, windows, BATCH_TARGETS, np.random.default_rng(0), share))

    with mock.patch.object(torch, "randn_like", torch.zeros_like):
        first = batches()[0]
        mine = parallel.part_of_mean(model.loss(first), len(first.targets_T))
        mine.backward()
        parallel.sum_gradients(model)
        found = {"loss": parallel.total(mine.detach())}
        found |= {f"gradient {name}": p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        epoch_loss = run_epoch(model, torch.optim.SGD(model.parameters(), lr=0.05), batches(), "float32", CPU)
    found |= {f"weight {name}": p.detach().clone() for name, p in model.named_parameters()}
    found |= {"epoch loss": torch.tensor(epoch_loss), "pairs": torch.tensor([len(b.targets_T) for b in batches()])}
    return found


def teach(place: Path) -> None:
    for number, case in enumerate(CASES):
        share = parallel.rank(), parallel.world_size()
        save_file(taught(*case, share), place / f"taught-{number}-{parallel.rank()}.safetensors")


# --- the parts


def add_up(place: Path) -> None:
    """A loss of which each process has a part, over rows of both; first with 3 and 2 rows, then with 0 and 2."""
    me = parallel.rank()
    found: dict[str, Any] = {}
    for name, sizes in (("both", (3, 2)), ("one is empty", (0, 2))):
        x = (torch.arange(2.0 * sizes[me]).view(-1, 2) + 10 * me).requires_grad_()
        layout = parallel.rows(len(x))
        everything = parallel.gather(x, layout)
        labels = parallel.gather(torch.full((len(x),), me + 5), layout)
        # the part of process p is (p + 1) * sum_i i * (sum of row i), for all rows i
        ((me + 1) * (torch.arange(len(everything))[:, None] * everything).sum()).backward()
        assert x.grad is not None
        found[name] = [layout.counts, layout.first, everything.tolist(), labels.tolist(), x.grad.tolist()]
    found["parts of a mean"] = [parallel.part_of_mean(torch.tensor(4.0), (3, 1)[me]).item()]
    found["total"] = parallel.total(torch.tensor([1.0, me])).tolist()
    (place / f"parts-{me}.json").write_text(json.dumps(found))


def sum_up(place: Path) -> None:
    """Gradients of four parameters: of both, of the second process alone, of nobody, and one that is frozen."""
    me = parallel.rank()
    module = nn.ParameterDict({name: nn.Parameter(torch.ones(2, 2)) for name in ("both", "second", "nobody", "frozen")})
    module["frozen"].requires_grad_(False)
    module["both"].grad = torch.full((2, 2), 1.5 + me)
    if me == 1:
        module["second"].grad = torch.arange(4.0).view(2, 2)
    parallel.sum_gradients(module)
    found = {name: None if p.grad is None else p.grad.tolist() for name, p in module.items()}
    (place / f"gradients-{me}.json").write_text(json.dumps(found))


def agree(place: Path) -> None:
    """Mistakes of the second process, of both, and of none; then work that the first does before the second."""

    def what_comes_of(work: Callable[[], Any]) -> str:
        try:
            return f"{work()}"
        except (InputError, OSError) as error:
            return f"{type(error).__name__}: {error}"

    def mistake_of(*those: int) -> str:
        with parallel.agreed():
            if parallel.rank() in those:
                raise InputError(f"a mistake found by {parallel.rank()}")
        return "all is well"

    def no_file() -> None:
        with parallel.agreed():
            if parallel.rank() == 1:
                (place / "not there").read_text()

    def in_turn() -> str:
        note = place / "who was first"
        if not note.exists():
            note.write_text(f"{parallel.rank()}")
        return note.read_text()

    found = {
        "none": what_comes_of(mistake_of),
        "second": what_comes_of(lambda: mistake_of(1)),
        "both": what_comes_of(lambda: mistake_of(0, 1)),
        "file": what_comes_of(no_file),
        "same": what_comes_of(lambda: parallel.check_same("x", "not the same")),
        "not the same": what_comes_of(lambda: parallel.check_same(f"{parallel.rank()}", "not the same")),
        "in turn": what_comes_of(lambda: parallel.leader_first(in_turn)),
        "leads": f"{parallel.leads()}",
    }
    (place / f"agreed-{parallel.rank()}.json").write_text(json.dumps(found))


# --- pre-training

PRETRAINED = sequences(*(4 + user % 9 for user in range(40)))
SPEC = Pretraining(
    family="UniSRec",
    version=1,
    sources=("toy",),
    encoder="none",
    config=SIZES | {"dropout": 0.3, "batch_targets": 50, "learning_rate": 0.01, "sequence_weight": 0.5},
    epochs=4,
    seed=0,
)
BUILT: list[UniSRecPretrainer] = []


def build(config: PretrainingConfig, text: Tensor, noisy: Tensor) -> UniSRecPretrainer:
    """The second process begins elsewhere, as on a machine that draws other numbers."""
    BUILT.append(UniSRecPretrainer(config, text, noisy))
    if parallel.rank():
        with torch.no_grad():
            for parameter in BUILT[-1].parameters():
                parameter.add_(1.0)
    return BUILT[-1]


def make(spec: Pretraining, cache: Path, family: PretrainingFamily | None = None, log: Any = lambda line: None) -> Path:
    parts = pretrain.key_parts(spec, {"toy": "fingerprint"}, {"none": {}}, "float32")
    family = family or replace(FAMILY, build=build)
    given = PRETRAINED, texts(N_ITEMS, 1), texts(N_ITEMS, 2)
    return pretrain.pretrain(spec, family, parts, *given, cache=cache, log=log)


def pretrain_together(place: Path) -> None:
    """Four epochs at once; two, and then two more; each process notes its weights and the files it writes."""
    me, written, lines = parallel.rank(), [], []
    save = pretrain.save_tensors

    def noted(path: Path, *given: Any) -> None:
        written.append(path.name)
        save(path, *given)

    with mock.patch.object(pretrain, "save_tensors", noted):
        path = make(SPEC, place / "at once")
        save_file(dict(BUILT[-1].state_dict()), place / f"weights-{me}.safetensors")
        make(replace(SPEC, epochs=2), place / "in two")
        again = make(SPEC, place / "in two", log=lines.append)
    found = {"path": str(path), "again": str(again), "written": written, "log": lines}
    (place / f"pretrained-{me}.json").write_text(json.dumps(found))


class Spy(Pretrainer):
    """Notes what it is shown, and what it was to draw its randomness from."""

    seen: ClassVar[list[Any]] = []

    def __init__(self, config: Any, text: Tensor, noisy: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def loss(self, batch: Batch) -> Tensor:
        self.seen.append([torch.initial_seed(), batch.sequences_T.tolist()])
        return self.weight.sum()

    def weights(self) -> dict[str, Tensor]:
        return self.state_dict()


SPY = replace(FAMILY, name="Spy", build=Spy)


def look(place: Path) -> None:
    Spy.seen.clear()
    make(replace(SPEC, family="Spy", epochs=2), place / "spied", SPY)
    (place / f"seen-{parallel.rank()}.json").write_text(json.dumps(Spy.seen))


def stumble(place: Path) -> None:
    """A state that only the first process sees; more processes than sequences; a loss that is no number for one."""
    me, found = parallel.rank(), {}

    class Diverges(Spy):
        def loss(self, batch: Batch) -> Tensor:
            return super().loss(batch) * (torch.nan if me else 1.0)

    def lonely() -> None:
        with mock.patch.dict(globals(), PRETRAINED=Sequences.of([[1, 2, 3]])):
            make(SPEC, place / "lonely")

    calls: dict[str, Callable[[], Any]] = {
        "another cache": lambda: make(replace(SPEC, epochs=5), place / ("at once" if me == 0 else "elsewhere")),
        "too few": lonely,
        "no number": lambda: make(SPEC, place / "diverged", replace(SPY, build=Diverges)),
    }
    for name, call in calls.items():
        try:
            call()
        except (InputError, ArithmeticError) as error:
            found[name] = f"{type(error).__name__}: {error}"
    (place / f"stumbled-{me}.json").write_text(json.dumps(found))


# --- the command line


def command(me: int, place: Path) -> None:
    """`transrec pretrain` with the name of a suite that does not exist."""
    out, err = io.StringIO(), io.StringIO()
    code: Any = 0
    with (
        mock.patch.object(sys, "argv", ["transrec", "pretrain", "dmeo"]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as left:
            code = left.code
    (place / f"command-{me}.json").write_text(json.dumps([code, out.getvalue(), err.getvalue()]))


def threads() -> list[str]:
    """Names of this process's threads, those of libraries included, where the system tells them."""
    return sorted(path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm"))


def _process(me: int, place: Path, ports: list[int]) -> None:
    torch.set_num_threads(1)
    told = {"RANK": me, "LOCAL_RANK": me, "WORLD_SIZE": N, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": ports[0]}
    os.environ.update({name: str(value) for name, value in told.items()})
    with parallel.processes():
        for work in (add_up, sum_up, agree, teach, pretrain_together, look, stumble):
            work(place)
        during = threads()
    (place / f"threads-{me}.json").write_text(json.dumps([during, threads()]))
    os.environ["MASTER_PORT"] = str(ports[1])
    command(me, place)


def run(place: Path) -> None:
    """All of it, in two processes."""
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        ports = [each.getsockname()[1] for each in (one, other)]
    spawn(_process, (place, ports), nprocs=N)


def tensors(place: Path, name: str) -> list[dict[str, Tensor]]:
    return [load_file(place / f"{name}-{number}.safetensors") for number in range(N)]


def notes(place: Path, name: str) -> list[Any]:
    return [json.loads((place / f"{name}-{number}.json").read_text()) for number in range(N)]
