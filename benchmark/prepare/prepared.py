"""Preparing a domain once: find its files, read them, check what came out, remember it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from benchmark.cards import (
    AmazonInput,
    AtomicInput,
    Card,
    Expected,
    ImportedInput,
    Input,
    RetailInput,
    Split,
    UnisrecInput,
)
from benchmark.domain import Domain
from benchmark.errors import InputError
from benchmark.formats.atomic import read_atomic
from benchmark.formats.interactions import check_lengths, check_texts, logger
from benchmark.formats.lines import present, read_bytes
from benchmark.formats.unisrec import read_unisrec
from benchmark.jobs import digest
from benchmark.prepare.amazon2018 import prepare_amazon2018
from benchmark.prepare.online_retail import prepare_online_retail

VERSION = 1
"""Raised when a reader gives another domain from the same files."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A domain and how far it is what its card says."""

    domain: Domain
    card: Card
    split: Split
    mismatches: tuple[str, ...] = ()
    """What differs from the card; empty for a domain that may stand beside printed numbers."""
    warnings: tuple[str, ...] = ()

    @property
    def custom(self) -> bool:
        return bool(self.mismatches)


def raw_folder(cache: Path) -> Path:
    """Where downloads are kept; searched after the ``--data`` folders."""
    return cache / "raw"


def prepare(card: Card, *, data: Sequence[Path] = (), cache: Path, allow_mismatch: bool = False) -> Prepared:
    """The domain of a card, from the first of its inputs whose files are all present below a folder of ``data``.

    A prepared domain is kept below ``cache/domains`` and used again until the card's recipe or the raw files change;
    where no raw files are found any more, it still is. Raises InputError if there is nothing to prepare from, the
    files are broken, or the outcome is not what the card expects; with ``allow_mismatch`` the last is only noted.
    """
    for folder in data:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such data folder")
    home = cache / "domains" / card.name
    home.parent.mkdir(parents=True, exist_ok=True)
    # Shards started together share a cache.
    with FileLock(home.with_name(f".{card.name}.lock")):
        given, files = _choose(card, data, cache)
        key = _key(given, files)
        domain = _remembered(home, key)
        if domain is None:
            logger.info("preparing %s from %s", card.name, ", ".join(map(str, files.values())))
            domain = _read(card, given, files)
            remember(domain, home, key)
    mismatches = tuple(_mismatches(domain, given))
    if mismatches and not allow_mismatch:
        raise InputError(
            f"{card.name}: not what {card.file} expects: {'; '.join(mismatches)}; get the files again from "
            f"{card.source}, or use --allow-mismatch to run it as a custom domain beside no printed numbers"
        )
    if card.role != "source":
        check_lengths(domain, card.name)
    return Prepared(
        domain=domain,
        card=card,
        split=given.split,
        mismatches=mismatches,
        warnings=tuple(check_texts(domain.texts, card.name)),
    )


def remember(domain: Domain, home: Path, key: Mapping[str, Any]) -> None:
    """Save a domain with the key it is found by."""
    domain.save(home)
    temporary = home / ".prepared.json"
    temporary.write_text(json.dumps(key, indent=1))
    os.replace(temporary, home / "prepared.json")


def imported_key() -> dict[str, Any]:
    """Key of a domain that was imported, not prepared from files of a card."""
    return {"recipe": "imported", "files": {}}


def _remembered(home: Path, key: Mapping[str, Any]) -> Domain | None:
    """The saved domain if it was prepared under ``key``."""
    if _saved_key(home) != key:
        return None
    return Domain.load(home)


def _saved_key(home: Path) -> dict[str, Any] | None:
    try:
        return json.loads((home / "prepared.json").read_text())
    except (OSError, ValueError):
        return None


def _recipe(given: Input) -> str:
    """Digest of what decides how files become a domain; expectations and addresses do not."""
    return digest({"version": VERSION, **given.model_dump(exclude={"expect", "urls", "sha256", "split", "base"})})
