"""S3-Rec as UniSRec's repository runs it, which may explain the printed row: what it learns of texts is noise.

Source: the baseline released with Hou et al., KDD 2022 (arXiv:2206.05941). It differs from `baselines.s3rec` in this:

- an item's one attribute is itself, as ReLU(x W + b) of its text vector x; but the table of text vectors is drawn anew
  when the model's weights are, so x is noise that never changes;
- attributes are asked of states: of visible tokens (AAP) and of hidden ones (MAP), among all items and the padding;
- the encoder reads histories padded to 50 at the left, while the attributes stand as padded at the right: in a history
  of n items, token t is asked for the attribute of the item at place 50 - n + t, and where that is behind the end, for
  that of the padding;
- for the same reason position embeddings mean other places in pre-training (50 - n + t) than in fine-tuning (t);
- the weights of AAP and MIP are 1.0 and 0.2;
- the negative of a hidden item may be the mask, and that of a stretch any stretch of the batch's tokens in a row, its
  own sequence's and across borders; a history of one item is its own context, stretch and negative;
- a history is shown as every prefix that has a next item, so that a user's last training item is never seen.

Legend: as in `baselines.s3rec`; R rows of the attribute table (the items, then the padding), F text width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from baselines.multilabel import linear_binary_cross_entropy
from baselines.s3rec import Critics, S3RecConfig
from baselines.s3rec_tasks import MaskedEncoder, Stretches, below, contrast, draw_stretches, hide, others, segment_task
from baselines.sasrec import SASRec
from benchmark.batches import MAX_LENGTH, PADDING, Batch, Windows, prefix_windows
from benchmark.domain import Sequences
from benchmark.errors import InputError
from benchmark.layers import DROPOUT_SPACE, INITIAL_STD, initialise
from benchmark.method import Budget, Material, Method, Phase, Trainable

BATCH_TOKENS = 4096
"""Of pre-training: about the 1,024 prefixes that the released code takes at a time."""


@dataclass(frozen=True, kw_only=True)
class ReleasedConfig(S3RecConfig):
    aap_weight: float = 1.0
    mip_weight: float = 0.2
    pretraining_epochs: int = 12


class ReleasedAttributes(nn.Module):
    """The attribute vector of each item and of the padding, from a table that was to hold text vectors."""

    noise_RF: Tensor

    def __init__(self, n_items: int, text_width: int, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(text_width, width)
        self.register_buffer("noise_RF", torch.randn(n_items + 1, text_width) * INITIAL_STD, persistent=False)

    def forward(self) -> Tensor:
        """[R, D]"""
        return self.project(self.noise_RF).relu()


class ReleasedS3Rec(SASRec):
    """SASRec after the released pre-training. Scores and loss are SASRec's."""

    def __init__(self, config: ReleasedConfig, material: Material) -> None:
        super().__init__(config, material)
        if material.text is None:
            raise InputError("S3-Rec-released reads the width of item texts and got none")
        self.config = config
        self.attributes = ReleasedAttributes(material.n_items, material.text.shape[1], config.width).apply(initialise)
        self.critics = Critics(config.width).apply(initialise)

    def phases(self) -> list[Phase]:
        return [
            Phase(
                name="pre-training",
                trainable=ReleasedPretraining(self),
                epochs=self.config.pretraining_epochs,
                learning_rate=self.config.pretraining_rate,
                batch_targets=BATCH_TOKENS,
            )
        ]


def as_released(batch: Batch, n_items: int) -> tuple[Batch, Tensor]:
    """The batch with the places that its tokens have padded at the left, and the attributes they are asked for, [T].

    All tokens must be asked. Attribute ``n_items`` is the padding.
    """
    is_there_BL = batch.segments_BL != PADDING
    tokens_S = torch.bincount(batch.segments_BL[is_there_BL])
    tokens_BL = tokens_S[batch.segments_BL.clamp(min=0)]
    places_BL = torch.where(is_there_BL, MAX_LENGTH - tokens_BL + batch.positions_BL, 0)
    # what stands at that place padded at the right is as many tokens on, or behind the end
    offset_T = (MAX_LENGTH - tokens_BL).flatten()[batch.at_T]
    is_item_T = places_BL.flatten()[batch.at_T] < tokens_BL.flatten()[batch.at_T]
    from_T = torch.where(is_item_T, batch.at_T + offset_T, 0)
    attributes_T = torch.where(is_item_T, batch.items_BL.flatten()[from_T], n_items)
    return replace(batch, positions_BL=places_BL), attributes_T


def anywhere(stretches: Stretches) -> Tensor:
    """Where the negative of each stretch begins among all tokens of the batch, window by window, int64 [S]: anywhere,
    but at the window itself where that is one token."""
    tokens_S = stretches.last - stretches.first + 1
    begin_S = below(tokens_S.sum() - stretches.length + 1)
    return torch.where(tokens_S > 1, begin_S, tokens_S.cumsum(0) - tokens_S)


class ReleasedPretraining(Trainable):
    """The four tasks on prefixes."""

    def __init__(self, model: ReleasedS3Rec) -> None:
        super().__init__()
        self.config, self.item_table = model.config, model.item_table
        self.attributes, self.critics = model.attributes, model.critics
        self.encode = MaskedEncoder(model.item_table, model.encoder, model.critics.mask)

    def windows(self, sequences: Sequences) -> Windows:
        prefixes = prefix_windows(sequences)
        return replace(prefixes, asked=prefixes.length, shift=0)

    def loss(self, batch: Batch) -> Tensor:
        """The weighted sum of the tasks over the number of tokens."""
        config = self.config
        aap, mip, map_ = self.item_tasks(batch)
        total = config.aap_weight * aap + config.mip_weight * mip + config.map_weight * map_
        return (total + config.sp_weight * self.segments(batch)) / len(batch.at_T)

    def item_tasks(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """AAP of visible tokens, MIP and MAP of hidden ones."""
        n_items, mask_D = self.item_table.num_embeddings, self.critics.mask.weight[0]
        shown, attributes_T = as_released(batch, n_items)
        is_hidden_T, hidden_BL = hide(batch, self.config.mask_share)
        states_TD = self.encode(shown, hidden_BL)
        labels_RD = self.attributes()

        def attribute_task(critic: nn.Linear, chosen_T: Tensor) -> Tensor:
            rows_P = torch.arange(int(chosen_T.sum()), device=chosen_T.device)
            return linear_binary_cross_entropy(critic(states_TD[chosen_T]), labels_RD, rows_P, attributes_T[chosen_T])

        items_M = batch.targets_T[is_hidden_T]
        other_M = others(items_M, n_items + 1)
        other_MD = self.item_table(other_M.clamp(max=n_items - 1))
        other_MD = torch.where((other_M == n_items)[:, None], mask_D, other_MD)
        mip_M = contrast(self.critics.mip, states_TD[is_hidden_T], self.item_table(items_M), other_MD)
        return (
            attribute_task(self.critics.aap, ~is_hidden_T),
            mip_M.sum(),
            attribute_task(self.critics.map, is_hidden_T),
        )

    def segments(self, batch: Batch) -> Tensor:
        """SP, with negatives from all tokens of the batch."""
        stretches = draw_stretches(batch)
        shown, _ = as_released(batch, self.item_table.num_embeddings)
        begin_S = anywhere(stretches)
        return segment_task(self.critics.sp, self.encode, shown, stretches, batch.targets_T, begin_S).sum()


METHODS = (
    Method(
        name="S3-Rec-released",
        family="id",
        role="replica",
        version=1,
        paper="Zhou et al., CIKM 2020, arXiv:2008.07873; code released with arXiv:2206.05941",
        config=ReleasedConfig,
        build=ReleasedS3Rec,
        space=DROPOUT_SPACE,
        needs=frozenset({"text"}),
        note="12 epochs of pre-training on prefixes; budget 'literature' has 300. Reproduces: the table of text "
        "vectors drawn over with noise; attributes of another place, nearly always the padding's; positions that mean "
        "other places in fine-tuning; weights of AAP and MIP swapped; the mask and the sequence itself among negatives",
        budgets={"literature": Budget(config={"pretraining_epochs": 300})},
    ),
)
