"""Diagnostics of a campaign: texts only where all cards allow them, and ranks as if there were no diagnostics."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from test_campaign import Done, Place

from benchmark import campaign, diagnose, execute, pretrain, runner
from benchmark.cards import card_folder
from benchmark.diagnostics import Diagnostics
from benchmark.execute import Failed
from benchmark.place import Place as RunPlace
from benchmark.plan import Task
from benchmark.runner import Facts, make_artefact, run_job
from benchmark.store import list_runs, read_diagnostics, read_run
from benchmark.verify import verify

USED = ("demo-shop", "demo-kitchen")


def here(tasks: Sequence[Task], facts: Mapping[str, Facts], place: RunPlace, **_: Any) -> list[Failed]:
    """Runs everything in this process, so that a test can change what runs."""
    torch.set_num_threads(1)
    for task in tasks:
        if task.artefact and not pretrain.find(task.artefact.spec, task.artefact.key, place.cache, place.results):
            make_artefact(task.artefact, place)
        run_job(task, facts[execute.facts_key(task)], place)
    return []


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A cache that pre-training is made once in."""
    return Place(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def place(shared: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Without results of earlier tests."""
    monkeypatch.setattr(campaign, "execute", here)
    shutil.rmtree(shared.results, ignore_errors=True)
    return shared


def run(place: Place, *more: str | Path) -> Done:
    done = place.transrec("run", place.suite(), "--methods", "SASRec,UniSRec_t", "--seeds", "1", *more)
    assert done.code == 0, done.err
    assert verify(place.results) == []
    return done


def of(place: Place, method: str) -> Diagnostics | None:
    (folder,) = [folder for folder in list_runs(place.results, "tiny") if folder.parent.name == method]
    return read_diagnostics(folder, read_run(folder).record)


def cards(folder: Path, changes: Mapping[str, Mapping[str, Any]]) -> Path:
    """The demo's cards, with changes to some; None drops a key."""
    folder.mkdir()
    shutil.copytree(card_folder() / "demo", folder / "demo")
    for name in USED:
        card = yaml.safe_load((card_folder() / f"{name}.yaml").read_text(encoding="utf-8")) | changes.get(name, {})
        kept = {key: value for key, value in card.items() if value is not None}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(kept), encoding="utf-8")
    return folder


def item_texts() -> dict[str, list[str]]:
    packed = {name: (card_folder() / "demo" / f"{name}.item.gz").read_bytes() for name in USED}
    lines = {name: gzip.decompress(content).decode().splitlines()[1:] for name, content in packed.items()}
    return {name: [line.split("\t")[1] for line in rows] for name, rows in lines.items()}


def test_texts_are_shown_where_all_cards_allow_it(place: Place) -> None:
    run(place)
    assert of(place, "SASRec") is None
    found = of(place, "UniSRec_t")
    assert found is not None
    assert found.item_cosines is not None
    assert found.nearness is not None
    assert found.nearness.users == 500
    assert [(near.source, near.sequences) for near in found.nearness.sources] == [("demo-kitchen", 540)]
    assert len({case.row for case in found.nearness.cases}) == 20
    texts = item_texts()
    for case in found.nearness.cases:
        assert set(case.texts) <= set(texts["demo-shop"])
        assert [near.source for near in case.nearest] == ["demo-kitchen"] * 5
        assert all(set(near.texts) <= set(texts["demo-kitchen"]) for near in case.nearest)
        assert [near.cosine for near in case.nearest] == sorted((near.cosine for near in case.nearest), reverse=True)


SILENT: dict[str, dict[str, dict[str, Any]]] = {
    "the target's card is silent": {"demo-shop": {"texts_may_be_published": None}},
    "the source's card is silent": {"demo-kitchen": {"texts_may_be_published": None}},
    "a card forbids it": {"demo-kitchen": {"texts_may_be_published": False}},
    "a card speaks of other data": {
        "demo-shop": {
            "inputs": [
                {
                    "reader": "atomic",
                    "base": "card",
                    "files": {"interactions": "demo/demo-shop.inter", "items": "demo/demo-shop.item"},
                    "split": "own",
                    "expect": {"users": 519, "items": 339, "interactions": 3382},
                }
            ]
        }
    },
}


@pytest.mark.parametrize("why", SILENT)
def test_nothing_of_users_and_items_is_written_where(why: str, place: Place, tmp_path: Path) -> None:
    run(place, "--cards", cards(tmp_path / "cards", SILENT[why]), "--allow-mismatch")
    found = of(place, "UniSRec_t")
    assert found is not None
    assert found.nearness is not None
    assert found.nearness.cases == ()
    written = b"".join(path.read_bytes() for path in place.results.rglob("*") if path.is_file())
    assert b'"row"' not in written
    for name, texts in item_texts().items():
        assert not [text for text in texts if text[:20].encode() in written], name


def test_ranks_are_those_of_a_run_without_diagnostics(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    run(place)
    found = place.ranks()
    shutil.rmtree(place.results)
    monkeypatch.setattr(runner, "diagnose", lambda *_, **__: None)
    run(place)
    assert of(place, "UniSRec_t") is None
    assert place.ranks() == found


def test_what_fails_in_diagnostics_costs_no_run(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise MemoryError("too many pairs")

    monkeypatch.setattr(diagnose, "_item_cosines", fails)
    monkeypatch.setattr(diagnose, "_nearness", fails)
    run(place)
    assert of(place, "UniSRec_t") is None
    key, _ = place.ranks()["demo-shop", "UniSRec_t", 0]
    log = (place.folder / "cache" / "logs" / f"{key[:12]}.log").read_text(encoding="utf-8")
    assert "no cosines of items in the diagnostics: MemoryError: too many pairs" in log
    assert "no nearest source sequences in the diagnostics: MemoryError: too many pairs" in log


def test_sources_that_were_not_encoded_here_are_left_out(place: Place) -> None:
    """As with published weights: no encoder is started for the sake of a figure."""
    run(place)
    for path in (place.folder / "cache" / "encoded").iterdir():
        path.unlink()
    shutil.rmtree(place.results)
    run(place)
    found = of(place, "UniSRec_t")
    assert found is not None
    assert found.item_cosines is not None
    assert found.nearness is None
