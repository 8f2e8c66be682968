"""Registered methods as plain values: what ``transrec list methods`` prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from benchmark.method import Method, MethodFactory, Registry

CONSUMED = ("ids", "text", "sources", "taxonomy")
"""What a method may learn from, in the order in which it is told."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A method; or all whose name begins alike, where None stands for what depends on the name."""

    name: str
    names: tuple[str, ...] | None = None
    """What may stand for ``<name>`` in ``name``."""
    family: str | None = None
    role: str | None = None
    version: int | None = None
    paper: str
    consumes: tuple[str, ...] | None = None
    """Of `CONSUMED`."""
    trained: bool | None = None
    pretraining: str | None = None
    """The family of pre-trained weights that it starts from, if any."""
    settings: Mapping[str, Any] | None = None
    """Hyper-parameters with their defaults, which a suite's ``config`` changes."""
    training: Mapping[str, Any] | None = None
    """Settings of the training loop in which it differs from the suite."""
    space: Mapping[str, Any] | None = None
    """Values that tuning may try of its hyper-parameters, beside the learning rates that it tries of every method."""
    budgets: Mapping[str, Any] | None = None
    """By name: the ``config`` and ``training`` that it stands for."""
    note: str


def methods(registry: Registry) -> list[dict[str, Any]]:
    """Every registered method and factory of methods, as JSON has it."""
    found = [*map(_method, registry.methods.values()), *map(_factory, registry.factories.values())]
    return [asdict(entry) for entry in found]


def _method(method: Method) -> Listed:
    # only what knows an item by its text alone can do without the item's id
    reads = method.needs | ({"ids"} if method.family != "text" else set())
    return Listed(
        name=method.name,
        family=method.family,
        role=method.role,
        version=method.version,
        paper=method.paper,
        consumes=tuple(name for name in CONSUMED if name in reads),
        trained=method.trained,
        pretraining=method.pretraining,
        settings=asdict(method.config()),
        training=dict(method.defaults),
        space=dict(method.space),
        budgets={
            name: {"config": dict(budget.config), "training": dict(budget.training)}
            for name, budget in method.budgets.items()
        },
        note=method.note,
    )


def _factory(factory: MethodFactory) -> Listed:
    return Listed(name=f"{factory.prefix}<name>", names=factory.names, paper=factory.paper, note=factory.note)
