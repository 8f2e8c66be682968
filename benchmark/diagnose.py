"""What a run says of its model for figures: how alike item vectors are, and which source sequences come near.

All that is drawn comes from generators of its own, seeded by what the data are, so that methods and seeds of a target
are seen at the same pairs, users and sequences, and so that nothing else of a run depends on it.

Legend: P pairs, N items, U users of the target, S sequences of sources, F text width, K width of a vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.batches import history_batches
from benchmark.diagnostics import (
    DIGITS,
    NEIGHBOURS,
    SHOWN_ITEMS,
    Case,
    Diagnostics,
    Histogram,
    ItemCosines,
    Nearness,
    Neighbour,
    SourceNearness,
    shown_texts,
)
from benchmark.domain import Domain, Sequences
from benchmark.jobs import derive_seed
from benchmark.method import Material, Method, Model
from benchmark.splits import Split

PAIRS = 200_000
"""At most so many pairs make a histogram."""
USERS, CASES = 500, 20
"""Users of a target that are compared with source sequences, and how many of them are shown where that is allowed."""
CHECKED = 5
"""Users by whom it is checked that the model can read other domains."""
SEQUENCES = 10_000
"""Drawn of all sources together."""
AT_A_TIME = 2_000
"""Sequences that are read at once: their items are what takes memory."""
SAME = 1e-4
"""How far two unit vectors may differ in a place that ought to be the same."""

Found = TypeVar("Found")


@dataclass(frozen=True, kw_only=True, eq=False)
class Texts:
    """A domain and the vectors of its item texts."""

    domain: Domain
    text_NF: NDArray[np.float32]
    """May be mapped; only the rows that are needed are read."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Examined:
    """A model as its run left it."""

    method: Method
    config: Any
    model: Model
    target: Texts
    split: Split
    """Of the target; what is asked on test is looked at."""
    pretrained: Mapping[str, Tensor] | None
    device: torch.device


def diagnose(
    key: str,
    examined: Examined,
    sources: Callable[[], Sequence[Texts]],
    *,
    show: bool,
    log: Callable[[str], None],
) -> Diagnostics | None:
    """The diagnostics of the run of this key. What goes wrong is logged and left out; None where nothing is left.

    sources: the domains that the model was pre-trained on, asked for where it may be able to read their sequences.
    show: whether users and item texts of target and sources may be written.
    """

    def tried(what: str, make: Callable[[], Found]) -> Found | None:
        try:
            return make()
        except Exception as error:  # noqa: BLE001 - a run is its ranks: what only a figure needs must not cost it
            log(f"no {what} in the diagnostics: {type(error).__name__}: {error}")
            return None

    item_cosines = tried("cosines of items", lambda: _item_cosines(examined))
    nearness = None
    if examined.method.pretraining and examined.method.family == "text":
        nearness = tried("nearest source sequences", lambda: _nearness(examined, sources(), show=show))
    if item_cosines is None and nearness is None:
        return None
    return Diagnostics(key=key, item_cosines=item_cosines, nearness=nearness)


def pairs_of(n_items: int, fingerprint: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of different items, int64 [P] each: all of them where these are no more than `PAIRS`, else so many drawn
    with replacement. Which ones depends on the domain's fingerprint alone."""
    if n_items * (n_items - 1) // 2 <= PAIRS:
        first_P, second_P = np.triu_indices(n_items, 1)
        return first_P, second_P
    rng = np.random.default_rng(derive_seed("pairs of items", fingerprint))
    first_P = rng.integers(n_items, size=PAIRS)
    return first_P, (first_P + rng.integers(1, n_items, size=PAIRS)) % n_items


def cosines_of_pairs(
    vectors_NK: NDArray[np.float32], pairs: tuple[NDArray[np.int64], NDArray[np.int64]], at_a_time: int = 8_192
) -> NDArray[np.float32]:
    """The cosine of each pair of rows, float32 [P]; NaN where one of them is all zero."""
    unit_NK = _unit(vectors_NK)
    chunks = [np.split(part_P, range(at_a_time, len(part_P), at_a_time)) for part_P in pairs]
    found = [np.einsum("pk,pk->p", unit_NK[a], unit_NK[b]) for a, b in zip(*chunks, strict=True)]
    return np.concatenate(found)


def _unit(vectors_NK: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors of length one; NaN for one that is all zero."""
    with np.errstate(invalid="ignore"):
        return vectors_NK / np.linalg.norm(vectors_NK, axis=1, keepdims=True)


def _item_cosines(examined: Examined) -> ItemCosines | None:
    model, target = examined.model, examined.target
    with _evaluated(model):
        candidates_NK = model.candidates(model.items()).float().cpu().numpy()
    pairs = pairs_of(target.domain.n_items, target.domain.fingerprint)
    text_P, items_P = (cosines_of_pairs(vectors, pairs) for vectors in (np.asarray(target.text_NF), candidates_NK))
    # an encoder may give zeros for a text without words: it has no direction
    known_P = ~np.isnan(text_P) & ~np.isnan(items_P)
    text, items = Histogram.of(text_P[known_P]), Histogram.of(items_P[known_P])
    return ItemCosines(text=text, items=items) if text and items else None


def _nearness(examined: Examined, sources: Sequence[Texts], *, show: bool) -> Nearness | None:
    target, split = examined.target, examined.split
    histories = split.test.histories
    users = np.arange(len(histories)) if split.in_time is None else split.in_time.test_users
    rng = np.random.default_rng(derive_seed("users beside sources", target.domain.fingerprint))
    asked = rng.permutation(len(histories))[:USERS]
    shown = asked[:CASES]
    drawn = _draw(sources)
    if not len(asked) or not drawn:
        return None
    users_UK = _users(examined.model, histories.take(asked), examined.device)
    _check_reads_texts_alone(examined, histories.take(asked[:CHECKED]), users_UK[:CHECKED])
    by_source = [
        users_UK @ _read(examined, source.domain.sequences.take(rows).without_last(2), source.text_NF).T
        for source, rows in drawn
    ]
    cosines_US = np.concatenate(by_source, 1)
    highest_US = np.stack([cosines.max(1) for cosines in by_source], 1)
    nearest_U = highest_US.argmax(1)
    some = rng.integers(cosines_US.size, size=PAIRS) if cosines_US.size > PAIRS else slice(None)
    return Nearness(
        users=len(asked),
        any_two=_histogram(cosines_US.ravel()[some]),
        sources=tuple(
            SourceNearness(
                source=source.domain.name,
                sequences=len(rows),
                nearest=int((nearest_U == number).sum()),
                highest=_histogram(highest_US[:, number]),
            )
            for number, (source, rows) in enumerate(drawn)
        ),
        cases=tuple(_cases(target.domain, users[shown], histories.take(shown), drawn, cosines_US)) if show else (),
    )


def _draw(sources: Sequence[Texts]) -> list[tuple[Texts, NDArray[np.int64]]]:
    """Of the sequences that pre-training learnt from, at most `SEQUENCES` of all sources together: the rows of each
    source that has any, in order."""
    usable = [np.flatnonzero(source.domain.sequences.lengths > 2) for source in sources]
    edges = np.cumsum([0, *map(len, usable)])
    rng = np.random.default_rng(derive_seed("sequences of sources", *(source.domain.fingerprint for source in sources)))
    chosen = np.sort(rng.permutation(edges[-1])[:SEQUENCES])
    parts = [
        (source, rows[chosen[(chosen >= begin) & (chosen < end)] - begin])
        for source, rows, begin, end in zip(sources, usable, edges, edges[1:], strict=False)
    ]
    return [(source, rows) for source, rows in parts if len(rows)]


def _check_reads_texts_alone(examined: Examined, histories: Sequences, users_UK: NDArray[np.float32]) -> None:
    """Raise ValueError unless copies of the model over the texts of one history each read it as the model itself does.

    Only then are vectors of other domains in one space with those of the target: where a vector depends on the whole
    item table (as whitening does), or something learnt is no parameter, they are not.
    """
    alone = (histories.take(np.array([row])) for row in range(len(histories)))
    copied_UK = np.concatenate([_read(examined, history, examined.target.text_NF) for history in alone])
    if not np.allclose(copied_UK, users_UK, rtol=0, atol=SAME):
        raise ValueError("the model's user vectors depend on more than its parameters and the texts of a history")


def _read(examined: Examined, histories: Sequences, text_NF: NDArray[np.float32]) -> NDArray[np.float32]:
    """User vectors of histories of any domain, unit rows float32 [n_histories, K].

    They are read by copies of the model, each over the texts of the items that some of the histories have.
    """
    learnt = {name: parameter.detach() for name, parameter in examined.model.named_parameters()}
    found = []
    for chosen in np.split(np.arange(len(histories)), range(AT_A_TIME, len(histories), AT_A_TIME)):
        part = histories.take(chosen)
        rows, items = np.unique(part.items, return_inverse=True)
        own = Sequences(items.astype(np.int32), part.offsets)
        material = Material(
            n_items=len(rows),
            train=own,
            text=np.array(text_NF[rows], np.float32),
            pretrained=examined.pretrained,
        )
        # a copy is made with initial weights, which are drawn from the global state
        with torch.random.fork_rng([examined.device] if examined.device.type == "cuda" else []):
            copy = examined.method.build(examined.config, material)
        if not isinstance(copy, Model):
            raise TypeError(f"{examined.method.name} builds a {type(copy).__name__}, which has no user vectors")
        # parameters only: what else it holds is made from the texts
        copy.load_state_dict(learnt, strict=False)
        found.append(_users(copy.to(examined.device), own, examined.device))
    return np.concatenate(found)


def _users(model: Model, histories: Sequences, device: torch.device) -> NDArray[np.float32]:
    """User vectors after each history, unit rows float32 [n_histories, K]."""
    vectors: dict[int, Tensor] = {}
    with _evaluated(model):
        items_ND = model.items()
        for users, batch in history_batches(histories, room=model.room):
            vectors |= zip(users.tolist(), model.users(batch.to(device), items_ND).float().cpu(), strict=True)
    return _unit(torch.stack([vectors[user] for user in range(len(histories))]).numpy())


@contextmanager
def _evaluated(model: Model) -> Iterator[None]:
    was_training = model.training
    model.eval()
    with torch.no_grad():
        yield
    model.train(was_training)


def _histogram(cosines: NDArray[np.float32]) -> Histogram:
    found = Histogram.of(cosines)
    assert found is not None, "there are users and sequences"
    return found


def _cases(
    target: Domain,
    users: NDArray[np.int64],
    histories: Sequences,
    drawn: Sequence[tuple[Texts, NDArray[np.int64]]],
    cosines_US: NDArray[np.float32],
) -> Iterator[Case]:
    places = [(source.domain, int(row)) for source, rows in drawn for row in rows]
    for place, (user, cosines_S) in enumerate(zip(users.tolist(), cosines_US, strict=False)):
        rounded_S = np.clip(cosines_S, -1, 1).astype(np.float64).round(DIGITS)
        nearest = []
        for column in np.argsort(-rounded_S, kind="stable")[:NEIGHBOURS]:
            source, row = places[column]
            texts = _last_texts(source, source.sequences[row][:-2])
            nearest.append(Neighbour(row=row, texts=texts, source=source.name, cosine=float(rounded_S[column])))
        yield Case(row=user, texts=_last_texts(target, histories[place]), nearest=tuple(nearest))


def _last_texts(domain: Domain, items: NDArray[np.int32]) -> tuple[str, ...]:
    return shown_texts([domain.texts[item] for item in items[-SHOWN_ITEMS:]])
