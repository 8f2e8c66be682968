"""``transrec``: the command line. Exit codes: 0 done; 1 some runs failed or a check found something; 2 bad input;
130 interrupted."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmark import __version__
from benchmark.data_commands import AllowMismatch, AsJson, CardFolders, Data, all_cards
from benchmark.data_commands import app as data_app
from benchmark.errors import InputError, ToldElsewhere, printable
from benchmark.paths import cache_dir

app = typer.Typer(
    help="Benchmark of transferable sequential recommenders.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(data_app, name="data")

Results = Annotated[Path, typer.Option(help="Folder of stored runs.")]
Reports = Annotated[Path, typer.Option("--out", help="Folder that reports are written to.")]
Plugins = Annotated[list[str] | None, typer.Option("--plugin", help="module:Name of more methods (repeatable).")]

DropOverlap = Annotated[
    bool,
    typer.Option(
        "--drop-overlap", help="Take out of the sources the users, items and identical texts that the target has too."
    ),
]


class Listing(StrEnum):
    DATASETS = "datasets"
    METHODS = "methods"
    SUITES = "suites"
    ENCODERS = "encoders"


class Device(StrEnum):
    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Executor(StrEnum):
    LOCAL = "local"
    RAY = "ray"


class Rerun(StrEnum):
    FAILED = "failed"
    ALL = "all"


COLUMNS = ("name", "role", "consumes", "paper")
"""Of methods, in the table; --json says more."""


def _rows(what: Listing, cards: list[Path] | None, plugins: list[str] | None) -> list[dict[str, Any]]:
    if what is Listing.DATASETS:
        return [
            {"name": c.name, "aliases": " ".join(c.aliases), "role": c.role, "title": c.title, "licence": c.licence}
            for c in all_cards(cards)
        ]
    if what is Listing.SUITES:
        from benchmark.suite import load_suite, suite_names

        return [{"name": suite.name, "about": suite.about} for suite in map(load_suite, suite_names())]
    if what is Listing.ENCODERS:
        from benchmark.encoders import ABOUT

        return [{"name": name, "about": about} for name, about in ABOUT.items()]
    from benchmark.listing import methods
    from benchmark.method import registry

    return methods(registry(tuple(plugins or ())))


@app.command("list")
def list_command(what: Listing, cards: CardFolders = None, plugins: Plugins = None, as_json: AsJson = False) -> None:
    """What there is to choose from; with --json all that is known of it."""
    rows = _rows(what, cards, plugins)
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    table = Table(box=None, pad_edge=False)
    columns = COLUMNS if what is Listing.METHODS else tuple(rows[0] if rows else ())
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        # as text: what stands in a card is no markup
        table.add_row(*(Text(printable(_in_words(row[column]))) for column in columns))
    Console().print(table)


def _in_words(value: Any) -> str:
    if value is None:
        return ""
    return " ".join(value) if isinstance(value, tuple) else str(value)


@app.command("run")
def run_command(
    suite: Annotated[str, typer.Argument(help="A suite's name, or a YAML file.")],
    targets: Annotated[str, typer.Option(help="Only these targets, separated by commas.")] = "",
    methods: Annotated[str, typer.Option(help="Only these methods, separated by commas.")] = "",
    seeds: Annotated[int | None, typer.Option(min=1, help="Seeds a trained method.")] = None,
    data: Data = None,
    cards: CardFolders = None,
    results: Results = Path("results"),
    reports: Annotated[Path, typer.Option(help="Folder that the report is written to.")] = Path("reports"),
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes; one a processor by default.")] = None,
    executor: Annotated[Executor, typer.Option(help="local: processes here; ray: tasks of a Ray cluster.")] = (
        Executor.LOCAL
    ),
    address: Annotated[str | None, typer.Option(help="Of the Ray cluster; one of this machine by default.")] = None,
    shard: Annotated[str | None, typer.Option(help="i/n: only the i-th of n equal parts of the jobs.")] = None,
    device: Device = Device.AUTO,
    rerun: Annotated[
        Rerun, typer.Option(help="failed: what has no result; all: every run (not pre-training).")
    ] = Rerun.FAILED,
    plugins: Plugins = None,
    allow_mismatch: AllowMismatch = False,
    drop_overlap: DropOverlap = False,
    reference: Annotated[
        Path | None, typer.Option(help="Check the rows against this reference afterwards, where it holds the suite.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be run.")] = False,
    tuned: Annotated[bool, typer.Option("--tuned", help="With the settings that `transrec tune` chose.")] = False,
) -> None:
    """Run a suite: whatever has no result yet is trained and ranked; then the report is written and shown."""
    from benchmark.campaign import Campaign, run
    from benchmark.shards import Shard

    if address is not None and executor is not Executor.RAY:
        raise InputError("--address names a Ray cluster; use it with --executor ray")
    if reference is not None and shard is not None:
        raise InputError("--reference checks whole suites: when all shards are done, give `transrec check`")
    how = "finished runs are stored, others have a checkpoint; the same command goes on from here"
    if rerun is Rerun.ALL:
        how = "what is stored is whole; the same command begins anew"
    campaign = Campaign(
        suite=suite,
        targets=_names(targets),
        methods=_names(methods),
        seeds=seeds,
        data=tuple(data or ()),
        cards=tuple(cards or ()),
        cache=cache_dir(),
        results=results,
        reports=reports,
        workers=workers,
        executor=executor.value,
        address=address,
        shard=Shard.parse(shard) if shard is not None else None,
        device=device.value,
        replace=rerun is Rerun.ALL,
        plugins=tuple(plugins or ()),
        allow_mismatch=allow_mismatch,
        drop_overlap=drop_overlap,
        dry_run=dry_run,
        tuned=tuned,
    )
    passed = True

    def compare(name: str, rows: frozenset[tuple[str, str, str]]) -> None:
        nonlocal passed
        from benchmark.regression import check, has_reference
        from benchmark.report.gate import publish

        if reference is None:
            return
        if not has_reference(name, reference):
            typer.echo(f"\n{reference} holds no reference of suite {name}: nothing is checked")
            return
        found = check(name, results, reference, only=rows)
        typer.echo("")
        publish(found, typer.echo, file=reports / name / "check.json", github=False)
        passed = found.passed

    with _interruptible(how):
        failed = run(campaign, say=lambda line: print(line, flush=True), then=compare)
    if failed or not passed:
        raise typer.Exit(1)


@app.command("tune")
def tune_command(
    suite: Annotated[str, typer.Argument(help="A suite's name, or a YAML file.")],
    trials: Annotated[int, typer.Option(min=1, help="Configurations to try of each trained row, as given first.")],
    targets: Annotated[str, typer.Option(help="Only these targets, separated by commas.")] = "",
    methods: Annotated[str, typer.Option(help="Only these methods, separated by commas.")] = "",
    data: Data = None,
    cards: CardFolders = None,
    results: Results = Path("results"),
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes; one a processor by default.")] = None,
    device: Device = Device.AUTO,
    plugins: Plugins = None,
    allow_mismatch: AllowMismatch = False,
    drop_overlap: DropOverlap = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be tried, and its cost.")] = False,
) -> None:
    """Try the same number of configurations of every trained row and note which is best on validation.

    What is stored is not run again. `transrec run SUITE --tuned` runs the suite with what was chosen.
    """
    from benchmark.campaign import Campaign, run

    campaign = Campaign(
        suite=suite,
        targets=_names(targets),
        methods=_names(methods),
        data=tuple(data or ()),
        cards=tuple(cards or ()),
        cache=cache_dir(),
        results=results,
        reports=Path("reports"),
        workers=workers,
        device=device.value,
        plugins=tuple(plugins or ()),
        allow_mismatch=allow_mismatch,
        drop_overlap=drop_overlap,
        dry_run=dry_run,
        trials=trials,
    )
    with _interruptible("finished trials are stored, others have a checkpoint; the same command goes on from here"):
        failed = run(campaign, say=lambda line: print(line, flush=True))
    if failed:
        raise typer.Exit(1)


@app.command("pretrain")
def pretrain_command(
    suite: Annotated[str, typer.Argument(help="A suite's name, or a YAML file.")],
    data: Data = None,
    cards: CardFolders = None,
    results: Annotated[Path, typer.Option(help="Folder of stored runs; weights published there count.")] = Path(
        "results"
    ),
    device: Device = Device.AUTO,
    plugins: Plugins = None,
    allow_mismatch: AllowMismatch = False,
    drop_overlap: DropOverlap = False,
) -> None:
    """Make the pre-trained weights that a suite's rows start from, and nothing else.

    Several processes share the work under `torchrun --nproc-per-node N -m benchmark pretrain SUITE`.
    """
    from benchmark.artefacts import Order, make

    order = Order(
        suite=suite,
        data=tuple(data or ()),
        cards=tuple(cards or ()),
        cache=cache_dir(),
        results=results,
        device=device.value,
        plugins=tuple(plugins or ()),
        allow_mismatch=allow_mismatch,
        drop_overlap=drop_overlap,
    )
    with _interruptible("the same command goes on from the last epoch"):
        failed = make(order, say=lambda line: print(line, flush=True))
    if failed:
        raise typer.Exit(1)


@contextmanager
def _interruptible(how: str) -> Iterator[None]:
    """Ctrl-C within ends the command with 130, as shells expect, and says how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"interrupted: {how}", file=sys.stderr, flush=True)
        raise typer.Exit(130) from None


def _names(given: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in given.split(",") if name.strip())


@app.command("report")
def report_command(suite: str, results: Results = Path("results"), out: Reports = Path("reports")) -> None:
    """Write the leaderboard of a suite again, from its stored runs alone."""
    from benchmark.report.leaderboard import write_report

    typer.echo(f"wrote {write_report(suite, results, out).path}")


@app.command("compare")
def compare_command(
    first: str,
    second: str,
    suite: Annotated[
        str | None, typer.Option(help="The suite whose rows they are; needless where results are of one only.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="Only this target.")] = None,
    results: Results = Path("results"),
) -> None:
    """Two rows of a leaderboard, user by user: a verdict, the tests behind it, and groups of users."""
    from benchmark.report.compare import compare
    from benchmark.report.verdict import render

    typer.echo(render(compare(suite, results, first, second, target), first, second))


@app.command("check")
def check_command(
    suite: str,
    reference: Annotated[Path, typer.Option(help="Results folder of the reference.")] = Path("results", "reference"),
    results: Results = Path("results"),
    margin: Annotated[float, typer.Option(help="Share of the reference's NDCG@10 that may be lost.")] = 0.03,
    slower: Annotated[float, typer.Option(help="How many times longer a row may take, beyond what all do.")] = 2.0,
    as_json: Annotated[Path | None, typer.Option("--json", help="File to write the outcome to, for programs.")] = None,
    github: Annotated[
        bool, typer.Option("--github", help="Print annotations of GitHub Actions (there it is the default).")
    ] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Make these runs the reference, and say what changes.")
    ] = False,
) -> None:
    """Did a suite get worse than its reference? Quality by a test over users and seeds, data, versions, speed."""
    from benchmark.regression import Limits, check, has_reference
    from benchmark.report.gate import publish, render_moved

    limits = Limits(margin=margin, slower=slower)
    if not update:
        found = check(suite, results, reference, limits)
        publish(found, typer.echo, file=as_json, github=github)
        if not found.passed:
            raise typer.Exit(1)
        return
    from benchmark.reference import move

    before = None
    if has_reference(suite, reference):
        try:
            before = check(suite, results, reference, limits)
        except InputError as error:
            typer.echo(f"can't be compared with the reference there was: {error}")
    moved = move(suite, results, reference)
    if before is not None:
        typer.echo(render_moved(before))
    typer.echo(
        f"{reference} now holds the runs of suite {suite}: {moved.kept} as before, {moved.taken} new, "
        f"{moved.dropped} dropped"
    )


@app.command("verify")
def verify_command(path: Path) -> None:
    """Check a run's folder, a suite's or all results: all that can be derived again is. Doubts fail nothing."""
    from benchmark.plausibility import doubts
    from benchmark.verify import verify

    problems = verify(path)
    for problem in problems:
        typer.echo(printable(problem))
    for doubt in doubts(path):
        typer.echo(f"doubt: {printable(doubt)}")
    typer.echo(f"{path}: {len(problems)} problems" if problems else f"{path}: all is well")
    if problems:
        raise typer.Exit(1)


@app.callback(invoke_without_command=True)
def version_option(version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False) -> None:
    if version:
        typer.echo(f"transrec-bench {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; input errors become a message and exit code 2."""
    try:
        _main()
    except SystemExit as leaving:
        if "TORCHELASTIC_RUN_ID" not in os.environ:
            raise
        # threads that the processes of torchrun talk by may still be there, and would abort a process that winds up
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None))


def _main() -> None:
    try:
        app()
    except ToldElsewhere:
        sys.exit(2)
    except InputError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        told = f"error: {error.filename or 'input or output'}: {error.strerror or error}"
        print(printable(told), file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
