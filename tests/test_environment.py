"""What processes that train are started with: runs stay the same, freed memory is given back."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from benchmark import environment
from benchmark.environment import better_allocator
from benchmark.train import adam, run_epoch
from benchmark.workers import Pool

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")
needs_jemalloc = pytest.mark.skipif(not better_allocator(), reason="jemalloc is not installed, or LD_PRELOAD is set")


@pytest.fixture
def looked_for_anew() -> Iterator[None]:
    better_allocator.cache_clear()
    yield
    better_allocator.cache_clear()


@contextmanager
def worker() -> Iterator[Callable[..., Any]]:
    """Calls a function in a process of its own, as the suite starts them."""
    pool = Pool(1)
    try:
        yield lambda function, *arguments: pool.submit(function, *arguments).result(120)
    finally:
        pool.close()


def resident_mb() -> float:
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) / 1024


def given_back_mb(bound_mb: float) -> tuple[float, float, float]:
    """Of 300 MB in pieces of 100 kB, too small to be mapped each by itself, all but every tenth of which are freed.

    Also what is resident afterwards, and the bound that comes next.
    """
    environment.give_back_memory(0)
    blocks = [np.ones(100_000 // 8) for _ in range(3_000)]
    kept = blocks[::10]
    del blocks
    before = resident_mb()
    following = environment.give_back_memory(bound_mb)
    assert len(kept) == 300
    return before - resident_mb(), resident_mb(), following


def variables() -> dict[str, str]:
    return dict(os.environ)


def trained() -> bytes:
    """Weights after some steps of changing sizes."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(48, 64), torch.nn.GELU(), torch.nn.LayerNorm(64), torch.nn.Linear(64, 7)
    )
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    for size in range(600, 300, -7):
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(torch.randn(size, 48)).logsumexp(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return b"".join(weights.detach().numpy().tobytes() for weights in model.parameters())


@linux
@pytest.mark.parametrize("preloads", [pytest.param(True, marks=needs_jemalloc), False])
@pytest.mark.parametrize(("bound_mb", "given_back"), [(0.0, True), (1e6, False)])
def test_freed_memory_is_given_back_above_a_bound(
    bound_mb: float, given_back: bool, preloads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not preloads:
        monkeypatch.setattr("benchmark.workers.worker_environment", dict)
    with worker() as call:
        assert call(environment.allocator_name) == ("jemalloc" if preloads else None)
        less, left, following = call(given_back_mb, bound_mb)
    assert (less > 100) == given_back
    assert following == pytest.approx(1.5 * left, rel=0.02) if given_back else following == bound_mb


class Scales(torch.nn.Linear):
    """The least that `run_epoch` can train; any object with targets is a batch of it."""

    def loss(self, batch: Any) -> torch.Tensor:
        return self(batch.targets_T[:, None]).mean()


def test_training_asks_after_every_step_with_the_bound_that_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """What piles up within one long epoch is bounded too."""
    asked: list[float] = []

    def give_back(bound_mb: float) -> float:
        asked.append(bound_mb)
        return bound_mb + 1

    monkeypatch.setattr("benchmark.train.give_back_memory", give_back)
    batch = SimpleNamespace(targets_T=torch.ones(3), to=lambda device: batch)
    model: Any = Scales(1, 1)
    batches: Any = [batch] * 4
    run_epoch(model, adam(model, 1e-3), batches, "float32", torch.device("cpu"))
    assert asked == [2500, 2501, 2502, 2503]


@needs_jemalloc
def test_workers_start_with_jemalloc_and_nobody_else_does() -> None:
    with worker() as call:
        assert call(environment.allocator_name) == "jemalloc"
        assert "jemalloc" in call(variables)["LD_PRELOAD"]
    assert environment.allocator_name() is None


def test_workers_have_what_is_best_beside_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRU_CACHE_CAPACITY", "77")
    before = dict(os.environ)
    with worker() as call:
        found = call(variables)
    assert found["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "6144"
    assert found["LRU_CACHE_CAPACITY"] == "77"
    assert before.items() <= found.items()
    assert dict(os.environ) == before


def test_training_is_the_same_to_the_last_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    with worker() as call:
        fast = call(trained)
    monkeypatch.setattr("benchmark.workers.worker_environment", dict)
    with worker() as call:
        assert environment.KERNELS.keys().isdisjoint(call(variables))
        plain = call(trained)
    assert fast == plain


@linux
@pytest.mark.usefixtures("looked_for_anew")
@pytest.mark.parametrize("name", ["LD_PRELOAD", "MALLOC_CONF"])
def test_what_a_user_sets_is_left_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.util.find_library", lambda name: pytest.fail("looked for, though it would not be used"))
    monkeypatch.setenv(name, "")
    assert better_allocator() == {}


@linux
@pytest.mark.usefixtures("looked_for_anew")
def test_a_library_that_cannot_be_used_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loader says so on standard error and goes on, which would stand in every worker's output."""
    for name in ("LD_PRELOAD", "MALLOC_CONF"):
        monkeypatch.delenv(name, raising=False)
    broken = tmp_path / "lib" / "libjemalloc.so.2"
    broken.parent.mkdir()
    broken.write_text("not a library")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert better_allocator() == {}
