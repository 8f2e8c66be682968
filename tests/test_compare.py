"""`transrec compare`: two rows of a suite, paired over users."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray
from results_tree import USERS, make_job, make_pretraining, store_context, store_run
from scipy import stats

from benchmark import cli
from benchmark.errors import InputError
from benchmark.metrics import METRICS, per_user
from benchmark.report.compare import TargetComparison, compare
from benchmark.report.verdict import render, verdict
from benchmark.significance import bootstrap, paired_t, sign_flip

A, B = [[0, 1, 2, 3, 4, 50]], [[1, 1, 9, 3, 20, 50], [0, 1, 5, 3, 30, 50]]


def ndcg(greater: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    return np.stack([per_user("NDCG@10", np.array(seed), np.zeros(USERS, np.int32)) for seed in greater])


@pytest.fixture
def results(tmp_path: Path) -> Path:
    store_context(tmp_path)
    for name, seeds in (("New", A), ("SASRec", B)):
        for seed, greater in enumerate(seeds):
            store_run(tmp_path, make_job(name, seed=seed), greater)
    return tmp_path


def one(results: Path, first: str = "New", second: str = "SASRec") -> TargetComparison:
    (found,) = compare("small", results, first, second)
    return found


def test_users_are_paired_after_averaging_over_seeds(results: Path) -> None:
    found = one(results)
    a, b = ndcg(A).mean(axis=0), ndcg(B).mean(axis=0)
    assert tuple(found.metrics) == METRICS
    said = found.metrics["NDCG@10"]
    assert (said.users, said.first, said.second) == (USERS, pytest.approx(a.mean()), pytest.approx(b.mean()))
    assert said.test is not None
    assert said.test.paired == paired_t(a, b)
    assert said.test.paired.p == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert said.test.flips == sign_flip(a, b)
    assert (said.test.low, said.test.high) == bootstrap(ndcg(A), ndcg(B), over="seeds")
    # user 0 and 2 to 4 against ranks that are worse with one seed or both; 1, 3 and 5 are the same
    assert (said.gain, said.lose, said.same) == (3, 0, 3)
    assert (found.first.n, found.second.n) == (1, 2)


def test_the_other_way_round_everything_is_mirrored(results: Path) -> None:
    forth, back = one(results).metrics["Recall@10"], one(results, "SASRec", "New").metrics["Recall@10"]
    assert (back.gain, back.lose, back.same) == (forth.lose, forth.gain, forth.same) == (0, 1, 5)
    assert forth.test is not None
    assert back.test is not None
    assert back.test.paired.difference == -forth.test.paired.difference
    assert back.test.flips == forth.test.flips


def test_users_whose_seeds_agree_in_another_order_are_the_same(tmp_path: Path) -> None:
    """Ties of three have gains in thirds: the last bit of a sum of seeds depends on their order."""
    store_context(tmp_path)
    for seed, ranks in enumerate(((1, 3, 8), (3, 8, 1), (8, 1, 3))):
        store_run(tmp_path, make_job("New", seed=seed), [*ranks, 0, 0, 0], 2)
        store_run(tmp_path, make_job("SASRec", seed=seed), [*ranks[::-1], 0, 0, 1], 2)
    said = one(tmp_path).metrics["NDCG@10"]
    assert (said.gain, said.lose, said.same) == (1, 0, 5)


def test_groups_of_users(results: Path) -> None:
    """The test items of users 0 to 5 were trained on 0 to 5 times; their histories have 2 to 7 items."""
    found = one(results)
    a, b = ndcg(A).mean(axis=0), ndcg(B).mean(axis=0)
    by_count = found.slices["training count of the test item"]
    assert [line.users for line in by_count.values()] == [5, 1, 0, 0, 0]
    assert by_count["[0, 5)"].test is not None
    assert by_count["[0, 5)"].test.paired == paired_t(a[:5], b[:5])
    assert by_count["[5, 10)"].test is None  # a single user
    assert (by_count["[10, 15)"].first, by_count["[10, 15)"].gain) == (None, 0)
    assert found.slices["cold test item"]["yes"].first == pytest.approx(a[0])
    by_length = found.slices["history length"]
    assert [(line.users, line.gain) for line in by_length.values()][:3] == [(3, 2), (3, 1), (0, 0)]
    assert by_length["[5, 10)"].second == pytest.approx(b[3:].mean())


def test_users_of_one_customer_are_one_unit_throughout(tmp_path: Path) -> None:
    clusters = [0, 0, 1, 1, 2, 2]
    store_context(tmp_path, cluster=clusters)
    store_run(tmp_path, make_job("New"), A[0])
    store_run(tmp_path, make_job("SASRec"), B[0])
    found = one(tmp_path)
    said = found.metrics["NDCG@10"].test
    assert said is not None
    assert (found.users, found.clusters, said.paired.units) == (6, 3, 3)
    assert said.flips == sign_flip(ndcg(A)[0], ndcg(B)[0], clusters)
    assert (said.low, said.high) == bootstrap(ndcg(A), ndcg(B[:1]), clusters)
    short = found.slices["history length"]["[0, 5)"]  # users 0 to 2, of two customers
    assert short.test is not None
    assert short.test.paired.units == 2
    assert "6 users, 3 independent clusters" in render([found], "New", "SASRec")


def said_of(folder: Path, first: ArrayLike, second: ArrayLike, **others: Any) -> str:
    """The verdict on two rows by the ranks of each user under each seed."""
    store_context(folder)
    for name, seeds in (("New", first), ("SASRec", second)):
        for seed, greater in enumerate(np.atleast_2d(seeds)):
            store_run(folder, make_job(name, seed=seed), greater, **others)
    return verdict(one(folder), "New", "SASRec")


BETTER, WORSE = [[0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 1, 0]], [[1, 2, 1, 2, 2, 1], [2, 1, 2, 1, 1, 2]]


def test_a_verdict_says_who_is_better_and_by_how_much(tmp_path: Path) -> None:
    said = said_of(tmp_path, BETTER, WORSE)
    difference = ndcg(BETTER).mean() - ndcg(WORSE).mean()
    assert said.startswith(f"New is above SASRec by {difference:.4f} NDCG@10 (95 % interval 0.")
    assert "6 users gain, 0 lose, 0 see no change." in said
    assert "Given these trained models; over seeds too (2 and 2) the interval is 0." in said
    back = verdict(one(tmp_path, "SASRec", "New"), "SASRec", "New")
    assert back.startswith(f"SASRec is below New by {difference:.4f} NDCG@10 (95 % interval 0.")
    assert "0 users gain, 6 lose" in back


def test_a_verdict_on_what_the_seeds_do_not_confirm(tmp_path: Path) -> None:
    """One seed of the first row is much better for everybody, the other a little worse."""
    first = [[0, 0, 0, 0, 0, 1], [30, 30, 30, 30, 30, 4]]
    said = said_of(tmp_path, first, [[4, 4, 4, 4, 5, 30], [4, 4, 4, 5, 4, 30]])
    assert "New is above SASRec" in said
    assert "includes 0: a difference of these models, not shown to be one of the methods." in said


def test_a_verdict_where_nothing_is_told_apart(tmp_path: Path) -> None:
    said = said_of(tmp_path, [0, 1, 2, 3, 4, 50], [1, 0, 2, 3, 4, 50])
    assert said.startswith("New and SASRec are not told apart by NDCG@10: +0.0000 (95 % interval -0.")
    assert "1 users gain, 1 lose, 4 see no change. A true difference of 0." in said
    assert said.endswith("of other seeds nothing is known, with one of New and of SASRec.")


def test_a_verdict_where_one_row_lacks_seeds(results: Path) -> None:
    assert "(1 and 2)" in (said := verdict(one(results), "New", "SASRec"))
    assert said.endswith("New has one seed, so what chance does to it is not in there.")


def test_rows_without_training_lack_no_seeds(tmp_path: Path) -> None:
    said = said_of(tmp_path / "untrained", A, B[0], learning_curve=())
    assert said.endswith("Neither is trained, so there are no other seeds.")
    pretrained = said_of(tmp_path / "zero-shot", A, B[0], learning_curve=(), pretraining=make_pretraining(1.0))
    assert "of other seeds nothing is known" in pretrained


def test_equal_rows_cannot_be_tested(tmp_path: Path) -> None:
    assert "can't be tested" in said_of(tmp_path, A, A)
    assert one(tmp_path).metrics["NDCG@10"].same == USERS


def test_every_number_is_shown_and_empty_groups_as_such(results: Path) -> None:
    shown = render([one(results)], "New", "SASRec")
    assert shown.startswith("The toy domain (toy): 6 users\n\nNew ")
    lines = [line.split() for line in shown.splitlines()]
    (primary,) = (line for line in lines if line[:1] == ["NDCG@10"] and line[1] == "6")
    said = one(results).metrics["NDCG@10"].test
    assert said is not None
    for number in (
        f"{said.paired.difference:+.4f}",
        f"{said.paired.p:.2g}",
        f"{said.flips:.2g}",
        f"{said.paired.effect:+.3f}",
        f"{said.paired.detectable:.4f}",
        f"{said.high:+.4f}]",
    ):
        assert number in primary
    assert primary[-5:] == ["3", "/", "0", "/", "3"]
    assert ["[10,", "15)", "0", *["-"] * 9, "0", "/", "0", "/", "0"] in lines


@pytest.mark.parametrize(
    ("first", "target", "said"),
    [
        ("Now", None, "did you mean 'New'"),
        ("New", "toys", "did you mean 'toy'"),
        ("SASRec", None, "the same row twice"),
    ],
)
def test_what_cannot_be_compared_is_told_with_the_nearest_right_name(
    results: Path, first: str, target: str | None, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        compare("small", results, first, "SASRec", target)


def test_a_suite_need_not_be_named_where_there_is_but_one(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(None, results, "New", "SASRec") == compare("small", results, "New", "SASRec")
    monkeypatch.setattr(sys, "argv", ["transrec", "compare", "New", "SASRec", "--results", str(results)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 0
    assert "users gain" in capsys.readouterr().out
    (results / "other").mkdir()
    with pytest.raises(InputError, match="name one with --suite: other, small"):
        compare(None, results, "New", "SASRec")
    with pytest.raises(InputError, match="holds no results"):
        compare(None, tmp_path / "nowhere", "New", "SASRec")
