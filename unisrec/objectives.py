"""UniSRec's pre-training: two contrastive tasks over sequences of several domains.

Source: arXiv:2206.05941, section 2.3, equations 7 to 9. Negatives are the other positions of the batch, whatever their
domain. Where paper and released code differ, the paper's formula is the default.

Whole sequences instead of prefix rows: every position of a sequence is a pair of its own, and the next items of the
same sequence are no negatives for it (a random batch of prefix rows hardly holds two of one user). The adaptor runs
once per distinct item of a step, so gate noise and dropout are shared among an item's occurrences.

Where several processes share a batch, each contrasts its own positions with the keys of all.

Legend: B rows, L tokens a row, T asked positions, A those of all processes, U distinct items of a batch, F text width,
D width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark import parallel
from benchmark.batches import PADDING, Batch, Windows, prefix_windows
from benchmark.domain import Sequences
from benchmark.layers import initialise
from benchmark.method import Pretrainer, check_ranges
from benchmark.softmax import linear_cross_entropy
from unisrec.model import TextEncoder, TextEncoderConfig


def rounds_text(config: PretrainingConfig) -> bool:
    """The adaptor multiplies texts by its weights; dropout would scale them first."""
    return config.adaptor_dropout == 0


@dataclass(frozen=True, kw_only=True)
class PretrainingConfig(TextEncoderConfig):
    batch_targets: int = 2048
    """(prefix, next item) pairs a step; released: 8,192 on one device, 2,048 a device on several."""
    learning_rate: float = 1e-3
    sequence_weight: float = 1e-3
    """lambda of equation 9; 0 leaves the sequence-sequence task out."""
    item_weight: float = 1.0
    """Weight of the sequence-item task; 0 leaves it out."""
    item_drop_share: float = 0.9
    """Share of sequences augmented by dropping items; the others have items' words dropped."""
    drop: float = 0.2
    """Share of a sequence's items that its augmentation drops, or whose text it replaces by the noisy copy."""
    prefix_rows: bool = False
    """One row a prefix, as the reference samples, instead of whole sequences."""
    released_negatives: bool = False
    """Released code: rows with the same next item get logit 0 instead of being negatives (prefix rows only)."""
    released_sequence_denominator: bool = False
    """Released code: the denominator of equation 8 runs over augmented sequences, not over the original ones."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, batch_targets=(1, inf), learning_rate=(1e-12, inf), sequence_weight=(0, inf))
        check_ranges(self, item_weight=(0, inf), item_drop_share=(0, 1), drop=(0, 1))
        if self.released_negatives and not self.prefix_rows:
            raise ValueError("released_negatives needs prefix_rows")


class UniSRecPretrainer(Pretrainer):
    text_NF: Tensor
    noisy_NF: Tensor

    def __init__(self, config: PretrainingConfig, text: Tensor, noisy: Tensor) -> None:
        super().__init__()
        self.config = config
        self.universal = TextEncoder(config, text.shape[1])
        self.apply(initialise)
        self.register_buffer("text_NF", text, persistent=False)
        self.register_buffer("noisy_NF", noisy, persistent=False)

    def windows(self, sequences: Sequences) -> Windows:
        return prefix_windows(sequences) if self.config.prefix_rows else super().windows(sequences)

    def weights(self) -> dict[str, Tensor]:
        return self.universal.state_dict()

    def _contrast(self, anchors_TD: Tensor, keys_TD: Tensor, batch: Batch) -> Tensor:
        """-log softmax of each anchor's own key among the keys of the batch, wherever they are."""
        groups_T, fill = None if self.config.prefix_rows else batch.sequences_T, -torch.inf
        if self.config.released_negatives:
            groups_T, fill = batch.targets_T, 0.0
        layout = parallel.rows(len(keys_TD))
        return linear_cross_entropy(
            anchors_TD,
            parallel.gather(keys_TD, layout),
            layout.first + torch.arange(len(keys_TD), device=keys_TD.device),
            1 / self.config.temperature,
            groups_T=groups_T,
            groups_N=None if groups_T is None else parallel.gather(groups_T, layout),
            fill=fill,
        )

    def loss(self, batch: Batch) -> Tensor:
        """L = l_SI + lambda l_SS (equation 9), mean over the asked positions of this process."""
        config = self.config
        tokens = batch.items_BL.numel()
        seen_U, index = torch.unique(torch.cat([batch.items_BL.flatten(), batch.targets_T]), return_inverse=True)
        vectors_UD = self.universal.adaptor(self.text_NF[seen_U])
        x_BLD = vectors_UD[index[:tokens]].view(*batch.items_BL.shape, -1)
        s_TD = F.normalize(self.universal.encoder(x_BLD, batch).float(), dim=-1)
        total = s_TD.new_zeros(())
        if config.item_weight:
            v_TD = F.normalize(vectors_UD[index[tokens:]].float(), dim=-1)
            total = total + config.item_weight * self._contrast(s_TD, v_TD, batch)
        if config.sequence_weight:
            total = total + config.sequence_weight * self._sequence_task(batch, x_BLD, s_TD)
        return total

    def _sequence_task(self, batch: Batch, x_BLD: Tensor, s_TD: Tensor) -> Tensor:
        """l_SS (equation 8): each sequence against its augmentation."""
        changed, changed_x_BLD = self._augment(batch, x_BLD)
        augmented_TD = F.normalize(self.universal.encoder(changed_x_BLD, changed).float(), dim=-1)
        if self.config.released_sequence_denominator:
            return self._contrast(s_TD, augmented_TD, batch)
        # the denominator over the original sequences, the numerator s_j . s~_j
        own, other = (s_TD * s_TD).sum(-1), (s_TD * augmented_TD).sum(-1)
        return self._contrast(s_TD, s_TD, batch) + ((own - other) / self.config.temperature).mean()

    def _augment(self, batch: Batch, x_BLD: Tensor) -> tuple[Batch, Tensor]:
        """Each history with items left out, or with the noisy text of some of its items.

        A dropped token is hidden and the positions close up; a place that is asked answers as of the last item kept at
        or before it. A history's first item is never dropped, so there always is one.
        """
        config = self.config
        present_BL = batch.segments_BL != PADDING
        n_segments = int(batch.segments_BL.max()) + 1
        by_item_S = torch.rand(n_segments, device=x_BLD.device) < config.item_drop_share
        by_item_BL = by_item_S[batch.segments_BL.clamp(min=0)] & present_BL
        marked_BL = torch.rand(batch.items_BL.shape, device=x_BLD.device) < config.drop

        dropped_BL = marked_BL & by_item_BL & (batch.positions_BL > 0)
        places_BL = torch.arange(dropped_BL.numel(), device=x_BLD.device).view_as(dropped_BL)
        last_kept_BL = places_BL.masked_fill(dropped_BL, -1).cummax(-1).values
        gone_BL = dropped_BL.cumsum(-1)
        start_BL = torch.arange(dropped_BL.shape[1], device=x_BLD.device) - batch.positions_BL
        gone_in_segment_BL = gone_BL - gone_BL.gather(-1, start_BL)
        changed = replace(
            batch,
            positions_BL=(batch.positions_BL - gone_in_segment_BL).clamp(min=0),
            segments_BL=batch.segments_BL.masked_fill(dropped_BL, PADDING),
            at_T=last_kept_BL.flatten()[batch.at_T],
        )

        noisy_BL = marked_BL & present_BL & ~by_item_BL
        if noisy_BL.any():
            noisy_MD = self.universal.adaptor(self.noisy_NF[batch.items_BL[noisy_BL]])
            x_BLD = x_BLD.masked_scatter(noisy_BL[..., None], noisy_MD.to(x_BLD.dtype))
        return changed, x_BLD
