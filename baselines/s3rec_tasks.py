"""Parts of S3-Rec's self-supervised tasks, on packed rows: hiding tokens, drawing negatives, telling what was hidden.

Source: Zhou et al., CIKM 2020 (arXiv:2008.07873), section 4.2. Each task is a bound on mutual information with the
critic f(x, y) = sigmoid(y . (W x + b)).

Legend: B rows, L tokens a row, D width, T asked positions, M hidden ones, S windows of a batch, I items in a row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.batches import PADDING, Batch
from benchmark.layers import SequenceEncoder


def below(high: Tensor) -> Tensor:
    """Uniform random integers, each from 0 to one less than its ``high``."""
    return (torch.rand(high.shape, dtype=torch.float64, device=high.device) * high).long()


def others(items_M: Tensor, n: int) -> Tensor:
    """For each item another one of 0 to n - 1, all equally likely."""
    drawn_M = below(torch.full_like(items_M, n - 1))
    return drawn_M + (drawn_M >= items_M)


def contrast(critic: nn.Linear, x_MD: Tensor, own_MD: Tensor, other_MD: Tensor) -> Tensor:
    """-log sigmoid(f(x, own) - f(x, other)), the bound with one negative; losses [M]."""
    asked_MD = critic(x_MD).float()
    own_M, other_M = ((asked_MD * y_MD.float()).sum(-1).sigmoid() for y_MD in (own_MD, other_MD))
    return F.softplus(other_M - own_M)


class MaskedEncoder(nn.Module):
    """The sequence encoder, looking both ways, over items of which some are hidden behind a vector of their own."""

    def __init__(self, item_table: nn.Embedding, encoder: SequenceEncoder, mask: nn.Embedding) -> None:
        super().__init__()
        self.item_table, self.encoder, self.mask = item_table, encoder, mask

    def forward(self, batch: Batch, hidden_BL: Tensor) -> Tensor:
        """States at ``batch.at_T``, [T, D]."""
        x_BLD = torch.where(hidden_BL[..., None], self.mask.weight, self.item_table(batch.items_BL))
        return self.encoder(x_BLD, batch, causal=False)


def hide(batch: Batch, share: float) -> tuple[Tensor, Tensor]:
    """Which asked positions are hidden, bool [T], each with probability ``share``; and which tokens, bool [B, L]."""
    is_hidden_T = torch.rand(len(batch.at_T), device=batch.at_T.device) < share
    hidden_BL = torch.zeros_like(batch.items_BL, dtype=torch.bool)
    hidden_BL.view(-1)[batch.at_T[is_hidden_T]] = True
    return is_hidden_T, hidden_BL


@dataclass(frozen=True, eq=False)
class Stretches:
    """A stretch of tokens of each window of a batch, windows in the order of their segments. All int64 [S]."""

    first: Tensor
    """Flat index (b * L + l) of the window's first token."""
    last: Tensor
    """Flat index of its last token."""
    begin: Tensor
    """Flat index of the stretch's first token."""
    length: Tensor
    """Tokens of the stretch."""

    def behind(self, batch: Batch) -> Tensor:
        """How many tokens behind the begin of its window's stretch a token stands, -1 outside of it, int64 [B, L]."""
        segments_BL = batch.segments_BL.clamp(min=0)
        flat_BL = torch.arange(segments_BL.numel(), device=segments_BL.device).view_as(segments_BL)
        behind_BL = flat_BL - self.begin[segments_BL]
        is_inside_BL = (behind_BL >= 0) & (behind_BL < self.length[segments_BL]) & (batch.segments_BL != PADDING)
        return behind_BL.masked_fill(~is_inside_BL, -1)


def draw_stretches(batch: Batch) -> Stretches:
    """For each window a length up to half of it and a begin, both uniform; a window of one token is its own stretch."""
    last_S = batch.at_T[last_of_windows(batch)]
    tokens_S = batch.positions_BL.flatten()[last_S] + 1
    first_S = last_S - tokens_S + 1
    length_S = 1 + below(tokens_S // 2)
    return Stretches(first_S, last_S, first_S + below(tokens_S - length_S + 1), length_S)


def last_of_windows(batch: Batch) -> Tensor:
    """Which asked positions are the last token of their window, bool [T]; that token is always asked."""
    segment_T = batch.segments_BL.flatten()[batch.at_T]
    return torch.cat([segment_T[1:] != segment_T[:-1], segment_T.new_ones(1, dtype=torch.bool)])


def elsewhere(batch: Batch, stretches: Stretches) -> tuple[Tensor, Tensor]:
    """A stretch of another sequence as long as each window's: its flat begin, int64 [S], and whether there is one.

    Among the windows of other sequences that are long enough all are equally likely, and within one all begins.
    """
    sequence_S = batch.sequences_T[last_of_windows(batch)]
    tokens_S = stretches.last - stretches.first + 1
    fits_SS = (sequence_S[:, None] != sequence_S) & (stretches.length[:, None] <= tokens_S)
    chance_S, other_S = torch.rand(fits_SS.shape, device=fits_SS.device).masked_fill_(~fits_SS, -1).max(1)
    begin_S = stretches.first[other_S] + below(tokens_S[other_S] - stretches.length + 1)
    return torch.where(chance_S >= 0, begin_S, stretches.begin), chance_S >= 0


def segment_task(
    critic: nn.Linear, encode: MaskedEncoder, batch: Batch, stretches: Stretches, items_I: Tensor, begin_S: Tensor
) -> Tensor:
    """What is left of each window against the stretch taken out of it, and against another; losses [S].

    All three are encoded in the window's own places, with masks where they have nothing, and each is the state at the
    window's last token. The other stretch is the items of ``items_I`` from ``begin_S`` on. Nothing is left out of a
    window that is one token.
    """
    behind_BL, segments_BL = stretches.behind(batch), batch.segments_BL.clamp(min=0)
    inside_BL = behind_BL >= 0
    left_out_BL = inside_BL & (stretches.last > stretches.first)[segments_BL]
    from_BL = torch.where(inside_BL, begin_S[segments_BL] + behind_BL, 0)
    other_BL = torch.where(inside_BL, items_I[from_BL], batch.items_BL)
    views = replace(
        batch,
        items_BL=torch.cat([batch.items_BL, batch.items_BL, other_BL]),
        positions_BL=batch.positions_BL.repeat(3, 1),
        segments_BL=batch.segments_BL.repeat(3, 1),
        at_T=torch.cat([stretches.last + view * inside_BL.numel() for view in range(3)]),
    )
    left_SD, own_SD, other_SD = encode(views, torch.cat([left_out_BL, ~inside_BL, ~inside_BL])).chunk(3)
    return contrast(critic, left_SD, own_SD, other_SD)
