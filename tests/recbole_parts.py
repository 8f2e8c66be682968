"""What tests beside RecBole share: the mark of those that need it, and weights of ours in a model of its own."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch

from baselines.sasrec import SASRec
from benchmark.layers import SequenceEncoder

needs_recbole = pytest.mark.skipif(
    importlib.util.find_spec("recbole") is None,
    reason="RecBole is not installed: python -m pip install --no-deps recbole==1.2.1",
)


def copy_blocks(ours: SequenceEncoder, theirs: Any) -> None:
    """Our Transformer's weights to theirs."""
    blocks: Any = ours.blocks
    for block, layer in zip(blocks, theirs.layer, strict=True):
        attention, forward = layer.multi_head_attention, layer.feed_forward
        for mine, yours in (
            (block.attention.query, attention.query),
            (block.attention.key, attention.key),
            (block.attention.value, attention.value),
            (block.project, attention.dense),
            (block.attention_norm, attention.LayerNorm),
            (block.expand, forward.dense_1),
            (block.contract, forward.dense_2),
            (block.feed_forward_norm, forward.LayerNorm),
        ):
            yours.load_state_dict(mine.state_dict())


def copy_input(table_ND: torch.Tensor, encoder: SequenceEncoder, theirs: Any) -> None:
    """Items, positions and the norm of both; theirs has a row for padding."""
    theirs.item_embedding.weight[1 : 1 + len(table_ND)] = table_ND
    theirs.position_embedding.load_state_dict(encoder.positions.state_dict())
    theirs.LayerNorm.load_state_dict(encoder.input_norm.state_dict())


def copy_weights(ours: SASRec, theirs: Any) -> None:
    """Ours to theirs."""
    copy_input(ours.item_table.weight, ours.encoder, theirs)
    copy_blocks(ours.encoder, theirs.trm_encoder)
