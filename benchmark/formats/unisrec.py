"""UniSRec's benchmark files (leave-one-out, RecBole ``benchmark_filename``), in and out.

``<prefix>.train.inter`` has one row for each prefix of a training sequence, longest first, cut to its last 50
items; ``.valid.inter`` and ``.test.inter`` have one row a user. Ids are 0-based rows of ``.item2index`` and
``.user2index``; ``.text`` has raw item ids. Layout: ``process_amazon.py`` of RUCAIBox/UniSRec, arXiv:2206.05941.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.domain import Domain, Sequences
from benchmark.errors import InputError, at
from benchmark.files import sibling
from benchmark.formats.interactions import check_texts
from benchmark.formats.lines import read_lines, shown, write_lines

SUFFIXES = ("train.inter", "valid.inter", "test.inter", "text", "item2index", "user2index")
MAX_HISTORY = 50
HEADER = "user_id:token\titem_id_list:token_seq\titem_id:token"
TEXT_HEADER = "item_id:token\ttext:token_seq"


@dataclass(frozen=True)
class _Row:
    line: int
    user: int
    history: list[int]
    item: int


def read_unisrec(source: Path | Mapping[str, Path], name: str) -> Domain:
    """The domain that ``<prefix>.train.inter`` and its five siblings (plain or .gz) were made from.

    source: the prefix, or each file by its suffix.

    All training rows of a user are unrolled and every history is checked against the sequence that results; the
    longest row alone would lose what lies before its 50 items. There are no timestamps. Raises InputError
    (file:line) for rows that are malformed, empty, inconsistent or name an unknown user or item.
    """
    if isinstance(source, Path):
        files = {suffix: source.with_name(f"{source.name}.{suffix}") for suffix in SUFFIXES}
    else:
        files = dict(source)
    item_ids = _read_index(files["item2index"])
    user_ids = _read_index(files["user2index"])
    sizes = len(user_ids), len(item_ids)

    train = _unroll(files["train.inter"], sizes)
    histories: list[list[int]] = [train.get(user, []) for user in range(sizes[0])]
    for suffix in ("valid.inter", "test.inter"):
        _append(files[suffix], sizes, histories)
    texts = _read_texts(files["text"], item_ids)
    return Domain(
        name=name,
        sequences=Sequences.of(histories),
        item_ids=item_ids,
        user_ids=user_ids,
        texts=texts,
    )


def _read_index(path: Path) -> tuple[str, ...]:
    """Raw ids in the order of their index."""
    ids: dict[int, str] = {}
    for line, text in read_lines(path):
        raw, tab, number = text.rpartition("\t")
        index = _row_number(number) if tab else None
        if index is None:
            raise InputError(f"{at(path, line)}: expected 'raw id<TAB>index', found {shown(text)}")
        if not raw:
            raise InputError(f"{at(path, line)}: empty id; name it or remove the line")
        if index in ids:
            raise InputError(f"{at(path, line)}: index {index} occurs twice; each id needs its own")
        ids[index] = raw
    if sorted(ids) != list(range(len(ids))) or not ids:
        raise InputError(f"{path}: indices must be 0 to n-1 without gaps, found {len(ids)} of them")
    if len(set(ids.values())) != len(ids):
        raise InputError(f"{path}: a raw id occurs twice; each may have one index only")
    return tuple(ids[index] for index in range(len(ids)))


def _row_number(text: str) -> int | None:
    """The number of a row, None if the text is none; no file has so many rows that 18 digits would not do."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


def _read_rows(path: Path, sizes: tuple[int, int]) -> Iterator[_Row]:
    users, items = sizes
    for line, text in read_lines(path):
        if line == 1:
            if text != HEADER:
                raise InputError(f"{at(path, 1)}: expected the header {HEADER!r}, found {text[:80]!r}")
            continue
        fields = text.split("\t")
        if len(fields) != 3:
            raise InputError(f"{at(path, line)}: expected 3 columns separated by tabs, found {len(fields)}")
        history = fields[1].split(" ") if fields[1].strip() else []
        if not history:
            raise InputError(
                f"{at(path, line)}: empty sequence (item_id_list) of user {shown(fields[0])}; remove the row"
            )
        user, item = _row_number(fields[0]), _row_number(fields[2])
        known = [number for number in map(_row_number, history) if number is not None]
        if user is None or item is None or len(known) < len(history):
            raise InputError(f"{at(path, line)}: ids must be whole numbers (rows of the index files): {shown(text)}")
        row = _Row(line, user, known, item)
        if row.user >= users:
            raise InputError(f"{at(path, line)}: user {row.user}, but the user2index file has only {users}")
        if max(row.item, *row.history) >= items:
            raise InputError(
                f"{at(path, line)}: item {max(row.item, *row.history)}, but the item2index file has only {items}"
            )
        yield row


def _unroll(path: Path, sizes: tuple[int, int]) -> dict[int, list[int]]:
    """Training sequence of each user that has rows."""
    rows: dict[int, list[_Row]] = {}
    for row in _read_rows(path, sizes):
        rows.setdefault(row.user, []).append(row)
    sequences: dict[int, list[int]] = {}
    for user, own in rows.items():
        # Row j predicts item m-1-j, so the targets read backwards are the sequence without its first item.
        sequence = own[-1].history[:1] + [row.item for row in reversed(own)]
        for end, row in zip(range(len(own), 0, -1), own, strict=True):
            if row.history != sequence[max(0, end - MAX_HISTORY) : end]:
                raise InputError(
                    f"{at(path, row.line)}: the history does not fit the other rows of user {user}; expected every "
                    f"prefix of one sequence, longest first, cut to its last {MAX_HISTORY} items"
                )
        sequences[user] = sequence
    return sequences


def _append(path: Path, sizes: tuple[int, int], histories: list[list[int]]) -> None:
    """Append the held-out item of each user, after checking the history it comes with."""
    seen: set[int] = set()
    for row in _read_rows(path, sizes):
        known = histories[row.user]
        if not known:
            # One training item leaves no training row: the validation row is then the only place that has it.
            known.extend(row.history[:1])
        if row.user in seen:
            raise InputError(f"{at(path, row.line)}: a second row of user {row.user}; expected one a user")
        if row.history != known[-MAX_HISTORY:]:
            raise InputError(
                f"{at(path, row.line)}: the history of user {row.user} is not what the files before it say: expected "
                f"the last {MAX_HISTORY} of {len(known)} items, found {len(row.history)} that differ"
            )
        known.append(row.item)
        seen.add(row.user)
    if len(seen) < len(histories):
        missing = next(user for user in range(len(histories)) if user not in seen)
        raise InputError(f"{path}: no row of user {missing}; expected one row for each of {len(histories)} users")


def _read_texts(path: Path, item_ids: tuple[str, ...]) -> tuple[str, ...]:
    row_of = {raw: row for row, raw in enumerate(item_ids)}
    texts: list[str | None] = [None] * len(item_ids)
    for line, text in read_lines(path):
        if line == 1:
            if text != TEXT_HEADER:
                raise InputError(f"{at(path, 1)}: expected the header {TEXT_HEADER!r}, found {text[:80]!r}")
            continue
        raw, tab, content = text.partition("\t")
        if not tab:
            raise InputError(f"{at(path, line)}: expected 'item id<TAB>text', found {shown(text)}")
        row = row_of.get(raw)
        if row is None:
            raise InputError(f"{at(path, line)}: item {shown(raw)} is not in the item2index file")
        if texts[row] is not None:
            raise InputError(f"{at(path, line)}: a second text of item {shown(raw)}")
        # The released texts end with the space that separates fields.
        texts[row] = content.removesuffix(" ")
    complete = tuple(text or "" for text in texts)
    check_texts(complete, path)
    return complete


def write_unisrec(domain: Domain, folder: Path) -> None:
    """Write the six files as ``folder/<domain name>.<suffix>``; sequences need at least three items.

    The ``.inter`` files of the released Scientific split are reproduced byte for byte.
    """
    prefix = folder / file_stem(domain)
    held_out: dict[str, list[str]] = {"train.inter": [HEADER], "valid.inter": [HEADER], "test.inter": [HEADER]}
    for user, sequence in enumerate(domain.sequences):
        items = [str(item) for item in sequence.tolist()]
        if len(items) < 3:
            raise InputError(
                f"domain '{domain.name}': user '{domain.user_ids[user]}' has {len(items)} interactions; "
                f"leave-one-out files need at least 3"
            )
        ends = {"test.inter": [len(items) - 1], "valid.inter": [len(items) - 2]}
        ends["train.inter"] = list(range(len(items) - 3, 0, -1))
        for suffix, positions in ends.items():
            for end in positions:
                history = " ".join(items[max(0, end - MAX_HISTORY) : end])
                held_out[suffix].append(f"{user}\t{history}\t{items[end]}")
    for suffix, lines in held_out.items():
        write_lines(prefix.with_name(f"{prefix.name}.{suffix}"), lines)
    for suffix, ids in (("item2index", domain.item_ids), ("user2index", domain.user_ids)):
        lines = [f"{one_field(raw)}\t{index}" for index, raw in enumerate(ids)]
        write_lines(prefix.with_name(f"{prefix.name}.{suffix}"), lines)
    texts = (f"{raw}\t{one_line(text)}" for raw, text in zip(domain.item_ids, domain.texts, strict=True))
    write_lines(prefix.with_name(f"{prefix.name}.text"), [TEXT_HEADER, *texts])


def file_stem(domain: Domain) -> str:
    """The name of a domain as that of its files; raises InputError for one that would leave the folder."""
    if domain.name in ("", "..") or Path(domain.name).name != domain.name or "\0" in domain.name:
        raise InputError(f"domain {domain.name!r}: the name can't be that of a file; choose a plain one")
    return domain.name


def one_line(text: str) -> str:
    """Tabs, line breaks and NULs as spaces: these formats have no escape for them."""
    return text.translate({ord(character): " " for character in "\t\n\r\0"})


def one_field(raw: str) -> str:
    """A raw id as it is; raises InputError if the format cannot hold it."""
    if one_line(raw) != raw or not raw:
        raise InputError(f"the id {raw!r} is empty or holds a tab, line break or NUL, which these files cannot hold")
    return raw


def read_features(path: Path, n_items: int, width: int | None = None) -> NDArray[np.float32]:
    """Item features as ``.feat1CLS`` has them (headless little-endian float32, row = item), float32 [n_items, width].

    The file does not say how wide it is. Without ``width`` any number of bytes that ``n_items`` rows share evenly is
    taken, which those of another domain may do: give it where it is known. Raises InputError if the size does not fit
    or a number is not finite.
    """
    if not n_items:
        raise InputError(f"{path}: features of no items; give the domain they belong to")
    try:
        size = path.stat().st_size  # what has another size is not read
        row = 4 * (width or size // (4 * n_items))
        if not size or size != n_items * row:
            shape = f"{n_items} x {width}" if width else f"{n_items} rows of equal width"
            raise InputError(f"{path}: {size} bytes are not {shape} of float32; encode the items of this very domain")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    features = np.frombuffer(content, "<f4").astype(np.float32).reshape(n_items, -1)
    broken = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(broken):
        raise InputError(
            f"{path}: NaN or infinity in the features of {len(broken)} items (first: row {broken[0]}); encode again"
        )
    return features


def write_features(path: Path, features: NDArray[np.floating]) -> None:
    """Write [n_items, width] numbers as `read_features` reads them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = sibling(path)
    np.ascontiguousarray(features, "<f4").tofile(temporary)
    temporary.replace(path)
