"""SASRec over item texts: the plainest way to read them, and what an adaptor must beat.

Source: the row SASRec_T of VQ-Rec (Hou et al., WWW 2023, arXiv:2210.12316, table 2): frozen text vectors through one
linear layer, in place of the item table on both sides.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.batches import Batch
from benchmark.errors import InputError
from benchmark.layers import SequenceEncoder, Sizes, initialise
from benchmark.method import Material, Method, Model
from benchmark.softmax import linear_cross_entropy


class SASRecText(Model):
    """v_i = x_i W + b; s = Transformer(v_i + p); the score of an item is the dot product of s and v."""

    text_NF: Tensor

    def __init__(self, config: Sizes, material: Material) -> None:
        super().__init__()
        if material.text is None:
            raise InputError("SASRec_text reads item texts and got none")
        self.project = nn.Linear(material.text.shape[1], config.width)
        self.encoder = SequenceEncoder(config)
        self.apply(initialise)
        self.register_buffer("text_NF", torch.from_numpy(material.text), persistent=False)

    def items(self) -> Tensor:
        return self.project(self.text_NF)

    def users(self, batch: Batch, items_ND: Tensor) -> Tensor:
        return self.encoder(F.embedding(batch.items_BL, items_ND), batch)

    def loss(self, batch: Batch) -> Tensor:
        items_ND = self.items()
        return linear_cross_entropy(self.users(batch, items_ND), items_ND, batch.targets_T)


METHODS = (
    Method(
        name="SASRec_text",
        family="text",
        role="control",
        version=1,
        paper="Hou et al., WWW 2023, arXiv:2210.12316, table 2",
        config=Sizes,
        build=SASRecText,
        needs=frozenset({"text"}),
        note="frozen text vectors through one linear layer",
    ),
)
