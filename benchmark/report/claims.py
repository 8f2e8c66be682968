"""What a table may claim: which rows beat which, corrected for how many were asked, and which can't be told apart.

Primary metric only (NDCG@10); every other number of a table is descriptive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from benchmark.metrics import METRICS
from benchmark.multiple import holm, tied_groups
from benchmark.report import printed
from benchmark.report.tables import Against, Claim, Row
from benchmark.significance import bootstrap, paired_t

Values = Mapping[str, NDArray[np.float64]]
"""By label of a row, NDCG@10 of each user under each seed, [seeds, n_users]."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Rows of a target by the part they play in its comparisons, by label, in the order of the table."""

    proposed: tuple[str, ...]
    """UniSRec's rows as the paper has them, and submitted ones."""
    baselines: tuple[str, ...]
    controls: tuple[str, ...]
    absent: tuple[str, ...]
    """Paper baselines that the suite has for this target and that have no result."""

    @classmethod
    def of(cls, rows: Sequence[Row], absent: Sequence[str]) -> Standing:
        def proposed(row: Row) -> bool:
            return row.role == "row" or row.method in printed.PROPOSED

        # a row that most users were kept from, or that something else was taken from, competes with no whole one
        rivals = [row for row in rows if row.setting != "few-shot" and not row.controlled]
        return cls(
            proposed=tuple(row.label for row in rivals if row.setting == "full" and proposed(row)),
            baselines=tuple(row.label for row in rivals if row.role == "paper" and not proposed(row)),
            controls=tuple(row.label for row in rivals if row.role == "control"),
            absent=tuple(absent),
        )


def claim(label: str, standing: Standing, values: Values, cluster: NDArray[np.int32]) -> Claim | None:
    """What the tests say of a proposed row; None where it has no baseline beside it."""
    if not standing.baselines:
        return None
    baselines = _against(label, standing.baselines, values, cluster)
    controls = _against(label, standing.controls, values, cluster)
    beats = not standing.absent and all(rival.above for rival in baselines)
    best = max(standing.baselines, key=lambda rival: float(values[rival].mean()))
    low, high = bootstrap(values[label], values[best], cluster, over="seeds")
    return Claim(
        baselines=baselines,
        controls=controls,
        absent=standing.absent,
        beats_baselines=beats,
        beats_controls=beats and bool(controls) and all(rival.above for rival in controls),
        best_baseline=best,
        low=low,
        high=high,
    )


def tied(values: Values, cluster: NDArray[np.int32]) -> tuple[tuple[str, ...], ...]:
    """Groups of rows that can't be told apart at 5 %, Holm over all pairs of the table."""
    order = sorted(values, key=lambda label: -float(values[label].mean()))
    means = [values[label].mean(axis=0) for label in order]
    pairs = [(i, j) for i in range(len(order)) for j in range(i + 1, len(order))]
    p = np.ones((len(order), len(order)))
    for (i, j), adjusted in zip(pairs, holm([paired_t(means[i], means[j], cluster).p for i, j in pairs]), strict=True):
        p[i, j] = p[j, i] = adjusted
    return tied_groups(order, p)


def improvement(rows: Sequence[Row], standing: Standing) -> dict[str, float | None]:
    """By metric, the best proposed row over the best paper baseline, relative.

    Empty without either, and where the best baseline may be one that has no result.
    """
    found: dict[str, float | None] = {}
    if standing.proposed and standing.baselines and not standing.absent:
        for metric in METRICS:
            means = {row.label: row.cells[metric].mean for row in rows}
            best, base = (max(means[label] for label in some) for some in (standing.proposed, standing.baselines))
            found[metric] = best / base - 1 if base > 0 else None
    return found


def detectable(rows: Sequence[Row]) -> float | None:
    """The smallest detectable difference to the reference, in the median of the rows that are compared with it."""
    found = [row.versus.detectable for row in rows if row.versus]
    return median(found) if found else None


def _against(label: str, rivals: Sequence[str], values: Values, cluster: NDArray[np.int32]) -> tuple[Against, ...]:
    own = values[label].mean(axis=0)
    paired = [paired_t(own, values[rival].mean(axis=0), cluster) for rival in rivals]
    adjusted = holm([pair.p for pair in paired])
    return tuple(
        Against(rival=rival, paired=pair, p_holm=float(p))
        for rival, pair, p in zip(rivals, paired, adjusted, strict=True)
    )
