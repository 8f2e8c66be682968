"""CCDR: its networks, its aggregation and its losses by hand, and what may reach a prediction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from baselines.ccdr import CCDR, CCDRConfig, info_nce, similarity_loss
from baselines.graph import Edges, Graph
from baselines.preference_network import NOBODY, build_networks
from benchmark.batches import Batch, pack, training_windows
from benchmark.domain import Sequences
from benchmark.errors import InputError
from benchmark.method import Material, SourceMaterial, configure
from benchmark.splits import leave_one_out
from benchmark.testing import scores, toy_domain

torch.set_num_threads(1)

Taxonomy = tuple[tuple[str, ...], ...]


def vectors(*rows: Sequence[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32)


def edges(*ends: tuple[int, int]) -> Tensor:
    return torch.tensor(ends, dtype=torch.int64).reshape(-1, 2)


# The graph of the hand-made checks: user 0, items 1 to 3, attribute 4. The user took items 1 and 2, which stood side by
# side; item 1 has the attribute; item 3 has nothing.
SIZES = (1, 3, 1)
ENDS = edges((0, 1), (0, 2), (1, 2), (1, 4))
OWN = vectors([0, 0], [1, 2], [3, 4], [5, 6], [10, 20])


def test_neighbours_are_averaged_by_kind() -> None:
    averaged = Edges(ENDS, SIZES).graph().average(OWN)
    # item 1: user [0, 0] + item 2 [3, 4] + attribute [10, 20]
    assert averaged.tolist() == [[2, 3], [13, 24], [1, 2], [0, 0], [1, 2]]


def test_a_node_is_the_mean_of_itself_and_its_averages() -> None:
    aggregated = Edges(ENDS, SIZES).graph().aggregate(OWN, layers=2)
    # of the averages above, once more: user (13 + 1) / 2, (24 + 2) / 2; item 1: 2 + 1 + 1, 3 + 2 + 2; item 2: user and
    # item 1 are 2 + 13, 3 + 24; the attribute is item 1
    second = vectors([7, 13], [4, 7], [15, 27], [0, 0], [13, 24])
    expected = (OWN + vectors([2, 3], [13, 24], [1, 2], [0, 0], [1, 2]) + second) / 3
    torch.testing.assert_close(aggregated, expected)


def test_an_edge_given_twice_counts_twice() -> None:
    graph = Edges(edges((0, 1), (0, 1), (0, 2)), (1, 2)).graph()
    assert graph.average(vectors([0], [3], [9]))[0].item() == pytest.approx((3 + 3 + 9) / 3)


def dense(ends: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """The matrix of `Graph.average`, written out node by node."""
    kinds = [kind for kind, size in enumerate(sizes) for _ in range(size)]
    found = torch.zeros(len(kinds), len(kinds))
    for one, other in [*ends.tolist(), *ends.flip(1).tolist()]:
        found[one, other] += 1
    for node in range(len(kinds)):
        for kind in set(kinds):
            columns = [other for other in range(len(kinds)) if kinds[other] == kind]
            if total := found[node, columns].sum():
                found[node, columns] /= total
    return found


@given(data=st.data(), sizes=st.lists(st.integers(0, 4), min_size=3, max_size=3).filter(lambda sizes: sum(sizes) > 1))
@settings(max_examples=40, deadline=None)
def test_averages_and_their_gradient_are_a_matrix_product(data: st.DataObject, sizes: list[int]) -> None:
    n = sum(sizes)
    pairs = [(one, other) for one in range(n) for other in range(one + 1, n)]
    ends = edges(*data.draw(st.lists(st.sampled_from(pairs), max_size=12)))
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(n), requires_grad=True)
    weights = torch.arange(1.0, n * 3 + 1).view(n, 3)
    averaged = Edges(ends, tuple(sizes)).graph().average(x)
    (averaged * weights).sum().backward()
    matrix = dense(ends, tuple(sizes))
    torch.testing.assert_close(averaged, matrix @ x.detach())
    assert x.grad is not None
    torch.testing.assert_close(x.grad, matrix.T @ weights)


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_graph_of_some_edges_is_the_graph_of_those_edges_alone(data: st.DataObject) -> None:
    """To the last bit: neighbours are added up in the same order."""
    pairs = [(one, other) for one in range(7) for other in range(one + 1, 7)]
    ends = edges(*data.draw(st.lists(st.sampled_from(pairs), max_size=20)))
    kept = torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(ends), max_size=len(ends))), dtype=torch.bool)
    some, alone = Edges(ends, (2, 3, 2)).graph(kept), Edges(ends[kept], (2, 3, 2)).graph()
    for field in fields(Graph):
        assert torch.equal(getattr(some, field.name), getattr(alone, field.name)), field.name


@given(data=st.data(), layers=st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_some_nodes_are_aggregated_as_they_are_among_all(data: st.DataObject, layers: int) -> None:
    pairs = [(one, other) for one in range(7) for other in range(one + 1, 7)]
    graph = Edges(edges(*data.draw(st.lists(st.sampled_from(pairs), max_size=20))), (2, 3, 2)).graph()
    nodes = torch.tensor(data.draw(st.lists(st.integers(0, 6), unique=True)), dtype=torch.int64)
    weights = torch.arange(1.0, 22).view(7, 3)
    found = []
    for some in (False, True):
        x = torch.randn(7, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
        rows = graph.aggregate(x, layers, nodes) if some else graph.aggregate(x, layers)[nodes]
        (rows * weights[nodes]).sum().backward()
        found.append((rows, x.grad))
    (all_rows, all_grad), (some_rows, some_grad) = found
    assert torch.equal(some_rows, all_rows)
    assert torch.equal(some_grad, all_grad)


def test_autocast_changes_no_more_than_rounding_on_the_way_there_and_back() -> None:
    gradients = []
    for reduced in (False, True):
        x = OWN.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
            averaged = Edges(ENDS, SIZES).graph().aggregate(x, 2)
        assert averaged.dtype == torch.float32
        averaged.square().sum().backward()
        gradients.append(x.grad)
    assert not torch.equal(*gradients)
    torch.testing.assert_close(*gradients, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("drop", [0.2, 0.7])
def test_dropping_edges_keeps_what_is_expected(drop: float) -> None:
    """Over all ways to drop some of a node's four neighbours: the expected average is the average of all four."""
    own = vectors([0], [1], [2], [4], [11])
    expected, probability = 0.0, 0.0
    for n_kept in range(1, 5):
        for kept in combinations(range(1, 5), n_kept):
            chance = (1 - drop) ** n_kept * drop ** (4 - n_kept)
            expected += chance * Edges(edges(*((0, other) for other in kept)), (1, 4)).graph().average(own)[0].item()
            probability += chance
    assert expected / probability == pytest.approx((1 + 2 + 4 + 11) / 4)


def written_out(a: Tensor, b: Tensor, temperature: float, groups: Sequence[int]) -> float:
    """InfoNCE row by row: rows of one group are left out of each other's negatives."""

    def exponent(i: int, j: int) -> float:
        cosine = float(a[i] @ b[j]) / (float(a[i].norm()) * float(b[j].norm()))
        return math.exp(cosine / temperature)

    total = 0.0
    for i in range(len(a)):
        others = [j for j in range(len(b)) if j == i or groups[j] != groups[i]]
        total -= math.log(exponent(i, i) / sum(exponent(i, j) for j in others))
    return total / len(a)


@pytest.mark.parametrize("groups", [None, [7, 3, 7, 1, 3]])
def test_info_nce_is_the_formula(groups: list[int] | None) -> None:
    a, b = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(1))
    found = info_nce(a, b, 0.2, None if groups is None else torch.tensor(groups))
    assert found.item() == pytest.approx(written_out(a, b, 0.2, groups or range(5)), rel=1e-5)


def test_nothing_to_tell_apart_is_no_loss() -> None:
    assert info_nce(torch.zeros(0, 4), torch.zeros(0, 4), 0.2).item() == 0


def test_similarity_is_the_cross_entropy_of_links() -> None:
    nodes = vectors([1, 0], [2, 1], [0, 3], [-1, 1])
    found = similarity_loss(nodes, edges((0, 1), (1, 2)), torch.tensor([2, 3, 3]))

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    near = -(math.log(sigmoid(2)) + math.log(sigmoid(3))) / 2
    # node 0 with 2, 3, 3: 0, -1, -1; node 1 with 2, 3, 3: 3, -1, -1
    far = -sum(math.log(1 - sigmoid(product)) for product in (0, -1, -1, 3, -1, -1)) / 6
    assert found.item() == pytest.approx(near + far, rel=1e-6)


TRAIN = [[0, 1, 1, 2], [2, 0], [1], []]
TAXONOMY: Taxonomy = (("red", "thing"), ("thing", "tin"), ("red", "thing", "tin"), (), ("lid", "thing"))
SOURCE_TRAIN = [[0, 1, 2], [2, 3, 2], [3, 2, 4]]
SOURCE_TAXONOMY: Taxonomy = (("tin",), ("wood",), ("red", "wood"), ("lid",), ("red",))


def material(
    train: Sequence[Sequence[int]] = TRAIN,
    taxonomy: Taxonomy = TAXONOMY,
    source_train: Sequence[Sequence[int]] = SOURCE_TRAIN,
    source_taxonomy: Taxonomy = SOURCE_TAXONOMY,
) -> Material:
    return Material(
        n_items=len(taxonomy),
        train=Sequences.of(train),
        taxonomy=taxonomy,
        sources=SourceMaterial(
            n_items=len(source_taxonomy), train=Sequences.of(source_train), taxonomy=source_taxonomy
        ),
    )


def test_the_networks_of_a_small_target_by_hand() -> None:
    networks = build_networks(material(), share=0.6, source_items=9, rare=1)
    # "thing" is on four of five items; "wood" is not in the target
    assert networks.attributes == ("lid", "red", "tin")
    target, source = networks.target, networks.source
    assert (target.sizes, source.sizes) == ((4, 5, 3), (0, 4, 3))
    # users 0 to 3, items 4 to 8, attributes 9 to 11
    owned = sorted(zip(map(tuple, target.ends_E2.tolist()), target.owner_E.tolist(), strict=True))
    assert owned == [
        ((0, 4), 0),
        ((0, 5), 0),
        ((0, 5), 0),
        ((0, 6), 0),
        ((1, 4), 1),
        ((1, 6), 1),
        ((2, 5), 2),
        ((4, 5), 0),
        ((4, 10), NOBODY),
        ((5, 6), 0),
        ((5, 11), NOBODY),
        ((6, 4), 1),
        ((6, 10), NOBODY),
        ((6, 11), NOBODY),
        ((8, 9), NOBODY),
    ]
    # source item 1 shares nothing; the others become 0 to 3, attributes are 4 to 6
    assert networks.source_items.tolist() == [0, 2, 3, 4]
    assert sorted(map(tuple, source.ends_E2.tolist())) == [
        (0, 6),
        (1, 2),
        (1, 3),
        (1, 5),
        (2, 1),
        (2, 1),
        (2, 4),
        (3, 5),
    ]
    # the lid is on one item of either side: target item 4, source item 2 as numbered here
    assert networks.related_K3.tolist() == [[4, 2, 0]]


def test_of_many_source_items_the_most_popular_are_kept() -> None:
    networks = build_networks(material(), share=0.6, source_items=2, rare=1)
    # items 2 and 3 are taken four and two times; with them, "tin" is the target's alone
    assert networks.source_items.tolist() == [2, 3]
    assert networks.attributes == ("lid", "red", "tin")
    assert networks.source.n_attributes == 2


def test_held_out_interactions_are_in_no_edge() -> None:
    """Held-out items that nobody trained on have no edge but to their attributes."""
    rows = [[0, 1, 2, 5, 6], [1, 2, 0, 6, 5], [2, 0, 1, 5, 5]]
    domain = replace(
        toy_domain(n_items=7, n_users=3), sequences=Sequences.of([np.array(row, np.int32) for row in rows])
    )
    train = leave_one_out(domain).train
    given = replace(material(taxonomy=domain.taxonomy or ()), train=train)
    target = build_networks(given, share=1.0, source_items=9, rare=1).target
    of_histories = target.ends_E2[target.owner_E != NOBODY]
    assert set((of_histories[of_histories >= target.n_users] - target.n_users).tolist()) == {0, 1, 2}
    taken = of_histories[of_histories[:, 0] < target.n_users] - [0, target.n_users]
    assert sorted(map(tuple, taken.tolist())) == sorted((user, item) for user in range(3) for item in train[user])


@pytest.mark.parametrize("lacking", ["sources", "taxonomy"])
def test_what_is_lacking_is_said(lacking: str) -> None:
    with pytest.raises(InputError, match="no sources or no attributes"):
        CCDR(CCDRConfig(), replace(material(), **{lacking: None}))


SMALL = {"width": 8, "dropout": 0.0, "attribute_share": 1.0, "negatives": 5}


def model(given: Material, cls: type[CCDR] = CCDR, **changes: Any) -> CCDR:
    torch.manual_seed(0)
    return cls(configure(CCDRConfig, {**SMALL, **changes}, "test"), given)


def batch_of(train: Sequences, users: Sequence[int]) -> Batch:
    windows = training_windows(train)
    return pack(train, windows, np.flatnonzero(np.isin(windows.sequence, users)))


class Watched(CCDR):
    """Keeps the user vectors and item vectors that a step has predicted with."""

    def users(self, batch: Batch, items_ND: Tensor) -> Tensor:
        self.predicted = super().users(batch, items_ND).detach() @ items_ND.detach().T
        return super().users(batch, items_ND)


def predictions(train: Sequence[Sequence[int]], users: Sequence[int], **changes: Any) -> Tensor:
    """Scores at each asked position of some users, oldest first, in a training step that drops no edge."""
    built = model(material(train), Watched, edge_drop=0.0, **changes)
    assert isinstance(built, Watched)
    built.train()
    built.loss(batch_of(Sequences.of(train), users))
    return built.predicted


def test_no_later_item_reaches_an_earlier_prediction_in_training() -> None:
    others = [[3, 0, 1], [4, 2]]
    found = predictions([[0, 1, 2, 3, 4], *others], [0])
    for changed_from in range(2, 5):
        history = [0, 1, 2, 3, 4]
        history[changed_from:] = [(item + 3) % 5 for item in history[changed_from:]]
        changed = predictions([history, *others], [0])
        # the prediction at position t has seen items 0 to t
        assert torch.equal(changed[:changed_from], found[:changed_from])
        if changed_from < 4:
            assert not torch.equal(changed[changed_from], found[changed_from])


def test_what_others_did_does_reach_a_prediction() -> None:
    found = predictions([[0, 1, 2], [3, 0, 1], [4, 2]], [0])
    assert not torch.allclose(predictions([[0, 1, 2], [3, 0, 1], [4, 1]], [0]), found)


def test_a_user_vector_is_the_mean_of_the_history_through_a_linear_map() -> None:
    train = Sequences.of([[0, 3, 2, 2, 4]])
    built = model(material(train=[[0, 1], [2, 3]])).eval()
    with torch.no_grad():
        built.to_user.weight.normal_()
        items = built.items()
        found = built.users(batch_of(train, [0]), items)
        expected = torch.stack([built.to_user(items[train[0][:seen].tolist()].mean(0)) for seen in range(1, 5)])
    torch.testing.assert_close(found, expected)


def test_the_order_of_a_history_does_not_matter() -> None:
    built = model(material())
    torch.testing.assert_close(*(scores(built, Sequences.of([row])) for row in ([0, 1, 2, 4], [4, 1, 0, 2])))


def loss_of(given: Material, **changes: Any) -> Tensor:
    built = model(given, **changes).train()
    torch.manual_seed(5)
    return built.loss(batch_of(given.train, [0]))


def test_shared_attributes_link_the_domains_and_without_them_nothing_does() -> None:
    other_words = tuple(tuple(f"another {name}" for name in row) for row in SOURCE_TAXONOMY)
    for source_taxonomy, linked in ((SOURCE_TAXONOMY, True), (other_words, False), (((),) * 5, False)):
        given = material(source_taxonomy=source_taxonomy)
        with_it, without = (loss_of(given, inter_weight=weight) for weight in (5.0, 0.0))
        assert torch.isfinite(with_it)
        assert (with_it != without) == linked


def test_taxonomy_and_neighbours_each_link_the_domains() -> None:
    taxonomy_alone, both, neither = (
        loss_of(material(), rare_items=rare, inter_weight=weight) for rare, weight in ((0, 1.0), (9, 1.0), (9, 0.0))
    )
    assert both > taxonomy_alone > neither


def test_items_with_the_same_attribute_are_not_told_apart() -> None:
    # every related pair has the one attribute: there is nothing to tell a source item from
    given = material(taxonomy=(("tin",), ("tin",), (), (), ()), source_taxonomy=(("tin",), ("tin",), (), (), ("tin",)))
    assert loss_of(given, rare_items=9) == loss_of(given, rare_items=0)


def test_each_loss_has_its_weight() -> None:
    nothing = {"similarity_weight": 0.0, "intra_weight": 0.0, "inter_weight": 0.0}
    least = loss_of(material(), **nothing)
    for name in nothing:
        one, three = (loss_of(material(), **{**nothing, name: weight}) - least for weight in (1.0, 3.0))
        assert one > 0
        torch.testing.assert_close(three, 3 * one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("train", "taxonomy"),
    [
        ([[0, 1], [2], [3]], TAXONOMY),
        ([[0, 1], [1, 0]], ((),) * 5),
        ([[0, 0], [1]], (("red",), (), (), (), ())),
    ],
    ids=["users of one item", "no attributes", "items without a neighbour"],
)
def test_vectors_and_gradients_are_finite(train: list[list[int]], taxonomy: Taxonomy) -> None:
    built = model(material(train, taxonomy)).train()
    built.loss(batch_of(Sequences.of(train), [0])).backward()
    for name, parameter in built.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    assert torch.isfinite(scores(built, Sequences.of([[0], [4], [3, 2]]))).all()


def test_an_attribute_comes_to_look_alike_from_both_sides() -> None:
    domain, source = toy_domain(n_items=20), toy_domain(n_items=30)
    given = Material(
        n_items=20,
        train=leave_one_out(domain).train,
        taxonomy=domain.taxonomy,
        sources=SourceMaterial(n_items=30, train=source.sequences, taxonomy=source.taxonomy),
    )
    built = model(given, inter_weight=1.0).train()
    optimizer = torch.optim.Adam(built.parameters(), 0.02)
    for _ in range(40):
        optimizer.zero_grad()
        built.loss(batch_of(given.train, range(5))).backward()
        optimizer.step()
    own, of_source = built.attribute_table.weight, built.source_attribute_table.weight
    cosines = torch.nn.functional.normalize(own, dim=-1) @ torch.nn.functional.normalize(of_source, dim=-1).T
    assert (cosines.argmax(1) == torch.arange(len(own))).all()


@pytest.mark.parametrize("changes", [{"temperature": 0.0}, {"edge_drop": 1.5}, {"layers": 0}, {"intra_weight": -1.0}])
def test_configurations_out_of_range_are_errors(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(changes))):
        configure(CCDRConfig, changes, "test")
