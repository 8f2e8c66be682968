"""SASRec over item texts: the plainest way to read them, and what an adaptor must beat.

Sources: the row SASRec_T of VQ-Rec (Hou et al., WWW 2023, arXiv:2210.12316, table 2): frozen text vectors through one
linear layer, in place of the item table on both sides. The row SASRec (T+ID) of WhitenRec (Zhang et al., ICDE 2024,
arXiv:2402.10602, table 3), written as UniSRec's transductive form: an item table is added to them, on both sides.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.batches import Batch
from benchmark.errors import InputError
from benchmark.layers import DROPOUT_SPACE, SequenceEncoder, Sizes, initialise
from benchmark.method import Material, Method, Model
from benchmark.softmax import linear_cross_entropy


class SASRecText(Model):
    """v_i = x_i W + b, and with ``with_ids`` v_i = x_i W + b + e_i; s = Transformer(v_i + p); the score of an item is
    the dot product of s and v."""

    text_NF: Tensor

    def __init__(self, config: Sizes, material: Material, *, with_ids: bool = False) -> None:
        super().__init__()
        if material.text is None:
            raise InputError("SASRec_text reads item texts and got none")
        self.project = nn.Linear(material.text.shape[1], config.width)
        self.encoder = SequenceEncoder(config)
        self.item_table = nn.Embedding(material.n_items, config.width) if with_ids else None
        self.apply(initialise)
        self.register_buffer("text_NF", torch.from_numpy(material.text), persistent=False)

    def items(self) -> Tensor:
        vectors_ND = self.project(self.text_NF)
        return vectors_ND if self.item_table is None else vectors_ND + self.item_table.weight

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
        space=DROPOUT_SPACE,
        needs=frozenset({"text"}),
        note="frozen text vectors through one linear layer",
    ),
    Method(
        name="SASRec_text+ID",
        family="text+id",
        role="control",
        version=1,
        paper="Zhang et al., ICDE 2024, arXiv:2402.10602, table 3; sum as in arXiv:2206.05941",
        config=Sizes,
        build=partial(SASRecText, with_ids=True),
        space=DROPOUT_SPACE,
        needs=frozenset({"text"}),
        note="SASRec_text's vectors plus a trained item table, on both sides: UniSRec_t+ID without adaptor, cosine and "
        "pre-training",
    ),
)
