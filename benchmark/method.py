"""The contract that a method meets, and the registry of methods.

A method is built from what the target lets it see (`Material`). What it builds either ranks at once (`Scorer`, for
methods that only count) or is `Learned`, trained by the suite's one loop: a `Model`, whose scores are products of user
and item vectors, or a `ScoringModel`, which makes them in its own way.
"""

from __future__ import annotations

import importlib
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmark.batches import Batch, Windows, training_windows
from benchmark.domain import Sequences
from benchmark.errors import InputError, unknown
from benchmark.formats.lines import shown

Need = Literal["text", "sources", "taxonomy"]
Role = Literal["paper", "replica", "control", "row"]


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceMaterial:
    """What a method may see of the source domains, merged into one item table: the training part of each."""

    n_items: int
    train: Sequences
    text: NDArray[np.float32] | None = None
    """Encoded item texts, [n_items, width]; present where the method needs text."""
    taxonomy: tuple[tuple[str, ...], ...] | None = None
    """Attributes of each item, in the words that the target's have; present where the method needs them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """What a method may see of a target: training sequences and item contents, never a held-out item."""

    n_items: int
    train: Sequences
    text: NDArray[np.float32] | None = None
    """Encoded item texts, [n_items, width]; present where the method needs text."""
    taxonomy: tuple[tuple[str, ...], ...] | None = None
    """Attributes of each item (category path and brand, else frequent words of its text; see `benchmark.taxonomy`);
    present where the method needs them."""
    sources: SourceMaterial | None = None
    """Present where the method needs sources and starts from no pre-training artefact."""
    pretrained: Mapping[str, Tensor] | None = None
    """Weights of the pre-training artefact, float32; present where the method names one."""


@runtime_checkable
class Scorer(Protocol):
    """Ranks without training."""

    def scores(self, histories: Sequences) -> Tensor:
        """Score of every item after each history, [n_histories, n_items], higher is better."""
        ...


class Trainable(nn.Module, ABC):
    """What the suite's gradient steps train."""

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """Mean training loss over the batch's asked positions, a scalar.

        Where several processes share each step's batch, this one's: the loop weights and adds up what they give. Only a
        loss over pairs of positions needs to know of the others (`benchmark.parallel.gather`).
        """

    def windows(self, sequences: Sequences) -> Windows:
        """What an epoch shows it of the sequences."""
        return training_windows(sequences)


@dataclass(frozen=True, kw_only=True, eq=False)
class Phase:
    """Training that goes before the loop's own, without selection: for a fixed number of epochs, by Adam."""

    name: str
    trainable: Trainable
    """Its parameters are parameters of the model."""
    epochs: int
    learning_rate: float
    batch_targets: int = 2048
    betas: tuple[float, float] = (0.9, 0.999)
    sequences: Sequences | None = None
    """What it learns from; the target's training part if None."""


class Learned(Trainable):
    """A method that the suite's loop trains."""

    def phases(self) -> Iterable[Phase]:
        """What is to be trained first, phase by phase; nothing unless a method says otherwise."""
        return ()


class ScoringModel(Learned):
    """A trained method whose scores are no product of user and item vectors."""

    @abstractmethod
    def scores(self, histories: Sequences) -> Tensor:
        """As in `Scorer`; called in evaluation mode and without gradients."""


class Model(Learned):
    """A trained method: scores are ``users @ candidates.T``.

    The training loop draws batches of whole packed sequences and calls `loss`; ranking calls `items` once, then
    `candidates` and, batch by batch, `users`, in evaluation mode.
    """

    room: int = 0
    """Tokens that ranking leaves free behind a history (with one, the asked position is the place of a mask)."""

    @abstractmethod
    def items(self) -> Tensor:
        """Item vectors as the sequence encoder reads them, [N, D]."""

    def candidates(self, items_ND: Tensor) -> Tensor:
        """Item vectors as scores see them, [N, K]."""
        return items_ND

    @abstractmethod
    def users(self, batch: Batch, items_ND: Tensor) -> Tensor:
        """User vectors at the batch's asked positions, [T, K]. ``items_ND`` is what `items` just returned."""


class Pretrainer(Trainable):
    """What is trained on the merged sources, and what of it later models start from."""

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """The tensors of the artefact."""


@dataclass(frozen=True, kw_only=True)
class NoConfig:
    """Configuration of a method that has none."""


@dataclass(frozen=True, kw_only=True)
class PretrainingFamily:
    """What can be pre-trained once and shared by several methods."""

    name: str
    version: int
    """Raised whenever its outcomes change; part of an artefact's key."""
    config: type
    """Frozen dataclass of hyper-parameters; fields that a method's configuration shares take the method's values."""
    build: Callable[[Any, Tensor, Tensor], Pretrainer]
    """``build(config, text [N, F], noisy text [N, F])`` over the items of all sources; they are not to be changed."""
    paper: str
    noise: float = 0.15
    """Share of words left out of the noisy copy of source texts (UniSRec: 0.15); a change raises ``version``."""
    rounds_text: Callable[[Any], bool] = lambda config: False
    """``rounds_text(config)``: whether texts are read as factors of matrix products and in no other way. Under bfloat16
    autocast these round them, so the texts given are then bfloat16 already; else they are float32."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Changes of a method's configuration, and of its settings of the training loop, that set how much it may do."""

    config: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Method:
    """A registry entry."""

    name: str
    family: str
    """How the method knows an item: ``id``, ``text``, ``text+id``, ``counts``."""
    role: Role
    version: int
    """Raised whenever the method's outcomes change; part of a run's key."""
    paper: str
    """Where the method is defined."""
    build: Callable[[Any, Material], Model | ScoringModel | Scorer]
    """``build(config, material)``; called with torch's generator seeded."""
    config: type = NoConfig
    """Frozen dataclass of hyper-parameters; its defaults are the method's."""
    needs: frozenset[Need] = frozenset()
    trained: bool = True
    """Whether the training loop is run; methods without it have one seed."""
    pretraining: str | None = None
    """Name of the `PretrainingFamily` whose weights it starts from."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the training loop in which the method differs from the suite."""
    note: str = ""
    budgets: Mapping[str, Budget] = field(default_factory=dict)
    """What a suite's row may name as ``budget``: for example ``literature``, the full length of training, where the
    default is one that fits a laptop."""
    space: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Values that tuning may try of the method's own hyper-parameters, beside the learning rates that it tries of every
    method (`benchmark.trials`). They must leave the sizes of pre-trained weights as they are."""

    def __post_init__(self) -> None:
        if self.pretraining and not self.needs >= {"text", "sources"}:
            raise ValueError(f"method '{self.name}' starts from pre-training: its needs must name text and sources")

    @property
    def reads_sources(self) -> bool:
        """Whether it learns from the sources itself, having no pre-training artefact to start from."""
        return "sources" in self.needs and self.pretraining is None

    def configure(self, overrides: Mapping[str, Any], where: str = "") -> Any:
        """The method's configuration with some fields changed; raises InputError for unknown or ill-typed ones."""
        return configure(self.config, overrides, where or f"method '{self.name}'")


@dataclass(frozen=True, kw_only=True)
class MethodFactory:
    """Methods that are made when they are named: those of a package that may not be installed."""

    prefix: str
    """What their names begin with, for example ``recbole:``."""
    names: tuple[str, ...]
    """What may follow it."""
    make: Callable[[str], Method]
    """The entry behind one of ``names``; called again, it returns the same. May raise InputError."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """What may not follow it, though one might expect it to, and why."""
    paper: str
    note: str = ""

    def method(self, name: str, where: str = "") -> Method:
        """The entry with this name; raises InputError where there is none."""
        wanted, at = name.removeprefix(self.prefix), f"{where}: " if where else ""
        if wanted in self.refused:
            raise InputError(f"{at}'{name}' can't be run here: {self.refused[wanted]}")
        if wanted not in self.names:
            raise unknown(f"'{self.prefix}' method", wanted, self.names, where)
        return self.make(wanted)


def configure(config: type, overrides: Mapping[str, Any], where: str) -> Any:
    """``config(**overrides)`` with errors that name the key and the nearest right one."""
    default = config()
    known = {entry.name: getattr(default, entry.name) for entry in fields(default)}
    for key, value in overrides.items():
        if key not in known:
            raise unknown("key", key, known, where)
        wanted = type(known[key])
        if wanted is float and type(value) is int:
            continue
        if known[key] is not None and type(value) is not wanted:
            hint = " (in YAML 1e-3 is a word; write 0.001 or 1.0e-3)" if wanted is float and type(value) is str else ""
            raise InputError(f"{where}: '{key}' is {shown(value)}, expected a {wanted.__name__}{hint}")
    try:
        return replace(default, **{k: float(v) if type(known[k]) is float else v for k, v in overrides.items()})
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error


_LATER = "added later"


def added_later(default: Any) -> Any:
    """A field of a configuration that runs were stored without: at its default, no key and no record speaks of it."""
    return field(default=default, metadata={_LATER: True})


def content(config: Any) -> dict[str, Any]:
    """A configuration as jobs, keys and records hold it: without fields that are `added_later` and at their default."""
    return {
        each.name: value
        for each in fields(config)
        if (value := getattr(config, each.name)) != each.default or _LATER not in each.metadata
    }


def check_ranges(config: object, **ranges: tuple[float, float]) -> None:
    """Raise ValueError where a field of a configuration is not a number of its range, bounds included."""
    for name, (low, high) in ranges.items():
        if not low <= getattr(config, name) <= high:
            raise ValueError(f"{name} is {getattr(config, name)}, expected a number from {low:g} to {high:g}")


def take(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy an artefact's weights into a module; raises InputError where they were made with other sizes."""
    try:
        module.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise InputError(f"the pre-trained weights do not fit the configured model: {error}") from error


Entry = Method | PretrainingFamily | MethodFactory
"""What may be registered."""
BUILT_IN = ("baselines", "unisrec")
"""Packages of this distribution that offer ``METHODS``, ``FAMILIES`` and ``FACTORIES``."""
ENTRY_POINTS = "transrec.methods"
"""Group under which other distributions offer theirs: an `Entry` or a list of them each."""


@dataclass(frozen=True)
class Registry:
    methods: Mapping[str, Method]
    families: Mapping[str, PretrainingFamily]
    factories: Mapping[str, MethodFactory] = field(default_factory=dict)
    """By their prefix."""

    def method(self, name: str, where: str = "") -> Method:
        """The method of this name; raises InputError where there is none."""
        if name in self.methods:
            return self.methods[name]
        for prefix, factory in self.factories.items():
            if name.startswith(prefix):
                return factory.method(name, where)
        raise unknown("method", name, [*self.methods, *(f"{prefix}<name>" for prefix in self.factories)], where)

    def family(self, name: str) -> PretrainingFamily:
        if name not in self.families:
            raise unknown("pre-training", name, self.families)
        return self.families[name]


def load_plugin(name: str) -> Iterable[Entry]:
    """The entries behind ``module:Name``, one entry or several. Raises InputError if there are none."""
    module_name, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), attribute)):
        raise InputError(f"--plugin {name}: expected module:Name, importable from here, not a path")
    if (here := os.getcwd()) not in sys.path:  # an installed script does not look where it was started
        sys.path.append(here)  # last: what lies there by the name of a library is not taken for it
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"--plugin {name}: {error}; expected module:Name, importable from here") from error
    entries = found if isinstance(found, tuple | list) else (found,)
    for entry in entries:
        if not isinstance(entry, Entry):
            raise InputError(f"--plugin {name}: {entry!r} is no Method, PretrainingFamily or MethodFactory")
    return entries


@cache
def registry(plugins: tuple[str, ...] = ()) -> Registry:
    """All methods: the suite's own, those of installed distributions, and ``--plugin``s."""
    entries: list[Entry] = []
    for package in map(importlib.import_module, BUILT_IN):
        entries += [*package.METHODS, *getattr(package, "FAMILIES", ()), *getattr(package, "FACTORIES", ())]
    for point in entry_points(group=ENTRY_POINTS):
        entries += load_plugin(point.value)
    for plugin in plugins:
        entries += load_plugin(plugin)
    tables: dict[type, dict[str, Any]] = {Method: {}, PretrainingFamily: {}, MethodFactory: {}}
    for entry in entries:
        table = next(table for kind, table in tables.items() if isinstance(entry, kind))
        name = entry.prefix if isinstance(entry, MethodFactory) else entry.name
        if name in table:
            raise InputError(f"two registered entries are named '{name}'; rename one of them")
        table[name] = entry
    return Registry(*tables.values())
