"""SASRec: self-attentive sequential recommendation over item ids.

Source: Kang & McAuley, ICDM 2018 (arXiv:1808.09781), in the form that the paper's table uses (RecBole's): full softmax
over the catalogue instead of one sampled negative, post-norm blocks. Hyper-parameters: UniSRec's `run_baseline`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.batches import Batch
from benchmark.layers import DROPOUT_SPACE, SequenceEncoder, Sizes, initialise
from benchmark.method import Material, Method, Model, check_ranges
from benchmark.softmax import linear_cross_entropy


class SASRec(Model):
    """s = Transformer(e_i + p); the score of an item is its dot product with s, from one tied table."""

    def __init__(self, config: Sizes, material: Material) -> None:
        super().__init__()
        self.item_table = nn.Embedding(material.n_items, config.width)
        self.encoder = SequenceEncoder(config)
        self.apply(initialise)

    def items(self) -> Tensor:
        return self.item_table.weight

    def users(self, batch: Batch, items_ND: Tensor) -> Tensor:
        return self.encoder(F.embedding(batch.items_BL, items_ND), batch)

    def loss(self, batch: Batch) -> Tensor:
        items_ND = self.items()
        return linear_cross_entropy(self.users(batch, items_ND), items_ND, batch.targets_T)


@dataclass(frozen=True, kw_only=True)
class CosineConfig(Sizes):
    temperature: float = 0.07
    """UniSRec's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, temperature=(1e-6, inf))


class CosineSASRec(SASRec):
    """SASRec whose scores are cosines: separates UniSRec's loss from what it learns of texts.

    Its softmax is over cosine / temperature, as in UniSRec's equation 10.
    """

    def __init__(self, config: CosineConfig, material: Material) -> None:
        super().__init__(config, material)
        self.temperature = config.temperature

    def candidates(self, items_ND: Tensor) -> Tensor:
        return F.normalize(items_ND.float(), dim=-1)

    def users(self, batch: Batch, items_ND: Tensor) -> Tensor:
        return F.normalize(super().users(batch, items_ND).float(), dim=-1)

    def loss(self, batch: Batch) -> Tensor:
        items_ND = self.items()
        return linear_cross_entropy(
            self.users(batch, items_ND), self.candidates(items_ND), batch.targets_T, 1 / self.temperature
        )


METHODS = (
    Method(
        name="SASRec",
        family="id",
        role="paper",
        version=1,
        paper="Kang & McAuley, ICDM 2018, arXiv:1808.09781",
        config=Sizes,
        build=SASRec,
        space=DROPOUT_SPACE,
    ),
    Method(
        name="SASRec-cos",
        family="id",
        role="control",
        version=1,
        paper="Kang & McAuley, ICDM 2018, arXiv:1808.09781; loss of arXiv:2206.05941",
        config=CosineConfig,
        build=CosineSASRec,
        space={**DROPOUT_SPACE, "temperature": (0.05, 0.07, 0.1)},
        note="cosine scores and temperature 0.07 instead of dot products: UniSRec's loss without its texts",
    ),
)
