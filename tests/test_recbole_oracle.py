"""RecBole as an oracle: its evaluator, its SASRec, BERT4Rec and FDSA say the same of the same scores and weights."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from recbole_parts import copy_blocks, copy_input, copy_weights, needs_recbole

from baselines.bert4rec import BERT4Rec, BERT4RecConfig, HidesItems
from baselines.bert4rec_recbole1 import RecBole1BERT4Rec
from baselines.fdsa import FDSA
from baselines.sasrec import SASRec
from benchmark.domain import Domain, Sequences
from benchmark.errors import InputError
from benchmark.formats import write_atomic, write_unisrec
from benchmark.layers import Sizes
from benchmark.method import Material, Model
from benchmark.metrics import METRICS, per_user
from benchmark.rank import rank
from benchmark.recbole_compat import load
from benchmark.splits import HeldOut, leave_one_out
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
    """As much of a RecBole dataset as a model asks for: items, and one feature in which each has a value of its own."""

    def __init__(self, n_items: int) -> None:
        self.n_items = n_items
        self.field2type = {"text": load("recbole.utils").FeatureType.TOKEN}

    def num(self, field: str) -> int:
        return self.n_items

    def get_item_feature(self) -> Any:
        return load("recbole.data.interaction").Interaction({"text": torch.arange(self.n_items)})


def recboles(module: str, name: str, sizes: Sizes, n_items: int) -> Any:
    """A sequential model of RecBole, with a padding item before the others."""
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
        "selected_features": ["text"],
        "pooling_mode": "mean",
        "mask_ratio": 0.2,
        **dict.fromkeys(("MASK_ITEM_SEQ", "POS_ITEMS", "NEG_ITEMS", "MASK_INDEX"), "unused"),
    }
    build = getattr(load(f"recbole.model.sequential_recommender.{module}"), name)
    return build(config, Catalogue(n_items + 1))


N_ITEMS, SIZES = 120, Sizes(width=64)


def _histories() -> Sequences:
    rng = np.random.default_rng(2)
    lengths = (1, 2, 5, 17, 49, 50, 50, 3, 30)
    return Sequences.of([rng.integers(0, N_ITEMS, length).astype(np.int32) for length in lengths])


HISTORIES = _histories()


def away_from_start(model: Model) -> None:
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.1)


def assert_same_scores(
    ours: Model, theirs: Any, asked: Sequences | None = None, histories: Sequences = HISTORIES
) -> None:
    """Of every item after every history; ``asked``: what RecBole is given instead of the same histories."""
    given = histories if asked is None else asked
    padded = torch.zeros(len(given), 50, dtype=torch.long)
    for row, history in enumerate(given):
        padded[row, : len(history)] = torch.from_numpy(history).long() + 1
    batch = {"item_id_list": padded, "item_length": torch.from_numpy(given.lengths)}
    expected = theirs.full_sort_predict(batch)[:, 1:]
    assert float(expected.std()) > 0.5
    torch.testing.assert_close(scores(ours, histories), expected, atol=1e-4, rtol=1e-4)


@needs_recbole
@torch.no_grad()
def test_sasrec_scores_as_recboles_with_the_same_weights() -> None:
    torch.manual_seed(0)
    ours = SASRec(SIZES, Material(n_items=N_ITEMS, train=HISTORIES)).eval()
    away_from_start(ours)
    theirs = recboles("sasrec", "SASRec", SIZES, N_ITEMS).eval()
    copy_weights(ours, theirs)
    assert_same_scores(ours, theirs)


@needs_recbole
@torch.no_grad()
def test_fdsa_scores_as_recboles_with_the_same_weights() -> None:
    """RecBole's embeds categories and not vectors: each item gets a category of its own, whose embedding is what ours
    makes of the item's text. Its attention over features has one to look at, so its own weights do not matter."""
    torch.manual_seed(0)
    text = np.random.default_rng(3).normal(size=(N_ITEMS, 40)).astype(np.float32)
    ours = FDSA(SIZES, Material(n_items=N_ITEMS, train=HISTORIES, text=text)).eval()
    away_from_start(ours)
    theirs = recboles("fdsa", "FDSA", SIZES, N_ITEMS).eval()
    copy_input(ours.item_table.weight, ours.id_encoder, theirs)
    weight_DF, bias_D = ours.project.weight, ours.project.bias
    features_ND = (torch.from_numpy(text) @ weight_DF.T + bias_D).clamp(min=0)
    theirs.feature_embed_layer.token_embedding_table["item"].embedding.weight[1:] = features_ND
    copy_blocks(ours.id_encoder, theirs.item_trm_encoder)
    copy_blocks(ours.feature_encoder, theirs.feature_trm_encoder)
    theirs.concat_layer.load_state_dict(ours.join.state_dict())
    assert_same_scores(ours, theirs)


def bert4rec_pair(*, output_layer: bool) -> tuple[HidesItems, Any]:
    """Ours and RecBole's with the same weights; without an output layer in both, which RecBole's had not in 1.0."""
    torch.manual_seed(0)
    material = Material(n_items=N_ITEMS, train=HISTORIES)
    ours = BERT4Rec(BERT4RecConfig(width=SIZES.width), material) if output_layer else RecBole1BERT4Rec(SIZES, material)
    away_from_start(ours)
    theirs = recboles("bert4rec", "BERT4Rec", SIZES, N_ITEMS)
    copy_input(ours.item_table.weight, ours.encoder, theirs)
    copy_blocks(ours.encoder, theirs.trm_encoder)
    theirs.item_embedding.weight[-1] = ours.mask_D
    if isinstance(ours, BERT4Rec):
        theirs.output_ffn.load_state_dict(ours.project.state_dict())
        theirs.output_ln.load_state_dict(ours.output_norm.state_dict())
        theirs.output_bias[1:] = ours.bias_N
    else:
        theirs.output_ffn = theirs.output_gelu = theirs.output_ln = torch.nn.Identity()
    return ours.eval(), theirs.eval()


def with_one_before(history: NDArray[np.int32]) -> NDArray[np.int32]:
    """RecBole makes room for the mask by leaving out the oldest item, of a short history too: here is one to leave
    out."""
    return np.append(np.int32(7), history)[-50:]


@needs_recbole
@torch.no_grad()
def test_bert4rec_scores_as_recboles_with_the_same_weights() -> None:
    """Ours counts positions from the end and RecBole's from the front: for each length its table is turned round."""
    ours, theirs = bert4rec_pair(output_layer=True)
    for history in HISTORIES:
        tokens = min(len(history), 49) + 1  # with the mask
        theirs.position_embedding.weight[:tokens] = ours.encoder.positions.weight[:tokens].flip(0)
        assert_same_scores(ours, theirs, Sequences.of([with_one_before(history)]), Sequences.of([history]))


@needs_recbole
@torch.no_grad()
def test_the_replica_of_bert4rec_scores_as_recboles_with_the_same_weights() -> None:
    ours, theirs = bert4rec_pair(output_layer=False)
    assert_same_scores(ours, theirs, Sequences.of([with_one_before(history) for history in HISTORIES]))


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


# --- data: what we export is, to RecBole, the same split


def recboles_rows(folder: Path, name: str, **settings: Any) -> list[list[tuple[str, list[str], str]]]:
    """(user, history, next item) of every row of training, validation and test, as RecBole itself reads them."""
    config = load("recbole.config").Config(
        model="SASRec",
        dataset=name,
        config_dict={
            "data_path": str(folder),
            "train_neg_sample_args": None,
            "MAX_ITEM_LIST_LENGTH": 50,
            "save_dataset": False,
            "show_progress": False,
            "state": "ERROR",
            **settings,
        },
    )
    dataset = load("recbole.data.dataset").SequentialDataset(config)
    found = []
    for part in dataset.build():
        lists, lengths = part.inter_feat["item_id_list"], part.inter_feat["item_length"]
        users, items = part.inter_feat["user_id"], part.inter_feat["item_id"]
        found.append(
            [
                (
                    str(dataset.id2token("user_id", int(user))),
                    [str(token) for token in dataset.id2token("item_id", row[:length].numpy())],
                    str(dataset.id2token("item_id", int(item))),
                )
                for user, row, length, item in zip(users, lists, lengths.tolist(), items, strict=True)
            ]
        )
    return found


def our_rows(domain: Domain, users: tuple[str, ...], items: tuple[str, ...]) -> list[list[tuple[str, list[str], str]]]:
    """The same of our split."""

    def named(rows: NDArray[np.int32]) -> list[str]:
        return [items[row] for row in rows[-50:].tolist()]

    split = leave_one_out(domain)
    train = [
        (users[user], named(row[:end]), items[row[end]])
        for user, row in enumerate(split.train)
        for end in range(1, len(row))
    ]
    held_out = [
        [
            (users[user], named(history), items[target])
            for user, (history, target) in enumerate(zip(asked.histories, asked.targets, strict=True))
        ]
        for asked in (split.valid, split.test)
    ]
    return [train, *held_out]


def odd_domain() -> Domain:
    """Users of 3 to 60 interactions, repeats and ties among them; ids that are numbers, unicode or hold spaces."""
    rng = np.random.default_rng(5)
    lengths = (3, 4, 60, 52, 7, 3, 12)
    item_ids = ("7", "07", "a b", "ö", "茶", "-", "0.0", "x:y", *(f"i{n}" for n in range(30)))
    rows = [rng.integers(0, len(item_ids), length).astype(np.int32) for length in lengths]
    # every item is taken, for RecBole knows no others
    rows[2][: len(item_ids)] = np.arange(len(item_ids))
    times = [np.sort(rng.integers(1_400_000_000, 1_400_000_000 + 40 * length, length)) for length in lengths]
    return Domain(
        name="odd",
        sequences=Sequences.of(rows),
        item_ids=item_ids,
        user_ids=("1", "01", "u v", "ü", "客", "-1", "0"),
        texts=("", *(f"Thing {n}" for n in range(1, len(item_ids)))),
        timestamps=np.concatenate(times).astype(np.int64),
    )


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder to work in for RecBole's configuration, which reads the command line and sets the visible GPUs."""
    monkeypatch.setattr(sys, "argv", ["pytest"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    monkeypatch.chdir(tmp_path)
    return tmp_path


old_pandas = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
"""RecBole's ways with it."""


@needs_recbole
@old_pandas
def test_recbole_reads_the_exported_split_as_ours(quiet: Path) -> None:
    domain = odd_domain()
    write_unisrec(domain, quiet / "odd")
    found = recboles_rows(
        quiet,
        "odd",
        benchmark_filename=["train", "valid", "test"],
        alias_of_item_id=["item_id_list"],
        load_col={"inter": ["user_id", "item_id_list", "item_id"]},
    )
    rows = tuple(map(str, range(domain.n_users))), tuple(map(str, range(domain.n_items)))
    for ours, theirs in zip(our_rows(domain, *rows), found, strict=True):
        assert sorted(theirs) == sorted(ours)


@needs_recbole
@old_pandas
def test_recbole_splits_the_exported_interactions_as_we_do(quiet: Path) -> None:
    """From the atomic files, whose ties RecBole leaves in the order of the file; but of users with three interactions
    it trains on what we validate on, for it leaves out no more than all rows but one."""
    domain = odd_domain()
    write_atomic(domain, quiet / "odd")
    found = recboles_rows(
        quiet,
        "odd",
        load_col={"inter": ["user_id", "item_id", "timestamp"]},
        eval_args={"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full", "group_by": "user"},
    )
    train, valid, test = our_rows(domain, domain.user_ids, domain.item_ids)
    short = {domain.user_ids[user] for user in np.flatnonzero(domain.sequences.lengths == 3)}
    assert len(short) == 2
    train += [row for row in valid if row[0] in short]
    valid = [row for row in valid if row[0] not in short]
    for ours, theirs in zip((train, valid, test), found, strict=True):
        assert sorted(theirs) == sorted(ours)
