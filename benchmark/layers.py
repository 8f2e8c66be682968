"""The Transformer that the sequential models share, over packed rows.

Source: SASRec (arXiv:1808.09781) as RecBole configures it, which is what UniSRec builds on: learned positions,
post-layer-norm blocks, GELU, dropout on hidden states and attention weights.

Legend: B rows, L tokens a row, D width, H heads, K width of a head, T asked positions, N items.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.batches import MAX_LENGTH, Batch
from benchmark.method import check_ranges

INITIAL_STD = 0.02
"""Standard deviation of initial weights (RecBole's ``initializer_range``)."""
EPSILON = 1e-12
"""Layer norm's epsilon (RecBole's ``layer_norm_eps``)."""


DROPOUT_SPACE: Mapping[str, tuple[float, ...]] = {"dropout": (0.2, 0.5)}
"""What tuning tries of the dropout on hidden states, unless a method declares a space of its own: both are common."""


class _Drop(torch.autograd.Function):
    """Dropout from raw random bits: one byte an element, far cheaper than a Bernoulli draw each."""

    @staticmethod
    def forward(ctx, x: Tensor, threshold: int) -> Tensor:
        bits = torch.empty(-(-x.numel() // 8), dtype=torch.int64, device=x.device).random_(-(2**63), None)
        # compared straight into numbers: a mask of booleans in between takes four times as long
        scale_by = torch.empty_like(x)
        torch.ge(bits.view(torch.uint8)[: x.numel()].view(x.shape), threshold, out=scale_by)
        scale_by.mul_(256 / (256 - threshold))
        ctx.save_for_backward(scale_by)
        return x * scale_by

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (scale_by,) = ctx.saved_tensors
        return grad_outputs[0] * scale_by, None


class Dropout(nn.Module):
    """Inverted dropout. The probability is rounded to a multiple of 1/256 (0.5 is exact, 0.2 becomes 0.199)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.threshold = round(p * 256)
        if not 0 <= self.threshold < 256:
            raise ValueError(f"dropout probability {p} is not in [0, 1)")

    def forward(self, x: Tensor) -> Tensor:
        return _Drop.apply(x, self.threshold) if self.training and self.threshold else x

    def extra_repr(self) -> str:
        return f"p={self.threshold / 256:g}"


MAX_DROPOUT = 255 / 256 - 1 / 512
"""Beyond it nothing would be kept."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of the Transformer; the defaults are UniSRec's, which its baselines share."""

    width: int = 300
    """Width of item vectors and hidden states."""
    layers: int = 2
    heads: int = 2
    inner: int = 256
    """Width inside the feed-forward layers."""
    dropout: float = 0.5
    attention_dropout: float = 0.5

    def __post_init__(self) -> None:
        check_ranges(self, width=(1, inf), layers=(1, inf), heads=(1, inf), inner=(1, inf))
        check_ranges(self, dropout=(0, MAX_DROPOUT), attention_dropout=(0, MAX_DROPOUT))
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not divisible by {self.heads} heads")


def visible(batch: Batch, *, causal: bool = True) -> Tensor:
    """Who may look at whom, bool [B, 1, L, L]: inside a history, and for a causal model only backwards."""
    same_BLL = batch.segments_BL[:, :, None] == batch.segments_BL[:, None, :]
    if causal:
        length = same_BLL.shape[-1]
        same_BLL &= torch.ones(length, length, dtype=torch.bool, device=same_BLL.device).tril()
    return same_BLL[:, None]


class SelfAttention(nn.Module):
    """Multi-head self-attention with dropout on its weights; returns the mixed values before residual and norm."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        # three products rather than one of thrice the width: as fast, and nothing to cut apart and join again
        self.query, self.key, self.value = (nn.Linear(sizes.width, sizes.width) for _ in range(3))
        self.dropout = Dropout(sizes.attention_dropout)

    def forward(self, x_BLD: Tensor, visible_B1LL: Tensor) -> Tensor:
        b, length, width = x_BLD.shape
        q_BHLK, k_BHLK, v_BHLK = (
            project(x_BLD).view(b, length, self.heads, -1).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        scores_BHLL = q_BHLK @ k_BHLK.transpose(-1, -2) / math.sqrt(width // self.heads)
        weights_BHLL = scores_BHLL.masked_fill_(~visible_B1LL, -torch.inf).softmax(-1)
        mixed_BHLK = self.dropout(weights_BHLL).to(v_BHLK.dtype) @ v_BHLK
        return mixed_BHLK.transpose(1, 2).reshape(b, length, width)


class Block(nn.Module):
    """Attention and feed-forward, each followed by dropout, residual and layer norm (post-norm)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width = sizes.width
        self.attention = SelfAttention(sizes)
        self.project = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps=EPSILON)
        self.expand = nn.Linear(width, sizes.inner)
        self.contract = nn.Linear(sizes.inner, width)
        self.feed_forward_norm = nn.LayerNorm(width, eps=EPSILON)
        self.dropout = Dropout(sizes.dropout)

    def forward(self, x_BLD: Tensor, visible_B1LL: Tensor, at_T: Tensor | None = None) -> Tensor:
        """States of all positions [B, L, D], or of the asked ones only [T, D]."""
        mixed, residual = self.attention(x_BLD, visible_B1LL), x_BLD
        if at_T is not None:
            mixed, residual = mixed.flatten(0, 1)[at_T], residual.flatten(0, 1)[at_T]
        x = self.attention_norm(residual + self.dropout(self.project(mixed)))
        return self.feed_forward_norm(x + self.dropout(self.contract(F.gelu(self.expand(x)))))


class SequenceEncoder(nn.Module):
    """Positions, input norm and a stack of blocks: from item vectors to the state at each asked position."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.positions = nn.Embedding(MAX_LENGTH, sizes.width)
        self.input_norm = nn.LayerNorm(sizes.width, eps=EPSILON)
        self.dropout = Dropout(sizes.dropout)
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.layers))

    def forward(self, x_BLD: Tensor, batch: Batch, *, causal: bool = True) -> Tensor:
        """Sequence vectors s at ``batch.at_T``, [T, D]."""
        x_BLD = self.dropout(self.input_norm(x_BLD + self.positions(batch.positions_BL)))
        mask = visible(batch, causal=causal)
        *first, last = self.blocks
        for block in first:
            x_BLD = block(x_BLD, mask)
        return last(x_BLD, mask, batch.at_T)


def initialise(module: nn.Module) -> None:
    """Normal weights of `INITIAL_STD`, zero biases, identity layer norms; use with ``model.apply``.

    Call it before frozen tables (item texts) are attached: a table drawn over is a table lost.
    """
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=INITIAL_STD)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
