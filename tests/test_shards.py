"""Shards: every job in one of them, whoever asks and whenever; about as long each; what shares weights together."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from in_process import jobs_run_here
from results_tree import make_job
from test_campaign import Place

from benchmark.errors import InputError
from benchmark.shards import ALLOWED, Shard, agreed, costs, split

COSTS = st.lists(st.floats(0.1, 1000), min_size=1, max_size=60)


@pytest.mark.parametrize(
    "text", ["0/4", "5/4", "x", "", "/", "1/", "/4", "1/0", "0/0", "-1/4", "1.5/4", "1/4/2", "²/4"]
)
def test_bad_shards_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--shard"):
        Shard.parse(text)


def test_a_shard_is_read() -> None:
    assert Shard.parse("2/4") == Shard(number=2, of=4)
    assert str(Shard.parse("01/1")) == "1/1"


@given(given_costs=COSTS, n=st.integers(1, 9), shared=st.integers(1, 5))
def test_the_longest_shard_is_near_the_mean(given_costs: list[float], n: int, shared: int) -> None:
    """Whatever is to be done: a shard is over the mean by at most the longest job (Graham), but for what is allowed."""
    artefacts = [f"weights {job % shared}" if job % 2 else None for job in range(len(given_costs))]
    found = split(given_costs, artefacts, n)
    assert len(found) == len(given_costs)
    loads = [
        sum(cost for cost, shard in zip(given_costs, found, strict=True) if shard == number) for number in range(n)
    ]
    assert max(loads) <= ALLOWED * (sum(given_costs) / n + max(given_costs)) + 1e-6
    assert split(given_costs, artefacts, n) == found


def test_without_forecasts_it_is_round_robin() -> None:
    assert split([1.0] * 7, [None] * 7, 3) == [0, 1, 2, 0, 1, 2, 0]


def test_the_longest_goes_first_to_where_least_is_to_be_done() -> None:
    """By hand: 8 | 7, 8 | 7 + 6, 8 + 5 | 13, and the 4 to the first of two equal ones."""
    assert split([4.0, 8.0, 5.0, 7.0, 6.0], [None] * 5, 2) == [0, 0, 0, 1, 1]


def test_what_shares_weights_stays_together_unless_that_takes_longer() -> None:
    assert split([1.0] * 4, ["a", "b", "a", "b"], 2) == [0, 1, 0, 1]
    assert split([1.0] * 4, ["a", "a", "b", "b"], 2) == [0, 0, 1, 1]
    assert sorted(split([1.0] * 4, ["a", "a", "a", None], 2)) == [0, 0, 1, 1], "three against one is no balance"


def test_costs_are_forecasts_where_there_are_any() -> None:
    trained, counts = make_job(training={"epochs": 3}), make_job("Popularity", training={})
    jobs = [trained, trained, trained, counts]
    assert costs(jobs, [10.0, None, 30.0, None]) == [10.0, 20.0, 30.0, 1.0]
    assert costs(jobs, [None] * 4) == [1.0] * 4


def test_who_comes_later_takes_what_the_first_found(tmp_path: Path) -> None:
    jobs = [make_job(seed=seed) for seed in range(3)]
    assert agreed(jobs, [0, 1, 1], 2, tmp_path, write=False) == [0, 1, 1]
    assert list(tmp_path.iterdir()) == [], "a dry run leaves nothing"
    assert agreed(jobs, [0, 1, 0], 2, tmp_path, write=True) == [0, 1, 0]
    assert agreed(jobs, [1, 1, 0], 2, tmp_path, write=True) == [0, 1, 0]
    assert agreed(jobs, [1, 1, 0], 2, tmp_path, write=False) == [0, 1, 0]
    assert agreed(jobs, [2, 1, 0], 3, tmp_path, write=True) == [2, 1, 0], "of another number of shards"
    (path,) = [path for path in tmp_path.glob("*.json") if "2" not in path.read_text()]
    path.write_text("[0, 1")
    assert agreed(jobs, [1, 1, 0], 2, tmp_path, write=True) == [1, 1, 0], "a damaged split is made again"


def test_shards_together_are_the_suite_and_the_last_report_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs_run_here(monkeypatch)
    place = Place(tmp_path)
    rows = {"methods": ["Popularity", "Markov", "TextKNN"], "targets": ["demo-shop", "demo-workshop"], "config": {}}
    suite = place.suite(**rows)
    first = place.transrec("run", suite, "--shard", "2/2", "--workers", "1")
    assert first.code == 0, first.err
    assert "shard 2/2: 3 of 6 jobs" in first.out
    assert len(place.ranks()) == 3
    report = (tmp_path / "reports" / "tiny" / "README.md").read_text(encoding="utf-8")
    assert report.count("not run yet") == 3, "what other shards are to do is planned"
    ran = set(place.ranks())
    second = place.transrec("run", suite, "--shard", "1/2", "--workers", "1")
    assert second.code == 0, second.err
    assert "3 jobs, 0 already stored" in second.out
    assert len(place.ranks()) == 6
    assert ran < set(place.ranks())
    assert "not run yet" not in (tmp_path / "reports" / "tiny" / "README.md").read_text(encoding="utf-8")
    assert place.transrec("verify", place.results).code == 0


def test_a_bad_shard_is_a_mistake_and_leaves_nothing(tmp_path: Path) -> None:
    place = Place(tmp_path)
    done = place.transrec("run", place.suite(), "--shard", "5/4")
    assert done.code == 2
    assert "--shard 5/4: shards are counted from 1 to n" in done.err
    assert not place.results.exists()
