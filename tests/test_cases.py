"""What reports make of stored diagnostics: pooled over seeds, named and escaped, and nothing where there is nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from results_tree import make_job, make_key, make_ranks, make_record, make_source, store_context, store_run

from benchmark.diagnostics import (
    Case,
    Diagnostics,
    Histogram,
    ItemCosines,
    Nearness,
    Neighbour,
    SourceNearness,
    shown_texts,
)
from benchmark.errors import InputError
from benchmark.jobs import Job
from benchmark.record import Role
from benchmark.report.cases import MOST, Diagnosed, case_study, diagnosed, nearest_sources, similarity
from benchmark.report.stored import Stored, stored
from benchmark.store import write_run

GREATER = [0, 1, 5, 9, 12, 30]
HOSTILE = "a | b\n| c <img src=x> [d](http://e) `f` *g* \\"


def histogram(*cosines: float) -> Histogram:
    found = Histogram.of(np.array(cosines, np.float32))
    assert found is not None
    return found


def nearness(*texts: str) -> Nearness:
    """Of two users and two sources; with texts, the first user is shown."""
    shown = shown_texts(list(texts or ["unused"]))
    neighbours = (
        Neighbour(row=7, texts=shown, source="kitchen", cosine=0.9),
        Neighbour(row=3, texts=shown, source="garden", cosine=0.25),
    )
    return Nearness(
        users=2,
        any_two=histogram(0.1, 0.3),
        sources=(
            SourceNearness(source="kitchen", sequences=30, nearest=2, highest=histogram(0.9, 0.7)),
            SourceNearness(source="garden", sequences=10, nearest=0, highest=histogram(0.25, 0.45)),
        ),
        cases=(Case(row=5, texts=shown, nearest=neighbours),) if texts else (),
    )


def store(results: Path, job: Job, after: Histogram | None, near: Nearness | None = None, role: Role = "paper") -> Path:
    """A run whose text pairs have the cosines 0 and 0.5."""
    ranks = make_ranks(GREATER)
    record = make_record(job, ranks, sources=tuple(map(make_source, job.sources)), role=role)
    cosines = ItemCosines(text=histogram(0, 0.5), items=after) if after else None
    return write_run(results, record, ranks, Diagnostics(key=make_key(job)[0], item_cosines=cosines, nearness=near))


def pretrained(seed: int = 0, method: str = "UniSRec_t") -> Job:
    return make_job(method, seed=seed, sources=("kitchen", "garden"), encoder="hash")


def read(results: Path) -> tuple[Stored, tuple[Diagnosed, ...]]:
    store_context(results)
    (part,) = stored("small", results)
    return part, diagnosed(part)


def test_distributions_before_and_after_are_pooled_over_seeds(tmp_path: Path) -> None:
    store_run(tmp_path, make_job(), GREATER)
    store(tmp_path, make_job("Control", encoder="hash"), histogram(-1, 1), role="control")
    store(tmp_path, pretrained(seed=1), histogram(0.25, 0.75))
    store(tmp_path, pretrained(seed=0), histogram(0.5, 0.5))
    part, rows = read(tmp_path)
    assert {row.label: [record.job.seed for record, _ in row.runs] for row in rows} == {
        "Control": [0],
        "UniSRec_t": [0, 1],
    }
    found = similarity(part, rows)
    assert found is not None
    assert found.title == "The toy domain"
    assert [one.label for one in found.histograms] == ["item texts", "UniSRec_t", "Control"]
    texts, after, _ = found.histograms
    assert {place: count for place, count in enumerate(texts.counts) if count} == {50: 1, 75: 1}
    assert {place: count for place, count in enumerate(after.counts) if count} == {62: 1, 75: 2, 87: 1}
    assert (len(found.edges), found.edges[0], found.edges[75], found.edges[-1]) == (101, -1.0, 0.5, 1.0)
    assert texts.mean == pytest.approx(0.25)
    assert (after.mean, after.sd) == (pytest.approx(0.5), pytest.approx(0.125**0.5 / 2, abs=1e-6))


def test_texts_of_each_encoder_are_one_distribution_and_there_are_not_too_many(tmp_path: Path) -> None:
    for number in range(8):
        job = make_job(f"Row{number}", encoder=f"encoder{number % 2}")
        store(tmp_path, job, histogram(0.1, 0.2))
    found = similarity(*read(tmp_path))
    assert found is not None
    labels = [one.label for one in found.histograms]
    assert len(labels) == MOST
    assert labels[:3] == ["item texts (encoder0)", "item texts (encoder1)", "Row0"]


def test_sources_are_told_by_share_and_cosine(tmp_path: Path) -> None:
    for seed in (0, 1):
        store(tmp_path, pretrained(seed), None, nearness())
    part, rows = read(tmp_path)
    assert similarity(part, rows) is None
    assert case_study(part, rows) == ""
    lines = [re.split(r" *\| *", line)[1:-1] for line in nearest_sources(rows).splitlines() if line.startswith("|")]
    assert lines[0] == ["method", "source", "share of sequences", "nearest to", "highest cosine", "any two"]
    assert lines[2:] == [
        ["UniSRec_t", "kitchen", "75.0%", "100.0%", "0.800 ± 0.100", "0.200 ± 0.100"],
        ["UniSRec_t", "garden", "25.0%", "0.0%", "0.350 ± 0.100", "0.200 ± 0.100"],
    ]


def test_a_case_is_told_with_its_texts_whatever_they_are(tmp_path: Path) -> None:
    store(tmp_path, pretrained(1), None, nearness("seed one"))
    store(tmp_path, pretrained(0), None, nearness("blue cup", "", HOSTILE))
    part, rows = read(tmp_path)
    text = case_study(part, rows)
    said, *_ = text.split("\n\n")
    for words in ("drawn at random and not picked", "UniSRec_t (seed 0)", "among 40 drawn", "0.200 ± 0.100"):
        assert words in said
    assert "seed one" not in text
    header, _, first, second = [line for line in text.splitlines() if line.startswith("|")]
    for line in (header, first, second):
        assert len(re.findall(r"(?<!\\)\|", line)) == 7, line
    cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", first)[1:-1]]
    history = r"blue cup → (no text) → a \| b \| c \<img src=x\> \[d\](http://e) \`f\` \*g\* \\"
    assert cells == ["5", history, "0.900", "kitchen", "7", history]
    assert [cell.strip() for cell in re.split(r"(?<!\\)\|", second)[1:-1]] == ["", "", "0.250", "garden", "3", history]


def test_of_runs_without_diagnostics_nothing_is_said(tmp_path: Path) -> None:
    store_run(tmp_path, make_job(), GREATER)
    part, rows = read(tmp_path)
    assert rows == ()
    assert (similarity(part, rows), nearest_sources(rows), case_study(part, rows)) == (None, "", "")


def test_damaged_diagnostics_are_an_error_that_names_them(tmp_path: Path) -> None:
    folder = store(tmp_path, pretrained(), histogram(0.1, 0.2))
    (folder / "diagnostics.json").write_text('{"format": 1}', encoding="utf-8")
    with pytest.raises(InputError, match=r"diagnostics\.json: .*Field required"):
        read(tmp_path)


def test_reading_cases_loads_neither_torch_nor_a_model() -> None:
    code = (
        "import sys; import benchmark.report.cases; "
        "print(set(sys.modules) & {'torch', 'transformers', 'sklearn', 'baselines', 'unisrec', 'matplotlib'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
