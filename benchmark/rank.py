"""From scores to ranks: how many items scored above the held-out one, and how many exactly as high.

No sort, no top-k, no sampled candidates: every item of the target counts (Krichene & Rendle, KDD 2020, on why).
Legend: U users of a chunk, N items, C items of a tile, O users whose own item is in it, K width of a vector, M pairs of
a user and an item that is masked for them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.batches import history_batches
from benchmark.domain import Sequences
from benchmark.method import Learned, Model, Scorer, ScoringModel
from benchmark.precision import autocast
from benchmark.splits import HeldOut

CHUNK_SCORES = 8_000_000
"""Scores held at a time: 32 MB in float32, whatever the number of users."""
TILE = (256, 8_192)
"""Users and items of a tile of scores, where so many users' whole rows would be more than `CHUNK_SCORES`."""


class NotFinite(ArithmeticError):
    """A model gave scores that are not finite: no comparison with them means anything."""


@dataclass(frozen=True, eq=False)
class Ranks:
    """Per user, int32 [n_users]: candidates scored strictly above the held-out item, and others scored the same."""

    greater: NDArray[np.int32]
    equal: NDArray[np.int32]


Masked = tuple[Tensor, Tensor]
"""Row and column, int64 [M] each, of scores of items that are no candidates; a column occurs once an item."""


def count(
    scores_UN: Tensor, targets_U: Tensor, copies_N: Tensor | None = None, masked: Masked | None = None
) -> tuple[Tensor, Tensor]:
    """(greater, equal) of each row's target, int64 [U]; ``equal`` does not count the target itself.

    copies_N: float32, how many items a column stands for; one each by default. masked: what is not counted; a row whose
    own target is masked counts for nothing. Raises NotFinite where a score is NaN or a target's score is not finite.
    """
    above_U, same_U = _compare(scores_UN, scores_UN.gather(1, targets_U[:, None]), copies_N, masked)
    return above_U, same_U - 1


def _compare(
    scores_UN: Tensor, target_U1: Tensor, copies_N: Tensor | None, masked: Masked | None
) -> tuple[Tensor, Tensor]:
    """How many scores of each row are above, and equal to, the row's ``target_U1``."""
    if not torch.isfinite(target_U1).all() or torch.isnan(scores_UN.sum()):
        raise NotFinite("scores are not finite: the model has diverged or returns NaN")
    # ones in float32 add up exactly to 2**24, and thirty times faster than booleans do
    ones_UN = torch.empty(scores_UN.shape, dtype=torch.float32, device=scores_UN.device)

    def total_U() -> Tensor:
        return (ones_UN.sum(1) if copies_N is None else ones_UN @ copies_N).long()

    torch.gt(scores_UN, target_U1, out=ones_UN)
    above_U = total_U()
    torch.eq(scores_UN, target_U1, out=ones_UN)
    same_U = total_U()
    if masked is not None:
        # taken off item by item: a column may stand for items of which only some are masked
        row_M, column_M = masked
        scores_M, target_M = scores_UN[row_M, column_M], target_U1[row_M, 0]
        above_U -= torch.bincount(row_M[scores_M > target_M], minlength=len(above_U))
        same_U -= torch.bincount(row_M[scores_M == target_M], minlength=len(above_U))
    return above_U, same_U


def _count_tiles(
    users_UK: Tensor, candidates_NK: Tensor, columns_U: Tensor, copies_N: Tensor, masked: Masked | None
) -> tuple[Tensor, Tensor]:
    """`count` of a catalogue too large for whole rows of scores: they are made and forgotten tile by tile."""
    target_U1 = (users_UK * candidates_NK[columns_U]).sum(1, keepdim=True)
    above_U, same_U = torch.zeros_like(columns_U), -torch.ones_like(columns_U)
    for begin in range(0, len(candidates_NK), TILE[1]):
        tile = slice(begin, begin + TILE[1])
        scores_UC = users_UK @ candidates_NK[tile].T
        # the tile's product may round otherwise than the target's: what is the target must tie with itself
        (own_O,) = torch.nonzero(columns_U // TILE[1] == begin // TILE[1], as_tuple=True)
        scores_UC[own_O, columns_U[own_O] - begin] = target_U1[own_O, 0]
        within = None
        if masked is not None:
            row_M, column_M = masked
            here_M = column_M // TILE[1] == begin // TILE[1]
            within = row_M[here_M], column_M[here_M] - begin
        more_U, as_high_U = _compare(scores_UC, target_U1, copies_N[tile], within)
        above_U += more_U
        same_U += as_high_U
    return above_U, same_U


def rank(
    method: Model | ScoringModel | Scorer,
    held_out: HeldOut,
    n_items: int,
    device: torch.device | None = None,
    precision: str = "float32",
) -> Ranks:
    """Rank each user's held-out item against all ``n_items``, in float32 (in the scorer's own type for counts).

    Masked items are not counted. A held-out item that is masked itself can't be recommended: it is ranked last.

    precision: in which a model makes its user vectors; scores are float32 in any case. What a run stores is ranked in
    float32 throughout, selection during training in the precision of training. Raises NotFinite where scores are not.
    """
    greater = np.empty(len(held_out.targets), np.int32)
    equal = np.empty(len(held_out.targets), np.int32)
    device = device or torch.device("cpu")
    rows = max(1, CHUNK_SCORES // n_items)

    def store(users: NDArray[np.int64], counts: tuple[Tensor, Tensor]) -> None:
        above_U, same_U = counts
        greater[users], equal[users] = above_U.cpu().numpy(), same_U.cpu().numpy()

    targets_U = torch.from_numpy(held_out.targets.astype(np.int64)).to(device)

    def masked(users: NDArray[np.int64], column_of_N: Tensor | None = None) -> Masked | None:
        """What is masked for some users, by their place and the item's column."""
        if held_out.masked is None:
            return None
        row_M, item_M = _distinct(held_out.masked.take(users), n_items)
        column_M = torch.from_numpy(item_M).to(device)
        return torch.from_numpy(row_M).to(device), column_M if column_of_N is None else column_of_N[column_M]

    def by_scores(scorer: Scorer | ScoringModel) -> None:
        for users in np.split(np.arange(len(greater)), range(rows, len(greater), rows)):
            with autocast(precision, device):
                scores_UN = scorer.scores(held_out.histories.take(users)).to(device)
            scores_UN = scores_UN.float() if isinstance(scorer, ScoringModel) else scores_UN
            store(users, count(scores_UN, targets_U[users], masked=masked(users)))

    def by_vectors(model: Model) -> None:
        items_ND = model.items()
        # a product may round one column otherwise than another: items of one vector tie only if they share one
        vectors_NK = model.candidates(items_ND).float()
        candidates_NK, column_of_N, copies_N = torch.unique(vectors_NK, dim=0, return_inverse=True, return_counts=True)
        columns_U, copies_N = column_of_N[targets_U], copies_N.float()
        for users, batch in history_batches(held_out.histories, room=model.room):
            with autocast(precision, device):
                vectors_TK = model.users(batch.to(device), items_ND).float()
            for begin in range(0, len(users), max(rows, TILE[0])):
                chunk = slice(begin, begin + max(rows, TILE[0]))
                vectors_UK, own_U = vectors_TK[chunk], columns_U[users[chunk]]
                out_of_it = masked(users[chunk], column_of_N)
                if rows < TILE[0]:
                    store(users[chunk], _count_tiles(vectors_UK, candidates_NK, own_U, copies_N, out_of_it))
                else:
                    store(users[chunk], count(vectors_UK @ candidates_NK.T, own_U, copies_N, out_of_it))

    if isinstance(method, Learned):
        was_training = method.training
        method.eval()
        with torch.no_grad():
            if isinstance(method, Model):
                by_vectors(method)
            else:
                by_scores(method)
        method.train(was_training)
    else:
        by_scores(method)
    if held_out.masked is not None:
        missed_U = _holds_its_target(held_out.masked, held_out.targets)
        greater[missed_U], equal[missed_U] = n_items - 1, 0
    return Ranks(greater, equal)


def _distinct(sequences: Sequences, n_items: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and item of each different item of each sequence, int64 [M] each."""
    row = np.repeat(np.arange(len(sequences)), sequences.lengths)
    return np.divmod(np.unique(row * n_items + sequences.items), n_items)


def _holds_its_target(sequences: Sequences, targets_U: NDArray[np.int32]) -> NDArray[np.bool_]:
    row = np.repeat(np.arange(len(sequences)), sequences.lengths)
    own = sequences.items == targets_U[row]
    return np.bincount(row[own], minlength=len(sequences)) > 0
