"""Amazon review data of 2018 (Ni, Li and McAuley, EMNLP 2019): ratings and metadata of a category -> Domain.

The recipe is that of ``process_amazon.py`` of RUCAIBox/UniSRec (arXiv:2206.05941): distinct (user, item, rating,
time), items with metadata, 5-core on interaction counts, text of title, category and brand. Only the order inside
equal times (whole days here) is ours, since there it is that of a Python set and differs from run to run.
"""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from benchmark.domain import Domain
from benchmark.errors import InputError, at
from benchmark.formats.interactions import LATEST, is_time, tie_key, time_order, to_sequences
from benchmark.formats.lines import open_plain, read_lines, shown
from benchmark.prepare.kcore import core_rows

CORE = 5
MAX_FIELD = 2000
"""A cleaned field of this many characters or more counts as empty."""
TEXT_FIELDS = ("title", "category", "brand")
LONE_SURROGATE = re.compile("[\ud800-\udfff]")
"""JSON may escape one half of a surrogate pair alone, which no encoding can write."""
SCHEMA = {
    "item": pa.dictionary(pa.int32(), pa.string()),
    "user": pa.dictionary(pa.int32(), pa.string()),
    "rating": pa.float64(),
    "time": pa.int64(),
}
"""Columns of a ratings file, which has no header."""


def prepare_amazon2018(ratings: Path, metadata: Path, *, name: str) -> Domain:
    """The 5-core of a category from its "ratings only" csv and its metadata (one JSON a line), plain or .gz.

    Users and items are sorted by raw id. The "raw line" of the order inside equal times is
    ``item,user,rating,time``. The taxonomy has the names of the category path, then ``brand: ...``. Peak memory
    is about 0.13 GB a million lines (2.9 GB for Home's 21.9 million). Raises InputError with file:line.
    """
    users, items, scores, times, user_ids, item_ids = _read_ratings(ratings)
    # Duplicates and items without metadata can only lower counts, so this core holds the final one; it is small.
    kept = core_rows(users, items, CORE)
    users, items, scores, times = users[kept], items[kept], scores[kept], times[kept]
    kept = _distinct(users, items, scores, times)
    users, items, scores, times = users[kept], items[kept], scores[kept], times[kept]

    about = _read_metadata(metadata, set(item_ids.take(pa.array(np.unique(items))).to_pylist()))
    row_of = {raw: row for row, raw in enumerate(item_ids.to_pylist()) if raw in about}
    described = np.zeros(len(item_ids), bool)
    described[list(row_of.values())] = True
    kept = np.flatnonzero(described[items])
    kept = kept[core_rows(users[kept], items[kept], CORE)]
    if not len(kept):
        raise InputError(f"{ratings}: no user and item with metadata in {metadata} have {CORE} interactions each")
    users, items, scores, times = users[kept], items[kept], scores[kept], times[kept]

    users, users_kept = _by_raw_id(users, user_ids)
    items, items_kept = _by_raw_id(items, item_ids)

    def key(row: int) -> int:
        user, item = users_kept[users[row]], items_kept[items[row]]
        return tie_key(user, item, f"{item},{user},{float(scores[row])},{times[row]}")

    order = time_order(users, times, key)
    return Domain(
        name=name,
        sequences=to_sequences(users, items, order, len(users_kept)),
        item_ids=items_kept,
        user_ids=users_kept,
        texts=tuple(about[raw][0] for raw in items_kept),
        timestamps=times[order],
        taxonomy=tuple(about[raw][1] for raw in items_kept),
    )


def _read_ratings(path: Path) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], pa.Array, pa.Array]:
    """Rows of users and items, ratings and times of every line; and the raw ids of users and items."""
    try:
        with open_plain(path) as file:
            table = pa_csv.read_csv(
                file,
                read_options=pa_csv.ReadOptions(column_names=list(SCHEMA), block_size=1 << 24),
                parse_options=pa_csv.ParseOptions(quote_char=False),
                convert_options=pa_csv.ConvertOptions(column_types=SCHEMA, null_values=[]),
            )
    except (pa.ArrowException, OSError) as error:
        raise _bad_line(path) or InputError(f"{path}: not a ratings file ({error})") from error
    table = table.unify_dictionaries().combine_chunks()
    users, items = table["user"].chunk(0), table["item"].chunk(0)
    scores, times = table["rating"].to_numpy(), table["time"].to_numpy()
    if (
        any(map(_has_no_id, (users.dictionary, items.dictionary)))
        or not np.isfinite(scores).all()
        or (np.abs(times) >= LATEST).any()
    ):
        raise _bad_line(path) or InputError(f"{path}: an empty id, a rating that is not finite or a time that is none")
    return users.indices.to_numpy(), items.indices.to_numpy(), scores, times, users.dictionary, items.dictionary


def _has_no_id(ids: pa.Array) -> bool:
    """Whether one of them is empty, or holds a NUL: numpy would take it for the same without."""
    nul = pc.call_function("match_substring", [ids], pc.MatchSubstringOptions("\0"))
    return pc.index(ids, "").as_py() >= 0 or bool(nul.to_numpy(zero_copy_only=False).any())


def _bad_line(path: Path) -> InputError | None:
    """The first line that is no rating: the fast reader does not say which it was."""
    for line, text in read_lines(path):
        if not _is_rating(text.split(",")):
            return InputError(
                f"{at(path, line)}: expected 'item,user,rating,time', found {shown(text)}; fetch the file again"
            )
    return None


def _is_rating(fields: list[str]) -> bool:
    try:
        item, user, rating, time = fields
        return bool(item and user) and is_time(int(time)) and math.isfinite(float(rating))
    except ValueError:
        return False


def _distinct(users: NDArray[Any], items: NDArray[Any], scores: NDArray[Any], times: NDArray[Any]) -> NDArray[np.int64]:
    """First row of each distinct (user, item, rating, time), ascending."""
    order = np.lexsort((times, scores, items, users))
    first = np.ones(len(order), bool)
    first[1:] = False
    for column in (users, items, scores, times):
        first[1:] |= column[order][1:] != column[order][:-1]
    return np.sort(order[first])


def _by_raw_id(codes: NDArray[Any], raw: pa.Array) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Codes renumbered in the order of raw ids, and those ids."""
    used, dense = np.unique(codes, return_inverse=True)
    ids = np.array(raw.take(pa.array(used)).to_pylist())
    order = np.argsort(ids)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank[dense], tuple(ids[order].tolist())


def _read_metadata(path: Path, wanted: set[str]) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Text and taxonomy of the wanted items that have a line, by raw id; the first line of an item counts."""
    about: dict[str, tuple[str, tuple[str, ...]]] = {}
    for where, product in _products(path):
        raw = product.get("asin")
        if not isinstance(raw, str):
            raise InputError(f"{where}: no 'asin'; expected one product as JSON a line")
        if raw in wanted and raw not in about:
            try:
                text = " ".join(clean(product[field]) for field in TEXT_FIELDS if field in product)
                taxonomy = _taxonomy(product)
            except RecursionError as error:
                raise InputError(f"{where}: lists nested without end; correct or remove the line") from error
            if any(map(LONE_SURROGATE.search, (text, *taxonomy))):
                raise InputError(
                    f"{where}: half of a character (a lone surrogate) in the text; correct or remove the line"
                )
            about[raw] = text, taxonomy
    return about


def _products(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for line, text in read_lines(path):
        where = at(path, line)
        try:
            product = json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: not JSON ({error}); fetch the file again") from error
        if not isinstance(product, dict):
            raise InputError(f"{where}: expected one product as a JSON object a line")
        yield where, product


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number of JSON")


def clean(value: Any) -> str:
    """A metadata field as text that ends with one full stop; empty if it is too long to be a name."""
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    text = html.unescape(text).translate({ord(character): None for character in '"\n\r'})
    text = text.rstrip(".") + "."
    return "" if len(text) >= MAX_FIELD else text


def _taxonomy(product: dict[str, Any]) -> tuple[str, ...]:
    category, brand = product.get("category") or [], product.get("brand")
    path = category if isinstance(category, list) else [category]
    names = [html.unescape(str(name)).strip() for name in path]
    if isinstance(brand, str) and brand.strip():
        names.append(f"brand: {html.unescape(brand).strip()}")
    return tuple(filter(None, names))
