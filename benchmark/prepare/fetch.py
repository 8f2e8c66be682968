"""Raw files from the addresses that cards name."""

from __future__ import annotations

import os
import shutil
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from benchmark.cards import Card, Input
from benchmark.errors import InputError
from benchmark.files import sibling
from benchmark.formats.lines import PACKED_SMALL, PACKED_WELL, present, sha256_of


def fetch(card: Card, folder: Path, say: Callable[[str], None]) -> list[Path]:
    """Download the files of the first input that has an address for each of them; files that are there stay.

    say: is told the hash of a file whose card knows none. Raises InputError where there is no direct address, or a
    download fails or is not the file the card knows.
    """
    if not any(given.paths() for given in card.inputs):
        raise InputError(f"{card.name}: was imported from tables of your own; there is nothing to fetch")
    for given in card.inputs:
        if given.paths() and set(given.urls) == set(given.paths()):
            return [_download(card, given, key, folder / path, say) for key, path in given.paths().items()]
    wanted = "\n".join(f"  {', '.join(given.paths().values())}" for given in card.inputs if given.paths())
    raise InputError(
        f"{card.name}: no direct download. Get it from {card.source}, arrange one of these sets of files in a folder, "
        f"and give the folder with --data:\n{wanted}"
    )


def _download(card: Card, given: Input, key: str, path: Path, say: Callable[[str], None]) -> Path:
    found = present(path)
    if found:
        return found
    # Only this command needs the network.
    import pooch

    url, _, member = given.urls[key].partition("#")
    path.parent.mkdir(parents=True, exist_ok=True)
    # Under another name until it is known to be what was wanted; the ending says how it is packed.
    fetched = path.with_name(f".{path.name}.fetched{'.zip' if member else '.gz' if path.suffix == '.gz' else ''}")
    try:
        pooch.retrieve(url, None, fname=fetched.name, path=fetched.parent)
        if member:
            archive, fetched = fetched, fetched.with_suffix("")
            _extract(archive, member, fetched)
        found, known = sha256_of(fetched), given.sha256.get(key)
        if known not in (None, found):
            raise ValueError(f"the SHA-256 hash of the content is {found}, the card has {known}")
        if known is None:
            say(f"{path}: its card has no SHA-256; that of what came is {found}")
        os.replace(fetched, path)
    except (OSError, ValueError, KeyError, RuntimeError, NotImplementedError, zlib.error, zipfile.BadZipFile) as error:
        raise InputError(
            f"{card.name}: {url} could not be fetched ({error}); get it by hand from {card.source} and give its folder "
            f"with --data"
        ) from error
    finally:
        fetched.unlink(missing_ok=True)
    return path


def _extract(archive: Path, member: str, path: Path) -> None:
    temporary = sibling(path)
    try:
        with zipfile.ZipFile(archive) as file:
            size, packed = file.getinfo(member).file_size, archive.stat().st_size
            if size > max(PACKED_SMALL, PACKED_WELL * packed):
                raise ValueError(f"'{member}' unpacks to {size:,} bytes, out of {packed:,}")
            with file.open(member) as source, temporary.open("wb") as target:
                shutil.copyfileobj(source, target)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
        archive.unlink(missing_ok=True)
