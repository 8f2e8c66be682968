"""Vectors made elsewhere: read as they are, refused where they do not fit, and never named by where they lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from benchmark.campaign import Campaign, run
from benchmark.encoders import public_name
from benchmark.errors import InputError
from benchmark.formats.unisrec import write_features
from benchmark.store import list_runs, read_run

ITEMS = 339
"""Of demo-shop."""


def campaign(folder: Path) -> Campaign:
    suite = {"name": "own", "about": "own vectors", "targets": ["demo-shop"], "methods": ["TextKNN"]}
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump(suite | {"encoder": f"features:{folder / 'vectors'}"}))
    return Campaign(
        suite=str(path), cache=folder / "cache", results=folder / "results", reports=folder / "reports", workers=1
    )


def vectors(items: int = ITEMS) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(items, 8)).astype(np.float32)


def test_a_run_reads_them_and_its_record_names_no_folder(tmp_path: Path) -> None:
    matrix = vectors()
    write_features(tmp_path / "vectors" / "demo-shop.feat1CLS", matrix)
    assert run(campaign(tmp_path), say=lambda line: None) == []
    (folder,) = list_runs(tmp_path / "results", "own")
    record = read_run(folder).record
    assert record.job.encoder == "features:vectors"
    assert record.encoder is not None
    assert list(record.encoder.provenance["files"]) == ["demo-shop.feat1CLS"]
    assert str(tmp_path) not in (folder / "record.json").read_text()


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        (vectors(ITEMS - 1), r"demo-shop\.feat1CLS: 10816 bytes are not 339 rows of equal width"),
        (np.where(np.arange(ITEMS)[:, None] == 7, np.nan, vectors()), r"demo-shop\.feat1CLS: NaN .* row 7"),
        (None, r"no \.feat1CLS file lies there"),
    ],
)
def test_what_does_not_fit_stops_before_anything_is_run(tmp_path: Path, matrix: np.ndarray | None, said: str) -> None:
    (tmp_path / "vectors").mkdir()
    if matrix is not None:
        write_features(tmp_path / "vectors" / "demo-shop.feat1CLS", matrix)
    with pytest.raises(InputError, match=said):
        run(campaign(tmp_path), say=lambda line: None)
    assert not (tmp_path / "results" / "own").exists()


def test_a_local_model_is_known_by_its_last_name(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    assert public_name(f"{tmp_path / 'model'},pooling=mean") == "model,pooling=mean"
    assert public_name("intfloat/e5-base-v2") == "intfloat/e5-base-v2"
