"""Which of many labels hold: binary cross-entropy of rows against all labels, without ever holding all logits.

The logits of a chunk of rows are made, turned into the loss and into gradients, and forgotten in the same pass, as in
`benchmark.softmax`.

Legend: T rows, C rows of a chunk, A labels, P pairs of a row and a label that holds of it, D width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.softmax import CHUNK_LOGITS, MIN_ROWS


class _LinearBinaryCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, h_TD: Tensor, labels_AD: Tensor, rows_P: Tensor, labels_P: Tensor, weights_T: Tensor | None
    ) -> Tensor:
        device = h_TD.device.type
        compute = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else h_TD.dtype
        h_TD_, labels_AD_ = h_TD.to(compute), labels_AD.to(compute)
        wanted = any(ctx.needs_input_grad)
        n_rows, n_labels = len(h_TD), len(labels_AD)
        d_h_TD = torch.empty_like(h_TD_)
        d_labels_AD = torch.zeros(labels_AD.shape, dtype=torch.float32, device=h_TD.device)
        loss_T = torch.empty(n_rows, dtype=torch.float32, device=h_TD.device)
        chunk = max(1, min(n_rows, max(MIN_ROWS, CHUNK_LOGITS // n_labels)))
        edges = torch.searchsorted(rows_P, torch.arange(0, n_rows + chunk, chunk, device=rows_P.device)).tolist()
        for number, begin in enumerate(range(0, n_rows, chunk)):
            rows, pairs = slice(begin, begin + chunk), slice(edges[number], edges[number + 1])
            held = (rows_P[pairs] - begin, labels_P[pairs])
            logits_CA = (h_TD_[rows] @ labels_AD_.T).float()
            loss_C = F.softplus(logits_CA).sum(1)
            loss_T[rows] = loss_C.index_add_(0, held[0], logits_CA[held], alpha=-1)
            if wanted:
                # d loss / d logits = probability - whether it holds
                error_CA = logits_CA.sigmoid_()
                error_CA[held] -= 1
                if weights_T is not None:
                    error_CA *= weights_T[rows, None]
                error_CA = error_CA.to(compute)
                d_h_TD[rows] = error_CA @ labels_AD_
                d_labels_AD += error_CA.T @ h_TD_[rows]
        ctx.save_for_backward(d_h_TD, d_labels_AD)
        ctx.dtypes = h_TD.dtype, labels_AD.dtype
        return loss_T.sum() if weights_T is None else (loss_T * weights_T).sum()

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        d_h_TD, d_labels_AD = ctx.saved_tensors
        (gradient,) = grad_outputs
        return d_h_TD.to(ctx.dtypes[0]) * gradient, d_labels_AD.to(ctx.dtypes[1]) * gradient, None, None, None


def linear_binary_cross_entropy(
    h_TD: Tensor, labels_AD: Tensor, rows_P: Tensor, labels_P: Tensor, weights_T: Tensor | None = None
) -> Tensor:
    """Binary cross-entropy of ``sigmoid(h @ labels.T)``, summed over labels and over rows, a scalar.

    Label ``labels_P[p]`` holds of row ``rows_P[p]``; all other pairs do not. Pairs are distinct and stand in the order
    of their rows. A row counts ``weights_T`` times, once without them. Equals the sum of
    ``F.binary_cross_entropy_with_logits`` on the [T, A] matrix, gradients included. Under autocast the products run in
    its dtype; probabilities are float32.
    """
    return _LinearBinaryCrossEntropy.apply(h_TD, labels_AD, rows_P, labels_P, weights_T)
