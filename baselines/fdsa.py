"""FDSA: one Transformer over item ids, another over item features, joined at the end.

Source: Zhang et al., "Feature-level Deeper Self-Attention Network for Sequential Recommendation", IJCAI 2019, in the
form that UniSRec's table uses (RecBole's, with one feature: the item's text): full softmax over the catalogue,
post-norm blocks, positions and layer norm shared by both streams. With a single feature, the paper's attention over an
item's features gives it the weight one and is left out.

Legend: N items, F text width, D width, B rows, L tokens a row, T asked positions.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.batches import Batch
from benchmark.errors import InputError
from benchmark.layers import DROPOUT_SPACE, INITIAL_STD, Dropout, SequenceEncoder, Sizes, initialise
from benchmark.method import Material, Method, Model
from benchmark.softmax import linear_cross_entropy


class FDSA(Model):
    """s = Dropout(LayerNorm([Transformer(e_i + p), Transformer'(f_i + p)] W + b)) with f_i = ReLU(x_i W' + b').

    The score of an item is the dot product of s and its id vector e: what is recommended is known by its id alone.

    redrawn: as in the released code, whose initialisation of the weights runs over the table of text vectors x as well:
    each becomes a random vector of the text's width, drawn as an item's id vector is and never trained.
    """

    text_NF: Tensor

    def __init__(self, config: Sizes, material: Material, *, redrawn: bool = False) -> None:
        super().__init__()
        if material.text is None:
            raise InputError("FDSA reads item texts and got none")
        self.item_table = nn.Embedding(material.n_items, config.width)
        self.project = nn.Linear(material.text.shape[1], config.width)
        self.id_encoder = SequenceEncoder(config)
        self.feature_encoder = SequenceEncoder(config)
        self.feature_encoder.positions = self.id_encoder.positions
        self.feature_encoder.input_norm = self.id_encoder.input_norm
        self.join = nn.Linear(2 * config.width, config.width)
        self.dropout = Dropout(config.dropout)
        self.apply(initialise)
        text_NF = torch.from_numpy(material.text)
        if redrawn:
            text_NF = torch.randn_like(text_NF) * INITIAL_STD
        # texts are given again to whoever loads the weights; what was drawn is part of the model
        self.register_buffer("text_NF", text_NF, persistent=redrawn)

    def items(self) -> Tensor:
        """What both streams read, side by side: [N, 2 D]."""
        return torch.cat([self.item_table.weight, F.relu(self.project(self.text_NF))], dim=-1)

    def candidates(self, items_ND: Tensor) -> Tensor:
        return self.item_table.weight

    def users(self, batch: Batch, items_ND: Tensor) -> Tensor:
        id_BLD, feature_BLD = F.embedding(batch.items_BL, items_ND).chunk(2, dim=-1)
        states = [self.id_encoder(id_BLD, batch), self.feature_encoder(feature_BLD, batch)]
        # the streams' own input norm once more, as in RecBole
        return self.dropout(self.id_encoder.input_norm(self.join(torch.cat(states, dim=-1))))

    def loss(self, batch: Batch) -> Tensor:
        return linear_cross_entropy(self.users(batch, self.items()), self.item_table.weight, batch.targets_T)


METHODS = (
    Method(
        name="FDSA",
        family="text+id",
        role="paper",
        version=1,
        paper="Zhang et al., IJCAI 2019; features as in arXiv:2206.05941",
        config=Sizes,
        build=FDSA,
        space=DROPOUT_SPACE,
        needs=frozenset({"text"}),
        note="reads the item texts, which UniSRec's released FDSA does not (see FDSA-released); candidates by id alone",
    ),
    Method(
        name="FDSA-released",
        family="id",
        role="replica",
        version=1,
        paper="Zhang et al., IJCAI 2019; code released with arXiv:2206.05941",
        config=Sizes,
        build=partial(FDSA, redrawn=True),
        space=DROPOUT_SPACE,
        needs=frozenset({"text"}),
        note="reproduces a defect of UniSRec's released FDSA: the initialisation draws the frozen text table anew, so "
        "that it reads fixed random vectors of the text's width and no text; whether the printed row had it is unknown",
    ),
)
