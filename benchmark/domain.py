"""A domain: who interacted with what, in which order, and what the items say.

Everything downstream of preparation sees only this. Users and items are rows; raw ids stay here and
are never written into results.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmark.errors import InputError
from benchmark.files import read_json

FORMAT = 1
"""Version of the canonical bytes below; raising it changes every fingerprint."""


class Damaged(InputError):
    """A prepared domain that is not what was saved."""


@dataclass(frozen=True, eq=False)
class Sequences:
    """Item sequences of many users in compressed rows (CSR), oldest item first.

    items: int32 [n_interactions], rows of the item table.
    offsets: int64 [n_users + 1]; user u owns ``items[offsets[u]:offsets[u + 1]]``.
    """

    items: NDArray[np.int32]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, user: int) -> NDArray[np.int32]:
        return self.items[self.offsets[user] : self.offsets[user + 1]]

    def __iter__(self) -> Iterator[NDArray[np.int32]]:
        return (self[user] for user in range(len(self)))

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Interactions of each user, int64 [n_users]."""
        return np.diff(self.offsets)

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]] | Sequence[NDArray[np.int32]]) -> Sequences:
        """Sequences from one list or array a user."""
        lengths = [len(row) for row in rows]
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        items = np.concatenate([np.asarray(row, np.int32) for row in rows]) if rows else np.zeros(0, np.int32)
        return cls(items.astype(np.int32), offsets)

    def take(self, users: NDArray[np.int64]) -> Sequences:
        """The sequences of some users, in the order given."""
        lengths = self.lengths[users]
        offsets = np.zeros(len(users) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        index = np.arange(offsets[-1]) + np.repeat(self.offsets[users] - offsets[:-1], lengths)
        return Sequences(self.items[index], offsets)

    def without_last(self, n: int) -> Sequences:
        """Each sequence less its last ``n`` items (sequences that short become empty)."""
        kept = np.maximum(self.lengths - n, 0)
        position = np.arange(len(self.items)) - np.repeat(self.offsets[:-1], self.lengths)
        offsets = np.zeros(len(self) + 1, np.int64)
        np.cumsum(kept, out=offsets[1:])
        return Sequences(self.items[position < np.repeat(kept, self.lengths)], offsets)

    def from_end(self, n: int) -> NDArray[np.int32]:
        """The n-th item from the end of each sequence (1 = last), int32 [n_users]."""
        return self.items[self.offsets[1:] - n]

    def among_last(self, n: int) -> NDArray[np.bool_]:
        """For each of the items, whether it is one of the last ``n`` of its sequence, bool [n_interactions]."""
        return np.repeat(self.offsets[1:], self.lengths) - np.arange(len(self.items)) <= n


@dataclass(frozen=True, kw_only=True, eq=False)
class Domain:
    """One domain. Arrays are checked on construction; raises InputError where they disagree."""

    name: str
    sequences: Sequences
    item_ids: tuple[str, ...]
    """Raw item ids, one a row of the item table."""
    user_ids: tuple[str, ...]
    """Raw user ids, one a sequence."""
    texts: tuple[str, ...]
    """Item texts; the empty string where an item has none."""
    timestamps: NDArray[np.int64] | None = None
    """Seconds since 1970 (UTC) of each interaction, int64 [n_interactions]."""
    clusters: NDArray[np.int32] | None = None
    """Which users belong together (Online Retail: invoices of one customer), int32 [n_users]."""
    taxonomy: tuple[tuple[str, ...], ...] | None = None
    """Category path and brand of each item, where these are known apart from the text."""

    def __post_init__(self) -> None:
        items, offsets = self.sequences.items, self.sequences.offsets
        if items.dtype != np.int32 or offsets.dtype != np.int64:
            raise InputError(f"domain '{self.name}': items must be int32 and offsets int64")
        if len(offsets) < 1 or offsets[0] != 0 or offsets[-1] != len(items) or (np.diff(offsets) < 0).any():
            raise InputError(f"domain '{self.name}': offsets do not partition the {len(items)} interactions")
        if len(self.texts) != len(self.item_ids):
            raise InputError(f"domain '{self.name}': {len(self.texts)} texts for {len(self.item_ids)} items")
        if len(items) and not (int(items.min()) >= 0 and int(items.max()) < self.n_items):
            raise InputError(f"domain '{self.name}': an interaction names an item outside 0..{self.n_items - 1}")
        sizes = {
            "user ids": (len(self.user_ids), self.n_users),
            "timestamps": (self.n_interactions if self.timestamps is None else len(self.timestamps), len(items)),
            "clusters": (self.n_users if self.clusters is None else len(self.clusters), self.n_users),
            "taxonomy": (self.n_items if self.taxonomy is None else len(self.taxonomy), self.n_items),
        }
        for what, (found, wanted) in sizes.items():
            if found != wanted:
                raise InputError(f"domain '{self.name}': {found} {what}, expected {wanted}")
        if len(set(self.item_ids)) != self.n_items or len(set(self.user_ids)) != self.n_users:
            raise InputError(f"domain '{self.name}': a raw id of a user or an item occurs twice")

    @property
    def n_users(self) -> int:
        return len(self.sequences)

    @property
    def n_items(self) -> int:
        return len(self.item_ids)

    @property
    def n_interactions(self) -> int:
        return len(self.sequences.items)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the canonical bytes: little-endian arrays and length-prefixed UTF-8 strings.

        The name is left out: it is a label, not data.
        """
        digest = hashlib.sha256(f"transrec domain {FORMAT}\n".encode())

        def array(label: str, values: NDArray[np.generic] | None, dtype: str) -> None:
            if values is not None:
                digest.update(f"{label} {len(values)}\n".encode())
                digest.update(np.ascontiguousarray(values, dtype).tobytes())

        def strings(label: str, values: Sequence[str]) -> None:
            digest.update(f"{label} {len(values)}\n".encode())
            for value in values:
                encoded = value.encode()
                digest.update(f"{len(encoded)}:".encode() + encoded)

        array("items", self.sequences.items, "<i4")
        array("offsets", self.sequences.offsets, "<i8")
        array("timestamps", self.timestamps, "<i8")
        array("clusters", self.clusters, "<i4")
        strings("item ids", self.item_ids)
        strings("user ids", self.user_ids)
        strings("texts", self.texts)
        if self.taxonomy is not None:
            for row in self.taxonomy:
                strings("taxonomy", row)
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Write to ``folder`` in one step: it appears complete or not at all."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            interactions: dict[str, NDArray[np.generic]] = {"item": self.sequences.items}
            if self.timestamps is not None:
                interactions["timestamp"] = self.timestamps
            pq.write_table(pa.table(interactions), temporary / "interactions.parquet")
            users: dict[str, object] = {"user_id": list(self.user_ids), "length": self.sequences.lengths}
            if self.clusters is not None:
                users["cluster"] = self.clusters
            pq.write_table(pa.table(users), temporary / "users.parquet")
            items: dict[str, object] = {"item_id": list(self.item_ids), "text": list(self.texts)}
            if self.taxonomy is not None:
                items["taxonomy"] = [list(row) for row in self.taxonomy]
            pq.write_table(pa.table(items), temporary / "items.parquet")
            about = {"name": self.name, "format": FORMAT, "fingerprint": self.fingerprint}
            (temporary / "domain.json").write_text(json.dumps(about, indent=1))
            if folder.exists():
                shutil.rmtree(folder)
            os.replace(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    @classmethod
    def load(cls, folder: Path) -> Domain:
        """Read what `save` wrote; raises Damaged if it is damaged or of another format."""
        try:
            domain, fingerprint = cls._read(folder)
            intact = fingerprint == domain.fingerprint
        except KeyError as error:
            raise Damaged(f"{folder}: not a prepared domain (no {error}); delete it and prepare it again") from error
        except (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError, pa.ArrowException) as error:
            raise Damaged(f"{folder}: not a prepared domain ({error}); delete it and prepare it again") from error
        except InputError as error:
            raise Damaged(f"{folder}: not a prepared domain ({error}); delete it and prepare it again") from error
        if not intact:
            raise Damaged(f"{folder}: content does not match its fingerprint; delete it and prepare it again")
        return domain

    @classmethod
    def _read(cls, folder: Path) -> tuple[Domain, str]:
        """What the files say, and the fingerprint that it was saved with."""
        about = read_json(folder / "domain.json")
        interactions = pq.read_table(folder / "interactions.parquet")
        users = pq.read_table(folder / "users.parquet")
        items = pq.read_table(folder / "items.parquet")
        for column in [field for table in (interactions, users) for field in table.schema if field.name != "user_id"]:
            if not pa.types.is_integer(column.type):
                raise TypeError(f"{column.name} is of type {column.type}")
        offsets = np.zeros(users.num_rows + 1, np.int64)
        np.cumsum(users["length"].to_numpy(), out=offsets[1:])
        domain = cls(
            name=about["name"],
            sequences=Sequences(interactions["item"].to_numpy(), offsets),
            item_ids=tuple(items["item_id"].to_pylist()),
            user_ids=tuple(users["user_id"].to_pylist()),
            texts=tuple(items["text"].to_pylist()),
            timestamps=interactions["timestamp"].to_numpy() if "timestamp" in interactions.column_names else None,
            clusters=users["cluster"].to_numpy() if "cluster" in users.column_names else None,
            taxonomy=tuple(map(tuple, items["taxonomy"].to_pylist())) if "taxonomy" in items.column_names else None,
        )
        return domain, about["fingerprint"]
