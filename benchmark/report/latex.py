r"""A leaderboard as LaTeX, for papers.

Every file holds one floating table, to be taken in by ``\input``; it is plain ASCII and compiles with any engine, given
``\usepackage{booktabs, graphicx}``. A table that is wider than the line is shrunk to it.

``tables/overall.tex`` is laid out as the paper's table: a line a target and metric, a column a method of the paper or
proposed to it. ``tables/printed.tex`` has the printed numbers likewise, and ``tables/<target>.tex`` every row
of a target. ``tables/comparisons.csv`` says what ``leaderboard.csv`` does not of the same rows: a line a row with its
``mark`` (see `benchmark.report.wording.star`), the ``difference`` to the reference in the primary metric with ``low``,
``high``, ``p`` and ``units``, and the rival, low and high of its claim. ``tables/improvement.csv`` has a line a target
and metric. What does not exist is empty.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Sequence

from benchmark.layout import slug
from benchmark.metrics import METRICS, PRIMARY
from benchmark.report import printed, wording
from benchmark.report.tables import LEVEL, REFERENCE, Leaderboard, Row, Table

_NEEDS = "% needs \\usepackage{booktabs, graphicx}"
_STYLES = {"best": r"\textbf{%s}", "second": r"\underline{%s}", "": "%s"}
_NOTHING = "--"
_GENERATED = ("overall", "printed")

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    # As text it would need a font that a small installation draws first, if it can.
    "$": r"$\mathdollar$",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\char34{}",
    "`": r"\char96{}",
    # At the start of a line of a table these would belong to the end of the line before.
    "[": "{[}",
    "*": "{*}",
    "\N{PLUS-MINUS SIGN}": r"$\pm$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{GREEK CAPITAL LETTER DELTA}": r"$\Delta$",
    "\N{EN DASH}": r"\textendash{}",
    "\N{EM DASH}": r"\textemdash{}",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{HORIZONTAL ELLIPSIS}": r"\ldots{}",
    "\N{LATIN SMALL LETTER SHARP S}": r"\ss{}",
    "\N{LATIN SMALL LETTER AE}": r"\ae{}",
    "\N{LATIN SMALL LETTER O WITH STROKE}": r"\o{}",
}
_ACCENTS = {
    "\N{COMBINING GRAVE ACCENT}": "`",
    "\N{COMBINING ACUTE ACCENT}": "'",
    "\N{COMBINING CIRCUMFLEX ACCENT}": "^",
    "\N{COMBINING TILDE}": "~",
    "\N{COMBINING DIAERESIS}": '"',
    "\N{COMBINING MACRON}": "=",
    "\N{COMBINING BREVE}": "u",
    "\N{COMBINING DOT ABOVE}": ".",
    "\N{COMBINING RING ABOVE}": "r",
    "\N{COMBINING DOUBLE ACUTE ACCENT}": "H",
    "\N{COMBINING CARON}": "v",
    "\N{COMBINING CEDILLA}": "c",
}
"""Those that every font encoding of LaTeX has."""


def render_tables(board: Leaderboard) -> dict[str, str]:
    """Every table's text by its path below the report's folder, ``tables/overall.tex`` and so on.

    Targets without a result have no table; without a row of the paper's methods there is no overall one, and without
    printed numbers none of these.
    """
    files = {f"tables/{name}.tex": _target(table, board, name) for name, table in _named(board)}
    labels = _columns(board)
    if labels:
        files["tables/overall.tex"] = _overall(board, labels)
        if any(_has_printed(row) for row in _rows(board) if row.label in labels):
            files["tables/printed.tex"] = _printed(board, labels)
    if files:
        files["tables/comparisons.csv"] = _comparisons(board)
        files["tables/improvement.csv"] = _improvement(board)
    return files


def escape(text: str) -> str:
    """Text from outside as LaTeX that shows it; a character that not every font has is shown by its number."""
    shown = "".join(map(_character, unicodedata.normalize("NFC", " ".join(text.split()))))
    return shown.replace("--", "-{}-").replace("--", "-{}-")  # two hyphens side by side would be a dash


def _character(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if " " <= character <= "\N{TILDE}":
        return character
    base, *accents = unicodedata.normalize("NFD", character)
    if base.isascii() and base.isalpha() and len(accents) == 1 and accents[0] in _ACCENTS:
        return rf"\{_ACCENTS[accents[0]]}{{{base}}}"
    return f"(U+{ord(character):04X})"


def _rows(board: Leaderboard) -> list[Row]:
    return [row for table in board.tables for row in table.rows]


def _named(board: Leaderboard) -> Iterable[tuple[str, Table]]:
    """Each table with rows and the name of its file, no two alike even where case does not count."""
    taken = {*_GENERATED}
    for table in board.tables:
        if table.rows:
            stem = slug(table.target if table.track == "paper" else f"{table.target}-{table.track}")
            name, count = stem, 1
            while name.lower() in taken:
                count += 1
                name = f"{stem}-{count}"
            taken.add(name.lower())
            yield name, table


def _columns(board: Leaderboard) -> list[str]:
    """Labels of the paper's rows, in its order, and of rows that were submitted beside them."""
    order = printed.methods()
    shown = [row for row in _rows(board) if row.role == "paper" or row.claim]
    shown.sort(key=lambda row: order.index(row.method) if row.method in order else len(order))
    return list(dict.fromkeys(row.label for row in shown))


def _overall(board: Leaderboard, labels: Sequence[str]) -> str:
    lines = []
    for table in board.tables:
        shown = [row for row in table.rows if row.label in labels]
        for place, metric in enumerate(METRICS if shown else ()):
            marks = wording.marks(tuple(shown), metric)
            values = {row.label: _value(row, metric, mark) for row, mark in zip(shown, marks, strict=True)}
            gain = _gain(table.improvement.get(metric))
            lines.append(["" if place else _name(table), metric, *_by_label(values, labels), gain])
    caption = [
        "All items ranked, none sampled; means over users and seeds.",
        "Best \\textbf{bold}, second \\underline{underlined}.",
        "Improvement: the best proposed row over the best paper baseline.",
        *_star_caption(board),
    ]
    head = ["Target", "Metric", *map(escape, labels), "Improv."]
    return _float(head, lines, " ".join(caption), f"{slug(board.suite)}-overall", align=f"ll{'c' * len(labels)}r")


def _printed(board: Leaderboard, labels: Sequence[str]) -> str:
    known = [
        (table, {row.label: row.cells for row in table.rows if row.label in labels and _has_printed(row)})
        for table in board.tables
    ]
    labels = [label for label in labels if any(label in cells for _, cells in known)]
    lines = []
    for table, cells in known:
        for place, metric in enumerate(METRICS if cells else ()):
            values = {label: _number(of_row[metric].printed) for label, of_row in cells.items()}
            lines.append(["" if place else _name(table), metric, *_by_label(values, labels)])
    caption = f"The numbers printed in {escape(printed.SOURCE)}, obtained with the paper's encoder, sources and tuning."
    head = ["Target", "Metric", *map(escape, labels)]
    return _float(head, lines, caption, f"{slug(board.suite)}-printed", align=f"ll{'c' * len(labels)}")


def _target(table: Table, board: Leaderboard, name: str) -> str:
    compared = any(row.versus for row in table.rows)
    marks = {metric: wording.marks(table.rows, metric) for metric in METRICS}
    lines = []
    for place, row in enumerate(table.rows):
        values = [_value(row, metric, marks[metric][place], spread=True) for metric in METRICS]
        lines.append([escape(row.label), *values, *([_interval(row)] if compared else []), wording.runs(row)])
    title = table.about.title if table.about else table.target
    caption = [
        f"{escape(title)}: {escape(wording.size(table))}.",
        "Means over users and seeds, $\\pm$ standard deviation over seeds.",
        "Best \\textbf{bold}, second \\underline{underlined}.",
        *([f"$\\Delta$: difference to {REFERENCE} in {PRIMARY} with its 95\\,\\% interval."] if compared else []),
        *_star_caption(board),
        *_doubt(table),
        *(f"Configurations tried: {escape(said)}." for said in wording.budgets(table)),
        *(f"Not told apart in {PRIMARY}: {escape(group)}." for group in wording.tied(table)),
    ]
    head = ["Method", *METRICS, *([rf"$\Delta$ {PRIMARY}"] if compared else []), "Seeds"]
    breaks = [place for place in range(1, len(lines)) if table.rows[place].role != table.rows[place - 1].role]
    align = f"l{'c' * len(METRICS)}{'c' if compared else ''}r"
    return _float(head, lines, " ".join(caption), f"{slug(board.suite)}-{name}", align=align, breaks=breaks)


def _value(row: Row, metric: str, mark: str, *, spread: bool = False) -> str:
    cell = row.cells[metric]
    shown = _STYLES[mark] % wording.mean(cell)
    star = wording.star(row) if metric == PRIMARY else ""
    deviation = rf" {{\scriptsize$\pm$ {cell.sd:.4f}}}" if spread and cell.sd is not None else ""
    return shown + (f"$^{{{star}}}$" if star else "") + deviation


def _star_caption(board: Leaderboard) -> list[str]:
    if not any(row.claim for row in _rows(board)):
        return []
    return [
        f"$^{{*}}$: above every paper baseline in {PRIMARY}, $^{{**}}$: above every control as well "
        f"(paired $t$ tests over users, $p < {LEVEL}$ after Holm), given these trained models; "
        "there is no mark where a paper baseline has no result."
    ]


def _doubt(table: Table) -> list[str]:
    """Of marked rows whose claim does not outlive their seeds."""
    doubtful = [escape(row.label) for row in table.rows if row.claim and wording.star(row) and row.claim.low <= 0]
    if not doubtful:
        return []
    return [
        f"Of these models only, not of the method, for {', '.join(doubtful)}: over seeds and users together the "
        f"difference to the best baseline may be 0."
    ]


def _interval(row: Row) -> str:
    if row.versus is None:
        return _NOTHING
    difference, low, high = (f"${value:+.4f}$" for value in (row.versus.difference, row.versus.low, row.versus.high))
    return rf"{difference} {{\scriptsize[{low}, {high}]}}"


def _gain(value: float | None) -> str:
    return _NOTHING if value is None else rf"${100 * value:+.1f}$\,\%"


def _number(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.4f}"


def _has_printed(row: Row) -> bool:
    return any(cell.printed is not None for cell in row.cells.values())


def _name(table: Table) -> str:
    name = table.about.paper_name or table.target if table.about else table.target
    return escape(name if table.track == "paper" else f"{name} ({table.track})")


def _by_label(values: dict[str, str], labels: Sequence[str]) -> list[str]:
    return [values.get(label, _NOTHING) for label in labels]


def _float(
    head: Sequence[str],
    lines: Sequence[Sequence[str]],
    caption: str,
    label: str,
    *,
    align: str,
    breaks: Iterable[int] | None = None,
) -> str:
    """A whole table; with ``breaks`` a space before each of these lines, else a rule before each that has a name."""
    body = []
    for place, line in enumerate(lines):
        if breaks is None and place and line[0]:
            body.append(r"\midrule")
        elif place in (breaks or ()):
            body.append(r"\addlinespace")
        body.append(" & ".join(line) + r" \\")
    parts = [
        _NEEDS,
        r"\begin{table*}[t]",
        r"\centering",
        rf"\caption{{{caption}}}",
        rf"\label{{tab:{label}}}",
        rf"\sbox0{{\begin{{tabular}}{{{align}}}",
        r"\toprule",
        " & ".join(head) + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}}%",
        r"\ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\usebox0}\else\usebox0\fi",
        r"\end{table*}",
    ]
    return "\n".join(parts) + "\n"


def _comparisons(board: Leaderboard) -> str:
    compared = ("difference", "low", "high", "p", "units")
    known = ("target", "track", "method", "setting", "variant", "mark")
    lines: list[Sequence[str]] = [(*known, *compared, "claim_rival", "claim_low", "claim_high")]
    for table in board.tables:
        for row in table.rows:
            versus, claim = row.versus, row.claim
            said = (table.target, table.track, row.method, row.setting, row.variant, wording.star(row))
            numbers = [getattr(versus, name, None) for name in compared]
            claimed = (claim.best_baseline, claim.low, claim.high) if claim else (None, None, None)
            lines.append((*said, *map(_field, (*numbers, *claimed))))
    return _csv(lines)


def _improvement(board: Leaderboard) -> str:
    gains = [
        (table.target, table.track, metric, _field(gain))
        for table in board.tables
        for metric, gain in table.improvement.items()
        if table.rows
    ]
    return _csv([("target", "track", "metric", "improvement"), *gains])


def _field(value: float | str | None) -> str:
    """Eight digits, as in ``leaderboard.csv``."""
    if value is None:
        return ""
    return f"{value:.8g}" if isinstance(value, float) else str(value)


def _csv(lines: Iterable[Sequence[str]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(lines)
    return file.getvalue()
