"""UniSRec on one target: text vectors through the adaptor, a Transformer over them, cosine against every item.

Source: Hou et al., KDD 2022 (arXiv:2206.05941), section 2; sizes and frozen parts from the released configuration.
Legend: B rows, L tokens a row, T asked positions, N items, F text width, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.batches import Batch
from benchmark.errors import InputError
from benchmark.layers import MAX_DROPOUT, SequenceEncoder, Sizes, initialise
from benchmark.method import Material, Model, added_later, check_ranges, take
from benchmark.softmax import linear_cross_entropy
from unisrec.adaptor import Adaptor


@dataclass(frozen=True, kw_only=True)
class TextEncoderConfig(Sizes):
    """Sizes that pre-training and fine-tuning share.

    Where paper and released code differ, the default is the paper's formula; the released value stands beside it.
    """

    experts: int = 8
    adaptor_dropout: float = 0.0
    """Dropout on text vectors before whitening; released: 0.2, not in the paper's equation 2."""
    gate_noise_floor: float = 0.0
    """Added to the gate noise's scale; released: 0.01, not in equation 5."""
    temperature: float = 0.07
    whitening: bool = added_later(True)
    """Subtract a learned bias from text vectors before each expert (equation 2); without, experts are linear maps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, experts=(1, inf), adaptor_dropout=(0, MAX_DROPOUT), gate_noise_floor=(0, inf))
        check_ranges(self, temperature=(1e-6, inf))


@dataclass(frozen=True, kw_only=True)
class UniSRecConfig(TextEncoderConfig):
    freeze: bool = True
    """After pre-training, keep position embeddings and Transformer blocks as they are (section 2.4); the adaptor and
    the input layer norm are trained in any case. Without pre-training nothing is frozen."""


class TextEncoder(nn.Module):
    """What is universal: the adaptor and the sequence encoder. This is what pre-training learns."""

    def __init__(self, config: TextEncoderConfig, text_width: int) -> None:
        super().__init__()
        self.adaptor = Adaptor(
            text_width,
            config.width,
            config.experts,
            config.adaptor_dropout,
            config.gate_noise_floor,
            config.whitening,
        )
        self.encoder = SequenceEncoder(config)


class UniSRec(Model):
    """UniSRec_t (inductive: text only) and, with ``with_ids``, UniSRec_t+ID (transductive: v_i + e_i on both sides)."""

    text_NF: Tensor

    def __init__(self, config: UniSRecConfig, material: Material, *, with_ids: bool) -> None:
        super().__init__()
        if material.text is None:
            raise InputError("UniSRec reads item texts and got none")
        self.temperature = config.temperature
        self.universal = TextEncoder(config, material.text.shape[1])
        self.item_table = nn.Embedding(material.n_items, config.width) if with_ids else None
        self.apply(initialise)
        self.register_buffer("text_NF", torch.from_numpy(material.text), persistent=False)
        if material.pretrained is not None:
            take(self.universal, material.pretrained)
            if config.freeze:
                self.universal.encoder.positions.requires_grad_(False)
                self.universal.encoder.blocks.requires_grad_(False)

    def items(self) -> Tensor:
        vectors_ND = self.universal.adaptor(self.text_NF)
        return vectors_ND if self.item_table is None else vectors_ND + self.item_table.weight

    def candidates(self, items_ND: Tensor) -> Tensor:
        return F.normalize(items_ND.float(), dim=-1)

    def users(self, batch: Batch, items_ND: Tensor) -> Tensor:
        return F.normalize(self.universal.encoder(F.embedding(batch.items_BL, items_ND), batch).float(), dim=-1)

    def loss(self, batch: Batch) -> Tensor:
        """Softmax over all items of cosine / temperature (equations 10 and 11)."""
        items_ND = self.items()
        return linear_cross_entropy(
            self.users(batch, items_ND), self.candidates(items_ND), batch.targets_T, 1 / self.temperature
        )
