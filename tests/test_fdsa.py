"""FDSA: two streams, one of which reads texts; and the released one, which does not. Scores: test_recbole_oracle.py."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from baselines.fdsa import FDSA
from benchmark.domain import Sequences
from benchmark.errors import InputError
from benchmark.layers import INITIAL_STD, Sizes
from benchmark.method import Material
from benchmark.splits import leave_one_out
from benchmark.testing import scores, toy_domain
from benchmark.train import Training, train

torch.set_num_threads(1)

SIZES = Sizes(width=16, inner=24, dropout=0.2, attention_dropout=0.2)
DOMAIN = toy_domain()
SPLIT = leave_one_out(DOMAIN)
HISTORIES = SPLIT.test.histories
TEXT = np.random.default_rng(0).normal(size=(DOMAIN.n_items, 48)).astype(np.float32)
PERMUTED = TEXT[np.random.default_rng(1).permutation(DOMAIN.n_items)]

RELEASED = partial(FDSA, redrawn=True)


def built(text: np.ndarray | None, build: type[FDSA] | partial[FDSA] = FDSA) -> FDSA:
    torch.manual_seed(4)
    return build(SIZES, Material(n_items=DOMAIN.n_items, train=SPLIT.train, text=text))


def learnt(text: np.ndarray, build: type[FDSA] | partial[FDSA] = FDSA) -> FDSA:
    model = built(text, build)
    train(model, SPLIT, Training(epochs=1, batch_targets=64, learning_rate=1e-2), seed=5)
    return model


def test_fdsa_reads_the_texts() -> None:
    model = built(TEXT)
    assert torch.equal(model.text_NF, torch.from_numpy(TEXT)), "initial weights were drawn over the texts"
    assert not torch.allclose(scores(model, HISTORIES), scores(built(PERMUTED), HISTORIES), atol=1e-4)
    assert not torch.allclose(scores(learnt(TEXT), HISTORIES), scores(learnt(PERMUTED), HISTORIES), atol=1e-3)


def test_the_released_one_reads_none() -> None:
    """Items with one another's texts, or without any: the same model to the last bit, before and after training."""
    for make in (built, learnt):
        expected = scores(make(TEXT, RELEASED), HISTORIES)
        for text in (PERMUTED, np.zeros_like(TEXT)):
            assert torch.equal(scores(make(text, RELEASED), HISTORIES), expected)
        assert not torch.allclose(scores(make(TEXT), HISTORIES), expected, atol=1e-4), "it has the texts after all"


def test_the_released_one_has_a_frozen_table_as_it_was_drawn() -> None:
    first, after = built(TEXT, RELEASED).text_NF, learnt(TEXT, RELEASED).text_NF
    assert torch.equal(after, first)
    assert first.shape == TEXT.shape
    # 1,920 draws: four standard errors of a mean and of a standard deviation
    assert float(first.mean()) == pytest.approx(0, abs=4 * INITIAL_STD / first.numel() ** 0.5)
    assert float(first.std()) == pytest.approx(INITIAL_STD, rel=4 / (2 * first.numel()) ** 0.5)
    # another seed, other vectors
    torch.manual_seed(6)
    other = RELEASED(SIZES, Material(n_items=DOMAIN.n_items, train=SPLIT.train, text=TEXT))
    assert not torch.equal(other.text_NF, first)


def test_a_text_counts_in_the_history_and_not_among_the_candidates() -> None:
    history = Sequences.of([np.array([3, 8, 5], np.int32)])
    before = scores(built(TEXT), history)
    elsewhere, inside = TEXT.copy(), TEXT.copy()
    elsewhere[[0, 20]] += 1
    inside[8] += 1
    assert torch.equal(scores(built(elsewhere), history), before)
    assert not torch.allclose(scores(built(inside), history), before, atol=1e-4)


def test_both_streams_share_positions_and_norm() -> None:
    """Parameters on Scientific with BERT, counted by hand: 4,385 ids, 50 positions and one norm, texts to 300
    dimensions, four blocks, and the layer that joins the streams."""
    block = 4 * (300 * 300 + 300) + (300 * 256 + 256) + (256 * 300 + 300) + 2 * 600
    expected = 4385 * 300 + 50 * 300 + 600 + (768 * 300 + 300) + 4 * block + (600 * 300 + 300)
    text = np.zeros((4385, 768), np.float32)
    model = FDSA(Sizes(), Material(n_items=4385, train=SPLIT.train, text=text))
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


def test_without_texts_it_says_so() -> None:
    with pytest.raises(InputError, match="FDSA reads item texts"):
        built(None)
