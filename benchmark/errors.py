"""The one exception a user may cause, and helpers to say what is wrong."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

_ROOT = r"(?:~?/|[A-Za-z]:[\\/]|\\\\)"
_QUOTED_PATH = re.compile(rf"(?<=['\"`]){_ROOT}(?:[^'\"`\n]*[\\/])?(?P<last>[^'\"`\n\\/]+)[\\/]?(?=['\"`])")
_BARE_PATH = re.compile(rf"(?<![\w.:/\\~@-]){_ROOT}(?:[^\s'\"`:,;()\\/]*[\\/])*(?P<last>[^\s'\"`:,;()\\/]+)[\\/]?")
"""Absolute paths in a message. A bare one ends at a space; an address (``https://``) is none."""


class InputError(Exception):
    """Input that cannot be used: says what is wrong, where, and what to do.

    The command line prints the message without a traceback and exits with code 2.
    """


class ToldElsewhere(InputError):
    """A mistake that another process of a group tells the user: this one just ends."""


class IncompatibleRuns(InputError):
    """Runs that must not stand in one table, for example of two versions of a data set."""


def printable(text: str) -> str:
    """A text without what a terminal takes for a command: control characters other than line ends are escaped."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def without_folders(text: str) -> str:
    """Absolute paths of any system reduced to their last part: they say nothing to others, or too much."""
    for path in (_QUOTED_PATH, _BARE_PATH):
        text = path.sub(r"\g<last>", text)
    return text


def at(path: Path | str, line: int | None = None) -> str:
    """``file:line`` as editors understand it."""
    return f"{path}:{line}" if line is not None else str(path)


def unknown(kind: str, name: str, known: Iterable[str], where: str = "") -> InputError:
    """An error for a name that does not exist, with the nearest one that does."""
    known = sorted(known)
    nearest = difflib.get_close_matches(name[:200], known, n=1, cutoff=0.5)
    lowered = {candidate.lower(): candidate for candidate in known}
    if not nearest and name.lower() in lowered:
        nearest = [lowered[name.lower()]]
    hint = f"; did you mean '{nearest[0]}'?" if nearest else f"; known: {', '.join(known) or 'none'}"
    prefix = f"{where}: " if where else ""
    shown = name if len(name) <= 200 else f"{name[:197]}..."
    return InputError(f"{prefix}unknown {kind} '{shown}'{hint}")
