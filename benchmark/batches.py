"""Whole sequences, packed: rows of tokens in which short histories stand side by side.

A causal model answers at every position of a sequence what it would answer after that prefix alone, so one pass over
a whole sequence trains all its prefixes. Sequences share rows under a block-diagonal mask (`Batch.segments_BL`), so
hardly a token is padding. Legend: B rows, L tokens a row, T positions that are asked for a next item.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.domain import Sequences
from benchmark.errors import InputError

MAX_LENGTH = 50
"""Histories are cut at their last 50 items (UniSRec, section 3.1)."""
ROW_LENGTH = 64
"""Tokens a packed row holds: room for a full history and a short one."""
PADDING = -1
"""Segment of a token that is not there."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Packed histories and what is asked of them. All tensors int64."""

    items_BL: Tensor
    """Item rows; 0 where padded (masked by the segment, never looked at)."""
    positions_BL: Tensor
    """Place of a token in its own history, 0 = oldest kept."""
    segments_BL: Tensor
    """Which history a token belongs to, -1 = padding; tokens attend inside their segment only."""
    at_T: Tensor
    """Flat index (b * L + l) of the positions whose next item is asked."""
    targets_T: Tensor
    """That next item; -1 where it is not known (ranking)."""
    sequences_T: Tensor
    """Row of the sequence that an asked position belongs to, in the table the batch was drawn from."""

    def to(self, device: torch.device) -> Batch:
        return Batch(*(getattr(self, field.name).to(device) for field in fields(self)))


@dataclass(frozen=True, eq=False)
class Windows:
    """Stretches of sequences, at most `MAX_LENGTH` inputs long, that together ask for every target exactly once.

    All int64 [n_windows]: input tokens are ``items[start:start + length]``, and the last ``asked`` of them are asked
    for the item ``shift`` places on: 1 is the successor, 0 the item itself (for models that hide it).
    """

    start: NDArray[np.int64]
    length: NDArray[np.int64]
    asked: NDArray[np.int64]
    sequence: NDArray[np.int64]
    shift: int = 1

    def __len__(self) -> int:
        return len(self.start)


def training_windows(sequences: Sequences, stride: int = MAX_LENGTH // 2, limit: int = MAX_LENGTH) -> Windows:
    """Windows over the sequences: one for those of up to ``limit + 1`` items, overlapping ones for longer.

    Windows advance by ``stride``, so each target of a long sequence sees at least ``limit - stride`` items before it.
    With stride 1 each sees exactly what a prefix row cut at ``limit`` shows it: the reference's training set.
    """
    return _cover(sequences, np.maximum(sequences.lengths - 1, 0), stride, limit, shift=1)


def whole_windows(sequences: Sequences, stride: int = MAX_LENGTH // 2, limit: int = MAX_LENGTH) -> Windows:
    """Windows like `training_windows` over all items, the last included, each asked for itself: for models that hide
    items and guess them from both sides."""
    return _cover(sequences, sequences.lengths, stride, limit, shift=0)


def _cover(sequences: Sequences, inputs: NDArray[np.int64], stride: int, limit: int, shift: int) -> Windows:
    """The fewest windows that ask for each of the first ``inputs`` items of every sequence once."""
    extra = -(-np.maximum(inputs - limit, 0) // stride)
    counts = np.where(inputs > 0, 1 + extra, 0)
    sequence = np.repeat(np.arange(len(sequences)), counts)
    ordinal = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    end = np.minimum(np.minimum(inputs[sequence], limit) + ordinal * stride, inputs[sequence])
    previous_end = np.where(ordinal > 0, np.minimum(limit + (ordinal - 1) * stride, inputs[sequence]), 0)
    begin = np.maximum(end - limit, 0)
    return Windows(sequences.offsets[sequence] + begin, end - begin, end - previous_end, sequence, shift)


def prefix_windows(sequences: Sequences, limit: int = MAX_LENGTH) -> Windows:
    """One window a (prefix, next item) pair: the rows that the reference stack stores.

    Raises nothing; sequences of fewer than two items give no row.
    """
    inputs = np.maximum(sequences.lengths - 1, 0)
    sequence = np.repeat(np.arange(len(sequences)), inputs)
    end = np.arange(inputs.sum()) - np.repeat(np.cumsum(inputs) - inputs, inputs) + 1
    begin = np.maximum(end - limit, 0)
    return Windows(sequences.offsets[sequence] + begin, end - begin, np.ones_like(end), sequence)


def history_windows(sequences: Sequences, limit: int = MAX_LENGTH) -> Windows:
    """One window a history, its last ``limit`` items, asked after the last. Empty histories are not allowed."""
    length = np.minimum(sequences.lengths, limit)
    if (length == 0).any():
        raise ValueError(f"history {int(np.flatnonzero(length == 0)[0])} is empty: nothing can be asked after it")
    return Windows(sequences.offsets[1:] - length, length, np.ones_like(length), np.arange(len(sequences)))


def _assign_rows(lengths: NDArray[np.int64], row_length: int) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Row and first column of each stretch: best fit, longest first (at most a few percent of padding)."""
    row = np.empty(len(lengths), np.int64)
    column = np.empty(len(lengths), np.int64)
    free: list[list[int]] = [[] for _ in range(row_length + 1)]
    used, n_rows = [], 0
    for index in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[index])
        space = next((space for space in range(length, row_length + 1) if free[space]), None)
        if space is None:
            space, chosen = row_length, n_rows
            used.append(0)
            n_rows += 1
        else:
            chosen = free[space].pop()
        row[index], column[index] = chosen, used[chosen]
        used[chosen] += length
        free[space - length].append(chosen)
    return row, column, n_rows


def pack(
    sequences: Sequences,
    windows: Windows,
    chosen: NDArray[np.int64],
    *,
    row_length: int = ROW_LENGTH,
    ask: bool = True,
    room: int = 0,
) -> Batch:
    """One batch of the chosen windows. The asked positions come window by window, oldest first.

    ask: whether targets are filled in from the items that follow in the sequence (training) or left at -1 (ranking).
    room: tokens of item 0 behind each window, which then are the last to be asked: places for a model's own token.
    """
    start, length, asked = windows.start[chosen], windows.length[chosen] + room, windows.asked[chosen]
    row, column, n_rows = _assign_rows(length, row_length)
    within = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    flat = np.repeat(row * row_length + column, length) + within
    source = np.repeat(start, length) + within
    behind = within >= np.repeat(length - room, length)
    items = np.zeros(n_rows * row_length, np.int64)
    positions = np.zeros(n_rows * row_length, np.int64)
    segments = np.full(n_rows * row_length, PADDING, np.int64)
    items[flat[~behind]] = sequences.items[source[~behind]]
    positions[flat] = within
    segments[flat] = np.repeat(np.arange(len(chosen)), length)
    is_asked = within >= np.repeat(length - asked, length)
    targets = sequences.items[source[is_asked] + windows.shift] if ask else np.full(is_asked.sum(), -1)
    shape = (n_rows, row_length)
    return Batch(
        *(torch.from_numpy(array.reshape(shape)) for array in (items, positions, segments)),
        at_T=torch.from_numpy(flat[is_asked]),
        targets_T=torch.from_numpy(targets.astype(np.int64)),
        sequences_T=torch.from_numpy(np.repeat(windows.sequence[chosen], asked)),
    )


def check_trainable(windows: Windows, processes: int = 1) -> None:
    """Raise InputError where there is nothing to train on, or not a window for every process."""
    if not len(windows):
        raise InputError(
            "nothing to train on: no user has two training interactions (the last two of each are held out); "
            "prepare the data with longer histories"
        )
    if len(windows) < processes:
        raise InputError(f"{len(windows)} training sequences can't be shared by {processes} processes; start fewer")


def training_batches(
    sequences: Sequences,
    windows: Windows,
    batch_targets: int,
    rng: np.random.Generator,
    share: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """An epoch: the windows in random order, in batches of about ``batch_targets`` asked positions.

    share: (number, count) of the processes that share each batch; this one packs its part. With equal ``rng`` all have
    as many steps, and together the batches that one would have alone; only where such a batch has fewer windows than
    there are processes, it is joined to the next. Raises InputError as `check_trainable` does.
    """
    number, processes = share
    check_trainable(windows, processes)
    order = rng.permutation(len(windows))
    total = np.cumsum(windows.asked[order])
    n_batches = max(1, round(int(total[-1]) / batch_targets))
    edges = [0]
    for edge in np.searchsorted(total, np.arange(1, n_batches) * (total[-1] / n_batches)).tolist():
        if edge - edges[-1] >= processes and len(order) - edge >= processes:
            edges.append(edge)
    for chosen in np.split(order, edges[1:]):
        if processes > 1:
            # dealt out like cards, longest first: the parts differ by one window, and hardly in tokens
            chosen = chosen[np.argsort(-windows.length[chosen], kind="stable")][number::processes]
        yield pack(sequences, windows, chosen)


def history_batches(
    sequences: Sequences, batch_tokens: int = 16_384, *, room: int = 0
) -> Iterator[tuple[NDArray[np.int64], Batch]]:
    """All histories for ranking, (users, batch) with about ``batch_tokens`` tokens, longest histories first.

    The position asked in a batch stands in the order of its ``users``; with ``room`` it is the token behind the
    history, which then has as many items less at most.
    """
    windows = history_windows(sequences, MAX_LENGTH - room)
    order = np.argsort(-windows.length, kind="stable")
    edges = np.flatnonzero(np.diff(np.cumsum(windows.length[order]) // batch_tokens)) + 1
    for users in np.split(order, edges):
        if len(users):
            yield users, pack(sequences, windows, users, ask=False, room=room)
