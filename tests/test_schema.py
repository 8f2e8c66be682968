"""What is written about ``leaderboard.json`` holds: its schema, its documentation and the committed files."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from boards import full_board, hostile_board, make_board, make_paired, make_row, make_table
from pydantic import BaseModel

from benchmark.errors import InputError
from benchmark.report.export import render_json
from benchmark.report.schema import CLASSES, FILE, File, read_leaderboard, schema
from benchmark.report.tables import Leaderboard

ROOT = Path(__file__).parents[1]
COMMITTED = sorted(ROOT.glob("reports/*/leaderboard.json"))


def names(kind: Any) -> list[str]:
    own = list(kind.model_fields) if issubclass(kind, BaseModel) else [field.name for field in dataclasses.fields(kind)]
    return ["format", *own] if kind is Leaderboard else own


def optional(kind: Any) -> set[str]:
    """What is only written where it departs from its default."""
    if not dataclasses.is_dataclass(kind):
        return set()
    return {field.name for field in dataclasses.fields(kind) if field.default is not dataclasses.MISSING}


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.parent.name)
def test_committed_leaderboards_are_of_the_form_and_read_back(path: Path) -> None:
    assert render_json(read_leaderboard(path)) == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("board", [full_board(), hostile_board()], ids=["full", "hostile"])
def test_what_is_written_reads_back(board: Leaderboard, tmp_path: Path) -> None:
    file = tmp_path / "leaderboard.json"
    file.write_text(render_json(board), encoding="utf-8")
    found = read_leaderboard(file)
    assert render_json(found) == file.read_text(encoding="utf-8")
    assert [row.label for table in found.tables for row in table.rows] == [
        row.label for table in board.tables for row in table.rows
    ]


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        (("tables", 0, "rows", 0, "cells", "NDCG@10", "mean"), "0.05", "tables.0.rows.0.cells.NDCG@10.mean"),
        (("tables", 0, "rows", 2, "claim", "beats_controls"), None, "tables.0.rows.2.claim.beats_controls"),
        (("tables", 0, "rows", 0, "rank"), 1, "tables.0.rows.0.rank"),
        (("tables", 0, "rows", 0, "role"), "baseline", "tables.0.rows.0.role"),
        (("format",), 2, "format"),
        (("owner",), "me", "owner"),
    ],
)
def test_another_form_is_refused_by_key(path: tuple[Any, ...], value: Any, place: str, tmp_path: Path) -> None:
    content = json.loads(render_json(full_board()))
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    file = tmp_path / "leaderboard.json"
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=re.escape(f"leaderboard.json: {place}: ")):
        read_leaderboard(file)


def test_an_infinite_effect_keeps_its_sign(tmp_path: Path) -> None:
    paired = dataclasses.replace(make_paired(-0.01), effect=-math.inf)
    file = tmp_path / "leaderboard.json"
    file.write_text(render_json(make_board(make_table("toy", (make_row("Popularity", 0.1, versus=paired),)))))
    versus = read_leaderboard(file).tables[0].rows[0].versus
    assert versus is not None
    assert versus.effect == -math.inf
    assert schema()["$defs"]["Paired"]["properties"]["effect"]["type"] == ["number", "null"]


@pytest.mark.parametrize("text", ["", "{", '{"format": NaN}', "\xff", "[]", "1"])
def test_what_is_no_leaderboard_is_named(text: str, tmp_path: Path) -> None:
    file = tmp_path / "leaderboard.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match="leaderboard.json: .*; write it again with `transrec report`"):
        read_leaderboard(file)
    with pytest.raises(InputError, match="nowhere.json: can't be read"):
        read_leaderboard(tmp_path / "nowhere.json")


def test_the_schema_that_is_shipped_is_that_of_the_classes() -> None:
    stored = json.loads(FILE.read_text(encoding="utf-8"))
    assert stored == schema(), "run `python -m benchmark.report.schema`"
    assert stored["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_schema_tells_every_field_of_every_class_and_allows_no_other() -> None:
    content = schema()
    assert {kind.__name__ for kind in CLASSES} == {*content["$defs"], "Leaderboard"}
    assert {"format", *(field.name for field in dataclasses.fields(Leaderboard))} == set(File.model_fields)
    for kind in CLASSES:
        found = content if kind is Leaderboard else content["$defs"][kind.__name__]
        assert list(found["properties"]) == names(kind)
        assert found["required"] == [name for name in names(kind) if name not in optional(kind)]
        assert found["additionalProperties"] is False
    sd = content["$defs"]["Cell"]["properties"]["sd"]
    assert sd["description"].startswith("Sample standard deviation over seeds")
    assert [option["type"] for option in sd["anyOf"]] == ["number", "null"]


def test_the_documentation_explains_every_field_and_no_other() -> None:
    parts = (ROOT / "docs" / "leaderboard-json.md").read_text(encoding="utf-8").split("\n## ")[1:]
    explained = {part.split("\n")[0]: re.findall(r"^- `(\w+)`: .{3,}$", part, re.MULTILINE) for part in parts}
    assert explained == {kind.__name__: names(kind) for kind in CLASSES}
