"""BERT4Rec as RecBole 1.0.1 trains it, which is what the paper's row rests on: it explains a printed number.

Source: the behaviour of the released library of that version. Legend: B rows, L tokens a row, T asked positions,
P tokens that are there, H hidden places.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from baselines.bert4rec import HidesItems
from benchmark.batches import PADDING, Batch, Windows, prefix_windows
from benchmark.domain import Sequences
from benchmark.layers import DROPOUT_SPACE, Sizes
from benchmark.method import Method
from benchmark.softmax import linear_cross_entropy

HIDDEN_SHARE = 0.2
ASKED_AT_MOST = 10
"""Of the hidden items of a row only the last so many are asked: the share, of a full row of 50."""


def draw_hidden(batch: Batch) -> tuple[Tensor, Batch]:
    """The flat places that are hidden, [H], and what of them is asked.

    The items of a row are hidden each by itself; the row's target, which would be the next, is passed over. What is
    hidden at position 0 is not asked, because the library pads its lists of places with zeros.
    """
    segment_BL, position_BL = batch.segments_BL.flatten(), batch.positions_BL.flatten()
    there_P = torch.nonzero(segment_BL != PADDING).flatten()
    hidden_H = there_P[torch.rand(len(there_P), device=there_P.device) < HIDDEN_SHARE]
    _, row_H, count = torch.unique_consecutive(segment_BL[hidden_H], return_inverse=True, return_counts=True)
    later_H = count.cumsum(0)[row_H] - 1 - torch.arange(len(hidden_H), device=hidden_H.device)
    at_T = hidden_H[(position_BL[hidden_H] > 0) & (later_H < ASKED_AT_MOST)]
    sequences_T = batch.sequences_T[segment_BL[at_T]]
    return hidden_H, replace(batch, at_T=at_T, targets_T=batch.items_BL.flatten()[at_T], sequences_T=sequences_T)


class RecBole1BERT4Rec(HidesItems):
    """Prefix rows, a fifth of their items hidden, no output layer, scores by the plain item table."""

    def windows(self, sequences: Sequences) -> Windows:
        return prefix_windows(sequences)

    def loss(self, batch: Batch) -> Tensor:
        hidden_H, asked = draw_hidden(batch)
        items_ND = self.items()
        if not len(asked.at_T):  # the library divides by zero here; only a batch of very few rows can come to it
            return 0.0 * items_ND.sum()
        return linear_cross_entropy(self.states(asked, hidden_H, items_ND), items_ND, asked.targets_T)


METHODS = (
    Method(
        name="BERT4Rec-recbole1",
        family="id",
        role="replica",
        version=1,
        paper="Sun et al., CIKM 2019, arXiv:1904.06690, as RecBole 1.0.1 trains it",
        config=Sizes,
        build=RecBole1BERT4Rec,
        space=DROPOUT_SPACE,
        note=(
            "as the printed row was made: prefix rows whose target is never used, so that nobody's last training item "
            "is seen and no row asks for what follows it; a fifth of the items hidden, not asked at the first "
            "position, so that most short rows teach nothing; dropout 0.5, patience 10. Unlike there, the mask behind "
            "a history of 50 items or more takes the place of its oldest"
        ),
    ),
)
