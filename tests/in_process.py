"""Whole commands in a test's own process: a worker process takes longer to start than a tiny suite's jobs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch


def jobs_run_here(patch: pytest.MonkeyPatch) -> None:
    """Jobs run one after another in a thread of this process, and reports are not drawn."""
    torch.set_num_threads(1)
    patch.setattr("benchmark.workers.Pool._new", lambda workers: ThreadPoolExecutor(1))
    patch.setattr("benchmark.report.leaderboard.write_figures", lambda parts, board, alike, folder: ())
