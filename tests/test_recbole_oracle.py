"""RecBole as an oracle: its evaluator and its SASRec say the same of the same scores and weights."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recbole_parts import copy_weights, needs_recbole

from baselines.sasrec import SASRec
from benchmark.domain import Sequences
from benchmark.errors import InputError
from benchmark.layers import Sizes
from benchmark.method import Material
from benchmark.metrics import METRICS, per_user
from benchmark.rank import rank
from benchmark.recbole_compat import load
from benchmark.splits import HeldOut
from benchmark.testing import scores

torch.set_num_threads(1)

NAMES = {"Recall": "hit", "NDCG": "ndcg", "MRR": "mrr"}
"""With one relevant item, Recall is the hit rate."""


class Table:
    """A scorer with a table: user u has the history [u]."""

    def __init__(self, scores_UN: np.ndarray) -> None:
        self.scores_UN = scores_UN

    def scores(self, histories: Sequences) -> torch.Tensor:
        return torch.from_numpy(self.scores_UN[histories.from_end(1)])


@needs_recbole
def test_metrics_are_those_of_recboles_evaluator() -> None:
    rng = np.random.default_rng(11)
    n_users, n_items = 500, 300
    scores_UN, targets = rng.normal(size=(n_users, n_items)).astype(np.float32), rng.integers(0, n_items, n_users)
    assert all(len(np.unique(row)) == n_items for row in scores_UN), "random scores tie"

    evaluator = load("recbole.evaluator")
    config = {"metrics": list(NAMES.values()), "topk": [10, 50], "metric_decimal_place": 12}
    config |= {"eval_args": {"mode": "full"}, "device": "cpu"}
    collector = evaluator.Collector(config)
    users = torch.arange(n_users)
    collector.eval_batch_collect(torch.from_numpy(scores_UN), None, users, torch.from_numpy(targets))
    expected = evaluator.Evaluator(config).evaluate(collector.get_data_struct())

    asked = HeldOut(Sequences.of([[user] for user in range(n_users)]), targets.astype(np.int32))
    ranks = rank(Table(scores_UN), asked, n_items)
    for metric in (*METRICS, "MRR@10", "MRR@50"):
        name, _, k = metric.partition("@")
        found = float(per_user(metric, ranks.greater, ranks.equal).mean())
        assert found == pytest.approx(expected[f"{NAMES[name]}@{k}"], abs=1e-6), metric


class Catalogue:
    """As much of a RecBole dataset as a model asks for."""

    def __init__(self, n_items: int) -> None:
        self.n_items = n_items

    def num(self, field: str) -> int:
        return self.n_items


def recboles_sasrec(sizes: Sizes, n_items: int) -> Any:
    """RecBole's SASRec, with a padding item before the others."""
    config: Mapping[str, Any] = {
        "USER_ID_FIELD": "user_id",
        "ITEM_ID_FIELD": "item_id",
        "LIST_SUFFIX": "_list",
        "ITEM_LIST_LENGTH_FIELD": "item_length",
        "NEG_PREFIX": "neg_",
        "MAX_ITEM_LIST_LENGTH": 50,
        "device": torch.device("cpu"),
        "n_layers": sizes.layers,
        "n_heads": sizes.heads,
        "hidden_size": sizes.width,
        "inner_size": sizes.inner,
        "hidden_dropout_prob": sizes.dropout,
        "attn_dropout_prob": sizes.attention_dropout,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "initializer_range": 0.02,
        "loss_type": "CE",
    }
    return load("recbole.model.sequential_recommender.sasrec").SASRec(config, Catalogue(n_items + 1))


@needs_recbole
@torch.no_grad()
def test_sasrec_scores_as_recboles_with_the_same_weights() -> None:
    n_items, sizes = 120, Sizes(width=64)
    rng = np.random.default_rng(2)
    lengths = (1, 2, 5, 17, 49, 50, 50, 3, 30)
    histories = Sequences.of([rng.integers(0, n_items, length).astype(np.int32) for length in lengths])
    torch.manual_seed(0)
    ours = SASRec(sizes, Material(n_items=n_items, train=histories)).eval()
    for parameter in ours.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.1)
    theirs = recboles_sasrec(sizes, n_items).eval()
    copy_weights(ours, theirs)

    padded = torch.zeros(len(histories), 50, dtype=torch.long)
    for row, history in enumerate(histories):
        padded[row, : len(history)] = torch.from_numpy(history).long() + 1
    asked = {"item_id_list": padded, "item_length": torch.from_numpy(histories.lengths)}
    expected = theirs.full_sort_predict(asked)[:, 1:]
    found = scores(ours, histories)
    assert float(expected.std()) > 0.5
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


IMPORTED = """
import sys, torch
from benchmark.recbole_compat import load
load("recbole.model.sequential_recommender.sasrec")
print(torch.is_anomaly_enabled(), "recbole.model.sequential_recommender.sine" in sys.modules)
"""


@needs_recbole
def test_importing_its_models_leaves_torch_as_it_was() -> None:
    """RecBole's SINE turns anomaly detection on for everybody, which costs several times the training time."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["False", "True"], done.stderr


def test_without_recbole_the_way_to_get_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "recbole", None)
    with pytest.raises(InputError, match=r"pip install --no-deps recbole==1\.2\.1"):
        load("recbole.evaluator")


@needs_recbole
def test_another_version_of_recbole_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load("recbole"), "__version__", "1.3.0")
    with pytest.raises(InputError, match="RecBole 1.3.0 is installed, and only 1.2.1"):
        load("recbole.evaluator")


@needs_recbole
def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match="recbole.model.no_such_model"):
        load("recbole.model.no_such_model")
