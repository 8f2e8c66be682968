"""What holds for every test: no network, and property tests that give the same verdict every time."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# Read by huggingface_hub when it is imported, so before any test module is.
os.environ["HF_HUB_OFFLINE"] = "1"

# Without a deadline: a busy machine is slow, not wrong.
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports of this process without figures, which take seconds: for tests of what comes before them."""
    monkeypatch.setattr("benchmark.report.leaderboard.write_figures", lambda parts, board, alike, folder: ())
