"""A leaderboard as Markdown, for reading on a code host."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tabulate import tabulate

from benchmark.metrics import METRICS, PRIMARY
from benchmark.report import wording
from benchmark.report.escape import plain
from benchmark.report.figures import critical_difference
from benchmark.report.figures.write import Made
from benchmark.report.printed import SOURCE
from benchmark.report.tables import LEVEL, REFERENCE, Leaderboard, Table

_STYLES = {"best": "**{}**", "second": "<ins>{}</ins>", "": "{}"}


def render_markdown(board: Leaderboard, figures: Sequence[Made] = (), studies: Sequence[str] = ()) -> str:
    """The leaderboard with links to its figures, whose files lie beside it, and with a study of each table's cases."""
    tracks = dict.fromkeys(table.track for table in board.tables)
    parts = [
        f"# Leaderboard: {plain(board.suite)}",
        *(plain(wording.protocol(track)) for track in tracks),
        _legend(board),
        _bullets(
            [
                *(f"Machine: {plain(machine)}" for machine in board.machines),
                *(f"Software: {plain(versions)}" for versions in board.versions),
                f"Made from stored results alone by `transrec report {board.suite}`; the same as a page to sort and "
                "filter: `index.html`; for programs: `leaderboard.json`, `leaderboard.csv`; for LaTeX, and by groups "
                "of users: `tables/`",
                *([f"No ranking across targets: {reason}"] if (reason := critical_difference.absent(board)) else []),
            ]
        ),
        *_overall(board),
        _bullets(f"{plain(wording.agreement(found))}." for found in board.agreements),
        *(_figure(figure) for figure in figures if figure.target is None),
        *(
            part
            for table, study in zip(board.tables, studies or [""] * len(board.tables), strict=True)
            for part in _section(table, _of(table, figures), study)
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _legend(board: Leaderboard) -> str:
    sentences = [
        "Numbers are means over users, then over seeds, ± the standard deviation over seeds.",
        "The best of a column is **bold**, the second <ins>underlined</ins>.",
    ]
    rows = [row for table in board.tables for row in table.rows]
    if any(row.versus for row in rows):
        sentences.append(
            f"Δ is the difference to {REFERENCE} over users, each averaged over seeds first, with the 95 % interval of "
            "a paired t test; it speaks of these trained models, not of other seeds."
        )
    if any(row.trials is not None for row in rows):
        sentences.append(wording.TRIALS)
    if any(row.claim for row in rows):
        sentences.append(
            f"`*`: above every paper baseline in {PRIMARY}, `**`: above every control as well, by paired t tests with "
            f"p < {LEVEL} after Holm's correction within the target; both are given these trained models. Replicas and "
            "siblings of a row are not among its rivals."
        )
    return " ".join(sentences)


def _overall(board: Leaderboard) -> list[str]:
    """The primary metric of every row on every target, side by side; nothing for one target alone."""
    tables = [table for table in board.tables if table.rows]
    if len(tables) < 2:
        return []
    columns = []
    for table in tables:
        marks = wording.marks(table.rows, PRIMARY)
        columns.append(
            {
                row.label: _STYLES[mark].format(wording.mean(row.cells[PRIMARY])) + plain(wording.star(row))
                for row, mark in zip(table.rows, marks, strict=True)
            }
        )
    rows = {row.label: row for table in tables for row in table.rows}
    lines = [
        [plain(label), wording.KINDS[row.role], *(column.get(label, wording.NOTHING) for column in columns)]
        for label, row in rows.items()
    ]
    names = [
        f"{table.target} ({table.track})" if len({other.track for other in tables}) > 1 else table.target
        for table in tables
    ]
    return [f"## Overall: {PRIMARY}", _grid(["method", "kind", *map(plain, names)], lines)]


def _of(table: Table, figures: Sequence[Made]) -> list[Made]:
    return [figure for figure in figures if (figure.target, figure.track) == (table.target, table.track)]


def _figure(figure: Made) -> str:
    words = figure.words
    return f"![{plain(words.alt)}]({figure.png})\n\n**{plain(words.title)}.** {plain(words.caption)}"


def _section(table: Table, figures: Sequence[Made], study: str) -> list[str]:
    title = table.about.title if table.about else table.target
    parts = [f"## {plain(wording.titled(title, table.track))} (`{table.target}`)", f"{plain(wording.size(table))}."]
    if table.rows:
        parts.append(_quality(table))
        parts += _titled("### What the tests say", _bullets(_tests(table)))
        parts += _titled("### Beside the printed numbers", _beside_print(table))
        parts += _titled("### Figures", "\n\n".join(map(_figure, figures)))
        parts += _titled("### Nearest source sequences", study)
        parts += ["### Cost", _cost(table), "### Notes", _bullets(_notes(table))]
    parts += _titled("### Without a result", _bullets(map(plain, wording.gaps(table))))
    return parts


def _quality(table: Table) -> str:
    compared = any(row.versus for row in table.rows)
    tuned = any(row.trials is not None for row in table.rows)
    columns = [_column(table, metric) for metric in METRICS]
    lines = [
        [
            plain(row.label),
            wording.KINDS[row.role],
            *values,
            *([wording.interval(row.versus)] if compared else []),
            wording.runs(row),
            *([wording.trials(row)] if tuned else []),
        ]
        for row, *values in zip(table.rows, *columns, strict=True)
    ]
    shown = ["seeds", *(["trials"] if tuned else [])]
    return _grid(["method", "kind", *METRICS, *([wording.VERSUS] if compared else []), *shown], lines)


def _column(table: Table, metric: str) -> list[str]:
    values = []
    for row, mark in zip(table.rows, wording.marks(table.rows, metric), strict=True):
        cell = row.cells[metric]
        star = plain(wording.star(row)) if metric == PRIMARY else ""
        values.append(_STYLES[mark].format(wording.mean(cell)) + star + wording.spread(cell))
    return values


def _tests(table: Table) -> Iterable[str]:
    yield from map(plain, wording.claims(table))
    for group in table.tied:
        yield f"Can't be told apart in {PRIMARY} (5 %, Holm over all pairs): {', '.join(map(plain, group))}."
    if table.detectable is not None:
        yield (
            f"Smallest difference to {REFERENCE} that would be found with power 0.8: {table.detectable:.4f} {PRIMARY} "
            "(median of the rows)."
        )
    yield from map(plain, wording.pretrainings(table))
    gains = [f"{metric} {gain:+.1%}" for metric, gain in table.improvement.items() if gain is not None]
    if gains:
        yield f"The best proposed row over the best paper baseline: {', '.join(gains)}."


def _beside_print(table: Table) -> str:
    """Ours, theirs and the difference, of the rows that the paper prints and of the replicas that explain one."""
    rows = [row for row in table.rows if any(cell.printed is not None for cell in row.cells.values())]
    if not rows:
        return ""
    lines = [[plain(row.label), *(wording.beside_print(row.cells[metric]) for metric in METRICS)] for row in rows]
    said = (
        f"Ours, the number printed in {SOURCE}, and the difference. The printed ones were obtained with the paper's "
        "encoder, sources and tuning, which need not be those of this suite; a replica stands beside the row whose "
        "released code it reproduces."
    )
    return f"{said}\n\n{_grid(['method', *METRICS], lines)}"


def _titled(title: str, body: str) -> list[str]:
    return [title, body] if body else []


def _cost(table: Table) -> str:
    lines = []
    for row in table.rows:
        epochs = [wording.NOTHING if value is None else f"{value:.1f}" for value in (row.epochs, row.best_epoch)]
        trained, total = row.parameters_trained, row.parameters_total
        lines.append(
            [
                plain(row.label),
                wording.seconds(row.wall_seconds),
                wording.seconds(row.core_seconds),
                wording.seconds(row.pretraining_seconds),
                f"{row.peak_memory_mb:,.0f}",
                wording.NOTHING if trained is None or total is None else f"{trained:,} of {total:,}",
                wording.NOTHING if row.epochs is None else " / ".join(epochs),
            ]
        )
    headers = [
        "method",
        "s / seed",
        "core s / seed",
        "+ pre-training s",
        "peak MB",
        "trained parameters",
        "epochs run / best",
    ]
    return _grid(headers, lines)


def _notes(table: Table) -> Iterable[str]:
    asked = table.questions.test if table.questions else table.about.users if table.about else 0
    if table.no_comparison:
        yield f"No comparison with {REFERENCE}: {plain(table.no_comparison)}."
    if units := wording.units(table):
        yield units
    if table.cold_users:
        share = table.cold_users / asked
        yield f"Cold: the test item never occurs in training for {wording.cold(table)} ({share:.2%})."
    tied = [f"{plain(row.label)} {row.tie_rate:.1%}" for row in table.rows if row.tie_rate > 0]
    if tied:
        yield f"Ties: the share of test items that score exactly like another item is {', '.join(tied)}."
    if table.sources:
        sources = (f"{plain(source.name)} ({wording.counts(source)})" for source in table.sources)
        yield f"Sources: {', '.join(sources)}."
    if table.encoders:
        yield f"Item texts encoded by: {', '.join(map(plain, table.encoders))}."
    for overlap in table.overlap:
        shared = [
            f"{what} not checkable (ids of another space)" if count is None else f"{count:,} {what}"
            for what, count in (("users", overlap.users), ("items", overlap.items))
        ]
        yield f"Shared with {plain(overlap.source)}: {', '.join(shared)}, {overlap.texts:,} identical texts."
    yield from (f"{plain(wording.removed(removed))}." for removed in table.removed)
    if any(row.pretraining_seconds is not None for row in table.rows):
        yield "Pre-training is made once: its time is shared evenly by the runs of this report that use it."
    if other := wording.other_hardware(table):
        yield f"Times of other hardware, no measure beside those of the other rows: {plain('; '.join(other))}."
    yield from (f"{plain(row.label)}: {plain(row.note)}" for row in table.rows if row.note)
    yield from (f"Under-tuned: {plain(line)}." for line in wording.under_tuned(table))
    yield from _shared("Tuning", ((row.tuning, row.label) for row in table.rows), len(table.rows))
    warnings = [(warning, row.label) for row in table.rows for warning in row.warnings]
    yield from _shared("Warning", warnings, len(table.rows))


def _shared(kind: str, said: Iterable[tuple[str, str]], rows: int) -> Iterable[str]:
    """Each text once, with the rows it is said of, unless these are all."""
    labels: dict[str, list[str]] = {}
    for text, label in said:
        labels.setdefault(text, []).append(plain(label))
    for text, named in labels.items():
        of = "" if len(named) == rows else f" ({', '.join(named)})"
        yield f"{kind}{of}: {plain(text)}"


def _grid(headers: list[str], lines: Sequence[Sequence[object]]) -> str:
    align = ["left" if header in ("method", "kind") else "right" for header in headers]
    return tabulate(lines, headers, tablefmt="github", disable_numparse=True, colalign=align)


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
