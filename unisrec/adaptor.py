"""Parametric whitening and the mixture of experts that turn a text vector into an item vector.

Source: UniSRec (arXiv:2206.05941), equations 2 to 5. Legend: N items, F text width, E experts, D item width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.layers import INITIAL_STD, Dropout


class Adaptor(nn.Module):
    """v_i = sum_k g_ik (x_i - b_k) W_k with g_i = softmax(x_i W_g + delta_i).

    delta_i = Norm() * softplus(x_i W_n) is drawn while training and zero in evaluation. All experts are mixed: none is
    left out. The gate sees x without dropout.
    """

    def __init__(self, text_width: int, width: int, experts: int, dropout: float, noise_floor: float) -> None:
        super().__init__()
        self.bias_EF = nn.Parameter(torch.zeros(experts, text_width))
        self.weight_EFD = nn.Parameter(torch.randn(experts, text_width, width) * INITIAL_STD)
        self.gate_FE = nn.Parameter(torch.zeros(text_width, experts))
        self.noise_FE = nn.Parameter(torch.zeros(text_width, experts))
        self.dropout = Dropout(dropout)
        self.noise_floor = noise_floor

    def gates(self, x_NF: Tensor) -> Tensor:
        """Weights of the experts, [N, E], each row summing to one."""
        logits_NE = (x_NF @ self.gate_FE).float()
        if self.training:
            scale_NE = F.softplus((x_NF @ self.noise_FE).float()) + self.noise_floor
            logits_NE = logits_NE + torch.randn_like(logits_NE) * scale_NE
        return logits_NE.softmax(-1)

    def forward(self, x_NF: Tensor) -> Tensor:
        """Item vectors [N, D] of text vectors [N, F]."""
        experts = len(self.bias_EF)
        x_ENF = self.dropout(x_NF.expand(experts, -1, -1))
        # (x - b) W = x W - b W: one grouped product over the items, one row a expert for the bias
        shift_E1D = self.bias_EF[:, None] @ self.weight_EFD
        whitened_END = x_ENF @ self.weight_EFD - shift_E1D
        return (self.gates(x_NF).T[:, :, None].to(whitened_END.dtype) * whitened_END).sum(0)
