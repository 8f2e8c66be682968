"""Preparing a domain once: find its files, read them, check what came out, remember it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    RetailCustomersInput,
    RetailInput,
    Split,
    UnisrecInput,
)
from benchmark.domain import Damaged, Domain
from benchmark.errors import InputError
from benchmark.files import read_json, write_text
from benchmark.formats.atomic import read_atomic
from benchmark.formats.interactions import check_lengths, text_warnings
from benchmark.formats.lines import present, sha256_of
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


def domain_folder(card: Card, cache: Path) -> Path:
    """Where the prepared domain of a card is kept."""
    return cache / "domains" / card.name


def prepare(card: Card, *, data: Sequence[Path] = (), cache: Path, allow_mismatch: bool = False) -> Prepared:
    """The domain of a card, from the first of its inputs whose files are all present below a folder of ``data``.

    A prepared domain is kept below ``cache/domains`` and used again until the card's recipe or the raw files change;
    where no raw files are found any more, it still is. Raises InputError if there is nothing to prepare from, the
    files are broken, or the outcome is not what the card expects; with ``allow_mismatch`` the last is only noted.
    What is refused is not kept: a good domain that was prepared before stays.
    """

    def accept(found: Prepared) -> bool:
        if found.mismatches and not allow_mismatch:
            raise InputError(
                f"{card.name}: not what {card.file} expects: {'; '.join(found.mismatches)}; get the files again from "
                f"{card.source}, or use --allow-mismatch to run it as a custom domain beside no printed numbers"
            )
        return True

    return _prepare(card, data, cache, accept)


def examine(card: Card, *, data: Sequence[Path] = (), cache: Path) -> Prepared:
    """The domain that `prepare` gives, with what differs from the card; one that differs is not kept.

    Raises as `prepare`, and `benchmark.domain.Damaged` where the prepared domain is not what was saved.
    """
    return _prepare(card, data, cache, lambda found: not found.custom)


def lacking(card: Card, *, data: Sequence[Path] = (), cache: Path) -> str | None:
    """What is missing to `prepare` the domain of a card, and how to get it; None where its files, or what was prepared
    of them before, are there. Reads none of them. Raises InputError for a ``data`` folder that is not there."""
    _check_folders(data)
    saved = _saved_key(domain_folder(card, cache))
    for given in card.inputs:
        if locate(card, given, data, cache) is not None or (saved and saved.get("recipe") == _recipe(given)):
            return None
    return _nothing_found(card, data, cache)


def _check_folders(data: Sequence[Path]) -> None:
    for folder in data:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such data folder")


def _prepare(card: Card, data: Sequence[Path], cache: Path, accept: Callable[[Prepared], bool]) -> Prepared:
    """A domain; newly read, it is kept if ``accept`` says so, which may raise instead."""
    _check_folders(data)
    home = domain_folder(card, cache)
    home.parent.mkdir(parents=True, exist_ok=True)
    # Shards started together share a cache.
    with FileLock(home.with_name(f".{card.name}.lock")):
        domain, given, files, key = _obtain(card, data, cache)
        mismatches = tuple(_mismatches(domain, given.expect))
        if mismatches:
            mismatches += tuple(_changed_files(given, files))
        found = Prepared(
            domain=domain,
            card=card,
            split=given.split,
            mismatches=mismatches,
            warnings=tuple(text_warnings(domain)),
        )
        accepted = accept(found)
        if card.role != "source":
            check_lengths(domain, card.name)
        if key is not None and accepted:
            remember(domain, home, key)
    return found


def remember(domain: Domain, home: Path, key: Mapping[str, Any]) -> None:
    """Save a domain with the key it is found by."""
    domain.save(home)
    write_text(home / "prepared.json", json.dumps(key, indent=1))


def key_of(given: Input, files: Mapping[str, Path]) -> dict[str, Any]:
    """What a prepared domain is a function of: the recipe, and size and time of the files."""
    stats = {name: path.stat() for name, path in files.items()}
    return {
        "recipe": _recipe(given),
        "files": {name: [files[name].name, stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()},
    }


def locate(card: Card, given: Input, data: Sequence[Path], cache: Path) -> dict[str, Path] | None:
    """The files of an input, plain or .gz, all from one folder; None if no folder has all of them."""
    for folder in _folders(card, given, data, cache):
        found = {name: present(folder / path) for name, path in given.paths().items()}
        files = {name: path for name, path in found.items() if path is not None}
        if len(files) == len(found):
            return files
    return None


def _folders(card: Card, given: Input, data: Sequence[Path], cache: Path) -> list[Path]:
    return [card.file.parent] if given.base == "card" else [*data, raw_folder(cache)]


def _recipe(given: Input) -> str:
    """Digest of what decides how files become a domain; expectations and addresses do not."""
    return digest({"version": VERSION, **given.model_dump(exclude={"expect", "urls", "sha256", "split", "base"})})


def _saved_key(home: Path) -> dict[str, Any] | None:
    try:
        saved = read_json(home / "prepared.json")
    except (OSError, ValueError):
        return None
    return saved if isinstance(saved, dict) else None


def _obtain(
    card: Card, data: Sequence[Path], cache: Path
) -> tuple[Domain, Input, Mapping[str, Path], Mapping[str, Any] | None]:
    """The domain, the input it is from, the raw files of that (none where these are gone), and the key to keep it by
    (None where it is kept already)."""
    home = domain_folder(card, cache)
    saved = _saved_key(home)
    for given in card.inputs:
        files = locate(card, given, data, cache)
        if files is None:
            continue
        key = key_of(given, files)
        if saved == key:
            return _load(card, home), given, files, None
        return _read(card, given, files), given, files, key
    for given in card.inputs:
        if saved and saved.get("recipe") == _recipe(given):
            return _load(card, home), given, {}, None
    raise InputError(_nothing_found(card, data, cache))


def _load(card: Card, home: Path) -> Domain:
    domain = Domain.load(home)
    if domain.name != card.name:
        raise Damaged(f"{home}: holds the domain {domain.name!r}; delete it and prepare it again")
    return domain


def _nothing_found(card: Card, data: Sequence[Path], cache: Path) -> str:
    lines = [f"{card.name}: nothing to prepare it from"]
    for given in card.inputs:
        paths = given.paths().values()
        folders = _folders(card, given, data, cache)
        lines.append(
            f"  {given.split}: {', '.join(paths)} (plain or .gz), looked for in {', '.join(map(str, folders))}"
        )
        for folder in folders:
            missing = [path for path in paths if not present(folder / path)]
            if len(missing) < len(paths):
                lines.append(f"    {folder} has only some of them; it lacks {', '.join(missing)}")
    lines.append(f"get the files from {card.source} and give their folder with --data, or try")
    lines.append(f"`transrec data fetch {card.name}`")
    return "\n".join(lines)


def _read(card: Card, given: Input, files: Mapping[str, Path]) -> Domain:
    match given:
        case UnisrecInput():
            return read_unisrec(files, card.name)
        case AtomicInput():
            return read_atomic(
                files["interactions"],
                files["items"],
                name=card.name,
                text=given.text,
                ties=given.ties,
                positions=given.positions,
            )
        case AmazonInput():
            return prepare_amazon2018(files["ratings"], files["metadata"], name=card.name)
        case RetailInput():
            return prepare_online_retail(files["table"], name=card.name, ties=given.ties)
        case RetailCustomersInput():
            return prepare_online_retail(files["table"], name=card.name, users_are="customers")
        case ImportedInput():
            raise InputError(
                f"{card.name}: its imported tables are no longer in the cache; import them again (card: {card.file})"
            )


def _mismatches(domain: Domain, expected: Expected | None) -> Iterator[str]:
    if expected is None:
        return
    for what, found, wanted in (
        ("users", domain.n_users, expected.users),
        ("items", domain.n_items, expected.items),
        ("interactions", domain.n_interactions, expected.interactions),
    ):
        if found != wanted:
            yield f"{found:,} {what} instead of {wanted:,}"
    length = sum(map(len, domain.texts)) / domain.n_items
    if expected.text_length is not None and abs(length - expected.text_length) > 0.005 + 1e-9:
        yield f"a mean text length of {length:.2f} characters instead of {expected.text_length:.2f}"
    if expected.fingerprint is not None and domain.fingerprint != expected.fingerprint:
        yield f"fingerprint {domain.fingerprint[:12]}... instead of {expected.fingerprint[:12]}..."


def _changed_files(given: Input, files: Mapping[str, Path]) -> Iterator[str]:
    """What is wrong with raw files whose hash the card knows."""
    for name, wanted in given.sha256.items():
        if name in files and sha256_of(files[name]) != wanted:
            yield f"{files[name]} has another SHA-256 than the card knows"
