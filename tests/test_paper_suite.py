"""Suite `paper` runs as soon as its data are there: raw files of all eleven names, made small, through every step."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from test_campaign import Done, Place

from benchmark.cards import load_cards
from benchmark.record import Planned
from benchmark.report.stored import rows_of, stored
from benchmark.store import list_runs, read_plan, read_run
from benchmark.suite import load_suite

pytestmark = pytest.mark.usefixtures("undrawn")

USERS, ITEMS = 8, 9
PAPER = load_suite("paper")
NAMES = (*PAPER.targets, *PAPER.sources)
SMALL: dict[str, Any] = {
    "name": "small",
    "about": "the suite with a few rows, cut down",
    "extends": "paper",
    "encoder": "hash",
    "seeds": 1,
    "methods": [
        "SASRec",
        {"name": "SASRec", "few_shot": 0.5},
        {"name": "UniSRec_t", "pretraining": {"seeds": 2}},
        {"name": "UniSRec_t", "sources": ["Food"], "label": "only food", "encoder": "hash"},
    ],
    "config": {"width": 16, "inner": 16, "layers": 1, "experts": 2},
    "training": {"epochs": 1},
    "pretraining": {"epochs": 1},
}


def write_raw(folder: Path) -> None:
    """Small raw files where the cards look for them; no user and no item occurs in two of them."""
    cards, rng = load_cards(), np.random.default_rng(0)
    for name in NAMES:
        given = next(given for given in cards[name].inputs if given.reader in ("amazon2018", "online_retail"))
        files = {key: folder / path for key, path in given.paths().items()}
        if given.reader == "amazon2018":
            _write_amazon(name, files["ratings"], files["metadata"], rng)
        else:
            _write_invoices(files["table"])


def _write_amazon(name: str, ratings: Path, metadata: Path, rng: np.random.Generator) -> None:
    """Each user takes each item, in an order of their own."""
    ratings.parent.mkdir(parents=True, exist_ok=True)
    metadata.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        f"{name}-B{item},{name}-A{user},5.0,{86400 * day}\n"
        for user in range(USERS)
        for day, item in enumerate(rng.permutation(ITEMS))
    ]
    ratings.write_text("".join(lines))
    with gzip.open(metadata, "wt") as file:
        for item in range(ITEMS):
            about = {"asin": f"{name}-B{item}", "title": f"{name} thing {item}", "category": ["All"], "brand": "Acme"}
            file.write(json.dumps(about) + "\n")


def _write_invoices(table: Path) -> None:
    table.parent.mkdir(parents=True, exist_ok=True)
    head = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"]
    with table.open("w", encoding="latin-1", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        for user in range(USERS):
            for item in range(ITEMS):
                date = f"12/{1 + user}/2010 8:26"
                writer.writerow([536365 + user, f"S{item}", f"GIFT {item}", 6, date, 2.5, 17850 + user // 2, "UK"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Raw data of all names."""
    found = Place(tmp_path_factory.mktemp("paper"))
    write_raw(found.folder / "raw")
    return found


def run(place: Place, suite: str, *more: str) -> Done:
    return place.transrec("run", suite, "--data", "raw", "--device", "cpu", *more)


@pytest.fixture(scope="module")
def planned_paper(place: Place) -> Done:
    """With a BERT of which nothing but the name is known."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmark.groundwork.provenance", lambda spec: {"encoder": spec.name})
        return run(place, "paper", "--allow-mismatch", "--dry-run")


def test_the_suite_is_planned_on_raw_files(planned_paper: Done) -> None:
    assert planned_paper.code == 0, planned_paper.err
    said = planned_paper.out
    for name in NAMES:
        assert f"{name}: {USERS} users, {ITEMS} items, " in said
    assert "suite paper: 606 jobs, 0 already stored\n" in said
    assert "missing" not in said
    assert "to pre-train: UniSRec on amazon2018-food, amazon2018-home" in said
    assert "to run: amazon2018-office RecGURU, 5 x" in said


def test_other_data_than_the_cards_expect_are_refused_unless_they_are_wanted(place: Place) -> None:
    done = run(place, "paper", "--targets", "Office", "--methods", "Popularity")
    assert done.code == 2
    assert "8 users instead of 87,436" in done.err
    assert "--allow-mismatch" in done.err
    assert not place.results.exists()


@pytest.fixture(scope="module")
def small(place: Place, planned_paper: Done) -> Done:
    (place.folder / "small.yaml").write_text(yaml.safe_dump(SMALL), encoding="utf-8")
    assert planned_paper.code == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmark.report.leaderboard.write_figures", lambda parts, board, alike, folder: ())
        return run(place, "small.yaml", "--allow-mismatch", "--workers", "1")


def test_the_suite_runs_to_a_leaderboard_of_all_targets(place: Place, small: Done) -> None:
    assert small.code == 0, small.out + small.err
    report = (place.folder / "reports" / "small" / "README.md").read_text(encoding="utf-8")
    board = json.loads((place.folder / "reports" / "small" / "leaderboard.json").read_text(encoding="utf-8"))
    assert [table["target"] for table in board["tables"]] == list(PAPER.targets)
    for table in board["tables"]:
        assert table["about"]["custom"]
        assert {row["cells"]["NDCG@10"]["printed"] for row in table["rows"]} == {None}
        assert [(row["method"], row["setting"], row["variant"]) for row in table["rows"]] == [
            ("SASRec", "full", ""),
            ("SASRec", "few-shot", "50 % of users"),
            ("UniSRec_t", "full", ""),
            ("UniSRec_t", "full", "only food"),
        ]
        assert [row.get("pretrainings", {}).get("seeds") for row in table["rows"]] == [None, None, [0, 1], None]
        assert not table["gaps"]
    assert "UniSRec_t (only food)" in report
    assert place.transrec("verify", place.results).code == 0


def test_rows_were_run_as_they_were_planned(place: Place, small: Done) -> None:
    assert small.code == 0
    plan: tuple[Planned, ...] = read_plan(place.results, "small").jobs
    labels = {entry.key: entry.label for entry in plan}
    runs = [read_run(folder) for folder in list_runs(place.results, "small")]
    assert {run.record.key for run in runs} == labels.keys()
    assert len(runs) == 6 * 5
    for found in runs:
        record, job = found.record, found.record.job
        assert len(found.ranks.test_greater) == USERS, "every user is asked"
        assert (job.few_shot, record.key_parts.get("few_shot")) in ((None, None), (0.5, 0.5))
        if labels[record.key] == "only food":
            assert [source.name for source in record.sources] == ["amazon2018-food"]
        elif job.method == "UniSRec_t":
            assert [source.name for source in record.sources] == list(PAPER.sources)
    for part in stored("small", place.results):
        assert [len(group) for group in rows_of(part.outcomes).values()] == [1, 1, 2, 1]


def test_what_is_missing_is_told_at_once_and_nothing_is_started(tmp_path: Path) -> None:
    place = Place(tmp_path)
    write_raw(tmp_path / "raw")
    for path in ("Ratings/Kindle_Store.csv", "Metadata/meta_Office_Products.json.gz"):
        (tmp_path / "raw" / path).unlink()
    done = run(place, "paper", "--allow-mismatch")
    assert done.code == 2
    for words in ("amazon2018-kindle: nothing to prepare", "it lacks Ratings/Kindle_Store.csv", "amazon2018-office"):
        assert words in done.err
    assert "`transrec data fetch amazon2018-kindle`" in done.err
    assert "https://nijianmo.github.io/amazon/" in done.err
    assert "amazon2018-food" not in done.err
    assert not place.results.exists()
    assert not (tmp_path / "cache" / "domains").exists()


def test_a_dry_run_goes_on_with_what_is_there(tmp_path: Path) -> None:
    """Nothing but Pantry's files: jobs without sources or texts can be planned, the others wait."""
    place = Place(tmp_path)
    write_raw(tmp_path / "raw")
    for path in (path for path in (tmp_path / "raw").rglob("*") if path.is_file() and "Prime_Pantry" not in path.name):
        path.unlink()
    done = run(place, "paper", "--allow-mismatch", "--dry-run", "--targets", "Pantry", "--methods", "SASRec,UniSRec_t")
    assert done.code == 0, done.err
    assert "missing: amazon2018-food: nothing to prepare it from" in done.out
    assert "amazon2018-pantry: 8 users" in done.out
    assert "suite paper: 10 jobs, 0 already stored, 5 wait for what is missing" in done.out
    for row in ("SASRec", "UniSRec_t"):
        assert f"to run: amazon2018-pantry {row}, 5 x" in done.out


def test_an_encoder_that_cannot_be_had_is_missing_like_data(tmp_path: Path) -> None:
    place = Place(tmp_path)
    chosen = ["--targets", "demo-shop", "--methods", "SASRec,TextKNN"]
    suite = place.suite(encoder="nobody/nothing", methods=["SASRec", "TextKNN"], config={"width": 16})
    dry = place.transrec("run", suite, *chosen, "--dry-run")
    assert dry.code == 0, dry.err
    assert "missing: encoder 'nobody/nothing'" in dry.out
    assert "3 jobs, 0 already stored, 1 wait" in dry.out
    done = place.transrec("run", suite, *chosen)
    assert done.code == 2
    assert "encoder 'nobody/nothing'" in done.err
    assert not place.results.exists()
