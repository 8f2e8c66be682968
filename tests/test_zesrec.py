"""ZESRec: what its text map is, and that a sampled softmax learns what the full one would."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from questions import everything

from baselines.zesrec import (
    FAMILIES,
    METHODS,
    ZESRec,
    ZESRecConfig,
    ZESRecPretrainer,
    ZESRecPretraining,
    sampled_cross_entropy,
)
from benchmark.batches import history_windows, pack, training_batches
from benchmark.domain import Sequences
from benchmark.errors import InputError
from benchmark.method import Material, configure
from benchmark.train import adam, run_epoch

torch.set_num_threads(1)

N_ITEMS, TEXT = 25, 12
SIZES: dict[str, Any] = {"width": 8, "inner": 12, "text_inner": 5}
CPU = torch.device("cpu")


def random_text(seed: int = 0, n_items: int = N_ITEMS) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(n_items, TEXT)).astype(np.float32)


def sequences(*lengths: int, seed: int = 1) -> Sequences:
    rng = np.random.default_rng(seed)
    return Sequences.of([rng.integers(0, N_ITEMS, length).astype(np.int32) for length in lengths])


def pretrainer(**changes: Any) -> ZESRecPretrainer:
    torch.manual_seed(8)
    text = torch.from_numpy(random_text())
    made = ZESRecPretrainer(configure(ZESRecPretraining, SIZES | changes, "test"), text, text)
    with torch.no_grad():
        for parameter in made.parameters():  # away from the start, where biases are zero
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return made.eval()


def zesrec(source: ZESRecPretrainer, **changes: Any) -> ZESRec:
    config = configure(ZESRecConfig, SIZES | changes, "test")
    text = random_text()
    return ZESRec(config, Material(n_items=N_ITEMS, train=sequences(5, 4), text=text, pretrained=source.weights()))


def test_two_linear_layers_are_one_product() -> None:
    """v = x A B + a B + b: with an activation between, a negative number would be lost."""
    source = pretrainer(width=2, text_inner=3, heads=1)
    weights = source.universal.state_dict()
    a = torch.tensor([[1.0, 0.0, -2.0], *[[0.0, 0.0, 0.0]] * (TEXT - 1)])
    b = torch.tensor([[1.0, 2.0], [0.0, 1.0], [3.0, 0.0]])
    weights |= {"inner.weight": a.T, "inner.bias": torch.tensor([0.0, 0.5, 0.0])}
    weights |= {"outer.weight": b.T, "outer.bias": torch.tensor([0.25, 0.0])}
    source.universal.load_state_dict(weights)
    x = torch.zeros(2, TEXT)
    x[:, 0] = torch.tensor([1.0, -1.0])
    # x = (1, 0, ...): (1, 0.5, -2) B + b = (1 - 6 + 0.25, 2 + 0.5); x = (-1, 0, ...): (-1, 0.5, 2) B + b
    torch.testing.assert_close(source.universal.items(x), torch.tensor([[-4.75, 2.5], [5.25, -1.5]]))
    product = torch.from_numpy(random_text()) @ a @ b + torch.tensor([0.25, 0.5])
    torch.testing.assert_close(source.universal.items(source.text_NF), product)


def test_scores_are_dot_products() -> None:
    made = zesrec(pretrainer()).eval()
    histories = sequences(4, 1, 9)
    batch = pack(histories, history_windows(histories), np.arange(3), ask=False)
    items_ND = made.items()
    assert torch.equal(made.candidates(items_ND), items_ND)
    expected = made.universal.encoder(F.embedding(batch.items_BL, items_ND), batch)
    torch.testing.assert_close(made.users(batch, items_ND), expected)


def test_fine_tuning_is_a_softmax_over_all_items() -> None:
    made = zesrec(pretrainer()).eval()
    train = sequences(5, 4, 7)
    batch = everything(train, made.windows(train))
    items_ND = made.items()
    expected = F.cross_entropy(made.users(batch, items_ND) @ items_ND.T, batch.targets_T)
    torch.testing.assert_close(made.loss(batch), expected)


# --- the sampled softmax


def test_the_sampled_softmax_row_by_row() -> None:
    torch.manual_seed(3)
    items, s = torch.randn(9, 4), torch.randn(3, 4)
    targets, drawn = torch.tensor([2, 7, 2]), torch.tensor([7, 0, 5])
    total = 0.0
    for row, target in enumerate(targets.tolist()):
        # item 7 is drawn and the second row's own: once, not twice
        candidates = {target, 7, 0, 5}
        among = sum(math.exp(float(s[row] @ items[item])) for item in candidates)
        total -= math.log(math.exp(float(s[row] @ items[target])) / among) / 3
    found = sampled_cross_entropy(s, items[targets], items[drawn], targets, drawn)
    assert float(found) == pytest.approx(total, rel=1e-5)


def test_where_all_items_are_drawn_it_is_the_full_softmax() -> None:
    source = pretrainer(negatives=N_ITEMS + 10)
    train = sequences(5, 4, 7)
    batch = everything(train, source.windows(train))
    source.loss(batch).backward()
    found = {name: value.grad for name, value in source.named_parameters()}
    source.zero_grad()
    items_ND = source.universal.items(source.text_NF)
    full = F.cross_entropy(source.universal.encoder(items_ND[batch.items_BL], batch) @ items_ND.T, batch.targets_T)
    full.backward()
    torch.testing.assert_close(source.loss(batch), full)
    for name, value in source.named_parameters():
        torch.testing.assert_close(found[name], value.grad, atol=1e-5, rtol=1e-4)


def test_a_row_whose_own_item_alone_is_drawn_has_nothing_to_learn() -> None:
    s = torch.randn(1, 4, requires_grad=True)
    loss = sampled_cross_entropy(s, torch.ones(1, 4), torch.ones(1, 4), torch.tensor([3]), torch.tensor([3]))
    loss.backward()
    assert loss.item() == 0
    assert s.grad is not None
    assert torch.equal(s.grad, torch.zeros(1, 4))


def test_uniform_draws_need_no_correction() -> None:
    """With the logits of the true shares there is nothing to learn, over all pairs that may be drawn of five items."""
    shares = torch.tensor([0.4, 0.25, 0.2, 0.1, 0.05])
    targets = torch.repeat_interleave(torch.arange(5), (shares * 20).round().long())
    logits = shares.log()[:, None].requires_grad_()
    for pair in combinations(range(5), 2):
        drawn = torch.tensor(pair)
        sampled_cross_entropy(torch.ones(20, 1), logits[targets], logits[drawn], targets, drawn).backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.zeros(5, 1), atol=1e-6, rtol=0)


def test_every_step_draws_other_items() -> None:
    source = pretrainer(negatives=3)
    train = sequences(5, 4, 7)
    batch = everything(train, source.windows(train))
    torch.manual_seed(0)
    first, second = source.loss(batch).item(), source.loss(batch).item()
    torch.manual_seed(0)
    assert source.loss(batch).item() == first != second


# --- from the sources to the target


def test_pre_training_learns_and_fine_tuning_starts_there() -> None:
    source = pretrainer(dropout=0.0, attention_dropout=0.0, negatives=10)
    train = Sequences.of([(np.arange(start, start + 6) % N_ITEMS).astype(np.int32) for start in range(N_ITEMS)])
    windows, optimizer, losses = source.windows(train), adam(source, 0.01), []
    torch.manual_seed(0)
    for epoch in range(40):
        batches = training_batches(train, windows, 50, np.random.default_rng(epoch))
        losses.append(run_epoch(source, optimizer, batches, "float32", CPU))
    assert losses[-1] < 0.5 * losses[0]
    made = zesrec(source)
    assert all(torch.equal(value, made.universal.state_dict()[name]) for name, value in source.weights().items())
    torch.testing.assert_close(made.items(), source.universal.items(source.text_NF))


def test_all_of_it_is_trained_on_the_target() -> None:
    made = zesrec(pretrainer())
    before = {name: value.clone() for name, value in made.named_parameters()}
    train = sequences(9, 8, 7, 6)
    run_epoch(made, adam(made, 0.01), [everything(train, made.windows(train))], "float32", CPU)
    assert not [name for name, value in made.named_parameters() if torch.equal(value, before[name])]


def test_rows_share_their_pre_training_and_one_is_never_trained_on_the_target() -> None:
    paper, zero_shot = METHODS
    (family,) = FAMILIES
    assert (paper.name, paper.role, paper.trained) == ("ZESRec", "paper", True)
    assert (zero_shot.name, zero_shot.role, zero_shot.trained) == ("ZESRec-zeroshot", "control", False)
    assert paper.pretraining == zero_shot.pretraining == family.name
    assert family.noise == 0
    assert f"{ZESRecPretraining().negatives:,} uniformly drawn" in paper.note


# --- mistakes


def test_weights_of_another_size_are_refused() -> None:
    with pytest.raises(InputError, match="do not fit the configured model"):
        zesrec(pretrainer(), text_inner=7)


@pytest.mark.parametrize("missing", ["text", "pretrained"])
def test_texts_and_weights_are_needed(missing: str) -> None:
    given = Material(n_items=N_ITEMS, train=sequences(3), text=random_text(), pretrained=pretrainer().weights())
    with pytest.raises(InputError, match="item texts"):
        ZESRec(ZESRecConfig(), replace(given, **{missing: None}))


@pytest.mark.parametrize("change", [{"text_inner": 0}, {"negatives": 0}, {"learning_rate": 0.0}])
def test_impossible_values_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(change))):
        configure(ZESRecPretraining, change, "test")
