"""Two rows of a suite, user by user."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tabulate import tabulate

from benchmark.errors import InputError, unknown
from benchmark.metrics import METRICS
from benchmark.report.build import rows_of, stored, user_means
from benchmark.report.tables import label_of
from benchmark.significance import Paired, paired_t


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A metric of two rows on a target, and the difference first less second over users, each averaged over seeds."""

    target: str
    metric: str
    first: float
    second: float
    paired: Paired


def compare(suite: str, results: Path, first: str, second: str, target: str | None = None) -> list[Comparison]:
    """Compare two rows, named as the leaderboard names them, on every target (or one) that has both.

    Raises InputError for unknown names, and where no target has both.
    """
    found, known = [], set()
    parts = [part for part in stored(suite, results) if target in (None, part.target)]
    if not parts:
        raise unknown("target", str(target), [part.target for part in stored(suite, results)], f"suite '{suite}'")
    for part in parts:
        rows = {label_of(*label): group for label, group in rows_of(part.outcomes).items()}
        known |= rows.keys()
        if first not in rows or second not in rows or part.context is None:
            continue
        for metric in METRICS:
            a, b = user_means(rows[first], metric), user_means(rows[second], metric)
            found.append(
                Comparison(
                    target=part.target,
                    metric=metric,
                    first=float(np.mean(a)),
                    second=float(np.mean(b)),
                    paired=paired_t(a, b, part.context.cluster),
                )
            )
    for name in (first, second):
        if name not in known:
            raise unknown("row", name, known, f"suite '{suite}'")
    if not found:
        raise InputError(
            f"suite '{suite}': no target has both '{first}' and '{second}', and what is known of its users"
        )
    return found


def render(comparisons: list[Comparison], first: str, second: str) -> str:
    """The comparisons as aligned text."""
    lines = [
        [
            c.target,
            c.metric,
            f"{c.first:.4f}",
            f"{c.second:.4f}",
            f"{c.paired.difference:+.4f} [{c.paired.low:+.4f}, {c.paired.high:+.4f}]",
            f"{c.paired.difference / c.second:+.1%}" if c.second else "-",
            f"{c.paired.p:.2g}",
        ]
        for c in comparisons
    ]
    headers = ["target", "metric", first, second, "difference (95 % CI)", "relative", "p"]
    return tabulate(lines, headers, tablefmt="simple", disable_numparse=True)
