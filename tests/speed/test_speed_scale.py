"""How time and memory grow: pre-training, large catalogues, and a training epoch on ever more data."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from .fresh import WIDTH, growing, in_fresh_process, pretraining, ranking, softmax
from .sizes import BATCH_TARGETS, Sizes

pytestmark = pytest.mark.speed


def once(benchmark: Any, work: Callable[[], Any]) -> Any:
    """Repeats are the work's own, inside its process."""
    return benchmark.pedantic(work, rounds=1, iterations=1)


def test_pretraining_epoch(sizes: Sizes, benchmark: Any) -> None:
    found = once(benchmark, partial(in_fresh_process, pretraining, sizes))
    sources = sizes.sources
    benchmark.extra_info.update(
        kind="pretraining",
        users=sources.users,
        items=sources.items,
        interactions=sources.interactions,
        text_width=sizes.text_width,
        **found,
    )


def test_ranking_among_many_items(sizes: Sizes, benchmark: Any) -> None:
    points = once(benchmark, lambda: [in_fresh_process(ranking, sizes, users) for users in sizes.rankers])
    benchmark.extra_info.update(kind="ranking", items=sizes.catalogue, width=sizes.catalogue_width, points=points)


def test_cross_entropy_over_many_items(sizes: Sizes, benchmark: Any) -> None:
    precisions = ("float32", "bfloat16")
    points = once(benchmark, lambda: [in_fresh_process(softmax, sizes, precision) for precision in precisions])
    benchmark.extra_info.update(
        kind="softmax", items=sizes.softmax_items, width=sizes.softmax_width, rows=BATCH_TARGETS, points=points
    )


@pytest.mark.parametrize("axis", ["interactions", "items", "length"])
def test_growth(axis: str, sizes: Sizes, benchmark: Any) -> None:
    values = {"interactions": sizes.interactions, "items": sizes.items, "length": sizes.lengths}[axis]
    points = once(benchmark, lambda: [in_fresh_process(growing, axis, value, sizes) for value in values])
    fixed = {"interactions": sizes.fixed_interactions, "items": sizes.fixed_items}
    fixed.pop(axis, None)
    benchmark.extra_info.update(kind="growth", axis=axis, width=WIDTH, fixed=fixed, points=points)
