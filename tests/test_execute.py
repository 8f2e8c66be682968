"""Scheduling, with workers that are made up: what is left to others, what the dead leave, and a full disk."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from results_tree import make_job

from benchmark import execute as execute_module
from benchmark import store
from benchmark.claims import claim, hold, is_free
from benchmark.execute import execute, facts_key
from benchmark.jobs import digest
from benchmark.place import Place
from benchmark.plan import Task
from benchmark.runner import Outcome, Taken, run_job
from benchmark.workers import Died


class Scripted:
    """One worker at a time does what the script says of a method, call by call; the last stands for all later ones."""

    def __init__(self, script: dict[str, list[Any]], *, n: int = 2, share_fate: bool = False) -> None:
        self.script, self.n, self.share_fate = script, n, share_fate
        self.begun: list[str] = []
        self.outcomes: dict[Future[Any], Any] = {}
        self.replaced, self.ended = 0, ""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        name = arguments[0].job.method
        calls = self.script.get(name, [OUTCOME])
        outcome = calls[min(self.begun.count(name), len(calls) - 1)]
        self.begun.append(name)
        future: Future[Any] = Future()
        self.outcomes[future] = outcome
        return future

    def wait(self, pending: Collection[Future[Any]], timeout: float | None) -> set[Future[Any]]:
        """The one that was begun first, and with it all where they share its death."""
        first = next(iter(pending))
        death = self.outcomes[first] if isinstance(self.outcomes[first], Died) else None
        done = set(pending) if death and self.share_fate else {first}
        for future in done:
            outcome = death or self.outcomes[future]
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
        return done

    def replace(self) -> None:
        self.replaced += 1

    def stop(self) -> None:
        self.ended = "stopped"

    def close(self) -> None:
        self.ended = "closed"


OUTCOME = Outcome(folder=Path("run"), split="test", ndcg=0.5, seconds=1.0)


class MachineLost(Died):
    by_itself = False


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(execute_module, "LOOK_SECONDS", 0.05)
    return Place(cache=tmp_path / "cache", results=tmp_path / "results", device="cpu")


def task(method: str) -> Task:
    job = make_job(method)
    return Task(job=job, key=digest(method), parts={}, artefact=None)


def run(place: Place, workers: Scripted, *methods: str) -> tuple[dict[str, str], list[str]]:
    """Reasons of failures by method, and what was said."""
    tasks, said = [task(method) for method in methods], []
    facts: Any = {facts_key(each): None for each in tasks}
    failed = execute(tasks, facts, place, workers=workers, say=said.append)
    assert workers.ended == "closed"
    return {failure.task.job.method: failure.reason for failure in failed}, said


def test_what_another_process_is_at_is_left_to_it_and_looked_at_again(place: Place) -> None:
    workers = Scripted({"A": [Taken(), Taken(), OUTCOME]}, n=1)
    failed, said = run(place, workers, "A", "B", "C")
    assert failed == {}
    assert sorted(workers.begun) == ["A", "A", "A", "B", "C"]
    assert workers.begun.index("B") < 2, "others come first"
    assert sum("another process is at it" in line for line in said) == 1


def test_what_another_process_holds_is_not_tried_while_it_does(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    workers, looks = Scripted({"A": [Taken(), OUTCOME]}), []
    held = claim(place.running, digest("A"))
    assert held.__enter__()

    def sleep(seconds: float) -> None:
        looks.append(list(workers.begun))
        if len(looks) == 3:
            held.__exit__(None, None, None)
        original(seconds)

    original = execute_module.time.sleep
    monkeypatch.setattr(execute_module.time, "sleep", sleep)
    run(place, workers, "A")
    assert looks[:3] == [["A"]] * 3
    assert workers.begun == ["A", "A"]


def test_a_key_that_is_held_is_taken_by_nobody_else(place: Place) -> None:
    with hold(place.running, digest("A")):
        assert not is_free(place.running, digest("A"))
        assert is_free(place.running, digest("B"))
        facts: Any = None
        assert run_job(task("A"), facts, place) == Taken()
    assert is_free(place.running, digest("A"))
    assert not place.cache.exists(), "something was done without the claim"


def test_where_all_fall_together_each_is_tried_once_more_alone(place: Place) -> None:
    workers = Scripted({"A": [Died("a worker process died")]}, n=3, share_fate=True)
    failed, _ = run(place, workers, "A", "B", "C", "D")
    assert failed == {"A": "a worker process died"}
    assert workers.begun.count("A") == 2
    assert {workers.begun.count(method) for method in "BCD"} <= {1, 2}
    assert workers.replaced == 2


def test_where_the_dead_are_known_only_they_are_tried_once_more(place: Place) -> None:
    workers = Scripted({"A": [Died("a worker process died")], "B": [Died("out of memory"), OUTCOME]}, n=3)
    failed, _ = run(place, workers, "A", "B", "C")
    assert failed == {"A": "a worker process died"}
    assert sorted(workers.begun) == ["A", "A", "B", "B", "C"]


def test_the_loss_of_a_machine_is_nobodys_fault(place: Place) -> None:
    workers = Scripted({"A": [MachineLost("gone"), MachineLost("gone"), MachineLost("gone"), OUTCOME]}, n=2)
    failed, _ = run(place, workers, "A", "B")
    assert failed == {}
    assert sorted(workers.begun) == ["A", "A", "A", "A", "B"]


def test_a_full_disk_does_not_end_the_others(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "write_failure", full)
    workers = Scripted({"A": [ValueError("what it was")]}, n=1)
    failed, said = run(place, workers, "A", "B")
    assert failed == {"A": "ValueError: what it was; and this could not be noted: No space left on device"}
    assert any("B seed 0: test NDCG@10 0.5000" in line for line in said)


def test_what_is_interrupted_stops_the_workers(place: Place) -> None:
    workers = Scripted({})
    workers.wait = lambda pending, timeout: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        execute([task("A")], {facts_key(task("A")): None}, place, workers=workers, say=lambda line: None)  # type: ignore[dict-item]
    assert workers.ended == "stopped"
