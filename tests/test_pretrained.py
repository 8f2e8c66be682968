"""ZESRec and VQ-Rec through ``transrec run``: weights are made once, found again and started from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmark.campaign import Campaign, run
from benchmark.pretrain import load
from benchmark.record import Record
from benchmark.store import list_runs, read_run

SUITE: dict[str, Any] = {
    "name": "tiny",
    "about": "small enough for a test",
    "targets": ["demo-shop"],
    "sources": ["demo-kitchen"],
    "encoder": "hash",
    "methods": ["ZESRec", "ZESRec-zeroshot", "VQ-Rec"],
    "config": {"width": 16, "inner": 16, "layers": 1, "centroids": 16},
    "training": {"epochs": 2, "batch_targets": 512},
    "pretraining": {"epochs": 1, "config": {"batch_targets": 1024}},
}


@dataclass(frozen=True)
class Place:
    folder: Path

    def run(self) -> list[str]:
        """Run the suite; what was said."""
        suite = self.folder / "tiny.yaml"
        suite.write_text(yaml.safe_dump(SUITE), encoding="utf-8")
        lines: list[str] = []
        campaign = Campaign(
            suite=str(suite),
            cache=self.folder / "cache",
            results=self.folder / "results",
            reports=self.folder / "reports",
            workers=1,
            device="cpu",
        )
        assert run(campaign, lines.append) == []
        return lines

    @property
    def records(self) -> dict[str, Record]:
        runs = map(read_run, list_runs(self.folder / "results", "tiny"))
        return {run.record.job.method: run.record for run in runs}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    made = Place(tmp_path_factory.mktemp("pretrained"))
    made.run()
    return made


def test_every_row_is_run_as_it_is_meant(place: Place) -> None:
    records = place.records
    assert set(records) == set(SUITE["methods"])
    zesrec, zero_shot, vq_rec = (records[name] for name in SUITE["methods"])
    assert [record.job.setting for record in (zesrec, zero_shot, vq_rec)] == ["full", "zero-shot", "full"]
    assert zesrec.parameters is not None
    assert zesrec.parameters.trained == zesrec.parameters.total
    assert (zero_shot.learning_curve, zero_shot.stopped) == ((), "not trained")
    assert vq_rec.parameters is not None
    assert 0 < vq_rec.parameters.trained < vq_rec.parameters.total
    assert zesrec.ranks_sha256 != zero_shot.ranks_sha256


def test_a_pre_training_is_made_once_for_all_rows_that_start_from_it(place: Place) -> None:
    files = {path.name.split("-1-")[0]: path for path in (place.folder / "cache" / "artefacts").glob("[!.]*")}
    assert set(files) == {"ZESRec", "VQ-Rec"}
    records = place.records
    for method, family in (("ZESRec", "ZESRec"), ("ZESRec-zeroshot", "ZESRec"), ("VQ-Rec", "VQ-Rec")):
        info, spec = records[method].pretraining, records[method].job.pretraining
        assert info is not None
        assert spec is not None
        artefact = load(files[family], info.key)
        assert (artefact.sha256, info.epochs) == (info.weights_sha256, 1)
        assert artefact.about["key_parts"]["config"] == spec.config


def test_no_noisy_copy_of_a_text_is_encoded(place: Place) -> None:
    """One matrix a domain: these methods read texts as they are."""
    assert len(list((place.folder / "cache" / "encoded").glob("*.npy"))) == 2


def test_what_is_stored_is_found_again(place: Place) -> None:
    assert any("3 jobs, 3 already stored" in line for line in place.run())
