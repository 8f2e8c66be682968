"""Precision of matrix products: float32, or bfloat16 where the hardware multiplies it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

PRECISIONS = ("auto", "float32", "bfloat16")


def resolve_precision(precision: str, device: torch.device) -> str:
    """The precision that ``auto`` means on a device."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else "float32"


def own_first(precision: str) -> tuple[str, ...]:
    """All that ``auto`` may mean on one machine or another, beginning with what it means here."""
    return (precision, *(other for other in PRECISIONS[1:] if other != precision))


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()
