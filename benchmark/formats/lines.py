"""Text and csv files as numbered lines, plain or gzipped, with errors that say where."""

from __future__ import annotations

import codecs
import csv
import gzip
import os
import zlib
from collections.abc import Collection, Iterable, Iterator
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


def shown(value: object) -> str:
    """A value as a message quotes it, cut to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line number (from 1) and text of each line of a UTF-8 file, without its end and without a byte order mark.

    Only a line feed ends a line: item texts may hold other characters that Python takes for line ends.
    Raises InputError for a file that is missing, truncated or of another encoding.
    """
    for line, text in enumerate(_whole_lines(path), 1):
        yield line, text.removesuffix("\n").removesuffix("\r")


SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
"""What may stand between the fields of a csv file, and what it is called."""


def separator(path: Path, wanted: Collection[str]) -> str:
    """What separates the fields of a csv file: by which its header names most of the wanted columns, else most at all.

    Raises as `read_lines`.
    """
    _, first = next(read_lines(path), (1, ""))

    def named(mark: str) -> tuple[int, int]:
        header = next(csv.reader([first], delimiter=mark), [])
        return len(set(header).intersection(wanted)), len(header)

    return max(SEPARATORS, key=named)


def read_csv(path: Path, separated_by: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Number of the line on which each row of a UTF-8 csv file begins, and its fields; see `csv_rows`."""
    return csv_rows(_whole_lines(path), path, separated_by)


def csv_rows(lines: Iterable[str], path: Path, separated_by: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Number of the line on which each row begins, and its fields; blank lines are left out.

    ``lines`` are those of ``path`` with their ends: a quoted field may go on over several of them. Raises InputError.
    """
    reader = csv.reader(lines, delimiter=separated_by, strict=True)
    begins = 1
    try:
        for fields in reader:
            if fields:
                yield begins, fields
            begins = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{at(path, begins)}: not a row of a csv file ({error})") from error


def _whole_lines(path: Path) -> Iterator[str]:
    """Each line with its end."""
    found = _found(path)
    line = 0
    try:
        with _open(found) as file:
            for line, raw in enumerate(file, 1):
                yield (raw.removeprefix(codecs.BOM_UTF8) if line == 1 else raw).decode()
    except UnicodeDecodeError as error:
        wide = line == 1 and error.object.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        given = "utf-16" if wide else "latin1"
        raise InputError(
            f"{at(found, line)}: not UTF-8 text; convert the file, for example with `iconv -f {given} -t utf-8`"
        ) from error
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
