"""WhitenRec: SASRec over whitened item texts.

Source: Zhang et al., "Are ID Embeddings Necessary? Whitening Pre-trained Text Embeddings for Effective Sequential
Recommendation", ICDE 2024 (arXiv:2402.10602): text vectors point almost all the same way, so they are whitened once
(ZCA, over all items of the target) before a projection head reads them. The full whitening, not the ensemble of
WhitenRec+. The head is the paper's MLP-2; that this is two linear layers of the model's width, with a ReLU after each,
is read off its tables: table 5 tells an MLP of one layer from a linear map, and the 1.4 million parameters of table 9
leave room for no third layer.

Legend: N items, M distinct texts, F text width, D width, B rows, L tokens a row, T asked positions.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmark.batches import Batch
from benchmark.errors import InputError
from benchmark.layers import DROPOUT_SPACE, SequenceEncoder, Sizes, initialise
from benchmark.method import Material, Method, Model
from benchmark.softmax import linear_cross_entropy

FLAT = 1e-9
"""Added to the variances, as a share of the largest: a direction in which texts do not differ has none to divide by,
and what float32 leaves there is rounding. Of MiniLM's 384 dimensions three are such, and the rest have over 1e-4."""


def zca(text_NF: NDArray[np.float32]) -> NDArray[np.float64]:
    """Whitened text vectors [N, F]: mean 0, covariance the identity, as near to the centred texts as such can be.

    z = (x - mean) U (S + epsilon)^-1/2 U^T, where U S U^T is the covariance over the items; in float64. Where texts do
    not differ z is 0.
    """
    centred_NF = text_NF - text_NF.mean(0, dtype=np.float64)
    variances_F, axes_FF = np.linalg.eigh(centred_NF.T @ centred_NF / len(centred_NF))
    # where all texts are equal there is no largest variance either
    floor = max(FLAT * variances_F[-1], np.finfo(np.float64).tiny)
    return centred_NF @ (axes_FF / np.sqrt(variances_F.clip(min=0) + floor)) @ axes_FF.T


class WhitenRec(Model):
    """v_i = MLP(z_i); s = Transformer(v_i + p); the score of an item is the dot product of s and v."""

    text_MF: Tensor
    text_of_N: Tensor

    def __init__(self, config: Sizes, material: Material) -> None:
        super().__init__()
        if material.text is None:
            raise InputError("WhitenRec reads item texts and got none")
        self.head = nn.Sequential(
            nn.Linear(material.text.shape[1], config.width), nn.ReLU(), nn.Linear(config.width, config.width), nn.ReLU()
        )
        self.encoder = SequenceEncoder(config)
        self.apply(initialise)
        # items of one text share a row, so that they tie to the last bit; each still counts in the covariance
        _, first_M, text_of_N = np.unique(material.text, axis=0, return_index=True, return_inverse=True)
        whitened_MF = zca(material.text)[first_M].astype(np.float32)
        self.register_buffer("text_MF", torch.from_numpy(whitened_MF), persistent=False)
        self.register_buffer("text_of_N", torch.from_numpy(text_of_N.ravel()), persistent=False)

    def items(self) -> Tensor:
        return F.embedding(self.text_of_N, self.head(self.text_MF))

    def users(self, batch: Batch, items_ND: Tensor) -> Tensor:
        return self.encoder(F.embedding(batch.items_BL, items_ND), batch)

    def loss(self, batch: Batch) -> Tensor:
        items_ND = self.items()
        return linear_cross_entropy(self.users(batch, items_ND), items_ND, batch.targets_T)


METHODS = (
    Method(
        name="WhitenRec",
        family="text",
        role="control",
        version=1,
        paper="Zhang et al., ICDE 2024, arXiv:2402.10602",
        config=Sizes,
        build=WhitenRec,
        space=DROPOUT_SPACE,
        needs=frozenset({"text"}),
        note="full whitening, not WhitenRec+; the head's form, without dropout, is inferred from the paper's tables",
    ),
)
