"""What is hard to believe of a run is said, one by one, and nothing is said of honest ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from regression_parts import COMMITTED, altered, committed, of, reseeded, with_test, write
from test_campaign import Place

from benchmark.plausibility import doubts
from benchmark.record import Cost, Parameters
from benchmark.store import Run


def doubted(folder: Path, *runs: Run) -> list[str]:
    return doubts(write(folder / "results", runs))


def cost(run: Run, **changes: Any) -> Cost:
    return Cost(**(run.record.cost.model_dump() | changes))


def test_honest_runs_are_believed() -> None:
    assert doubts(COMMITTED) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda run: with_test(run, np.zeros(480)), "as only a model has that sees the answers"),
        (lambda run: with_test(run, 3 * run.ranks.test_greater + 3), "were splits or histories mixed up?"),
        (lambda run: altered(run, best_epoch=1), "its best epoch, 1, is not the best of its learning curve"),
        (lambda run: altered(run, best_epoch=999), "its best epoch, 999, is not in its learning curve"),
        (lambda run: altered(run, learning_curve=run.record.learning_curve[1:]), "are not 1, 2, 3"),
        (lambda run: altered(run, learning_curve=()), "names a best epoch, but has no learning curve"),
        (lambda run: altered(run, cost=cost(run, core_seconds=0.0)), "was trained, and took no time"),
        (lambda run: altered(run, cost=cost(run, wall_seconds=0.1)), "but the whole run only 0 s"),
        (lambda run: altered(run, parameters=Parameters(total=9, trained=0)), "has no trained parameter"),
        (
            lambda run: altered(
                run,
                ranks=replace(run.ranks, valid_greater=np.full_like(run.ranks.valid_greater, 20)),
            ),
            "on validation, but its ranks give 0.0000",
        ),
    ],
)
def test_what_is_hard_to_believe_is_said(change: Any, says: str, tmp_path: Path) -> None:
    found = doubted(tmp_path, change(of("SASRec", [3])[0]))
    assert any(says in doubt for doubt in found), found


def test_what_few_users_selected_need_not_be_what_all_say(tmp_path: Path) -> None:
    run = of("SASRec", [3])[0]
    few = replace(run.record.job, setting="few-shot", few_shot=0.1)
    ranks = replace(run.ranks, valid_greater=np.full_like(run.ranks.valid_greater, 20))
    found = doubted(tmp_path, altered(run, job=few, ranks=ranks))
    assert not any("its ranks give" in doubt for doubt in found), found


def test_a_copied_run_is_noticed(tmp_path: Path) -> None:
    run = of("SASRec", [3])[0]
    (found,) = doubted(tmp_path, run, reseeded(run, 9))
    assert "its ranks are, for every user, those of" in found


def test_the_command_says_doubts_and_fails_for_problems_only(tmp_path: Path) -> None:
    runs = [run for run in committed() if run.record.method.name == "SASRec"]
    results = write(tmp_path / "results", [*runs[1:], altered(runs[0], best_epoch=1)])
    done = Place(tmp_path).transrec("verify", results)
    assert done.code == 0, done.out
    assert "doubt: " in done.out
    assert "all is well" in done.out
