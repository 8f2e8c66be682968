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
    left out. The gate sees x without dropout. Without ``whitening`` the experts are plain linear maps x_i W_k: no b_k.
    """

    def __init__(
        self, text_width: int, width: int, experts: int, dropout: float, noise_floor: float, whitening: bool = True
    ) -> None:
        super().__init__()
        self.bias_FE = nn.Parameter(torch.zeros(text_width, experts)) if whitening else None
        self.weight_FED = nn.Parameter(torch.randn(text_width, experts, width) * INITIAL_STD)
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
        _, experts, width = self.weight_FED.shape
        gates_NE = self.gates(x_NF)
        # (x - b) W = x W - b W: one product over items and experts for the first term, one row an expert for the second
        if self.training and self.dropout.threshold:
            x_NEF = self.dropout(x_NF[:, None].expand(-1, experts, -1))
            whitened_NED = torch.einsum("nef,fed->ned", x_NEF, self.weight_FED)
        else:
            whitened_NED = (x_NF @ self.weight_FED.flatten(1)).view(-1, experts, width)
        mixed_ND = (gates_NE[:, None].to(whitened_NED.dtype) @ whitened_NED)[:, 0]
        if self.bias_FE is None:
            return mixed_ND
        shift_ED = torch.einsum("fe,fed->ed", self.bias_FE, self.weight_FED)
        return mixed_ND - gates_NE.to(shift_ED.dtype) @ shift_ED
