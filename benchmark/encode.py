"""Item text to a float matrix: by a language model, or by a stateless hash encoder that needs no weights.

The matrix is cached by content: its file name is a function of the texts and of everything about the encoder
that decides the numbers.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark import language_model
from benchmark.encoders import HASH, HASH_WIDTH, EncoderSpec
from benchmark.errors import InputError
from benchmark.files import read_json
from benchmark.jobs import digest

FORMAT = 1
"""Raised when the same texts and the same encoder give another matrix; part of every provenance."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoded:
    """Encoded texts."""

    matrix: NDArray[np.float32]
    """float32 [n_items, width], memory-mapped and read-only; row i is text i."""
    provenance: dict[str, Any]
    """Everything about the encoder that decides the numbers."""
    sha256: str
    """SHA-256 (hex) of the matrix as raw little-endian rows."""


def encode(
    texts: Sequence[str],
    spec: EncoderSpec | str,
    cache_dir: Path,
    *,
    label: str = "item texts",
    device: str = "cpu",
    batch_tokens: int | None = None,
    progress: bool = True,
) -> Encoded:
    """Encode texts, or read what an earlier call with the same texts and encoder left in ``cache_dir``.

    Identical texts are encoded once, so their rows are identical to the last bit. ``label`` names the texts in
    messages. Raises InputError for a model that cannot be loaded, for texts that are all blank, and for a model
    whose output is not finite.
    """
    if isinstance(spec, str):
        spec = EncoderSpec.parse(spec)
    if not any(text.strip() for text in texts):
        raise InputError(f"{label}: none of the {len(texts)} items has a text; choose a method that needs no text")
    about = provenance(spec)
    path = _path(texts, about, cache_dir)
    if (found := _read(path, about, len(texts))) is not None:
        return found
    rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    if spec.name == HASH:
        matrix = _encode_by_hash(list(rows))
    else:
        matrix = language_model.run(
            list(rows), spec, label=label, device=device, batch_tokens=batch_tokens, progress=progress
        )
    wrong = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if len(wrong):
        first = texts.index(list(rows)[wrong[0]])
        raise InputError(
            f"{label}: encoder '{spec.name}' gives NaN or infinity for {len(wrong)} texts, first for item row {first}; "
            "try dtype=float32 or another model"
        )
    return _write(path, about, matrix[np.fromiter((rows[text] for text in texts), np.int64, len(texts))])


def cached(texts: Sequence[str], spec: str, cache_dir: Path) -> Encoded | None:
    """What an earlier `encode` of these texts left in ``cache_dir``, or None: no model is run."""
    about = provenance(EncoderSpec.parse(spec))
    return _read(_path(texts, about, cache_dir), about, len(texts))


def provenance(spec: EncoderSpec) -> dict[str, Any]:
    """Everything about an encoder that decides its numbers; finds the model but does not run it.

    A model is known by the SHA-256 of its weights and of its other files, never by where it lies. Raises
    InputError if it cannot be found.
    """
    if spec.name == HASH:
        return {"format": FORMAT, "encoder": HASH, "width": HASH_WIDTH, "ngrams": [1, 2], "norm": "l2"}
    folder, revision = language_model.locate(spec)
    sums = language_model.checksums(folder)
    return {
        "format": FORMAT,
        "encoder": folder.resolve().name if Path(spec.name).is_dir() else spec.name,
        "revision": revision,
        "weights": {name: sha for name, sha in sums.items() if name.endswith(".safetensors")},
        "settings": digest({name: sha for name, sha in sums.items() if not name.endswith(".safetensors")}),
        "pooling": spec.pooling,
        "max_length": spec.max_length,
        "dtype": spec.dtype,
    }


def drop_words(texts: Sequence[str], ratio: float = 0.15, seed: int = 0) -> list[str]:
    """A copy of the texts in which each space-separated word is left out with probability ``ratio``.

    UniSRec encodes one such copy of its pre-training items, made once, as the noisy view of its
    sequence-to-sequence contrast. The same texts in the same order, ratio and seed give the same copy.
    """
    rng = np.random.default_rng(seed)
    words = (text.split() for text in texts)
    return [" ".join(word for word, u in zip(row, rng.random(len(row)), strict=True) if u >= ratio) for row in words]


def _path(texts: Sequence[str], about: dict[str, Any], cache_dir: Path) -> Path:
    """Where the matrix of these texts by this encoder is kept."""
    key = digest({"provenance": about, "texts": _sha256_of_texts(texts)})
    return cache_dir / f"{re.sub(r'[^A-Za-z0-9]+', '-', about['encoder'])}-{key[:32]}.npy"


def _sha256_of_texts(texts: Sequence[str]) -> str:
    state = hashlib.sha256()
    for text in texts:
        encoded = text.encode()
        state.update(f"{len(encoded)}:".encode() + encoded)
    return state.hexdigest()


def sha256_of_matrix(matrix: NDArray[np.float32]) -> str:
    """SHA-256 (hex) of a matrix as raw little-endian rows."""
    return hashlib.sha256(np.ascontiguousarray(matrix, "<f4").data).hexdigest()


def _read(path: Path, about: dict[str, Any], n_texts: int) -> Encoded | None:
    """A cached matrix, or None where there is none or it is damaged (it is then made again)."""
    try:
        sha256 = read_json(path.with_suffix(".json"))["sha256"]
        # Unlike np.load it takes a file for nothing but an array. A header is read as a Python literal, whose errors
        # are many.
        matrix = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, LookupError, TypeError, EOFError, OverflowError, SyntaxError, tokenize.TokenError):
        return None
    if matrix.dtype != np.float32 or matrix.ndim != 2 or len(matrix) != n_texts or sha256_of_matrix(matrix) != sha256:
        return None
    return Encoded(matrix=matrix, provenance=about, sha256=sha256)


def _write(path: Path, about: dict[str, Any], matrix: NDArray[np.float32]) -> Encoded:
    path.parent.mkdir(parents=True, exist_ok=True)
    sha256 = sha256_of_matrix(matrix)
    note = json.dumps({"sha256": sha256, "shape": matrix.shape, "provenance": about}, indent=1)
    with tempfile.TemporaryDirectory(prefix=f".{path.stem}.", dir=path.parent) as folder:
        np.save(Path(folder, "matrix.npy"), matrix, allow_pickle=False)
        Path(folder, "note.json").write_text(note)
        os.replace(Path(folder, "matrix.npy"), path)
        os.replace(Path(folder, "note.json"), path.with_suffix(".json"))
    return Encoded(matrix=np.load(path, mmap_mode="r", allow_pickle=False), provenance=about, sha256=sha256)


def _encode_by_hash(texts: Sequence[str]) -> NDArray[np.float32]:
    """float32 [n_texts, HASH_WIDTH] of unit length; zeros for a text without a token of two characters."""
    from scipy.sparse import csr_array
    from sklearn.feature_extraction.text import HashingVectorizer

    vectorizer = HashingVectorizer(n_features=HASH_WIDTH, ngram_range=(1, 2), norm="l2", alternate_sign=True)
    return csr_array(vectorizer.transform(texts), dtype=np.float32).toarray()
