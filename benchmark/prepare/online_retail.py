"""UCI Online Retail: invoices as sequences of stock codes (Chen, Sain and Guo, 2012).

The recipe is that of ``process_or.py`` of RUCAIBox/UniSRec (arXiv:2206.05941): a user is an invoice, an
interaction a distinct (invoice, stock code, quantity, time), lines without a description are dropped, then 5-core.
All lines of an invoice share a minute, so a sequence is a basket whose order says nothing; cancellations, service
codes and guests stay, as they do there.

With customers for users the same interactions make sequences that have an order in time; guests have none and go.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmark.domain import Domain
from benchmark.errors import InputError, at
from benchmark.formats.interactions import Ties, number_of, tie_key, time_order, to_sequences
from benchmark.formats.lines import WHOLE_FILE, csv_rows, read_bytes, shown
from benchmark.prepare.kcore import core_rows

COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "CustomerID")
CORE = 5
MOST_LINES, MOST_COLUMNS = 1 << 20, 64
"""Of a workbook: the lines that Excel has at most, and more columns than the file has."""
MOST_EMPTY = 1000
"""Lines without a cell, one after another: a row may claim any number, and all before it are then made up."""


def prepare_online_retail(
    table: Path, *, name: str, ties: Ties = "hash", users_are: Literal["invoices", "customers"] = "invoices"
) -> Domain:
    """Online Retail from its xlsx or csv file (plain or .gz, UTF-8 or Latin-1, either date format).

    The "raw line" of the order inside equal times is ``invoice,stock code,quantity,YYYY-MM-DD HH:MM:SS``, rendered
    from the parsed fields, so that every form of the file gives the same domain. Users and items are sorted by raw
    id. Where users are invoices, clusters are customers, and an invoice without one is its own; where they are
    customers, invoices without one are left out. Raises InputError with file:line.
    """
    # A dict keeps distinct interactions in the order of the file, which line order needs.
    distinct: dict[tuple[str, str, int, int], None] = {}
    texts: dict[str, str] = {}
    customers: dict[str, str] = {}
    for line, (invoice, code, description, quantity, date, customer) in _rows(table):
        if not description.strip():
            continue
        where = at(table, line)
        if not invoice or not code:
            raise InputError(f"{where}: empty InvoiceNo or StockCode; remove the line")
        texts.setdefault(code, description.strip().lower() + ".")
        customers.setdefault(invoice, customer)
        distinct[invoice, code, _quantity(quantity, where), _seconds(date, where)] = None
    if not distinct:
        raise InputError(f"{table}: no line has a description")

    by_customer = users_are == "customers"
    rows = [row for row in distinct if customers[row[0]] or not by_customer]
    if not rows:
        raise InputError(f"{table}: no line names a customer")
    # one form of the file writes customers as decimals
    owners = [customers[row[0]].removesuffix(".0") if by_customer else row[0] for row in rows]
    user_ids, users = np.unique(owners, return_inverse=True)
    item_ids, items = np.unique([row[1] for row in rows], return_inverse=True)
    kept = core_rows(users, items, CORE)
    if not len(kept):
        raise InputError(f"{table}: no {users_are[:-1]} and stock code have {CORE} lines each; fetch the whole file")
    rows, owners = [rows[row] for row in kept], [owners[row] for row in kept]
    user_rows, users = np.unique(users[kept], return_inverse=True)
    item_rows, items = np.unique(items[kept], return_inverse=True)
    times = np.array([row[3] for row in rows], np.int64)

    def key(row: int) -> int:
        invoice, code, quantity, time = rows[row]
        return tie_key(owners[row], code, f"{invoice},{code},{quantity},{_rendered(time)}")

    order = time_order(users, times, key if ties == "hash" else None)
    known_users = tuple(user_ids[user_rows].tolist())
    codes = tuple(item_ids[item_rows].tolist())
    return Domain(
        name=name,
        sequences=to_sequences(users, items, order, len(known_users)),
        item_ids=codes,
        user_ids=known_users,
        texts=tuple(texts[code] for code in codes),
        timestamps=times[order],
        clusters=None if by_customer else _clusters(known_users, customers),
    )


def _clusters(invoices: tuple[str, ...], customers: dict[str, str]) -> np.ndarray:
    numbers: dict[tuple[str, str], int] = {}
    owners = (("customer", customers[invoice]) if customers[invoice] else ("guest", invoice) for invoice in invoices)
    return np.array([numbers.setdefault(owner, len(numbers)) for owner in owners], np.int32)


def _rows(path: Path) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Line number and the fields of `COLUMNS`, as text (dates of an xlsx as datetime)."""
    lines = _xlsx_lines(path) if path.suffix == ".xlsx" else _csv_lines(path)
    _, header = next(lines, (1, []))
    missing = [column for column in COLUMNS if column not in header]
    if missing:
        raise InputError(f"{at(path, 1)}: no column {', '.join(missing)}; expected at least {','.join(COLUMNS)}")
    places = {column: header.index(column) for column in COLUMNS}
    for line, fields in lines:
        if len(fields) != len(header):
            raise InputError(f"{at(path, line)}: expected {len(header)} columns, found {len(fields)}")
        yield (
            line,
            tuple(fields[index] if column == "InvoiceDate" else str(fields[index]) for column, index in places.items()),
        )


def _csv_lines(path: Path) -> Iterator[tuple[int, list[Any]]]:
    content = read_bytes(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        # The file is distributed both in Latin-1 and re-encoded; its pound signs are not valid UTF-8 in the former.
        text = content.decode("latin-1")
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(f"{at(path, line)}: holds a NUL character; no csv file does: fetch it again")
    return csv_rows(io.StringIO(text, newline=""), path)


def _xlsx_lines(path: Path) -> Iterator[tuple[int, list[Any]]]:
    # Reading a workbook is rare and the library slow to import.
    import openpyxl

    line = filled = 0
    try:
        with zipfile.ZipFile(path) as parts:
            unpacked = sum(part.file_size for part in parts.infolist())
        if unpacked > WHOLE_FILE:
            raise ValueError(f"unpacks to more than {WHOLE_FILE:,} bytes")
        workbook = openpyxl.load_workbook(path, read_only=True, data_only=True)
        sheet = workbook.worksheets[0]
        # What a sheet says of its own size is filled up with empty cells.
        width = min(sheet.max_column or MOST_COLUMNS, MOST_COLUMNS)
        # Its rows are parsed as they are asked for, so a broken one shows up only then.
        for line, fields in enumerate(sheet.iter_rows(max_row=MOST_LINES, max_col=width, values_only=True), 1):
            filled = line if any(field is not None for field in fields) else filled
            if line - filled > MOST_EMPTY:
                raise ValueError(f"{MOST_EMPTY} empty lines one after another")
            yield line, [_cell(field) for field in fields]
        workbook.close()
    except Exception as error:  # whatever a foreign file provokes in foreign code is the file's fault
        where = at(path, line + 1) if line else path
        raise InputError(f"{where}: not an xlsx workbook ({str(error)[:500]}); fetch it again") from error


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, datetime) else str(value)


def _quantity(value: str, where: str) -> int:
    try:
        if math.isnan(number_of(value)):
            raise ValueError(value)
        return int(value)
    except ValueError:
        raise InputError(f"{where}: the quantity {shown(value)} is not a whole number") from None


@cache
def _parsed(value: str) -> int | None:
    for layout in ("%Y-%m-%d %H:%M:%S", "%m/%d/%Y %H:%M"):
        try:
            return int(datetime.strptime(value, layout).replace(tzinfo=UTC).timestamp())
        except ValueError:
            continue
    return None


@cache
def _rendered(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"


def _seconds(value: str | datetime, where: str) -> int:
    if isinstance(value, datetime):
        # A workbook stores days as a float; what it shows is the nearest second.
        return round(value.replace(tzinfo=UTC).timestamp())
    seconds = _parsed(value)
    if seconds is None:
        raise InputError(
            f"{where}: the date {shown(value)} is neither YYYY-MM-DD HH:MM:SS nor month/day/year hour:minute"
        )
    return seconds
