"""Quality by the share of the target's users that may be trained on, from none to all."""

from __future__ import annotations

import json
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullFormatter, NullLocator

from benchmark.jobs import Job
from benchmark.metrics import PRIMARY
from benchmark.report.figures import style
from benchmark.report.figures.saving import Words
from benchmark.report.figures.values import ZERO_SHOT, Estimate, Line, lines_of, mean, title_of
from benchmark.report.stored import Stored, seedless

_STEP = 3.0
"""How far left of the smallest share the place of no users is: a logarithm knows none."""


@dataclass(frozen=True, kw_only=True)
class Shot:
    label: str
    shares: tuple[float, ...]
    """Of the users, above 0 and at most 1, ascending."""
    values: tuple[Estimate, ...]
    untrained: Estimate | None = None
    """Its zero-shot value, where it has one."""


@dataclass(frozen=True, kw_only=True)
class FewShot:
    title: str
    metric: str
    lines: tuple[Shot, ...]


def take(part: Stored) -> FewShot | None:
    """Rows that differ in the share of users they are trained on alone, a line each; None where there are none.

    The row that is trained on all users is at 100 %. The row ``X-zeroshot`` is ``X`` without any, where one of that
    name starts from the same pre-training.
    """
    lines = lines_of(part)
    groups: dict[str, list[Line]] = {}
    for line in lines:
        if line.setting in ("full", "few-shot"):
            groups.setdefault(_but_for_share(line.job), []).append(line)
    shots = tuple(
        _shot(part, lines, sorted(group, key=lambda line: _share(line.job)))
        for group in groups.values()
        if any(line.setting == "few-shot" for line in group)
    )
    return FewShot(title=title_of(part), metric=PRIMARY, lines=shots) if shots else None


def _shot(part: Stored, lines: tuple[Line, ...], group: list[Line]) -> Shot:
    largest = group[-1]
    untrained = [
        line
        for line in lines
        if line.method == largest.method + ZERO_SHOT and _pretraining(line.job) == _pretraining(largest.job)
    ]
    return Shot(
        label=largest.label if largest.setting == "full" else largest.method,
        shares=tuple(_share(line.job) for line in group),
        values=tuple(mean(part, line, PRIMARY) for line in group),
        untrained=mean(part, untrained[0], PRIMARY) if len(untrained) == 1 else None,
    )


def _share(job: Job) -> float:
    return 1.0 if job.few_shot is None else job.few_shot


def _but_for_share(job: Job) -> str:
    content = {name: value for name, value in seedless(job).items() if name not in ("setting", "few_shot")}
    return json.dumps(content, sort_keys=True)


def _pretraining(job: Job) -> str:
    return json.dumps(seedless(job)["pretraining"], sort_keys=True)


@style.styled
def draw(data: FewShot) -> Figure:
    """A line a row over a logarithmic share; what is known without any user stands apart, on the left."""
    figure = style.figure(3.4 + 0.16 * len(data.lines) / 2)
    figure.suptitle(style.shortened(data.title, 60), fontweight="bold")
    panel = figure.subplots()
    panel.set_xscale("log")
    shares = sorted({share for line in data.lines for share in line.shares})
    nothing = shares[0] / _STEP
    for place, line in enumerate(data.lines):
        mark = style.series(place)
        apart = 1.03 ** (place - (len(data.lines) - 1) / 2)  # so that intervals don't hide each other
        panel.errorbar(
            [share * apart for share in line.shares],
            [value.value for value in line.values],
            yerr=list(zip(*(value.reach for value in line.values), strict=True)),
            color=mark.colour,
            marker=mark.marker,
            linestyle=mark.line,
            elinewidth=1,
            label=style.shortened(line.label),
        )
        if line.untrained is not None:
            below, above = line.untrained.reach
            panel.errorbar(
                nothing * apart,
                line.untrained.value,
                yerr=[[below], [above]],
                color=mark.colour,
                marker=mark.marker,
                markerfacecolor="white",
                linestyle="",
                elinewidth=1,
            )
    places, names = list(shares), [f"{100 * share:g} %" for share in shares]
    if any(line.untrained is not None for line in data.lines):
        places, names = [nothing, *places], ["0", *names]
        panel.axvline(nothing * _STEP**0.5, color=style.GREY, linestyle=":", linewidth=0.8, zorder=1)
    panel.xaxis.set_major_locator(FixedLocator(places))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(FixedFormatter(names))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set_xlabel("users trained on")
    panel.set_ylabel(data.metric)
    panel.grid(axis="y")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def words(data: FewShot) -> Words:
    said = []
    for line in data.lines:
        pairs = zip(line.shares, line.values, strict=True)
        values = [f"{value.value:.4f} at {100 * share:g} %" for share, value in pairs]
        if line.untrained is not None:
            values.insert(0, f"{line.untrained.value:.4f} zero-shot")
        said.append(f"{line.label}: {', '.join(values)}")
    return Words(
        title=f"Few users to train on, {data.title}",
        caption=f"{data.metric} of all users by the share of them that was trained on, with the 95 % interval over "
        "users, each averaged over seeds. Hollow, at 0: the same rows zero-shot, pre-trained on the sources alone.",
        alt=f"{data.metric} on {data.title} by share of users. {'; '.join(said)}.",
    )
