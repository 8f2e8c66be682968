"""Rows by groups of users, as a file for programs."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from results_tree import make_job, store_run

from benchmark.jobs import digest
from benchmark.questions import Context
from benchmark.report.groups import render_slices
from benchmark.report.stored import stored
from benchmark.slices import COLD, TRAIN_COUNT, by_group, slices_of
from benchmark.store import write_context

# Two users whose item was trained on never, two three times and two thirty times.
COUNTS = np.array([0, 0, 3, 3, 30, 30], np.int32)
OURS, REFERENCE = [0, 55, 0, 0, 0, 55], [55, 55, 0, 55, 0, 0]


def lines(results: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(render_slices("small", stored("small", results)))))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    users = np.arange(6, dtype=np.int32)
    context = Context(
        fingerprint=digest("data"), history_length=users + 2, train_count=COUNTS, cold=COUNTS == 0, cluster=users
    )
    write_context(tmp_path, "small", "toy", context)
    store_run(tmp_path, make_job("Mine"), OURS)
    return tmp_path


def test_groups_have_their_means_and_gains(results: Path) -> None:
    store_run(results, make_job("SASRec"), REFERENCE)
    found = {
        line["group"]: line
        for line in lines(results)
        if (line["method"], line["slicing"], line["metric"]) == ("Mine", TRAIN_COUNT, "NDCG@10")
    }
    assert {group: line["users"] for group, line in found.items()} == {
        "[0, 5)": "4",
        "[5, 10)": "0",
        "[10, 15)": "0",
        "[15, 20)": "0",
        "[20, ∞)": "2",
    }
    assert (found["[0, 5)"]["mean"], found["[0, 5)"]["gain"]) == ("0.75", "2")
    assert (found["[20, ∞)"]["mean"], found["[20, ∞)"]["gain"]) == ("0.5", "-0.5")
    assert (found["[5, 10)"]["mean"], found["[5, 10)"]["gain"]) == ("", "")
    own, other = np.array([1.0, 0, 1, 1, 1, 0]), np.array([0.0, 0, 1, 0, 1, 1])
    (slicing,) = [one for one in slices_of(stored("small", results)[0].context, "toy") if one.name == TRAIN_COUNT]  # type: ignore[arg-type]
    interval = by_group(slicing, own, other)[0].interval
    assert interval is not None
    assert float(found["[0, 5)"]["low"]) == pytest.approx(interval.low, rel=1e-5)


def test_without_a_reference_there_is_no_gain(results: Path) -> None:
    found = [line for line in lines(results) if line["slicing"] == COLD and line["metric"] == "Recall@10"]
    assert [(line["group"], line["users"], line["mean"], line["gain"]) for line in found] == [
        ("no", "4", "0.75", ""),
        ("yes", "2", "0.5", ""),
    ]


def test_without_knowledge_of_the_users_there_are_no_groups(tmp_path: Path) -> None:
    store_run(tmp_path, make_job("Mine"), OURS)
    assert lines(tmp_path) == []
