"""Estimates of a job's time come from stored runs, and from nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from results_tree import make_job, make_pretraining, make_ranks, make_record, make_source

from benchmark.forecast import Estimate, Forecast, Size, in_words
from benchmark.hardware import Hardware
from benchmark.jobs import Pretraining
from benchmark.outlook import say_forecast
from benchmark.place import Place
from benchmark.plan import Named
from benchmark.record import Cost, Epoch, Record


def run(method: str, target: str, users: int, items: int, interactions: int, pace: float, epochs: int = 4) -> Record:
    """A run whose epochs take ``pace`` times (1 ms a training interaction + 1 us an interaction and item)."""
    training = interactions - 2 * users
    seconds = pace * (training * 1e-3 + training * items * 1e-6)
    ranks = make_ranks([0] * users)
    return make_record(
        make_job(method, target),
        ranks,
        target={"users": users, "items": items, "interactions": interactions},
        learning_curve=tuple(Epoch(epoch=n + 1, loss=1.0, valid=0.1, seconds=seconds) for n in range(epochs)),
        cost=Cost(wall_seconds=9_999, core_seconds=epochs * seconds + 1, peak_memory_mb=1.0, device="cpu", threads=1),
    )


def seconds(forecast: Forecast, method: str, target: str, size: Size) -> float:
    estimate = forecast.run(method, target, size)
    assert estimate is not None
    return estimate.seconds


RUNS = (
    run("SASRec", "small", 10, 100, 1_020, pace=1.0),
    run("SASRec", "large", 10, 4_000, 5_020, pace=1.0),
    run("Slow", "small", 10, 100, 1_020, pace=3.0, epochs=6),
)


def test_the_same_method_on_the_same_target_takes_as_long_again() -> None:
    size = Size(users=10, items=100, interactions=1_020)
    assert seconds(Forecast(RUNS), "SASRec", "small", size) == pytest.approx(4 * 1.1 + 1)


@pytest.mark.parametrize(("device", "seconds"), [("cpu", 200.0), ("NVIDIA H100", 700.0)])
def test_a_busy_machine_makes_no_run_longer_and_a_gpu_is_not_timed_by_its_host(device: str, seconds: float) -> None:
    cost = Cost(wall_seconds=700.0, core_seconds=400.0, peak_memory_mb=1.0, device=device, threads=2)
    runs = [record.model_copy(update={"cost": cost}) for record in RUNS]
    size = Size(users=10, items=100, interactions=1_020)
    assert Forecast(runs).run("Slow", "small", size) == Estimate(seconds=seconds, guessed=False)


def test_a_method_keeps_its_pace_and_its_epochs_on_another_target() -> None:
    forecast = Forecast(RUNS)
    size = Size(users=10, items=4_000, interactions=5_020)
    assert seconds(forecast, "Slow", "other", size) > 2 * seconds(forecast, "SASRec", "other", size)


def test_a_method_that_was_never_run_is_guessed_by_the_pace_of_the_others() -> None:
    size = Size(users=10, items=4_000, interactions=5_020)
    guess = Forecast(RUNS[:2]).run("Unheard-of", "other", size)
    assert guess is not None
    assert guess.guessed
    assert guess.seconds == pytest.approx(30 * 25.0)


def test_nothing_is_made_up_where_nothing_is_stored() -> None:
    assert Forecast([]).run("SASRec", "small", Size(users=1, items=1, interactions=3)) is None
    nothing_to_train_on = [run("SASRec", "other", 10, 100, 20, pace=1.0)]
    assert Forecast(nothing_to_train_on).run("SASRec", "small", Size(users=1, items=1, interactions=3)) is None


@pytest.mark.parametrize(("seconds", "words"), [(3.4, "3 s"), (89, "89 s"), (600, "10 min"), (7200, "2.0 h")])
def test_durations_are_readable(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_few_users_take_less_time_and_a_few_shot_run_is_no_full_run() -> None:
    few = RUNS[0].model_copy(update={"job": make_job("SASRec", "small", setting="few-shot", few_shot=0.1)})
    forecast, size = Forecast([*RUNS, few]), Size(users=100, items=100, interactions=10_200)
    assert size.of(0.1) == Size(users=10, items=100, interactions=1_020)
    full, tenth = (forecast.run("Slow", "other", size, share) for share in (None, 0.1))
    assert full is not None
    assert tenth is not None
    assert tenth.seconds == pytest.approx(full.seconds / 10)
    assert seconds(Forecast(RUNS[:1]), "SASRec", "small", size) == pytest.approx(4 * 1.1 + 1)
    only_few = Forecast([few]).run("SASRec", "small", size)
    assert only_few is not None
    assert only_few.seconds != pytest.approx(4 * 1.1 + 1), "a few-shot run was taken for a full one"


def test_pre_training_takes_time_by_epochs_and_training_interactions() -> None:
    """600 s for 4 epochs of (400 - 2 * 50) pairs: half a second a pair and epoch."""
    spec = Pretraining(family="F", version=1, sources=("a",), encoder="hash", config={}, epochs=4, seed=0)
    made = RUNS[0].model_copy(
        update={
            "job": make_job(pretraining=spec),
            "pretraining": make_pretraining(300.0),
            "sources": (make_source("a"),),
        }
    )
    sources = [Size(users=10, items=5, interactions=120), Size(users=5, items=5, interactions=60)]
    assert Forecast([made]).pretraining("F", sources, 10) == Estimate(seconds=10 * 150 * 0.5, guessed=False)
    assert Forecast([made]).pretraining("G", sources, 10) == Estimate(seconds=10 * 150 * 0.5, guessed=True)
    assert Forecast(RUNS).pretraining("F", sources, 10) is None


QUICK, SLOW = (Hardware(device="cpu", precision=precision) for precision in ("bfloat16", "float32"))


def on(hardware: Hardware, record: Record) -> Record:
    cost = record.cost.model_copy(update={"device": hardware.device})
    parts = record.key_parts | {"training": {"precision": hardware.precision}}
    return record.model_copy(update={"cost": cost, "key_parts": parts})


def test_hardware_is_told_by_device_and_precision() -> None:
    assert Hardware.of(on(QUICK, RUNS[0])) == QUICK
    assert (
        str(Hardware.of(on(Hardware(device="NVIDIA H100", precision="bfloat16"), RUNS[0]))) == "bfloat16 on NVIDIA H100"
    )


def test_runs_of_slower_hardware_tell_how_much_slower_it_is_and_change_no_estimate() -> None:
    """SASRec takes five times as long there, on a target that was run nowhere else."""
    usual = [on(QUICK, record) for record in RUNS[:2]]
    slow = on(SLOW, run("SASRec", "other", 10, 1_000, 2_020, pace=5.0, epochs=4))
    forecast = Forecast([*usual, slow])
    assert forecast.usual == QUICK
    assert forecast.slowness == {QUICK: 1.0, SLOW: pytest.approx(5.0)}
    small, other = Size(users=10, items=100, interactions=1_020), Size(users=10, items=1_000, interactions=2_020)
    assert seconds(forecast, "SASRec", "small", small) == seconds(Forecast(usual), "SASRec", "small", small)
    assert seconds(forecast, "SASRec", "other", other) == pytest.approx((4 * 5 * (2.0 + 2.0) + 1) / 5)


def test_hardware_whose_methods_were_run_nowhere_else_is_told_by_all_methods() -> None:
    usual = [on(QUICK, record) for record in RUNS[:2]]
    forecast = Forecast([*usual, on(SLOW, RUNS[2])])
    assert forecast.slowness == {QUICK: 1.0, SLOW: pytest.approx(3.0)}
    estimate = forecast.run("Slow", "small", Size(users=10, items=100, interactions=1_020))
    assert estimate is not None
    assert not estimate.guessed
    assert estimate.seconds == pytest.approx((6 * 3 * 1.1 + 1) / 3)


@pytest.mark.parametrize(
    ("hardware", "lines"),
    [
        (
            QUICK,
            ["to run: small SASRec, 2 x, about 5 s each", "in all about 11 s of one worker, pre-training included"],
        ),
        (
            SLOW,
            ["to run: small SASRec, 2 x, about 27 s each", "in all about 54 s of one worker, pre-training included"],
        ),
        (
            Hardware(device="NVIDIA H100", precision="bfloat16"),
            [
                "to run: small SASRec, 2 x, about 5 s each",
                "in all about 11 s of one worker, pre-training included",
                "these are times of bfloat16 on cpu; nothing tells how long bfloat16 on NVIDIA H100 takes",
            ],
        ),
    ],
)
def test_a_plan_is_told_in_the_time_of_the_hardware_at_hand(
    hardware: Hardware, lines: list[str], tmp_path: Path
) -> None:
    slow = on(SLOW, run("SASRec", "other", 10, 1_000, 2_020, pace=5.0))
    forecast = Forecast([*(on(QUICK, record) for record in RUNS[:2]), slow])
    waiting = [Named(job=make_job("SASRec", "small", seed=seed, training={"epochs": 4}), label=None) for seed in (0, 1)]
    sizes = {"small": Size(users=10, items=100, interactions=1_020)}
    place = Place(cache=tmp_path, results=tmp_path, device="cpu")
    said: list[str] = []
    say_forecast([], waiting, sizes, forecast, hardware, place, said.append)
    assert said == lines


def test_pre_training_on_slower_hardware_is_told_in_the_time_of_the_usual() -> None:
    spec = Pretraining(family="F", version=1, sources=("a",), encoder="hash", config={}, epochs=4, seed=0)
    made = run("SASRec", "small", 10, 100, 1_020, pace=5.0).model_copy(
        update={
            "job": make_job("SASRec", "small", pretraining=spec),
            "pretraining": make_pretraining(300.0),
            "sources": (make_source("a"),),
        }
    )
    sources = [Size(users=10, items=5, interactions=120)]
    alone, beside = Forecast([on(SLOW, made)]), Forecast([*(on(QUICK, record) for record in RUNS), on(SLOW, made)])
    assert alone.pretraining("F", sources, 4) == Estimate(seconds=4 * 100 * 0.5, guessed=False)
    estimate = beside.pretraining("F", sources, 4)
    assert estimate is not None
    assert estimate.seconds == pytest.approx(4 * 100 * 0.5 / beside.slowness[SLOW])
