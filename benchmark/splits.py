"""What may be seen when: splits of a domain into training, validation and test.

Leave-one-out lets a model train on other users' future (Ji et al., arXiv:2010.11060): it is kept for comparison
with printed numbers, not because it is realistic. A cut in time, the same for everybody, is what a deployed
recommender meets (Gusak et al., "Time to Split", RecSys 2025, arXiv:2507.16289).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchmark.domain import Domain, Sequences
from benchmark.errors import InputError
from benchmark.jobs import Cut, derive_seed

FEWEST_USERS = 10
"""Who must be asked in each part of a cut in time for it to be worth running: sessions that happen to be under way at
an instant are no basis for selecting a model, nor for judging one."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What a model is asked: the next item after each history.

    histories: one a question, whole (models cut them at their own limit); targets: int32 [n_questions]; masked: items
    of each question that are no candidates, where there are such (repeats mean nothing).
    """

    histories: Sequences
    targets: NDArray[np.int32]
    masked: Sequences | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class InTime:
    """What a cut in time adds to a split. Instants are seconds since 1970."""

    valid_from: int
    test_from: int
    refit: Sequences
    """Everything before the test part: what the model is trained on anew once selection has found for how long."""
    test_users: NDArray[np.int64]
    """Who is asked each test question, rows of the domain, int64 [n_questions], ascending."""
    left_out: int
    """Users of the test part who are not asked, for want of any history before it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Training sequences, and the held-out questions: of each user one for validation and one for test, unless the
    split is in time."""

    n_items: int
    train: Sequences
    valid: HeldOut
    test: HeldOut
    in_time: InTime | None = None

    @cached_property
    def train_counts(self) -> NDArray[np.int64]:
        """Interactions of each item in what the ranked model has learnt from, int64 [n_items]."""
        learnt = self.train if self.in_time is None else self.in_time.refit
        return np.bincount(learnt.items, minlength=self.n_items)


def split_of(domain: Domain, cut: Cut | None) -> Split:
    """By a cut in time or, without one, leave-one-out; raises as those do."""
    return leave_one_out(domain) if cut is None else temporal(domain, cut)


def leave_one_out(domain: Domain) -> Split:
    """Last item for test, second last for validation; the test history contains the validation item.

    Source: UniSRec (arXiv:2206.05941), section 3.1. Raises InputError for a user with fewer than three interactions.
    """
    short = np.flatnonzero(domain.sequences.lengths < 3)
    if len(short):
        raise InputError(
            f"domain '{domain.name}': user '{domain.user_ids[short[0]]}' has "
            f"{domain.sequences.lengths[short[0]]} interactions ({len(short)} users have fewer than three); "
            "leave-one-out needs three: filter such users when preparing the domain"
        )
    return Split(
        n_items=domain.n_items,
        train=domain.sequences.without_last(2),
        valid=HeldOut(domain.sequences.without_last(2), domain.sequences.from_end(2)),
        test=HeldOut(domain.sequences.without_last(1), domain.sequences.from_end(1)),
    )


def some_users(split: Split, share: float, fingerprint: str, seed: int) -> Split:
    """What a few-shot run is trained and selected on: the training sequences and questions of a share of the users.

    Users are ordered by a hash of (fingerprint of the domain, seed, user), and the first of them are taken, at least
    one: all methods of a seed see the same users, and a smaller share is part of a larger one. The order of those who
    stay and the items are the split's.
    """
    n_users = len(split.train)
    order = sorted(range(n_users), key=lambda user: derive_seed("few-shot", fingerprint, seed, user))
    users = np.sort(np.array(order[: max(1, round(share * n_users))]))
    return Split(
        n_items=split.n_items,
        train=split.train.take(users),
        valid=HeldOut(split.valid.histories.take(users), split.valid.targets[users]),
        test=HeldOut(split.test.histories.take(users), split.test.targets[users]),
    )


def temporal(domain: Domain, cut: Cut, fewest: int = FEWEST_USERS) -> Split:
    """Everything from an instant on is for testing, everything from an earlier one on for validation.

    The test part begins at the quantile ``cut.quantile`` of the times of all interactions (the least time that is not
    below it), the validation part at the same quantile of the times before that. Asked are users with history before
    the part in question; a history holds all that the user did before the asked interaction, so in the test part also
    earlier interactions of that part. In validation the last interaction of each user is asked. Items that first occur
    in a held-out part stay candidates. Interactions of one user at one time keep the order of the domain.

    Raises InputError for a domain without times or with times that go back, and where a part asks fewer than
    ``fewest`` users.
    """
    times = _times(domain)
    test_from = _quantile(times, cut.quantile)
    valid_from = _quantile(times[times < test_from], cut.quantile)
    sequences = domain.sequences
    n_train, n_known = (_counted(times < instant, sequences) for instant in (valid_from, test_from))
    valid = np.flatnonzero((n_train > 0) & (n_known > n_train))
    tested = np.flatnonzero((n_known > 0) & (sequences.lengths > n_known))
    for part, users in (("validation", valid), ("test", tested)):
        if len(users) < fewest:
            raise InputError(
                f"domain '{domain.name}': cut in time at its quantile {cut.quantile}, {len(users)} users of the {part} "
                f"part have history before it, and it takes {fewest}; where users are sessions, make the customer the "
                "user, or choose another 'cut'"
            )
    asked = sequences.lengths - n_known if cut.test == "successive" else np.ones(len(sequences), np.int64)
    users = np.repeat(tested, asked[tested])
    place = np.arange(len(users)) - np.repeat(np.cumsum(asked[tested]) - asked[tested], asked[tested])
    return Split(
        n_items=domain.n_items,
        train=_first(sequences, np.flatnonzero(n_train), n_train[n_train > 0]),
        valid=_asked(sequences, valid, n_known[valid] - 1),
        test=_asked(sequences, users, sequences.lengths[users] - asked[users] + place),
        in_time=InTime(
            valid_from=valid_from,
            test_from=test_from,
            refit=_first(sequences, np.flatnonzero(n_known), n_known[n_known > 0]),
            test_users=users,
            left_out=int((n_known == 0).sum()),
        ),
    )


def held_out(domain: Domain, cut: Cut | None) -> Sequences:
    """What no source may know: of each user (row of the domain) the items of the test part or, in leave-one-out, the
    last two. Raises InputError as `temporal`."""
    lengths = domain.sequences.lengths
    if cut is None:
        kept = np.maximum(lengths - 2, 0)
    else:
        times = _times(domain)
        kept = _counted(times < _quantile(times, cut.quantile), domain.sequences)
    position = np.arange(len(domain.sequences.items)) - np.repeat(domain.sequences.offsets[:-1], lengths)
    return Sequences(domain.sequences.items[position >= np.repeat(kept, lengths)], _offsets(lengths - kept))


def instant_of(domain: Domain, cut: Cut) -> int:
    """The instant at which the test part begins; raises InputError as `temporal`."""
    return _quantile(_times(domain), cut.quantile)


def _times(domain: Domain) -> NDArray[np.int64]:
    times, sequences = domain.timestamps, domain.sequences
    if times is None:
        raise InputError(
            f"domain '{domain.name}' has no times, and the strict track cuts in time: choose a target whose "
            "interactions have times, or run it under 'track: paper'"
        )
    back = np.flatnonzero(np.diff(times) < 0) + 1
    back = back[~np.isin(back, sequences.offsets)]
    if len(back):
        user = domain.user_ids[int(np.searchsorted(sequences.offsets, back[0], side="right")) - 1]
        raise InputError(
            f"domain '{domain.name}': the interactions of user '{user}' are not in the order of their times, and the "
            "strict track cuts in time; sort them by time when preparing the domain"
        )
    return times


def _quantile(times: NDArray[np.int64], quantile: float) -> int:
    """A time that occurs: the least one that is not below the quantile."""
    return int(np.quantile(times, quantile, method="higher")) if len(times) else 0


def _counted(chosen: NDArray[np.bool_], sequences: Sequences) -> NDArray[np.int64]:
    """How many of each user's interactions are chosen, int64 [n_users]."""
    upto = np.concatenate([[0], np.cumsum(chosen)])
    return upto[sequences.offsets[1:]] - upto[sequences.offsets[:-1]]


def _first(sequences: Sequences, users: NDArray[np.int64], counts: NDArray[np.int64]) -> Sequences:
    """The first so many items of some users, who may occur several times."""
    offsets = _offsets(counts)
    index = np.arange(offsets[-1]) + np.repeat(sequences.offsets[users] - offsets[:-1], counts)
    return Sequences(sequences.items[index], offsets)


def _asked(sequences: Sequences, users: NDArray[np.int64], places: NDArray[np.int64]) -> HeldOut:
    """The question for the interaction at each place of a user's sequence."""
    return HeldOut(_first(sequences, users, places), sequences.items[sequences.offsets[users] + places])


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
