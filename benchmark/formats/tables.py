"""Any interaction table with an item table, csv or parquet -> Domain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from benchmark.domain import Domain
from benchmark.errors import InputError, at
from benchmark.formats.interactions import check_texts, logger, tie_key, time_order, to_sequences


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What the columns of the two tables are called."""

    user: str = "user"
    item: str = "item"
    timestamp: str = "timestamp"
    text: str = "text"


def read_tables(interactions: Path, items: Path, *, name: str, columns: Columns | None = None) -> Domain:
    """A domain from an interaction table (user, item, timestamp) and an item table (item, text).

    Each is csv (also .csv.gz) or parquet, with a header. Timestamps are seconds since 1970 or dates that pandas reads
    (taken as UTC). Ties in time are ordered by SHA-256 of user, item and ``user<TAB>item<TAB>seconds``. Users are in
    order of first appearance, items in the order of the item table, which is the catalogue. Raises InputError with
    file:line (the row, counted with the header, for parquet).
    """
    columns = columns or Columns()
    item_ids, texts = _items(items, columns)
    for warning in check_texts(texts, items):
        logger.warning(warning)

    table = _read(interactions, [columns.user, columns.item, columns.timestamp])
    if not len(table):
        raise InputError(f"{interactions}: no interactions; expected rows below the header")
    users = _ids(interactions, table[columns.user])
    taken = _ids(interactions, table[columns.item])
    times = _seconds(interactions, table[columns.timestamp])
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


def _read(path: Path, wanted: list[str]) -> pd.DataFrame:
    """The wanted columns; all as text from csv, as they are from parquet."""
    try:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
        else:
            # Empty ids and the item "NA" are data here, not missing values.
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, ValueError, EOFError, pa.ArrowException) as error:
        what = "parquet" if path.suffix == ".parquet" else "csv"
        raise InputError(f"{path}: not a {what} table ({str(error).strip()}); expected .csv, .csv.gz or .parquet") from error
    missing = [column for column in wanted if column not in table.columns]
    if missing:
        raise InputError(
            f"{at(path, 1)}: no column {', '.join(map(repr, missing))}; the table has {', '.join(map(str, table.columns))}: "
            f"rename a column, or say what it is called"
        )
    return table[wanted]


def _ids(path: Path, column: pd.Series) -> list[str]:
    missing = np.flatnonzero(column.isna() | (column.astype(str) == ""))
    if len(missing):
        raise InputError(f"{at(path, int(missing[0]) + 2)}: empty '{column.name}'; remove the line or name it")
    return column.astype(str).tolist()


def _items(path: Path, columns: Columns) -> tuple[tuple[str, ...], tuple[str, ...]]:
    table = _read(path, [columns.item, columns.text])
    if not len(table):
        raise InputError(f"{path}: no items; expected rows below the header")
    ids = _ids(path, table[columns.item])
    twice = np.flatnonzero(pd.Series(ids).duplicated())
    if len(twice):
        row = int(twice[0])
        raise InputError(f"{at(path, row + 2)}: item '{ids[row]}' occurs a second time; each item needs one row")
    return tuple(ids), tuple(table[columns.text].fillna("").astype(str))


def _seconds(path: Path, column: pd.Series) -> np.ndarray:
    """Seconds since 1970, int64."""
    numbers = pd.to_numeric(column, errors="coerce") if not pd.api.types.is_datetime64_any_dtype(column) else None
    if numbers is not None and numbers.notna().any():
        values = numbers.to_numpy(np.float64)
    else:
        dates = pd.to_datetime(column, errors="coerce", utc=True, format="ISO8601" if numbers is not None else None)
        values = np.where(dates.isna(), np.nan, dates.astype("datetime64[s, UTC]").astype("int64"))
    broken = np.flatnonzero(~np.isfinite(values))
    if len(broken):
        row = int(broken[0])
        raise InputError(
            f"{at(path, row + 2)}: the timestamp {column.iloc[row]!r} is no finite number (seconds since 1970) nor a date "
            f"such as 2014-07-23 10:15:00"
        )
    return np.floor(values).astype(np.int64)
