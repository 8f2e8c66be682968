"""What processes that train are started with, and what they give back to the system. Outcomes are the same to the bit.

Batches of changing sizes, and the kernels that oneDNN makes for each size in between, leave glibc's heap in thousands
of pieces, through which it searches at every large allocation. jemalloc does not search. And the kernels of an epoch's
sizes are more than oneDNN keeps by itself, so that it would make them ever again. What both save: docs/cost.md.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import logging
import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

RETAINED_MB = 2_500.0
"""Of resident memory, from which `give_back_memory` gives back what is not in use."""
GROWTH = 1.5
"""What resident memory may then come to, relative to what was left, before it does so again."""
JEMALLOC = {"MALLOC_CONF": "oversize_threshold:0,dirty_decay_ms:-1,muzzy_decay_ms:-1"}
"""What is freed is kept for the next step, the largest tensors too: mapping it anew takes a sixth of an epoch. So
nothing but `give_back_memory` bounds what piles up."""
ALL_ARENAS = 4096
"""jemalloc's MALLCTL_ARENAS_ALL."""
KERNELS = dict.fromkeys(("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"), "6144")
"""What oneDNN keeps, and PyTorch of it, instead of 1,024 kernels each: those of all sizes in an epoch."""


def give_back_memory(bound_mb: float = RETAINED_MB) -> float:
    """Return freed memory to the system where more than ``bound_mb`` is resident; the bound to ask with next time.

    Where buffers change their sizes, an allocator keeps ever more of what is free between them (glibc and jemalloc;
    with others this does nothing). What is used next has to be mapped anew, hence the bound, and hence a higher one
    where most of it is in use.
    """
    try:
        if _resident_mb() <= bound_mb:
            return bound_mb
        if allocator_name() == "jemalloc":
            ctypes.CDLL(None).mallctl(f"arena.{ALL_ARENAS}.purge".encode(), None, None, None, ctypes.c_size_t(0))
        else:
            ctypes.CDLL(None).malloc_trim(0)
        return max(bound_mb, GROWTH * _resident_mb())
    except (OSError, AttributeError):
        logging.getLogger(__name__).debug("freed memory can't be given back here")
        return bound_mb


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


@cache
def allocator_name() -> str | None:
    """What stands in place of the C library's allocator in this process: ``jemalloc``, or None."""
    try:
        return "jemalloc" if hasattr(ctypes.CDLL(None), "mallctl") else None
    except (OSError, TypeError):
        return None


def worker_environment() -> Mapping[str, str]:
    """Variables with which a process that trains is started, beside those there are, none of which is among them."""
    return better_allocator() | {name: value for name, value in KERNELS.items() if name not in os.environ}


@cache
def better_allocator() -> dict[str, str]:
    """Variables of the environment with which a process starts with jemalloc; none where that is not to be had.

    Looked for where the system keeps its libraries and beside Python (conda). Whoever sets LD_PRELOAD or MALLOC_CONF,
    if only to nothing, is not interfered with. Linux only.
    """
    if not sys.platform.startswith("linux") or {"LD_PRELOAD", "MALLOC_CONF"} & os.environ.keys():
        return {}
    beside = Path(sys.prefix, "lib", "libjemalloc.so.2")
    library = str(beside) if beside.exists() else ctypes.util.find_library("jemalloc")
    if library is None:
        return {}
    variables = JEMALLOC | {"LD_PRELOAD": library}
    works = [sys.executable, "-c", "import ctypes; ctypes.CDLL(None).mallctl"]
    try:
        tried = subprocess.run(works, env=os.environ | variables, capture_output=True, check=False)
    except OSError:
        return {}
    return variables if tried.returncode == 0 else {}
