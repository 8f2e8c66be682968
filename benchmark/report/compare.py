"""Two rows of a suite, user by user: all users of a target, and groups of them. `benchmark.report.verdict` words it.

Shape suffixes: S, T seeds of the first and the second row; U users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import InputError, unknown
from benchmark.layout import REFERENCE_FOLDER
from benchmark.metrics import METRICS, PRIMARY
from benchmark.questions import Context
from benchmark.report.stored import Outcome, Stored, rows_of, seed_values, stored
from benchmark.report.tables import label_of
from benchmark.report.wording import titled
from benchmark.significance import Paired, bootstrap, paired_t, sign_flip
from benchmark.slices import slices_of
from benchmark.trials import SUFFIX

_EQUAL = 1e-9
"""Means over seeds that differ by less are equal but for the order of a summation."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What can be said of the difference first less second; `significance` says how each is computed."""

    paired: Paired
    """Over users, each averaged over seeds: given these trained models."""
    flips: float
    """Two-sided p of the sign-flip permutation test of the same."""
    low: float
    high: float
    """95 % interval over seeds and users: of the methods, as far as their seeds tell."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A metric of two rows over some users."""

    users: int
    first: float | None
    second: float | None
    """Means over users; None where there are none."""
    gain: int
    lose: int
    same: int
    """Users for whom the first row is better, worse, and as good, each averaged over seeds."""
    test: Evidence | None
    """None for fewer than two independent users, and where all see the same difference: nothing tells how it varies."""


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """What stands behind a row's numbers."""

    n: int
    trained: bool
    """On the target or on sources. An untrained row has one seed, since more would repeat the same number."""


@dataclass(frozen=True, kw_only=True)
class TargetComparison:
    """Two rows of one target."""

    target: str
    title: str
    users: int
    asked: str
    """What these are: users or, in the strict track, questions."""
    clusters: int | None
    """Independent units where these are clusters of users; None where they are the users."""
    first: Seeds
    second: Seeds
    metrics: Mapping[str, Comparison]
    """By metric, over all users."""
    slices: Mapping[str, Mapping[str, Comparison]]
    """The primary metric by name of the slicing and label of the group."""


def compare(
    suite: str | None, results: Path, first: str, second: str, target: str | None = None
) -> list[TargetComparison]:
    """Compare two rows, named as the leaderboard names them, on every target (or one) that has both.

    ``suite`` may be left out where the results are of one suite only.
    Raises InputError for unknown names, for a row beside itself, and where no target has both.
    """
    suite = suite or _only_suite(results)
    if first == second:
        raise InputError(f"'{first}' is the same row twice; name two rows of suite '{suite}'")
    found, known = [], set()
    everything = stored(suite, results)
    parts = [part for part in everything if target in (None, part.target)]
    if not parts:
        raise unknown("target", str(target), [part.target for part in everything], f"suite '{suite}'")
    for part in parts:
        rows = {label_of(*label): group for label, group in rows_of(part.outcomes).items()}
        known |= rows.keys()
        if first in rows and second in rows and part.context is not None:
            found.append(_on_target(part, part.context, rows[first], rows[second]))
    for name in (first, second):
        if name not in known:
            raise unknown("row", name, known, f"suite '{suite}'")
    if not found:
        raise InputError(
            f"suite '{suite}': no target has both '{first}' and '{second}', and what is known of its users"
        )
    return found


def _only_suite(results: Path) -> str:
    folders = [child.name for child in results.iterdir() if child.is_dir()] if results.is_dir() else []
    names = sorted(name for name in folders if name != REFERENCE_FOLDER and not name.endswith(SUFFIX))
    if len(names) == 1:
        return names[0]
    if not names:
        raise InputError(f"{results}: holds no results; run a suite first: `transrec run demo`")
    raise InputError(f"{results}: holds results of several suites; name one with --suite: {', '.join(names)}")


def _on_target(part: Stored, context: Context, first: Sequence[Outcome], second: Sequence[Outcome]) -> TargetComparison:
    def compared(metric: str, chosen_U: NDArray[np.bool_]) -> Comparison:
        a_SU, b_TU = (seed_values(group, metric)[:, chosen_U] for group in (first, second))
        return _compared(a_SU, b_TU, context.cluster[chosen_U])

    everyone = np.ones(len(context.cluster), np.bool_)
    return TargetComparison(
        target=part.target,
        title=titled(first[0].record.target.title, part.track),
        users=len(everyone),
        asked="questions" if first[0].record.questions else "users",
        clusters=len(np.unique(context.cluster)) if context.clustered else None,
        first=_seeds(first),
        second=_seeds(second),
        metrics={metric: compared(metric, everyone) for metric in METRICS},
        slices={
            slicing.name: {
                label: compared(PRIMARY, slicing.group_of_U == place) for place, label in enumerate(slicing.groups)
            }
            for slicing in slices_of(context, part.target)
        },
    )


def _compared(a_SU: NDArray[np.float64], b_TU: NDArray[np.float64], cluster_U: NDArray[np.int32]) -> Comparison:
    a, b = a_SU.mean(axis=0), b_TU.mean(axis=0)
    test = None
    if len(np.unique(cluster_U)) > 1 and np.ptp(a - b) > _EQUAL:
        low, high = bootstrap(a_SU, b_TU, cluster_U, over="seeds")
        test = Evidence(paired=paired_t(a, b, cluster_U), flips=sign_flip(a, b, cluster_U), low=low, high=high)
    return Comparison(
        users=len(a),
        first=float(a.mean()) if len(a) else None,
        second=float(b.mean()) if len(b) else None,
        gain=int((a - b > _EQUAL).sum()),
        lose=int((b - a > _EQUAL).sum()),
        same=int((np.abs(a - b) <= _EQUAL).sum()),
        test=test,
    )


def _seeds(group: Sequence[Outcome]) -> Seeds:
    records = [outcome.record for outcome in group]
    trained = any(record.learning_curve or record.pretraining is not None for record in records)
    return Seeds(n=len(seed_values(group, PRIMARY)), trained=trained)
