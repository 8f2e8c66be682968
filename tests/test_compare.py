"""`transrec compare`: two rows of a suite, paired over users."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from results_tree import USERS, make_job, store_context, store_run
from scipy import stats

from benchmark.errors import InputError
from benchmark.metrics import per_user
from benchmark.report.compare import compare, render

A, B = [0, 1, 2, 3, 4, 50], [[1, 1, 9, 3, 20, 50], [0, 1, 5, 3, 30, 50]]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    store_context(tmp_path)
    store_run(tmp_path, make_job("New"), A)
    for seed, greater in enumerate(B):
        store_run(tmp_path, make_job("SASRec", seed=seed), greater)
    return tmp_path


def test_users_are_paired_after_averaging_over_seeds(results: Path) -> None:
    found = {c.metric: c for c in compare("small", results, "New", "SASRec")}
    zeros = np.zeros(USERS, np.int32)
    a = per_user("NDCG@10", np.array(A), zeros)
    b = np.mean([per_user("NDCG@10", np.array(greater), zeros) for greater in B], axis=0)
    paired = found["NDCG@10"].paired
    assert found["NDCG@10"].first == pytest.approx(a.mean())
    assert paired.difference == pytest.approx((a - b).mean())
    assert paired.p == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert "+" in render(list(found.values()), "New", "SASRec")


@pytest.mark.parametrize(
    ("first", "target", "said"), [("Now", None, "did you mean 'New'"), ("New", "toys", "did you mean 'toy'")]
)
def test_unknown_names_are_told_with_the_nearest_right_one(
    results: Path, first: str, target: str | None, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        compare("small", results, first, "SASRec", target)
