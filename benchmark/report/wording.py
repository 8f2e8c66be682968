"""How numbers are written, alike in every rendering."""

from __future__ import annotations

from benchmark.metrics import PRIMARY
from benchmark.record import SourceInfo, TargetInfo
from benchmark.report.tables import REFERENCE, Cell, Row, Table
from benchmark.significance import Paired

VERSUS = f"Δ {PRIMARY} vs {REFERENCE} (95 % CI)"
NOTHING = "-"


def mean(cell: Cell) -> str:
    """Four digits, as papers print them."""
    return f"{cell.mean:.4f}"


def spread(cell: Cell) -> str:
    return f" ± {cell.sd:.4f}" if cell.sd is not None else ""


def interval(versus: Paired | None) -> str:
    if versus is None:
        return NOTHING
    return f"{versus.difference:+.4f} [{versus.low:+.4f}, {versus.high:+.4f}]"


def seconds(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def size(table: Table) -> str:
    """Counts and provenance of a target's data."""
    about = table.about
    if about is None:
        return "No results yet"
    custom = ", custom data (not what its card expects, or without a card): no printed numbers" if about.custom else ""
    return f"{counts(about)}, {about.split} split{custom}"


def counts(about: TargetInfo | SourceInfo) -> str:
    return f"{about.users:,} users, {about.items:,} items, {about.interactions:,} interactions"


def gaps(table: Table) -> list[str]:
    """One line a missing result, or a group of seeds that are missing for the same reason."""
    seeds: dict[tuple[str, str], list[int]] = {}
    for gap in table.gaps:
        name = gap.method if gap.setting == "full" else f"{gap.method} ({gap.setting})"
        seeds.setdefault((name, f"failed: {gap.reason}" if gap.failed else gap.reason), []).append(gap.seed)
    return [
        f"{name}, seed{'s' if len(missing) > 1 else ''} {', '.join(map(str, missing))}: {reason}"
        for (name, reason), missing in seeds.items()
    ]


def marks(rows: tuple[Row, ...], metric: str) -> list[str]:
    """For each row ``best``, ``second`` or nothing, of means before rounding for print; equals share a mark."""
    # Nine digits: means that are equal but for the order of a summation are equal.
    means = [round(row.cells[metric].mean, 9) for row in rows]
    ordered = sorted(set(means), reverse=True)
    if len(rows) < 2:
        return [""] * len(rows)
    return ["best" if mean == ordered[0] else "second" if mean == ordered[1] else "" for mean in means]
