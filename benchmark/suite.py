"""Suites: which methods on which targets, in strict YAML (``benchmark/suites/*.yaml`` or a file of your own)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from benchmark.errors import InputError, unknown
from benchmark.strict import FolderName, load_yaml, parse

FOLDER = Path(__file__).parent / "suites"
MOST_SEEDS = 1000


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PretrainingEntry(_Strict):
    epochs: Annotated[int, Field(ge=0, le=1_000_000)]
    config: dict[str, Any] = {}
    seed: Annotated[int, Field(ge=0, lt=2**53)] = 0
    seeds: Annotated[int, Field(ge=1, le=MOST_SEEDS)] = 1
    """How many pre-trainings there are, of the seeds ``seed``, ``seed + 1`` and so on. A row that starts from
    pre-training is run for each of them under each of its own seeds."""


class PretrainingChange(_Strict):
    """Where the pre-training of a row departs from the suite's; what is not said is as there."""

    epochs: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    config: dict[str, Any] = {}
    seed: Annotated[int, Field(ge=0, lt=2**53)] | None = None
    seeds: Annotated[int, Field(ge=1, le=MOST_SEEDS)] | None = None


class TuningEntry(_Strict):
    """What `transrec tune` tries of every row, in place of all that the methods declare: the same trials for all."""

    learning_rate: Annotated[tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...], Field(min_length=1)]
    target: str | None = None
    """What is tuned where no target is asked for; others take over what was chosen there, if they have no trials."""


class MethodEntry(_Strict):
    """A row: a method, and where it departs from the suite. A method may have several rows."""

    name: str
    label: Annotated[str, Field(min_length=1, max_length=60)] | None = None
    """What readers call the row, for example ``w/o MoE``, instead of the settings that it changes."""
    sources: tuple[str, ...] | None = None
    """In place of the suite's."""
    encoder: str | None = None
    few_shot: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the target's users whose interactions it is trained on; all of them unless said."""
    config: dict[str, Any] = {}
    training: dict[str, Any] = {}
    pretraining: PretrainingChange | None = None
    budget: str | None = None
    """Name of one of the method's ``budgets``; the default is the one that fits a laptop."""
    seeds: Annotated[int, Field(ge=1, le=MOST_SEEDS)] | None = None
    control: str | None = None
    """What is taken from the row on purpose, by a name of `benchmark.controls`."""


class Suite(_Strict):
    """What a suite's file says.

    The file may take from other suites, named as on the command line: ``extends: demo`` takes every key that the file
    does not give itself, each as a whole, ``name`` and ``about`` apart; ``methods: ablation`` takes that suite's rows.
    """

    name: FolderName
    about: str
    """One line: what it shows and what it costs."""
    targets: Annotated[tuple[str, ...], Field(min_length=1)]
    sources: tuple[str, ...] = ()
    track: Annotated[tuple[Literal["paper", "strict"], ...], Field(min_length=1)] = ("paper",)
    """How is asked: ``paper`` by leave-one-out, ``strict`` by a cut in time, or a list of both."""
    cut: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Of the strict track: the quantile of the times of a target's interactions at which its test part begins."""
    test: Literal["last", "successive"] = "last"
    """Of the strict track: each user's last interaction after the cut, or every one."""
    encoder: str | None = None
    seeds: Annotated[int, Field(ge=1, le=MOST_SEEDS)] = 1
    methods: Annotated[tuple[MethodEntry, ...], Field(min_length=1)]
    config: dict[str, Any] = {}
    """Hyper-parameters for every method that has them."""
    training: dict[str, Any] = {}
    pretraining: PretrainingEntry | None = None
    tuning: TuningEntry | None = None

    @field_validator("track", mode="before")
    @classmethod
    def _tracks(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("cut", "test")
    @classmethod
    def _only_strict(cls, value: Any, info: ValidationInfo) -> Any:
        if "strict" not in info.data.get("track", ("strict",)):
            raise ValueError("only the strict track has it; add 'track: strict', or leave it out")
        return value

    @field_validator("methods", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        """A bare name is a row without changes."""
        if not isinstance(value, list):
            return value
        return [{"name": entry} if isinstance(entry, str) else entry for entry in value]


def suite_names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_suite(name: str) -> Suite:
    """A suite of the package by name, or of a YAML file by path. Raises InputError."""
    path = _path(name)
    suite = parse(Suite, _content(path, ()), path)
    if path.parent == FOLDER and suite.name != path.stem:
        raise InputError(f"{path}: 'name' is '{suite.name}', expected '{path.stem}'")
    return suite


def _path(name: str, folder: Path = Path(), where: str = "") -> Path:
    """The file of a suite of the package, or one named by its path, which may be relative to ``folder``."""
    own = not name.endswith((".yaml", ".yml"))
    if own and name not in suite_names():  # a name that is a path would leave the folder
        raise unknown("suite", name, suite_names(), where)
    path = FOLDER / f"{name}.yaml" if own else folder / name
    if not path.is_file():
        raise InputError(f"{path}: no such suite file")
    return path


def _content(path: Path, above: tuple[Path, ...]) -> Any:
    """What a suite's file says together with what it takes from other suites; ``above`` take from this one."""
    own = load_yaml(path)
    if not isinstance(own, dict):
        return own
    content = dict(own)
    if "extends" in own:
        base = _taken(own.pop("extends"), "extends", path, above)
        content = {key: value for key, value in base.items() if key not in ("name", "about")} | own
    if isinstance(own.get("methods"), str):
        content["methods"] = _taken(own["methods"], "methods", path, above)["methods"]
    return content


def _taken(name: Any, key: str, path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    """The content of the suite that a key of the file ``path`` names; a mistake in it is said of its own file."""
    if not isinstance(name, str):
        raise InputError(f"{path}: key '{key}': expected the name of a suite or of a YAML file, found {name!r}")
    if path.resolve() in above:
        raise InputError(f"{path}: takes '{key}' from '{name}', which takes from this file; break the circle")
    base = _path(name, path.parent, f"{path}, key '{key}'")
    content = _content(base, (*above, path.resolve()))
    parse(Suite, content, base)
    return content
