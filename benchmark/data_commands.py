"""``transrec data``: get data sets, prepare them, look at them, and bring your own."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from benchmark.cards import Card, Cards, Role, load_card, load_cards
from benchmark.domain import Damaged, Domain
from benchmark.errors import InputError, at, printable
from benchmark.files import sibling, write_text
from benchmark.formats.atomic import lost_in_atomic, read_as_missing, read_atomic, write_atomic
from benchmark.formats.interactions import check_lengths, text_warnings
from benchmark.formats.tables import Columns, read_tables
from benchmark.formats.unisrec import write_unisrec
from benchmark.paths import cache_dir
from benchmark.prepare import Prepared, prepare, raw_folder
from benchmark.prepare.fetch import fetch
from benchmark.prepare.kcore import domain_core
from benchmark.prepare.prepared import domain_folder, examine, key_of, remember
from benchmark.strict import parse

app = typer.Typer(help="Get, prepare, show and verify data sets; import your own.", no_args_is_help=True)

Names = Annotated[list[str], typer.Argument(help="Names or aliases of data sets.", show_default=False)]
Data = Annotated[list[Path] | None, typer.Option(help="Folder with raw or released files (repeatable).")]
CardFolders = Annotated[list[Path] | None, typer.Option("--cards", help="Folder with more dataset cards (repeatable).")]
AllowMismatch = Annotated[
    bool, typer.Option("--allow-mismatch", help="Accept data that differ from their card, as custom domains.")
]
LATEST_YEAR = 7_258_118_400
"""The year 2200 in seconds since 1970: later times are of another unit."""


class Form(StrEnum):
    ATOMIC = "atomic"
    BENCHMARK = "benchmark"


class TieOrder(StrEnum):
    HASH = "hash"
    LINE_ORDER = "line-order"


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def all_cards(folders: list[Path] | None = None) -> Cards:
    """The cards of the suite, of imported tables and of the folders given."""
    return load_cards(folders or [], cache_dir())


@app.command("prepare")
def prepare_command(
    names: Names,
    data: Data = None,
    cards: CardFolders = None,
    allow_mismatch: AllowMismatch = False,
    as_json: AsJson = False,
) -> None:
    """Turn raw or released files into prepared domains, checked against their cards."""
    known = all_cards(cards)
    wanted = [known[name] for name in names]
    done = [prepare(card, data=data or [], cache=cache_dir(), allow_mismatch=allow_mismatch) for card in wanted]
    _print([_summary(prepared) for prepared in done], as_json)


@app.command("fetch")
def fetch_command(names: Names, cards: CardFolders = None) -> None:
    """Download the raw files of data sets that have a direct address."""
    known = all_cards(cards)
    for card in [known[name] for name in names]:
        for path in fetch(card, raw_folder(cache_dir()), lambda line: typer.echo(line, err=True)):
            typer.echo(path)


@app.command("import")
def import_command(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    interactions: Annotated[Path, typer.Option(help="Table of user, item, timestamp: .csv, .parquet or .inter.")],
    items: Annotated[Path, typer.Option(help="Table of item and text: .csv, .parquet or .item.")],
    user: Annotated[str | None, typer.Option(help="Column of the user; 'user' by default.")] = None,
    item: Annotated[str | None, typer.Option(help="Column of the item, in both tables; 'item' by default.")] = None,
    catalogue_item: Annotated[
        str | None, typer.Option(help="Column of the item in the item table, where it is called otherwise there.")
    ] = None,
    timestamp: Annotated[
        str | None, typer.Option(help="Column of the time (seconds since 1970 or ISO dates); 'timestamp' by default.")
    ] = None,
    text: Annotated[list[str] | None, typer.Option(help="Column of the text (repeatable); 'text' by default.")] = None,
    ties: Annotated[
        TieOrder, typer.Option(help="Order inside equal times of a user; line-order is right only if the file is.")
    ] = TieOrder.HASH,
    positions: Annotated[bool, typer.Option("--positions", help="Times are but positions: keep none.")] = False,
    drop_unknown: Annotated[
        bool, typer.Option("--drop-unknown", help="Leave out interactions with items that the item table lacks.")
    ] = False,
    drop_repeated: Annotated[
        bool, typer.Option("--drop-repeated", help="Count rows that agree in user, item and time once.")
    ] = False,
    k_core: Annotated[int, typer.Option(min=1, help="Keep users and items with this many interactions.")] = 1,
    role: Annotated[Role, typer.Option(help="What it will be used as.")] = "both",
) -> None:
    """Make a data set of your own from an interaction table and an item table."""
    if interactions.name.removesuffix(".gz").endswith(".inter"):
        given = {"--user": user, "--item": item, "--catalogue-item": catalogue_item, "--timestamp": timestamp}
        needless = [option for option, column in given.items() if column is not None]
        if needless:
            raise InputError(
                f"{interactions}: {', '.join(needless)} can't be given: the columns of atomic files are always called "
                f"user_id, item_id and timestamp; leave it out, or bring a .csv or .parquet table"
            )
        dropping = {"--drop-unknown": drop_unknown, "--drop-repeated": drop_repeated}
        if needless := [option for option, said in dropping.items() if said]:
            raise InputError(f"{interactions}: {', '.join(needless)} is for .csv and .parquet tables; leave it out")
        domain = read_atomic(interactions, items, name=name, text=text, ties=ties.value, positions=positions)
    else:
        columns = Columns(
            user=user or "user",
            item=item or "item",
            timestamp=timestamp or "timestamp",
            text=tuple(text or ["text"]),
            catalogue_item=catalogue_item,
        )
        domain = read_tables(
            interactions,
            items,
            name=name,
            columns=columns,
            ties=ties.value,
            positions=positions,
            drop_unknown=drop_unknown,
            drop_repeated=drop_repeated,
            say=lambda line: typer.echo(f"warning: {line}", err=True),
        )
    if k_core > 1:
        domain = domain_core(domain, k_core)
    if role != "source":
        check_lengths(domain, interactions)
    card = import_domain(domain, role=role, cache=cache_dir())
    for warning in text_warnings(domain):
        typer.echo(f"warning: {warning}", err=True)
    use = {
        "target": f"with --targets {card.name}",
        "source": "under 'sources' of a suite",
        "both": f"with --targets {card.name}, or under 'sources' of a suite",
    }
    typer.echo(
        f"{card.name}: {domain.n_users:,} users, {domain.n_items:,} items, {domain.n_interactions:,} interactions"
        f"{_when(domain)}; use it {use[role]}; its card is {card.file}"
    )


@app.command("export")
def export_command(
    name: Annotated[str, typer.Argument(help="Name or alias of a data set.")],
    to: Annotated[Path, typer.Option(help="Folder to write to; the files get a folder of their own in it.")],
    form: Annotated[
        Form, typer.Option("--format", help="atomic: all interactions; benchmark: the leave-one-out split.")
    ] = Form.ATOMIC,
    data: Data = None,
    cards: CardFolders = None,
    allow_mismatch: AllowMismatch = False,
) -> None:
    """Write a data set as RecBole and UniSRec's scripts read it."""
    card = all_cards(cards)[name]
    domain = prepare(card, data=data or [], cache=cache_dir(), allow_mismatch=allow_mismatch).domain
    folder = to / domain.name
    if folder.exists():
        raise InputError(f"{folder}: is there already; delete it, or give another folder with --to")
    to.mkdir(parents=True, exist_ok=True)
    temporary = sibling(folder)
    try:
        (write_atomic if form is Form.ATOMIC else write_unisrec)(domain, temporary)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for path in sorted(folder.iterdir()):
        typer.echo(path)
    if form is Form.ATOMIC:
        lost = lost_in_atomic(domain)
        for what in lost:
            typer.echo(f"warning: {what}: read back, it is another domain", err=True)
        if missing := read_as_missing(domain):
            typer.echo(f"warning: RecBole takes {missing} ids (NA, nan, None and so on) for missing values", err=True)
        prefix = folder / domain.name
        positions = " --positions" if domain.timestamps is None else ""
        typer.echo(
            f"read it back with: transrec data import NAME --interactions {prefix}.inter --items {prefix}.item "
            f"--ties line-order{positions}"
        )


def _when(domain: Domain) -> str:
    """From when to when, for readers to see whether times were understood."""
    if domain.timestamps is None:
        return ""
    first, last = int(domain.timestamps.min()), int(domain.timestamps.max())
    if not 0 <= last < LATEST_YEAR:
        return f", times {first} to {last}: no seconds since 1970 (milliseconds?), good for their order alone"
    start, end = (datetime.fromtimestamp(time, UTC).date().isoformat() for time in (max(first, 0), last))
    return f", {start} to {end}"


@app.command("show")
def show_command(name: str, cards: CardFolders = None, as_json: AsJson = False) -> None:
    """What a data set is, where to get it and what must come out."""
    card = all_cards(cards)[name]
    shown = card.model_dump(mode="json", exclude_none=True) | {"card": str(card.file)}
    folder = domain_folder(card, cache_dir())
    if folder.is_dir():
        shown["prepared"] = str(folder)
    if as_json:
        typer.echo(json.dumps(shown, indent=1))
    else:
        typer.echo(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=110).rstrip())


@app.command("verify")
def verify_command(names: Names, data: Data = None, cards: CardFolders = None, as_json: AsJson = False) -> None:
    """Check prepared domains against their own fingerprints and their cards; exit code 1 if one differs."""
    known = all_cards(cards)
    found: list[Prepared] = []
    damaged: list[dict[str, Any]] = []
    for card in [known[name] for name in names]:
        try:
            found.append(examine(card, data=data or [], cache=cache_dir()))
        except Damaged as error:
            damaged.append({"name": card.name, "damaged": str(error)})
    _print([_summary(prepared) for prepared in found], as_json, damaged)
    if damaged or any(prepared.custom for prepared in found):
        raise typer.Exit(1)


def import_domain(domain: Domain, *, role: Role, cache: Path) -> Card:
    """Keep a domain and a card for it in the cache; an import of the same name is replaced.

    Raises InputError if the name is no valid name, or belongs to another card.
    """
    path = cache / "cards" / f"{domain.name}.yaml"
    given = {
        "reader": "imported",
        "split": "own",
        "expect": {
            "users": domain.n_users,
            "items": domain.n_items,
            "interactions": domain.n_interactions,
            "fingerprint": domain.fingerprint,
        },
    }
    fields: dict[str, Any] = {
        "name": domain.name,
        "title": domain.name,
        "role": role,
        "about": "Imported with `transrec data import`.",
        "source": "imported",
        "licence": "unknown",
        "inputs": [given],
    }
    card = parse(Card, fields, f"the import of '{domain.name}'")
    for other in load_cards():
        if domain.name in (other.name, *other.aliases):
            raise InputError(f"the name '{domain.name}' belongs to {at(other.file)}; import under another name")
    remember(domain, domain_folder(card, cache), key_of(card.inputs[0], {}))
    write_text(path, yaml.safe_dump(fields, sort_keys=False, allow_unicode=True))
    return load_card(path)


def _summary(prepared: Prepared) -> dict[str, Any]:
    domain = prepared.domain
    return {
        "name": prepared.card.name,
        "split": prepared.split,
        "custom": prepared.custom,
        "users": domain.n_users,
        "items": domain.n_items,
        "interactions": domain.n_interactions,
        "fingerprint": domain.fingerprint,
        "folder": str(domain_folder(prepared.card, cache_dir())),
        "mismatches": list(prepared.mismatches),
        "warnings": list(prepared.warnings),
    }


def _print(summaries: list[dict[str, Any]], as_json: bool, damaged: Sequence[dict[str, Any]] = ()) -> None:
    if as_json:
        typer.echo(json.dumps([*summaries, *damaged], indent=1))
        return
    for found in damaged:
        typer.echo(printable(f"{found['name']}: DAMAGED: {found['damaged']}"), err=True)
    for found in summaries:
        label = f"{found['split']}, CUSTOM" if found["custom"] else found["split"]
        typer.echo(
            f"{found['name']} ({label}): {found['users']:,} users, {found['items']:,} items, "
            f"{found['interactions']:,} interactions, fingerprint {found['fingerprint'][:12]}, in {found['folder']}"
        )
        for problem in found["mismatches"]:
            typer.echo(f"  differs from its card: {problem}", err=True)
        for warning in found["warnings"]:
            typer.echo(f"  warning: {warning}", err=True)
