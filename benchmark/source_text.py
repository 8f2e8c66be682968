"""The encoded texts of all sources in one matrix, mapped from a file that processes share.

A source's own matrix is cached in float32 as it was encoded. Pre-training reads the matrices of all sources as one, and
where its products round to bfloat16 anyway, in bfloat16: half the memory, and that once for all processes of a machine.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmark.encode import Encoded
from benchmark.errors import InputError
from benchmark.files import sibling
from benchmark.jobs import digest

BLOCK_ROWS = 65_536
"""Rows that are rounded and written at a time."""


def joined(parts: Sequence[Encoded], dtype: torch.dtype, folder: Path) -> Tensor:
    """The rows of all parts, one part after another, [n_items, width] of ``dtype``.

    The file in ``folder`` is named by what is in it, and made again where it is damaged. What is written to the tensor
    stays in this process. Raises InputError for parts of different widths.
    """
    widths = {part.matrix.shape[1] for part in parts}
    if len(widths) > 1:
        found = ", ".join(str(part.matrix.shape[1]) for part in parts)
        raise InputError(f"the encoded texts of the sources have different widths ({found}); encode them alike")
    name = digest([[part.sha256, *part.matrix.shape] for part in parts])[:32]
    path = folder / f"sources-{name}.{str(dtype).removeprefix('torch.')}"
    shape = (sum(len(part.matrix) for part in parts), widths.pop())
    n_bytes = shape[0] * shape[1] * dtype.itemsize
    if not _is_whole(path, n_bytes):
        _write(path, parts, dtype)
    return torch.from_file(str(path), shared=False, size=shape[0] * shape[1], dtype=dtype).view(shape)


def _write(path: Path, parts: Sequence[Encoded], dtype: torch.dtype) -> None:
    """Raw rows in the machine's byte order, and after them their SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, state = sibling(path), hashlib.sha256()
    try:
        with temporary.open("wb") as file:
            for part in parts:
                for begin in range(0, len(part.matrix), BLOCK_ROWS):
                    block = np.array(part.matrix[begin : begin + BLOCK_ROWS], np.float32)
                    raw = torch.from_numpy(block).to(dtype).view(torch.uint8).numpy().data
                    state.update(raw)
                    file.write(raw)
            file.write(state.digest())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _is_whole(path: Path, n_bytes: int) -> bool:
    """Whether the file has as many bytes as wanted, and those that were written."""
    state = hashlib.sha256()
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size != n_bytes + state.digest_size:
                return False
            while n_bytes and (block := file.read(min(n_bytes, 1 << 24))):
                state.update(block)
                n_bytes -= len(block)
            return file.read() == state.digest()
    except OSError:
        return False
