"""How numbers are written, alike in every rendering."""

from __future__ import annotations

from collections.abc import Iterable

from benchmark.forecast import in_words
from benchmark.metrics import PRIMARY
from benchmark.record import RemovedInfo, SourceInfo, TargetInfo
from benchmark.report.tables import (
    REFERENCE,
    Against,
    Agreement,
    Cell,
    Claim,
    Pretrainings,
    Row,
    Table,
    Unrun,
    label_of,
)
from benchmark.significance import Paired

VERSUS = f"Δ {PRIMARY} vs {REFERENCE} (95 % CI)"
NOTHING = "-"
UNDER_TUNED = "†"
TRIALS = (
    "Trials: configurations that were tried of a row, the one it is shown with being the best on validation "
    f"({PRIMARY}, one seed); {UNDER_TUNED}: under-tuned, for another row of the table had more."
)
KINDS = {"paper": "paper", "control": "control", "replica": "replica", "row": "other"}
"""What readers call a role."""
_PROTOCOLS = {
    "paper": "Each user's last item is held out for testing and the one before it for selection, and every item of "
    "the target is ranked for each of them, seen ones included, without sampling. Checkpoints are selected by "
    f"unrounded {PRIMARY} on validation; where other items score exactly as high as the held-out one, a metric is its "
    "exact expectation over the orders of the tie.",
    "strict": "Strict track: one instant, the same for everybody, ends all that is learnt from, of the sources too. "
    "What happened on the target from then on is asked, after all that the same user did before; users without any "
    "history before the instant are left out and counted, items that are new then stay candidates. Epochs are selected "
    "on a window of time before the instant; then a new model is trained on everything before it, for as many epochs. "
    "Means and intervals are over questions; those of one user are not independent, and intervals know it.",
}


def protocol(track: str) -> str:
    """How the numbers of a track came about."""
    return _PROTOCOLS.get(track, f"Track: {track}.")


def titled(title: str, track: str) -> str:
    """The title of a target under a track."""
    return title if track == "paper" else f"{title}, track {track}"


def mean(cell: Cell) -> str:
    """Four digits, as papers print them."""
    return f"{cell.mean:.4f}"


def spread(cell: Cell) -> str:
    return f" ± {cell.sd:.4f}" if cell.sd is not None else ""


def runs(row: Row) -> str:
    """How many runs a row has: ``3``; ``6 (2 pre-trainings)``."""
    apart = f" ({len(row.pretrainings.seeds)} pre-trainings)" if row.pretrainings else ""
    return f"{len(row.seeds)}{apart}"


def pretrainings(table: Table) -> list[str]:
    """A sentence on each row with several pre-trainings: how much of its spread is theirs."""
    return [f"{row.label}: {spread_of(row.pretrainings)}" for row in table.rows if row.pretrainings]


def spread_of(found: Pretrainings) -> str:
    """What the spread over its runs is made of."""
    said = f"of {PRIMARY}, the standard deviation between its {len(found.seeds)} pre-trainings is {found.between:.4f}"
    if found.within is None:
        return f"{said}."
    return f"{said} (chance within them taken off), that between runs from the same pre-training {found.within:.4f}."


def beside_print(cell: Cell) -> str:
    """``0.1066 / 0.1080 / -0.0014``: ours, printed, difference."""
    if cell.printed is None:
        return NOTHING
    return f"{cell.mean:.4f} / {cell.printed:.4f} / {cell.mean - cell.printed:+.4f}"


def interval(versus: Paired | None) -> str:
    if versus is None:
        return NOTHING
    return f"{versus.difference:+.4f} [{versus.low:+.4f}, {versus.high:+.4f}]"


def seconds(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def size(table: Table) -> str:
    """Counts and provenance of a target's data."""
    about = table.about
    if about is None:
        return "No results yet"
    custom = ", custom data (not what its card expects, or without a card): no printed numbers" if about.custom else ""
    return f"{counts(about)}, {about.split} split{custom}{_asked(table)}"


def _asked(table: Table) -> str:
    asked = table.questions
    if asked is None:
        return ""
    rule = "the last interaction of each user" if asked.rule == "last" else "every interaction"
    return (
        f"; asked is {rule} from {asked.test_from} on: {asked.test:,} questions of {asked.users:,} users, while "
        f"{asked.left_out:,} users without history before are left out; selected by {asked.valid:,} questions from "
        f"{asked.valid_from} on"
    )


def cold(table: Table) -> str | None:
    """For how many test items nothing could be learnt; None where that is not known."""
    if table.cold_users is None or table.about is None:
        return None
    total, of = (table.questions.test, "questions") if table.questions else (table.about.users, "users")
    return f"{table.cold_users:,} of {total:,} {of}"


def units(table: Table) -> str | None:
    """What the units of a comparison are, where they are not the users."""
    if table.clusters is None:
        return None
    what = "The questions are those of" if table.questions else "Users form"
    return f"{what} {table.clusters:,} clusters, which are the units of the comparison."


def removed(found: RemovedInfo) -> str:
    return (
        f"{found.source}: taken out of the source, since the target has them too, are {found.users:,} users, "
        f"{found.items:,} items and {found.texts:,} other items of identical text, then {found.short_users:,} users of "
        f"whom too little was left; {found.interactions:,} interactions in all"
    )


def agreement(found: Agreement) -> str:
    """How far two tracks of a target agree on the order of rows."""
    between = f"{found.target}, order of rows by {PRIMARY} in the tracks {' and '.join(found.tracks)}"
    if found.tau is None:
        return f"{between}: no rank correlation, since {found.reason}"
    return (
        f"{between}: Kendall's tau-b {found.tau:.2f} [{found.low:.2f}, {found.high:.2f}], {len(found.methods)} rows "
        "(1 is the same order, 0 no relation; 95 % interval by resampling the users of each track, given these "
        "trained models)"
    )


def counts(about: TargetInfo | SourceInfo) -> str:
    return f"{about.users:,} users, {about.items:,} items, {about.interactions:,} interactions"


def gaps(table: Table) -> list[str]:
    """One line a missing result, or a group of seeds that are missing for the same reason; then what of the suite was
    not asked for, with what it costs."""
    seeds: dict[tuple[str, str], list[int]] = {}
    for gap in table.gaps:
        name = label_of(gap.method, gap.setting, gap.label or "")
        missing = seeds.setdefault((name, f"failed: {gap.reason}" if gap.failed else gap.reason), [])
        if gap.seed not in missing:  # once for several pre-trainings
            missing.append(gap.seed)
    said = [
        f"{name}, seed{'s' if len(missing) > 1 else ''} {', '.join(map(str, missing))}: {reason}"
        for (name, reason), missing in seeds.items()
    ]
    never = [row for row in table.unrun if not row.done]
    fewer = [row for row in table.unrun if row.done]
    if never:
        said.append(f"Not run, with what a run is forecast to take of one processor: {_unrun(never)}")
    if fewer:
        said.append(f"Fewer runs than the suite has, with what another is forecast to take: {_unrun(fewer)}")
    return said


def _unrun(rows: Iterable[Unrun]) -> str:
    """``SASRec 1 of 3 (19 min), BERT4Rec (3.3 h)``."""
    said = []
    for row in rows:
        cost = "unknown, it was never run" if row.seconds is None else in_words(row.seconds)
        cost = cost if row.seconds != 0 else "nothing is trained"
        some = f" {row.done} of {row.runs}" if row.done else ""
        said.append(f"{label_of(row.method, row.setting, row.label or '')}{some} ({cost})")
    return ", ".join(said)


def trials(row: Row) -> str:
    """How many configurations were tried, marked where other rows had more."""
    if row.trials is None:
        return NOTHING
    return f"{row.trials}{UNDER_TUNED if row.under_tuned else ''}"


def budgets(table: Table) -> list[str]:
    """How many configurations were tried of each row, in one sentence; none where nothing was tuned."""
    said = [
        f"{row.label} {row.trials}{' (under-tuned)' if row.under_tuned else ''}"
        for row in table.rows
        if row.trials is not None
    ]
    return [", ".join(said)] if said else []


def under_tuned(table: Table) -> list[str]:
    """Each row that was tuned less than another of the table, and why."""
    return [f"{row.label} ({row.trials} trials): {row.under_tuned}" for row in table.rows if row.under_tuned]


def other_hardware(table: Table) -> list[str]:
    """Each row whose times are of other hardware than most rows', and which."""
    return [f"{row.label}: trained in {row.other_hardware}" for row in table.rows if row.other_hardware]


def star(row: Row) -> str:
    """``**``, ``*`` or nothing: see `claims` for what it says in words."""
    if row.claim is None or not row.claim.beats_baselines:
        return ""
    return "**" if row.claim.beats_controls else "*"


def claims(table: Table) -> list[str]:
    """A sentence or two on each proposed row: what it beats, what it doesn't, and whether that outlives its seeds."""
    return [f"{row.label}: {_claim(row.claim)}" for row in table.rows if row.claim]


def _claim(claim: Claim) -> str:
    said = [_beside("paper baseline", claim.baselines)]
    if claim.absent:
        said.append(f"not marked, since there is no result of {', '.join(claim.absent)}")
    if claim.controls:
        said.append(_beside("control", claim.controls))
    over = "includes 0: a claim about these trained models only" if claim.low <= 0 <= claim.high else "excludes 0"
    said.append(
        f"over seeds and users together the difference to {claim.best_baseline} is in "
        f"[{claim.low:+.4f}, {claim.high:+.4f}], which {over}"
    )
    return "; ".join(said)


def _beside(kind: str, family: tuple[Against, ...]) -> str:
    """Of a family of rivals, which are beaten, which beat and which do neither."""
    beaten = [against for against in family if against.above]
    beating = [against for against in family if against.below]
    if len(beaten) == len(family):
        return f"above {'the one ' + kind if len(family) == 1 else f'all {len(family)} {kind}s'}"
    said = f"above {len(beaten)} of {len(family)} {kind}s"
    if beating:
        said += f", below {_listed(beating)}"
    if rest := [against for against in family if not against.above and not against.below]:
        said += f", not clearly above or below {_listed(rest)}"
    return said


def _listed(family: list[Against]) -> str:
    return ", ".join(
        f"{against.rival} ({against.paired.difference:+.4f}, p {p_value(against.p_holm)})" for against in family
    )


def p_value(p: float) -> str:
    return f"{p:.2g}" if p >= 0.0001 else "< 0.0001"


def tied(table: Table) -> list[str]:
    """Each group of rows that can't be told apart."""
    return [", ".join(group) for group in table.tied]


def marks(rows: tuple[Row, ...], metric: str) -> list[str]:
    """For each row ``best``, ``second`` or nothing, of means before rounding for print; equals share a mark. A row that
    something was taken from has none."""
    # Nine digits: means that are equal but for the order of a summation are equal.
    means = {row.label: round(row.cells[metric].mean, 9) for row in rows if not row.controlled}
    if len(means) < 2:
        return [""] * len(rows)
    names = dict(zip(sorted(set(means.values()), reverse=True), ("best", "second"), strict=False))
    return [names.get(means[row.label], "") if row.label in means else "" for row in rows]
