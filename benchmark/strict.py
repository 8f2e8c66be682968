"""YAML in, checked models out: every error names the file, the key and the nearest right one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import yaml
from pydantic import AfterValidator, BaseModel, Field, ValidationError

from benchmark.errors import InputError, at, unknown
from benchmark.layout import RESERVED

Model = TypeVar("Model", bound=BaseModel)


def _not_reserved(name: str) -> str:
    if name in RESERVED:
        raise ValueError("the name is reserved for a folder of results; choose another")
    return name


LARGEST, MOST_NODES = 1 << 20, 100_000
"""Bytes of a YAML file, and values in it after every alias is followed: a few lines of aliases make billions."""

FolderName = Annotated[
    str, Field(pattern="^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9_])?$", max_length=100), AfterValidator(_not_reserved)
]
"""A name that becomes the name of a folder."""


class _SafeLoader(yaml.SafeLoader):
    """YAML in which a key that is written twice, a value that is none (2020-99-99), a number that is not finite and
    aliases that multiply are errors with a place."""

    def get_single_node(self) -> yaml.Node | None:
        root = super().get_single_node()
        nodes, count = [root] if root else [], 0
        while nodes:
            node, count = nodes.pop(), count + 1
            if count > MOST_NODES:
                problem = f"more than {MOST_NODES:,} values; write out what aliases (*name) multiply"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
            if isinstance(node, yaml.SequenceNode):
                nodes += node.value
            elif isinstance(node, yaml.MappingNode):
                nodes += [part for pair in node.value for part in pair]
        return root

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{node.value} is no finite number")
        except (ValueError, LookupError, OverflowError, TypeError) as error:
            raise yaml.MarkedYAMLError(problem=str(error), problem_mark=node.start_mark) from error
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key '{key.value}' occurs twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def load_yaml(path: Path) -> Any:
    """The content of a YAML file; raises InputError (file:line) where it is none, or a key occurs twice."""
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path}: more than {LARGEST:,} bytes; no suite or card is as long")
        return yaml.load(path.read_text(encoding="utf-8"), _SafeLoader)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text; save it as UTF-8") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise InputError(f"{at(path, line)}: not valid YAML ({str(error.problem)[:500]})") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{path}: not valid YAML ({str(error)[:500]})") from error


def parse(model: type[Model], value: Any, where: Path | str) -> Model:
    """``value`` as a ``model``; raises InputError naming ``where``, the key and what is wrong with it."""
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected keys and values, found {type(value).__name__}")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        # An unknown key usually explains the missing one reported beside it.
        first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise unknown("key", str(first["loc"][-1]), _keys(model, first["loc"][:-1]), _inside(where, key)) from None
        raise InputError(f"{where}: key '{key[:200]}': {first['msg'][:500]} (found {_shown(first['input'])})") from None


def _inside(where: Path | str, key: str) -> str:
    parent = key.rpartition(".")[0]
    return f"{where}: in '{parent}'" if parent else str(where)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _keys(model: type[BaseModel], location: Iterable[str | int]) -> set[str]:
    """Keys allowed where pydantic found an unknown one; ``location`` may hold indices and tags of a union."""
    models = [model]
    for part in location:
        fields = [found.model_fields[str(part)] for found in models if str(part) in found.model_fields]
        if fields:
            models = [inner for field in fields for inner in _models(field.annotation)]
        else:
            tagged = [found for found in models if part in _tags(found)]
            models = tagged or models
    return {alias for found in models for alias in found.model_fields}


def _tags(model: type[BaseModel]) -> set[Any]:
    return {tag for field in model.model_fields.values() for tag in get_args(field.annotation)}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
