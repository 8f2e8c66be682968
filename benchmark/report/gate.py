"""How a check against a reference looks: on a terminal, as Markdown, as JSON, and as annotations of GitHub Actions."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from tabulate import tabulate

from benchmark.errors import InputError
from benchmark.files import write_text
from benchmark.metrics import PRIMARY
from benchmark.pairs import Finding
from benchmark.regression import LEVEL, TOGETHER, Cell, Check
from benchmark.report.escape import plain
from benchmark.report.export import plain_values
from benchmark.report.wording import NOTHING, p_value

FORMAT = 1
_HEADERS = ["target", "row", "reference", "now", "change (95 % CI)", "p loss", "p gain", "catches from", "time", ""]


def render(check: Check) -> str:
    """A table of all rows, what was found, and the verdict, as aligned text."""
    found = [f"{'FAILS' if finding.failing else 'note '} {_says(finding)}" for finding in _ordered(check)]
    table = tabulate(_lines(check), _HEADERS, "simple", disable_numparse=True)
    return "\n\n".join(part for part in (table, "\n".join(found), verdict(check)) if part)


def render_markdown(check: Check) -> str:
    """The same for a page of a code host."""
    lines = [[plain(cell) for cell in line] for line in _lines(check)]
    found = "\n".join(
        f"- {'**fails**' if finding.failing else 'note'}: {plain(_says(finding))}" for finding in _ordered(check)
    )
    parts = (
        f"## Regression check of suite {plain(check.suite)}",
        plain(verdict(check)),
        found,
        tabulate(lines, _HEADERS, "github", disable_numparse=True),
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def render_json(check: Check) -> str:
    """For programs; docs/regression-gate.md says what each field is."""
    content = {"format": FORMAT, "passed": check.passed, "level": LEVEL} | plain_values(asdict(check))
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def workflow_commands(check: Check) -> list[str]:
    """Workflow commands of GitHub Actions: an error for each failing finding, a notice for each note."""
    return [
        f"::{'error' if finding.failing else 'notice'} "
        f"title={_property(f'{check.suite}: {finding.kind}')}::{_data(_says(finding))}"
        for finding in _ordered(check)
    ]


def verdict(check: Check) -> str:
    """In a sentence or two."""
    limits = check.limits
    failing = sum(finding.failing for finding in check.findings)
    against = f"code {_commits(check.commits)} against code {_commits(check.reference_commits)}"
    if check.passed:
        return (
            f"Suite {check.suite} passes ({against}): no row is shown to have lost or gained more than "
            f"{limits.margin:.1%} of its {PRIMARY}, or takes more than {limits.slower:g} times as long."
        )
    return f"Suite {check.suite} FAILS ({against}): {failing} finding{'s' if failing > 1 else ''}."


def publish(check: Check, say: Callable[[str], None], *, file: Path | None, github: bool) -> None:
    """Say it, write it to a file, and tell GitHub Actions, where it runs or ``github``. Raises OSError."""
    say(render(check))
    if file is not None:
        write_text(file, render_json(check))
    tell_github(check, say, os.environ, github=github)


def tell_github(check: Check, say: Callable[[str], None], environment: Mapping[str, str], *, github: bool) -> None:
    """Annotations on the standard output, and a summary of the step where a file for it is named."""
    if github or environment.get("GITHUB_ACTIONS") == "true":
        for line in workflow_commands(check):
            say(line)
    if summary := environment.get("GITHUB_STEP_SUMMARY"):
        try:
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(render_markdown(check))
        except OSError as error:
            raise InputError(
                f"{summary}: the summary can't be written ({error.strerror}); unset GITHUB_STEP_SUMMARY or name a file"
            ) from error


def render_moved(check: Check) -> str:
    """What a reference that is being moved changes by: every row whose mean changes."""
    lines = []
    for cell in check.cells:
        if cell.shift is not None and cell.row != TOGETHER:
            seeds = f", seeds {cell.reference_seeds} to {cell.seeds}" if cell.seeds != cell.reference_seeds else ""
            change = f" ({cell.shift.change:+.1%})" if cell.shift.change is not None else ""
            moved = f"{cell.shift.reference:.4f} to {cell.shift.now:.4f}{change}{seeds}"
            if seeds or cell.shift.now != cell.shift.reference:
                lines.append(f"{cell.target} {cell.row}: {PRIMARY} {moved}")
    lines += [_says(finding) for finding in _ordered(check) if finding.kind not in ("loss", "gain", "speed")]
    return "\n".join(lines)


def _lines(check: Check) -> list[list[str]]:
    failing = {(finding.target, finding.row) for finding in check.findings if finding.failing}
    return [_line(cell, fails=(cell.target, cell.row) in failing) for cell in check.cells]


def _line(cell: Cell, *, fails: bool) -> list[str]:
    shift, numbers = cell.shift, [NOTHING] * 6
    if shift is not None:
        numbers = [
            f"{shift.reference:.4f}",
            f"{shift.now:.4f}",
            _change(shift.change, shift.low, shift.high),
            NOTHING if cell.p_loss is None else p_value(cell.p_loss),
            NOTHING if cell.p_gain is None else p_value(cell.p_gain),
            NOTHING if shift.detectable is None else f"{-min(shift.detectable, 1.0):.0%}",
        ]
    slower = NOTHING if cell.slower is None else f"x {cell.slower:.2f}"
    return [cell.target, cell.row, *numbers, slower, "FAILS" if fails else "ok"]


def _change(change: float | None, low: float | None, high: float | None) -> str:
    if change is None or low is None or high is None:
        return NOTHING
    return f"{change:+.1%} [{low:+.1%}, {high:+.1%}]"


def _ordered(check: Check) -> list[Finding]:
    return sorted(check.findings, key=lambda finding: not finding.failing)


def _says(finding: Finding) -> str:
    place = " ".join(part for part in (finding.target, finding.row) if part)
    return " ".join(f"{place}: {finding.says}".split()) if place else " ".join(finding.says.split())


def _commits(commits: tuple[str, ...]) -> str:
    short = [commit[:10] + ("+" if commit.endswith("+") else "") for commit in commits]
    return " and ".join(short) or "of no known commit"


def _data(text: str) -> str:
    """Escaped as the value of a workflow command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """Escaped as a property of a workflow command, which a colon or a comma would end."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")
