"""Every reader of the suite in one table: what is valid to it, how it is called, what must hold of its value.

A new reader needs one more line in `READERS`; CONTRIBUTING.md says how.
"""

from __future__ import annotations

import io
import json
import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from gzip import compress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from boards import full_board
from results_tree import (
    ITEMS,
    USERS,
    board_of,
    make_job,
    make_key,
    make_pretraining,
    make_ranks,
    make_record,
    make_source,
    planned,
    store_context,
    store_run,
)

from benchmark import encode, pretrain, trials
from benchmark.cards import Card, load_card
from benchmark.checkpoint import Checkpoint, optimizer_tensors, save_tensors
from benchmark.diagnostics import BINS, Case, Diagnostics, Histogram, ItemCosines, Nearness, Neighbour, SourceNearness
from benchmark.domain import Domain, Sequences
from benchmark.files import write_model
from benchmark.formats import (
    Columns,
    read_atomic,
    read_features,
    read_tables,
    read_unisrec,
    write_atomic,
    write_unisrec,
)
from benchmark.formats.interactions import LATEST
from benchmark.jobs import Job
from benchmark.layout import slug
from benchmark.prepare.amazon2018 import prepare_amazon2018
from benchmark.prepare.online_retail import prepare_online_retail
from benchmark.prepare.prepared import Prepared, domain_folder, examine, key_of, remember
from benchmark.questions import Context
from benchmark.record import Failure, Listed, Plan, Record
from benchmark.report.compare import TargetComparison, compare
from benchmark.report.export import render_json
from benchmark.report.schema import read_leaderboard
from benchmark.report.tables import Leaderboard
from benchmark.store import (
    Run,
    read_context,
    read_diagnostics,
    read_failures,
    read_plan,
    read_run,
    write_failure,
    write_plan,
)
from benchmark.suite import Suite, load_suite
from benchmark.train import adam
from benchmark.trials import Trial, TunedRow, Tuning
from benchmark.verify import verify

KEY = "0" * 64
Files = Mapping[str, bytes]
"""The content of each file by its path below a folder."""


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A reader as the fuzzer sees it."""

    name: str
    seed: Callable[[], Files]
    """Valid files."""
    read: Callable[[Path], Any]
    """Read them from a folder; raises InputError where they are not valid."""
    check: Callable[[Any], None]
    """Assert what holds of every value that was read."""
    speaks_of: str = ""
    """What an error may name instead of a file."""
    share: int = 4
    """Of the inputs of a run of the fuzzer: less for what is slow."""


def _folder_of(write: Callable[[Path], object]) -> Files:
    """What ``write`` writes into a folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder)
        return {
            str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
        }


# --- domains ---


@cache
def _domain() -> Domain:
    rows = [[0, 1, 2, 3], [3, 2, 0], [1, 2, 3, 0, 2]]
    return Domain(
        name="x",
        sequences=Sequences.of(rows),
        item_ids=tuple("abcd"),
        user_ids=("u1", "u2", "u3"),
        texts=("An apple", "Bowl, blue", "", 'A "cup" of é'),
        timestamps=np.arange(sum(map(len, rows)), dtype=np.int64) * 60,
        clusters=np.array([0, 0, 1], np.int32),
        taxonomy=(("Food",), ("Kitchen", "brand: Acme"), (), ("Kitchen",)),
    )


def _atomic() -> Files:
    return _folder_of(lambda folder: write_atomic(_domain(), folder))


def _tables() -> tuple[pa.Table, pa.Table]:
    domain = _domain()
    owners = np.repeat(np.arange(domain.n_users), domain.sequences.lengths)
    interactions = pa.table(
        {
            "user": [domain.user_ids[user] for user in owners],
            "item": [domain.item_ids[item] for item in domain.sequences.items],
            "timestamp": domain.timestamps,
        }
    )
    return interactions, pa.table({"item": list(domain.item_ids), "text": list(domain.texts)})


def _as_csv(table: pa.Table) -> bytes:
    return table.to_pandas().to_csv(index=False).encode()


def as_parquet(table: pa.Table, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


def _read_tables(suffix: str) -> Callable[[Path], Domain]:
    return lambda folder: read_tables(
        folder / f"x.{suffix}", folder / f"items.{suffix}", name="x", columns=Columns(text=("text",))
    )


def _amazon() -> Files:
    users, items = [f"A{user}" for user in range(5)], [f"B{item}" for item in range(5)]
    lines = [f"{item},{user},{1 + n % 5}.0,{86400 * (n % 3)}\n" for user in users for n, item in enumerate(items)]
    products = [{"asin": item, "title": f"Thing {item}", "category": ["Home"], "brand": "Acme"} for item in items]
    return {
        "ratings.csv": "".join(lines).encode(),
        "meta.json": "".join(json.dumps(product) + "\n" for product in products).encode(),
    }


def _retail() -> list[list[Any]]:
    header = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "CustomerID"]
    rows = [
        [f"{536365 + invoice}", f"{85123 + code}A", f" heart £{code}", "6", "2010-12-01 08:26:00", f"{17850 + invoice}"]
        for invoice in range(5)
        for code in range(5)
    ]
    return [header, *rows]


def _retail_csv() -> Files:
    return {"or.csv": "".join(",".join(row) + "\n" for row in _retail()).encode()}


def _retail_xlsx() -> Files:
    import openpyxl

    book = openpyxl.Workbook()
    for row in _retail():
        book.worksheets[0].append(row)
    buffer = io.BytesIO()
    book.save(buffer)
    return {"or.xlsx": buffer.getvalue()}


def check_domain(domain: Domain) -> None:
    """What all that works on a domain takes for granted."""
    items, offsets = domain.sequences.items, domain.sequences.offsets
    assert items.dtype == np.int32
    assert len(items) > 0
    assert 0 <= items.min() <= items.max() < domain.n_items
    assert offsets[0] == 0
    assert offsets[-1] == len(items)
    assert (domain.sequences.lengths > 0).all()
    for ids in (domain.user_ids, domain.item_ids):
        assert len(set(ids)) == len(ids)
        assert all(isinstance(raw, str) and raw and "\0" not in raw for raw in ids)
    assert len(domain.texts) == domain.n_items
    assert any(text.strip() for text in domain.texts)
    if domain.timestamps is not None:
        assert domain.timestamps.dtype == np.int64
        assert (np.abs(domain.timestamps) < LATEST).all()
    if domain.clusters is not None:
        assert domain.clusters.dtype == np.int32
        assert (domain.clusters >= 0).all()
    assert len(domain.fingerprint) == 64  # every string can be encoded


def _features() -> Files:
    return {"x.feat1CLS": np.arange(12, dtype="<f4").tobytes()}


def _check_features(matrix: np.ndarray) -> None:
    assert matrix.dtype == np.float32
    assert matrix.shape == (4, 3)
    assert np.isfinite(matrix).all()


CARD = b"""name: mine
aliases: [My, own]
title: Mine
role: target
paper_name: null
about: A table of mine.
source: https://example.org/mine
licence: none
id_space: {users: null, items: amazon}
texts_may_be_published: false
inputs:
  - reader: atomic
    files: {interactions: in/m.inter, items: in/m.item}
    text: [title, brand]
    ties: hash
    split: own
    expect: &counts {users: 1, items: 1, interactions: 3, text_length: 12.5}
    urls: {interactions: https://example.org/m.inter, items: "https://example.org/m.zip#m.item"}
    sha256: {interactions: "0000000000000000000000000000000000000000000000000000000000000000"}
  - {reader: online_retail, files: {table: data.csv}, split: re-processed, expect: *counts}
"""


def _check_card(card: Card) -> None:
    for name in (card.name, *card.aliases):
        assert name == slug(name)
    for given in card.inputs:
        for path in given.paths().values():
            assert not Path(path).is_absolute()
            assert ".." not in Path(path).parts
            assert path.isprintable()
        if given.expect is not None:
            assert min(given.expect.users, given.expect.items, given.expect.interactions) >= 0
            assert given.expect.text_length is None or math.isfinite(given.expect.text_length)
        assert all(url.startswith(("https://", "http://")) for url in given.urls.values())


SUITE = b"""name: mine
about: Two rows on one target.
targets: [demo-garden]
sources: [demo-toys]
encoder: hash
seeds: 2
config: {hidden: 64, dropout: 0.2}
training: {epochs: 3, learning_rate: 1.0e-3}
pretraining: {epochs: 2, config: {temperature: 0.07}, seed: 1}
methods:
  - Popularity
  - {name: SASRec, seeds: 1, config: {layers: 1}, budget: literature}
  - name: UniSRec_t
    training: {patience: 2}
"""


def _check_suite(suite: Suite) -> None:
    assert suite.name == slug(suite.name)
    assert suite.targets
    assert suite.methods
    assert 1 <= suite.seeds <= 1000
    json.dumps(suite.model_dump(mode="json"), allow_nan=False)


def _imported() -> Files:
    card = {
        "name": "x",
        "title": "x",
        "role": "both",
        "about": "Mine.",
        "source": "imported",
        "licence": "unknown",
        "inputs": [
            {
                "reader": "imported",
                "split": "own",
                "expect": {"users": 3, "items": 4, "interactions": 12, "fingerprint": _domain().fingerprint},
            }
        ],
    }

    def write(folder: Path) -> None:
        (folder / "cards").mkdir()
        (folder / "cards" / "x.yaml").write_text(yaml.safe_dump(card, sort_keys=False))
        known = load_card(folder / "cards" / "x.yaml")
        remember(_domain(), domain_folder(known, folder), key_of(known.inputs[0], {}))

    return _folder_of(write)


def _check_prepared(prepared: Prepared) -> None:
    check_domain(prepared.domain)
    assert prepared.domain.name == prepared.card.name


# --- results ---


@cache
def _record() -> Record:
    job = make_job(sources=("demo-toys",), config={"hidden": 64, "dropout": 0.2})
    return make_record(job, make_ranks([0, 1, 2, 9, 0, 5]), sources=(make_source("demo-toys"),))


def _results() -> Files:
    """Two rows of two seeds, a failure, a plan, a context and weights."""

    def write(folder: Path) -> None:
        jobs = []
        for method, shift in (("SASRec", 3), ("UniSRec_t", 0)):
            for seed in (0, 1):
                job = make_job(method, seed=seed)
                greater = (np.arange(USERS) * 7 + shift + seed) % ITEMS
                store_run(folder, job, greater, pretraining=make_pretraining(3.0) if shift == 0 else None)
                jobs.append(job)
        failed = make_job("FDSA")
        write_failure(folder, failed, make_key(failed)[0], "the loss is not finite")
        rows = [Listed(target="toy", method="SASRec", setting="full", runs=3, trained=True)]
        write_plan(folder, "small", [planned(job) for job in (*jobs, failed)], rows)
        store_context(folder)
        parts = {"epochs": 4}
        save_tensors(
            folder / "small" / "artefacts" / f"UniSRec-4-{pretrain.digest(parts)[:12]}.safetensors",
            {"weight": torch.ones(2, 3).half()},
            {"key": pretrain.digest(parts), "key_parts": parts},
        )

    return {path: content for path, content in _folder_of(write).items() if not path.endswith(".lock")}


def _without(files: Files, *names: str) -> Files:
    return {path: content for path, content in files.items() if path.endswith(names)}


def _one_run() -> Files:
    def write(folder: Path) -> None:
        job = make_job(config={"hidden": 64, "dropout": 0.2})
        store_run(folder, job, [0, 1, 2, 9, 0, 5], sources=(make_source("demo-toys"),))

    return _folder_of(write)


def _run_folder(folder: Path) -> Path:
    (found,) = folder.glob("small/toy/SASRec/*")
    return found


def _check_run(run: Run) -> None:
    record, ranks = run.record, run.ranks
    assert ranks.problem(record.n_valid, record.n_test, record.target.items) is None
    for name in (record.job.suite, record.job.target):
        assert name == slug(name)
    json.dumps(record.model_dump(mode="json"), allow_nan=False).encode()


def _diagnostics() -> Files:
    counts = tuple(3 if place in (50, 60) else 0 for place in range(BINS))
    histogram = Histogram(counts=counts, mean=0.1, sd=0.2)
    near = Neighbour(row=3, texts=("A cup",), source="demo-toys", cosine=0.9)
    found = Diagnostics(
        key=_record().key,
        item_cosines=ItemCosines(text=histogram, items=histogram),
        nearness=Nearness(
            users=6,
            any_two=histogram,
            sources=(SourceNearness(source="demo-toys", sequences=9, nearest=6, highest=histogram),),
            cases=(Case(row=1, texts=("An apple", "Bowl"), nearest=(near,)),),
        ),
    )
    assert found.problem(_record()) is None
    return _folder_of(lambda folder: write_model(folder / "diagnostics.json", found))


def _check_diagnostics(found: Diagnostics) -> None:
    assert found.problem(_record()) is None
    json.dumps(found.model_dump(mode="json"), allow_nan=False).encode()


def _tuning() -> Files:
    tried = [Trial(settings={"learning_rate": rate}, key=KEY, valid=0.1, failed=None) for rate in (0.001, 0.01)]
    space = {"learning_rate": (0.001, 0.01)}
    row = TunedRow(target="toy", method="SASRec", setting="full", space=space, trials=tuple(tried), chosen=0)
    return {
        path: content
        for path, content in _folder_of(lambda folder: trials.write(folder, "small", [row])).items()
        if path.endswith(".json")
    }


def _check_tuning(found: Tuning) -> None:
    for row in found.rows:
        assert row.chosen is None or row.best in row.trials
        json.dumps(row.model_dump(mode="json"), allow_nan=False).encode()


def _check_plan(plan: Plan) -> None:
    for entry in (*plan.jobs, *plan.rows):
        assert entry.target == slug(entry.target)
        assert entry.track == slug(entry.track)
    assert all(job.seed >= 0 for job in plan.jobs)
    assert all(row.runs >= 0 for row in plan.rows)


def _check_failures(failures: list[Failure]) -> None:
    for failure in failures:
        assert failure.job.target == slug(failure.job.target)
        assert isinstance(failure.job, Job)


def _check_context(context: Context) -> None:
    n = len(context.cluster)
    for values in (context.history_length, context.train_count, context.cluster):
        assert values.dtype == np.int32
        assert values.shape == (n,)
        assert (values >= 0).all()
    assert np.array_equal(context.cold, context.train_count == 0)
    assert len(context.fingerprint) == 64


def _check_comparison(found: list[TargetComparison]) -> None:
    for target in found:
        for comparison in target.metrics.values():
            for value in (comparison.first, comparison.second):
                assert value is not None
                assert 0 <= value <= 1


def _check_board(board: Leaderboard) -> None:
    render_json(board).encode()


# --- the cache ---

TEXTS = ("An apple", "Bowl, blue", "A cup")


def _encoded() -> Files:
    return _folder_of(lambda folder: encode.encode(TEXTS, "hash", folder))


def _check_encoded(found: encode.Encoded | None) -> None:
    if found is not None:
        assert found.matrix.shape == (len(TEXTS), 256)
        assert found.matrix.dtype == np.float32
        assert np.isfinite(found.matrix).all()


def _artefact() -> Files:
    weights = {"adaptor.weight": torch.ones(2, 3).half(), "adaptor.bias": torch.zeros(3).half()}
    about = {
        "key": KEY,
        "key_parts": {"epochs": 4},
        "epochs": 4,
        "curve": [{"epoch": 1, "loss": 1.0, "seconds": 0.5}],
        "wall_seconds": 2.0,
        "core_seconds": 2.0,
    }
    return _folder_of(lambda folder: save_tensors(folder / "a.safetensors", weights, about))


def _check_artefact(found: pretrain.Artefact) -> None:
    assert found.about["key"] == KEY
    assert all(bool(torch.isfinite(value).all()) for value in found.weights.values())


def _model() -> torch.nn.Linear:
    torch.manual_seed(0)
    return torch.nn.Linear(2, 1)


def _checkpoint() -> Files:
    model = _model()
    optimizer = adam(model, 0.01)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    state = model.state_dict()
    tensors = {f"{kind}/{name}": value for kind in ("model", "best") for name, value in state.items()}
    point = {"epoch": 1, "loss": 0.5, "valid": 0.1, "train_seconds": 1.0, "rank_seconds": 0.1}
    about = {"curve": [point], "best_epoch": 1, "best_valid": 0.1, "spent": {"wall_seconds": 1.0, "core_seconds": 1.0}}
    tensors |= optimizer_tensors(model, optimizer)
    return _folder_of(lambda folder: save_tensors(folder / "c.safetensors", tensors, about))


def _resume(folder: Path) -> tuple[torch.nn.Module, Checkpoint]:
    """Go on from a checkpoint as `benchmark.train.train` does: what is damaged is not used."""
    model = _model()
    state = Checkpoint(folder / "c.safetensors", model, lambda line: None)
    if "best_epoch" in state.about:
        state.restore(model, optimizer := adam(model, 0.01))
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        model.load_state_dict(state.part("best"))
    return model, state


def _check_resumed(found: tuple[torch.nn.Module, Checkpoint]) -> None:
    model, state = found
    assert {name: tuple(value.shape) for name, value in model.state_dict().items()} == {"weight": (1, 2), "bias": (1,)}
    assert state.earlier.wall_seconds >= 0


def _check_problems(problems: list[str]) -> None:
    assert all(isinstance(problem, str) for problem in problems)


_domain_readers = (
    Reader(
        name="atomic files",
        seed=_atomic,
        read=lambda folder: read_atomic(folder / "x.inter", folder / "x.item", name="x"),
        check=check_domain,
        share=10,
    ),
    Reader(
        name="atomic files, packed",
        seed=lambda: {f"{path}.gz": compress(content, mtime=0) for path, content in _atomic().items()},
        read=lambda folder: read_atomic(folder / "x.inter.gz", folder / "x.item.gz", name="x"),
        check=check_domain,
    ),
    Reader(
        name="UniSRec files",
        seed=lambda: _folder_of(lambda folder: write_unisrec(_domain(), folder)),
        read=lambda folder: read_unisrec(folder / "x", "x"),
        check=check_domain,
        share=10,
    ),
    Reader(
        name="csv tables",
        seed=lambda: dict(zip(("x.csv", "items.csv"), map(_as_csv, _tables()), strict=True)),
        read=_read_tables("csv"),
        check=check_domain,
        share=10,
    ),
    Reader(
        name="parquet tables",
        seed=lambda: dict(zip(("x.parquet", "items.parquet"), map(as_parquet, _tables()), strict=True)),
        read=_read_tables("parquet"),
        check=check_domain,
        share=5,
    ),
    Reader(
        name="Amazon files",
        seed=_amazon,
        read=lambda folder: prepare_amazon2018(folder / "ratings.csv", folder / "meta.json", name="x"),
        check=check_domain,
        share=8,
    ),
    Reader(
        name="Online Retail csv",
        seed=_retail_csv,
        read=lambda folder: prepare_online_retail(folder / "or.csv", name="x"),
        check=check_domain,
        share=8,
    ),
    Reader(
        name="Online Retail workbook",
        seed=_retail_xlsx,
        read=lambda folder: prepare_online_retail(folder / "or.xlsx", name="x"),
        check=check_domain,
        share=1,
    ),
    Reader(
        name="features",
        seed=_features,
        read=lambda folder: read_features(folder / "x.feat1CLS", 4, 3),
        check=_check_features,
        share=2,
    ),
    Reader(
        name="imported domain",
        seed=_imported,
        read=lambda folder: examine(load_card(folder / "cards" / "x.yaml"), cache=folder),
        check=_check_prepared,
        share=3,
    ),
)
_settings_readers = (
    Reader(
        name="card",
        seed=lambda: {"mine.yaml": CARD},
        read=lambda folder: load_card(folder / "mine.yaml"),
        check=_check_card,
        share=2,
    ),
    Reader(
        name="suite",
        seed=lambda: {"mine.yaml": SUITE},
        read=lambda folder: load_suite(str(folder / "mine.yaml")),
        check=_check_suite,
        share=2,
    ),
)
_results_readers = (
    Reader(name="run", seed=_one_run, read=lambda folder: read_run(_run_folder(folder)), check=_check_run, share=8),
    Reader(
        name="diagnostics",
        seed=_diagnostics,
        read=lambda folder: read_diagnostics(folder, _record()),
        check=_check_diagnostics,
        share=5,
    ),
    Reader(
        name="plan",
        seed=lambda: _without(_results(), "suite.json"),
        read=lambda folder: read_plan(folder, "small"),
        check=_check_plan,
        share=5,
    ),
    Reader(
        name="tuning",
        seed=_tuning,
        read=lambda folder: trials.read(folder, "small"),
        check=_check_tuning,
        share=3,
    ),
    Reader(
        name="failures",
        seed=lambda: {path: content for path, content in _results().items() if "/failed/" in path},
        read=lambda folder: read_failures(folder, "small"),
        check=_check_failures,
        share=5,
    ),
    Reader(
        name="context",
        seed=lambda: _without(_results(), "context.parquet"),
        read=lambda folder: read_context(folder, "small", "toy"),
        check=_check_context,
        share=6,
    ),
    Reader(name="verify", seed=_results, read=verify, check=_check_problems, share=2),
    Reader(
        name="comparison",
        seed=_results,
        read=lambda folder: compare("small", folder, "SASRec", "UniSRec_t"),
        check=_check_comparison,
        speaks_of="suite 'small'",
        share=1,
    ),
    Reader(name="leaderboard", seed=_results, read=lambda folder: board_of(folder), check=_check_board, share=2),
    Reader(
        name="leaderboard.json",
        seed=lambda: {"leaderboard.json": render_json(full_board()).encode()},
        read=lambda folder: read_leaderboard(folder / "leaderboard.json"),
        check=_check_board,
        share=3,
    ),
)
_cache_readers = (
    Reader(
        name="encoder cache",
        seed=_encoded,
        read=lambda folder: encode.cached(TEXTS, "hash", folder),
        check=_check_encoded,
        share=6,
    ),
    Reader(
        name="artefact",
        seed=_artefact,
        read=lambda folder: pretrain.load(folder / "a.safetensors", KEY),
        check=_check_artefact,
        share=6,
    ),
    Reader(name="checkpoint", seed=_checkpoint, read=_resume, check=_check_resumed, share=4),
)
READERS = {reader.name: reader for reader in (*_domain_readers, *_settings_readers, *_results_readers, *_cache_readers)}
