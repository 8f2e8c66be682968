"""A leaderboard is a function of stored runs: its numbers, what it marks, what it refuses."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from results_tree import (
    ITEMS,
    USERS,
    board_of,
    make_job,
    make_key,
    make_pretraining,
    make_questions,
    make_ranks,
    make_record,
    planned,
    store_context,
    store_run,
    strict_job,
)

from benchmark.errors import IncompatibleRuns, InputError
from benchmark.jobs import Pretraining, digest
from benchmark.metrics import METRICS, per_user
from benchmark.record import Listed, OverlapInfo, SourceInfo
from benchmark.report import printed
from benchmark.report.export import render_csv, render_json
from benchmark.report.figures import cost
from benchmark.report.leaderboard import render_terminal, write_report
from benchmark.report.markdown import render_markdown
from benchmark.report.stored import seed_values, stored
from benchmark.report.tables import Row, Table
from benchmark.significance import paired_t
from benchmark.store import list_runs, write_failure, write_plan, write_run

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"

# Ranks 1, 1, 1, 1, 11 and 51 of 60; then 1, 1, 1, 11, 11 and 51.
FIRST, SECOND = [0, 0, 0, 0, 10, 50], [0, 0, 0, 10, 10, 50]
WORSE = [0, 0, 20, 20, 20, 50]
SCIENTIFIC = {"paper_name": "Scientific"}


def table(results: Path, suite: str = "small", target: str = "toy") -> Table:
    (found,) = [table for table in board_of(results, suite).tables if table.target == target]
    return found


def row(results: Path, method: str, suite: str = "small") -> Row:
    (found,) = [row for row in table(results, suite).rows if row.method == method]
    return found


def report(results: Path, suite: str = "small") -> str:
    """The README, without figures: drawing takes seconds."""
    return render_markdown(board_of(results, suite))


def line(text: str, method: str) -> list[str]:
    """The cells of a method's line in the first table."""
    return next(
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.split("\n") if f"| {method} " in line
    )


def edit(folder: Path, **about: int) -> None:
    """Change what a record says of its target."""
    content = json.loads((folder / "record.json").read_text())
    content["target"] |= about
    (folder / "record.json").write_text(json.dumps(content))


def swap(folder: Path, greater: list[int]) -> None:
    """Put other ranks beside a record."""
    table = pq.read_table(folder / "ranks.parquet")
    place = table.schema.get_field_index("test_greater")
    pq.write_table(table.set_column(place, "test_greater", pa.array(greater, pa.int32())), folder / "ranks.parquet")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    store_context(folder)
    return folder


class TestNumbers:
    def test_mean_and_sd_over_seeds(self, results: Path) -> None:
        for seed, greater in enumerate([FIRST, SECOND]):
            store_run(results, make_job(seed=seed), greater)
        found = row(results, "SASRec")
        late = 1 / np.log2(12)
        expected = {
            "Recall@10": (4 / 6, 3 / 6),
            "NDCG@10": (4 / 6, 3 / 6),
            "Recall@50": (5 / 6, 5 / 6),
            "NDCG@50": ((4 + late) / 6, (3 + 2 * late) / 6),
        }
        for metric, (one, two) in expected.items():
            assert found.cells[metric].mean == pytest.approx((one + two) / 2)
            assert found.cells[metric].sd == pytest.approx(abs(one - two) / np.sqrt(2))
        assert found.seeds == (0, 1)
        assert line(report(results), "SASRec")[2:4] == ["0.5833 ± 0.1179", "0.5833 ± 0.1179"]

    def test_one_seed_has_no_deviation(self, results: Path) -> None:
        store_run(results, make_job(), FIRST)
        assert row(results, "SASRec").cells["NDCG@10"].sd is None
        assert line(report(results), "SASRec")[2] == "0.6667"

    def test_a_constant_scorer_gets_k_of_n(self, results: Path) -> None:
        store_run(results, make_job("Constant"), [0] * USERS, ITEMS - 1)
        store_run(results, make_job("SASRec"), FIRST)
        found = row(results, "Constant")
        assert found.cells["Recall@10"].mean == pytest.approx(10 / ITEMS)
        assert found.cells["Recall@50"].mean == pytest.approx(50 / ITEMS)
        assert found.tie_rate == 1.0
        assert "is Constant 100.0%." in report(results)

    def test_cost_is_averaged_and_memory_is_the_highest(self, results: Path) -> None:
        for seed, seconds in enumerate([2.0, 6.0]):
            cost = {"core_seconds": 1.0, "peak_memory_mb": 100.0 * seconds, "device": "cpu", "threads": 2}
            store_run(results, make_job(seed=seed), FIRST, cost={"wall_seconds": seconds} | cost)
        found = row(results, "SASRec")
        assert (found.wall_seconds, found.core_seconds, found.peak_memory_mb) == (4.0, 1.0, 600.0)
        assert (found.epochs, found.best_epoch, found.pretraining_seconds) == (3.0, 2.0, None)

    def test_pre_training_is_shared_by_the_runs_that_use_it(self, results: Path) -> None:
        """One artefact of 120 s by four runs, two of them of the other target; another by one run alone."""
        for target in ("toy", "other"):
            for seed in (0, 1):
                store_run(results, make_job("UniSRec_t", target, seed), FIRST, pretraining=make_pretraining(120.0))
        store_run(results, make_job("ZESRec"), FIRST, pretraining=make_pretraining(50.0, "another"))
        assert row(results, "UniSRec_t").pretraining_seconds == 30.0
        assert row(results, "ZESRec").pretraining_seconds == 50.0


class TestComparison:
    def test_users_are_averaged_over_seeds_first(self, results: Path) -> None:
        store_run(results, make_job(), FIRST)
        for seed, greater in enumerate([FIRST, WORSE]):
            store_run(results, make_job("Popularity", seed=seed), greater)
        zeros = np.zeros(USERS, int)
        own, other = (per_user("NDCG@10", ranks, zeros) for ranks in (FIRST, WORSE))
        assert row(results, "Popularity").versus == paired_t((own + other) / 2, own)
        assert row(results, "SASRec").versus is None
        cells = line(report(results), "Popularity")
        assert cells[6].startswith("-0.1667 [")
        assert line(report(results), "SASRec")[6] == "-"

    def test_clusters_are_the_units_where_there_are_any(self, results: Path) -> None:
        customers = [0, 0, 0, 1, 1, 2]
        store_context(results, cluster=customers)
        store_run(results, make_job(), SECOND)
        store_run(results, make_job("Popularity"), WORSE)
        versus = row(results, "Popularity").versus
        zeros = np.zeros(USERS, int)
        assert versus == paired_t(per_user("NDCG@10", WORSE, zeros), per_user("NDCG@10", SECOND, zeros), customers)
        assert versus is not None
        assert versus.units == 3
        assert "3 clusters" in report(results)

    def test_without_context_nothing_is_compared_as_if_users_were_independent(self, results: Path) -> None:
        (results / "small" / "toy" / "context.parquet").unlink()
        store_run(results, make_job(), SECOND)
        store_run(results, make_job("Popularity"), WORSE)
        assert row(results, "Popularity").versus is None
        assert "No comparison with SASRec: what is needed to know of the users is missing" in report(results)

    def test_the_context_of_other_data_is_not_used(self, results: Path) -> None:
        store_context(results, data="newer")
        store_run(results, make_job(), SECOND)
        store_run(results, make_job("Popularity"), WORSE)
        assert row(results, "Popularity").versus is None

    def test_without_the_reference_the_reason_is_said(self, results: Path) -> None:
        store_run(results, make_job("Popularity"), WORSE)
        store_run(results, make_job("Markov"), FIRST)
        text = report(results)
        assert "there is no SASRec row" in text
        assert "Δ" not in text


class TestRows:
    def test_the_papers_rows_come_first_and_as_printed(self, results: Path) -> None:
        roles = {
            "Mine": "row",
            "UniSRec_t": "paper",
            "FDSA-released": "replica",
            "Popularity": "control",
            "SASRec": "paper",
            "Markov": "control",
        }
        jobs = {method: make_job(method) for method in roles}
        for method, role in roles.items():
            store_run(results, jobs[method], FIRST, role=role)
        write_plan(results, "small", [planned(job) for job in jobs.values()])
        expected = ["SASRec", "UniSRec_t", "Popularity", "Markov", "FDSA-released", "Mine"]
        assert [row.method for row in table(results).rows] == expected
        text = report(results)
        assert [line(text, method)[1] for method in expected] == ["paper"] * 2 + ["control"] * 2 + ["replica", "other"]

    def test_best_and_second_are_marked_and_equals_share_a_mark(self, results: Path) -> None:
        for method, greater in {"A": FIRST, "B": SECOND, "C": SECOND[::-1], "D": WORSE}.items():
            store_run(results, make_job(method), greater)
        text = report(results)
        assert [line(text, method)[2] for method in "ABCD"] == [
            "**0.6667**",
            "<ins>0.5000</ins>",
            "<ins>0.5000</ins>",
            "0.3333",
        ]

    def test_printed_numbers_stand_beside_rows_of_the_paper(self, results: Path) -> None:
        store_run(results, make_job(), FIRST, target=SCIENTIFIC)
        store_run(results, make_job("Popularity"), WORSE, target=SCIENTIFIC, role="control")
        store_run(results, make_job(setting="few-shot"), WORSE, target=SCIENTIFIC)
        rows = {row.label: row for row in table(results).rows}
        assert rows["SASRec"].cells["NDCG@10"].printed == 0.0553
        assert rows["Popularity"].cells["NDCG@10"].printed is None
        assert rows["SASRec (few-shot)"].cells["NDCG@10"].printed is None
        text = report(results)
        beside = text.split("### Beside the printed numbers")[1].split("### Cost")[0]
        assert line(beside, "SASRec")[2] == "0.6667 / 0.0553 / +0.6114"
        assert "Popularity" not in beside
        assert "few-shot" not in beside

    def test_targets_stand_side_by_side(self, results: Path) -> None:
        for method, target, greater in (("SASRec", "toy", FIRST), ("SASRec", "b", WORSE), ("Markov", "b", FIRST)):
            store_run(results, make_job(method, target), greater)
        overall = report(results).split("## Overall: NDCG@10")[1].split("\n## ")[0]
        assert overall.index(" b ") < overall.index(" toy ")
        assert line(overall, "SASRec")[1:] == ["paper", "<ins>0.3333</ins>", "0.6667"]
        assert line(overall, "Markov")[1:] == ["paper", "**0.6667**", "-"]

    def test_one_target_has_no_overall_table(self, results: Path) -> None:
        store_run(results, make_job(), FIRST)
        assert "## Overall" not in report(results)

    def test_a_replica_stands_beside_the_printed_row_that_it_explains(self, results: Path) -> None:
        store_run(results, make_job(), FIRST, target=SCIENTIFIC)
        store_run(results, make_job("FDSA-released"), WORSE, target=SCIENTIFIC, role="replica")
        assert row(results, "FDSA-released").cells["NDCG@10"].printed == 0.0580

    @pytest.mark.parametrize("target", [SCIENTIFIC | {"custom": True}, {"paper_name": None}])
    def test_custom_and_unprinted_domains_get_no_printed_numbers(self, results: Path, target: dict) -> None:
        store_run(results, make_job(), FIRST, target=target)
        assert all(cell.printed is None for cell in row(results, "SASRec").cells.values())
        text = report(results)
        assert "Beside the printed" not in text
        assert ("custom data" in text) == bool(target.get("custom"))

    def test_other_tracks_get_their_own_table_without_printed_numbers(self, results: Path) -> None:
        store_run(results, make_job(), FIRST, target=SCIENTIFIC)
        store_run(results, strict_job(), FIRST, target=SCIENTIFIC, questions=make_questions(len(FIRST)))
        tables = {table.track: table for table in board_of(results).tables}
        assert tables["paper"].rows[0].cells["NDCG@10"].printed == 0.0553
        assert tables["strict"].rows[0].cells["NDCG@10"].printed is None

    def test_variants_of_a_method_are_told_apart_by_what_differs(self, results: Path) -> None:
        for sources in (("food",), ("food", "movies")):
            pretraining = Pretraining(
                family="UniSRec", version=1, sources=sources, encoder="hash", config={"tau": 0.07}, epochs=3, seed=0
            )
            for seed in (0, 1):
                job = make_job("UniSRec_t", seed=seed, sources=sources, encoder="hash", pretraining=pretraining)
                store_run(results, job, FIRST)
        labels = sorted(row.label for row in table(results).rows)
        assert labels == ["UniSRec_t (sources=food)", "UniSRec_t (sources=food+movies)"]
        assert [row.seeds for row in table(results).rows] == [(0, 1), (0, 1)]

    def test_a_row_that_something_was_taken_from_competes_with_none(self, results: Path) -> None:
        jobs = []
        for method, greater in {"SASRec": SECOND, "UniSRec_t": WORSE, "Mine": WORSE}.items():
            for control in (None, "seen-masked", "shuffled"):
                role = "control" if control else "row" if method == "Mine" else "paper"
                jobs.append(make_job(method, control=control))
                ranks = greater if control is None else FIRST
                store_run(results, jobs[-1], ranks, role=role, target=SCIENTIFIC)
        write_plan(results, "small", map(planned, jobs))
        found = table(results)
        rows = {row.label: row for row in found.rows}
        assert sorted(rows) == sorted(
            f"{method}{extra}"
            for method in ("SASRec", "UniSRec_t", "Mine")
            for extra in ("", " (control=seen-masked)", " (control=shuffled)")
        )
        assert found.no_comparison is None
        assert rows["SASRec"].versus is None
        assert rows["SASRec (control=shuffled)"].versus is not None
        assert [label for label, row in rows.items() if row.claim] == ["UniSRec_t", "Mine"]
        claim = rows["Mine"].claim
        assert claim is not None
        assert [against.rival for against in claim.baselines] == ["SASRec"]
        assert claim.controls == ()
        assert rows["SASRec"].cells["NDCG@10"].printed == 0.0553
        assert rows["SASRec (control=seen-masked)"].cells["NDCG@10"].printed is None
        text = report(results)
        assert line(text, "SASRec")[2] == "**0.5000**"
        assert line(text, "Mine (control=shuffled)")[2] == "0.6667"

    def test_a_control_is_named_where_no_plain_row_stands_beside_it(self, results: Path) -> None:
        store_run(results, make_job("Markov", control="shuffled"), FIRST, role="control")
        assert [row.label for row in table(results).rows] == ["Markov (control=shuffled)"]

    def test_seeds_of_pre_training_make_no_variant(self, results: Path) -> None:
        for seed in (0, 1):
            pretraining = Pretraining(
                family="UniSRec", version=1, sources=("food",), encoder="hash", config={}, epochs=3, seed=seed
            )
            store_run(results, make_job("UniSRec_t", seed=seed, pretraining=pretraining), FIRST)
        assert row(results, "UniSRec_t").seeds == (0, 1)

    def test_one_seed_on_two_pre_trainings_is_two_runs(self, results: Path) -> None:
        for seed, ranks in ((0, FIRST), (1, WORSE)):
            pretraining = Pretraining(
                family="UniSRec", version=1, sources=("food",), encoder="hash", config={}, epochs=3, seed=seed
            )
            store_run(results, make_job("UniSRec_t", seed=0, pretraining=pretraining), ranks)
        found = row(results, "UniSRec_t")
        assert found.seeds == (0, 0)
        assert found.cells["NDCG@10"].sd

    def test_pre_trainings_are_a_source_of_variance_of_their_own(self, results: Path) -> None:
        """NDCG@10 of the runs: 2/3 and 1/3 from one pre-training, 1/3 and 1/3 from the other."""
        ranks = {(3, 0): FIRST, (3, 1): WORSE, (4, 0): WORSE, (4, 1): WORSE}
        for (own, seed), greater in ranks.items():
            pretraining = Pretraining(
                family="UniSRec", version=1, sources=("food",), encoder="hash", config={}, epochs=3, seed=own
            )
            store_run(results, make_job("UniSRec_t", seed=seed, pretraining=pretraining), greater)
        store_run(results, make_job("SASRec"), WORSE)
        high, low = (per_user("NDCG@10", np.array(each), np.zeros(6, int)).mean() for each in (FIRST, WORSE))
        found = row(results, "UniSRec_t")
        assert found.seeds == (0, 0, 1, 1)
        assert found.pretrainings is not None
        assert found.pretrainings.seeds == (3, 4)
        within = (high - low) / 2  # sqrt((2 (d / 2)^2 + 0) / 2 degrees of freedom)
        assert found.pretrainings.within == pytest.approx(within)
        assert found.pretrainings.between == pytest.approx(0.0, abs=1e-6)  # MS between d^2 / 4 is no more than within
        assert row(results, "SASRec").pretrainings is None
        text = report(results)
        assert "4 (2 pre-trainings)" in text
        assert "UniSRec_t: of NDCG@10, the standard deviation between its 2 pre-trainings is 0.0000" in text
        content = json.loads(render_json(board_of(results)))
        told = [each.get("pretrainings") for each in content["tables"][0]["rows"]]
        assert [each and each["seeds"] for each in told] == [None, [3, 4]]
        assert [("pretrainings" in each) for each in content["tables"][0]["rows"]] == [False, True]

    def test_the_interval_over_seeds_draws_whole_pre_trainings(self, results: Path) -> None:
        """Two runs of each of two pre-trainings are two witnesses, not four."""
        for own, greater in ((0, FIRST), (1, WORSE)):
            pretraining = Pretraining(
                family="UniSRec", version=1, sources=("food",), encoder="hash", config={}, epochs=3, seed=own
            )
            for seed in (0, 1):
                store_run(results, make_job("UniSRec_t", seed=seed, pretraining=pretraining), greater)
        (part,) = stored("small", results)
        first, second = (per_user("NDCG@10", np.array(each), np.zeros(6, int)) for each in (FIRST, WORSE))
        found = sorted(seed_values(part.outcomes, "NDCG@10").tolist(), reverse=True)
        np.testing.assert_allclose(found, [first, second])

    def test_a_label_is_what_a_row_is_called(self, results: Path) -> None:
        plan = []
        for label, experts in ((None, 8), ("w/o MoE", 1), (None, 4), ("wide | <b>", 16)):
            job = make_job("UniSRec_t", config={"experts": experts})
            store_run(results, job, FIRST)
            plan.append(planned(job).model_copy(update={"label": label}))
        absent = make_job("UniSRec_t", config={"experts": 2})
        plan.append(planned(absent).model_copy(update={"label": "two"}))
        write_plan(results, "small", plan)
        assert [row.label for row in table(results).rows] == [
            "UniSRec_t (config.experts=8)",
            "UniSRec_t (config.experts=4)",
            "UniSRec_t (w/o MoE)",
            "UniSRec_t (wide | <b>)",
        ]
        assert "- UniSRec_t (two), seed 0: not run yet" in report(results)
        assert "<b>" not in report(results)

    def test_rows_that_share_a_label_are_told_apart_all_the_same(self, results: Path) -> None:
        jobs = [make_job("SASRec", config={"width": width}) for width in (8, 16)]
        for job in jobs:
            store_run(results, job, FIRST)
        write_plan(results, "small", [planned(job).model_copy(update={"label": "mine"}) for job in jobs])
        assert [row.variant for row in table(results).rows] == ["mine, config.width=8", "mine, config.width=16"]

    def test_few_shot_rows_say_their_share(self, results: Path) -> None:
        for share in (0.1, 0.005):
            store_run(results, make_job("SASRec", setting="few-shot", few_shot=share), FIRST)
        store_run(results, make_job("SASRec"), FIRST)
        labels = {row.label for row in table(results).rows}
        assert labels == {"SASRec", "SASRec (few-shot; 10 % of users)", "SASRec (few-shot; 0.5 % of users)"}


class TestNotes:
    def test_warnings_overlap_and_cold_items_are_listed(self, results: Path) -> None:
        sources = (SourceInfo(name="lite-food", fingerprint=digest("f"), users=1000, items=20, interactions=5000),)
        overlap = (OverlapInfo(source="lite-food", users=None, items=37, texts=4),)
        store_run(results, make_job(), FIRST)
        store_run(
            results, make_job("UniSRec_t"), FIRST, sources=sources, overlap=overlap, warnings=("37 items are shared",)
        )
        text = report(results)
        assert "- Sources: lite-food (1,000 users, 20 items, 5,000 interactions)." in text
        assert "users not checkable (ids of another space), 37 items, 4 identical texts" in text
        assert "- Warning (UniSRec_t): 37 items are shared" in text
        assert "for 1 of 6 users (16.67%)" in text

    def test_text_from_outside_is_not_read_as_markup(self, results: Path) -> None:
        store_run(results, make_job("a|b"), FIRST, target={"title": "# <b>Big</b> | *shop*"}, warnings=("a\n\n# b",))
        text = report(results)
        assert r"## \# \<b\>Big\</b\> \| \*shop\* (`toy`)" in text
        assert r"a\|b" in text
        assert r"- Warning: a \# b" in text

    def test_the_header_names_machine_versions_and_the_command(self, results: Path) -> None:
        store_run(results, make_job(), FIRST)
        text = report(results)
        assert "- Machine: toy, Linux-x86_64, cpu with 2 threads" in text
        assert "- Software: transrec 0.1.0, torch 2.13.0, numpy 2.4.0, Python 3.11.9" in text
        assert "`transrec report small`" in text


class TestGaps:
    def test_failures_and_jobs_not_run_are_listed_with_their_reason(self, results: Path) -> None:
        jobs = [make_job(seed=0), make_job(seed=1), make_job("BERT4Rec"), make_job("FDSA"), make_job(target="other")]
        write_plan(results, "small", [planned(job) for job in jobs])
        store_run(results, jobs[0], FIRST)
        write_failure(results, jobs[2], make_key(jobs[2])[0], "NotFinite: scores of /home/ada/a.bin are\nnot finite")
        gaps = {(gap.method, gap.seed): (gap.failed, gap.reason) for gap in table(results).gaps}
        assert gaps == {
            ("SASRec", 1): (False, "not run yet"),
            ("BERT4Rec", 0): (True, "NotFinite: scores of a.bin are not finite"),
            ("FDSA", 0): (False, "not run yet"),
        }
        assert table(results, target="other").about is None
        text = report(results)
        assert "- BERT4Rec, seed 0: failed: NotFinite: scores of a.bin are not finite" in text
        assert "/home" not in text
        assert "- SASRec, seed 1: not run yet" in text
        shown = render_terminal(board_of(results))
        assert "0.6667" in shown
        assert "BERT4Rec, seed 0: failed" in shown

    def test_what_of_the_suite_was_not_asked_for_is_listed_with_its_cost(self, results: Path) -> None:
        """Costs are forecast from the runs of the report: 4 core seconds of 2 threads, and of FDSA nobody knows."""
        jobs = [make_job(), make_job("Popularity", training={})]
        store_run(results, jobs[0], FIRST)
        store_run(results, jobs[1], WORSE)
        rows = [
            Listed(target="toy", method="SASRec", setting="full", runs=3, trained=True),
            Listed(target="toy", method="Popularity", setting="full", runs=1, trained=False),
            Listed(target="toy", method="FDSA", setting="full", label="deep", runs=3, trained=True),
            Listed(target="toy", method="TextKNN", setting="full", runs=1, trained=False),
            Listed(target="other", method="Markov", setting="full", runs=1, trained=False),
        ]
        write_plan(results, "small", map(planned, jobs), rows)
        text = report(results)
        never = "FDSA (deep) (unknown, it was never run), TextKNN (nothing is trained)"
        assert f"- Not run, with what a run is forecast to take of one processor: {never}" in text
        assert "- Fewer runs than the suite has, with what another is forecast to take: SASRec 1 of 3 (2 s)" in text
        assert "Markov" not in text
        assert "FDSA (deep) (unknown" in render_terminal(board_of(results))
        write_plan(results, "small", [], rows[1:2])
        assert "Without a result" not in report(results), "the suite's rows are those of the latest command"

    def test_a_suite_of_which_everything_failed_still_has_a_report(self, results: Path) -> None:
        job = make_job()
        write_failure(results, job, make_key(job)[0], "diverged")
        text = report(results)
        assert "No results yet" in text
        assert "- SASRec, seed 0: failed: diverged" in text

    def test_runs_stored_under_another_suite_are_found_through_the_plan(self, results: Path) -> None:
        job = make_job(seed=3)
        store_run(results, make_job(seed=3, suite="other"), FIRST)
        store_run(results, make_job("Popularity"), WORSE)  # of an earlier plan: not part of the suite any more
        write_plan(results, "small", [planned(job)])
        (found,) = table(results).rows
        assert (found.method, found.seeds) == ("SASRec", (3,))

    def test_a_reused_run_brings_its_context(self, results: Path) -> None:
        for method in ("SASRec", "Popularity"):
            store_run(results, make_job(method), FIRST)
        write_plan(results, "second", [planned(make_job(method)) for method in ("SASRec", "Popularity")])
        assert row(results, "Popularity", suite="second").versus is not None


class TestRefusals:
    def test_two_versions_of_the_data_do_not_share_a_table(self, results: Path) -> None:
        store_run(results, make_job(), FIRST)
        store_run(results, make_job("Popularity"), FIRST, data="newer")
        with pytest.raises(IncompatibleRuns, match="one table can't hold both"):
            write_report("small", results, results.parent / "reports")
        assert not (results.parent / "reports").exists()

    def test_one_seed_does_not_count_twice(self, results: Path) -> None:
        store_run(results, make_job(), FIRST)
        folder = list_runs(results, "small")[0]
        content = json.loads((folder / "record.json").read_text())
        content["key_parts"]["precision"] = "bfloat16"
        content["key"] = digest(content["key_parts"])
        other = folder.with_name(f"full-seed0-{content['key'][:12]}")
        other.mkdir()
        (other / "record.json").write_text(json.dumps(content))
        (other / "ranks.parquet").write_bytes((folder / "ranks.parquet").read_bytes())
        with pytest.raises(IncompatibleRuns, match="same job and seed 0"):
            report(results)

    def test_versions_of_the_protocol_are_not_mixed(self, results: Path) -> None:
        for method, protocol in {"SASRec": 1, "Markov": 2}.items():
            job, ranks = make_job(method), make_ranks(FIRST)
            parts = make_key(job)[1] | {"protocol": protocol}
            write_run(results, make_record(job, ranks, key_parts=parts, key=digest(parts)), ranks)
        with pytest.raises(IncompatibleRuns, match=r"version \d of the protocol, but .* version \d of the protocol"):
            report(results)

    @pytest.mark.parametrize(
        ("harm", "said"),
        [
            (lambda folder: os.truncate(folder / "ranks.parquet", 50), "ranks.parquet"),
            (lambda folder: edit(folder, users=USERS + 1), "int32"),
            (lambda folder: edit(folder, items=ITEMS - 20), "exceeds"),
            (lambda folder: swap(folder, SECOND), "not those that the record was written with"),
            (lambda folder: (folder / "record.json").write_text("{}"), "record.json"),
        ],
        ids=["truncated", "users", "items", "ranks", "record"],
    )
    def test_a_damaged_or_edited_run_is_left_out_and_named(
        self, results: Path, harm: Callable[[Path], object], said: str
    ) -> None:
        store_run(results, make_job("Markov"), WORSE)
        harm(store_run(results, make_job(), FIRST))
        write_plan(results, "small", [planned(make_job(method)) for method in ("SASRec", "Markov")])
        text = report(results)
        assert [row.method for row in table(results).rows] == ["Markov"]
        (gap,) = table(results).gaps
        assert gap.method == "SASRec"
        assert said in gap.reason
        assert "left out, because the stored run is damaged or was edited" in text
        assert str(results) not in text, "a folder of this machine in a report"

    def test_unknown_and_empty_suites(self, results: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="unknown suite 'smal'; did you mean 'small'"):
            report(results, "smal")
        with pytest.raises(InputError, match="no results of suite 'small'"):
            report(results)
        with pytest.raises(InputError, match="no results of suite 'demo'"):
            stored("demo", tmp_path / "nowhere")


def test_the_same_runs_give_the_same_bytes_whatever_was_written_first(tmp_path: Path) -> None:
    jobs = [
        make_job(method, target, seed) for method in ("SASRec", "Markov") for target in ("toy", "b") for seed in (0, 1)
    ]
    written = []
    for name, order in {"forth": jobs, "back": jobs[::-1]}.items():
        folder = tmp_path / name
        for job in order:
            store_run(folder, job, FIRST if job.seed else WORSE)
        for target in ("toy", "b"):
            store_context(folder, target=target)
        report = write_report("small", folder, tmp_path / f"reports {name}").path.parent
        paths = sorted(path for path in report.rglob("*") if path.is_file())
        written.append({str(path.relative_to(report)): path.read_bytes() for path in paths})
    assert {"README.md", "index.html", "leaderboard.csv", "leaderboard.json", "tables/overall.tex"} <= set(written[0])
    assert any(name.endswith(".png") for name in written[0])
    assert all(files == written[0] for files in written)


def test_json_and_csv_say_what_the_table_says(results: Path) -> None:
    for seed, greater in enumerate([FIRST, SECOND]):
        store_run(results, make_job(seed=seed), greater, target=SCIENTIFIC)
        store_run(results, make_job("Popularity", seed=seed), WORSE, target=SCIENTIFIC, role="control")
    board = board_of(results)
    expected = {(row.method, metric): row.cells[metric] for row in table(results).rows for metric in METRICS}
    content = json.loads(render_json(board))
    assert content["format"] == 1
    (stored,) = content["tables"]
    lines = {(line["method"], line["metric"]): line for line in csv.DictReader(io.StringIO(render_csv(board)))}
    assert set(lines) == set(expected)
    cells = {(row["method"], metric): cell for row in stored["rows"] for metric, cell in row["cells"].items()}
    for key, cell in expected.items():
        assert cells[key]["mean"] == pytest.approx(cell.mean, rel=1e-7)
        assert float(lines[key]["mean"]) == pytest.approx(cell.mean, rel=1e-7)
        assert float(lines[key]["sd"]) == pytest.approx(cell.sd, rel=1e-7)
        assert (float(lines[key]["printed"]) if lines[key]["printed"] else None) == cell.printed
    assert stored["rows"][1]["versus"]["units"] == USERS
    assert lines["SASRec", "NDCG@10"]["seeds"] == "2"


def test_printed_numbers_are_the_papers() -> None:
    values = printed.values()
    assert len(values) == 6 * 4 * 9
    assert printed.methods()[0] == "SASRec"
    assert printed.methods()[-2:] == ("UniSRec_t", "UniSRec_t+ID")
    assert {metric for _, _, metric in values} == set(METRICS)
    assert values["Scientific", "UniSRec_t+ID", "Recall@10"] == 0.1235
    assert values["Online Retail", "RecGURU", "NDCG@50"] == 0.1188
    # Recall at 10 never exceeds Recall at 50, nor NDCG@k Recall@k.
    for (domain, method, metric), value in values.items():
        if metric.startswith("NDCG"):
            assert value <= values[domain, method, metric.replace("NDCG", "Recall")]
        else:
            assert values[domain, method, "Recall@10"] <= values[domain, method, "Recall@50"]


@pytest.mark.skipif(
    not (SHARED / "spec").is_dir(), reason="the collected facts lie beside the repository only sometimes"
)
def test_printed_numbers_equal_the_collected_facts() -> None:
    with (SHARED / "spec" / "paper_table.csv").open() as file:
        facts = {
            (fact["dataset"], fact["method"], fact["metric"]): float(fact["value"]) for fact in csv.DictReader(file)
        }
    assert printed.values() == facts


def test_reading_a_leaderboard_loads_neither_torch_nor_a_model() -> None:
    code = (
        "import sys, benchmark.report.leaderboard, benchmark.report.verdict, benchmark.verify, "
        "benchmark.plausibility, benchmark.reference, benchmark.regression, benchmark.report.gate; "
        "print({name.split('.')[0] for name in sys.modules} & "
        "{'torch', 'transformers', 'sklearn', 'baselines', 'unisrec', 'recbole'})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_row_trained_on_other_hardware_says_so_and_is_left_out_of_what_shows_cost(tmp_path: Path) -> None:
    """Its seconds are of another kind."""
    store_context(tmp_path)
    for method, precision in (("SASRec", "bfloat16"), ("FDSA", "bfloat16"), ("BERT4Rec", "float32"), ("Markov", None)):
        job = make_job(method)
        parts = make_key(job)[1] | {"training": {"precision": precision} if precision else {}}
        store_run(tmp_path, job, FIRST, key=digest(parts), key_parts=parts)
    others = {found.label: found.other_hardware for found in table(tmp_path).rows}
    assert others == {"SASRec": None, "FDSA": None, "BERT4Rec": "float32 on cpu", "Markov": None}
    assert "no measure beside those of the other rows: BERT4Rec: trained in float32 on cpu." in report(tmp_path)
    content = json.loads(render_json(board_of(tmp_path)))
    told = [found for found in content["tables"][0]["rows"] if "other_hardware" in found]
    assert [(found["method"], found["other_hardware"]) for found in told] == [("BERT4Rec", "float32 on cpu")]
    (part,) = stored("small", tmp_path)
    data = cost.take(part, cost.shares_of([part]))
    assert data is not None
    assert {entry.label for entry in data.entries} == {"SASRec", "FDSA", "Markov"}
    assert data.left_out == ("BERT4Rec",)
    assert "Left out, since they were trained on other hardware: BERT4Rec." in cost.words(data).caption
