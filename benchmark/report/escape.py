"""Text from outside, made safe for the document that it is put into."""

from __future__ import annotations

import re


def plain(text: str) -> str:
    """Text on one line, with what Markdown would read as markup escaped."""
    # Underscores inside words mean nothing to it, and escaped ones would litter the names of methods.
    return re.sub(r"([\\`*\[\]<>|#~]|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(text.split()))
