"""What figures need of a run beyond its ranks: the schema of ``diagnostics.json``.

The file is optional (runs stored before there was one have none), and nothing in it is part of a run's key or decides
what a leaderboard says. Users and items are named in it, by row and by text, only where the cards of the target and of
all its sources allow it (`benchmark.cards.Card.texts_may_be_published`); elsewhere it holds counts of cosines alone.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from benchmark.record import Amount, Count, Record, Sha256, Stored

BINS = 100
"""Of a histogram: equal ones from -1 to 1."""
DIGITS = 6
"""To which cosines are rounded."""
NEIGHBOURS = 5
SHOWN_ITEMS = 5
"""The last items of a history, of which the texts are shown."""
SHOWN_CHARACTERS = 80
"""Of a text: its beginning, where all readers put the title."""

Cosine = Annotated[float, Field(ge=-1, le=1)]


class Histogram(Stored):
    """How often a cosine was found in each bin; the last holds 1 itself."""

    counts: Annotated[tuple[Count, ...], Field(min_length=BINS, max_length=BINS)]
    mean: Cosine
    sd: Amount
    """Of the cosines, not of the bins; 0 for a single one."""

    @property
    def total(self) -> int:
        return sum(self.counts)

    @classmethod
    def of(cls, cosines: NDArray[np.float32]) -> Histogram | None:
        """Of cosines of any shape, which rounding may have put beyond 1; None where there are none.

        Raises ValueError for one that is not finite.
        """
        if not cosines.size:
            return None
        values = np.clip(cosines.astype(np.float64).ravel(), -1, 1)
        counts, _ = np.histogram(values, BINS, (-1, 1))
        mean, sd = round(float(values.mean()), DIGITS), round(float(values.std()), DIGITS)
        return cls(counts=tuple(counts.tolist()), mean=mean, sd=sd)


class ItemCosines(Stored):
    """Of the same random pairs of different items: anisotropy before and after the model."""

    text: Histogram
    """Of the text vectors that the model reads."""
    items: Histogram
    """Of the item vectors as scores see them."""


class SourceNearness(Stored):
    """How near the drawn sequences of one source come to the drawn users of the target."""

    source: str
    sequences: Count
    """Drawn of this source, in proportion to its size."""
    nearest: Count
    """Users whose nearest sequence of all is one of them."""
    highest: Histogram
    """Of each user, the cosine with the nearest of them."""


class Shown(Stored):
    """A history that may be shown."""

    row: Count
    """Of the user in its domain."""
    texts: Annotated[
        tuple[Annotated[str, Field(max_length=SHOWN_CHARACTERS)], ...], Field(min_length=1, max_length=SHOWN_ITEMS)
    ]
    """The beginnings of the texts of its last items, oldest first."""


class Neighbour(Shown):
    source: str
    cosine: Cosine


class Case(Shown):
    """A user of the target, as known before the test item, and the source sequences that the model reads most alike."""

    nearest: Annotated[tuple[Neighbour, ...], Field(min_length=1, max_length=NEIGHBOURS)]
    """Nearest first."""


class Nearness(Stored):
    """Users of the target beside sequences of the sources, both drawn at random and read by one model as texts."""

    users: Count
    """Drawn."""
    any_two: Histogram
    """Of random pairs of a user and a sequence: what a high cosine has to be compared with."""
    sources: Annotated[tuple[SourceNearness, ...], Field(min_length=1)]
    cases: tuple[Case, ...]
    """The first of the users drawn; empty where a card does not allow to show them."""


class Diagnostics(Stored):
    format: Literal[1] = 1
    key: Sha256
    """Of the run."""
    item_cosines: ItemCosines | None
    """Null for a model without item vectors or texts."""
    nearness: Nearness | None
    """Null for a model that does not read sequences of the sources in the space of the target's."""

    def problem(self, record: Record) -> str | None:
        """What keeps this from being of the run with this record, or None."""
        if self.key != record.key:
            return "belongs to another run"
        if self.item_cosines and self.item_cosines.text.total != self.item_cosines.items.total:
            return "text and item vectors are not compared over the same pairs"
        return self._problem_of_nearness(record, self.nearness) if self.nearness else None

    @staticmethod
    def _problem_of_nearness(record: Record, nearness: Nearness) -> str | None:
        users = {source.name: source.users for source in record.sources}
        if not {near.source for near in nearness.sources} <= set(users):
            return "names a source that the run does not have"
        if any(near.highest.total != nearness.users for near in nearness.sources):
            return f"not every source has a cosine of each of the {nearness.users} users"
        if sum(near.nearest for near in nearness.sources) != nearness.users:
            return f"the users do not add up to {nearness.users}"
        rows = [(case.row, record.target.users) for case in nearness.cases]
        rows += [(near.row, users.get(near.source, 0)) for case in nearness.cases for near in case.nearest]
        if any(row >= there for row, there in rows):
            return "shows a user that its domain does not have"
        return None


def shown_texts(texts: list[str]) -> tuple[str, ...]:
    """Item texts, each cut to what may be shown of it."""
    plain = (" ".join(text.split()) for text in texts)
    return tuple(text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…" for text in plain)
