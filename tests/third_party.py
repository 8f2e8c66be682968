"""Methods as a third party would bring them, good and bad: ``--plugin third_party:METHODS``."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import torch
from torch import Tensor

from baselines.sasrec import METHODS as SASREC
from baselines.sasrec import SASRec
from benchmark.batches import Batch
from benchmark.domain import Sequences
from benchmark.method import Material, Method, NoConfig


class LastItem:
    """What was taken last comes first."""

    def __init__(self, config: NoConfig, material: Material) -> None:
        self.n_items = material.n_items

    def scores(self, histories: Sequences) -> Tensor:
        return torch.nn.functional.one_hot(torch.from_numpy(histories.from_end(1)).long(), self.n_items)


class Raises(LastItem):
    def scores(self, histories: Sequences) -> Tensor:
        raise RuntimeError("the third party has made a mistake")


class Dies(LastItem):
    """Takes its process with it, as running out of memory does."""

    def scores(self, histories: Sequences) -> Tensor:
        os._exit(9)


class Killed(LastItem):
    """As by the system, when memory is short."""

    def scores(self, histories: Sequences) -> Tensor:
        os.kill(os.getpid(), signal.SIGKILL)
        return super().scores(histories)


class Diverges(SASRec):
    def loss(self, batch: Batch) -> Tensor:
        return super().loss(batch) * torch.nan


def _counts(name: str, build: type) -> Method:
    return Method(
        name=name, family="counts", role="row", version=1, paper="none", config=NoConfig, build=build, trained=False
    )


GOOD = _counts("LastItem", LastItem)
METHODS = (
    GOOD,
    _counts("Raises", Raises),
    _counts("Dies", Dies),
    replace(SASREC[0], name="Diverges", role="row", build=Diverges),
)
KILLED = _counts("Killed", Killed)
NO_METHOD = "just a string"
