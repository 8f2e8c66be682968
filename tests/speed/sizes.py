"""How much is measured: the real sizes, and tiny ones that only show that the suite works."""

from __future__ import annotations

from dataclasses import dataclass

THREADS = 2
BATCH_TARGETS = 2048
"""(prefix, next item) pairs a step, of every method measured."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Size of a generated domain."""

    users: int
    items: int
    interactions: int
    shortest: int
    """Interactions of the user with the fewest."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    target: Shape
    widths: tuple[int, ...]
    rounds: int
    """Repeats, in which the contenders take turns."""
    reference_steps: int
    """Steps of its epoch that RecBole is timed for in a round; the rest is scaled."""
    reference_warm_up: int
    sources: Shape
    """Training part of the merged source domains."""
    text_width: int
    pretraining_steps: int
    catalogue: int
    """Items to rank among."""
    catalogue_width: int
    rankers: tuple[int, ...]
    """Users to rank for."""
    softmax_items: int
    softmax_width: int
    interactions: tuple[int, ...]
    items: tuple[int, ...]
    lengths: tuple[int, ...]
    fixed_interactions: int
    """Interactions where items or lengths grow."""
    fixed_items: int
    """Items where interactions or lengths grow."""
    matrix: int
    """Rows and columns of the matrices whose product gives the machine's peak."""


FULL = Sizes(
    target=Shape(users=8_442, items=4_385, interactions=59_427, shortest=5),
    widths=(300, 64),
    rounds=3,
    reference_steps=4,
    reference_warm_up=2,
    sources=Shape(users=162_861, items=88_978, interactions=1_077_632, shortest=3),
    text_width=384,
    pretraining_steps=20,
    catalogue=1_000_000,
    catalogue_width=64,
    rankers=(1_000, 10_000),
    softmax_items=450_000,
    softmax_width=300,
    interactions=(50_000, 158_000, 500_000, 1_580_000, 5_000_000),
    items=(1_000, 3_000, 10_000, 30_000, 100_000),
    lengths=(5, 10, 20, 35, 50),
    fixed_interactions=200_000,
    fixed_items=1_000,
    matrix=2_048,
)

QUICK = Sizes(
    target=Shape(users=400, items=150, interactions=3_000, shortest=5),
    widths=(16, 8),
    rounds=2,
    reference_steps=1,
    reference_warm_up=1,
    sources=Shape(users=900, items=300, interactions=12_000, shortest=3),
    text_width=12,
    pretraining_steps=1,
    catalogue=40_000,
    catalogue_width=8,
    rankers=(20, 600),
    softmax_items=5_000,
    softmax_width=8,
    interactions=(1_500, 3_000),
    items=(100, 300),
    lengths=(5, 10),
    fixed_interactions=1_500,
    fixed_items=100,
    matrix=128,
)
