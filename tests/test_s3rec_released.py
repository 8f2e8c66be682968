"""The replica has the released code's defects, each of them shown."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from questions import everything
from test_scale import Watch
from torch import Tensor

from baselines import s3rec_released
from baselines.s3rec import S3RecConfig
from baselines.s3rec_released import ReleasedConfig, ReleasedPretraining, ReleasedS3Rec, anywhere, as_released
from baselines.s3rec_tasks import Stretches, draw_stretches
from benchmark.batches import PADDING, Batch
from benchmark.domain import Sequences
from benchmark.method import Material, configure
from benchmark.softmax import CHUNK_LOGITS
from benchmark.splits import leave_one_out
from benchmark.testing import toy_domain, toy_text
from benchmark.train import Training, train

torch.set_num_threads(1)

N_ITEMS, WIDTH, TEXT = 200, 8, 6
SIZES = {"width": WIDTH, "inner": 10, "dropout": 0.0, "attention_dropout": 0.0}


def pretraining(n_items: int = N_ITEMS, **changes: Any) -> ReleasedPretraining:
    """Its weights are large enough for every part of a loss to matter."""
    torch.manual_seed(3)
    config = configure(ReleasedConfig, SIZES | changes, "test")
    text = np.zeros((n_items, TEXT), np.float32)
    model = ReleasedS3Rec(config, Material(n_items=n_items, train=Sequences.of([[0]]), text=text))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    (phase,) = model.phases()
    assert isinstance(phase.trainable, ReleasedPretraining)
    return phase.trainable


def histories(*lengths: int, seed: int = 0) -> list[list[int]]:
    """Histories in which no item comes twice."""
    rng = np.random.default_rng(seed)
    return [rng.permutation(N_ITEMS)[:length].tolist() for length in lengths]


def batch_of(rows: list[list[int]]) -> Batch:
    """Each history whole, and nothing else: prefixes come from a next item that is never looked at."""
    sequences = Sequences.of([[*row, 0] for row in rows])
    windows = pretraining(n_items=2).windows(sequences)
    longest = windows.length == np.array([len(rows[sequence]) for sequence in windows.sequence])
    return everything(sequences, replace(windows, **{k: v[longest] for k, v in vars(windows).items() if k != "shift"}))


def padded(rows: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """The histories padded with -1 to 50, at the left as the encoder reads them, at the right as attributes stand."""
    left, right = (np.full((len(rows), 50), -1) for _ in range(2))
    for number, row in enumerate(rows):
        left[number, 50 - len(row) :] = right[number, : len(row)] = row
    return left, right


@given(lengths=st.lists(st.integers(1, 50), min_size=1, max_size=8), seed=st.integers(0, 5))
@settings(max_examples=60)
def test_tokens_stand_padded_at_the_left_and_are_asked_for_what_stands_there_padded_at_the_right(
    lengths: list[int], seed: int
) -> None:
    rows = histories(*lengths, seed=seed)
    batch = batch_of(rows)
    shown, attributes_T = as_released(batch, N_ITEMS)
    left, right = padded(rows)
    places_T = shown.positions_BL.flatten()[batch.at_T].numpy()
    assert (left[batch.sequences_T, places_T] == batch.targets_T.numpy()).all()
    expected = right[batch.sequences_T, places_T]
    assert attributes_T.tolist() == np.where(expected < 0, N_ITEMS, expected).tolist()
    assert len(batch.at_T) == sum(lengths)
    assert int(shown.positions_BL.max()) <= 49


@pytest.mark.parametrize(
    ("lengths", "right", "padding"), [((1, 3, 7, 24, 25), 0.0, 1.0), ((26, 40, 49), 0.0, 35 / 115), ((50,), 1.0, 0.0)]
)
def test_no_token_of_a_short_history_is_asked_for_its_own_attribute(
    lengths: tuple[int, ...], right: float, padding: float
) -> None:
    """Up to 25 items every target is the padding; beyond, 2 n - 50 of n are other items. At 50 all are right."""
    batch = batch_of(histories(*lengths))
    _, attributes_T = as_released(batch, N_ITEMS)
    assert float((attributes_T == batch.targets_T).double().mean()) == right
    assert float((attributes_T == N_ITEMS).double().mean()) == pytest.approx(padding)


def test_positions_mean_other_places_in_pretraining_than_in_finetuning() -> None:
    batch = batch_of(histories(3, 5))
    shown, _ = as_released(batch, N_ITEMS)
    places = [shown.positions_BL.flatten()[batch.at_T], batch.positions_BL.flatten()[batch.at_T]]
    assert [sorted(place.tolist()) for place in places] == [[45, 46, 47, 47, 48, 48, 49, 49], [0, 0, 1, 1, 2, 2, 3, 4]]


def test_histories_are_shown_as_prefixes_and_the_last_item_never() -> None:
    windows = pretraining().windows(Sequences.of([[1, 2, 3, 4], [5, 6], [7]]))
    batch = everything(Sequences.of([[1, 2, 3, 4], [5, 6], [7]]), windows)
    segments = batch.segments_BL.flatten()
    shown = [batch.items_BL.flatten()[segments == segment].tolist() for segment in range(int(segments.max()) + 1)]
    assert sorted(shown) == [[1], [1, 2], [1, 2, 3], [5]]
    assert sorted(batch.targets_T.tolist()) == [1, 1, 1, 2, 2, 3, 5]


DOMAIN = toy_domain()
SPLIT = leave_one_out(DOMAIN)


def trained_on(text: np.ndarray) -> dict[str, Tensor]:
    torch.manual_seed(0)
    config = configure(ReleasedConfig, SIZES | {"pretraining_epochs": 2}, "test")
    model = ReleasedS3Rec(config, Material(n_items=DOMAIN.n_items, train=SPLIT.train, text=text))
    train(model, SPLIT, Training(epochs=1, precision="float32"), 0)
    return model.state_dict()


def test_texts_are_lost() -> None:
    """Texts in another order, or none at all, leave the same weights to the last bit."""
    text = toy_text(DOMAIN.n_items)
    expected = trained_on(text)
    for other in (text[::-1].copy(), np.zeros_like(text)):
        found = trained_on(other)
        assert all(torch.equal(value, found[name]) for name, value in expected.items())


def test_the_attribute_table_is_noise_that_is_not_trained() -> None:
    torch.manual_seed(0)
    text = np.ones((3_000, 40), np.float32)
    material = Material(n_items=3_000, train=Sequences.of([[0]]), text=text)
    noise_RF = ReleasedS3Rec(configure(ReleasedConfig, SIZES, "test"), material).attributes.noise_RF
    assert noise_RF.shape == (3_001, 40)
    assert not noise_RF.requires_grad
    assert float(noise_RF.std()) == pytest.approx(0.02, rel=0.02)
    assert float(noise_RF.mean()) == pytest.approx(0, abs=1e-3)


def test_the_weights_of_two_tasks_are_swapped() -> None:
    released, original = ReleasedConfig(), S3RecConfig()
    assert (released.aap_weight, released.mip_weight) == (original.mip_weight, original.aap_weight) == (1.0, 0.2)
    assert (released.map_weight, released.sp_weight) == (original.map_weight, original.sp_weight) == (1.0, 0.5)


def critic(form: torch.nn.Module, x_D: Tensor, y_D: Tensor) -> Tensor:
    """f(x, y) = sigmoid(y . (W x + b))"""
    weight, bias = form.parameters()
    return torch.sigmoid(y_D @ (weight @ x_D + bias))


def test_visible_and_hidden_tokens_are_asked_among_all_items_and_the_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Binary cross-entropy of the one attribute that stands at a token's place; the negative of an item may be the
    mask."""
    rows = [[1, 2, 3], list(range(4, 32))]
    task, batch = pretraining(n_items=40), batch_of(rows)
    is_hidden_T = torch.arange(len(batch.at_T)) % 4 == 1
    hidden_BL = torch.zeros_like(batch.items_BL, dtype=torch.bool)
    hidden_BL.view(-1)[batch.at_T[is_hidden_T]] = True
    other_M = torch.where(torch.arange(int(is_hidden_T.sum())) % 2 == 0, 40, 7)
    monkeypatch.setattr(s3rec_released, "hide", lambda batch, share: (is_hidden_T, hidden_BL))
    monkeypatch.setattr(s3rec_released, "others", lambda items_M, n: other_M if n == 41 else None)
    shown, attributes_T = as_released(batch, 40)
    states_TD = task.encode(shown, hidden_BL)
    labels_RD = torch.relu(task.attributes.project(task.attributes.noise_RF))
    aap, mip, map_ = torch.zeros(()), torch.zeros(()), torch.zeros(())
    negatives = iter(other_M.tolist())
    for at, (target, item) in enumerate(zip(attributes_T.tolist(), batch.targets_T.tolist(), strict=True)):
        form = task.critics.map if is_hidden_T[at] else task.critics.aap
        f_R = torch.stack([critic(form, states_TD[at], label_D) for label_D in labels_RD])
        loss = -f_R[target].log() - sum((1 - f).log() for row, f in enumerate(f_R) if row != target)
        if is_hidden_T[at]:
            negative = next(negatives)
            other_D = task.critics.mask.weight[0] if negative == 40 else task.item_table.weight[negative]
            own, other = (critic(task.critics.mip, states_TD[at], y) for y in (task.item_table.weight[item], other_D))
            map_, mip = map_ + loss, mip - torch.log(own.exp() / (own.exp() + other.exp()))
        else:
            aap = aap + loss
    for found, expected in zip(task.item_tasks(batch), (aap, mip, map_), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_negative_stretch_may_be_ones_own_and_lie_across_borders() -> None:
    rows = [[1, 2, 3, 4], [5, 6, 7], [8]]
    batch = batch_of(rows)
    torch.manual_seed(0)
    seen: list[set[tuple[int, ...]]] = [set(), set(), set()]
    for _ in range(300):
        stretches = draw_stretches(batch)
        for segment, (begin, length) in enumerate(
            zip(anywhere(stretches).tolist(), stretches.length.tolist(), strict=True)
        ):
            seen[segment].add(tuple(batch.targets_T[begin : begin + length].tolist()))
    stream = [item for row in rows for item in row]
    assert seen[0] == {(item,) for item in stream} | set(pairwise(stream))
    assert seen[1] == {(item,) for item in stream}
    assert seen[2] == {(8,)}


def test_a_history_of_one_item_is_its_own_context_stretch_and_negative(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its loss is log 2 whatever the weights. In a longer one masks stand for what is not there."""
    task = pretraining()
    lone = batch_of([[8], [9]])
    assert float(task.segments(lone).detach()) == pytest.approx(2 * np.log(2), abs=1e-5)
    batch = batch_of([[1, 2, 3, 4], [5, 6]])
    drawn = draw_stretches(batch)
    two = Stretches(drawn.first, drawn.last, drawn.first + 1, torch.tensor([2, 1]))
    monkeypatch.setattr(s3rec_released, "draw_stretches", lambda batch: two)
    monkeypatch.setattr(s3rec_released, "anywhere", lambda stretches: torch.tensor([3, 0]))
    nothing = -1
    views = {
        "left": [[1, nothing, nothing, 4], [5, nothing]],
        "own": [[nothing, 2, 3, nothing], [nothing, 6]],
        "other": [[nothing, 4, 5, nothing], [nothing, 1]],
    }
    states = {}
    for name, rows in views.items():
        items_T = torch.tensor([item for row in rows for item in row])
        items_BL, hidden_BL = batch.items_BL.clone(), torch.zeros_like(batch.items_BL, dtype=torch.bool)
        items_BL.view(-1)[batch.at_T] = items_T.clamp(min=0)
        hidden_BL.view(-1)[batch.at_T] = items_T == nothing
        shown, _ = as_released(batch, N_ITEMS)
        states[name] = task.encode(replace(shown, items_BL=items_BL, at_T=two.last), hidden_BL)
    expected = torch.zeros(())
    for left_D, own_D, other_D in zip(states["left"], states["own"], states["other"], strict=True):
        own, other = (critic(task.critics.sp, left_D, y_D) for y_D in (own_D, other_D))
        expected = expected - torch.log(own.exp() / (own.exp() + other.exp()))
    torch.testing.assert_close(task.segments(batch), expected)


def test_a_step_holds_no_matrix_of_tokens_by_items() -> None:
    n_items, rng = 5_000, np.random.default_rng(0)
    task = pretraining(n_items=n_items)
    sequences = Sequences.of([rng.integers(0, n_items, 9).tolist() for _ in range(60)])
    batch = everything(sequences, task.windows(sequences))
    assert len(batch.at_T) * n_items > 5 * CHUNK_LOGITS
    assert (batch.segments_BL == PADDING).any()
    with Watch() as watch:
        task.loss(batch).backward()
    assert watch.largest <= CHUNK_LOGITS
