"""Large catalogues: memory stays bounded, and how the work is cut up changes no result."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmark import rank as rank_module
from benchmark import softmax as softmax_module
from benchmark.batches import Batch
from benchmark.domain import Sequences
from benchmark.method import Model
from benchmark.rank import CHUNK_SCORES, TILE, NotFinite, Ranks, rank
from benchmark.softmax import CHUNK_LOGITS, MIN_ROWS, linear_cross_entropy
from benchmark.splits import HeldOut

torch.set_num_threads(1)


class Watch(TorchDispatchMode):
    """The largest tensor that any operation makes, in elements, and how often each operation is called."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0
        self.calls: dict[str, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        made = [leaf for leaf in tree_leaves(found) if isinstance(leaf, Tensor)]
        # of the storage: an expanded tensor is no larger in memory than what it was expanded from
        self.largest = max([self.largest, *(leaf.untyped_storage().nbytes() // leaf.itemsize for leaf in made)])
        self.calls[func.overloadpacket.__name__] = self.calls.get(func.overloadpacket.__name__, 0) + 1
        return found


class Vectors(Model):
    """Users and items with given vectors; a history's last item is its user."""

    def __init__(self, users_UK: Tensor, items_NK: Tensor) -> None:
        super().__init__()
        self.users_UK, self.items_NK = users_UK, items_NK
        self.unused = nn.Parameter(torch.zeros(1))

    def items(self) -> Tensor:
        return self.items_NK

    def users(self, batch: Batch, items_ND: Tensor) -> Tensor:
        return self.users_UK[batch.items_BL.flatten()[batch.at_T]]

    def loss(self, batch: Batch) -> Tensor:
        raise AssertionError("ranking asks for no loss")


def ranked(users_UK: Tensor, items_NK: Tensor, targets: np.ndarray) -> Ranks:
    histories = Sequences.of([[user] for user in range(len(users_UK))])
    return rank(Vectors(users_UK, items_NK), HeldOut(histories, targets.astype(np.int32)), len(items_NK))


def in_tiles(monkeypatch: pytest.MonkeyPatch, users: int, items: int) -> None:
    monkeypatch.setattr(rank_module, "CHUNK_SCORES", 1)
    monkeypatch.setattr(rank_module, "TILE", (users, items))


@pytest.mark.parametrize("tile", [(1, 1), (3, 7), (100, 8), (2, 1000)])
def test_ranks_are_the_same_in_tiles(tile: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors of small multiples of 1/8, so that sums are exact; every item has a double far from it."""
    torch.manual_seed(1)
    half_NK, users_UK = torch.randint(-4, 5, (30, 5)) / 8, torch.randint(-4, 5, (40, 5)) / 8
    items_NK, targets = torch.cat([half_NK, half_NK]), np.random.default_rng(2).integers(0, 60, 40)
    whole = ranked(users_UK, items_NK, targets)
    in_tiles(monkeypatch, *tile)
    tiled = ranked(users_UK, items_NK, targets)
    scores_UN = (users_UK @ items_NK.T).numpy()
    own_U1 = scores_UN[np.arange(40), targets][:, None]
    assert tiled.greater.tolist() == whole.greater.tolist() == (scores_UN > own_U1).sum(1).tolist()
    assert tiled.equal.tolist() == whole.equal.tolist() == ((scores_UN == own_U1).sum(1) - 1).tolist()


@pytest.mark.parametrize("n_users", [1, 2, 33])
def test_an_item_ties_with_itself_and_its_double_in_tiles_too(n_users: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the product of a tile rounds the target's score otherwise than a product of its own."""
    torch.manual_seed(0)
    half_NK, users_UK = torch.randn(120, 300), torch.randn(n_users, 300)
    items_NK, targets = torch.cat([half_NK, half_NK]), np.arange(n_users) * 7 % 240
    whole = ranked(users_UK, items_NK, targets)
    in_tiles(monkeypatch, 16, 50)
    tiled = ranked(users_UK, items_NK, targets)
    assert tiled.equal.tolist() == [1] * n_users
    assert np.abs(tiled.greater - whole.greater).max() <= 2


def test_scores_that_are_no_numbers_are_refused_in_tiles_too(monkeypatch: pytest.MonkeyPatch) -> None:
    in_tiles(monkeypatch, 4, 10)
    items_NK = torch.randn(50, 3)
    items_NK[45] = torch.nan
    with pytest.raises(NotFinite):
        ranked(torch.randn(5, 3), items_NK, np.arange(5))


@pytest.mark.parametrize(("n_users", "n_items"), [(2_500, 4_000), (900, 60_000)], ids=["rows", "tiles"])
def test_ranking_holds_no_more_than_a_chunk_of_scores(n_users: int, n_items: int) -> None:
    bound = CHUNK_SCORES if n_items * TILE[0] <= CHUNK_SCORES else TILE[0] * TILE[1]
    assert n_users * n_items > 1.2 * bound, "all scores at once would fit: nothing is shown"
    with Watch() as watch:
        ranked(torch.randn(n_users, 2), torch.randn(n_items, 2), np.arange(n_users))
    assert watch.largest <= bound


def test_a_large_catalogue_is_ranked_in_tiles_however_many_users() -> None:
    """A user more makes a tile larger, never the number of tiles; more users make more tiles of one size."""
    largest = []
    for n_users in (TILE[0], 4 * TILE[0]):
        with Watch() as watch:
            ranked(torch.randn(n_users, 2), torch.randn(40_000, 2), np.arange(n_users))
        largest.append(watch.largest)
    assert largest[0] == largest[1] == TILE[0] * TILE[1]


def with_gradients(rows: int, items: int, width: int, **fixed: Any) -> tuple[Tensor, ...]:
    torch.manual_seed(rows)
    h_TD, items_ND = torch.randn(rows, width, requires_grad=True), torch.randn(items, width, requires_grad=True)
    loss = linear_cross_entropy(h_TD, items_ND, torch.randint(items, (rows,)), **fixed)
    return (loss.detach(), *torch.autograd.grad(loss, (h_TD, items_ND)))


@pytest.mark.parametrize(("logits", "rows"), [(1, 1), (1, 7), (1, 64), (500, 1), (10**9, 1)])
@pytest.mark.parametrize("groups", [False, True], ids=["catalogue", "in-batch"])
def test_the_size_of_a_chunk_changes_no_loss_and_no_gradient(
    logits: int, rows: int, groups: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed = {"groups_T": torch.arange(90) // 4} if groups else {}
    expected = with_gradients(90, 90, 6, **fixed)
    monkeypatch.setattr(softmax_module, "CHUNK_LOGITS", logits)
    monkeypatch.setattr(softmax_module, "MIN_ROWS", rows)
    for found, wanted in zip(with_gradients(90, 90, 6, **fixed), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("n_rows", "n_items", "per_chunk"),
    [(300, 20_000, CHUNK_LOGITS // 20_000), (300, 100_000, MIN_ROWS), (40, 100_000, 40)],
    ids=["cache", "least", "few rows"],
)
def test_a_chunk_has_a_bounded_size_and_enough_rows(n_rows: int, n_items: int, per_chunk: int) -> None:
    with Watch() as watch:
        with_gradients(n_rows, n_items, 2)
    assert watch.calls["_softmax"] == -(-n_rows // per_chunk)
    assert watch.largest == per_chunk * n_items
