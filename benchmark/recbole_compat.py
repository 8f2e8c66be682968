"""The one module that knows RecBole: version 1.2.1, no longer maintained, on the NumPy of today.

RecBole reads names that NumPy 2 no longer has, partly on import and partly when it runs, so they are put back for the
life of the process. Importing its sequential models turns on torch's anomaly detection, which makes every model of the
process slow; that is turned back. ``recbole.quick_start`` stays out of reach: it needs an old ray. So does its
``Config``, which reads the command line of whatever program it runs in, evaluates strings and hides the GPU:
`Settings` gives models the same values from the same files, and `Catalogue` is as much of a data set as they ask for.

Legend: R rows, L places of a row, N items.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import random
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor, nn

from benchmark.errors import InputError

VERSION = "1.2.1"
REMOVED = {"float": np.float64, "float_": np.float64, "complex_": np.complex128, "unicode_": np.str_}
"""What RecBole expects to find in ``numpy``: its metrics read ``float``, its configuration the other three."""


def load(module: str) -> ModuleType:
    """A module of RecBole, for example ``recbole.evaluator``.

    Raises InputError where RecBole, something it needs, or the module is not installed, or it is of another version.
    """
    for name, kind in REMOVED.items():
        if name not in vars(np):
            setattr(np, name, kind)
    try:
        found = importlib.import_module("recbole").__version__
        with torch.autograd.set_detect_anomaly(torch.is_anomaly_enabled()):
            loaded = importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"{module}: {error}; {_how_to_install()}") from error
    if found != VERSION:
        raise InputError(f"RecBole {found} is installed, and only {VERSION} is known to work here; {_how_to_install()}")
    return loaded


def _how_to_install() -> str:
    return (
        'install it with `python -m pip install "transrec-bench[recbole]"` and then '
        f"`python -m pip install --no-deps recbole=={VERSION}`, in this order: what it declares includes an old ray"
    )


class _SafeLoader(yaml.SafeLoader):
    """YAML in which 1e-4 is a number, as RecBole reads it."""


_SafeLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(?:\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _properties(name: str) -> dict[str, Any]:
    """What one of RecBole's own files of settings says."""
    folder = Path(str(load("recbole").__file__)).parent / "properties"
    return yaml.load((folder / f"{name}.yaml").read_text(encoding="utf-8"), _SafeLoader) or {}


def defaults(model: str) -> dict[str, Any]:
    """The hyper-parameters of a model under RecBole's names, with RecBole's values.

    Raises InputError where RecBole is not installed.
    """
    return _properties(f"model/{model}")


def _interaction(fields: dict[str, Tensor]) -> Any:
    return load("recbole.data.interaction").Interaction(fields)


class Settings(dict[str, Any]):
    """What a model asks its configuration for, by key or as an attribute; None where there is no such setting."""

    def __missing__(self, key: str) -> None:
        return None

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise AttributeError(name)
        return self[name]


class Catalogue:
    """As much of a data set as models ask for that read nothing but item sequences. Item 0 is the padding."""

    def __init__(
        self, settings: Settings, n_items: int, n_users: int, rows: Callable[[], Mapping[str, Tensor]]
    ) -> None:
        self.item_field: str = settings["ITEM_ID_FIELD"]
        self.item_num, self.user_num = n_items + 1, n_users + 1
        self.field2seqlen = {self.item_field + settings["LIST_SUFFIX"]: settings["MAX_ITEM_LIST_LENGTH"]}
        self.rows = rows

    def num(self, field: str) -> int:
        if field != self.item_field:
            raise KeyError(f"there is no field '{field}' in data of this suite")
        return self.item_num

    @cached_property
    def inter_feat(self) -> Any:
        """All training rows."""
        return _interaction(dict(self.rows()))


@contextlib.contextmanager
def drawing_from_torch() -> Iterator[None]:
    """RecBole also draws from ``random`` and from NumPy's global state: both go on from torch's generator here, so that
    a seed sets them, and stand afterwards where they stood before."""
    before = random.getstate(), np.random.get_state()  # noqa: NPY002
    seed = int(torch.randint(2**31, ()))
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002


class SequentialModel:
    """A sequential recommender of RecBole on its own: fresh weights, no data loader, no trainer.

    ``module`` is RecBole's model, to be trained and saved. Rows are items from 1 on, right-padded with 0.
    """

    def __init__(
        self,
        model: str,
        changes: Mapping[str, Any],
        *,
        n_items: int,
        n_users: int,
        rows: Callable[[], tuple[Tensor, Tensor, Tensor]],
    ) -> None:
        """changes: hyper-parameters under RecBole's names. rows: all training rows, should the model ask for them."""
        self.settings = Settings(_properties("overall") | _properties("dataset/sample") | defaults(model))
        self.settings.update(changes, device=torch.device("cpu"))
        self.data = Catalogue(self.settings, n_items, n_users, lambda: self._fields(*rows()))
        # before the model, which asks for names that this one sets
        self.transform = load("recbole.data.transform").construct_transform(self.settings)
        # under full softmax nobody looks at negatives, and where a history holds all items none would ever be found
        self.transform._neg_sample = lambda item_set, n_items: 0
        module = getattr(load("recbole.model.sequential_recommender"), model)
        with drawing_from_torch(), contextlib.redirect_stdout(io.StringIO()):  # some tell what they are made of
            self.module: nn.Module = module(self.settings, self.data)

    @property
    def draws_for_a_batch(self) -> bool:
        """Whether rows are changed at random before the loss, under a draw that all of a batch share."""
        return self.settings["transform"] is not None

    def _fields(self, items_RL: Tensor, lengths_R: Tensor, targets_R: Tensor) -> dict[str, Tensor]:
        item = self.settings["ITEM_ID_FIELD"]
        names = (item + self.settings["LIST_SUFFIX"], self.settings["ITEM_LIST_LENGTH_FIELD"], item)
        return dict(zip(names, (items_RL, lengths_R, targets_R), strict=True))

    def _batch(self, items_RL: Tensor, lengths_R: Tensor, targets_R: Tensor) -> Any:
        # models remember the device they were built for and make tensors there
        for module in self.module.modules():
            if "device" in vars(module):
                vars(module)["device"] = items_RL.device
        return _interaction(self._fields(items_RL, lengths_R, targets_R))

    def loss(self, items_RL: Tensor, lengths_R: Tensor, targets_R: Tensor) -> Tensor:
        """Its training loss over the rows, a scalar."""
        model: Any = self.module
        return model.calculate_loss(self.transform(self.data, self._batch(items_RL, lengths_R, targets_R)))

    def scores(self, items_RL: Tensor, lengths_R: Tensor) -> Tensor:
        """The score of every item after each row, [R, N]; the padding has none."""
        model: Any = self.module
        # some models compute the loss beside the scores; the padding as target tells them nothing
        asked = self._batch(items_RL, lengths_R, torch.zeros_like(lengths_R))
        return model.full_sort_predict(asked).reshape(len(items_RL), -1)[:, 1:]
