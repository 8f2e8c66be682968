"""A figure as SVG and PNG: the same figure gives the same bytes, without date, path or program's name."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from benchmark.files import write_bytes
from benchmark.report.figures import style

DOTS = 200
"""Pixels an inch of the PNG: sharp on a phone, and still below 100 kB."""


@dataclass(frozen=True, kw_only=True)
class Words:
    """What is said about a figure."""

    title: str
    caption: str
    """How it is to be read."""
    alt: str
    """What it shows, for those who don't see it."""


def save(figure: Figure, folder: Path, name: str, words: Words) -> tuple[str, str]:
    """Write ``name.svg`` and ``name.png``, each complete or not at all; returns the names of the files."""
    metadata = {
        "svg": {"Title": words.title, "Description": words.alt, "Date": None, "Creator": None},
        "png": {"Software": None},
    }
    with style.applied():
        for kind, about in metadata.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=DOTS, metadata=about)
            write_bytes(folder / f"{name}.{kind}", buffer.getvalue())
    return f"{name}.svg", f"{name}.png"
