"""What a table claims: which rows beat which, and when it keeps silent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from results_tree import board_of, make_job, planned, store_run

from benchmark.jobs import digest
from benchmark.metrics import per_user
from benchmark.questions import Context
from benchmark.record import Listed, Role
from benchmark.report import wording
from benchmark.report.tables import Row, Table
from benchmark.significance import bootstrap, paired_t
from benchmark.store import write_context, write_plan

N = 400
FIRST = np.zeros(N, int)
"""Everybody's item is ranked first."""


def missing(share: float) -> np.ndarray:
    """Ranks beyond 50 for a share of the users, spread evenly."""
    greater = FIRST.copy()
    greater[np.linspace(0, N - 1, round(share * N)).astype(int)] = 55
    return greater


@pytest.fixture
def results(tmp_path: Path) -> Path:
    users = np.arange(N, dtype=np.int32)
    context = Context(
        fingerprint=digest("data"), history_length=users, train_count=users, cold=users == 0, cluster=users
    )
    write_context(tmp_path, "small", "toy", context)
    return tmp_path


def store(results: Path, method: str, greater: np.ndarray, role: Role = "paper", seed: int = 0) -> None:
    store_run(results, make_job(method, seed=seed), greater, role=role)


def table(results: Path) -> Table:
    (found,) = board_of(results).tables
    return found


def row(results: Path, method: str) -> Row:
    (found,) = [row for row in table(results).rows if row.method == method]
    return found


def test_a_row_above_all_rivals_is_marked_twice(results: Path) -> None:
    store(results, "UniSRec_t", FIRST)
    store(results, "SASRec", missing(0.3))
    store(results, "Markov", missing(0.2), "control")
    claim = row(results, "UniSRec_t").claim
    assert claim is not None
    assert (claim.beats_baselines, claim.beats_controls) == (True, True)
    assert [against.rival for against in claim.baselines] == ["SASRec"]
    assert [against.rival for against in claim.controls] == ["Markov"]
    assert claim.baselines[0].paired.difference == pytest.approx(0.3)
    assert wording.star(row(results, "UniSRec_t")) == "**"


def test_a_control_that_is_not_beaten_costs_the_second_mark(results: Path) -> None:
    store(results, "UniSRec_t", missing(0.1))
    store(results, "SASRec", missing(0.4))
    store(results, "Markov", missing(0.1), "control")
    assert wording.star(row(results, "UniSRec_t")) == "*"
    assert (
        "above 0 of 1 controls, not clearly above or below Markov (+0.0000, p 1)" in wording.claims(table(results))[0]
    )


def test_without_a_control_there_is_no_second_mark(results: Path) -> None:
    store(results, "UniSRec_t", FIRST)
    store(results, "SASRec", missing(0.3))
    assert wording.star(row(results, "UniSRec_t")) == "*"


def test_a_significantly_worse_row_is_not_marked(results: Path) -> None:
    store(results, "UniSRec_t", missing(0.5))
    store(results, "SASRec", FIRST)
    assert wording.star(row(results, "UniSRec_t")) == ""
    assert "above 0 of 1 paper baselines, below SASRec (-0.5000, p < 0.0001)" in wording.claims(table(results))[0]


def test_p_is_adjusted_for_the_number_of_baselines(results: Path) -> None:
    """A lead that passes alone at 1 % does not beside three others as narrow."""
    # eight users in four hundred: p of the paired t test is 0.0046
    store(results, "UniSRec_t", FIRST)
    store(results, "SASRec", missing(0.02))
    assert wording.star(row(results, "UniSRec_t")) == "*"
    for rival in ("FDSA", "BERT4Rec", "CCDR"):
        store(results, rival, missing(0.02))
    claim = row(results, "UniSRec_t").claim
    assert claim is not None
    assert not claim.beats_baselines
    alone = paired_t(np.ones(N), per_user("NDCG@10", missing(0.02), np.zeros(N, int))).p
    assert [against.p_holm for against in claim.baselines] == pytest.approx([4 * alone] * 4)


def test_siblings_and_replicas_are_no_rivals(results: Path) -> None:
    store(results, "UniSRec_t", missing(0.1))
    store(results, "UniSRec_t+ID", FIRST)
    store(results, "FDSA-released", FIRST, "replica")
    store(results, "SASRec", missing(0.4))
    claim = row(results, "UniSRec_t").claim
    assert claim is not None
    assert [against.rival for against in claim.baselines] == ["SASRec"]
    assert claim.beats_baselines


def test_a_submitted_row_is_judged_like_the_papers(results: Path) -> None:
    store(results, "Mine", FIRST, "row")
    store(results, "SASRec", missing(0.3))
    assert wording.star(row(results, "Mine")) == "*"
    assert row(results, "SASRec").claim is None


def test_no_mark_while_a_planned_baseline_has_no_result(results: Path) -> None:
    store(results, "UniSRec_t", FIRST)
    store(results, "SASRec", missing(0.3))
    write_plan(results, "small", [planned(make_job(method)) for method in ("UniSRec_t", "SASRec", "CCDR", "Markov")])
    claim = row(results, "UniSRec_t").claim
    assert claim is not None
    assert claim.absent == ("CCDR",)
    assert wording.star(row(results, "UniSRec_t")) == ""
    assert "no result of CCDR" in wording.claims(table(results))[0]
    assert table(results).improvement == {}


def test_no_mark_while_a_baseline_of_the_suite_was_not_even_asked_for(results: Path) -> None:
    """A mark can't be had by leaving a rival out of the command."""
    store(results, "UniSRec_t", FIRST)
    store(results, "SASRec", missing(0.3))
    asked = [planned(make_job(method)) for method in ("UniSRec_t", "SASRec")]
    whole = [
        Listed(target="toy", method=method, setting="full", runs=1, trained=True)
        for method in ("UniSRec_t", "SASRec", "CCDR")
    ]
    write_plan(results, "small", asked, whole)
    assert wording.star(row(results, "UniSRec_t")) == ""
    assert "no result of CCDR" in wording.claims(table(results))[0]
    assert table(results).improvement == {}
    write_plan(results, "small", asked, whole[:2])
    assert wording.star(row(results, "UniSRec_t")) == "*"
    assert table(results).improvement["NDCG@10"] is not None


def test_no_claim_without_a_baseline(results: Path) -> None:
    store(results, "UniSRec_t", FIRST)
    store(results, "Markov", missing(0.3), "control")
    assert row(results, "UniSRec_t").claim is None
    assert table(results).improvement == {}


def test_the_interval_over_seeds_is_of_the_best_baseline(results: Path) -> None:
    """Two seeds that lie far apart: sure of these models, not of the method."""
    for seed, share in enumerate([0.0, 0.4]):
        store(results, "UniSRec_t", missing(share), seed=seed)
    for seed in (0, 1):
        store(results, "SASRec", missing(0.3), seed=seed)
        store(results, "FDSA", missing(0.6), seed=seed)
    claim = row(results, "UniSRec_t").claim
    assert claim is not None
    assert claim.best_baseline == "SASRec"
    own = np.array([per_user("NDCG@10", missing(share), np.zeros(N, int)) for share in (0.0, 0.4)])
    other = np.array([per_user("NDCG@10", missing(0.3), np.zeros(N, int))] * 2)
    assert (claim.low, claim.high) == bootstrap(own, other, over="seeds")
    assert claim.low < 0 < claim.high
    assert "these trained models only" in wording.claims(table(results))[0]


def test_rows_that_differ_by_little_are_tied_and_others_are_not(results: Path) -> None:
    store(results, "SASRec", missing(0.1))
    store(results, "A", missing(0.1)[::-1].copy())
    store(results, "Far", missing(0.8))
    assert set(table(results).tied[0]) == {"SASRec", "A"}
    assert len(table(results).tied) == 1


def test_improvement_is_the_best_over_the_best(results: Path) -> None:
    store(results, "UniSRec_t", missing(0.1))
    store(results, "UniSRec_t+ID", missing(0.2))
    store(results, "SASRec", missing(0.5))
    store(results, "FDSA", missing(0.7))
    store(results, "Markov", FIRST, "control")
    assert table(results).improvement["NDCG@10"] == pytest.approx(0.9 / 0.5 - 1)


def test_rows_that_most_users_were_kept_from_are_no_rivals(results: Path) -> None:
    store(results, "UniSRec_t", missing(0.1))
    store(results, "SASRec", missing(0.3))
    for method, role in (("SASRec", "paper"), ("Control", "control"), ("UniSRec_t", "paper")):
        job = make_job(method, setting="few-shot", few_shot=0.1)
        store_run(results, job, missing(0.5), role=role)  # type: ignore[arg-type]
    (full,) = [row for row in table(results).rows if row.label == "UniSRec_t"]
    assert full.claim is not None
    assert [against.rival for against in full.claim.baselines] == ["SASRec"]
    assert full.claim.controls == ()
    assert all(row.claim is None for row in table(results).rows if row.setting == "few-shot")
