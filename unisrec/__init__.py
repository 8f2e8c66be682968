"""UniSRec: universal sequence representations from item text (Hou et al., KDD 2022, arXiv:2206.05941)."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from benchmark.layers import DROPOUT_SPACE
from benchmark.method import Method, PretrainingFamily
from unisrec.model import UniSRec, UniSRecConfig
from unisrec.objectives import PretrainingConfig, UniSRecPretrainer, rounds_text

PAPER = "Hou et al., KDD 2022, arXiv:2206.05941"
FAMILY = "UniSRec"
SCRATCH, ZERO_SHOT = "-scratch", "-zeroshot"
SPACES: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "": {**DROPOUT_SPACE, "freeze": (True, False)},
    SCRATCH: {**DROPOUT_SPACE, "adaptor_dropout": (0.0, 0.2)},
    ZERO_SHOT: {},
}
"""What tuning may try, by the end of the name."""

FAMILIES = (
    PretrainingFamily(
        name=FAMILY,
        version=1,
        config=PretrainingConfig,
        build=UniSRecPretrainer,
        paper=PAPER,
        rounds_text=rounds_text,
    ),
)
METHODS = tuple(
    Method(
        name=name + suffix,
        family=family,
        role="control" if suffix else "paper",
        version=1,
        paper=PAPER,
        config=UniSRecConfig,
        build=partial(UniSRec, with_ids=with_ids),
        needs=frozenset({"text"}) if suffix == SCRATCH else frozenset({"text", "sources"}),
        trained=suffix != ZERO_SHOT,
        pretraining=None if suffix == SCRATCH else FAMILY,
        space=SPACES[suffix],
        note=note,
    )
    for name, family, with_ids, suffix, note in (
        ("UniSRec_t", "text", False, "", ""),
        ("UniSRec_t+ID", "text+id", True, "", ""),
        ("UniSRec_t", "text", False, SCRATCH, "trained on the target alone"),
        ("UniSRec_t+ID", "text+id", True, SCRATCH, "trained on the target alone"),
        ("UniSRec_t", "text", False, ZERO_SHOT, "pre-trained on the sources, never trained on the target"),
    )
)
