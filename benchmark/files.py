"""Files, above all JSON and Parquet, that appear complete or not at all, and whose errors in reading name them."""

from __future__ import annotations

import glob
import json
import math
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from benchmark.errors import InputError

Model = TypeVar("Model", bound=BaseModel)
LARGEST_JSON = 1 << 26
"""Bytes of a JSON file; the largest that the suite writes has a few hundred thousand."""
MOST_ROWS = 1 << 24
"""Of a Parquet file of results, which has one a user."""


def sibling(path: Path) -> Path:
    """A hidden name beside ``path`` that no one else uses, so that renaming stays inside one file system."""
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}")


def sweep(path: Path) -> None:
    """Remove what broken-off writes to ``path`` have left beside it. Only for who alone may write there."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def put(temporary: Path, path: Path) -> None:
    """Give what was written beside ``path`` its name, once it is on disk: it survives a loss of power whole.

    Raises OSError.
    """
    files = [temporary, *temporary.rglob("*")] if temporary.is_dir() else [temporary]
    for each in files:
        _to_disk(each)
    os.replace(temporary, path)
    _to_disk(path.parent)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file, and the folders above it, in one step."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, and the folders above it, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = sibling(path)
    try:
        temporary.write_bytes(content)
        put(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_model(path: Path, model: BaseModel) -> None:
    """Write a model as indented JSON in one step; raises ValueError for a number that is not finite."""
    content = json.dumps(model.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(path, f"{content}\n")


def read_json(path: Path) -> Any:
    """A JSON document as the standard has it; raises OSError, and ValueError for all else that it may be.

    A key that occurs twice, NaN, infinity, a number that becomes one, and nesting without end are no JSON here.
    """
    if path.stat().st_size > LARGEST_JSON:
        raise ValueError(f"more than {LARGEST_JSON:,} bytes")
    return parse_json(path.read_bytes().decode("utf-8"))


def parse_json(text: str) -> Any:
    """`read_json` of a text; raises ValueError."""
    try:
        return json.loads(text, object_pairs_hook=_distinct, parse_constant=_finite, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key '{next(key for key in keys if keys.count(key) > 1)[:60]}' occurs twice")
    return found


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text[:60]} is no finite number")
    return value


def read_model(path: Path, model: type[Model]) -> Model:
    """Read what `write_model` wrote; raises InputError naming the file and the key."""
    try:
        read_json(path)  # pydantic takes the last of two keys, and any number where a field may be anything
        return model.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); delete what is left and run again") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = "".join(f"{part}." for part in first["loc"]).removesuffix(".")
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        problem = f"{place[:200]}: {first['msg'][:500]}" if place else first["msg"][:500]
        raise InputError(f"{path}: {problem}{more}; delete it and run again") from error
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); delete it and run again") from error


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file, and the folders above it, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = sibling(path)
    try:
        pq.write_table(table, temporary, compression="zstd")
        put(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_table(path: Path, columns: Mapping[str, pa.DataType], *, others: bool = False) -> pa.Table:
    """Read a Parquet file of exactly these columns without empty cells; raises InputError naming the file.

    others: there may be more columns, which are not read.
    """
    try:
        with pq.ParquetFile(path) as file:
            # a file of a kilobyte can hold billions of equal rows: look before reading
            found = [(field.name, field.type) for field in file.schema_arrow if not others or field.name in columns]
            if sorted(found, key=str) != sorted(columns.items(), key=str):
                lists = (", ".join(f"{name} {kind}" for name, kind in kinds) for kinds in (columns.items(), found))
                expected, has = lists
                raise InputError(
                    f"{path}: the columns are [{has[:500]}], expected [{expected}]; delete it and run again"
                )
            if file.metadata.num_rows > MOST_ROWS:
                raise InputError(f"{path}: more than {MOST_ROWS:,} rows; delete it and run again")
            table = file.read(columns=list(columns) if others else None)
            table.validate(full=True)
    except (OSError, ValueError, LookupError, OverflowError, pa.ArrowException) as error:
        raise InputError(f"{path}: can't be read ({str(error)[:500]}); delete it and run again") from error
    for name in columns:
        if table[name].null_count:
            raise InputError(f"{path}: column {name} has empty cells; delete it and run again")
    return table
