"""Text and csv files as numbered lines, plain or gzipped, with errors that say where."""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from benchmark.errors import InputError, at
from benchmark.files import sibling

LONGEST_LINE = 1 << 24
"""Bytes of a line; the longest of the real files have less than a tenth of it."""
WHOLE_FILE = 1 << 30
"""Bytes of a file that has to be read as a whole, unpacked."""
PACKED_WELL, PACKED_SMALL = 200, 1 << 26
"""How many times its own size a ``.gz`` may unpack to, and what any may: real tables pack to a third or a tenth."""


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


def listed(values: Sequence[str]) -> str:
    """Names as a message lists them: the first dozen, each cut."""
    more = f" and {len(values) - 12} more" if len(values) > 12 else ""
    return ", ".join(map(shown, values[:12])) + more


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line number (from 1) and text of each line of a UTF-8 file, without its end and without a byte order mark.

    Only a line feed ends a line: item texts may hold other characters that Python takes for line ends.
    Raises InputError for a file that is missing, truncated or of another encoding, that holds a NUL, a line of more
    than `LONGEST_LINE` bytes, or a packed file that unpacks to far too much.
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
        try:
            header = next(csv.reader([first], delimiter=mark), [])
        except csv.Error:  # of which the reader of rows tells
            header = []
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
        with open_plain(found) as file:
            for line, raw in enumerate(iter(partial(file.readline, LONGEST_LINE + 1), b""), 1):
                if len(raw) > LONGEST_LINE:
                    raise InputError(f"{at(found, line)}: a line of more than {LONGEST_LINE:,} bytes; not a table")
                text = (raw.removeprefix(codecs.BOM_UTF8) if line == 1 else raw).decode()
                if "\0" in text:
                    raise InputError(f"{at(found, line)}: holds a NUL character; no text file does: fetch it again")
                yield text
    except UnicodeDecodeError as error:
        wide = line == 1 and error.object.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        given = "utf-16" if wide else "latin1"
        raise InputError(
            f"{at(found, line)}: not UTF-8 text; convert the file, for example with `iconv -f {given} -t utf-8`"
        ) from error
    except (EOFError, zlib.error, OSError) as error:
        raise InputError(f"{at(found, line + 1)}: cannot be read further ({error}); fetch the file again") from error


def read_bytes(path: Path) -> bytes:
    """Uncompressed content of a file, plain or .gz; raises InputError if it is missing, truncated or too large."""
    found = _found(path)
    try:
        with open_plain(found) as file:
            content = file.read(WHOLE_FILE + 1)
    except (EOFError, zlib.error, OSError) as error:
        raise InputError(f"{found}: cannot be read ({error}); fetch the file again") from error
    if len(content) > WHOLE_FILE:
        raise InputError(f"{found}: more than {WHOLE_FILE:,} bytes, which are not read at once; fetch the file again")
    return content


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of the uncompressed content of a file, plain or .gz, in bounded memory; raises as `read_bytes`."""
    found = _found(path)
    state = hashlib.sha256()
    try:
        with open_plain(found) as file:
            for block in iter(partial(file.read, 1 << 20), b""):
                state.update(block)
    except (EOFError, zlib.error, OSError) as error:
        raise InputError(f"{found}: cannot be read ({error}); fetch the file again") from error
    return state.hexdigest()


def _found(path: Path) -> Path:
    found = present(path)
    if found is None:
        raise InputError(f"{path}: no such file (nor its plain or .gz variant)")
    return found


def open_plain(path: Path) -> IO[bytes]:
    """A file for reading its uncompressed content; reading raises InputError where a ``.gz`` unpacks to far more than
    a table would."""
    return io.BufferedReader(_Unpacked(path), 1 << 16) if path.suffix == ".gz" else path.open("rb")


class _Unpacked(io.RawIOBase):
    """The content of a ``.gz``, as far as it is in proportion to the file."""

    def __init__(self, path: Path) -> None:
        self.path, self.file = path, cast(IO[bytes], gzip.open(path))  # noqa: SIM115 -- closed by close()
        self.left = max(PACKED_SMALL, PACKED_WELL * path.stat().st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self.file.read(len(buffer))
        self.left -= len(block)
        if self.left < 0:
            raise InputError(f"{self.path}: unpacks to more than {PACKED_WELL} times its size; fetch the file again")
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self.file.close()
        super().close()


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
