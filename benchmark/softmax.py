"""Cross-entropy over a whole catalogue without ever holding all its logits.

The logits of a chunk of rows are made, turned into the loss and into gradients, and forgotten in the same pass:
memory is bounded by the chunk, and the matrix is read twice instead of four times.

Legend: T asked positions, C rows of a chunk, N items, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK_LOGITS = 2_000_000
"""Logits held at a time: small enough to stay in a processor's cache, large enough for full matrix speed."""
MIN_ROWS = 64
"""Rows of a chunk at the least, whatever the catalogue: with fewer, the gradient of a large one is read and written
more than it is computed. That many logits an item take no more memory than the item's vector and its gradient."""


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx,
        h_TD: Tensor,
        items_ND: Tensor,
        targets_T: Tensor,
        scale: float,
        groups_T: Tensor | None,
        groups_N: Tensor | None,
        fill: float,
    ) -> Tensor:
        device = h_TD.device.type
        compute = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else h_TD.dtype
        h_TD_, items_ND_ = (h_TD * scale).to(compute), items_ND.to(compute)
        wanted = any(ctx.needs_input_grad)
        n_rows, n_items = len(h_TD), len(items_ND)
        d_h_TD = torch.empty_like(h_TD_)
        d_items_ND = torch.zeros(items_ND.shape, dtype=torch.float32, device=h_TD.device)
        chosen_T = torch.empty(n_rows, dtype=torch.float32, device=h_TD.device)
        # one place for the product of every chunk: large memory freshly mapped costs more than filling it
        step_ND = torch.empty_like(items_ND_)
        chunk = max(1, min(n_rows, max(MIN_ROWS, CHUNK_LOGITS // n_items)))
        for begin in range(0, n_rows, chunk):
            h_CD, targets_C1 = h_TD_[begin : begin + chunk], targets_T[begin : begin + chunk, None]
            logits_CN = h_CD @ items_ND_.T
            left_out_CN = None
            if groups_T is not None:
                left_out_CN = groups_T[begin : begin + chunk, None] == groups_N
                left_out_CN.scatter_(1, targets_C1, False)
                logits_CN.masked_fill_(left_out_CN, fill)
            # the library's softmax is one pass in float32 inside, whatever goes in and comes out
            error_CN = logits_CN.softmax(1).to(compute)
            chosen_C1 = error_CN.gather(1, targets_C1)
            chosen_T[begin : begin + chunk] = chosen_C1[:, 0]
            if wanted:
                # d loss / d logits = softmax - one-hot, and nothing where a constant stands for a logit
                if left_out_CN is not None:
                    error_CN.masked_fill_(left_out_CN, 0)
                error_CN.scatter_(1, targets_C1, chosen_C1 - 1)
                d_h_TD[begin : begin + chunk] = error_CN @ items_ND_
                d_items_ND += torch.mm(error_CN.T, h_CD, out=step_ND)
        loss = -chosen_T.clamp_min_(torch.finfo(torch.float32).tiny).log_().mean()
        ctx.save_for_backward(d_h_TD, d_items_ND)
        ctx.factors = scale / n_rows, 1 / n_rows
        ctx.dtypes = h_TD.dtype, items_ND.dtype
        return loss

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None, None, None, None, None]:
        d_h_TD, d_items_ND = ctx.saved_tensors
        (gradient,), (by_h, by_items) = grad_outputs, ctx.factors
        d_h_TD = d_h_TD.to(ctx.dtypes[0]) * (gradient * by_h)
        return d_h_TD, d_items_ND.to(ctx.dtypes[1]) * (gradient * by_items), None, None, None, None, None


def linear_cross_entropy(
    h_TD: Tensor,
    items_ND: Tensor,
    targets_T: Tensor,
    scale: float = 1.0,
    *,
    groups_T: Tensor | None = None,
    groups_N: Tensor | None = None,
    fill: float = -torch.inf,
) -> Tensor:
    """Mean cross-entropy of ``softmax(scale * h @ items.T)`` against ``targets``, a scalar.

    Equals ``F.cross_entropy(scale * h_TD @ items_ND.T, targets_T)``, gradients included; a row's loss is shown as 87.3
    where its probability is below the smallest float32. Under autocast the products run in its dtype, and
    probabilities are computed in float32 and rounded to it.

    groups_T, groups_N: for in-batch negatives, a label of each row and of each item; without the latter, N = T and
    item t has the label of row t. Items with a row's own label, other than its target, are no negatives for it. Their
    logit becomes ``fill``: minus infinity leaves them out.
    """
    groups_N = groups_T if groups_N is None else groups_N
    return _LinearCrossEntropy.apply(h_TD, items_ND, targets_T, scale, groups_T, groups_N, fill)
