"""Any interaction table with an item table, csv or parquet -> Domain."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from benchmark.domain import Domain
from benchmark.errors import InputError, at
from benchmark.formats.interactions import check_texts, tie_key, time_order, to_sequences


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What the columns of the two tables are called."""

    user: str = "user"
    item: str = "item"
    timestamp: str = "timestamp"
    text: tuple[str, ...] = ("text",)
    """Joined by a space, in this order."""


def read_tables(interactions: Path, items: Path, *, name: str, columns: Columns | None = None) -> Domain:
    """A domain from an interaction table (user, item, timestamp) and an item table (item, text).

    Each is csv (also .csv.gz) or parquet, with a header. Timestamps are seconds since 1970 or ISO 8601 dates
    (UTC unless they say otherwise). Ties in time are ordered by SHA-256 of user, item and
    ``user<TAB>item<TAB>seconds``. Users are in order of first appearance; items in the order of the item table, which
    is the catalogue: its items are candidates even where nobody took them. Raises InputError with file:line (for
    parquet the row, counted as if there were a header line).
    """
    columns = columns or Columns()
    item_ids, texts = _items(items, columns)
    check_texts(texts, items)

    table = _read(interactions, [columns.user, columns.item, columns.timestamp])
    if not len(table):
        raise InputError(f"{interactions}: no interactions; expected rows below the header")
    users = _ids(interactions, table, columns.user)
    taken = _ids(interactions, table, columns.item)
    times = _seconds(interactions, table, columns.timestamp)
    row_of = {raw: row for row, raw in enumerate(item_ids)}
    item_rows = np.fromiter((row_of.get(raw, -1) for raw in taken), np.int64, len(taken))
    strange = np.flatnonzero(item_rows < 0)
    if len(strange):
        row = int(strange[0])
        raise InputError(
            f"{at(interactions, row + 2)}: item '{taken[row]}' is not in {items} (nor are {len(strange) - 1} others); "
            f"add it there or remove the line"
        )
    numbers: dict[str, int] = {}
    user_rows = np.fromiter((numbers.setdefault(raw, len(numbers)) for raw in users), np.int64, len(users))

    def key(row: int) -> int:
        return tie_key(users[row], taken[row], f"{users[row]}\t{taken[row]}\t{times[row]}")

    order = time_order(user_rows, times, key)
    return Domain(
        name=name,
        sequences=to_sequences(user_rows, item_rows, order, len(numbers)),
        item_ids=item_ids,
        user_ids=tuple(numbers),
        texts=texts,
        timestamps=times[order],
    )


def _read(path: Path, wanted: Sequence[str]) -> pd.DataFrame:
    """The wanted columns; all as text from csv, as they are from parquet."""
    kind = "parquet" if path.suffix == ".parquet" else "csv"
    try:
        # Empty ids and the item "NA" are data here, not missing values.
        table = pd.read_parquet(path) if kind == "parquet" else pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, ValueError, EOFError, pa.ArrowException) as error:
        raise InputError(
            f"{path}: not a {kind} table ({str(error).strip()}); expected .csv, .csv.gz or .parquet"
        ) from error
    missing = [column for column in wanted if column not in table.columns]
    if missing:
        raise InputError(
            f"{at(path, 1)}: no column {', '.join(map(repr, missing))}; the table has "
            f"{', '.join(map(str, table.columns))}: rename a column, or say what it is called"
        )
    return table


def _ids(path: Path, table: pd.DataFrame, column: str) -> list[str]:
    values = ["" if missing else str(value) for value, missing in _cells(table, column)]
    if "" in values:
        raise InputError(f"{at(path, values.index('') + 2)}: empty '{column}'; remove the line or fill it")
    return values


def _cells(table: pd.DataFrame, column: str) -> Iterator[tuple[object, bool]]:
    """Each value, and whether it is missing."""
    return zip(table[column].tolist(), table[column].isna().tolist(), strict=True)


def _items(path: Path, columns: Columns) -> tuple[tuple[str, ...], tuple[str, ...]]:
    table = _read(path, [columns.item, *columns.text])
    ids = _ids(path, table, columns.item)
    if not ids:
        raise InputError(f"{path}: no items; expected rows below the header")
    first: dict[str, int] = {}
    for row, raw in enumerate(ids):
        if first.setdefault(raw, row) != row:
            raise InputError(f"{at(path, row + 2)}: item '{raw}' occurs a second time; each item needs one row")
    fields = [["" if missing else str(value) for value, missing in _cells(table, column)] for column in columns.text]
    return tuple(ids), tuple(" ".join(filter(None, row)) for row in zip(*fields, strict=True))


def _seconds(path: Path, table: pd.DataFrame, column: str) -> NDArray[np.int64]:
    """Seconds since 1970."""
    cells = [None if missing else value for value, missing in _cells(table, column)]
    seconds = [_second(value) for value in cells]
    if None in seconds:
        row = seconds.index(None)
        raise InputError(
            f"{at(path, row + 2)}: the timestamp {str(cells[row])!r} is no finite number (seconds since 1970) nor a "
            f"date such as 2014-07-23 10:15:00"
        )
    return np.array(seconds, np.int64)


def _second(value: object) -> int | None:
    """Whole seconds of a number or an ISO 8601 date (UTC unless it says otherwise), None if it is neither."""
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                return None
    if isinstance(value, datetime):
        value = (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, (int, float)) and math.isfinite(value):
        return math.floor(value)
    return None
