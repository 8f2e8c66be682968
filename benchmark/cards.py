"""Dataset cards: what a data set is, how to get it, and what must come out (``datasets/*.yaml``)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, StrictBool

from benchmark.errors import InputError, unknown
from benchmark.formats.interactions import Ties
from benchmark.formats.unisrec import SUFFIXES
from benchmark.strict import FolderName, load_yaml, parse

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def _inside(path: str) -> str:
    if not path or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise ValueError("must be a relative path without '..'")
    if not path.isprintable():
        raise ValueError("must be a path without control characters")
    return path


RelativePath = Annotated[str, AfterValidator(_inside)]
"""A path that cannot leave the folder it is relative to."""

Role = Literal["source", "target", "both"]
Split = Literal["released", "re-processed", "own"]
"""Whether the order of interactions is the one published with the paper, our own run of its recipe (ties in time
differ), or the data set has no other order than this one."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Expected(_Strict):
    """What preparing must give."""

    users: Annotated[int, Field(ge=0)]
    items: Annotated[int, Field(ge=0)]
    interactions: Annotated[int, Field(ge=0)]
    text_length: float | None = None
    """Mean characters of an item text, to two decimals."""
    fingerprint: Sha256 | None = None


class IdSpace(_Strict):
    """Where raw ids come from; ids of two domains are compared only inside one space. Null: opaque."""

    users: str | None = None
    items: str | None = None


class _Input(_Strict, ABC):
    """One way to get a domain."""

    split: Split
    expect: Expected | None = None
    base: Literal["data", "card"] = "data"
    """Files lie below a ``--data`` folder, or beside the card."""
    urls: dict[str, str] = {}
    """Direct downloads by the key of `paths`; the file of a zip archive after ``#``."""
    sha256: dict[str, Sha256] = {}
    """Hash of uncompressed raw files by the key of `paths`, where known."""

    @abstractmethod
    def paths(self) -> Mapping[str, str]:
        """Relative path of each file, by a key."""


class UnisrecFiles(_Strict):
    prefix: RelativePath


class UnisrecInput(_Input):
    reader: Literal["unisrec"]
    files: UnisrecFiles

    def paths(self) -> Mapping[str, str]:
        return {suffix: f"{self.files.prefix}.{suffix}" for suffix in SUFFIXES}


class AtomicFiles(_Strict):
    interactions: RelativePath
    items: RelativePath


class AtomicInput(_Input):
    reader: Literal["atomic"]
    files: AtomicFiles
    text: tuple[str, ...] | None = None
    """Columns of the item file that make the text."""
    ties: Ties = "hash"
    positions: bool = False
    """The timestamp column only counts positions."""

    def paths(self) -> Mapping[str, str]:
        return self.files.model_dump()


class AmazonFiles(_Strict):
    ratings: RelativePath
    metadata: RelativePath


class AmazonInput(_Input):
    reader: Literal["amazon2018"]
    files: AmazonFiles

    def paths(self) -> Mapping[str, str]:
        return self.files.model_dump()


class RetailFiles(_Strict):
    table: RelativePath


class RetailInput(_Input):
    reader: Literal["online_retail"]
    files: RetailFiles
    ties: Ties = "hash"

    def paths(self) -> Mapping[str, str]:
        return self.files.model_dump()


class RetailCustomersInput(_Input):
    """The table of `RetailInput` with customers for users."""

    reader: Literal["online_retail_customers"]
    files: RetailFiles

    def paths(self) -> Mapping[str, str]:
        return self.files.model_dump()


class ImportedInput(_Input):
    """A user's table, prepared when it was imported; lies in the cache only."""

    reader: Literal["imported"]

    def paths(self) -> Mapping[str, str]:
        return {}


Input = Annotated[
    UnisrecInput | AtomicInput | AmazonInput | RetailInput | RetailCustomersInput | ImportedInput,
    Field(discriminator="reader"),
]


class Card(_Strict):
    """A data set: what it is, and the ways to get it, the first that is present wins."""

    name: FolderName
    aliases: tuple[FolderName, ...] = ()
    title: str
    role: Role
    paper_name: str | None = None
    """Its name in the printed table of arXiv:2206.05941, where it is there."""
    about: str
    source: str
    """Address of the page to get it from."""
    licence: str
    id_space: IdSpace = IdSpace()
    overlap: str | None = None
    """What it is known to share with other data sets."""
    texts_may_be_published: StrictBool = False
    """Whether results may show item texts and rows of single users: for data that belong to nobody, or whose owner
    agrees. Where it is false, as unless a card says otherwise, nothing of a user or an item gets into results."""
    inputs: Annotated[tuple[Input, ...], Field(min_length=1)]
    _file: Path = PrivateAttr(default=Path("."))

    @property
    def file(self) -> Path:
        """The YAML file the card was read from."""
        return self._file


def load_card(path: Path) -> Card:
    """One card; raises InputError naming file and key.

    An address must be https or, where the card knows the file's SHA-256, http.
    """
    card = parse(Card, load_yaml(path), path)
    for number, given in enumerate(card.inputs):
        for field in ("urls", "sha256"):
            for key in getattr(given, field):
                if key not in given.paths():
                    raise unknown("file", key, given.paths(), f"{path}: in 'inputs.{number}.{field}'")
        for key, url in given.urls.items():
            if not url.startswith("https://") and not (url.startswith("http://") and key in given.sha256):
                raise InputError(
                    f"{path}: in 'inputs.{number}.urls': the address of '{key}' must begin with https://, or with "
                    f"http:// where 'sha256' has the file's hash"
                )
    card._file = path
    return card


@dataclass(frozen=True)
class Cards:
    """Cards by name and alias."""

    by_name: Mapping[str, Card]

    def __getitem__(self, name: str) -> Card:
        """The card of a name or alias; raises InputError with the nearest right name."""
        if name in self.by_name:
            return self.by_name[name]
        by_alias = {alias: card for card in self for alias in card.aliases}
        if name not in by_alias:
            raise unknown("dataset", name, [*self.by_name, *by_alias])
        return by_alias[name]

    def __iter__(self) -> Iterator[Card]:
        return iter(self.by_name.values())

    def __len__(self) -> int:
        return len(self.by_name)


def card_folder() -> Path:
    """Where the cards of the suite are: inside the package when installed, else in the repository."""
    inside = Path(__file__).parent / "datasets"
    return inside if inside.is_dir() else Path(__file__).parents[1] / "datasets"


def load_cards(extra: Sequence[Path] = (), cache: Path | None = None) -> Cards:
    """The cards of the suite, then of imported tables (``<cache>/cards``), then of ``extra`` folders.

    Later cards replace earlier ones of the same name. Raises InputError for a broken card, a missing folder or an
    alias that two cards claim.
    """
    for folder in extra:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder of cards; give a folder with one YAML file a data set")
    imported = [cache / "cards"] if cache else []
    by_name: dict[str, Card] = {}
    for folder in (card_folder(), *imported, *extra):
        by_name |= {card.name: card for card in _in_folder(folder)}
    _check_aliases(by_name.values())
    return Cards(by_name)


def _in_folder(folder: Path) -> Iterator[Card]:
    seen: dict[str, Path] = {}
    for path in sorted(folder.glob("*.yaml")):
        card = load_card(path)
        if card.name in seen:
            raise InputError(f"{path}: '{card.name}' is already the name of {seen[card.name]}; rename one")
        seen[card.name] = path
        yield card


def _check_aliases(cards: Iterable[Card]) -> None:
    owners: dict[str, Card] = {}
    for card in cards:
        for name in (card.name, *card.aliases):
            if name in owners:
                raise InputError(
                    f"{card.file}: the name '{name}' already belongs to {owners[name].file}; choose another"
                )
            owners[name] = card
