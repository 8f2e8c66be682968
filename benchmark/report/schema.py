"""What ``leaderboard.json`` looks like, for programs: a JSON schema made from the leaderboard's own classes.

``leaderboard.schema.json`` beside this file is what `schema` says, kept so that it can be read and linked to;
``python -m benchmark.report.schema`` writes it anew after a change of the classes.
"""

from __future__ import annotations

import ast
import inspect
import json
import math
import textwrap
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, ValidationError

from benchmark.errors import InputError
from benchmark.files import read_json, write_text
from benchmark.record import OverlapInfo, Questions, RemovedInfo, SourceInfo, Stored, TargetInfo
from benchmark.report.tables import Against, Agreement, Cell, Claim, Gap, Leaderboard, Pretrainings, Row, Table, Unrun
from benchmark.significance import Paired

FILE = Path(__file__).with_name("leaderboard.schema.json")
CLASSES: tuple[type, ...] = (
    Leaderboard,
    Table,
    Row,
    Pretrainings,
    Cell,
    Paired,
    Claim,
    Against,
    Gap,
    Unrun,
    TargetInfo,
    SourceInfo,
    OverlapInfo,
    Questions,
    RemovedInfo,
    Agreement,
)
"""All that a leaderboard is made of."""


class File(Stored):
    """``leaderboard.json``: a `Leaderboard` and the version of its form."""

    # Only for effects, see `_restored`.
    model_config = ConfigDict(allow_inf_nan=True)

    format: Literal[1]
    suite: str
    tables: tuple[Table, ...]
    machines: tuple[str, ...]
    versions: tuple[str, ...]
    agreements: tuple[Agreement, ...] = ()


def read_leaderboard(path: Path) -> Leaderboard:
    """What ``leaderboard.json`` says; raises InputError, naming file and key, for another form or an unknown key."""
    try:
        content = _restored(read_json(path))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: can't be read as JSON ({error}); write it again with `transrec report`") from error
    try:
        file = File.model_validate_json(json.dumps(content))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f"{path}: {place}: {first['msg']}; write it again with `transrec report`") from error
    return Leaderboard(
        suite=file.suite,
        tables=file.tables,
        machines=file.machines,
        versions=file.versions,
        agreements=file.agreements,
    )


def _restored(value: Any) -> Any:
    """Comparisons as they were: JSON knows no infinity, so their infinite effects were written as null."""
    if isinstance(value, list):
        return [_restored(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    restored = {key: _restored(inner) for key, inner in value.items()}
    if isinstance(difference := restored.get("difference"), float) and restored.get("effect", 0) is None:
        restored["effect"] = math.copysign(math.inf, difference)
    return restored


def schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of ``leaderboard.json``, with the attributes' own words as descriptions."""
    content = File.model_json_schema()
    for kind in CLASSES:
        place = content if kind is Leaderboard else content["$defs"][kind.__name__]
        place["additionalProperties"] = False
        if kind is not Leaderboard and kind.__doc__:
            place["description"] = " ".join(kind.__doc__.split())
        for name, said in _said(kind).items():
            place["properties"][name]["description"] = said
    content["$defs"]["Paired"]["properties"]["effect"]["type"] = ["number", "null"]
    content["properties"]["format"]["description"] = "Raised when the meaning of the file changes."
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | content | {"title": "leaderboard.json"}


def _said(kind: type) -> dict[str, str]:
    """The text below each attribute of a class that has one."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for attribute, text in pairwise(definition.body):
        match attribute, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(said))):
                found[name] = " ".join(said.split())
    return found


def main() -> None:
    write_text(FILE, json.dumps(schema(), indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
