"""What the fast path costs in quality: whole packed sequences in bfloat16 beside prefix rows in float32."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from baselines.sasrec import SASRec
from benchmark.batches import Windows, prefix_windows
from benchmark.domain import Sequences
from benchmark.formats.unisrec import read_unisrec
from benchmark.jobs import derive_seed
from benchmark.layers import Sizes
from benchmark.method import Material
from benchmark.metrics import per_user
from benchmark.rank import rank
from benchmark.significance import paired_t
from benchmark.splits import leave_one_out
from benchmark.train import Training, train

SCIENTIFIC = Path(__file__).parents[1].parent / "shared" / "data" / "Scientific" / "Scientific"
SEEDS = range(5)
WIDTH = 64
MARGIN = 0.05
"""Of the reference's NDCG@10: a loss that may not be ruled out beyond it would make the fast path another method."""


class PrefixRows(SASRec):
    """One row a prefix, as the reference stack stores its training set; rows of like length share a packed row."""

    def windows(self, sequences: Sequences) -> Windows:
        return prefix_windows(sequences)


def quality(seed: int, *, fast: bool) -> tuple[list[float], int, float]:
    """NDCG@10 of each user on test, the epochs that were run, and the seconds they took."""
    torch.set_num_threads(1)
    split = leave_one_out(read_unisrec(SCIENTIFIC, "amazon2018-scientific"))
    torch.manual_seed(derive_seed(seed, "initial weights"))
    material = Material(n_items=split.n_items, train=split.train)
    model = (SASRec if fast else PrefixRows)(Sizes(width=WIDTH), material)
    trained = train(model, split, Training(precision="bfloat16" if fast else "float32"), seed)
    ranks = rank(model, split.test, split.n_items)
    seconds = sum(epoch.train_seconds + epoch.rank_seconds for epoch in trained.curve)
    return per_user("NDCG@10", ranks.greater, ranks.equal).tolist(), len(trained.curve), seconds


@pytest.mark.soak
@pytest.mark.skipif(not SCIENTIFIC.parent.is_dir(), reason=f"no real data in {SCIENTIFIC.parent}")
def test_the_fast_path_is_as_good_as_prefix_rows_in_float32(capsys: pytest.CaptureFixture[str]) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, context) as pool:
        fast, slow = (list(pool.map(partial(quality, fast=way), SEEDS)) for way in (True, False))
    with capsys.disabled():
        for name, runs in (("whole sequences, bfloat16", fast), ("prefix rows, float32", slow)):
            means = ", ".join(f"{np.mean(values):.4f}" for values, _, _ in runs)
            epochs, seconds = sum(run[1] for run in runs), sum(run[2] for run in runs)
            print(f"\n{name}: NDCG@10 {means}; {epochs} epochs, {seconds / epochs:.2f} s each", end="")
        ours, theirs = (np.mean([values for values, _, _ in runs], axis=0) for runs in (fast, slow))
        found = paired_t(ours, theirs)
        print(f"\ndifference {found.difference:+.4f} [{found.low:+.4f}, {found.high:+.4f}] of {theirs.mean():.4f}")
    assert found.low > -MARGIN * theirs.mean()
