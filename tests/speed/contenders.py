"""What is timed: work of the product and of RecBole, as functions that do it once."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.batches import training_batches, training_windows
from benchmark.domain import Domain
from benchmark.formats.atomic import write_atomic
from benchmark.method import Material, Model, registry
from benchmark.metrics import METRICS, per_user
from benchmark.rank import rank
from benchmark.recbole_compat import load
from benchmark.splits import Split
from benchmark.train import adam, run_epoch

from . import SHIPPED, WITHOUT_ANOMALY_DETECTION
from .sizes import BATCH_TARGETS, Sizes

CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Contender:
    name: str
    run: Callable[[], object]
    warm_up: Callable[[], object]
    share: float = 1.0
    """Part of the work compared that ``run`` does: its seconds are divided by it."""
    anomaly_detection: bool = False
    """Whether torch looks for the origin of NaN; importing RecBole's sequential models turns it on for good."""


def alternate(contenders: Sequence[Contender], rounds: int, benchmark: Any) -> list[dict[str, Any]]:
    """Time the contenders in turn, ``rounds`` times each, under pytest-benchmark, which times whole rounds.

    Returns one entry a contender: its name, share and seconds, scaled to the whole work.
    """
    seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}

    def one_round() -> None:
        for contender in contenders:
            with torch.autograd.set_detect_anomaly(contender.anomaly_detection):
                started = time.perf_counter()
                contender.run()
                seconds[contender.name].append((time.perf_counter() - started) / contender.share)

    for contender in contenders:
        with torch.autograd.set_detect_anomaly(contender.anomaly_detection):
            contender.warm_up()
    benchmark.pedantic(one_round, rounds=rounds, iterations=1)
    return [{"name": c.name, "share": c.share, "seconds": seconds[c.name]} for c in contenders]


def build(
    method: str,
    split: Split,
    config: Mapping[str, Any],
    *,
    text: NDArray[np.float32] | None = None,
    pretrained: Mapping[str, Tensor] | None = None,
) -> Model:
    """A registered method with fresh weights."""
    torch.manual_seed(0)
    entry = registry().method(method)
    material = Material(n_items=split.n_items, train=split.train, text=text, pretrained=pretrained)
    built = entry.build(entry.configure(config), material)
    assert isinstance(built, Model)
    return built


def epoch(name: str, model: Model, split: Split, precision: str) -> Contender:
    """A training epoch as the training loop runs it, batching included."""
    optimizer = adam(model, 1e-3)
    windows, rng = training_windows(split.train), np.random.default_rng(0)

    def run() -> float:
        return run_epoch(model, optimizer, training_batches(split.train, windows, BATCH_TARGETS, rng), precision, CPU)

    return Contender(name=name, run=run, warm_up=run)


def evaluation(name: str, model: Model, split: Split, precision: str) -> Contender:
    """Every user's test item among the whole catalogue, and the metrics of it."""

    def run() -> dict[str, float]:
        ranks = rank(model, split.test, split.n_items, CPU, precision)
        return {metric: float(per_user(metric, ranks.greater, ranks.equal).mean()) for metric in METRICS}

    return Contender(name=name, run=run, warm_up=run)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """RecBole's own SASRec, data loaders and trainer."""

    trainer: Any
    train_data: Any
    test_data: Any

    def epochs(self, n_targets: int, sizes: Sizes) -> tuple[Contender, Contender]:
        """Part of an epoch, twice: with anomaly detection, which it comes with, and without."""

        def steps(n: int) -> None:
            self.trainer._train_epoch(itertools.islice(self.train_data, n), 0)

        both = (
            Contender(
                name=name,
                run=partial(steps, sizes.reference_steps),
                warm_up=partial(steps, sizes.reference_warm_up),
                share=min(1.0, sizes.reference_steps * BATCH_TARGETS / n_targets),
                anomaly_detection=name == SHIPPED,
            )
            for name in (SHIPPED, WITHOUT_ANOMALY_DETECTION)
        )
        shipped, without = both
        return shipped, without

    def evaluation(self) -> Contender:
        def run() -> object:
            return self.trainer.evaluate(self.test_data, load_best_model=False, show_progress=False)

        return Contender(name=SHIPPED, run=run, warm_up=run, anomaly_detection=True)


def reference(domain: Domain, width: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Reference:
    """RecBole on the domain, split and augmented by itself: one row a prefix, padded to 50.

    Raises InputError where RecBole is not installed.
    """
    write_atomic(domain, folder / domain.name)
    settings = {
        "data_path": str(folder),
        "checkpoint_dir": str(folder),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
        "loss_type": "CE",
        "train_neg_sample_args": None,
        "MAX_ITEM_LIST_LENGTH": 50,
        "train_batch_size": BATCH_TARGETS,
        "eval_batch_size": BATCH_TARGETS,
        "metrics": ["Recall", "NDCG"],
        "topk": [10, 50],
        "valid_metric": "NDCG@10",
        "hidden_size": width,
        "inner_size": 256,
        "n_layers": 2,
        "n_heads": 2,
        "hidden_dropout_prob": 0.5,
        "attn_dropout_prob": 0.5,
        "use_gpu": False,
        "show_progress": False,
    }
    # it reads the command line of whatever program it runs in, and writes logs into the working folder
    monkeypatch.setattr("sys.argv", [""])
    monkeypatch.chdir(folder)
    config = load("recbole.config").Config(model="SASRec", dataset=domain.name, config_dict=settings)
    data = load("recbole.data")
    train_data, _, test_data = data.data_preparation(config, data.create_dataset(config))
    load("recbole.utils").init_seed(0, reproducibility=False)
    model = load("recbole.model.sequential_recommender.sasrec").SASRec(config, train_data.dataset)
    trainer = load("recbole.trainer").Trainer(config, model)
    # what only the end of a whole training gives the evaluation
    trainer.eval_collector.data_collect(train_data)
    return Reference(trainer=trainer, train_data=train_data, test_data=test_data)
