"""The machine a run is made on: its memory, its versions, and the commit of the code."""

from __future__ import annotations

import logging
import os
import platform
import resource
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import torch

from benchmark import __version__
from benchmark.environment import allocator_name
from benchmark.record import Versions


def reset_peak_memory(device: torch.device) -> None:
    """Begin anew to look for the highest memory, of this process where the system can (Linux)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        logging.getLogger(__name__).debug("peak memory can't be reset here: it is that of the process's whole life")


def peak_memory_mb(device: torch.device) -> float:
    """Resident memory at its highest since the last reset, allocated device memory on an accelerator."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def device_name(device: torch.device) -> str:
    """``cpu``, or what the accelerator is called."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


@cache
def versions() -> Versions:
    """The software and the machine, as records name them."""
    processor = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        logging.getLogger(__name__).debug("no /proc/cpuinfo: the processor is named as Python knows it")
    return Versions(
        python=platform.python_version(),
        numpy=np.__version__,
        torch=torch.__version__,
        transrec=__version__,
        platform=f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        processor=processor,
        allocator=allocator_name(),
    )


@cache
def commit() -> str | None:
    """The commit of the checkout this code runs from, with ``+`` where it was changed; None outside one."""
    here = Path(__file__).resolve().parents[1]
    if not (here / ".git").exists():
        return None
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        code = ["git", "status", "--porcelain", "--", "benchmark", "baselines", "unisrec"]
        changed = subprocess.run(code, cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")
