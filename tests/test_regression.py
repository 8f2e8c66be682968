"""The regression gate on runs of suite demo: other seeds pass, defects, changed data and lost rows do not."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from regression_parts import COMMITTED, ROOT, TARGET, altered, committed, of, split, with_test, write
from test_campaign import Done, Place

from benchmark import store
from benchmark.errors import InputError
from benchmark.jobs import digest
from benchmark.noninferiority import Shift
from benchmark.pairs import Finding
from benchmark.record import Listed
from benchmark.reference import move
from benchmark.regression import TOGETHER, Cell, Check, Limits, check
from benchmark.report.gate import render, render_json, render_markdown, tell_github, workflow_commands
from benchmark.store import Run
from benchmark.verify import verify


def checked(folder: Path, change: Any = lambda run: run, **options: Any) -> Check:
    new, reference = split(change)(folder)
    return check("demo", new, reference, **options)


def kinds(found: Check) -> set[str]:
    return {finding.kind for finding in found.findings if finding.failing}


def said(found: Check) -> str:
    return "\n".join(finding.says for finding in found.findings)


def a_rank_later(run: Run) -> Run:
    return with_test(run, run.ranks.test_greater + 1)


def only(method: str, change: Any) -> Any:
    return lambda run: change(run) if run.record.method.name == method else run


def test_other_seeds_pass(tmp_path: Path) -> None:
    found = checked(tmp_path)
    assert found.passed, said(found)
    rows = {cell.row: cell for cell in found.cells}
    assert set(rows) == {"Popularity", "SASRec", "SASRec-cos", "SASRec_text", "UniSRec_t", TOGETHER}
    assert (rows["SASRec"].seeds, rows["SASRec"].reference_seeds) == (2, 5)
    sasrec = rows["SASRec"].shift
    assert sasrec is not None
    expected = np.mean([ndcg(run) for run in of("SASRec", (5, 6))]) / np.mean(
        [ndcg(run) for run in of("SASRec", range(5))]
    )
    assert sasrec.change == pytest.approx(expected - 1)


def ndcg(run: Run) -> float:
    above = run.ranks.test_greater
    return float(np.where(above < 10, 1 / np.log2(above + 2.0), 0).mean())


def test_rows_and_rows_together_have_half_of_the_level_each(tmp_path: Path) -> None:
    found = checked(tmp_path, a_rank_later)
    rows = [(cell.p_loss, cell.shift.p_below) for cell in found.cells if cell.shift and cell.row != TOGETHER]
    # by hand: Holm over five rows, then twice that
    raw = sorted(p for _, p in rows)
    stepped = np.maximum.accumulate([p * (5 - n) for n, p in enumerate(raw)])
    assert sorted(p for p, _ in rows if p is not None) == pytest.approx(np.minimum(1, 2 * stepped))
    (together,) = [cell for cell in found.cells if cell.row == TOGETHER]
    assert together.shift is not None
    assert together.p_loss == pytest.approx(2 * together.shift.p_below)


@pytest.mark.parametrize("method", [None, "SASRec", "Popularity"])
def test_a_rank_off_by_one_is_found(method: str | None, tmp_path: Path) -> None:
    found = checked(tmp_path, only(method, a_rank_later) if method else a_rank_later)
    assert kinds(found) == {"loss"}
    failing = {finding.row for finding in found.findings if finding.failing}
    assert failing >= ({method} if method else {"SASRec", "Popularity", TOGETHER})
    assert "SASRec_text" not in failing or method is None


def test_a_leak_of_two_per_cent_of_users_is_missed_when_it_goes(tmp_path: Path) -> None:
    """A reference made with the held-out item of every fiftieth user ranked first."""

    def leaking(run: Run) -> Run:
        leaked = np.arange(len(run.ranks.test_greater)) % 50 == 7
        return with_test(run, np.where(leaked, 0, run.ranks.test_greater))

    old = [run for run in committed() if run.record.job.seed < 5]
    new = [run for run in committed() if run.record.job.seed in (0, 5, 6)]
    reference = write(tmp_path / "reference", old, leaking)
    found = check("demo", write(tmp_path / "new", new), reference)
    assert kinds(found) == {"loss"}
    assert any(finding.row == TOGETHER for finding in found.findings if finding.failing)


def test_a_loss_within_the_margin_passes(tmp_path: Path) -> None:
    new, reference = split(a_rank_later)(tmp_path)
    assert check("demo", new, reference, Limits(margin=0.6)).passed


def test_a_gain_that_nobody_speaks_of_fails_too(tmp_path: Path) -> None:
    found = checked(tmp_path, lambda run: with_test(run, run.ranks.test_greater // 3))
    assert kinds(found) == {"gain"}
    assert "a leak looks like this" in said(found)


def test_other_data_fail_and_their_users_are_not_compared(tmp_path: Path) -> None:
    def change(run: Run) -> Run:
        about = run.record.target.model_copy(update={"fingerprint": digest("other")})
        return altered(run, target=about)

    found = checked(tmp_path, change)
    assert kinds(found) == {"data"}
    assert len([finding for finding in found.findings if finding.failing]) == 1
    assert all(cell.shift is None for cell in found.cells)


def test_another_source_another_encoder_another_protocol_and_another_version_fail(tmp_path: Path) -> None:
    def change(run: Run) -> Run:
        record = run.record
        if record.method.name == "UniSRec_t":
            first, *others = record.sources
            moved = first.model_copy(update={"fingerprint": digest("moved")})
            return altered(run, sources=(moved, *others))
        if record.method.name == "SASRec_text":
            assert record.encoder is not None
            encoder = record.encoder.model_copy(update={"provenance": record.encoder.provenance | {"dimensions": 64}})
            return altered(run, encoder=encoder)
        if record.method.name == "SASRec":
            job, method = replace(record.job, version=99), record.method.model_copy(update={"version": 99})
            return altered(run, job=job, method=method)
        return run

    found = checked(tmp_path, change)
    assert kinds(found) == {"data", "changed"}
    assert "the data of source demo-kitchen changed" in said(found)
    assert "the encoder of item texts changed" in said(found)
    assert "the method's version changed from" in said(found)
    with_protocol = checked(tmp_path / "protocol", lambda run: altered(run, parts={"protocol": 99}))
    assert kinds(with_protocol) == {"changed"}
    assert len([finding for finding in with_protocol.findings if finding.failing]) == 1


def test_a_changed_configuration_is_one_finding_that_names_it(tmp_path: Path) -> None:
    def change(run: Run) -> Run:
        job = replace(run.record.job, config=dict(run.record.job.config) | {"dropout": 0.9})
        return altered(run, parts={"config": dict(job.config)}, job=job)

    found = checked(tmp_path, only("SASRec", change))
    assert [finding.says for finding in found.findings if finding.failing] == [
        "the configuration changed: config.dropout 0.2, now 0.9"
    ]


def test_another_precision_is_a_note(tmp_path: Path) -> None:
    def change(run: Run) -> Run:
        settings = run.record.key_parts["training"] | {"precision": "other"}
        return altered(run, parts={"training": settings})

    found = checked(tmp_path, lambda run: change(run) if run.record.learning_curve else run)
    assert found.passed, said(found)
    assert "precision bfloat16, now other" in said(found) or "precision float32, now other" in said(found)
    assert all(cell.slower is None for cell in found.cells)


def test_a_row_without_a_result_fails_and_one_without_a_reference_does_not(tmp_path: Path) -> None:
    def lost(run: Run) -> Run | None:
        return None if run.record.method.name == "SASRec-cos" else run

    new, reference = split(lost)(tmp_path)
    run = of("SASRec-cos", [5])[0]
    store.write_failure(new, run.record.job, run.record.key, "NotFinite: the loss is not finite")
    found = check("demo", new, reference)
    assert kinds(found) == {"missing"}
    assert "the loss is not finite" in said(found)
    asked = {(TARGET, "SASRec", "full")}
    assert check("demo", new, reference, only=asked).passed

    shutil.rmtree(reference)
    write(reference, [run for run in committed() if run.record.method.name != "SASRec" and run.record.job.seed < 5])
    shutil.rmtree(new)
    write(new, [run for run in committed() if run.record.job.seed < 5])
    found = check("demo", new, reference)
    assert found.passed
    assert "it has no reference" in said(found)


def test_a_row_that_was_not_asked_for_is_told_from_one_that_the_suite_lost(tmp_path: Path) -> None:
    _, reference = split()(tmp_path)
    new = write(tmp_path / "fewer", [run for run in committed() if run.record.method.name != "SASRec-cos"])
    assert "no result: the suite no longer has this row" in said(check("demo", new, reference))
    rows = [Listed(target=TARGET, method="SASRec-cos", setting="full", runs=5, trained=True)]
    store.write_plan(new, "demo", [], rows)
    assert "no result: not asked for" in said(check("demo", new, reference))


def test_one_row_that_takes_three_times_as_long_fails_and_all_rows_do_not(tmp_path: Path) -> None:
    def slower(run: Run) -> Run:
        cost = run.record.cost.model_copy(update={"core_seconds": 3 * run.record.cost.core_seconds})
        curve = tuple(e.model_copy(update={"seconds": 3 * e.seconds}) for e in run.record.learning_curve)
        return altered(run, cost=cost, learning_curve=curve)

    found = checked(tmp_path / "one", only("SASRec", slower))
    assert kinds(found) == {"speed"}
    assert checked(tmp_path / "all", slower).passed

    def stretched(run: Run) -> Run:
        """Wall time that something else took."""
        curve = tuple(e.model_copy(update={"seconds": 5 * e.seconds}) for e in run.record.learning_curve)
        return altered(run, learning_curve=curve)

    assert checked(tmp_path / "busy", only("SASRec", stretched)).passed


def test_a_deterministic_row_says_when_its_ranks_moved(tmp_path: Path) -> None:
    def one_user(run: Run) -> Run:
        greater = run.ranks.test_greater.copy()
        greater[int(np.argmin(greater))] += 1
        return with_test(run, greater)

    found = checked(tmp_path, only("Popularity", one_user))
    assert found.passed
    assert "the ranks of 1 users are not the reference's" in said(found)


def test_what_cannot_be_compared_is_an_input_error(tmp_path: Path) -> None:
    new, reference = split()(tmp_path)
    with pytest.raises(InputError, match="can't be their own reference"):
        check("demo", new, new)
    with pytest.raises(InputError, match=r"no reference of suite 'other' \(it holds: demo\)"):
        check("other", new, reference)
    with pytest.raises(InputError, match="from 0 to below 1"):
        Limits(margin=float("nan"))
    with pytest.raises(InputError, match="at least 1"):
        Limits(slower=0.5)
    next((reference / "demo").rglob("ranks.parquet")).write_bytes(b"no table")
    with pytest.raises(InputError, match="has no usable run"):
        check("demo", new, reference)


def test_moving_replaces_the_reference_as_a_whole(tmp_path: Path) -> None:
    new, reference = split()(tmp_path)
    moved = move("demo", new, reference)
    assert (moved.kept, moved.taken, moved.dropped) == (1, 8, 20)
    assert verify(reference) == []
    assert sorted(path.name for path in reference.iterdir()) == [".lock", "demo"]
    again = move("demo", new, reference)
    assert (again.kept, again.taken, again.dropped) == (9, 0, 0)
    before = {path: path.read_bytes() for path in reference.rglob("*") if path.is_file()}
    shutil.rmtree(next((new / "demo").glob("*/SASRec/*seed6*")))
    with pytest.raises(InputError, match="a reference must be whole"):
        move("demo", new, reference)
    assert {path: path.read_bytes() for path in reference.rglob("*") if path.is_file()} == before


def test_a_failed_move_leaves_the_old_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new, reference = split()(tmp_path)
    before = sorted(path for path in reference.rglob("*"))
    genuine = store.os.replace

    def failing(source: Any, target: Any) -> None:
        if Path(target) == reference / "demo" and Path(source).parent != reference:
            raise OSError(28, "no space left")
        genuine(source, target)

    monkeypatch.setattr("benchmark.reference.os.replace", failing)
    with pytest.raises(OSError, match="no space"):
        move("demo", new, reference)
    assert sorted(path for path in reference.rglob("*")) == before


def test_no_run_of_the_reference_counts_as_done() -> None:
    results = ROOT / "results"
    done = store.finished(results).values()
    assert done
    assert not [folder for folder in done if COMMITTED in folder.parents]
    assert not verify(COMMITTED)


HOSTILE = "50 % lost:\r\n::error::nothing, really | **x** <b>"


def test_annotations_cannot_be_broken_out_of() -> None:
    finding = Finding(kind="loss", target="toy", row=HOSTILE, says=HOSTILE)
    found = Check(suite="a:b,c", limits=Limits(), cells=(), findings=(finding,), commits=(), reference_commits=())
    (line,) = workflow_commands(found)
    assert line.count("\n") == 0
    assert line.startswith("::error title=a%3Ab%2Cc%3A loss::toy 50 %25 lost:")
    assert "<b>" not in render_markdown(found).replace("\\<b\\>", "")


def test_github_is_told(tmp_path: Path) -> None:
    found = checked(tmp_path, a_rank_later)
    lines: list[str] = []
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    tell_github(found, lines.append, {"GITHUB_STEP_SUMMARY": str(summary)}, github=False)
    assert lines == []
    assert summary.read_text().startswith("before\n## Regression check of suite demo")
    tell_github(found, lines.append, {"GITHUB_ACTIONS": "true"}, github=False)
    assert [line for line in lines if line.startswith("::error title=demo%3A loss::demo-workshop SASRec: NDCG@10")]
    with pytest.raises(InputError, match="can't be written"):
        tell_github(found, lines.append, {"GITHUB_STEP_SUMMARY": str(tmp_path / "no" / "file")}, github=False)


def test_the_json_is_what_the_page_says_and_names_every_field() -> None:
    page = (ROOT / "docs" / "regression-gate.md").read_text(encoding="utf-8")
    cell = Cell(
        target="t",
        track="paper",
        row="r",
        seeds=1,
        reference_seeds=2,
        shift=None,
        p_loss=None,
        p_gain=None,
        slower=float("inf"),
    )
    found = Check(suite="s", limits=Limits(), cells=(cell,), findings=(), commits=("c",), reference_commits=())
    content = json.loads(render_json(found))
    assert content["passed"] is True
    assert content["cells"][0]["slower"] is None
    described = set(re.findall(r"^- `(\w+)`:", page, re.MULTILINE))
    named = {field.name for kind in (Check, Cell, Finding, Limits, Shift) for field in fields(kind)}
    assert named | {"format", "passed", "level"} <= described
    assert "nan" not in render(found)


def test_the_command_line(tmp_path: Path, undrawn: None) -> None:
    place = Place(tmp_path)
    new, reference = split()(tmp_path)
    options = ("--results", new, "--reference", reference)

    def ran(*more: str | Path) -> Done:
        return place.transrec("check", "demo", *options, *more)

    passed = ran("--json", tmp_path / "out" / "check.json")
    assert (passed.code, passed.err) == (0, "")
    assert "Suite demo passes" in passed.out
    assert json.loads((tmp_path / "out" / "check.json").read_text())["passed"] is True
    assert ran("--margin", "1.5").code == 2
    assert place.transrec("check", "demo", "--results", new, "--reference", tmp_path / "none").code == 2

    shutil.rmtree(new)
    write(new, [a_rank_later(run) for run in committed() if run.record.job.seed in (0, 5)])
    failed = ran("--github")
    assert failed.code == 1
    assert "Suite demo FAILS" in failed.out
    assert "::error title=demo%3A loss::" in failed.out
    moved = ran("--update")
    assert moved.code == 0
    assert re.search(r"demo-workshop SASRec: NDCG@10 0\.\d{4} to 0\.\d{4} \(-\d", moved.out)
    assert ran().code == 0


def test_a_campaign_checks_the_rows_it_was_asked_for(tmp_path: Path, undrawn: None) -> None:
    place = Place(tmp_path)
    asked = ("run", "demo", "--targets", TARGET, "--methods", "Popularity,Markov", "--workers", "1")
    _, reference = split()(tmp_path)
    done = place.transrec(*asked, "--reference", reference)
    assert done.code == 0, done.out + done.err
    assert "Suite demo passes" in done.out
    outcome = json.loads((tmp_path / "reports" / "demo" / "check.json").read_text())
    assert [cell["row"] for cell in outcome["cells"]] == ["Popularity"]
    assert [finding["row"] for finding in outcome["findings"]] == ["Markov"]

    shutil.rmtree(reference)
    write(reference, [a_rank_earlier(run) for run in of("Popularity", [0])])
    assert place.transrec(*asked, "--reference", reference).code == 1
    unknown = place.transrec(*asked, "--reference", tmp_path / "none")
    assert unknown.code == 0
    assert "holds no reference of suite demo: nothing is checked" in unknown.out


def a_rank_earlier(run: Run) -> Run:
    return with_test(run, run.ranks.test_greater // 3)
