"""A leaderboard for programs, as JSON and CSV.

``leaderboard.json`` is `benchmark.report.tables.Leaderboard` field by field, beside a ``format`` number. A field that
has a default is written where it departs from it.
``leaderboard.csv`` has one line a target, row and metric: ``suite, target, track, custom`` (0 or 1), ``method, setting,
variant, role, seeds`` (how many), ``metric, mean, sd`` (over seeds; empty with one), ``low, high`` (of the mean's 95 %
interval over users; empty without knowledge of them), ``printed`` (in the paper; or empty). Numbers have eight digits,
so that the last bits of another machine's arithmetic change no file. JSON knows no infinity: such an effect is null.
"""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from pydantic import BaseModel

from benchmark.report.tables import Leaderboard

FORMAT = 1


def render_json(board: Leaderboard) -> str:
    content = {"format": FORMAT} | plain_values(board)
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def render_csv(board: Leaderboard) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    about = ("suite", "target", "track", "custom", "method", "setting", "variant", "role", "seeds")
    writer.writerow([*about, "metric", "mean", "sd", "low", "high", "printed"])
    for table in board.tables:
        for row in table.rows:
            custom = int(table.about is not None and table.about.custom)
            known = [board.suite, table.target, table.track, custom, row.method, row.setting, row.variant, row.role]
            for metric, cell in row.cells.items():
                numbers = [plain_values(value) for value in (cell.mean, cell.sd, cell.low, cell.high, cell.printed)]
                writer.writerow([*known, len(row.seeds), metric, *numbers])
    return file.getvalue()


def plain_values(value: Any) -> Any:
    if is_dataclass(value):
        # a field with a default is for some suites only: it is left out of the others
        known = [(field, getattr(value, field.name)) for field in fields(value)]
        return {
            field.name: plain_values(inner)
            for field, inner in known
            if field.default is MISSING or inner != field.default
        }
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, dict):
        return {key: plain_values(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain_values(inner) for inner in value]
    if isinstance(value, float):
        return None if math.isinf(value) else float(f"{value:.8g}")
    return value
