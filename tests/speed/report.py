"""The speed report, written from the JSON of one run: ``python -m tests.speed.report RUN.json reports/speed``.

Exits with 1 where a bound that must hold was measured, at real sizes, and does not: the report is written all the same.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from tabulate import tabulate

from benchmark.errors import InputError
from benchmark.files import sibling, write_text

from . import SHIPPED, WITHOUT_ANOMALY_DETECTION

Entry = Mapping[str, Any]
"""What one test measured: its ``extra_info``."""

FIGURE = "scaling"
WIDER = 2.5
"""How far beyond its values a logarithmic axis goes, so that a difference of nothing looks like nothing."""
AXES = {
    "interactions": "interactions",
    "items": "items",
    "length": "items in a training sequence",
}


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A figure that is promised. ``value`` is None where it was not measured."""

    what: str
    value: float | None
    unit: str
    at_least: float | None = None
    at_most: float | None = None
    goal: str = ""
    spread: str = ""

    @property
    def holds(self) -> bool | None:
        if self.value is None:
            return None
        return (self.at_least is None or self.value >= self.at_least) and (
            self.at_most is None or self.value <= self.at_most
        )

    def row(self) -> list[str]:
        limit = f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"
        measured = "not measured" if self.value is None else f"{number(self.value)}{self.unit}"
        verdict = {None: "–", True: "yes", False: "**no**"}[self.holds]
        return [self.what, f"{limit}{self.unit}", self.goal, measured, self.spread, verdict]


@dataclass(frozen=True, eq=False)
class Run:
    """One run of the speed suite."""

    made: str
    commit: str
    machine: Mapping[str, Any]
    entries: Sequence[Entry]

    def all(self, kind: str) -> list[Entry]:
        return [entry for entry in self.entries if entry["kind"] == kind]

    def find(self, kind: str, **wanted: object) -> Entry | None:
        return next((e for e in self.all(kind) if all(e[key] == value for key, value in wanted.items())), None)


def read(path: Path) -> Run:
    """Read pytest-benchmark's JSON; raises InputError where it is no run of this suite."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        entries = [bench["extra_info"] for bench in content["benchmarks"]]
        commit = str(content["commit_info"].get("id") or "unknown")
        commit += "+" if content["commit_info"].get("dirty") else ""
        run = Run(content["datetime"], commit, content["machine_info"]["speed"], [e for e in entries if "kind" in e])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: no run of the speed suite ({error!r}); make one with `tox -e speed`") from error
    if not run.entries:
        raise InputError(f"{path}: nothing was measured; make a run with `tox -e speed`")
    return run


def number(value: float) -> str:
    """Three digits that matter."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def span(values: Sequence[float]) -> str:
    return f"{number(min(values))} – {number(max(values))}" if len(values) > 1 else "one run"


def seconds(entry: Entry, name: str) -> list[float]:
    return next(contender["seconds"] for contender in entry["contenders"] if contender["name"] == name)


def ratio(entry: Entry | None, slow: str, fast: str) -> tuple[float | None, str]:
    """How many times as long ``slow`` takes: of the medians, and the span of the rounds."""
    if entry is None:
        return None, ""
    above, below = seconds(entry, slow), seconds(entry, fast)
    rounds = [a / b for a, b in zip(above, below, strict=True)]
    return statistics.median(above) / statistics.median(below), span(rounds)


def slope(points: Sequence[Entry], values: Iterable[float]) -> float:
    """Exponent b of the least-squares fit value = a x^b in log space."""
    return float(np.polyfit(np.log([point["value"] for point in points]), np.log(list(values)), 1)[0])


def time_slope(entry: Entry) -> float:
    return slope(entry["points"], (statistics.median(point["seconds"]) for point in entry["points"]))


def memory_slope(entry: Entry) -> float:
    return slope(entry["points"], (point["peak_memory_mb"] for point in entry["points"]))


def bounds(run: Run) -> list[Bound]:
    """What must hold on two processor cores, and what this run found: at the greatest width, in ``auto`` precision."""
    ours = run.machine["precision"]
    wide = max((entry["width"] for entry in run.all("comparison")), default=300)
    training = run.find("comparison", work="train", width=wide)
    ranking = run.find("comparison", work="evaluate", width=wide)
    shipped, shipped_span = ratio(training, SHIPPED, ours)
    plain, plain_span = ratio(training, WITHOUT_ANOMALY_DETECTION, ours)
    evaluation, evaluation_span = ratio(ranking, SHIPPED, ours)
    unisrec, unisrec_span = ratio(run.find("methods", work="train"), "UniSRec_t", "SASRec")
    pretraining = run.find("pretraining")
    growth = run.find("growth", axis="interactions")
    many = run.find("ranking")
    times = f"SASRec training epoch, width {wide}"
    return [
        Bound(
            what=f"{times}: times faster than {SHIPPED}",
            value=shipped,
            unit="×",
            at_least=150,
            goal="300×",
            spread=shipped_span,
        ),
        Bound(
            what=f"{times}: times faster than {WITHOUT_ANOMALY_DETECTION}",
            value=plain,
            unit="×",
            at_least=100,
            spread=plain_span,
        ),
        Bound(
            what=f"Full ranking, width {wide}: times faster than {SHIPPED}",
            value=evaluation,
            unit="×",
            at_least=14,
            goal="40×",
            spread=evaluation_span,
        ),
        Bound(
            what="UniSRec_t fine-tuning epoch, in SASRec epochs",
            value=unisrec,
            unit="×",
            at_most=2.5,
            spread=unisrec_span,
        ),
        Bound(
            what="Pre-training epoch on the merged sources",
            value=statistics.median(pretraining["seconds"]) if pretraining else None,
            unit=" s",
            at_most=180,
            spread=span(pretraining["seconds"]) if pretraining else "",
        ),
        Bound(
            what="Pre-training: peak memory",
            value=pretraining["peak_memory_mb"] if pretraining else None,
            unit=" MB",
            at_most=6 * 1024,
        ),
        Bound(
            what="Epoch time against interactions: slope in log-log",
            value=time_slope(growth) if growth else None,
            unit="",
            at_most=1.05,
        ),
        Bound(
            what=f"Ranking among {many['items']:,} items: peak memory" if many else "Ranking among many items",
            value=max(point["peak_memory_mb"] for point in many["points"]) if many else None,
            unit=" MB",
            at_most=2 * 1024,
            spread=span([point["peak_memory_mb"] for point in many["points"]]) if many else "",
        ),
    ]


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return tabulate(list(rows), headers=list(headers), tablefmt="github", disable_numparse=True)


def _head(run: Run) -> str:
    machine = run.machine
    lines = [
        "# Speed",
        "Every figure on this page was measured in one run and is written here by a program, reached or not. "
        "Contenders of one table take turns, so that what slows the machine for a while slows them all; tables give "
        "the median and, behind it, the least and the most.",
        f"- Machine: {machine['processor']}, {machine['platform']}, {machine['memory_gb']:.0f} GB; "
        f"{machine['threads']} threads; `auto` precision means {machine['precision']} here\n"
        f"- Software: Python {machine['python']}, torch {machine['torch']}, numpy {machine['numpy']}, "
        f"transrec {machine['transrec']}, RecBole {machine['recbole']}\n"
        f"- Commit {run.commit[:12]}{'+' if run.commit.endswith('+') else ''}, {run.made[:10]}\n"
        "- Command: `python -m tox -e speed`; the numbers behind this page: [measured.json](measured.json)",
    ]
    if machine["quick"]:
        lines.insert(1, "**Made with `--speed-quick`: tiny sizes. The figures say nothing about speed.**")
    return "\n\n".join(lines)


def _bounds(run: Run) -> str:
    headers = ("What", "Must be", "Goal", "Measured", "Least – most", "Holds")
    return "\n\n".join(["## What must hold", table(headers, (bound.row() for bound in bounds(run)))])


def _comparison(run: Run) -> str:
    parts = ["## Beside RecBole"]
    names = {"train": "SASRec, a training epoch", "evaluate": "SASRec, full ranking of every user's test item"}
    for entry in run.all("comparison"):
        references = [c["name"] for c in entry["contenders"] if c["name"] in (SHIPPED, WITHOUT_ANOMALY_DETECTION)]
        rows = []
        for contender in entry["contenders"]:
            found, ours = contender["seconds"], contender["name"] not in references
            row = [f"ours, {contender['name']}" if ours else contender["name"]]
            row += [number(statistics.median(found)), span(found)]
            row += [number(1000 * statistics.median(found) / entry["steps"])] if entry["steps"] else []
            for reference in references:
                value, spread = ratio(entry, reference, contender["name"])
                row.append(f"{number(value)}× ({spread})" if ours and value is not None else "")
            rows.append(row)
        headers = ["", "Median, s", "Least – most, s", *(["A step, ms"] if entry["steps"] else [])]
        parts += [f"### {names[entry['work']]}, width {entry['width']}", _data(entry)]
        parts += [table([*headers, *(f"Faster than {name}" for name in references)], rows)]
    parts.append(_how(run))
    return "\n\n".join(parts)


def _how(run: Run) -> str:
    entry = run.find("comparison", work="train")
    if entry is None:
        return "RecBole was not measured in this run."
    shares = {c["name"]: c["share"] for c in entry["contenders"]}
    return (
        "RecBole trains and ranks with its own SASRec, data loaders and trainer: a row a prefix, padded to 50, 2,048 a "
        "batch. Importing its sequential models turns torch's anomaly detection on; it is timed with it and without. "
        f"A round times the steps that make {shares[SHIPPED]:.0%} of its epoch, after warm-up, and the seconds above "
        "are scaled to the whole; ours is the whole epoch, batching included. Both train on the same (prefix, next "
        "item) pairs with the same sizes (2 layers, 2 heads, inner 256, dropout 0.5)."
    )


def _data(entry: Entry) -> str:
    return (
        f"`{entry['data']}`: {entry['users']:,} users, {entry['items']:,} items, "
        f"{entry['interactions']:,} interactions."
    )


def _methods(run: Run) -> str:
    parts = ["## UniSRec beside SASRec"]
    for entry in run.all("methods"):
        rows = []
        for contender in entry["contenders"]:
            value, spread = ratio(entry, contender["name"], "SASRec")
            median = statistics.median(contender["seconds"])
            row = [contender["name"], number(median), span(contender["seconds"])]
            row += [number(1000 * median / entry["steps"])] if entry["steps"] else []
            rows.append([*row, f"{number(value)} ({spread})" if value is not None else ""])
        what = "a training epoch" if entry["work"] == "train" else "full ranking"
        parts.append(f"{what.capitalize()}, width {entry['width']}, texts of {entry['text_width']} dimensions:")
        headers = ["", "Median, s", "Least – most, s", *(["A step, ms"] if entry["steps"] else []), "In SASRec's time"]
        parts.append(table(headers, rows))
    parts.append("`UniSRec_t` is fine-tuned as after pre-training, its Transformer frozen; `-scratch` trains it all.")
    return "\n\n".join(parts)


def _pretraining(entry: Entry) -> str:
    return "\n\n".join(
        [
            "## Pre-training",
            f"UniSRec, width {entry['width']}, {entry['precision']}, on generated sources of the shape of suite "
            f"`lite`'s five merged: {entry['users']:,} users, {entry['items']:,} items, {entry['interactions']:,} "
            f"interactions in training, {entry['targets']:,} (prefix, next item) pairs, texts of "
            f"{entry['text_width']} dimensions and their noisy copies.",
            f"An epoch of {entry['steps']:.0f} steps takes {number(statistics.median(entry['seconds']))} s "
            f"({span(entry['seconds'])}), scaled from {entry['timed_steps']} steps; peak memory of the process: "
            f"{number(entry['peak_memory_mb'])} MB.",
        ]
    )


def _ranking(entry: Entry) -> str:
    rows = [
        [
            f"{point['users']:,}",
            number(point["seconds"]),
            number(1000 * point["seconds"] / point["users"]),
            number(point["model_mb"]),
            number(point["peak_memory_mb"]),
        ]
        for point in entry["points"]
    ]
    headers = ("Users", "Seconds", "A user, ms", "Before ranking, MB", "Peak, MB")
    return "\n\n".join(
        [
            f"## Ranking among {entry['items']:,} items",
            f"Width {entry['width']}, float32. Scores are made and forgotten tile by tile, so that memory is the same "
            "for any number of users. Each line is a process of its own.",
            table(headers, rows),
        ]
    )


def _throughput(entry: Entry) -> str:
    alone = entry["points"][0]["seconds"]
    rows = [
        [point["name"], number(point["seconds"]), f"{number(alone / point['seconds'])}×"] for point in entry["points"]
    ]
    return "\n\n".join(
        [
            "## Workers",
            f"{entry['jobs']} equal jobs of a suite, SASRec on a demo domain for {entry['epochs']} epochs each, from "
            "the first job's start to the last one's end. Workers had started before, and have one thread each.",
            table(("", "Seconds", "Throughput"), rows),
        ]
    )


def _softmax(entry: Entry) -> str:
    rows = [
        [
            point["precision"],
            number(statistics.median(point["seconds"])),
            span(point["seconds"]),
            number(point["before_mb"]),
            number(point["peak_memory_mb"]),
        ]
        for point in entry["points"]
    ]
    first = entry["points"][0]
    return "\n\n".join(
        [
            f"## Cross-entropy over {entry['items']:,} items",
            f"{entry['rows']:,} rows of width {entry['width']}, with all gradients: no sampling, a chunk of rows at a "
            f"time. The item table alone has {number(first['table_mb'])} MB and its gradient as many; all logits at "
            f"once would have {number(first['all_logits_mb'])} MB.",
            table(("", "Median, s", "Least – most, s", "Before, MB", "Peak, MB"), rows),
        ]
    )


def _peak(entry: Entry) -> str:
    rows = []
    for precision in ("float32", "bfloat16"):
        best = min(seconds(entry, f"peak {precision}"))
        peak = entry["product_flop"] / best / 1e9
        achieved = entry["epoch_flop"] / statistics.median(seconds(entry, f"epoch {precision}")) / 1e9
        rows.append([precision, number(achieved), number(peak), f"{achieved / peak:.0%}"])
    headers = ("", "Epoch, GFLOP/s", "Peak, GFLOP/s", "Share")
    return "\n\n".join(
        [
            "## Share of the machine's peak",
            f"A SASRec epoch of width {entry['width']} has {number(entry['epoch_flop'] / 1e9)} GFLOP in matrix "
            "products (counted as they are called, padding included). The peak is the best time of a product of two "
            "large square matrices in the same run.",
            table(headers, rows),
        ]
    )


def _growth(run: Run) -> str:
    entries = run.all("growth")
    rows = []
    for entry in entries:
        first, *_, last = entry["points"]
        fixed = ", ".join(f"{value:,} {name}" for name, value in entry["fixed"].items())
        rows.append(
            [
                AXES[entry["axis"]],
                f"{first['value']:,} – {last['value']:,}",
                fixed,
                " – ".join(number(statistics.median(point["seconds"])) for point in (first, last)),
                f"{time_slope(entry):.2f}",
                " – ".join(number(point["peak_memory_mb"]) for point in (first, last)),
                f"{memory_slope(entry):.2f}",
            ]
        )
    headers = ("Growing", "From – to", "Fixed", "Epoch, s", "Slope", "Peak, MB", "Slope")
    width = entries[0]["width"]
    return "\n\n".join(
        [
            "## Growth",
            f"A SASRec epoch of width {width}, batching included, on generated data; each point is a process of its "
            "own, and its memory that of the whole process. Times are medians of repeats after a first epoch; one that "
            "takes long is timed once. The slope is the exponent of the fitted power law; as length grows, the number "
            "of interactions stays.",
            table(headers, rows),
            f"![Time and peak memory against interactions, items and length]({FIGURE}.png)",
        ]
    )


def render(run: Run) -> str:
    """The page, in Markdown."""
    parts = [_head(run), _bounds(run)]
    parts += [_comparison(run)] if run.all("comparison") else []
    parts += [_methods(run)] if run.all("methods") else []
    sections = {
        "pretraining": _pretraining,
        "ranking": _ranking,
        "softmax": _softmax,
        "peak": _peak,
        "throughput": _throughput,
    }
    parts += [section(entry) for kind, section in sections.items() for entry in run.all(kind)]
    parts += [_growth(run)] if run.all("growth") else []
    return "\n\n".join(parts) + "\n"


def short(value: float) -> str:
    """5, 500, 50 k, 1.58 M."""
    size, unit = next(((s, u) for s, u in ((1e6, " M"), (1e3, " k")) if value >= s), (1.0, ""))
    return f"{value / size:.3g}{unit}"


def draw(entries: Sequence[Entry]) -> Figure:
    """Time above, peak memory below, one column an axis; all axes logarithmic."""
    figure = Figure(figsize=(3.4 * len(entries), 5.2), layout="constrained")
    panels = figure.subplots(2, len(entries), squeeze=False, sharex="col")
    for column, entry in enumerate(entries):
        x = np.array([point["value"] for point in entry["points"]], float)
        times = np.array([statistics.median(point["seconds"]) for point in entry["points"]])
        memory = np.array([point["peak_memory_mb"] for point in entry["points"]])
        for panel, y, label in zip(
            panels[:, column], (times, memory), ("epoch, seconds", "peak memory, MB"), strict=True
        ):
            exponent, offset = np.polyfit(np.log(x), np.log(y), 1)
            panel.loglog(x, np.exp(offset) * x**exponent, color="0.6", linewidth=1, linestyle="--")
            panel.loglog(x, y, marker="o", color="C0")
            panel.set_title(f"slope {exponent:.2f}", fontsize=9)
            panel.set_ylabel(label)
            panel.set_ylim(y.min() / WIDER, y.max() * WIDER)
            panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            panel.set_xticks(x, [short(value) for value in x])
            for axis in (panel.xaxis, panel.yaxis):
                axis.set_minor_locator(NullLocator())
            panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
            panel.grid(alpha=0.2)
        panels[0, column].fill_between(
            x,
            [min(point["seconds"]) for point in entry["points"]],
            [max(point["seconds"]) for point in entry["points"]],
            alpha=0.2,
        )
        panels[1, column].set_xlabel(AXES[entry["axis"]])
    return figure


def save(figure: Figure, folder: Path) -> None:
    """As PNG and SVG, each complete or not at all."""
    with mpl.rc_context({"svg.hashsalt": FIGURE, "svg.fonttype": "none"}):
        for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
            path = folder / f"{FIGURE}.{kind}"
            temporary = sibling(path)
            try:
                figure.savefig(temporary, format=kind, dpi=150, metadata=metadata)
                os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)


def write(run: Run, folder: Path) -> None:
    """README.md, measured.json and the figure."""
    page = render(run)
    folder.mkdir(parents=True, exist_ok=True)
    if run.all("growth"):
        save(draw(run.all("growth")), folder)
    content = {"made": run.made, "commit": run.commit, "machine": run.machine, "measurements": run.entries}
    write_text(folder / "measured.json", json.dumps(content, indent=1) + "\n")
    write_text(folder / "README.md", page)


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 2:
        print("usage: python -m tests.speed.report RUN.json FOLDER", file=sys.stderr)
        return 2
    try:
        run = read(Path(arguments[0]))
        write(run, Path(arguments[1]))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    broken = [bound for bound in bounds(run) if bound.holds is False and not run.machine["quick"]]
    for bound in broken:
        print(f"does not hold: {' | '.join(cell for cell in bound.row() if cell)}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
