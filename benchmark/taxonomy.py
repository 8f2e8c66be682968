"""Attributes of items: category path and brand where a domain has them apart from its texts, else frequent words.

For methods that learn from attributes (S3-Rec, arXiv:2008.07873) or link domains by them (CCDR, arXiv:2112.00999).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from benchmark.domain import Domain

MIN_ITEMS: Final = 5
"""An attribute that fewer items of all domains have is none: nothing can be learnt from it."""
WORD: Final = re.compile(r"[a-z][a-z0-9]+")
"""Two characters at least, the first a letter."""


def attributes(domains: Sequence[Domain]) -> list[tuple[tuple[str, ...], ...]]:
    """The attributes of each item of each domain, sorted and without repeats; an item may have none.

    Where one of the domains has no taxonomy, words of the texts stand for all of them, so that what two domains share
    is called the same.
    """
    if all(domain.taxonomy is not None for domain in domains):
        rows = [[set(filter(None, row)) for row in domain.taxonomy or ()] for domain in domains]
    else:
        rows = [[set(WORD.findall(text.lower())) - ENGLISH_STOP_WORDS for text in domain.texts] for domain in domains]
    items = Counter(attribute for table in rows for row in table for attribute in row)
    kept = {attribute for attribute, count in items.items() if count >= MIN_ITEMS}
    return [tuple(tuple(sorted(row & kept)) for row in table) for table in rows]
