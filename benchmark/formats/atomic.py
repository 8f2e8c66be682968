"""RecBole atomic files, in and out: ``NAME.inter`` and ``NAME.item``, tab-separated, with typed headers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmark.domain import Domain
from benchmark.errors import InputError, at
from benchmark.formats.interactions import Ties, check_texts, is_time, number_of, tie_key, time_order, to_sequences
from benchmark.formats.lines import listed, read_lines, shown, write_lines
from benchmark.formats.unisrec import file_stem, one_field, one_line

TEXT_COLUMNS = ("title", "text", "categories", "category", "brand", "description")
"""Columns of an item file that make its text unless others are named, joined in this order."""

MISSING = frozenset(
    {"#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"}
    | {"NULL", "NaN", "None", "n/a", "nan", "null"}
)
"""What pandas, by which RecBole reads these files, takes for a missing value even where it is an id."""

IGNORED = frozenset({"rating"})
"""Known columns of an interaction file that sequences do not need."""


def read_atomic(
    interactions: Path,
    items: Path,
    *,
    name: str,
    text: Sequence[str] | None = None,
    ties: Ties = "hash",
    positions: bool = False,
) -> Domain:
    """A domain from ``.inter`` (user_id, item_id, timestamp, optionally cluster) and ``.item`` files, plain or .gz.

    text: columns of the item file to join by a space; the others are then ignored. None takes `TEXT_COLUMNS` and
    refuses any other column.
    ties: order inside equal times of a user; by default SHA-256 of user, item and raw line.
    positions: ``timestamp`` only counts positions, so the domain gets no timestamps.

    Users of one cluster belong together; a user whose cluster is blank belongs to nobody else.

    Users are in order of first appearance; items in the order of the item file, which is the catalogue: its items
    are candidates even where nobody took them. Raises InputError with file:line.
    """
    item_ids, texts = _read_items(items, text)
    check_texts(texts, items)
    row_of = {raw: row for row, raw in enumerate(item_ids)}

    user_rows: dict[str, int] = {}
    users: list[int] = []
    taken: list[int] = []
    times: list[float] = []
    lines: list[str] = []
    clusters: dict[int, str] = {}
    for line, fields, raw in _read_rows(interactions, {"user_id", "item_id", "timestamp"}, IGNORED | {"cluster"}):
        where = at(interactions, line)
        item = row_of.get(fields["item_id"])
        if item is None:
            raise InputError(f"{where}: item {shown(fields['item_id'])} is not in {items}; add it there or remove it")
        user = user_rows.setdefault(fields["user_id"], len(user_rows))
        if clusters.setdefault(user, fields.get("cluster", "")) != fields.get("cluster", ""):
            raise InputError(f"{where}: user {shown(fields['user_id'])} is in two clusters; each user belongs to one")
        users.append(user)
        taken.append(item)
        times.append(_time(fields["timestamp"], where))
        lines.append(raw)
    if not users:
        raise InputError(f"{interactions}: no interactions; expected lines below the header")

    user_ids = tuple(user_rows)
    user_column, item_column, time_column = np.array(users), np.array(taken), np.array(times)

    def key(row: int) -> int:
        return tie_key(user_ids[users[row]], item_ids[taken[row]], lines[row])

    order = time_order(user_column, time_column, key if ties == "hash" else None)
    return Domain(
        name=name,
        sequences=to_sequences(user_column, item_column, order, len(user_ids)),
        item_ids=item_ids,
        user_ids=user_ids,
        texts=texts,
        timestamps=None if positions else np.floor(time_column[order]).astype(np.int64),
        clusters=_numbered([clusters[user] for user in range(len(user_ids))]),
    )


def _time(value: str, where: str) -> float:
    time = number_of(value)
    if not is_time(time):
        raise InputError(f"{where}: the timestamp {shown(value)} is not a finite number of seconds since 1970")
    return time


def _numbered(clusters: list[str]) -> np.ndarray | None:
    """Cluster numbers in order of first appearance, each blank its own; None where the file names no clusters."""
    if not any(clusters):
        return None
    numbers: dict[str | int, int] = {}
    owners = (cluster or user for user, cluster in enumerate(clusters))
    return np.array([numbers.setdefault(owner, len(numbers)) for owner in owners], np.int32)


def _read_items(path: Path, text: Sequence[str] | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if text is None:
        rows = _read_rows(path, {"item_id"}, frozenset(TEXT_COLUMNS))
        joined: Sequence[str] = TEXT_COLUMNS
    else:
        rows = _read_rows(path, {"item_id", *text}, None)
        joined = text
    texts: dict[str, str] = {}
    for line, fields, _ in rows:
        raw = fields["item_id"]
        if raw in texts:
            raise InputError(f"{at(path, line)}: item {shown(raw)} occurs a second time; each item needs one line")
        texts[raw] = " ".join(filter(None, (fields.get(column, "").strip() for column in joined)))
    if not texts:
        raise InputError(f"{path}: no items; expected lines below the header")
    return tuple(texts), tuple(texts.values())


def _read_rows(
    path: Path, required: set[str], optional: frozenset[str] | None
) -> Iterator[tuple[int, dict[str, str], str]]:
    """Line number, fields by column name without its type, and raw line; ``optional`` None takes any column."""
    columns: list[str] = []
    for line, raw in read_lines(path):
        fields = raw.split("\t")
        if line == 1:
            columns = _header(path, fields, required, optional)
            continue
        if len(fields) != len(columns):
            raise InputError(
                f"{at(path, line)}: expected {len(columns)} columns separated by tabs ({listed(columns)}), "
                f"found {len(fields)}"
            )
        row = dict(zip(columns, fields, strict=True))
        for column in required & {"user_id", "item_id"}:
            if not row[column]:
                raise InputError(f"{at(path, line)}: empty {column}; remove the line or name it")
        yield line, row, raw
    if not columns:
        raise InputError(f"{path}: empty file; expected a header such as 'user_id:token<TAB>item_id:token'")


def _header(path: Path, fields: list[str], required: set[str], optional: frozenset[str] | None) -> list[str]:
    untyped = [
        field for field in fields if field.rpartition(":")[2] not in ("token", "token_seq", "float", "float_seq")
    ]
    if untyped:
        raise InputError(
            f"{at(path, 1)}: the header has no type for {listed(untyped)}; "
            f"write 'user_id:token', 'timestamp:float', 'title:token_seq' and so on"
        )
    columns = [field.rpartition(":")[0] for field in fields]
    missing = required - set(columns)
    if missing:
        raise InputError(f"{at(path, 1)}: no column {listed(sorted(missing))}; the file has {listed(columns)}")
    strange = set() if optional is None else set(columns) - required - optional
    if strange:
        raise InputError(
            f"{at(path, 1)}: unknown column {listed(sorted(strange))}; "
            f"read are {', '.join(sorted(required | (optional or set())))}: remove it, or name the text columns to use"
        )
    if len(set(columns)) != len(columns):
        raise InputError(f"{at(path, 1)}: a column occurs twice: {listed(columns)}")
    return columns


def read_as_missing(domain: Domain) -> int:
    """How many ids of users and items RecBole takes for missing values, whose interactions it then drops."""
    return sum(raw in MISSING for raw in (*domain.user_ids, *domain.item_ids))


def lost_in_atomic(domain: Domain) -> list[str]:
    """What of a domain these files can't hold: with any of it, a domain that is read back is another one."""
    texts = sum(one_line(text).strip() != text for text in domain.texts)
    silent = int((domain.sequences.lengths == 0).sum())
    clusters = [] if domain.clusters is None else domain.clusters.tolist()
    first = list(dict.fromkeys(clusters))
    renumbered = first != list(range(len(first)))
    said = {
        f"{texts} item texts hold tabs, line breaks or spaces at an end, which become spaces or nothing": texts,
        f"{silent} users have no interactions": silent,
        "the attributes of items (taxonomy) have no column": domain.taxonomy is not None,
        "clusters of users are numbered in another order": renumbered,
    }
    return [words for words, is_so in said.items() if is_so]


def write_atomic(domain: Domain, folder: Path) -> None:
    """Write ``<domain name>.inter`` and ``.item`` into ``folder``.

    ``timestamp`` is the position in the sequence where the domain has no times. Lines are in the order of the
    sequences, so that reading with ``ties="line-order"`` gives the same domain. Tabs and line breaks inside a text
    become spaces.
    """
    items = (f"{one_field(raw)}\t{one_line(text)}" for raw, text in zip(domain.item_ids, domain.texts, strict=True))
    stem = file_stem(domain)
    write_lines(folder / f"{stem}.item", ["item_id:token\ttitle:token_seq", *items])
    header = "user_id:token\titem_id:token\ttimestamp:float"
    write_lines(
        folder / f"{stem}.inter",
        [header + ("\tcluster:token" if domain.clusters is not None else ""), *_inter(domain)],
    )


def _inter(domain: Domain) -> Iterator[str]:
    for user, raw in enumerate(domain.user_ids):
        start = int(domain.sequences.offsets[user])
        end = "" if domain.clusters is None else f"\t{domain.clusters[user]}"
        for position, item in enumerate(domain.sequences[user].tolist()):
            time = position if domain.timestamps is None else int(domain.timestamps[start + position])
            yield f"{one_field(raw)}\t{domain.item_ids[item]}\t{time}{end}"
