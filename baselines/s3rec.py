"""S3-Rec: before it learns which item is next, a sequence encoder learns what items, attributes and stretches of
histories tell of each other.

Source: Zhou et al., CIKM 2020 (arXiv:2008.07873). Pre-training on the target's own sequences, the encoder looking both
ways; then SASRec, from the item table and the encoder that this leaves.

Legend: B rows, L tokens a row, D width, N items, T asked positions, M hidden ones, U distinct items of a batch,
S windows of a batch, A attributes, P pairs of an item and an attribute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.multilabel import linear_binary_cross_entropy
from baselines.s3rec_tasks import MaskedEncoder, contrast, draw_stretches, elsewhere, hide, others, segment_task
from baselines.sasrec import SASRec
from benchmark.batches import Batch, Windows, whole_windows
from benchmark.domain import Sequences
from benchmark.errors import InputError
from benchmark.layers import DROPOUT_SPACE, Sizes, initialise
from benchmark.method import Budget, Material, Method, Phase, Trainable, check_ranges

BATCH_TARGETS = 512
"""Items asked for a step of pre-training: fewer than in fine-tuning, for more steps an epoch."""


@dataclass(frozen=True, kw_only=True)
class S3RecConfig(Sizes):
    aap_weight: float = 0.2
    """Of associated attribute prediction: an item's attributes from the item."""
    mip_weight: float = 1.0
    """Of masked item prediction: a hidden item from what stands around it."""
    map_weight: float = 1.0
    """Of masked attribute prediction: a hidden item's attributes from what stands around it."""
    sp_weight: float = 0.5
    """Of segment prediction: a hidden stretch of a history from the rest of it."""
    mask_share: float = 0.2
    """Share of items that are hidden, one by one, for the second and third task."""
    pretraining_epochs: int = 10
    pretraining_rate: float = 1e-3
    """Adam's learning rate in pre-training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, aap_weight=(0, inf), mip_weight=(0, inf), map_weight=(0, inf), sp_weight=(0, inf))
        check_ranges(self, mask_share=(0, 1), pretraining_epochs=(0, inf), pretraining_rate=(1e-12, inf))


class Attributes(nn.Module):
    """Vectors of the attributes and how likely each is of any item, and which of them each item has, as sparse rows."""

    counts_N: Tensor
    begins_N: Tensor
    attributes_P: Tensor

    def __init__(self, taxonomy: Sequence[Sequence[str]], width: int) -> None:
        super().__init__()
        row_of = {name: row for row, name in enumerate(sorted({name for names in taxonomy for name in names}))}
        if not row_of:
            raise InputError(
                "S3-Rec learns from attributes of items and no item has any: give the domain a taxonomy, or texts in "
                "which several items share a word"
            )
        self.vectors = nn.Embedding(len(row_of), width)
        counts = np.array([len(names) for names in taxonomy], np.int64)
        rows = np.array([row_of[name] for names in taxonomy for name in names], np.int64)
        # At first an attribute is as likely as it is frequent. Without this its frequency would have to be learned, and
        # Adam, which remembers those large gradients, then learned nothing else for a thousand steps.
        frequent_A = (torch.bincount(torch.from_numpy(rows), minlength=len(row_of)) + 0.5) / (len(taxonomy) + 1)
        self.bias_A = nn.Parameter(frequent_A.logit())
        self.register_buffer("counts_N", torch.from_numpy(counts), persistent=False)
        self.register_buffer("begins_N", torch.from_numpy(counts.cumsum() - counts), persistent=False)
        self.register_buffer("attributes_P", torch.from_numpy(rows), persistent=False)

    def of(self, items_T: Tensor) -> tuple[Tensor, Tensor]:
        """Pairs of a place in ``items_T`` and an attribute of the item there, int64 [P] each, place by place."""
        counts_T = self.counts_N[items_T]
        places_P = torch.repeat_interleave(counts_T)
        shift_T = self.begins_N[items_T] - (counts_T.cumsum(0) - counts_T)
        return places_P, self.attributes_P[shift_T[places_P] + torch.arange(len(places_P), device=places_P.device)]

    def loss(self, asked_TD: Tensor, items_T: Tensor, times_T: Tensor) -> Tensor:
        """Binary cross-entropy of each item's attributes against all others, summed over items, each counted so many
        times; items without attributes say nothing."""
        times_T = times_T * (self.counts_N[items_T] > 0)
        h_TD = F.pad(asked_TD.float(), (0, 1), value=1.0)
        labels_AD = torch.cat([self.vectors.weight, self.bias_A[:, None]], dim=1)
        return linear_binary_cross_entropy(h_TD, labels_AD, *self.of(items_T), times_T)


class Critics(nn.Module):
    """What the tasks have of their own: a vector that stands for hidden items, and each task's bilinear form."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mask = nn.Embedding(1, width)
        self.aap, self.mip, self.map, self.sp = (nn.Linear(width, width) for _ in range(4))


class S3Rec(SASRec):
    """SASRec with a phase before it. Scores and loss are SASRec's."""

    def __init__(self, config: S3RecConfig, material: Material) -> None:
        super().__init__(config, material)
        if material.taxonomy is None:
            raise InputError("S3-Rec reads attributes of items and got none")
        self.config = config
        self.attributes = Attributes(material.taxonomy, config.width).apply(initialise)
        self.critics = Critics(config.width).apply(initialise)

    def phases(self) -> list[Phase]:
        return [
            Phase(
                name="pre-training",
                trainable=Pretraining(self),
                epochs=self.config.pretraining_epochs,
                learning_rate=self.config.pretraining_rate,
                batch_targets=BATCH_TARGETS,
            )
        ]


class Pretraining(Trainable):
    """The four tasks on whole sequences, every item of which is asked for once an epoch."""

    def __init__(self, model: S3Rec) -> None:
        super().__init__()
        self.config, self.item_table = model.config, model.item_table
        self.attributes, self.critics = model.attributes, model.critics
        self.encode = MaskedEncoder(model.item_table, model.encoder, model.critics.mask)

    def windows(self, sequences: Sequences) -> Windows:
        return whole_windows(sequences)

    def loss(self, batch: Batch) -> Tensor:
        """The weighted sum of the tasks over the number of asked positions.

        Tasks are sums, as in the authors' code: each weighs with the answers it asks for, an attribute task with all
        the attributes of an item.
        """
        config = self.config
        mip, map_ = self.masked(batch)
        total = config.mip_weight * mip + config.map_weight * map_
        total = total + config.aap_weight * self.associated(batch) + config.sp_weight * self.segments(batch)
        return total / len(batch.at_T)

    def associated(self, batch: Batch) -> Tensor:
        """AAP (equation 5): the attributes of every item, asked of its own vector as often as it occurs."""
        items_U, times_U = batch.targets_T.unique(return_counts=True)
        return self.attributes.loss(self.critics.aap(self.item_table(items_U)), items_U, times_U)

    def masked(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """MIP and MAP: a hidden item against one other item, and its attributes against all others."""
        is_hidden_T, hidden_BL = hide(batch, self.config.mask_share)
        items_M = batch.targets_T[is_hidden_T]
        states_MD = self.encode(replace(batch, at_T=batch.at_T[is_hidden_T]), hidden_BL)
        other_M = others(items_M, self.item_table.num_embeddings)
        mip_M = contrast(self.critics.mip, states_MD, self.item_table(items_M), self.item_table(other_M))
        return mip_M.sum(), self.attributes.loss(self.critics.map(states_MD), items_M, torch.ones_like(items_M))

    def segments(self, batch: Batch) -> Tensor:
        """SP: what is left of a history against the stretch taken out of it, and against one of another sequence."""
        stretches = draw_stretches(batch)
        begin_S, found_S = elsewhere(batch, stretches)
        loss_S = segment_task(self.critics.sp, self.encode, batch, stretches, batch.items_BL.flatten(), begin_S)
        return loss_S[found_S & (stretches.last > stretches.first)].sum()


METHODS = (
    Method(
        name="S3-Rec",
        family="text+id",
        role="paper",
        version=1,
        paper="Zhou et al., CIKM 2020, arXiv:2008.07873",
        config=S3RecConfig,
        build=S3Rec,
        space=DROPOUT_SPACE,
        needs=frozenset({"taxonomy"}),
        note="10 epochs of pre-training on whole sequences; budget 'literature' has 100. Pre-training reads sequences "
        "left-aligned as fine-tuning does. Our choices: attributes of an item from its own vector, as in the paper's "
        "equation, losses summed and critics with a bias as in the authors' code, attributes that start as likely as "
        "they are frequent, batches of 512 items",
        budgets={"literature": Budget(config={"pretraining_epochs": 100})},
    ),
)
