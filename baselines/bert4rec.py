"""BERT4Rec: items hidden in a sequence and guessed from both sides.

Source: Sun et al., CIKM 2019 (arXiv:1904.06690). Hidden items are always behind the mask vector, as in the authors'
code, never behind another item; width and depth are those that the suite's baselines share.
Legend: B rows, L tokens a row, T asked positions, H hidden places, W windows of a batch, N items, D width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.batches import PADDING, Batch, Windows, whole_windows
from benchmark.domain import Sequences
from benchmark.layers import DROPOUT_SPACE, EPSILON, INITIAL_STD, SequenceEncoder, Sizes, initialise
from benchmark.method import Budget, Material, Method, Model, check_ranges
from benchmark.softmax import linear_cross_entropy


@dataclass(frozen=True, kw_only=True)
class BERT4RecConfig(Sizes):
    attention_dropout: float = 0.1
    """Less than elsewhere: all that a mask knows comes by attention."""
    hidden_share: float = 0.3
    """Probability of an item to be hidden: in sequences of about five, one or two, with enough left to guess from."""
    last_share: float = 0.5
    """Share of the sequences that end at a random place, whose item is hidden and no other: what a ranking asks.

    Always the true last item would be asked again and again with the same history before it, and learned by heart.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, hidden_share=(0, 1), last_share=(0, 1))


def hide(batch: Batch, hidden_share: float, last_share: float) -> Batch:
    """The batch asked at the places that are hidden, at least one of every window.

    Each place is hidden by itself with probability ``hidden_share``, and where that gives none, one of them. A share of
    the windows ends at a random place instead, which alone is hidden: what a ranking asks, at any length. What follows
    it is made padding.
    """
    device = batch.at_T.device
    segment_BL = batch.segments_BL.flatten()
    window_T = segment_BL[batch.at_T]
    asked_W = torch.bincount(window_T)  # asked positions come window by window
    after_W = asked_W.cumsum(0)
    draw_T = torch.rand(len(window_T), device=device)
    lowest_W = torch.full(asked_W.shape, inf, device=device).scatter_reduce(0, window_T, draw_T, "amin")
    anywhere_T = (draw_T < hidden_share) | (draw_T == lowest_W[window_T])
    ends_early_W = torch.rand(len(asked_W), device=device) < last_share
    # no window ends at its first item, from which nothing could be told, unless it has no other
    end_W = after_W - 1 - (torch.rand(len(asked_W), device=device) * (asked_W - 1).clamp(min=1)).long()
    place_T = torch.arange(len(window_T), device=device)
    ends_early_T, end_T = ends_early_W[window_T], end_W[window_T]
    hidden_T = torch.where(ends_early_T, place_T == end_T, anywhere_T)
    gone_T = batch.at_T[ends_early_T & (place_T > end_T)]
    return replace(
        batch,
        segments_BL=segment_BL.index_fill(0, gone_T, PADDING).view_as(batch.segments_BL),
        at_T=batch.at_T[hidden_T],
        targets_T=batch.targets_T[hidden_T],
        sequences_T=batch.sequences_T[hidden_T],
    )


def from_the_end(batch: Batch) -> Batch:
    """The batch with positions that count back from the last token of each segment, which stands at 0.

    So do implementations that pad at the left. Counted from the front, a mask behind a history would have to learn for
    every length anew where the latest item stands.
    """
    segment_BL = batch.segments_BL
    there_BL = segment_BL != PADDING
    last_W = torch.zeros(int(segment_BL.max()) + 1, dtype=torch.long, device=segment_BL.device)
    last_W = last_W.scatter_reduce(0, segment_BL[there_BL], batch.positions_BL[there_BL], "amax")
    back_BL = last_W[segment_BL.clamp(min=0)] - batch.positions_BL
    return replace(batch, positions_BL=torch.where(there_BL, back_BL, 0))


class HidesItems(Model):
    """s = Transformer(e_i + p, or m + p where the item is hidden), looking both ways; what is asked is hidden.

    e: item table; m: the mask vector; p: positions. The score of an item is its dot product with s.
    """

    room = 1

    def __init__(self, sizes: Sizes, material: Material) -> None:
        super().__init__()
        self.item_table = nn.Embedding(material.n_items, sizes.width)
        self.mask_D = nn.Parameter(torch.empty(sizes.width))
        self.encoder = SequenceEncoder(sizes)
        self.apply(initialise)
        nn.init.normal_(self.mask_D, std=INITIAL_STD)

    def items(self) -> Tensor:
        return self.item_table.weight

    def states(self, batch: Batch, hidden_H: Tensor, items_ND: Tensor) -> Tensor:
        """Transformer states at the asked positions, [T, D], where the items at flat places ``hidden_H`` are hidden."""
        x_BLD = F.embedding(batch.items_BL, items_ND)
        hidden_x_BLD = x_BLD.flatten(0, 1).index_put((hidden_H,), self.mask_D).view_as(x_BLD)
        return self.encoder(hidden_x_BLD, batch, causal=False)

    def users(self, batch: Batch, items_ND: Tensor) -> Tensor:
        return self.states(batch, batch.at_T, items_ND)


class BERT4Rec(HidesItems):
    """Cloze over whole sequences: softmax(GELU(s W + b) E^T + b_N) at the hidden places only (equation 7).

    As in the authors' code a layer norm follows the GELU. E is the table that the encoder reads; positions count back
    from the end.
    """

    def __init__(self, config: BERT4RecConfig, material: Material) -> None:
        super().__init__(config, material)
        self.hidden_share, self.last_share = config.hidden_share, config.last_share
        self.project = nn.Linear(config.width, config.width)
        self.output_norm = nn.LayerNorm(config.width, eps=EPSILON)
        self.bias_N = nn.Parameter(torch.zeros(material.n_items))
        self.project.apply(initialise)

    def windows(self, sequences: Sequences) -> Windows:
        return whole_windows(sequences)

    def candidates(self, items_ND: Tensor) -> Tensor:
        """Item vectors, and the bias as one more coordinate."""
        return torch.cat([items_ND, self.bias_N[:, None]], dim=1)

    def states(self, batch: Batch, hidden_H: Tensor, items_ND: Tensor) -> Tensor:
        return super().states(from_the_end(batch), hidden_H, items_ND)

    def users(self, batch: Batch, items_ND: Tensor) -> Tensor:
        h_TD = self.output_norm(F.gelu(self.project(super().users(batch, items_ND))))
        return F.pad(h_TD, (0, 1), value=1.0)

    def loss(self, batch: Batch) -> Tensor:
        asked = hide(batch, self.hidden_share, self.last_share)
        items_ND = self.items()
        return linear_cross_entropy(self.users(asked, items_ND), self.candidates(items_ND), asked.targets_T)


METHODS = (
    Method(
        name="BERT4Rec",
        family="id",
        role="paper",
        version=1,
        paper="Sun et al., CIKM 2019, arXiv:1904.06690",
        config=BERT4RecConfig,
        build=BERT4Rec,
        space={**DROPOUT_SPACE, "hidden_share": (0.2, 0.3, 0.5)},
        defaults={"epochs": 150, "patience": 50},
        note=(
            "whole training sequences; a share of 0.3 of their items hidden, or, in half of the sequences, the last "
            "one of a random beginning alone; positions counted from the end; output layer, layer norm and item bias "
            "as in the authors' code; our sizes, attention dropout 0.1. At most 150 epochs, which on Scientific is "
            "3,150 steps, with patience 50: the authors' budget is far longer (`literature`)"
        ),
        budgets={"literature": Budget(training={"epochs": 10_000, "patience": 500})},
    ),
)
