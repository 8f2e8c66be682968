"""Generated domains of a given size: what is measured depends on sizes and lengths, not on what anybody likes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmark.domain import Domain, Sequences
from benchmark.formats.unisrec import read_unisrec

from .sizes import Shape

SCIENTIFIC = Path(__file__).parents[2].parent / "shared" / "data" / "Scientific" / "Scientific"
"""The released split, where it lies beside the repository."""
SPREAD = 1.2
"""Of log-normal lengths: gives quartiles and the 99.9th percentile of Amazon's Scientific (5, 6, 8; 39)."""


def sequences(shape: Shape, seed: int = 0) -> Sequences:
    """Long-tailed lengths of exactly the given total, items of long-tailed popularity."""
    rng = np.random.default_rng(seed)
    weights = rng.lognormal(0, SPREAD, shape.users)
    extra = rng.multinomial(shape.interactions - shape.shortest * shape.users, weights / weights.sum())
    offsets = np.zeros(shape.users + 1, np.int64)
    np.cumsum(shape.shortest + extra, out=offsets[1:])
    return Sequences(popular_items(shape.interactions, shape.items, rng), offsets)


def popular_items(n: int, n_items: int, rng: np.random.Generator) -> np.ndarray:
    """Items drawn by a power law of their rank, int32 [n]."""
    share = np.cumsum((np.arange(n_items) + 4.0) ** -0.65)
    return np.searchsorted(share / share[-1], rng.random(n)).clip(max=n_items - 1).astype(np.int32)


def domain(shape: Shape) -> Domain:
    """A domain without texts."""
    return Domain(
        name="generated",
        sequences=sequences(shape),
        item_ids=tuple(map(str, range(shape.items))),
        user_ids=tuple(map(str, range(shape.users))),
        texts=("",) * shape.items,
    )


def target(shape: Shape, *, real: bool) -> Domain:
    """Scientific as released where it is at hand and wanted, else a domain of its shape."""
    if real and SCIENTIFIC.parent.is_dir():
        return read_unisrec(SCIENTIFIC, "amazon2018-scientific")
    return domain(shape)


def text(n_items: int, width: int, seed: int = 0) -> np.ndarray:
    """Vectors where those of a language model would stand, float32 [n_items, width]."""
    return np.random.default_rng(seed).standard_normal((n_items, width), np.float32) / np.sqrt(width, dtype=np.float32)
