"""Ranks against sorting by hand: ties, chunks, and scores that are not numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmark import rank as rank_module
from benchmark.batches import Batch
from benchmark.domain import Sequences
from benchmark.method import Model
from benchmark.metrics import METRICS, per_user
from benchmark.rank import NotFinite, count, rank
from benchmark.splits import HeldOut

torch.set_num_threads(1)


class FixedScores:
    """A scorer with a table: a history's first item is its row."""

    def __init__(self, scores_UN: NDArray[np.float64]) -> None:
        self.scores_UN = scores_UN

    def scores(self, histories: Sequences) -> Tensor:
        return torch.from_numpy(self.scores_UN[histories.items[histories.offsets[:-1]]])


class FixedVectors(Model):
    """A model whose user vector is that of the last item of the history, from a table of its own."""

    def __init__(self, users_ND: Tensor, candidates_ND: Tensor) -> None:
        super().__init__()
        self.users_ND, self.candidates_ND = users_ND, candidates_ND
        self.unused = nn.Parameter(torch.zeros(1))
        self.was_training_when_asked: list[bool] = []

    def items(self) -> Tensor:
        self.was_training_when_asked.append(self.training)
        return self.candidates_ND

    def users(self, batch: Batch, items_ND: Tensor) -> Tensor:
        return self.users_ND[batch.items_BL.flatten()[batch.at_T]]

    def loss(self, batch: Batch) -> Tensor:
        raise AssertionError("ranking asks for no loss")


def ask(targets: list[int] | NDArray[np.int64], rows: list[list[int]] | None = None) -> HeldOut:
    """User u has the history [u], so that tables can be given by user."""
    histories = rows or [[user] for user in range(len(targets))]
    return HeldOut(Sequences.of(histories), np.asarray(targets, np.int32))


def counted(scores_UN: NDArray[np.float64], targets: NDArray[np.int64]) -> tuple[list[int], list[int]]:
    """Item by item: how many score above the target, and how many others the same."""
    greater = [sum(bool(score > row[target]) for score in row) for row, target in zip(scores_UN, targets, strict=True)]
    equal = [
        sum(bool(s == row[t]) for i, s in enumerate(row) if i != t) for row, t in zip(scores_UN, targets, strict=True)
    ]
    return greater, equal


@given(users=st.integers(1, 12), items=st.integers(1, 15), levels=st.integers(1, 30), seed=st.integers(0, 999))
@settings(max_examples=60)
def test_counts_are_those_of_comparing_item_by_item(users: int, items: int, levels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores_UN, targets = rng.integers(0, levels, (users, items)) / 4.0, rng.integers(0, items, users)
    greater, equal = counted(scores_UN, targets)
    found = rank(FixedScores(scores_UN), ask(targets), items)
    assert (found.greater.tolist(), found.equal.tolist()) == (greater, equal)
    assert found.greater.dtype == found.equal.dtype == np.int32
    order = np.argsort(-scores_UN, axis=1, kind="stable")
    places = (order == targets[:, None]).argmax(1)
    assert all(g <= place <= g + e for g, e, place in zip(greater, equal, places, strict=True))


@pytest.mark.parametrize("model", [False, True], ids=["scorer", "model"])
def test_a_constant_scorer_gets_k_of_n(model: bool) -> None:
    n = 80
    constant = FixedVectors(torch.ones(n, 4), torch.ones(n, 4)) if model else FixedScores(np.full((n, n), 0.3))
    found = rank(constant, ask(np.random.default_rng(0).integers(0, n, 25)), n)
    for metric in METRICS:
        k = int(metric.partition("@")[2])
        gains = [1 / np.log2(place + 1) if metric.startswith("NDCG") else 1.0 for place in range(1, k + 1)]
        np.testing.assert_allclose(per_user(metric, found.greater, found.equal), sum(gains) / n, rtol=1e-12)


def exact_table(rows: int, width: int, seed: int) -> Tensor:
    """Vectors of small multiples of 1/8: sums of products are exact in float32, and ties are many."""
    return torch.randint(-4, 5, (rows, width), generator=torch.Generator().manual_seed(seed)) / 8


@pytest.mark.parametrize("chunk", [1, 7, 100, 1000, 10**9])
def test_the_size_of_a_chunk_changes_nothing(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    users_ND, items_ND = exact_table(90, 6, 1), exact_table(90, 6, 2)
    rng = np.random.default_rng(3)
    rows = [rng.integers(0, 90, rng.integers(1, 70)).tolist() for _ in range(60)]
    held_out = ask(rng.integers(0, 90, 60), rows)
    scores_UN = (users_ND[[row[-1] for row in rows]].double() @ items_ND.double().T).numpy()
    monkeypatch.setattr(rank_module, "CHUNK_SCORES", chunk)
    model = FixedVectors(users_ND, items_ND)
    found = rank(model, held_out, 90)
    greater, equal = counted(scores_UN, held_out.targets.astype(np.int64))
    assert (found.greater.tolist(), found.equal.tolist()) == (greater, equal)
    assert sum(equal) > 20


@pytest.mark.parametrize("n_users", [1, 2, 3, 40])
@pytest.mark.parametrize("n_items", [37, 64, 339, 1021])
@pytest.mark.parametrize("width", [16, 300])
def test_items_with_one_vector_tie_exactly(n_users: int, n_items: int, width: int) -> None:
    """Also where a matrix product would round the last columns, or a single row, differently."""
    torch.manual_seed(n_items)
    half = torch.randn(n_items // 2, width)
    items_ND = torch.cat([half, torch.randn(n_items % 2, width), half.flip(0)])
    targets = np.arange(n_users) * 7 % (n_items // 2)
    found = rank(FixedVectors(torch.randn(n_users, width), items_ND), ask(targets), n_items)
    assert found.equal.tolist() == [1] * n_users


def test_a_model_is_asked_in_evaluation_mode_and_left_as_it_was() -> None:
    for training in (True, False):
        model = FixedVectors(torch.randn(5, 3), torch.randn(5, 3)).train(training)
        assert isinstance(model, FixedVectors)
        rank(model, ask([0, 1, 2]), 5)
        assert model.was_training_when_asked == [False]
        assert model.training == training


@pytest.mark.parametrize(
    ("where", "value"), [("target", np.nan), ("target", np.inf), ("target", -np.inf), ("other", np.nan)]
)
def test_scores_that_are_no_numbers_are_refused(where: str, value: float) -> None:
    scores_UN = np.random.default_rng(0).random((4, 6))
    scores_UN[2, 3 if where == "target" else 5] = value
    with pytest.raises(NotFinite, match="not finite"):
        rank(FixedScores(scores_UN), ask([0, 1, 3, 2]), 6)
    assert issubclass(NotFinite, ArithmeticError)


def test_a_model_with_broken_vectors_is_refused() -> None:
    for broken in (torch.nan, torch.inf):
        items_ND = torch.randn(6, 3)
        items_ND[5, 1] = broken
        with pytest.raises(NotFinite):
            rank(FixedVectors(torch.randn(6, 3), items_ND), ask([0, 1, 2]), 6)


def test_an_item_may_be_ruled_out_by_minus_infinity() -> None:
    scores = torch.tensor([[0.5, -torch.inf, 0.7]])
    greater, equal = count(scores, torch.tensor([0]))
    assert (greater.tolist(), equal.tolist()) == ([1], [0])


def test_scores_near_each_other_are_told_apart_in_float32_and_counts_in_their_own_type() -> None:
    vectors = torch.tensor([[1.0], [1.0 + 2**-23], [1.0 + 2**-10]])
    found = rank(FixedVectors(torch.ones(3, 1), vectors), ask([0, 1, 2]), 3)
    assert (found.greater.tolist(), found.equal.tolist()) == ([2, 1, 0], [0, 0, 0])
    whole = np.array([[2.0**40, 2.0**40 + 1]] * 2)
    assert rank(FixedScores(whole), ask([0, 1]), 2).greater.tolist() == [1, 0]


# --- masked items


def counted_unmasked(
    scores_UN: NDArray[np.float64], targets: NDArray[np.int64], masked: list[list[int]]
) -> tuple[list[int], list[int]]:
    """Item by item among those that are not masked; a masked target is last."""
    greater, equal = [], []
    for row, target, out in zip(scores_UN, targets, masked, strict=True):
        others = [score for item, score in enumerate(row) if item not in out and item != target]
        missed = target in out
        greater.append(len(row) - 1 if missed else sum(bool(score > row[target]) for score in others))
        equal.append(0 if missed else sum(bool(score == row[target]) for score in others))
    return greater, equal


def test_a_masked_item_is_no_rival_and_a_masked_target_is_a_miss() -> None:
    scores_UN = np.array([[0.9, 0.5, 0.5, 0.7], [0.9, 0.5, 0.5, 0.7], [0.9, 0.5, 0.5, 0.7]])
    histories, targets = Sequences.of([[0], [1], [2]]), np.array([1, 1, 1], np.int32)
    masked = Sequences.of([[0, 2, 0], [], [1, 0]])
    found = rank(FixedScores(scores_UN), HeldOut(histories, targets, masked), 4)
    assert (found.greater.tolist(), found.equal.tolist()) == ([1, 2, 3], [0, 1, 0])


@given(users=st.integers(1, 12), items=st.integers(1, 15), levels=st.integers(1, 30), seed=st.integers(0, 999))
@settings(max_examples=60)
def test_masked_counts_are_those_of_comparing_item_by_item(users: int, items: int, levels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores_UN, targets = rng.integers(0, levels, (users, items)) / 4.0, rng.integers(0, items, users)
    masked = [rng.integers(0, items, rng.integers(0, 8)).tolist() for _ in range(users)]
    held_out = HeldOut(ask(targets).histories, targets.astype(np.int32), Sequences.of(masked))
    found = rank(FixedScores(scores_UN), held_out, items)
    assert (found.greater.tolist(), found.equal.tolist()) == counted_unmasked(scores_UN, targets, masked)


@pytest.mark.parametrize("tile", [(256, 8_192), (4, 7)])
@pytest.mark.parametrize("chunk", [1, 100, 1000, 10**9])
def test_masking_needs_no_whole_rows_and_knows_items_of_one_vector(
    chunk: int, tile: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    users_ND = exact_table(90, 3, 1)
    items_ND = exact_table(30, 3, 2).repeat(3, 1)  # each vector is that of three items at least
    rng = np.random.default_rng(3)
    rows = [rng.integers(0, 90, rng.integers(1, 70)).tolist() for _ in range(60)]
    targets = rng.integers(0, 90, 60)
    held_out = HeldOut(Sequences.of(rows), targets.astype(np.int32), Sequences.of(rows))
    scores_UN = (users_ND[[row[-1] for row in rows]].double() @ items_ND.double().T).numpy()
    monkeypatch.setattr(rank_module, "CHUNK_SCORES", chunk)
    monkeypatch.setattr(rank_module, "TILE", tile)
    found = rank(FixedVectors(users_ND, items_ND), held_out, 90)
    greater, equal = counted_unmasked(scores_UN, targets, rows)
    assert (found.greater.tolist(), found.equal.tolist()) == (greater, equal)
    assert sum(equal) > 20
    assert 5 < sum(target in row for target, row in zip(targets, rows, strict=True)) < 55
