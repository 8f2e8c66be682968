"""Controls: a row once more with one thing taken from it, so that the difference to the plain row is what it is worth.

- `SHUFFLED_TEST`: a model that is trained and selected as usual is asked its test questions after shuffled histories.
- `SHUFFLED`: training sequences and the histories of validation and test are shuffled: what is there to learn without
  any order. Which item is held out stays the same.
- `PERMUTED_TEXTS`: the contents (text and attributes) of each item are another item's.
- `SEEN_MASKED`: items of a user's history are no candidates of the finished model, which is the plain row's: selection
  does not mask. A held-out item that is in the history can't be recommended then: it counts as a miss and is ranked
  last (popular protocols mask so, and lose every repeat).

All else is as without a control. Every function here is pure, and gives back what it was given where the control is
none of its own, so that the runner asks no questions.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from benchmark.domain import Sequences
from benchmark.errors import InputError, unknown
from benchmark.jobs import derive_seed
from benchmark.splits import HeldOut, Split

SHUFFLED_TEST, SHUFFLED, PERMUTED_TEXTS, SEEN_MASKED = "shuffled-test", "shuffled", "permuted-texts", "seen-masked"
ABOUT: Mapping[str, str] = MappingProxyType(
    {
        SHUFFLED_TEST: "histories of the test questions shuffled",
        SHUFFLED: "training sequences and all histories shuffled",
        PERMUTED_TEXTS: "every item has another item's text",
        SEEN_MASKED: "items of the history are not ranked",
    }
)


def check(control: str | None, needs: Set[str], where: str) -> None:
    """Raise InputError for an unknown control, and for one that takes nothing from a method of such needs."""
    if control is None:
        return
    if control not in ABOUT:
        raise unknown("control", control, ABOUT, where)
    if control == PERMUTED_TEXTS and not needs & {"text", "taxonomy"}:
        raise InputError(f"{where}: it reads no item texts, so control '{control}' takes nothing from it; remove it")


def draw_of(fingerprint: str, seed: int) -> int:
    """What all that is random in a control depends on: the data and the seed of the job, not its method or control."""
    return derive_seed("control", fingerprint, seed)


def learnt(control: str | None, split: Split, draw: int) -> Split:
    """What a model is trained on: under `SHUFFLED` each training sequence as a whole in another order."""
    if control != SHUFFLED:
        return split
    train, in_time = shuffled(split.train, derive_seed(draw, "train")), split.in_time
    if in_time is not None:
        in_time = replace(in_time, refit=shuffled(in_time.refit, derive_seed(draw, "refit")))
    return replace(split, train=train, in_time=in_time)


def contents(control: str | None, n_items: int, draw: int) -> NDArray[np.int64]:
    """For each item, whose contents it has, int64 [n_items]: its own, or under `PERMUTED_TEXTS` never its own.

    Raises InputError where there is no other item.
    """
    if control != PERMUTED_TEXTS:
        return np.arange(n_items)
    if n_items < 2:
        raise InputError(f"control '{control}': the target has one item; there is no other text to give it")
    # one cycle through all items has no fixed point
    order = _by_hash(n_items, derive_seed(draw, "contents"))
    taken = np.empty(n_items, np.int64)
    taken[order] = np.roll(order, 1)
    return taken


def asked(control: str | None, split: Split, draw: int, limit: int) -> tuple[Split, Split]:
    """The questions of selection, and those of the finished model.

    limit: items at the end of a history that the model may read. These are shuffled among themselves, so that it sees
    the same items with and without the shuffle. A method that reads whole histories as sets notices nothing; one that
    reads the last item alone (Markov) is given any of them.
    """
    if control == SHUFFLED:
        both = replace(split, valid=_asked_shuffled(split.valid, derive_seed(draw, "valid"), limit))
        both = replace(both, test=_asked_shuffled(split.test, derive_seed(draw, "test"), limit))
        return both, both
    if control == SHUFFLED_TEST:
        return split, replace(split, test=_asked_shuffled(split.test, derive_seed(draw, "test"), limit))
    if control == SEEN_MASKED:
        return split, replace(split, valid=_masking_seen(split.valid), test=_masking_seen(split.test))
    return split, split


def shuffled(sequences: Sequences, draw: int, last: int | None = None) -> Sequences:
    """The last ``last`` items of each sequence (all of them by default) in an order that ``draw`` decides."""
    user = np.repeat(np.arange(len(sequences)), sequences.lengths)
    place = np.arange(len(sequences.items), dtype=np.uint64)
    moved = np.ones(len(user), bool) if last is None else sequences.among_last(last)
    key = np.where(moved, np.random.PCG64(draw).random_raw(len(user)), place)
    return Sequences(sequences.items[np.lexsort((key, moved, user))], sequences.offsets)


def _asked_shuffled(held_out: HeldOut, draw: int, limit: int) -> HeldOut:
    return replace(held_out, histories=shuffled(held_out.histories, draw, limit))


def _masking_seen(held_out: HeldOut) -> HeldOut:
    return replace(held_out, masked=held_out.histories)


def _by_hash(n: int, draw: int) -> NDArray[np.int64]:
    """0 to n - 1 in an order that ``draw`` decides, the same with every version of numpy."""
    return np.argsort(np.random.PCG64(draw).random_raw(n), kind="stable")
