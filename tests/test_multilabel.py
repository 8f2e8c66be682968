"""The chunked binary cross-entropy is the library's, gradients included, and bounded in memory."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from test_scale import Watch
from torch import Tensor

from baselines import multilabel
from baselines.multilabel import linear_binary_cross_entropy
from benchmark.softmax import CHUNK_LOGITS

torch.set_num_threads(1)


def inputs(rows: int, labels: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rows and labels with gradients, which labels hold of which rows, and how often a row counts (some not at all)."""
    torch.manual_seed(seed)
    h_TD, labels_AD = torch.randn(rows, width), torch.randn(labels, width)
    held_TA, weights_T = torch.rand(rows, labels) < 0.3, torch.randint(4, (rows,))
    return h_TD.requires_grad_(), labels_AD.requires_grad_(), held_TA, weights_T


def pairs(held_TA: Tensor) -> tuple[Tensor, Tensor]:
    rows_P, labels_P = held_TA.nonzero(as_tuple=True)
    return rows_P, labels_P


def with_gradients(loss: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    return (loss.detach(), *torch.autograd.grad(loss, inputs))


def library(h_TD: Tensor, labels_AD: Tensor, held_TA: Tensor, weights_T: Tensor | None) -> Tensor:
    loss_TA = F.binary_cross_entropy_with_logits(h_TD @ labels_AD.T, held_TA.float(), reduction="none")
    return (loss_TA if weights_T is None else loss_TA * weights_T[:, None]).sum()


@given(
    rows=st.integers(0, 20),
    labels=st.integers(1, 30),
    width=st.integers(1, 9),
    weighted=st.booleans(),
    chunk=st.sampled_from([1, 50, 10**6]),
    seed=st.integers(0, 9),
)
@settings(max_examples=80)
def test_is_binary_cross_entropy_with_its_gradients(
    rows: int, labels: int, width: int, weighted: bool, chunk: int, seed: int
) -> None:
    h_TD, labels_AD, held_TA, weights_T = inputs(rows, labels, width, seed)
    given_T = weights_T if weighted else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multilabel, "CHUNK_LOGITS", chunk)
        patch.setattr(multilabel, "MIN_ROWS", 1)
        loss = linear_binary_cross_entropy(h_TD, labels_AD, *pairs(held_TA), given_T)
    # times 3, so that a gradient that comes from above is seen to be passed on
    found = with_gradients(3 * loss, h_TD, labels_AD)
    expected = with_gradients(3 * library(h_TD, labels_AD, held_TA, given_T), h_TD, labels_AD)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_in_bfloat16_it_is_nearly_the_same() -> None:
    h_TD, labels_AD, held_TA, weights_T = inputs(200, 50, 16)
    full = linear_binary_cross_entropy(h_TD, labels_AD, *pairs(held_TA), weights_T)
    expected = with_gradients(full, h_TD, labels_AD)
    with torch.autocast("cpu", torch.bfloat16):
        loss = linear_binary_cross_entropy(h_TD, labels_AD, *pairs(held_TA), weights_T)
    for one, other in zip(with_gradients(loss, h_TD, labels_AD), expected, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, atol=0.02 * float(other.abs().max()), rtol=0.02)


def test_holds_no_more_than_a_chunk_of_logits() -> None:
    rows, labels = 1_000, 5_000
    assert rows * labels > 2 * CHUNK_LOGITS
    h_TD, labels_AD = torch.randn(rows, 2, requires_grad=True), torch.randn(labels, 2, requires_grad=True)
    own_T = torch.arange(rows)
    with Watch() as watch:
        linear_binary_cross_entropy(h_TD, labels_AD, own_T, own_T).backward()
    assert watch.largest <= CHUNK_LOGITS
