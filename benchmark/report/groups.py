"""``tables/slices.csv``: every row of a leaderboard in groups of users.

A line a target, row, metric and group: ``suite, target, track, method, setting, variant, slicing, group, metric, users,
mean, low, high`` (95 % interval of the mean), ``gain, gain_low, gain_high`` (relative to the reference row, with
Fieller's interval; empty without such a row). What does not exist is empty (see `benchmark.slices`).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from benchmark.metrics import PRIMARY
from benchmark.report.stored import Stored, is_reference, rows_of, user_means
from benchmark.slices import Group, Interval, by_group, slices_of

METRICS = (PRIMARY, "Recall@10")
"""The paper's long tail is in the latter."""
_HEAD = ("suite", "target", "track", "method", "setting", "variant", "slicing", "group", "metric", "users")
_NUMBERS = ("mean", "low", "high", "gain", "gain_low", "gain_high")


def render_slices(suite: str, parts: Sequence[Stored]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*_HEAD, *_NUMBERS])
    for part in parts:
        writer.writerows([suite, part.target, part.track, *line] for line in _lines(part))
    return file.getvalue()


def _lines(part: Stored) -> Iterator[list[object]]:
    if part.context is None:
        return
    rows = rows_of(part.outcomes)
    references = [group for group in rows.values() if is_reference(group[0].record.job)]
    for label, group in rows.items():
        for metric in METRICS:
            values = user_means(group, metric)
            base = user_means(references[0], metric) if len(references) == 1 else None
            for slicing in slices_of(part.context, part.target):
                for one in by_group(slicing, values, values if base is None else base, part.context.cluster):
                    numbers = _numbers(one)
                    known = numbers if base is not None else [*numbers[:3], None, None, None]
                    yield [*label, slicing.name, one.label, metric, one.users, *map(_digits, known)]


def _numbers(group: Group) -> list[float | None]:
    return [group.mean, *_ends(group.interval), group.gain, *_ends(group.gain_interval)]


def _ends(interval: Interval | None) -> tuple[float | None, float | None]:
    return (interval.low, interval.high) if interval else (None, None)


def _digits(value: float | None) -> str:
    """Six, so that the last bits of another machine's arithmetic change no file."""
    return "" if value is None else f"{value:.6g}"
