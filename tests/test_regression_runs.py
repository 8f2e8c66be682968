"""The gate on runs that are really trained: a planted defect is found, honest runs with other seeds pass.

Measured outcomes are in docs/regression-gate.md; ``pytest -m soak -s`` prints them anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from regression_parts import COMMITTED, TARGET, of, reseeded, write

from benchmark.domain import Sequences
from benchmark.encode import encode
from benchmark.layers import SequenceEncoder
from benchmark.method import Material, Model, registry
from benchmark.plan import jobs_of
from benchmark.prepare.demo import plant
from benchmark.rank import rank
from benchmark.regression import Check, check
from benchmark.splits import Split, leave_one_out
from benchmark.store import Run
from benchmark.suite import load_suite
from benchmark.train import Training, train

torch.set_num_threads(1)

QUICK = ("SASRec", "SASRec_text")
ASKED = {(TARGET, method, "full") for method in QUICK}


@dataclass(frozen=True, kw_only=True)
class Defect:
    """What a change might break: the model before training, the data, and the questions of the test."""

    model: Callable[[Model], None] = lambda model: None
    split: Callable[[Split], Split] = lambda split: split
    asked: Callable[[Split], Split] = lambda split: split


def without_positions(model: Model) -> None:
    for encoder in model.modules():
        if isinstance(encoder, SequenceEncoder):
            encoder.positions.weight.requires_grad_(False).zero_()


def reversed_histories(split: Split) -> Split:
    """Tested on histories whose newest item comes first."""
    histories = split.test.histories
    backwards = Sequences.of(
        [histories.items[a:b][::-1] for a, b in zip(histories.offsets, histories.offsets[1:], strict=False)]
    )
    return Split(
        n_items=split.n_items,
        train=split.train,
        valid=split.valid,
        test=type(split.test)(histories=backwards, targets=split.test.targets),
    )


def leaking(split: Split) -> Split:
    """Every fiftieth user is trained on with the item that is held out for the test."""
    rows = []
    for user, (a, b) in enumerate(zip(split.train.offsets, split.train.offsets[1:], strict=False)):
        held_out = [split.test.targets[user]] if user % 50 == 7 else []
        rows.append([*split.train.items[a:b], *held_out])
    return Split(n_items=split.n_items, train=Sequences.of(rows), valid=split.valid, test=split.test)


HONEST = Defect()
NO_POSITIONS = Defect(model=without_positions)
REVERSED = Defect(asked=reversed_histories)
LEAK = Defect(split=leaking)


@cache
def given(folder: Path) -> tuple[Split, NDArray[np.float32]]:
    domain = plant(TARGET).domain
    return leave_one_out(domain), np.array(encode(domain.texts, "hash", folder, progress=False).matrix)


def trained(method: str, seed: int, defect: Defect, folder: Path) -> Run:
    """One run of the suite's own job with a defect in it, as the reference's runs are stored, but in float32."""
    (job,) = [
        job
        for job in jobs_of(load_suite("demo"), registry(), targets=[TARGET], methods=[method], seeds=seed + 1)
        if job.seed == seed
    ]
    split, text = given(folder)
    entry = registry().methods[method]
    torch.manual_seed(seed)
    model = entry.build(
        entry.configure(job.config), Material(n_items=split.n_items, train=split.train, text=text, pretrained=None)
    )
    assert isinstance(model, Model)
    defect.model(model)
    train(model, defect.split(split), Training(**{**job.training, "precision": "float32"}), seed)
    ranks = rank(model, defect.asked(split).test, split.n_items)
    return reseeded(of(method, [0])[0], seed, ranks.greater)


def gate(defect: Defect, seeds: range, folder: Path) -> Check:
    """The quick rows with a defect, against the committed reference."""
    runs = [trained(method, seed, defect, folder) for method in QUICK for seed in seeds]
    return check("demo", write(folder / f"new-{seeds.start}", runs), COMMITTED, only=ASKED)


def shown(found: Check) -> str:
    cells = [
        f"{cell.row} {cell.shift.change:+.1%} (p loss {cell.p_loss:.2g}, gain {cell.p_gain:.2g})"
        for cell in found.cells
        if cell.shift and cell.shift.change is not None
    ]
    return ("passes: " if found.passed else "FAILS: ") + ", ".join(cells)


def kinds(found: Check) -> set[str]:
    return {finding.kind for finding in found.findings if finding.failing}


def test_an_honest_run_passes(tmp_path: Path) -> None:
    """Of another seed, in another precision, made by other means."""
    found = gate(HONEST, range(100, 101), tmp_path)
    assert found.passed, shown(found)


def test_histories_the_wrong_way_round_are_found(tmp_path: Path) -> None:
    found = gate(REVERSED, range(101, 102), tmp_path)
    print(f"\nreversed: {shown(found)}")
    assert kinds(found) == {"loss"}


@pytest.mark.soak
def test_lost_positions_are_found(tmp_path: Path) -> None:
    """On the demo they do harm: histories of the test are longer than any that is trained on, so that their last
    position was never learned. A change is a change."""
    found = gate(NO_POSITIONS, range(100, 104), tmp_path)
    print(f"\nno positions: {shown(found)}")
    assert kinds(found) == {"gain"}


@pytest.mark.soak
def test_a_leak_of_the_test_items_of_two_per_cent_of_users_is_found(tmp_path: Path) -> None:
    """It makes things worse here, for the few longer histories teach a position badly that others then use."""
    found = gate(LEAK, range(100, 102), tmp_path)
    print(f"\nleak: {shown(found)}")
    assert not found.passed


@pytest.mark.soak
def test_twenty_honest_runs_pass(tmp_path: Path) -> None:
    """In another precision than the reference, two seeds each, of the quick rows."""
    failed = []
    for first in range(100, 140, 2):
        found = gate(HONEST, range(first, first + 2), tmp_path)
        print(f"\nseeds {first}, {first + 1}: {shown(found)}")
        failed += [] if found.passed else [first]
    assert not failed, failed
