"""Dropout, masks and the Transformer over packed rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmark.batches import MAX_LENGTH, Batch, history_windows, pack, training_windows
from benchmark.domain import Sequences
from benchmark.layers import Dropout, SequenceEncoder, Sizes, visible

torch.set_num_threads(1)

N_ITEMS, WIDTH = 30, 16


@pytest.mark.parametrize(("p", "exact"), [(0.5, 0.5), (0.2, 51 / 256), (0.25, 0.25), (0.9, 230 / 256)])
def test_dropout_drops_its_share_and_keeps_the_mean(p: float, exact: float) -> None:
    torch.manual_seed(0)
    n = 400_000
    dropped = Dropout(p).train()(torch.ones(1000, n // 1000))
    share = float((dropped == 0).float().mean())
    assert share == pytest.approx(exact, abs=4 * (exact * (1 - exact) / n) ** 0.5)
    kept = dropped[dropped != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - exact)))
    assert float(dropped.mean()) == pytest.approx(1, abs=4 * (exact / (1 - exact) / n) ** 0.5)


@given(shape=st.lists(st.integers(1, 9), min_size=1, max_size=4), p=st.floats(0.05, 0.9), seed=st.integers(0, 99))
@settings(max_examples=50)
def test_gradients_are_dropped_where_values_were(shape: list[int], p: float, seed: int) -> None:
    torch.manual_seed(seed)
    x = (torch.rand(shape) + 0.5).requires_grad_()
    dropped = Dropout(p).train()(x)
    upstream = torch.randn(shape)
    (gradient,) = torch.autograd.grad(dropped, x, upstream)
    torch.testing.assert_close(gradient, upstream * (dropped / x).detach())


def test_dropout_is_drawn_anew_from_the_seed() -> None:
    drop, x = Dropout(0.5).train(), torch.ones(50, 50)
    torch.manual_seed(4)
    first, second = drop(x), drop(x)
    torch.manual_seed(4)
    assert torch.equal(drop(x), first)
    assert 0.4 < float((first == second).float().mean()) < 0.6, "two draws hang together"
    assert 0.4 < float((first[:, 1:] == first[:, :-1]).float().mean()) < 0.6, "neighbours hang together"


def test_dropout_does_nothing_in_evaluation_or_at_zero() -> None:
    x = torch.randn(4, 5)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0).train()(x), x)


@pytest.mark.parametrize("p", [1.0, 1.5, -0.1])
def test_a_probability_must_leave_something(p: float) -> None:
    with pytest.raises(ValueError, match="dropout probability"):
        Dropout(p)


def encoder(**changes: float) -> SequenceEncoder:
    torch.manual_seed(2)
    sizes = {"width": WIDTH, "layers": 2, "heads": 2, "inner": 24, "dropout": 0.3, "attention_dropout": 0.3}
    return SequenceEncoder(Sizes(**(sizes | changes))).eval()  # type: ignore[arg-type]


def test_heads_must_share_the_width_evenly() -> None:
    with pytest.raises(ValueError, match="width 16 is not divisible by 3 heads"):
        encoder(heads=3)


def histories(*lengths: int) -> Sequences:
    rng = np.random.default_rng(8)
    return Sequences.of([rng.integers(0, N_ITEMS, length).astype(np.int32) for length in lengths])


def states(model: SequenceEncoder, batch: Batch, *, causal: bool = True) -> Tensor:
    torch.manual_seed(6)
    table_ND = torch.randn(N_ITEMS, WIDTH)
    with torch.no_grad():
        return model(table_ND[batch.items_BL], batch, causal=causal)


def everywhere(sequences: Sequences, **options: int) -> Batch:
    """A batch that asks at every position."""
    windows = history_windows(sequences)
    return pack(sequences, replace(windows, asked=windows.length), np.arange(len(windows)), ask=False, **options)


@pytest.mark.parametrize("causal", [True, False])
def test_a_history_is_the_same_alone_and_packed(causal: bool) -> None:
    model, sequences = encoder(), histories(50, 3, 1, 17, 14, 30, 2, 2, 9)
    packed = states(model, everywhere(sequences), causal=causal)
    alone = [
        states(model, everywhere(sequences.take(np.array([user])), row_length=n), causal=causal)
        for user, n in enumerate(sequences.lengths.tolist())
    ]
    torch.testing.assert_close(packed, torch.cat(alone), atol=1e-5, rtol=1e-5)


def test_what_padding_holds_is_never_looked_at() -> None:
    model, batch = encoder(), everywhere(histories(5, 40, 30))
    padded = batch.segments_BL == -1
    assert padded.any()
    other = replace(
        batch,
        items_BL=batch.items_BL.masked_fill(padded, 11),
        positions_BL=batch.positions_BL.masked_fill(padded, MAX_LENGTH - 1),
    )
    assert torch.equal(states(model, other), states(model, batch))


def test_only_a_causal_model_is_blind_to_what_follows() -> None:
    sequences = histories(12)
    changed = Sequences(sequences.items.copy(), sequences.offsets)
    changed.items[8] = (changed.items[8] + 1) % N_ITEMS
    model, pair = encoder(), (everywhere(sequences), everywhere(changed))
    before, after = (states(model, batch) for batch in pair)
    assert (before == after).all(1).tolist() == [True] * 8 + [False] * 4
    before, after = (states(model, batch, causal=False) for batch in pair)
    assert not (before == after).all(1).any()


def test_visible_is_inside_a_history_and_backwards() -> None:
    batch = everywhere(histories(3, 2), row_length=MAX_LENGTH)
    assert batch.segments_BL[0, :6].tolist() == [0, 0, 0, 1, 1, -1]
    seen = visible(batch)[0, 0, :5, :5].int().tolist()
    assert seen == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 1, 1]]
    seen = visible(batch, causal=False)[0, 0, :5, :5].int().tolist()
    assert seen == [[1, 1, 1, 0, 0]] * 3 + [[0, 0, 0, 1, 1]] * 2


def test_order_matters_and_long_windows_fit() -> None:
    sequences = histories(MAX_LENGTH + 1)
    windows = training_windows(sequences)
    batch = pack(sequences, windows, np.arange(len(windows)))
    assert len(states(encoder(), batch)) == MAX_LENGTH
    backwards = Sequences(sequences.items[::-1].copy(), sequences.offsets)
    one, other = (states(encoder(), everywhere(each), causal=False)[-1] for each in (sequences, backwards))
    assert not torch.allclose(one, other, atol=1e-3)
