"""The numbers printed in the paper, and the order of its rows."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

SOURCE = "arXiv:2206.05941, Table 2"


@cache
def values() -> dict[tuple[str, str, str], float]:
    """Printed value by (data set, method, metric), for example ``("Scientific", "SASRec", "NDCG@10")``."""
    with (Path(__file__).parent / "paper_table.csv").open(encoding="utf-8", newline="") as file:
        lines = csv.DictReader(line for line in file if not line.startswith("#"))
        return {(line["dataset"], line["method"], line["metric"]): float(line["value"]) for line in lines}


def methods() -> tuple[str, ...]:
    """The rows of the table, from top to bottom."""
    return tuple(dict.fromkeys(method for _, method, _ in values()))
