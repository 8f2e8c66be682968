"""Text files as numbered lines, plain or gzipped, with errors that say where."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, cast

from benchmark.errors import InputError, at
from benchmark.files import sibling


def variants(path: Path) -> tuple[Path, Path]:
    """A file under its own name and under the other of plain and ``.gz``."""
    return (path, path.with_suffix("")) if path.suffix == ".gz" else (path, path.with_name(path.name + ".gz"))


def present(path: Path) -> Path | None:
    """The variant of ``path`` that exists, or None."""
    return next((variant for variant in variants(path) if variant.is_file()), None)


def read_lines(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """Line number (from 1) and text of each line, without its end.

    Only a line feed ends a line: item texts may hold other characters that Python takes for line ends.
    Raises InputError for a file that is missing, truncated or of another encoding.
    """
    found = _found(path)
    line = 0
    try:
        with _open(found) as file:
            for line, raw in enumerate(file, 1):
                yield line, raw.decode(encoding).removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise InputError(f"{at(found, line)}: not {encoding} text; convert the file to {encoding}") from error
    except (EOFError, zlib.error, OSError) as error:
        raise InputError(f"{at(found, line + 1)}: cannot be read further ({error}); fetch the file again") from error


def read_bytes(path: Path) -> bytes:
    """Uncompressed content of a file, plain or .gz; raises InputError if it is missing or truncated."""
    found = _found(path)
    try:
        with _open(found) as file:
            return file.read()
    except (EOFError, zlib.error, OSError) as error:
        raise InputError(f"{found}: cannot be read ({error}); fetch the file again") from error


def _found(path: Path) -> Path:
    found = present(path)
    if found is None:
        raise InputError(f"{path}: no such file (nor its plain or .gz variant)")
    return found


def _open(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines as UTF-8 with line feeds; the file appears complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = sibling(path)
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{line}\n" for line in lines)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
