"""RecBole's sequential models as rows: they compute what RecBole computes, and the suite decides all the rest."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import yaml
from recbole_parts import copy_weights, needs_recbole

from baselines import recbole
from baselines.recbole import MODELS, REFUSED, TRIMMED, RecBole
from baselines.sasrec import SASRec
from benchmark import cli, recbole_compat, testing
from benchmark.batches import MAX_LENGTH, pack
from benchmark.domain import Sequences
from benchmark.errors import InputError
from benchmark.layers import Sizes
from benchmark.method import Material, Method, registry
from benchmark.splits import leave_one_out
from benchmark.store import list_runs, read_run
from benchmark.testing import CHECKS, Subject, scores, toy_domain

torch.set_num_threads(1)

ROOT = Path(__file__).parents[1]
CHECKED = ("SASRec", "GRU4Rec", "NARM", "BERT4Rec", "STAMP")
"""Run through all the checks; the others through those of scores."""
SLOW = [(model, testing.check_overfits) for model in CHECKED if model != "STAMP"]
OF_SCORES = (testing.check_scores, testing.check_histories_are_independent, testing.check_history_limit)


def method(model: str) -> Method:
    return registry().method(f"recbole:{model}")


def subject(model: str) -> Subject:
    entry, small = method(model), {"hidden_size": 16, "reranker_CAN_NUM": "20"}
    own = vars(entry.configure({}))
    return Subject(method=entry, config={name: value for name, value in small.items() if name in own})


def built(model: str) -> RecBole:
    """A model on the toy domain, in evaluation mode."""
    return cast(RecBole, subject(model).build(toy_domain())).eval()


@needs_recbole
@pytest.mark.parametrize(
    ("model", "check"),
    [
        pytest.param(
            model, check, marks=pytest.mark.soak if (model, check) in SLOW else (), id=f"{model}-{check.__name__}"
        )
        for model in MODELS
        for check in (CHECKS if model in CHECKED else OF_SCORES)
    ],
)
def test_contract(model: str, check: Callable[[Subject], None]) -> None:
    check(subject(model))


# --- what is computed is what RecBole computes


def padded(rows: list[list[int]], targets: list[int]) -> Any:
    """Rows as RecBole stores them: items from 1 on, 50 places."""
    items = torch.zeros(len(rows), 50, dtype=torch.long)
    for place, row in zip(items, rows, strict=True):
        place[: len(row)] = torch.tensor(row) + 1
    fields = {"item_id_list": items, "item_length": torch.tensor([len(row) for row in rows])}
    fields["item_id"] = torch.tensor(targets) + 1
    return recbole_compat.load("recbole.data.interaction").Interaction(fields)


@needs_recbole
@pytest.mark.parametrize("model", MODELS)
@torch.no_grad()
def test_scores_and_loss_are_those_of_recbole_on_padded_prefixes(model: str) -> None:
    ours = built(model)
    theirs: Any = ours.module
    split = leave_one_out(toy_domain())

    histories = [row[-50:].tolist() for row in split.test.histories]
    asked = padded(histories, [0] * len(histories))
    expected = theirs.full_sort_predict(asked).reshape(len(histories), -1)[:, 1:]
    found = scores(ours, split.test.histories)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))

    windows = ours.windows(split.train)
    chosen = np.arange(0, len(windows), 5)
    rows, targets = [], []
    for start, length in zip(windows.start[chosen], windows.length[chosen], strict=True):
        rows.append(split.train.items[start : start + length].tolist())
        targets.append(int(split.train.items[start + length]))
    assert max(map(len, rows)) == MAX_LENGTH
    torch.manual_seed(4)
    loss = ours.loss(pack(split.train, windows, chosen))
    torch.manual_seed(4)
    with recbole_compat.drawing_from_torch():
        wanted = theirs.calculate_loss(ours.recbole.transform(ours.recbole.data, padded(rows, targets)))
    torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=1e-6)


@needs_recbole
@torch.no_grad()
def test_sasrec_with_our_weights_gives_our_scores() -> None:
    domain = toy_domain()
    material = Material(n_items=domain.n_items, train=domain.sequences)
    torch.manual_seed(0)
    ours = SASRec(Sizes(width=64), material).eval()
    for parameter in ours.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.1)
    entry = method("SASRec")
    theirs = entry.build(entry.configure({"width": 64}), material)
    assert isinstance(theirs, RecBole)
    copy_weights(ours, theirs.module)
    expected = scores(ours, domain.sequences)
    assert float(expected.std()) > 0.5
    torch.testing.assert_close(scores(theirs, domain.sequences), expected, atol=1e-4, rtol=1e-4)


@needs_recbole
def test_a_model_follows_its_weights_to_another_device() -> None:
    """RecBole's models remember the device they were built for, and make tensors there."""
    model, histories = built("GCSAN"), Sequences.of([np.array([1, 2, 3], np.int32)])
    expected = scores(model, histories)
    for module in model.modules():
        if "device" in vars(module):
            vars(module)["device"] = torch.device("meta")
    assert torch.equal(scores(model, histories), expected)


@needs_recbole
def test_random_states_of_others_stay_and_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """FEARec tells what it is made of; BERT4Rec draws from ``random``, SINE from NumPy."""
    before = random.getstate(), str(np.random.get_state())  # noqa: NPY002
    for model in ("FEARec", "BERT4Rec", "SINE"):
        subject(model).build(toy_domain())
    sequences = leave_one_out(toy_domain()).train
    model = built("BERT4Rec")
    model.loss(pack(sequences, model.windows(sequences), np.arange(100)))
    assert (random.getstate(), str(np.random.get_state())) == before  # noqa: NPY002
    assert capsys.readouterr().out == ""
    assert not torch.is_anomaly_enabled()


@needs_recbole
@torch.no_grad()
def test_what_a_loss_draws_follows_from_the_seed_of_torch_alone() -> None:
    sequences, model = leave_one_out(toy_domain()).train, built("BERT4Rec")

    def loss(seed: int, before: int) -> float:
        random.seed(before)
        torch.manual_seed(seed)
        return float(model.loss(pack(sequences, model.windows(sequences), np.arange(100))))

    assert loss(0, 1) == loss(0, 2)
    assert loss(0, 1) != loss(1, 1)


# --- names


@needs_recbole
def test_every_sequential_model_of_recbole_runs_or_is_refused() -> None:
    module = recbole_compat.load("recbole.model.sequential_recommender")
    base = recbole_compat.load("recbole.model.abstract_recommender").SequentialRecommender
    classes = {name for name, value in vars(module).items() if isinstance(value, type) and issubclass(value, base)}
    assert classes == set(MODELS) | set(REFUSED)
    assert not set(MODELS) & set(REFUSED)
    assert set(MODELS) >= TRIMMED | recbole.FLOAT32


def test_wrong_names_are_told_the_right_one_or_the_reason() -> None:
    with pytest.raises(InputError, match="suite 'x': unknown 'recbole:' method 'GRU4rec'; did you mean 'GRU4Rec'"):
        registry().method("recbole:GRU4rec", "suite 'x'")
    with pytest.raises(InputError, match="suite 'x': 'recbole:Caser' can't be run here: .*vector for each user"):
        registry().method("recbole:Caser", "suite 'x'")
    with pytest.raises(InputError, match="knowledge graph"):
        registry().method("recbole:KSR")
    with pytest.raises(InputError, match="features"):
        registry().method("recbole:FDSA")


def test_without_recbole_the_way_to_get_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "recbole", None)
    recbole.method.cache_clear()
    recbole.configuration.cache_clear()
    with pytest.raises(InputError, match=r"pip install --no-deps recbole==1\.2\.1"):
        registry().method("recbole:GRU4Rec")


def test_recbole_is_loaded_only_where_a_row_names_it() -> None:
    code = "import sys; from benchmark.method import registry; registry(); print('recbole' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# --- settings


@needs_recbole
def test_settings_are_recboles_under_the_names_of_the_suite() -> None:
    assert vars(method("GRU4Rec").configure({})) == {"width": 300, "hidden_size": 300, "layers": 1, "dropout": 0.3}
    own = vars(method("SASRec").configure({}))
    assert {name: own[name] for name in vars(Sizes())} == vars(Sizes())
    assert vars(method("NARM").configure({"dropout_probs": [0.1, 0.2]}))["dropout_probs"] == [0.1, 0.2]


@needs_recbole
def test_settings_reach_the_model() -> None:
    entry = method("GRU4Rec")
    config = entry.configure({"width": 8, "hidden_size": 12, "layers": 2, "dropout": 0.1})
    model: Any = entry.build(config, Subject(method=entry).material(toy_domain(), config))
    gru = model.module.gru_layers
    assert (gru.input_size, gru.hidden_size, gru.num_layers, model.module.emb_dropout.p) == (8, 12, 2, 0.1)


@needs_recbole
def test_mistakes_in_settings_are_errors() -> None:
    """RecBole would ignore the first two."""
    with pytest.raises(InputError, match="unknown key 'hiden_size'; did you mean 'hidden_size'"):
        method("GRU4Rec").configure({"hiden_size": 64})
    with pytest.raises(InputError, match="unknown key 'loss_type'"):
        method("GRU4Rec").configure({"loss_type": "BPR"})
    with pytest.raises(InputError, match="'step' is 1.5, expected a int"):
        method("SRGNN").configure({"step": 1.5})
    with pytest.raises(InputError, match="width 30 is not divisible by 4 heads"):
        method("SASRec").configure({"width": 30, "heads": 4})
    with pytest.raises(InputError, match="dropout is 1.5"):
        method("GRU4Rec").configure({"dropout": 1.5})


@needs_recbole
@pytest.mark.parametrize("model", MODELS)
def test_types_of_settings_are_those_that_recbole_documents(model: str) -> None:
    """Its files say the type in a comment; the defaults beside it are sometimes written in another."""
    folder = Path(str(recbole_compat.load("recbole").__file__)).parent / "properties" / "model"
    said = re.findall(r"^(\w+):.*#\s*\((\w+)", (folder / f"{model}.yaml").read_text(encoding="utf-8"), re.MULTILINE)
    ours, config = recbole._our_names(model), vars(method(model).configure({}))
    for name, documented in said:
        if name in ours:
            found = type(config[ours[name]]).__name__
            assert found == documented or (found, documented) == ("int", "bool"), name


# --- a run


@needs_recbole
def test_a_row_of_a_suite_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = {
        "name": "tiny",
        "about": "small enough for a test",
        "targets": ["demo-shop"],
        "methods": ["Popularity", {"name": "recbole:GRU4Rec", "config": {"hidden_size": 16}}],
        "config": {"width": 16},
        "training": {"epochs": 2, "batch_targets": 512},
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(suite), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRANSREC_CACHE", str(tmp_path / "cache"))

    def transrec(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["transrec", *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return int(left.value.code or 0)

    assert transrec("run", "tiny.yaml", "--workers", "1") == 0
    (folder,) = [run for run in list_runs(tmp_path / "results", "tiny") if run.parent.name == "recbole-GRU4Rec"]
    record = read_run(folder).record
    assert record.job.method == record.method.name == "recbole:GRU4Rec"
    assert record.job.config == {"width": 16, "hidden_size": 16, "layers": 1, "dropout": 0.3}
    assert len(record.learning_curve) == 2
    assert "recbole:GRU4Rec" in (tmp_path / "reports" / "tiny" / "README.md").read_text(encoding="utf-8")
    assert transrec("verify", "results") == 0
    assert transrec("compare", "recbole:GRU4Rec", "Popularity", "--suite", "tiny") == 0
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"tiny.yaml", "cache", "results", "reports"}, "RecBole has left files behind"
