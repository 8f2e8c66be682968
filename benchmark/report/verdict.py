"""A comparison of two rows in words and tables, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tabulate import tabulate

from benchmark.metrics import PRIMARY
from benchmark.report.compare import Comparison, Evidence, TargetComparison
from benchmark.report.wording import NOTHING, interval, p_value


def render(found: Sequence[TargetComparison], first: str, second: str) -> str:
    """Each target: what to make of it, the metrics, and groups of users."""
    return "\n\n\n".join("\n\n".join(_target(each, first, second)) for each in found)


def verdict(found: TargetComparison, first: str, second: str) -> str:
    """What the primary metric says, in sentences; gains and losses are the first row's."""
    said = found.metrics[PRIMARY]
    if said.test is None:
        return (
            f"{first} and {second} can't be tested: there are fewer than two independent users, or all of them see the "
            f"same difference in {PRIMARY}."
        )
    paired, p = said.test.paired, p_value(said.test.paired.p)
    users = f"{said.gain:,} {found.asked} gain, {said.lose:,} lose, {said.same:,} see no change."
    if paired.low <= 0 <= paired.high:
        numbers = f"{paired.difference:+.4f} (95 % interval {_range(paired.low, paired.high)}, p {p})"
        opening = f"{first} and {second} are not told apart by {PRIMARY}: {numbers}: {users}"
        opening += f" A true difference of {paired.detectable:.4f} would be found four times in five."
    else:
        low, high = _towards(paired.difference, paired.low, paired.high)
        side = "above" if paired.difference > 0 else "below"
        numbers = f"{abs(paired.difference):.4f} {PRIMARY} (95 % interval {_range(low, high)}, p {p})"
        opening = f"{first} is {side} {second} by {numbers}: {users}"
    return f"{opening} {_over_seeds(found, said.test, first, second)}"


def _over_seeds(found: TargetComparison, test: Evidence, first: str, second: str) -> str:
    """What the seeds add to it: a row that was trained might have had others."""
    rows = ((first, found.first), (second, found.second))
    if not any(seeds.trained for _, seeds in rows):
        return "Neither is trained, so there are no other seeds."
    single = [name for name, seeds in rows if seeds.trained and seeds.n == 1]
    if all(seeds.n == 1 for _, seeds in rows):
        return f"Given these trained models; of other seeds nothing is known, with one of {' and of '.join(single)}."
    paired, low, high = test.paired, test.low, test.high
    told_apart = not paired.low <= 0 <= paired.high
    if told_apart:
        low, high = _towards(paired.difference, low, high)
    said = f"Given these trained models; over seeds too ({found.first.n} and {found.second.n}) the interval is "
    said += _range(low, high)
    if told_apart and low <= 0 <= high:
        said += ", which includes 0: a difference of these models, not shown to be one of the methods"
    if single:
        said += f"; {single[0]} has one seed, so what chance does to it is not in there"
    return f"{said}."


def _towards(difference: float, low: float, high: float) -> tuple[float, float]:
    """An interval as it reads where the difference is given by its size."""
    return (low, high) if difference > 0 else (-high, -low)


def _target(found: TargetComparison, first: str, second: str) -> list[str]:
    units = f", {found.clusters:,} independent clusters" if found.clusters is not None else ""
    return [
        f"{found.title} ({found.target}): {found.users:,} {found.asked}{units}",
        verdict(found, first, second),
        _table(found, found.metrics, "metric", first, second),
        f"{PRIMARY} by groups of {found.asked}. How many groups there are is not corrected for.",
        *(f"By {name}:\n{_table(found, groups, 'group', first, second)}" for name, groups in found.slices.items()),
    ]


def _table(found: TargetComparison, lines: Mapping[str, Comparison], what: str, first: str, second: str) -> str:
    headers = [
        what,
        found.asked,
        first,
        second,
        "difference (95 % CI)",
        "relative",
        "p",
        "p (flips)",
        "effect",
        "detectable",
        "over seeds too",
        "gain / lose / same",
    ]
    return tabulate([[name, *_cells(line)] for name, line in lines.items()], headers, "simple", disable_numparse=True)


def _cells(line: Comparison) -> list[str]:
    test = line.test
    return [
        f"{line.users:,}",
        *(NOTHING if mean is None else f"{mean:.4f}" for mean in (line.first, line.second)),
        interval(test.paired if test else None),
        f"{line.first / line.second - 1:+.1%}" if line.first is not None and line.second else NOTHING,
        *(
            (
                p_value(test.paired.p),
                p_value(test.flips),
                f"{test.paired.effect:+.3f}",
                f"{test.paired.detectable:.4f}",
                f"[{test.low:+.4f}, {test.high:+.4f}]",
            )
            if test
            else [NOTHING] * 5
        ),
        f"{line.gain:,} / {line.lose:,} / {line.same:,}",
    ]


def _range(low: float, high: float) -> str:
    return f"{low:.4f} to {high:.4f}"
