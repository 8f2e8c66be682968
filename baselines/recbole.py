"""Sequential models of RecBole 1.2.1 (arXiv:2011.01731 and later papers) as rows: ``recbole:GRU4Rec``.

Model, loss and defaults are RecBole's; what they are shown, the training loop, selection and ranking are the suite's.
They are shown what RecBole shows them: the pairs of a prefix and its next item. Models that read more than item
sequences are refused.

Legend: B rows of a packed batch, R prefixes or histories, L places of the longest, N items.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field, fields, make_dataclass
from functools import cache, partial
from math import inf
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.batches import MAX_LENGTH, Batch, Windows, history_windows, pack, prefix_windows
from benchmark.domain import Sequences
from benchmark.layers import DROPOUT_SPACE, MAX_DROPOUT
from benchmark.method import Material, Method, MethodFactory, ScoringModel, check_ranges
from benchmark.recbole_compat import VERSION, SequentialModel, defaults, drawing_from_torch

MODELS: Mapping[str, str] = {
    "BERT4Rec": "Sun et al., CIKM 2019, arXiv:1904.06690",
    "CORE": "Hou et al., SIGIR 2022, arXiv:2204.11067",
    "FEARec": "Du et al., SIGIR 2023, arXiv:2304.09184",
    "GCSAN": "Xu et al., IJCAI 2019",
    "GRU4Rec": "Tan et al., DLRS 2016, arXiv:1606.08117",
    "GRU4RecCPR": "Chang et al., WSDM 2024",
    "LightSANs": "Fan et al., SIGIR 2021",
    "NARM": "Li et al., CIKM 2017, arXiv:1711.04725",
    "NextItNet": "Yuan et al., WSDM 2019, arXiv:1808.05163",
    "RepeatNet": "Ren et al., AAAI 2019, arXiv:1812.02646",
    "SASRec": "Kang & McAuley, ICDM 2018, arXiv:1808.09781",
    "SASRecCPR": "Chang et al., WSDM 2024",
    "SINE": "Tan et al., WSDM 2021, arXiv:2102.09267",
    "SRGNN": "Wu et al., AAAI 2019, arXiv:1811.00855",
    "STAMP": "Liu et al., KDD 2018",
}
"""What can be run, and where it is defined."""

TRIMMED = frozenset({"BERT4Rec", "CORE", "GCSAN", "GRU4Rec", "NARM", "SASRec", "SRGNN"})
"""Models that padding tells nothing: the score and the loss of a row are the same whatever follows its last item. To
the others rows are shown as RecBole shows them, padded to the limit."""
PARTS = (2, 4, 8, 16, 32)
"""Rows of up to so many items are computed together where padding may be cut: most prefixes are short."""

FLOAT32 = frozenset({"GRU4RecCPR", "RepeatNet", "SASRecCPR"})
"""Models that mix types under autocast, which fails: trained in float32."""

_USERS = "it learns a vector for each user, and this suite ranks from histories alone"
_FEATURES = "it reads features of items or users from a data set of RecBole's"
_KNOWLEDGE = "it reads embeddings of a knowledge graph"
REFUSED: Mapping[str, str] = {
    **dict.fromkeys(("Caser", "FOSSIL", "FPMC", "HGN", "HRM", "NPE", "SHAN", "TransRec"), _USERS),
    **dict.fromkeys(("DIEN", "DIN", "FDSA", "GRU4RecF", "S3Rec", "SASRecF"), _FEATURES),
    **dict.fromkeys(("GRU4RecKG", "KSR"), _KNOWLEDGE),
}

OURS: Mapping[str, str] = {
    "embedding_size": "width",
    "inner_size": "inner",
    "n_layers": "layers",
    "num_layers": "layers",
    "n_heads": "heads",
    "hidden_dropout_prob": "dropout",
    "dropout_prob": "dropout",
    "attn_dropout_prob": "attention_dropout",
}
"""RecBole's name of a hyper-parameter and the suite's. ``hidden_size`` is the width where there is no other."""
WIDTH = 300
"""Of item vectors and hidden states, as of every other row; all else has RecBole's default."""
_FIXED = ("loss_type", "transform")
"""Not to be chosen: full softmax (negatives are not drawn here), and the changes of rows that the model is made for."""
_TYPES: Mapping[str, type] = {
    **dict.fromkeys(("dropout_prob", "hidden_dropout_prob", "global_ratio", "spatial_ratio"), float),
    "reranker_CAN_NUM": str,
}
"""Where RecBole's file writes a default in another type than it says beside it."""


def _our_names(model: str) -> dict[str, str]:
    """A model's hyper-parameters: RecBole's name and the one they have here."""
    given = [name for name in defaults(model) if name not in _FIXED]
    ours = {**OURS, **({} if "embedding_size" in given else {"hidden_size": "width"})}
    return {name: ours.get(name, name) for name in given}


def _check(config: Any) -> None:
    ranges = {"width": (1, inf), "inner": (1, inf), "layers": (1, inf), "heads": (1, inf), "hidden_size": (1, inf)}
    ranges |= {"dropout": (0, MAX_DROPOUT), "attention_dropout": (0, MAX_DROPOUT)}
    own = {entry.name: getattr(config, entry.name) for entry in fields(config)}
    check_ranges(config, **{name: bounds for name, bounds in ranges.items() if name in own})
    if own["width"] % own.get("heads", 1):
        raise ValueError(f"width {own['width']} is not divisible by {own['heads']} heads")


@cache
def configuration(model: str) -> type:
    """The frozen dataclass of a model's hyper-parameters, made from RecBole's own file of them.

    Raises InputError where RecBole is not installed.
    """
    given, entries = defaults(model), []
    for name, ours in _our_names(model).items():
        value = WIDTH if name in ("embedding_size", "hidden_size") else given[name]
        value = _TYPES.get(name, type(value))(value)
        default = field(default_factory=partial(list, value)) if isinstance(value, list) else field(default=value)
        entries.append((ours, type(value), default))
    return make_dataclass(f"{model}Config", entries, frozen=True, kw_only=True, namespace={"__post_init__": _check})


def rows_of(batch: Batch, limit: int) -> tuple[Tensor, Tensor, Tensor]:
    """Asked positions as RecBole stores them: what came before in right-padded rows of items from 1 on, [R, limit],
    lengths [R] and targets [R]. Histories must not be longer than ``limit``."""
    lengths_R = batch.positions_BL.flatten()[batch.at_T] + 1
    place_L = torch.arange(limit, device=lengths_R.device)
    token_RL = (batch.at_T - lengths_R + 1)[:, None] + place_L
    items_RL = batch.items_BL.flatten()[token_RL.clamp_max(batch.items_BL.numel() - 1)] + 1
    return items_RL.masked_fill_(place_L >= lengths_R[:, None], 0), lengths_R, batch.targets_T + 1


def _all(sequences: Sequences, windows: Windows, *, ask: bool) -> Batch:
    return pack(sequences, windows, np.arange(len(windows)), ask=ask)


class RecBole(ScoringModel):
    """A model of RecBole on prefixes of item sequences."""

    def __init__(self, model: str, config: object, material: Material) -> None:
        super().__init__()
        self.trimmed = model in TRIMMED
        self.recbole = SequentialModel(
            model,
            {name: getattr(config, ours) for name, ours in _our_names(model).items()}
            | {"MAX_ITEM_LIST_LENGTH": MAX_LENGTH},
            n_items=material.n_items,
            n_users=len(material.train),
            rows=lambda: rows_of(_all(material.train, prefix_windows(material.train), ask=True), MAX_LENGTH),
        )
        self.module = self.recbole.module

    def windows(self, sequences: Sequences) -> Windows:
        return prefix_windows(sequences)

    def loss(self, batch: Batch) -> Tensor:
        items_RL, lengths_R, targets_R = rows_of(batch, MAX_LENGTH)
        total = torch.zeros((), device=lengths_R.device)
        with drawing_from_torch():
            for part, limit in self._parts(lengths_R, whole=self.recbole.draws_for_a_batch):
                loss = self.recbole.loss(items_RL[part, :limit], lengths_R[part], targets_R[part])
                total = total + loss * (len(part) / len(lengths_R))
        return total

    def scores(self, histories: Sequences) -> Tensor:
        batch = _all(histories, history_windows(histories), ask=False).to(next(self.parameters()).device)
        items_RL, lengths_R, _ = rows_of(batch, MAX_LENGTH)
        parts = list(self._parts(lengths_R, whole=False))
        found = torch.cat([self.recbole.scores(items_RL[part, :limit], lengths_R[part]) for part, limit in parts])
        return found[torch.cat([part for part, _ in parts]).argsort()]

    def _parts(self, lengths_R: Tensor, *, whole: bool) -> Iterator[tuple[Tensor, int]]:
        """Rows to be computed together and the places they take; more than one part where padding may be cut."""
        part_R = torch.bucketize(lengths_R, torch.tensor(PARTS, device=lengths_R.device))
        if whole or not self.trimmed:
            part_R = torch.zeros_like(part_R)
        for part in part_R.unique():
            (rows,) = torch.nonzero(part_R == part, as_tuple=True)
            yield rows, int(lengths_R[rows].max()) if self.trimmed else MAX_LENGTH


@cache
def method(model: str) -> Method:
    """The entry of one of `MODELS`; raises InputError where RecBole is not installed."""
    return Method(
        name=f"{PREFIX}{model}",
        family="id",
        role="row",
        version=1,
        paper=MODELS[model],
        config=configuration(model),
        build=partial(RecBole, model),
        space=DROPOUT_SPACE if any(entry.name == "dropout" for entry in fields(configuration(model))) else {},
        defaults={"precision": "float32"} if model in FLOAT32 else {},
        note=f"model, loss and defaults of RecBole {VERSION}, but for the width; trained by this suite on prefix rows",
    )


PREFIX = "recbole:"
FACTORIES = (
    MethodFactory(
        prefix=PREFIX,
        names=tuple(MODELS),
        refused=REFUSED,
        make=method,
        paper=f"RecBole {VERSION}, arXiv:2011.01731, arXiv:2206.07351, arXiv:2211.15148",
        note="needs RecBole; settings are its own, sizes and dropout under the suite's names",
    ),
)
