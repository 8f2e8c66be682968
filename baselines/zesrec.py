"""ZESRec: a recommender whose items are nothing but their texts, pre-trained elsewhere.

Source: Ding et al. 2021 (arXiv:2105.08318), as UniSRec's table adapts it: frozen text vectors through two linear layers
without activation, SASRec in place of a recurrent network, dot products without a temperature. The offsets that the
paper adds to item and user vectors (v_j = m_j + epsilon_j) are left out, its lambda -> infinity: a new domain has none.

Legend: B rows, L tokens a row, T asked positions, N items, S drawn items, F text width, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.batches import Batch
from benchmark.errors import InputError
from benchmark.layers import DROPOUT_SPACE, SequenceEncoder, Sizes, initialise
from benchmark.method import Material, Method, Model, Pretrainer, PretrainingFamily, check_ranges, take
from benchmark.softmax import linear_cross_entropy


@dataclass(frozen=True, kw_only=True)
class ZESRecConfig(Sizes):
    text_inner: int = 300
    """Width between the two linear layers; no public source names it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, text_inner=(1, inf))


@dataclass(frozen=True, kw_only=True)
class ZESRecPretraining(ZESRecConfig):
    batch_targets: int = 2048
    """(history, next item) pairs a step."""
    learning_rate: float = 1e-3
    negatives: int = 4096
    """Source items drawn a step; all of them are taken where there are no more: the full softmax."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, batch_targets=(1, inf), learning_rate=(1e-12, inf), negatives=(1, inf))


class TextEncoder(nn.Module):
    """What pre-training learns: v = (x A + a) B + b, and the sequence encoder over such vectors."""

    def __init__(self, config: ZESRecConfig, text_width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(text_width, config.text_inner)
        self.outer = nn.Linear(config.text_inner, config.width)
        self.encoder = SequenceEncoder(config)

    def items(self, x_NF: Tensor) -> Tensor:
        """Item vectors [N, D] of text vectors."""
        return self.outer(self.inner(x_NF))


class ZESRec(Model):
    """s = Transformer(v_i + p); the score of an item is the dot product of s and v."""

    text_NF: Tensor

    def __init__(self, config: ZESRecConfig, material: Material) -> None:
        super().__init__()
        if material.text is None or material.pretrained is None:
            raise InputError("ZESRec reads item texts and starts from pre-trained weights; one of them is missing")
        self.universal = TextEncoder(config, material.text.shape[1])
        take(self.universal, material.pretrained)
        self.register_buffer("text_NF", torch.from_numpy(material.text), persistent=False)

    def items(self) -> Tensor:
        return self.universal.items(self.text_NF)

    def users(self, batch: Batch, items_ND: Tensor) -> Tensor:
        return self.universal.encoder(F.embedding(batch.items_BL, items_ND), batch)

    def loss(self, batch: Batch) -> Tensor:
        items_ND = self.items()
        return linear_cross_entropy(self.users(batch, items_ND), items_ND, batch.targets_T)


def sampled_cross_entropy(s_TD: Tensor, v_TD: Tensor, drawn_SD: Tensor, targets_T: Tensor, drawn_S: Tensor) -> Tensor:
    """Mean cross-entropy of each row's own item among itself and the drawn ones, a scalar.

    v_TD: the rows' own next items, ``targets_T``; drawn_SD: the items ``drawn_S``, without repeats. A row's own item
    counts once where it is drawn as well.
    """
    own_T1 = (s_TD * v_TD).sum(1, keepdim=True)
    logits_TS = (s_TD @ drawn_SD.T).masked_fill_(targets_T[:, None] == drawn_S, -torch.inf)
    logits = torch.cat([own_T1.to(logits_TS.dtype), logits_TS], 1)
    return F.cross_entropy(logits, torch.zeros_like(targets_T))


class ZESRecPretrainer(Pretrainer):
    """The next item among itself and items drawn uniformly from all sources, the same ones for all rows of a step.

    The paper's softmax runs over all source items, too many for a step. As any item is as likely to be drawn as any
    other, no correction is due: which of the candidates is the next item has the probabilities that the full softmax
    gives them, in proportion. Negatives from the batch itself come by popularity and, with whole sequences, from the
    same user; both would have to be corrected for, so none are taken.
    """

    text_NF: Tensor

    def __init__(self, config: ZESRecPretraining, text: Tensor, noisy: Tensor) -> None:
        super().__init__()
        self.negatives = config.negatives
        self.universal = TextEncoder(config, text.shape[1])
        self.apply(initialise)
        self.register_buffer("text_NF", text, persistent=False)

    def weights(self) -> dict[str, Tensor]:
        return self.universal.state_dict()

    def loss(self, batch: Batch) -> Tensor:
        drawn_S = torch.randperm(len(self.text_NF), device=self.text_NF.device)[: self.negatives]
        x_BLD, v_TD, drawn_SD = (
            self.universal.items(self.text_NF[rows]) for rows in (batch.items_BL, batch.targets_T, drawn_S)
        )
        return sampled_cross_entropy(self.universal.encoder(x_BLD, batch), v_TD, drawn_SD, batch.targets_T, drawn_S)


PAPER = "Ding et al. 2021, arXiv:2105.08318, as adapted in arXiv:2206.05941"
ADAPTATION = (
    "two linear layers without activation (inner width 300) over frozen texts, SASRec as encoder, dot product; no "
    "offsets (lambda -> infinity); pre-trained by a softmax over the next item and 4,096 uniformly drawn source items "
    "instead of all of them"
)
FAMILIES = (
    PretrainingFamily(
        name="ZESRec", version=1, config=ZESRecPretraining, build=ZESRecPretrainer, paper=PAPER, noise=0.0
    ),
)
METHODS = tuple(
    Method(
        name=name,
        family="text",
        role="paper" if trained else "control",
        version=1,
        paper=PAPER,
        config=ZESRecConfig,
        build=ZESRec,
        needs=frozenset({"text", "sources"}),
        trained=trained,
        space=DROPOUT_SPACE if trained else {},
        pretraining="ZESRec",
        note=f"{ADAPTATION}; {tuning}",
    )
    for name, trained, tuning in (
        ("ZESRec", True, "all of it trained further on the target with the full softmax"),
        ("ZESRec-zeroshot", False, "never trained on the target, as in its own paper"),
    )
)
