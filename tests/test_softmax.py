"""The chunked cross-entropy is the library's, gradients included."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmark.softmax import CHUNK_LOGITS, linear_cross_entropy

torch.set_num_threads(1)


def inputs(rows: int, items: int, width: int, seed: int = 0, size: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """States, items and targets, the first two with gradients."""
    torch.manual_seed(seed)
    h_TD, items_ND = torch.randn(rows, width) * size, torch.randn(items, width) * size
    return h_TD.requires_grad_(), items_ND.requires_grad_(), torch.randint(items, (rows,))


def naive(
    h_TD: Tensor,
    items_ND: Tensor,
    targets_T: Tensor,
    scale: float,
    groups_T: Tensor,
    fill: float,
    groups_N: Tensor | None = None,
) -> Tensor:
    """Row by row, as the formula is written."""
    groups_N = groups_T if groups_N is None else groups_N
    losses = []
    for row, target in enumerate(targets_T.tolist()):
        logits_N = scale * (items_ND @ h_TD[row])
        terms = []
        for item in range(len(items_ND)):
            left_out = item != target and groups_N[item] == groups_T[row]
            terms.append(torch.tensor(fill) if left_out else logits_N[item])
        losses.append(torch.logsumexp(torch.stack(terms), 0) - logits_N[target])
    return torch.stack(losses).mean()


def with_gradients(loss: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    return (loss.detach(), *torch.autograd.grad(loss, inputs))


def assert_same(found: tuple[Tensor, ...], expected: tuple[Tensor, ...], tolerance: float = 1e-5) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=tolerance * float(other.abs().max()), rtol=tolerance)


@given(
    rows=st.integers(1, 20),
    items=st.integers(1, 40),
    width=st.integers(1, 9),
    scale=st.floats(0.1, 5),
    seed=st.integers(0, 9),
)
@settings(max_examples=60)
def test_is_cross_entropy_with_its_gradients(rows: int, items: int, width: int, scale: float, seed: int) -> None:
    h_TD, items_ND, targets_T = inputs(rows, items, width, seed)
    loss, d_h, d_items = with_gradients(linear_cross_entropy(h_TD, items_ND, targets_T, scale), h_TD, items_ND)
    reference = F.cross_entropy(scale * h_TD @ items_ND.T, targets_T)
    expected, d_h_expected, d_items_expected = with_gradients(reference, h_TD, items_ND)
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(d_h, d_h_expected, atol=1e-5 * scale, rtol=1e-4)
    torch.testing.assert_close(d_items, d_items_expected, atol=1e-5 * scale, rtol=1e-4)


@pytest.mark.parametrize("beyond", [0, 1, 2.5])
def test_several_chunks_are_one(beyond: float) -> None:
    items = 5000
    h_TD, items_ND, targets_T = inputs(int(CHUNK_LOGITS / items * beyond) + 3, items, 6)
    found = with_gradients(linear_cross_entropy(h_TD, items_ND, targets_T, 2.0), h_TD, items_ND)
    assert_same(found, with_gradients(F.cross_entropy(2.0 * h_TD @ items_ND.T, targets_T), h_TD, items_ND))


@pytest.mark.parametrize("fill", [-torch.inf, 0.0])
@pytest.mark.parametrize("seed", range(4))
def test_items_of_a_rows_own_group_are_no_negatives(fill: float, seed: int) -> None:
    h_TD, keys_TD, _ = inputs(24, 24, 5, seed)
    own_T, groups_T = torch.arange(24), torch.randint(9, (24,))
    loss = linear_cross_entropy(h_TD, keys_TD, own_T, 3.0, groups_T=groups_T, fill=fill)
    expected = naive(h_TD, keys_TD, own_T, 3.0, groups_T, fill)
    assert_same(with_gradients(loss, h_TD, keys_TD), with_gradients(expected, h_TD, keys_TD), 1e-4)


@pytest.mark.parametrize("fill", [-torch.inf, 0.0])
@pytest.mark.parametrize("seed", range(4))
def test_rows_and_items_may_be_labelled_apart(fill: float, seed: int) -> None:
    """As where several processes have keys: a row's own key is anywhere, and so are those of its group."""
    h_TD, keys_ND, own_T = inputs(7, 24, 5, seed)
    groups_T, groups_N = torch.randint(9, (7,)), torch.randint(9, (24,))
    loss = linear_cross_entropy(h_TD, keys_ND, own_T, 3.0, groups_T=groups_T, groups_N=groups_N, fill=fill)
    expected = naive(h_TD, keys_ND, own_T, 3.0, groups_T, fill, groups_N)
    assert_same(with_gradients(loss, h_TD, keys_ND), with_gradients(expected, h_TD, keys_ND), 1e-4)


def test_groups_over_several_chunks() -> None:
    n = int(CHUNK_LOGITS**0.5 * 1.2)
    h_TD, keys_TD, _ = inputs(n, n, 4)
    own_T, groups_T = torch.arange(n), torch.randint(n // 5, (n,))
    loss = linear_cross_entropy(h_TD, keys_TD, own_T, 2.0, groups_T=groups_T)
    left_out = (groups_T[:, None] == groups_T) & ~torch.eye(n, dtype=torch.bool)
    reference = F.cross_entropy((2.0 * h_TD @ keys_TD.T).masked_fill(left_out, -torch.inf), own_T)
    assert_same(with_gradients(loss, h_TD, keys_TD), with_gradients(reference, h_TD, keys_TD))


def test_a_row_whose_group_is_everything_has_nothing_to_tell_apart() -> None:
    h_TD, keys_TD, _ = inputs(4, 4, 3)
    loss = linear_cross_entropy(h_TD, keys_TD, torch.arange(4), groups_T=torch.zeros(4, dtype=torch.long))
    for found in with_gradients(loss, h_TD, keys_TD):
        assert torch.equal(found, torch.zeros_like(found))


def test_one_tensor_on_both_sides_gets_both_gradients() -> None:
    h_TD, _, _ = inputs(12, 1, 4)
    own_T = torch.arange(12)
    loss = linear_cross_entropy(h_TD, h_TD, own_T, 1.5)
    assert_same(with_gradients(loss, h_TD), with_gradients(F.cross_entropy(1.5 * h_TD @ h_TD.T, own_T), h_TD))


def test_a_loss_that_is_used_twice_counts_twice() -> None:
    h_TD, items_ND, targets_T = inputs(9, 14, 4)

    def twice(loss: Tensor) -> Tensor:
        return loss**2 + 3 * loss

    found = with_gradients(twice(linear_cross_entropy(h_TD, items_ND, targets_T)), h_TD, items_ND)
    assert_same(found, with_gradients(twice(F.cross_entropy(h_TD @ items_ND.T, targets_T)), h_TD, items_ND))


def test_gradients_can_be_asked_for_again() -> None:
    h_TD, items_ND, targets_T = inputs(9, 14, 4)
    loss = linear_cross_entropy(h_TD, items_ND, targets_T)
    first, again = (torch.autograd.grad(loss, (h_TD, items_ND), retain_graph=True) for _ in range(2))
    assert_same(first, again, 0)


@pytest.mark.parametrize("frozen", ["states", "items", "both"])
def test_what_is_frozen_gets_no_gradient(frozen: str) -> None:
    h_TD, items_ND, targets_T = inputs(9, 14, 4)
    h_TD.requires_grad_(frozen == "items")
    items_ND.requires_grad_(frozen == "states")
    loss = linear_cross_entropy(h_TD, items_ND, targets_T)
    reference = F.cross_entropy(h_TD @ items_ND.T, targets_T)
    torch.testing.assert_close(loss, reference)
    assert loss.requires_grad == (frozen != "both")
    if frozen != "both":
        wanted = h_TD if frozen == "items" else items_ND
        assert_same(torch.autograd.grad(loss, wanted), torch.autograd.grad(reference, wanted))


def test_under_autocast_it_stays_close() -> None:
    h_TD, items_ND, targets_T = inputs(300, 900, 32, size=0.6)
    expected = with_gradients(F.cross_entropy(h_TD @ items_ND.T, targets_T), h_TD, items_ND)
    with torch.autocast("cpu", torch.bfloat16):
        loss = linear_cross_entropy(h_TD, items_ND, targets_T)
    found = with_gradients(loss, h_TD, items_ND)
    assert [value.dtype for value in found] == [torch.float32] * 3
    assert float(found[0]) == pytest.approx(float(expected[0]), rel=5e-3)
    for one, other in zip(found[1:], expected[1:], strict=True):
        assert F.cosine_similarity(one.flatten(), other.flatten(), dim=0) > 0.9995


def test_hopeless_rows_saturate_and_still_teach() -> None:
    """A probability below the range of float32 counts as the smallest there is; its gradient is exact all the same."""
    h_TD, items_ND, targets_T = inputs(40, 30, 8, size=4)
    reference = F.cross_entropy(h_TD @ items_ND.T, targets_T, reduction="none")
    largest = -math.log(torch.finfo(torch.float32).tiny)
    assert reference.max() > largest
    loss, *gradients = with_gradients(linear_cross_entropy(h_TD, items_ND, targets_T), h_TD, items_ND)
    torch.testing.assert_close(loss, reference.clamp(max=largest).mean())
    assert_same(tuple(gradients), torch.autograd.grad(reference.mean(), (h_TD, items_ND)))


def test_a_state_that_is_not_finite_makes_the_loss_not_finite() -> None:
    for broken in (torch.nan, torch.inf):
        h_TD, items_ND, targets_T = inputs(6, 5, 3)
        with torch.no_grad():
            h_TD[2, 1] = broken
        assert not torch.isfinite(linear_cross_entropy(h_TD, items_ND, targets_T))
