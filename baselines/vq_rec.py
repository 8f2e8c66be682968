"""VQ-Rec: an item is the codes of its text, and what is learnt belongs to the codes.

Source: Hou et al., WWW 2023 (arXiv:2210.12316); sizes, share of replaced codes and frozen parts as released.

Sources and target are coded with one codebook, that of the sources, which is part of the artefact. The paper codes each
target with centroids of its own and then learns, for each subspace, which permutation of the pre-trained code vectors
fits them. With one codebook a code means the same everywhere: there is nothing to align.

Legend: B rows, L tokens a row, T asked positions, U distinct items of a batch, N items, S subspaces, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from baselines.product_codes import Codebook, fit
from benchmark.batches import Batch
from benchmark.errors import InputError
from benchmark.layers import DROPOUT_SPACE, SequenceEncoder, Sizes, initialise
from benchmark.method import Material, Method, Model, Pretrainer, PretrainingFamily, check_ranges, take
from benchmark.softmax import linear_cross_entropy


@dataclass(frozen=True, kw_only=True)
class CodeSizes(Sizes):
    """Sizes that pre-training and fine-tuning share."""

    subspaces: int = 32
    """Codes an item has; a divisor of the text vectors' width."""
    centroids: int = 256
    """Values a code can take; fewer where the sources have fewer distinct texts."""
    temperature: float = 0.07

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, subspaces=(1, inf), centroids=(1, inf), temperature=(1e-6, inf))


@dataclass(frozen=True, kw_only=True)
class VQRecConfig(CodeSizes):
    freeze: bool = True
    """Keep position embeddings and Transformer blocks as pre-training left them; the code vectors and the input layer
    norm are trained in any case."""


@dataclass(frozen=True, kw_only=True)
class VQRecPretraining(CodeSizes):
    batch_targets: int = 2048
    """(history, next item) pairs a step."""
    learning_rate: float = 1e-3
    replaced: float = 0.75
    """Share of an item's codes that are drawn anew in its semi-synthetic negative."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, batch_targets=(1, inf), learning_rate=(1e-12, inf), replaced=(0, 1))


class CodeEncoder(nn.Module):
    """What pre-training learns: the codebook, a vector for each code, and the sequence encoder."""

    rotation_FF: Tensor
    centroids_SKG: Tensor

    def __init__(self, config: CodeSizes, codebook: Codebook) -> None:
        super().__init__()
        subspaces, centroids, _ = codebook.centroids_SKG.shape
        self.table = nn.Embedding(subspaces * centroids, config.width)
        self.encoder = SequenceEncoder(config)
        self.register_buffer("rotation_FF", torch.from_numpy(codebook.rotation_FF))
        self.register_buffer("centroids_SKG", torch.from_numpy(codebook.centroids_SKG))

    def items(self, codes_NS: Tensor) -> Tensor:
        """Item vectors [N, D]: the mean of the vectors of an item's codes."""
        return F.embedding_bag(codes_NS, self.table.weight, mode="mean")


def table_rows(codebook: Codebook, text_NF: NDArray[np.float32]) -> Tensor:
    """Rows of the code table that each text's codes stand for, int64 [N, S]: every subspace has its own."""
    subspaces, centroids, _ = codebook.centroids_SKG.shape
    return torch.from_numpy(codebook.codes(text_NF) + centroids * np.arange(subspaces))


class VQRec(Model):
    """v_i = mean over subspaces of the vectors of i's codes; s = Transformer(v_i + p); scores are cosines."""

    codes_NS: Tensor

    def __init__(self, config: VQRecConfig, material: Material) -> None:
        super().__init__()
        if material.text is None or material.pretrained is None:
            raise InputError("VQ-Rec reads item texts and starts from pre-trained weights; one of them is missing")
        rotation_FF, centroids_SKG = (material.pretrained[name].numpy() for name in ("rotation_FF", "centroids_SKG"))
        codebook = Codebook(rotation_FF=rotation_FF, centroids_SKG=centroids_SKG)
        self.temperature = config.temperature
        self.universal = CodeEncoder(config, codebook)
        take(self.universal, material.pretrained)
        self.register_buffer("codes_NS", table_rows(codebook, material.text))
        if config.freeze:
            self.universal.encoder.positions.requires_grad_(False)
            self.universal.encoder.blocks.requires_grad_(False)

    def items(self) -> Tensor:
        return self.universal.items(self.codes_NS)

    def candidates(self, items_ND: Tensor) -> Tensor:
        return F.normalize(items_ND.float(), dim=-1)

    def users(self, batch: Batch, items_ND: Tensor) -> Tensor:
        return F.normalize(self.universal.encoder(F.embedding(batch.items_BL, items_ND), batch).float(), dim=-1)

    def loss(self, batch: Batch) -> Tensor:
        """Softmax over all items of cosine / temperature."""
        items_ND = self.items()
        return linear_cross_entropy(
            self.users(batch, items_ND), self.candidates(items_ND), batch.targets_T, 1 / self.temperature
        )


def contrast(s_TD: Tensor, v_TD: Tensor, synthetic_TD: Tensor, sequences_T: Tensor, temperature: float) -> Tensor:
    """Mean of -log softmax of each row's own item among the rows' items and its own semi-synthetic one, a scalar.

    All vectors have unit length. Next items of a row's own sequence, other than its own, are no negatives, as in our
    UniSRec; the same item after another sequence is one, as in the paper's formula.
    """
    others_TT = (sequences_T[:, None] == sequences_T).fill_diagonal_(False)
    logits_TT = (s_TD @ v_TD.T).masked_fill(others_TT, -torch.inf)
    synthetic_T1 = (s_TD * synthetic_TD).sum(1, keepdim=True)
    logits = torch.cat([logits_TT.float(), synthetic_T1.float()], 1) / temperature
    return F.cross_entropy(logits, torch.arange(len(s_TD), device=s_TD.device))


class VQRecPretrainer(Pretrainer):
    """Contrastive: negatives are the batch's next items, of whatever domain, and one semi-synthetic item a row."""

    codes_NS: Tensor

    def __init__(self, config: VQRecPretraining, text: Tensor, noisy: Tensor) -> None:
        super().__init__()
        self.config = config
        codebook = fit(text.numpy(), config.subspaces, config.centroids)
        self.universal = CodeEncoder(config, codebook)
        self.apply(initialise)
        self.register_buffer("codes_NS", table_rows(codebook, text.numpy()))

    def weights(self) -> dict[str, Tensor]:
        return self.universal.state_dict()

    def synthetic(self, codes_TS: Tensor) -> Tensor:
        """Codes like these, each replaced by any code of its subspace with probability ``replaced``, int64 [T, S]."""
        subspaces, centroids, _ = self.universal.centroids_SKG.shape
        first_S = torch.arange(subspaces, device=codes_TS.device) * centroids
        drawn_TS = torch.randint_like(codes_TS, centroids) + first_S
        return torch.where(
            torch.rand(codes_TS.shape, device=codes_TS.device) < self.config.replaced, drawn_TS, codes_TS
        )

    def loss(self, batch: Batch) -> Tensor:
        tokens = batch.items_BL.numel()
        seen_U, index = torch.unique(torch.cat([batch.items_BL.flatten(), batch.targets_T]), return_inverse=True)
        vectors_UD = self.universal.items(self.codes_NS[seen_U])
        synthetic_TD = self.universal.items(self.synthetic(self.codes_NS[batch.targets_T]))
        s_TD = self.universal.encoder(vectors_UD[index[:tokens]].view(*batch.items_BL.shape, -1), batch)
        s_TD, v_TD, synthetic_TD = (
            F.normalize(each.float(), dim=-1) for each in (s_TD, vectors_UD[index[tokens:]], synthetic_TD)
        )
        return contrast(s_TD, v_TD, synthetic_TD, batch.sequences_T, self.config.temperature)


PAPER = "Hou et al., WWW 2023, arXiv:2210.12316"
FAMILIES = (
    PretrainingFamily(name="VQ-Rec", version=1, config=VQRecPretraining, build=VQRecPretrainer, paper=PAPER, noise=0.0),
)
METHODS = (
    Method(
        name="VQ-Rec",
        family="text",
        role="control",
        version=1,
        paper=PAPER,
        config=VQRecConfig,
        build=VQRec,
        space={**DROPOUT_SPACE, "freeze": (True, False)},
        needs=frozenset({"text", "sources"}),
        pretraining="VQ-Rec",
        note=(
            "codes of the target by the sources' centroids, so that nothing is to be aligned, instead of centroids of "
            "its own and a learned permutation; rotation in closed form instead of an iterated one; Transformer frozen "
            "in fine-tuning, as released"
        ),
    ),
)
