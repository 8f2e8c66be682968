"""The LaTeX tables say what the leaderboard says, and compile whatever a name holds."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from boards import full_board, hostile_board, make_board, make_claim, make_row, make_table
from hypothesis import given
from hypothesis import strategies as st

from benchmark.files import write_text
from benchmark.report.latex import escape, render_tables
from benchmark.report.tables import Leaderboard


def lines(text: str) -> list[list[str]]:
    """The cells of each line of a table, its head first."""
    return [[cell.strip() for cell in line[:-3].split(" & ")] for line in text.splitlines() if line.endswith(r"\\")]


def test_the_overall_table_is_laid_out_as_the_papers() -> None:
    head, first, second, *others = lines(render_tables(full_board())["tables/overall.tex"])
    # Controls and replicas are not in it; a submitted row is.
    methods = ["SASRec", "FDSA", r"UniSRec\_t", r"UniSRec\_t+ID", "Mine (zero-shot; hidden=64)"]
    assert head == ["Target", "Metric", *methods, "Improv."]
    values = ["0.1090", "0.1264", r"\textbf{0.1330}", r"\underline{0.1276}", "0.1200"]
    assert first == ["amazon2018-scientific", "Recall@10", *values, r"$+5.2$\,\%"]
    # Marks stand where the tests were made.
    assert second[4:6] == [r"\textbf{0.0665}$^{**}$", r"\underline{0.0638}$^{*}$"]
    assert [line[:2] for line in others[:2]] == [["", "Recall@50"], ["", "NDCG@50"]]
    assert [line[-1] for line in others[:2]] == [r"$-1.0$\,\%", "--"]
    assert others[2][:4] == ["online-retail", "Recall@10", r"\underline{0.0500}", "--"]
    assert len(others) == 2 + 4


def test_printed_numbers_have_a_table_of_their_own() -> None:
    assert lines(render_tables(full_board())["tables/printed.tex"]) == [
        ["Target", "Metric", "SASRec"],
        ["amazon2018-scientific", "Recall@10", "--"],
        ["", "NDCG@10", "0.0553"],
        ["", "Recall@50", "--"],
        ["", "NDCG@50", "--"],
        ["online-retail", "Recall@10", "0.0480"],
        *(["", metric, "0.0480"] for metric in ("NDCG@10", "Recall@50", "NDCG@50")),
    ]


def test_a_targets_table_has_every_row_with_spread_interval_and_seeds() -> None:
    text = render_tables(full_board())["tables/amazon2018-scientific.tex"]
    found = lines(text)
    assert [line[0] for line in found[1:]] == [escape(row.label) for row in full_board().tables[0].rows]
    assert found[2] == [
        "FDSA",
        *(rf"{value} {{\scriptsize$\pm$ 0.0010}}" for value in ("0.1264", "0.0632", "0.1896", "0.0948")),
        r"$+0.0087$ {\scriptsize[$+0.0067$, $+0.0107$]}",
        "1",
    ]
    assert r"Not told apart in NDCG@10: UniSRec\_t, UniSRec\_t+ID." in text
    assert r"not of the method, for UniSRec\_t+ID:" in text
    assert text.count(r"\addlinespace") == 3  # between the kinds


def test_what_the_other_csv_lacks() -> None:
    files = render_tables(full_board())
    compared = list(csv.DictReader(io.StringIO(files["tables/comparisons.csv"])))
    assert compared[2] == {
        "target": "amazon2018-scientific",
        "track": "paper",
        "method": "UniSRec_t",
        "setting": "full",
        "variant": "",
        "mark": "**",
        "difference": "0.012",
        "low": "0.01",
        "high": "0.014",
        "p": "0.001",
        "units": "8000",
        "claim_rival": "FDSA",
        "claim_low": "0.001",
        "claim_high": "0.005",
    }
    assert compared[0]["difference"] == ""
    assert len(compared) == sum(len(table.rows) for table in full_board().tables)
    gains = list(csv.DictReader(io.StringIO(files["tables/improvement.csv"])))
    assert [gain["improvement"] for gain in gains[:4]] == ["0.052", "0.0522", "-0.01", ""]


def test_nothing_is_written_of_nothing() -> None:
    assert render_tables(make_board(make_table("toy", (), about=None))) == {}
    control = make_table("toy", (make_row("Popularity", 0.1, role="control"),))
    assert set(render_tables(make_board(control))) == {
        "tables/toy.tex",
        "tables/comparisons.csv",
        "tables/improvement.csv",
    }


def test_no_two_tables_share_a_file() -> None:
    rows = (make_row("SASRec", 0.1),)
    strict = replace(make_table("toy", rows), track="strict")
    board = make_board(*(make_table(name, rows) for name in ("toy", "Toy", "overall", "printed")), strict)
    names = [name for name in render_tables(board) if name.endswith(".tex")]
    assert names == [
        f"tables/{name}.tex" for name in ("toy", "Toy-2", "overall-2", "printed-2", "toy-strict", "overall")
    ]


def test_a_mark_without_doubt_is_not_qualified() -> None:
    rows = (make_row("SASRec", 0.1), make_row("UniSRec_t", 0.2, claim=make_claim(low=0.001)))
    assert "not of the method" not in render_tables(make_board(make_table("toy", rows)))["tables/toy.tex"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("UniSRec_t+ID", r"UniSRec\_t+ID"),
        (
            r"\input{x} $5 & 3% #1 ~^",
            r"\textbackslash{}input\{x\} $\mathdollar$5 \& 3\% \#1 \textasciitilde{}\textasciicircum{}",
        ),
        ("[a] *b", "{[}a] {*}b"),
        ("a---b", "a-{}-{}-b"),
        ("é Ő ± 中 \u202e\n x", r"\'{e} \H{O} $\pm$ (U+4E2D) (U+202E) x"),
    ],
)
def test_escaping(text: str, shown: str) -> None:
    assert escape(text) == shown


@given(st.text())
def test_escaped_text_is_plain_and_opens_nothing(text: str) -> None:
    shown = escape(text)
    assert all(" " <= character <= "~" for character in shown)
    assert "--" not in shown
    bare = re.sub(r"\\[{}$&%#_]", "", shown)
    assert not re.search(r"[&%#_`]|\\\\", bare.replace(r"\`", ""))
    assert bare.count("{") == bare.count("}")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
@pytest.mark.parametrize("board", [full_board(), hostile_board()], ids=["full", "hostile"])
def test_the_tables_compile(board: Leaderboard, tmp_path: Path) -> None:
    files = {name: text for name, text in render_tables(board).items() if name.endswith(".tex")}
    for name, text in files.items():
        write_text(tmp_path / name, text)
    parts = [rf"\input{{{name}}}" for name in files]
    document = ["\\documentclass{article}", r"\usepackage{booktabs, graphicx}", r"\begin{document}", *parts]
    (tmp_path / "paper.tex").write_text("\n".join([*document, r"\end{document}"]))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="latin-1", check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert (tmp_path / "paper.pdf").stat().st_size > 1000
    if board.suite == "small":  # no line can be broken inside of a hostile name
        assert "Overfull" not in done.stdout
    assert "Missing character" not in (tmp_path / "paper.log").read_text(encoding="latin-1")
