"""What a packed batch asks, read off its tensors alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmark.batches import PADDING, Batch, Windows, pack
from benchmark.domain import Sequences

Question = tuple[tuple[int, ...], int, int]
"""(history, next item, sequence), oldest first."""


def places_of(batch: Batch, row: int, column: int) -> list[int]:
    """Columns that a causal model sees from one, oldest first."""
    segment = int(batch.segments_BL[row, column])
    assert segment != PADDING
    places = [place for place in range(column + 1) if batch.segments_BL[row, place] == segment]
    assert batch.positions_BL[row, places].tolist() == list(range(len(places)))
    return places


def asked(batch: Batch) -> Iterator[Question]:
    """The questions of a batch, in its order."""
    length = batch.items_BL.shape[1]
    for flat, target, sequence in zip(
        batch.at_T.tolist(), batch.targets_T.tolist(), batch.sequences_T.tolist(), strict=True
    ):
        row, column = divmod(flat, length)
        yield tuple(batch.items_BL[row, places_of(batch, row, column)].tolist()), target, sequence


def everything(sequences: Sequences, windows: Windows) -> Batch:
    """All windows in one batch."""
    return pack(sequences, windows, np.arange(len(windows)))
