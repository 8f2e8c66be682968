"""CCDR: contrastive learning over a graph of each domain and between the two, adapted to domains that share no user.

Source: Xie et al., KDD 2022 (arXiv:2112.00999). How the paper's table adapted it is nowhere described; what is ours is
said in the registry entry's note.
Legend: B rows, L tokens a row, D width, T asked positions, N target items, E edges, V nodes, S sampled.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.graph import Edges, Graph
from baselines.preference_network import build_networks
from benchmark.batches import Batch
from benchmark.layers import MAX_DROPOUT, Dropout, initialise, visible
from benchmark.method import Material, Method, Model, check_ranges
from benchmark.softmax import linear_cross_entropy


@dataclass(frozen=True, kw_only=True)
class CCDRConfig:
    """Sizes, weights of the losses and bounds on the graphs.

    With the defaults a step on Scientific and five small sources takes about 0.4 seconds on one core.
    """

    width: int = 300
    layers: int = 2
    """Averages over neighbours in a row."""
    dropout: float = 0.0
    """On item vectors as a history is read."""
    edge_drop: float = 0.2
    """Share of the target's edges that each view leaves out."""
    temperature: float = 0.2
    """Of the contrastive losses, over cosines."""
    similarity_weight: float = 1.0
    """Of the neighbour-similarity losses of both sides."""
    intra_weight: float = 0.1
    """Lambda 1."""
    inter_weight: float = 0.1
    """Lambda 2, of the taxonomy and the neighbour part."""
    negatives: int = 30
    """Nodes a step that sampled edges are told from (as many as in the released code, there for each edge)."""
    sampled_edges: int = 2048
    """Edges of either side a step in the neighbour-similarity losses."""
    sampled_nodes: int = 512
    """Nodes a step in each contrastive loss."""
    attribute_share: float = 0.05
    """An attribute that more than this share of either side's items have is left out."""
    rare_items: int = 20
    """An attribute relates two items if at most so many items of either side have it."""
    source_items: int = 20_000
    """Items of the sources in the graph: the most popular of those that share an attribute with the target."""
    source_edges: int = 100_000
    """Edges of the source's graph that a step draws."""

    def __post_init__(self) -> None:
        check_ranges(self, width=(1, inf), layers=(1, inf), dropout=(0, MAX_DROPOUT), edge_drop=(0, 1))
        check_ranges(self, temperature=(1e-6, inf), attribute_share=(0, 1), rare_items=(0, inf))
        check_ranges(self, similarity_weight=(0, inf), intra_weight=(0, inf), inter_weight=(0, inf))
        check_ranges(self, negatives=(1, inf), sampled_edges=(1, inf), sampled_nodes=(2, inf))
        check_ranges(self, source_items=(1, inf), source_edges=(1, inf))


def info_nce(a_SD: Tensor, b_SD: Tensor, temperature: float, groups_S: Tensor | None = None) -> Tensor:
    """Mean cross-entropy of telling each row's partner from the other rows' by cosine / temperature, a scalar.

    groups_S: rows of one group are no negatives for each other. Zero where there are no rows.
    """
    if not len(a_SD):
        return a_SD.sum()
    own_S = torch.arange(len(a_SD), device=a_SD.device)
    a_SD, b_SD = (F.normalize(rows_SD.float(), dim=-1) for rows_SD in (a_SD, b_SD))
    return linear_cross_entropy(a_SD, b_SD, own_S, 1 / temperature, groups_T=groups_S)


def similarity_loss(vectors_VD: Tensor, ends_E2: Tensor, others_S: Tensor) -> Tensor:
    """Binary cross-entropy of the dot products of an edge's ends, and of its first end and other nodes, a scalar.

    Source: the neighbour-similarity loss L_N; either is a mean of its own here, so that they weigh the same.
    """
    first_ED, second_ED = vectors_VD[ends_E2[:, 0]], vectors_VD[ends_E2[:, 1]]
    near_E = (first_ED * second_ED).sum(-1)
    far_ES = (first_ED @ vectors_VD[others_S].T).float()
    return F.softplus(-near_E).mean() + F.softplus(far_ES).mean()


def drawn(rows: Tensor, n: int) -> Tensor:
    """At most ``n`` of the rows, at random and without repeats."""
    return rows[torch.randperm(len(rows), device=rows.device)[:n]]


class CCDR(Model):
    """Item vectors are aggregated over the target's network; a user vector is a linear map of the history's mean.

    L = softmax over next items + similarity of neighbours on both sides + InfoNCE inside the target and across.
    Target items, target attributes and source attributes have vectors of their own; users and source items are what
    their neighbours make of them.
    """

    owner_E: Tensor
    source_ends_E2: Tensor
    related_K3: Tensor

    def __init__(self, config: CCDRConfig, material: Material) -> None:
        super().__init__()
        self.config = config
        networks = build_networks(
            material, share=config.attribute_share, source_items=config.source_items, rare=config.rare_items
        )
        self.target, self.source = networks.target.sizes, networks.source.sizes
        self.item_table = nn.Embedding(material.n_items, config.width)
        self.attribute_table = nn.Embedding(networks.target.n_attributes, config.width)
        self.source_attribute_table = nn.Embedding(networks.source.n_attributes, config.width)
        self.to_user = nn.Linear(config.width, config.width)
        self.dropout = Dropout(config.dropout)
        self.apply(initialise)
        nn.init.eye_(self.to_user.weight)
        self.target_edges = Edges(torch.from_numpy(networks.target.ends_E2), self.target)
        for name, array in (
            ("owner_E", networks.target.owner_E),
            ("source_ends_E2", networks.source.ends_E2),
            ("related_K3", networks.related_K3),
        ):
            self.register_buffer(name, torch.from_numpy(array), persistent=False)

    def items(self) -> Tensor:
        return self._target_vectors(self.target_edges.graph()).split(self.target)[1]

    def users(self, batch: Batch, items_ND: Tensor) -> Tensor:
        x_BLD = self.dropout(F.embedding(batch.items_BL, items_ND))
        seen_BLL = visible(batch)[:, 0].to(x_BLD.dtype)
        mean_BLD = seen_BLL / seen_BLL.sum(-1, keepdim=True) @ x_BLD
        return self.to_user(mean_BLD.flatten(0, 1)[batch.at_T])

    def loss(self, batch: Batch) -> Tensor:
        config = self.config
        known_E = self._not_of(batch.sequences_T)
        one_E, two_E = self._view(known_E), self._view(known_E)
        source_ends_E2 = drawn(self.source_ends_E2, config.source_edges)
        one, two = self.target_edges.graph(one_E), self.target_edges.graph(two_E)
        source = Edges(source_ends_E2, self.source).graph()
        one_VD, source_VD = self._target_vectors(one), self._source_vectors(source)

        items_ND = one_VD.split(self.target)[1]
        recommendation = linear_cross_entropy(self.users(batch, items_ND), items_ND, batch.targets_T)
        similarity = self._similarity(one, one_VD, self.target_edges.ends_E2, torch.nonzero(one_E)[:, 0])
        every_E = torch.arange(len(source_ends_E2), device=source_ends_E2.device)
        similarity = similarity + self._similarity(source, source_VD, source_ends_E2, every_E)
        intra = self._between_views(one, one_VD, two)
        inter = self._between_sides(one, one_VD, source, source_VD)
        return (
            recommendation
            + config.similarity_weight * similarity
            + config.intra_weight * intra
            + config.inter_weight * inter
        )

    def _target_vectors(self, graph: Graph, nodes_S: Tensor | None = None) -> Tensor:
        items_ND = self.item_table.weight
        users_UD = items_ND.new_zeros(self.target[0], items_ND.shape[1])
        own_VD = torch.cat([users_UD, items_ND, self.attribute_table.weight])
        return graph.aggregate(own_VD, self.config.layers, nodes_S)

    def _source_vectors(self, graph: Graph) -> Tensor:
        attributes_AD = self.source_attribute_table.weight
        items_ND = attributes_AD.new_zeros(self.source[1], attributes_AD.shape[1])
        return graph.aggregate(torch.cat([items_ND, attributes_AD]), self.config.layers)

    def _not_of(self, users_T: Tensor) -> Tensor:
        """Which edges of the target are not of the users whose next items are asked, bool [E].

        What is asked would else be an edge of the graph that is to foretell it, and when ranking it is not.
        """
        asked = torch.zeros(self.target[0] + 1, dtype=torch.bool, device=users_T.device)  # the last place is nobody's
        asked[users_T] = True
        return ~asked[self.owner_E]

    def _view(self, known_E: Tensor) -> Tensor:
        """These edges less those that a view leaves out, bool [E]."""
        drawn_F = torch.rand(int(known_E.sum()), device=known_E.device)
        return known_E.masked_scatter(known_E, drawn_F >= self.config.edge_drop)

    def _similarity(self, graph: Graph, vectors_VD: Tensor, ends_E2: Tensor, among_F: Tensor) -> Tensor:
        """L_N on a sample of the edges that are listed; the other nodes are drawn by degree ** 0.75 (released code)."""
        if not len(among_F):
            return vectors_VD.sum() * 0
        others_S = torch.multinomial(graph.degrees_V.float() ** 0.75, self.config.negatives, replacement=True)
        sampled_S2 = ends_E2[drawn(among_F, self.config.sampled_edges)]
        return similarity_loss(vectors_VD, sampled_S2, others_S)

    def _between_views(self, one: Graph, one_VD: Tensor, two: Graph) -> Tensor:
        """Intra-domain: a user, or an item, in one view of the target against the same in another."""
        n_users, n_items, _ = self.target
        connected_V = (one.degrees_V > 0) & (two.degrees_V > 0)
        users_S = drawn(torch.nonzero(connected_V[:n_users])[:, 0], self.config.sampled_nodes)
        items_S = n_users + torch.nonzero(connected_V[n_users : n_users + n_items])[:, 0]
        items_S = drawn(items_S, self.config.sampled_nodes)
        sampled = (users_S, items_S)
        in_two = self._target_vectors(two, torch.cat(sampled)).split([len(nodes_S) for nodes_S in sampled])
        users, items = (
            info_nce(one_VD[nodes_S], two_SD, self.config.temperature)
            for nodes_S, two_SD in zip(sampled, in_two, strict=True)
        )
        return users + items

    def _between_sides(self, target: Graph, target_VD: Tensor, source: Graph, source_VD: Tensor) -> Tensor:
        """Inter-domain: an attribute seen from either side (taxonomy), and a target item against a source item that has
        a rare attribute of it (neighbour). Nodes without an edge at this step are left out."""
        config = self.config
        n_shared = self.source[2]
        _, items_ND, attributes_AD = target_VD.split(self.target)
        _, source_items_ND, source_attributes_AD = source_VD.split(self.source)
        _, source_degrees_N, source_degrees_A = source.degrees_V.split(self.source)
        degrees_A = target.degrees_V.split(self.target)[2]
        both_A = (degrees_A[:n_shared] > 0) & (source_degrees_A > 0)
        shared_S = drawn(torch.nonzero(both_A)[:, 0], config.sampled_nodes)
        taxonomy = info_nce(attributes_AD[shared_S], source_attributes_AD[shared_S], config.temperature)
        related_S3 = drawn(self.related_K3, config.sampled_nodes)
        item_S, source_item_S, attribute_S = related_S3[source_degrees_N[related_S3[:, 1]] > 0].unbind(1)
        neighbour = info_nce(items_ND[item_S], source_items_ND[source_item_S], config.temperature, attribute_S)
        return taxonomy + neighbour


METHODS = (
    Method(
        name="CCDR",
        family="id",
        role="paper",
        version=1,
        paper="Xie et al., KDD 2022, arXiv:2112.00999",
        config=CCDRConfig,
        build=CCDR,
        space={"dropout": (0.0, 0.2), "edge_drop": (0.2, 0.4)},
        needs=frozenset({"sources", "taxonomy"}),
        defaults={"learning_rate": 3e-3, "epochs": 80},
        note=(
            "our adaptation, as the paper's table describes none: no user is in both domains, so the user part of the "
            "inter-domain loss does not exist; attributes are the only link; a user vector is a linear map of the mean "
            "of the history's aggregated items, whatever their order; full softmax over next items stands beside the "
            "paper's losses (the released code has link losses only), and the graph of a step lacks the edges of the "
            "users it is asked about; users and source items have no vectors of their own; the source's graph is its "
            "most popular items that share an attribute with the target, a sample of its edges a step; mean "
            "aggregation instead of attention; at most 80 epochs"
        ),
    ),
)
