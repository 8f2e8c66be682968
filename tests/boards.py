"""Leaderboards made by hand, in which everything that a rendering may show occurs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmark.metrics import METRICS, PRIMARY
from benchmark.record import OverlapInfo, SourceInfo, TargetInfo
from benchmark.report.tables import Against, Cell, Claim, Gap, Leaderboard, Row, Table, Unrun
from benchmark.significance import Paired

HOSTILE = "<img src=x onerror=alert(1)>"
WAYS_OUT = '</script><script>alert(2)</script><!-- <script> & "quoted" \u2028 \\input{x} $x^2$ 100% #1 a_b {~}'
"""What ends a script or a table early where it isn't escaped."""


def make_cell(mean: float, *, sd: float | None = 0.001, reach: float = 0.004, printed: float | None = None) -> Cell:
    return Cell(mean=mean, sd=sd, low=mean - reach, high=mean + reach, printed=printed)


def make_row(method: str, ndcg: float, **others: Any) -> Row:
    """A row by its NDCG@10; the other metrics are 1.5, 2 and 3 times as high."""
    scales = dict(zip(METRICS, (2.0, 1.0, 3.0, 1.5), strict=True))
    values: dict[str, Any] = {
        "method": method,
        "setting": "full",
        "variant": "",
        "role": "paper",
        "note": None,
        "seeds": (0, 1, 2),
        "cells": {metric: make_cell(ndcg * scale) for metric, scale in scales.items()},
        "versus": None,
        "claim": None,
        "wall_seconds": 120.0,
        "core_seconds": 90.0,
        "pretraining_seconds": None,
        "peak_memory_mb": 1500.0,
        "parameters_trained": 2000,
        "parameters_total": 3000,
        "epochs": 20.0,
        "best_epoch": 10.0,
        "tie_rate": 0.0,
        "tuning": "as given, not tuned",
        "warnings": (),
    }
    return Row(**(values | others))


def make_paired(difference: float, p: float = 0.001) -> Paired:
    return Paired(
        difference=difference,
        low=difference - 0.002,
        high=difference + 0.002,
        p=p,
        units=8000,
        effect=difference * 5,
        detectable=0.0028,
    )


def make_against(rival: str, difference: float, p_holm: float = 0.001) -> Against:
    return Against(rival=rival, paired=make_paired(difference, p_holm / 2), p_holm=p_holm)


def make_claim(*, baselines: bool = True, controls: bool = True, low: float = 0.001, high: float = 0.005) -> Claim:
    return Claim(
        baselines=(make_against("SASRec", 0.012), make_against("FDSA", 0.003, 0.004 if baselines else 0.3)),
        controls=(make_against("Popularity", 0.04), make_against("TextKNN", 0.003, 0.001 if controls else 0.2)),
        beats_baselines=baselines,
        beats_controls=controls,
        absent=(),
        best_baseline="FDSA",
        low=low,
        high=high,
    )


def make_about(name: str = "toy", **others: Any) -> TargetInfo:
    values: dict[str, Any] = {
        "name": name,
        "title": f"The {name} domain",
        "paper_name": None,
        "fingerprint": "0" * 64,
        "custom": False,
        "split": "released",
        "users": 8000,
        "items": 4000,
        "interactions": 60000,
    }
    return TargetInfo(**(values | others))


def make_table(target: str, rows: tuple[Row, ...], **others: Any) -> Table:
    values: dict[str, Any] = {
        "target": target,
        "track": "paper",
        "about": make_about(target),
        "rows": rows,
        "tied": (),
        "improvement": dict.fromkeys(METRICS),
        "detectable": None,
        "gaps": (),
        "sources": (),
        "overlap": (),
        "encoders": (),
        "cold_users": None,
        "clusters": None,
        "no_comparison": None,
    }
    return Table(**(values | others))


def make_board(*tables: Table, suite: str = "small") -> Leaderboard:
    return Leaderboard(
        suite=suite,
        tables=tables,
        machines=("AMD EPYC, Linux x86_64, cpu with 1 threads",),
        versions=("transrec 0.1.0, torch 2.13.0, numpy 2.4.6, Python 3.11.7",),
    )


def full_board() -> Leaderboard:
    """Two targets; on the first UniSRec_t is best in all metrics, UniSRec_t+ID second, and FDSA third."""
    unproven = make_claim(baselines=False, controls=False)
    printed = {metric: make_cell(0.05 * (1 + place), printed=0.048) for place, metric in enumerate(METRICS)}
    rows = (
        make_row("SASRec", 0.0545, cells=_printed(make_row("SASRec", 0.0545).cells, 0.0553)),
        make_row("FDSA", 0.0632, seeds=(0,), versus=make_paired(0.0087), parameters_trained=None, core_seconds=1100.0),
        make_row(
            "UniSRec_t",
            0.0665,
            versus=make_paired(0.012),
            claim=make_claim(),
            pretraining_seconds=104.0,
            core_seconds=209.0,
            warnings=("lite-kitchen shares 37 items with the target",),
            parameters_trained=931_416,
            parameters_total=1_979_528,
        ),
        make_row("UniSRec_t+ID", 0.0638, versus=make_paired(0.0093), claim=make_claim(controls=False, low=-0.001)),
        make_row("Popularity", 0.0171, role="control", versus=make_paired(-0.0374), tie_rate=0.948, core_seconds=0.6),
        make_row("TextKNN", 0.0605, role="control", versus=make_paired(0.006), note="nothing is trained"),
        make_row("FDSA-released", 0.0583, role="replica", versus=make_paired(0.0038)),
        make_row(
            "Mine",
            0.06,
            role="row",
            setting="zero-shot",
            variant="hidden=64",
            claim=unproven,
        ),
    )
    first = make_table(
        "amazon2018-scientific",
        rows,
        about=make_about("amazon2018-scientific", title="Amazon 2018: Industrial and Scientific"),
        tied=(("UniSRec_t", "UniSRec_t+ID"), ("FDSA", "TextKNN", "Mine (zero-shot; hidden=64)")),
        improvement=dict(zip(METRICS, (0.052, 0.0522, -0.01, None), strict=True)),
        detectable=0.0031,
        gaps=(
            Gap(method="S3-Rec", setting="full", seed=0, failed=False, reason="not run yet"),
            Gap(method="CCDR", setting="full", seed=0, failed=True, reason="NotFinite: the loss is not finite"),
            Gap(method="CCDR", setting="full", seed=1, failed=True, reason="NotFinite: the loss is not finite"),
        ),
        sources=(SourceInfo(name="lite-food", fingerprint="1" * 64, users=1000, items=20, interactions=5000),),
        overlap=(OverlapInfo(source="lite-food", users=None, items=37, texts=4),),
        encoders=("minilm",),
        cold_users=37,
        clusters=5060,
    )
    second = make_table(
        "online-retail",
        (
            make_row("SASRec", 0.0709, seeds=(0,), cells=printed),
            make_row("UniSRec_t", 0.0701, versus=make_paired(-0.0008, 0.4), claim=unproven),
            make_row("Markov", 0.0427, role="control", versus=make_paired(-0.0283)),
        ),
        no_comparison="there is no SASRec row",
    )
    third = make_table(
        "empty", (), about=None, gaps=(Gap(method="SASRec", setting="full", seed=0, failed=True, reason="diverged"),)
    )
    return make_board(first, second, third)


def hostile_board() -> Leaderboard:
    """Every text that may come from outside holds markup of HTML, of scripts and of LaTeX."""
    text = HOSTILE + WAYS_OUT
    row = make_row(
        HOSTILE,
        0.05,
        variant=text,
        note=text,
        tuning=text,
        warnings=(text,),
        versus=make_paired(0.01),
        claim=Claim(
            baselines=(make_against(text, 0.01),),
            controls=(),
            beats_baselines=True,
            beats_controls=True,
            absent=(text,),
            best_baseline=text,
            low=0.001,
            high=0.002,
        ),
    )
    table = make_table(
        "toy",
        (make_row("[SASRec]", 0.04), make_row("*é ő Ж 中\u202e--x", 0.03), row),
        about=make_about("toy", title=text, split=text),
        tied=((row.label, "[SASRec]"),),
        gaps=(Gap(method=text, setting=text, seed=0, failed=True, reason=text),),
        unrun=(Unrun(method=text, setting=text, done=0, runs=1, seconds=None, label=text),),
        sources=(SourceInfo(name=text, fingerprint="1" * 64, users=1, items=1, interactions=1),),
        overlap=(OverlapInfo(source=text, users=1, items=None, texts=4),),
        encoders=(text,),
        no_comparison=text,
    )
    return Leaderboard(suite=text, tables=(table,), machines=(text,), versions=(text,))


def _printed(cells: Mapping[str, Cell], value: float) -> dict[str, Cell]:
    """The same cells with a printed value for the primary metric."""
    return {
        metric: make_cell(cell.mean, printed=value if metric == PRIMARY else None) for metric, cell in cells.items()
    }
