"""Every registered method meets the contract, and the contract catches methods that do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from baselines.sasrec import SASRec
from benchmark import testing
from benchmark.batches import Batch
from benchmark.domain import Sequences
from benchmark.layers import Sizes
from benchmark.method import Material, Method, NoConfig, registry
from benchmark.testing import CHECKS, Subject

torch.set_num_threads(1)

METHODS = registry().methods
FAMILIES = registry().families


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", METHODS)
def test_contract(name: str, check: Callable[[Subject], None]) -> None:
    method = METHODS[name]
    check(Subject(method=method, family=FAMILIES.get(method.pretraining or "")))


def test_every_check_is_run() -> None:
    assert set(CHECKS) == {value for name, value in vars(testing).items() if name.startswith("check_")}


class LooksAtNeighbours:
    """Scores relative to the mean of the batch."""

    def __init__(self, config: NoConfig, material: Material) -> None:
        self.n_items = material.n_items

    def scores(self, histories: Sequences) -> Tensor:
        last = torch.from_numpy(histories.from_end(1)).double()
        return (last - last.mean())[:, None] * torch.arange(self.n_items)


class LooksBeyondTheLimit:
    """Counts all of a history, however long."""

    def __init__(self, config: NoConfig, material: Material) -> None:
        self.n_items = material.n_items

    def scores(self, histories: Sequences) -> Tensor:
        return torch.stack([torch.bincount(torch.tensor(row).long(), minlength=self.n_items) for row in histories])


class DrawsAtRandom:
    def __init__(self, config: NoConfig, material: Material) -> None:
        self.scores_N = torch.from_numpy(np.random.rand(material.n_items))  # noqa: NPY002

    def scores(self, histories: Sequences) -> Tensor:
        return self.scores_N.expand(len(histories), -1)


class LeavesOutAnItem(LooksBeyondTheLimit):
    def scores(self, histories: Sequences) -> Tensor:
        return super().scores(histories)[:, :-1]


class ScoresNaN(LooksBeyondTheLimit):
    def scores(self, histories: Sequences) -> Tensor:
        return super().scores(histories) * torch.nan


class OverwritesTexts(SASRec):
    def __init__(self, config: Sizes, material: Material) -> None:
        super().__init__(config, material)
        assert material.text is not None
        self.text_NF = torch.from_numpy(material.text)

    def loss(self, batch: Batch) -> Tensor:
        self.text_NF.mul_(0.9)
        return super().loss(batch)


class KeepsStateAside(SASRec):
    """Part of what it has learnt is in no parameter."""

    learnt = 0.0

    def loss(self, batch: Batch) -> Tensor:
        self.learnt += 1.0
        return super().loss(batch)

    def candidates(self, items_ND: Tensor) -> Tensor:
        return items_ND + self.learnt * torch.arange(len(items_ND))[:, None]


class ForgetsALayer(SASRec):
    def __init__(self, config: Sizes, material: Material) -> None:
        super().__init__(config, material)
        self.unused = nn.Linear(3, 3)


class CannotLearn(SASRec):
    """Sees only how long a history is."""

    def users(self, batch: Batch, items_ND: Tensor) -> Tensor:
        return super().users(replace(batch, items_BL=torch.zeros_like(batch.items_BL)), items_ND)


@dataclass(frozen=True, kw_only=True)
class UnwritableConfig:
    widths: tuple[int, ...] = (1, 2)


def counting(build: Callable[[Any, Material], Any], **others: Any) -> Method:
    return replace(METHODS["Popularity"], name="Broken", build=build, **others)


def learning(build: Callable[[Any, Material], Any], **others: Any) -> Method:
    return replace(METHODS["SASRec"], name="Broken", build=build, **others)


@pytest.mark.parametrize(
    ("check", "method", "said"),
    [
        (testing.check_configuration, counting(LooksAtNeighbours, config=UnwritableConfig), "widths"),
        (testing.check_scores, counting(LeavesOutAnItem), "shape"),
        (testing.check_scores, counting(ScoresNaN), "not finite"),
        (testing.check_histories_are_independent, counting(LooksAtNeighbours), "alone"),
        (testing.check_history_limit, counting(LooksBeyondTheLimit), "limit"),
        (testing.check_seed, counting(DrawsAtRandom), "two runs of one seed"),
        (testing.check_weights_are_all, learning(KeepsStateAside), "same weights"),
        (testing.check_overfits, learning(CannotLearn), "trained on"),
        (testing.check_what_is_given_stays, learning(OverwritesTexts, needs=frozenset({"text"})), "changed text"),
        (testing.check_gradients, learning(ForgetsALayer), "unused.weight"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_broken_method_is_caught(check: Callable[[Subject], None], method: Method, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check(Subject(method=method))
