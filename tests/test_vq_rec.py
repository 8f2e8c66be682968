"""VQ-Rec against its formulas, written out code by code and pair by pair."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from questions import everything

from baselines.vq_rec import FAMILIES, METHODS, VQRec, VQRecConfig, VQRecPretrainer, VQRecPretraining, contrast
from benchmark.batches import history_windows, pack, training_batches
from benchmark.domain import Sequences
from benchmark.errors import InputError
from benchmark.method import Material, configure
from benchmark.train import adam, run_epoch

torch.set_num_threads(1)

N_ITEMS, TEXT = 30, 12
SIZES: dict[str, Any] = {"width": 8, "inner": 12, "subspaces": 4, "centroids": 6}
CPU = torch.device("cpu")


def random_text(seed: int = 0, n_items: int = N_ITEMS) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(n_items, TEXT)).astype(np.float32)


def sequences(*lengths: int, seed: int = 1) -> Sequences:
    rng = np.random.default_rng(seed)
    return Sequences.of([rng.integers(0, N_ITEMS, length).astype(np.int32) for length in lengths])


def pretrainer(**changes: Any) -> VQRecPretrainer:
    torch.manual_seed(8)
    text = torch.from_numpy(random_text())
    return VQRecPretrainer(configure(VQRecPretraining, SIZES | changes, "test"), text, text)


def vq_rec(source: VQRecPretrainer, text: NDArray[np.float32] | None = None, **changes: Any) -> VQRec:
    text = random_text() if text is None else text
    config = configure(VQRecConfig, SIZES | changes, "test")
    weights = {name: value.half().float() for name, value in source.weights().items()}  # as an artefact holds them
    return VQRec(config, Material(n_items=len(text), train=sequences(5, 4), text=text, pretrained=weights))


def test_an_item_is_the_mean_of_its_codes_vectors() -> None:
    source = pretrainer()
    found = source.universal.items(source.codes_NS)
    table = source.universal.table.weight
    assert source.codes_NS.shape == (N_ITEMS, 4)
    for item, rows in enumerate(source.codes_NS.tolist()):
        # every subspace has rows of its own
        assert [row // 6 for row in rows] == [0, 1, 2, 3]
        torch.testing.assert_close(found[item], sum((table[row] for row in rows), torch.zeros(8)) / 4)


def test_items_of_one_text_are_one_item() -> None:
    text = np.concatenate([random_text(), random_text()[:3]])
    items = vq_rec(pretrainer(), text).items()
    assert torch.equal(items[:3], items[N_ITEMS:])
    assert not torch.equal(items[0], items[1])


def test_scores_are_cosines() -> None:
    made = vq_rec(pretrainer()).eval()
    histories = sequences(4, 1, 9)
    batch = pack(histories, history_windows(histories), np.arange(3), ask=False)
    items_ND = made.items()
    torch.testing.assert_close(made.users(batch, items_ND).norm(dim=1), torch.ones(3))
    torch.testing.assert_close(made.candidates(items_ND), items_ND / items_ND.norm(dim=1, keepdim=True))


def test_the_loss_is_a_softmax_over_all_items() -> None:
    made = vq_rec(pretrainer(), temperature=0.2).eval()
    train = sequences(5, 4, 7)
    batch = everything(train, made.windows(train))
    items_ND = made.items()
    cosines = made.users(batch, items_ND) @ made.candidates(items_ND).T
    torch.testing.assert_close(made.loss(batch), F.cross_entropy(cosines / 0.2, batch.targets_T))


# --- pre-training


def test_the_contrast_pair_by_pair() -> None:
    torch.manual_seed(3)
    s, v, synthetic = (F.normalize(torch.randn(5, 6), dim=1) for _ in range(3))
    of_sequence = [0, 0, 1, 2, 2]
    total = 0.0
    for j in range(5):
        own = math.exp(float(s[j] @ v[j]) / 0.3)
        others = [k for k in range(5) if of_sequence[k] != of_sequence[j]]
        rest = sum(math.exp(float(s[j] @ v[k]) / 0.3) for k in others)
        made_up = math.exp(float(s[j] @ synthetic[j]) / 0.3)
        total -= math.log(own / (own + rest + made_up)) / 5
    found = contrast(s, v, synthetic, torch.tensor(of_sequence), 0.3)
    assert float(found) == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("replaced", [0.0, 0.75, 1.0])
def test_a_semi_synthetic_item_has_some_codes_of_the_real_one(replaced: float) -> None:
    source = pretrainer(replaced=replaced)
    real = source.codes_NS[torch.zeros(4000, dtype=torch.long)]
    torch.manual_seed(0)
    found = source.synthetic(real)
    assert torch.equal(found // 6, real // 6), "a code of another subspace"
    # a new code may be the old one by chance
    assert float((found != real).float().mean()) == pytest.approx(replaced * 5 / 6, abs=0.02)
    if replaced == 1.0:
        shares = torch.bincount(found.flatten(), minlength=24) / 4000
        torch.testing.assert_close(shares, torch.full((24,), 1 / 6), atol=0.03, rtol=0)


def test_pre_training_learns_and_fine_tuning_starts_there() -> None:
    source = pretrainer(dropout=0.0, attention_dropout=0.0)
    train = Sequences.of([(np.arange(start, start + 6) % N_ITEMS).astype(np.int32) for start in range(N_ITEMS)])
    windows, optimizer, losses = source.windows(train), adam(source, 0.01), []
    torch.manual_seed(0)
    for epoch in range(15):
        batches = training_batches(train, windows, 50, np.random.default_rng(epoch))
        losses.append(run_epoch(source, optimizer, batches, "float32", CPU))
    assert losses[-1] < 0.7 * losses[0]
    source.eval()
    made = vq_rec(source).eval()
    assert torch.equal(made.codes_NS, source.codes_NS), "the same texts have other codes on the target"
    torch.testing.assert_close(made.items(), source.universal.items(source.codes_NS), atol=1e-3, rtol=1e-3)
    batch = everything(train, windows)
    items_ND = made.items()
    users = source.universal.encoder(F.embedding(batch.items_BL, items_ND), batch)
    torch.testing.assert_close(made.users(batch, items_ND), F.normalize(users, dim=1), atol=5e-3, rtol=1e-2)


def test_what_is_pre_trained_is_the_table_and_the_encoder_and_no_code() -> None:
    source = pretrainer()
    before = {name: value.clone() for name, value in source.state_dict().items()}
    train = sequences(9, 8, 7, 6)
    run_epoch(source, adam(source, 0.01), [everything(train, source.windows(train))], "float32", CPU)
    same = {name for name, value in source.state_dict().items() if torch.equal(value, before[name])}
    assert same == {"codes_NS", "universal.rotation_FF", "universal.centroids_SKG"}
    assert set(source.weights()) == {name.removeprefix("universal.") for name in before} - {"codes_NS"}


@pytest.mark.parametrize("freeze", [True, False])
def test_what_is_tuned(freeze: bool) -> None:
    made = vq_rec(pretrainer(), freeze=freeze)
    kept = {name.split(".")[2] for name, value in made.named_parameters() if not value.requires_grad}
    assert kept == ({"positions", "blocks"} if freeze else set())


def test_few_source_items_give_few_centroids() -> None:
    text = torch.from_numpy(random_text(n_items=3))
    torch.manual_seed(0)
    source = VQRecPretrainer(configure(VQRecPretraining, SIZES, "test"), text, text)
    assert source.universal.centroids_SKG.shape == (4, 3, 3)
    assert vq_rec(source).items().shape == (N_ITEMS, 8)


# --- mistakes


def test_a_text_width_that_can_not_be_cut_is_refused() -> None:
    with pytest.raises(InputError, match="width 12 can't be cut into 5 subspaces"):
        pretrainer(subspaces=5)


def test_weights_of_another_size_are_refused() -> None:
    with pytest.raises(InputError, match="do not fit the configured model"):
        vq_rec(pretrainer(), width=16)


@pytest.mark.parametrize("missing", ["text", "pretrained"])
def test_texts_and_weights_are_needed(missing: str) -> None:
    given = Material(n_items=N_ITEMS, train=sequences(3), text=random_text(), pretrained=pretrainer().weights())
    with pytest.raises(InputError, match="item texts"):
        VQRec(VQRecConfig(), replace(given, **{missing: None}))


def test_its_row_says_what_it_needs() -> None:
    (method,), (family,) = METHODS, FAMILIES
    assert (method.name, method.role, method.needs) == ("VQ-Rec", "control", {"text", "sources"})
    assert method.pretraining == family.name
    assert family.noise == 0
