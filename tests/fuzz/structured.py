"""Nearly valid files of the right form: strategies of hypothesis, by the name of a reader.

Damaged bytes seldom get past a checksum, a footer or a parser; these files do, and say something impossible.
"""

from __future__ import annotations

import copy
import io
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from hypothesis import strategies as st

from .mutate import TOKENS
from .readers import READERS, Files, as_parquet

Strategy = st.SearchStrategy[Files]
WORDS = st.sampled_from([word for token in TOKENS if (word := token.decode(errors="replace")) and len(token) < 40])
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.integers(-2, 9), st.floats(), WORDS, st.text(max_size=8)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


def _containers(value: Any) -> list[Any]:
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else None
    return [] if inner is None else [value, *(found for part in inner for found in _containers(part))]


@st.composite
def edited(draw: st.DrawFn, document: Any) -> Any:
    """A document with one to three values replaced, left out or added."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(_containers(document)))
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        action = draw(st.sampled_from(("replace", "replace", "remove", "add") if keys else ("add",)))
        if action == "add" and isinstance(place, list):
            place.append(draw(VALUES))
        elif action == "add":
            place[draw(st.text(max_size=5))] = draw(VALUES)
        elif action == "remove":
            del place[draw(st.sampled_from(keys))]
        else:
            place[draw(st.sampled_from(keys))] = draw(VALUES)
    return document


def _documents(path: str, content: bytes, load: Callable[[bytes], Any], dump: Callable[[Any], str]) -> Strategy:
    return edited(load(content)).map(lambda found: {path: dump(found).encode("utf-8", "surrogatepass")})


CELLS = st.one_of(
    WORDS,
    st.text(max_size=6),
    st.sampled_from(["a", "b", "u1", "u2", "0", "1", "2", "1e5", "2010-12-01 08:26:00", "12/1/2010 8:26", "0 1 2"]),
)


@st.composite
def _tables(draw: st.DrawFn, files: Files, separator: str) -> Files:
    """Some cells of the text tables are others, and here and there a row has one more or one less."""
    path = draw(st.sampled_from(list(files)))
    rows = [line.split(separator) for line in files[path].decode().splitlines()]
    for _ in range(draw(st.integers(1, 4))):
        row = draw(st.sampled_from(rows))
        row[draw(st.integers(0, len(row) - 1))] = draw(CELLS)
        if draw(st.integers(0, 9)) == 0:
            row.append(draw(CELLS))
    rows = draw(st.permutations(rows)) if draw(st.integers(0, 5)) == 0 else rows
    return {path: "\n".join(map(separator.join, rows)).encode("utf-8", "surrogatepass")}


DTYPES = ("<f4", ">f4", "|O", "<f8", "<M8[s]", "V8", "|S0", [("a", "|O")], "f4,f4")
COLUMNS: Sequence[tuple[pa.DataType, st.SearchStrategy[Any]]] = (
    *((kind, st.integers(-5, 70)) for kind in (pa.int8(), pa.int32(), pa.int64(), pa.float64(), pa.decimal128(9, 2))),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.float64(), st.floats()),
    (pa.bool_(), st.booleans()),
    (pa.string(), st.text(max_size=5) | st.sampled_from("abcu")),
    (pa.binary(), st.binary(max_size=5)),
    (pa.list_(pa.int32()), st.lists(st.integers(0, 9), max_size=3)),
    (pa.struct([("a", pa.int8())]), st.fixed_dictionaries({"a": st.integers(0, 9)})),
    (pa.date32(), st.dates(date(1, 1, 1))),
    (
        pa.timestamp("s", "Nowhere/Land"),
        st.datetimes(datetime(1970, 1, 1)).map(lambda found: found.replace(tzinfo=UTC)),
    ),
    (pa.timestamp("us"), st.datetimes()),
    (pa.dictionary(pa.int8(), pa.string()), st.sampled_from("abcd")),
    (pa.null(), st.none()),
)


@st.composite
def _parquets(draw: st.DrawFn, files: Files) -> Files:
    """One or two columns are of another type, with other values, with empty cells, or missing."""
    path = draw(st.sampled_from(list(files)))
    table = pq.read_table(io.BytesIO(files[path]))
    for _ in range(draw(st.integers(1, 2))):
        if not table.column_names:
            break
        place = draw(st.integers(0, table.num_columns - 1))
        kind, values = draw(st.sampled_from(COLUMNS))
        values = values | st.none() if draw(st.integers(0, 4)) == 0 else values
        cells = draw(st.lists(values, min_size=table.num_rows, max_size=table.num_rows))
        if pa.types.is_decimal(kind):
            cells = [None if cell is None else Decimal(cell) for cell in cells]
        column = pa.array(cells, kind)
        match draw(st.sampled_from(("type", "type", "cells", "remove", "twice"))):
            case "type":
                table = table.set_column(place, table.column_names[place], column)
            case "cells":
                own = table.schema.field(place)
                numbers = draw(st.lists(st.integers(-3, 100), min_size=table.num_rows, max_size=table.num_rows))
                if pa.types.is_integer(own.type):
                    table = table.set_column(place, own, pa.array(numbers, own.type))
            case "remove":
                table = table.remove_column(place)
            case _:
                table = table.append_column(table.column_names[place], column)
    return {path: as_parquet(table)}


@st.composite
def _arrays(draw: st.DrawFn, files: Files) -> Files:
    """A file of an array whose header lies."""
    (path,) = (path for path in files if path.endswith(".npy"))
    length = st.sampled_from((0, 1, 3, 256, -1, 2**31, 2**40, 2**63, 10**30)) | st.integers(-9, 999)
    header = {
        "descr": draw(st.sampled_from(DTYPES) | WORDS),
        "fortran_order": draw(st.booleans() | SCALARS),
        "shape": draw(st.lists(length, max_size=4).map(tuple) | VALUES),
    }
    text = repr(header) + "\n"
    said = draw(st.sampled_from((len(text), 0, 2**16 - 1)))
    start = b"\x93NUMPY" + draw(st.sampled_from((b"\1\0", b"\1\0", b"\2\0", b"\3\0", b"\xff\0")))
    packed = struct.pack("<H" if start[6] == 1 else "<I", said) + text.encode("utf-8", "surrogatepass")
    return {path: start + packed + files[path][128 : 128 + draw(st.sampled_from((0, 8, 4096)))]}


@st.composite
def _tensors(draw: st.DrawFn, files: Files) -> Files:
    """A safetensors file whose header, or the document in it, says something else."""
    ((path, content),) = files.items()
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    if draw(st.booleans()):
        about = draw(edited(json.loads(header["__metadata__"]["about"])))
        header["__metadata__"]["about"] = json.dumps(about)
    else:
        header = draw(edited(header))
    text = json.dumps(header).encode()
    said = draw(st.sampled_from((len(text), len(text), len(text), 0, 2**40, 2**64 - 1)))
    return {path: struct.pack("<Q", said) + text + content[8 + size :]}


def _strategies() -> Mapping[str, Strategy]:
    seeds = {name: reader.seed() for name, reader in READERS.items()}
    found: dict[str, Strategy] = {
        "atomic files": _tables(seeds["atomic files"], "\t"),
        "UniSRec files": _tables(seeds["UniSRec files"], "\t"),
        "csv tables": _tables(seeds["csv tables"], ","),
        "Online Retail csv": _tables(seeds["Online Retail csv"], ","),
        "parquet tables": _parquets(seeds["parquet tables"]),
        "context": _parquets(seeds["context"]),
        "encoder cache": _arrays(seeds["encoder cache"]),
        "artefact": _tensors(seeds["artefact"]),
        "checkpoint": _tensors(seeds["checkpoint"]),
    }
    for name in (
        "run",
        "diagnostics",
        "plan",
        "tuning",
        "failures",
        "leaderboard.json",
        "comparison",
        "verify",
        "leaderboard",
    ):
        parts = [
            _documents(path, content, json.loads, json.dumps)
            for path, content in seeds[name].items()
            if path.endswith(".json")
        ]
        tables = {path: content for path, content in seeds[name].items() if path.endswith(".parquet")}
        found[name] = st.one_of(*parts, *([_parquets(tables)] if tables else []))
    for name in ("card", "suite"):
        ((path, content),) = seeds[name].items()
        found[name] = _documents(path, content, yaml.safe_load, lambda value: yaml.safe_dump(value, sort_keys=False))
    files = seeds["Amazon files"]
    lines = [json.loads(line) for line in files["meta.json"].splitlines()]
    products = edited(lines).map(
        lambda rows: {"meta.json": "".join(f"{json.dumps(row)}\n" for row in rows).encode("utf-8", "surrogatepass")}
    )
    found["Amazon files"] = products | _tables({"ratings.csv": files["ratings.csv"]}, ",")
    files = seeds["imported domain"]
    domain = {path: content for path, content in files.items() if path.endswith(".parquet")}
    notes = [
        _documents(path, content, json.loads, json.dumps) for path, content in files.items() if path.endswith(".json")
    ]
    found["imported domain"] = st.one_of(*notes, _parquets(domain))
    return found


STRUCTURED = _strategies()
