"""Any interaction table with an item table, csv or parquet -> Domain."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmark.domain import Domain
from benchmark.errors import InputError, at
from benchmark.formats.interactions import Ties, check_texts, is_time, number_of, tie_key, time_order, to_sequences
from benchmark.formats.lines import SEPARATORS, listed, read_csv, separator, shown


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What the columns of the two tables are called."""

    user: str = "user"
    item: str = "item"
    timestamp: str = "timestamp"
    text: tuple[str, ...] = ("text",)
    """Joined by a space, in this order."""
    catalogue_item: str | None = None
    """Of the item in the item table, where it is not ``item``."""


def _unsaid(line: str) -> None:
    """Say nothing."""


def read_tables(
    interactions: Path,
    items: Path,
    *,
    name: str,
    columns: Columns | None = None,
    ties: Ties = "hash",
    positions: bool = False,
    drop_unknown: bool = False,
    drop_repeated: bool = False,
    say: Callable[[str], None] = _unsaid,
) -> Domain:
    """A domain from an interaction table (user, item, timestamp) and an item table (item, text).

    Each is csv (also .csv.gz; commas, semicolons or tabs) or parquet, with a header. Timestamps are seconds since 1970
    or ISO 8601 dates (UTC unless they say otherwise); fractions of a second order what happened, but are not kept. Ties
    in time are ordered by SHA-256 of user, item and ``user<TAB>item<TAB>seconds``. Users are in order of first
    appearance; items in the order of the item table, which is the catalogue: its items are candidates even where nobody
    took them. An item may be named twice there if both say the same.

    ties: ``line-order`` leaves those of a user as the table has them.
    positions: the timestamp only counts positions, so the domain gets no timestamps.
    drop_unknown: leave out interactions with items that are not in the item table.
    drop_repeated: take rows that agree in user, item and time for one.
    say: is told what was left out, and what may be a mistake.

    Raises InputError with file:line (for parquet the row, counted as if there were a header line).
    """
    columns = columns or Columns()
    item_ids, texts = _items(items, columns)
    check_texts(texts, items)

    table = _read(interactions, [columns.user, columns.item, columns.timestamp])
    if not table.lines:
        raise InputError(f"{interactions}: no interactions; expected rows below the header")
    users = _ids(table, columns.user)
    taken = _ids(table, columns.item)
    times = _seconds(table, columns.timestamp)
    row_of = {raw: row for row, raw in enumerate(item_ids)}
    item_rows = np.fromiter((row_of.get(raw, -1) for raw in taken), np.int64, len(taken))
    kept = np.ones(len(taken), bool)
    strange = np.flatnonzero(item_rows < 0)
    if len(strange) and not drop_unknown:
        row = int(strange[0])
        raise InputError(
            f"{table.at(row)}: item {shown(taken[row])} is not in {items} (nor are {len(strange) - 1} others); "
            f"add it there, remove the line, or leave such lines out with --drop-unknown"
        )
    if len(strange):
        kept[strange] = False
        say(f"{len(strange)} interactions with items that are not in {items.name} are left out")
    first: dict[tuple[str, str, float], int] = {}
    repeated = [
        row
        for row, what in enumerate(zip(users, taken, times.tolist(), strict=True))
        if first.setdefault(what, row) != row
    ]
    if repeated and drop_repeated:
        kept[repeated] = False
        say(f"{len(repeated)} interactions that repeat user, item and time of another are left out")
    elif repeated:
        say(
            f"{len(repeated)} interactions repeat user, item and time of another (first: {table.at(repeated[0])}) and "
            f"are kept; if they happened once, leave them out with --drop-repeated"
        )
    if not kept.any():
        raise InputError(f"{interactions}: no interaction is left, for all are with items that are not in {items}")
    rows = np.flatnonzero(kept)
    users, taken = [users[row] for row in rows], [taken[row] for row in rows]
    times, item_rows = times[rows], item_rows[rows]
    whole = np.floor(times).astype(np.int64)
    numbers: dict[str, int] = {}
    user_rows = np.fromiter((numbers.setdefault(raw, len(numbers)) for raw in users), np.int64, len(users))

    def key(row: int) -> int:
        return tie_key(users[row], taken[row], f"{users[row]}\t{taken[row]}\t{whole[row]}")

    order = time_order(user_rows, times, key if ties == "hash" else None)
    return Domain(
        name=name,
        sequences=to_sequences(user_rows, item_rows, order, len(numbers)),
        item_ids=item_ids,
        user_ids=tuple(numbers),
        texts=texts,
        timestamps=None if positions else whole[order],
    )


@dataclass(frozen=True, kw_only=True)
class _Table:
    path: Path
    lines: Sequence[int]
    """Where each row begins; a row of parquet counts as one line below a header."""
    cells: Mapping[str, Sequence[object]]
    """The wanted columns: text from csv, anything from parquet; None where parquet has nothing."""

    def at(self, row: int) -> str:
        return at(self.path, self.lines[row])


def _read(path: Path, wanted: Sequence[str]) -> _Table:
    return _read_parquet(path, wanted) if path.suffix == ".parquet" else _read_csv(path, wanted)


def _read_parquet(path: Path, wanted: Sequence[str]) -> _Table:
    try:
        schema = pq.read_schema(path)
        _check_header(path, schema.names, wanted)
        _check_types(path, schema, wanted)
        # Without the metadata a column that pandas wrote as its index is a column still.
        frame = pq.read_table(path, columns=list(dict.fromkeys(wanted))).to_pandas(ignore_metadata=True)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, ValueError, LookupError, OverflowError, pa.ArrowException) as error:
        raise InputError(
            f"{path}: not a parquet table ({str(error).strip()}); expected .csv, .csv.gz or .parquet"
        ) from error
    missing = frame.isna()
    cells = {
        column: [None if empty else value for value, empty in zip(frame[column], missing[column], strict=True)]
        for column in frame
    }
    return _Table(path=path, lines=range(2, len(frame) + 2), cells=cells)


def _check_types(path: Path, schema: pa.Schema, wanted: Sequence[str]) -> None:
    """Lists, structures and bytes have no one text that they could be read as."""
    for column in wanted:
        kind = schema.field(column).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        binary = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
        if pa.types.is_nested(kind) or any(test(kind) for test in binary):
            raise InputError(f"{path}: column {shown(column)} is of type {kind}; expected text, numbers or times")


def _read_csv(path: Path, wanted: Sequence[str]) -> _Table:
    mark = separator(path, wanted)
    rows = read_csv(path, mark)
    _, header = next(rows, (1, []))
    if not header:
        raise InputError(f"{path}: not a csv table (it is empty); expected .csv, .csv.gz or .parquet")
    _check_header(path, header, wanted)
    index_of = {column: header.index(column) for column in wanted}
    cells: dict[str, list[str]] = {column: [] for column in index_of}
    lines: list[int] = []
    for line, fields in rows:
        if len(fields) != len(header):
            raise InputError(
                f"{at(path, line)}: expected {len(header)} columns separated by {SEPARATORS[mark]}, found "
                f"{len(fields)}; put fields that hold a separator in quotes"
            )
        lines.append(line)
        for column, index in index_of.items():
            cells[column].append(fields[index])
    return _Table(path=path, lines=lines, cells=cells)


def _check_header(path: Path, header: Sequence[str], wanted: Sequence[str]) -> None:
    missing = [column for column in wanted if column not in header]
    if missing:
        raise InputError(
            f"{at(path, 1)}: no column {listed(missing)}; the table has {', '.join(header)[:500]}: "
            f"rename a column, or say what it is called (--user, --item, --timestamp, --text)"
        )
    twice = [column for column in wanted if header.count(column) > 1]
    if twice:
        raise InputError(f"{at(path, 1)}: the column '{twice[0]}' occurs twice; rename one of them")


def _ids(table: _Table, column: str) -> list[str]:
    values = ["" if value is None else str(value) for value in table.cells[column]]
    if "" in values:
        raise InputError(f"{table.at(values.index(''))}: empty '{column}'; remove the line or fill it")
    for row, raw in enumerate(values):
        if "\0" in raw:
            raise InputError(f"{table.at(row)}: '{column}' holds a NUL character; correct or remove the line")
    return values


def _items(path: Path, columns: Columns) -> tuple[tuple[str, ...], tuple[str, ...]]:
    column = columns.catalogue_item or columns.item
    table = _read(path, [column, *columns.text])
    ids = _ids(table, column)
    if not ids:
        raise InputError(f"{path}: no items; expected rows below the header")
    fields = [["" if value is None else str(value) for value in table.cells[column]] for column in columns.text]
    texts = [" ".join(filter(None, row)) for row in zip(*fields, strict=True)]
    first: dict[str, int] = {}
    for row, raw in enumerate(ids):
        if texts[first.setdefault(raw, row)] != texts[row]:
            raise InputError(
                f"{table.at(row)}: item {shown(raw)} occurs a second time with another text than in line "
                f"{table.lines[first[raw]]}; each item needs one"
            )
    return tuple(first), tuple(texts[row] for row in first.values())


def _seconds(table: _Table, column: str) -> NDArray[np.float64]:
    """Seconds since 1970, with their fractions: what happened within one second still has an order."""
    cells = table.cells[column]
    seconds = [_second(value) for value in cells]
    if None in seconds:
        row = seconds.index(None)
        raise InputError(
            f"{table.at(row)}: the timestamp {shown('' if cells[row] is None else str(cells[row]))} is no finite "
            f"number (seconds since 1970) nor a date such as 2014-07-23 10:15:00"
        )
    return np.array(seconds, np.float64)


def _second(value: object) -> float | None:
    """Seconds of a number or an ISO 8601 date (UTC unless it says otherwise), None if it is neither."""
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if isinstance(value, str):
        number = number_of(value)
        if not math.isnan(number):
            value = number
        else:
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                return None
    if isinstance(value, datetime):
        value = (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, (int, float)) and is_time(value):
        return float(value)
    return None
