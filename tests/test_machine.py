"""Memory of this process: what is freed is given back where much has piled up."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmark import machine


def resident_mb() -> float:
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) / 1024


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is given back on Linux only")
@pytest.mark.parametrize(("retained_mb", "given_back"), [(0, True), (10**6, False)])
def test_freed_memory_is_given_back_above_a_bound(
    retained_mb: int, given_back: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 3,000 pieces of 100 kB, too small to be mapped each by itself, all but every tenth are freed."""
    monkeypatch.setattr(machine, "RETAINED_MB", retained_mb)
    machine.give_back_memory()
    blocks = [np.ones(100_000 // 8) for _ in range(3_000)]
    kept = blocks[::10]
    del blocks
    before = resident_mb()
    machine.give_back_memory()
    assert (before - resident_mb() > 100) == given_back
    assert len(kept) == 300
