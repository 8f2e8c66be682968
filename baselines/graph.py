"""Mean aggregation over graphs whose nodes are of several kinds, as products with a sparse matrix.

A step of training sees other edges than the one before: `Edges` holds what they have in common, `Graph` one such view.

Legend: E edges, P pairs (an edge is two, one a direction), V nodes, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _weighted_sums(x_VD: Tensor, neighbours_P: Tensor, offsets: Tensor, weights_P: Tensor) -> Tensor:
    """Row v is the weighted sum of the rows that ``neighbours_P[offsets[v] : offsets[v + 1]]`` names; under autocast it
    is made in its type.

    An embedding bag does this at the speed of memory; products with torch's own sparse matrices took twice the time and
    know no bfloat16, which halves it once more.
    """
    device = x_VD.device.type
    compute = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x_VD.dtype
    sums = F.embedding_bag(
        neighbours_P,
        x_VD.to(compute),
        offsets,
        mode="sum",
        per_sample_weights=weights_P.to(compute),
        include_last_offset=True,
    )
    return sums.to(x_VD.dtype)


class _Average(torch.autograd.Function):
    """The gradient is a sum over the same pairs, each with the weight of its reverse."""

    @staticmethod
    def forward(ctx, x_VD: Tensor, graph: Graph) -> Tensor:
        ctx.graph = graph
        ctx.autocast = torch.is_autocast_enabled(x_VD.device.type)
        return _weighted_sums(x_VD, graph.neighbours_P, graph.offsets, graph.weights_P)

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (d_VD,), graph = grad_outputs, ctx.graph
        with torch.autocast(d_VD.device.type, enabled=ctx.autocast):
            return _weighted_sums(d_VD, graph.neighbours_P, graph.offsets, graph.reverse_weights_P), None


class _AverageOfSome(torch.autograd.Function):
    """Rows of the average. Both ways only the pairs of these nodes are read."""

    @staticmethod
    def forward(ctx, x_VD: Tensor, graph: Graph, nodes_S: Tensor) -> Tensor:
        ctx.graph, ctx.nodes_S = graph, nodes_S
        ctx.autocast = torch.is_autocast_enabled(x_VD.device.type)
        begins_S, degrees_S = graph.offsets[nodes_S], graph.degrees_V[nodes_S]
        offsets = F.pad(degrees_S.cumsum(0), (1, 0))
        at_Q = torch.arange(int(offsets[-1]), device=x_VD.device) + (begins_S - offsets[:-1]).repeat_interleave(
            degrees_S
        )
        return _weighted_sums(x_VD, graph.neighbours_P[at_Q], offsets, graph.weights_P[at_Q])

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        (d_SD,), graph, nodes_S = grad_outputs, ctx.graph, ctx.nodes_S
        n_nodes = len(graph.offsets) - 1
        place_V = torch.full((n_nodes,), -1, device=d_SD.device)
        place_V[nodes_S] = torch.arange(len(nodes_S), device=d_SD.device)
        place_P = place_V[graph.neighbours_P]
        at_Q = torch.nonzero(place_P >= 0)[:, 0]
        with torch.autocast(d_SD.device.type, enabled=ctx.autocast):
            d_VD = _weighted_sums(
                d_SD, place_P[at_Q], torch.searchsorted(at_Q, graph.offsets), graph.reverse_weights_P[at_Q]
            )
        return d_VD, None, None


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """Pairs (node, neighbour), sorted by node; a pair's weight is one over the node's neighbours of that kind."""

    offsets: Tensor
    """Int64 [V + 1]: where the pairs of each node begin."""
    neighbours_P: Tensor
    weights_P: Tensor
    reverse_weights_P: Tensor
    """The weight of the same edge in the other direction."""

    @property
    def degrees_V(self) -> Tensor:
        """How many neighbours each node has."""
        return self.offsets.diff()

    def average(self, x_VD: Tensor, nodes_S: Tensor | None = None) -> Tensor:
        """The mean of each node's neighbours of one kind, added up over kinds, [V, D]; zero for a node without any.

        nodes_S: of these nodes alone, each named once, [S, D].
        """
        return _Average.apply(x_VD, self) if nodes_S is None else _AverageOfSome.apply(x_VD, self, nodes_S)

    def aggregate(self, x_VD: Tensor, layers: int, nodes_S: Tensor | None = None) -> Tensor:
        """The mean of each node's own vector and of what one to ``layers`` averages in a row give it, [V, D].

        nodes_S: of these nodes alone, each named once, [S, D].
        """
        total_VD = x_VD
        for _ in range(layers - 1):
            x_VD = self.average(x_VD)
            total_VD = total_VD + x_VD
        total = total_VD if nodes_S is None else total_VD[nodes_S]
        return (total + self.average(x_VD, nodes_S)) / (layers + 1)


class Edges(nn.Module):
    """Undirected edges, an edge given twice counting twice. Both directions of all are sorted once, for sorting takes a
    third as long as aggregating."""

    ends_E2: Tensor
    edges_P: Tensor
    neighbours_P: Tensor
    groups_P: Tensor
    """A number for each node and kind of neighbour."""
    reverse_groups_P: Tensor
    """The same of the other direction of the edge."""

    def __init__(self, ends_E2: Tensor, sizes: tuple[int, ...]) -> None:
        """ends_E2: int64. sizes: nodes of each kind; nodes are numbered kind by kind."""
        super().__init__()
        self.sizes = sizes
        one_E, other_E = ends_E2.unbind(1)
        nodes_P, order_P = torch.cat([one_E, other_E]).int().sort(stable=True)  # half the digits, half the time
        nodes_P, neighbours_P = nodes_P.long(), torch.cat([other_E, one_E])[order_P]
        ends_of_kinds = torch.tensor(list(accumulate(sizes)), device=ends_E2.device)
        kinds_of_nodes_P, kinds_P = (
            torch.bucketize(ends_P, ends_of_kinds, right=True) for ends_P in (nodes_P, neighbours_P)
        )
        for name, buffer in (
            ("ends_E2", ends_E2),
            ("edges_P", order_P % max(1, len(ends_E2))),
            ("neighbours_P", neighbours_P),
            ("groups_P", nodes_P * len(sizes) + kinds_P),
            ("reverse_groups_P", neighbours_P * len(sizes) + kinds_of_nodes_P),
        ):
            self.register_buffer(name, buffer, persistent=False)

    def graph(self, kept_E: Tensor | None = None) -> Graph:
        """The graph of the edges that are marked, or of all."""
        neighbours_P, groups_P, reverse_groups_P = self.neighbours_P, self.groups_P, self.reverse_groups_P
        if kept_E is not None:
            at_Q = torch.nonzero(kept_E[self.edges_P])[:, 0]
            neighbours_P, groups_P, reverse_groups_P = (
                pairs_P[at_Q] for pairs_P in (neighbours_P, groups_P, reverse_groups_P)
            )
        counts = torch.bincount(groups_P, minlength=sum(self.sizes) * len(self.sizes))
        degrees_V = counts.view(-1, len(self.sizes)).sum(1)
        return Graph(
            offsets=F.pad(degrees_V.cumsum(0), (1, 0)),
            neighbours_P=neighbours_P,
            weights_P=1 / counts[groups_P].float(),
            reverse_weights_P=1 / counts[reverse_groups_P].float(),
        )
