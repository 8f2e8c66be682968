"""The numbers printed in the paper, and the order of its rows."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

SOURCE = "arXiv:2206.05941, Table 2"
PROPOSED = ("UniSRec_t", "UniSRec_t+ID")
"""The rows that the paper stands for; the others of its table are its baselines."""
REPLICAS = {"BERT4Rec-recbole1": "BERT4Rec", "FDSA-released": "FDSA", "S3-Rec-released": "S3-Rec"}
"""The printed rows that replicas of released code explain."""


@cache
def values() -> dict[tuple[str, str, str], float]:
    """Printed value by (data set, method, metric), for example ``("Scientific", "SASRec", "NDCG@10")``."""
    with (Path(__file__).parent / "paper_table.csv").open(encoding="utf-8", newline="") as file:
        lines = csv.DictReader(line for line in file if not line.startswith("#"))
        return {(line["dataset"], line["method"], line["metric"]): float(line["value"]) for line in lines}


def value(data_set: str, method: str, metric: str) -> float | None:
    """The printed value of a row, for a replica that of the row whose released code it reproduces."""
    return values().get((data_set, REPLICAS.get(method, method), metric))


def methods() -> tuple[str, ...]:
    """The rows of the table, from top to bottom."""
    return tuple(dict.fromkeys(method for _, method, _ in values()))
