"""Valid files made nearly valid, deterministically: what damage, accident and malice do to bytes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random

CHARACTERS = ("\0", "\ufeff", "\u2028", "\u202e", "\x1b[2J", "\x85", "٣", "é", "\ud800", b"\xff", b"\xc3")
ESCAPES = ("\\ud800", "\\u0000", "&#0;", "%00")
SIGNS = ("\t", "\n", "\r", "\r\n", " ", *",:;#'\"\\|{}[]", '""', "- ", "? ")
NUMBERS = ("0", "-1", "-0", "1e999", "1_0", "0x10", "0.5", "2**53", *("9" * n for n in (12, 19, 30, 400, 5000)))
VALUES = ("NaN", "nan", ".nan", "Infinity", "-inf", "null", "~", "true", "None", "", "0001-01-01", "9999-12-31 23:59")
TREES = ("[" * 150, "[" * 1200, '{"a":' * 150, "&a [*a]", "*a", "<<: ", "!!python/object/apply:os.system [x]", "=cmd()")
NAMES = ("../../x", "/etc/passwd", "..", ".", "a/b", "C:\\x", "x" * 300, "token", "float", "user", "[/x]", "<b>")
TOKENS = tuple(
    token if isinstance(token, bytes) else token.encode("utf-8", "surrogatepass")
    for token in (*CHARACTERS, *ESCAPES, *SIGNS, *NUMBERS, *VALUES, *TREES, *NAMES)
)
"""What is written into a file: what has a meaning in some format, and values at the edge of what a type holds."""

NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
Mutation = Callable[[bytes, Sequence[bytes], Random], bytes]


def _place(data: bytes, rng: Random) -> int:
    return rng.randrange(len(data) + 1)


def _chunk(data: bytes, rng: Random) -> tuple[int, int]:
    begin = _place(data, rng)
    return begin, min(len(data), begin + rng.choice((1, 2, 4, 8, 16, 64, 256)))


def _flip(data: bytes, _: Sequence[bytes], rng: Random) -> bytes:
    if not data:
        return data
    changed = bytearray(data)
    changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _byte(data: bytes, _: Sequence[bytes], rng: Random) -> bytes:
    if not data:
        return data
    changed = bytearray(data)
    changed[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return bytes(changed)


def _truncated(data: bytes, _: Sequence[bytes], rng: Random) -> bytes:
    return data[: _place(data, rng)]


def _deleted(data: bytes, _: Sequence[bytes], rng: Random) -> bytes:
    begin, end = _chunk(data, rng)
    return data[:begin] + data[end:]


def _repeated(data: bytes, _: Sequence[bytes], rng: Random) -> bytes:
    begin, end = _chunk(data, rng)
    return data[:end] + data[begin:end] * rng.choice((1, 1, 1, 50)) + data[end:]


def _spliced(data: bytes, others: Sequence[bytes], rng: Random) -> bytes:
    """A chunk of another file, or of this one, at some place."""
    other = rng.choice(others)
    begin, end = _chunk(other, rng)
    place = _place(data, rng)
    return data[:place] + other[begin:end] + data[place:]


def _inserted(data: bytes, _: Sequence[bytes], rng: Random) -> bytes:
    place = _place(data, rng)
    return data[:place] + rng.choice(TOKENS) + data[place:]


def _number(data: bytes, _: Sequence[bytes], rng: Random) -> bytes:
    """Another token in place of a number."""
    numbers = list(NUMBER.finditer(data))
    if not numbers:
        return data
    found = rng.choice(numbers)
    return data[: found.start()] + rng.choice(TOKENS) + data[found.end() :]


def _field(data: bytes, _: Sequence[bytes], rng: Random) -> bytes:
    """Another token, or another field of the file, in place of one between two separators."""
    fields = list(re.finditer(rb"[^\t\n, :\"]+", data))
    if not fields:
        return data
    found = rng.choice(fields)
    other = rng.choice((rng.choice(TOKENS), rng.choice(fields).group()))
    return data[: found.start()] + other + data[found.end() :]


def _lines(data: bytes, _: Sequence[bytes], rng: Random) -> bytes:
    """A line left out, written twice or put elsewhere."""
    lines = data.split(b"\n")
    line = lines.pop(rng.randrange(len(lines)))
    for _copy in range(rng.randrange(3)):
        lines.insert(rng.randrange(len(lines) + 1), line)
    return b"\n".join(lines)


MUTATIONS: tuple[Mutation, ...] = (
    *(_flip, _byte, _truncated, _deleted, _repeated, _spliced, _inserted, _inserted, _number, _field, _field, _lines),
)


def mutant(data: bytes, others: Sequence[bytes], rng: Random) -> bytes:
    """``data`` after one to four mutations; ``others`` are valid files that pieces may be taken from."""
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        data = rng.choice(MUTATIONS)(data, others, rng)
    return data
