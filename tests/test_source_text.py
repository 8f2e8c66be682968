"""Texts of the sources in one mapped matrix: what it holds, who may change it, and that rounding it changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmark import source_text
from benchmark.batches import Batch
from benchmark.checkpoint import load_tensors
from benchmark.encode import Encoded, sha256_of_matrix
from benchmark.errors import InputError
from benchmark.groundwork import provenances
from benchmark.jobs import Pretraining
from benchmark.method import Pretrainer, PretrainingFamily, registry
from benchmark.place import Place
from benchmark.plan import artefact_of
from benchmark.pretrain import key_parts, merge, pretrain
from benchmark.runner import make_artefact
from benchmark.source_text import joined
from benchmark.testing import toy_domain

torch.set_num_threads(1)

FAMILY = registry().families["UniSRec"]


def part(n: int, width: int = 6, seed: int = 0) -> Encoded:
    matrix = np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)
    return Encoded(matrix=matrix, provenance={}, sha256=sha256_of_matrix(matrix))


PARTS = [part(7, seed=1), part(5, seed=2), part(1, seed=3)]
WHOLE = torch.from_numpy(np.concatenate([each.matrix for each in PARTS]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_parts_stand_one_after_another(
    dtype: torch.dtype, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_text, "BLOCK_ROWS", rows)
    found = joined(PARTS, dtype, tmp_path)
    assert found.dtype == dtype
    assert torch.equal(found, WHOLE.to(dtype))
    assert len(list(tmp_path.iterdir())) == 1, "something is left beside the file"


def test_the_file_is_made_once_and_named_by_what_is_in_it(tmp_path: Path) -> None:
    joined(PARTS, torch.bfloat16, tmp_path)
    (first,) = tmp_path.iterdir()
    before = first.stat().st_mtime_ns
    assert torch.equal(joined(PARTS, torch.bfloat16, tmp_path), WHOLE.bfloat16())
    assert first.stat().st_mtime_ns == before
    others = [
        joined(PARTS, torch.float32, tmp_path),
        joined(PARTS[::-1], torch.bfloat16, tmp_path),
        joined(PARTS[:2], torch.bfloat16, tmp_path),
        joined([part(7, seed=9), *PARTS[1:]], torch.bfloat16, tmp_path),
    ]
    assert len(list(tmp_path.iterdir())) == 1 + len(others)


@pytest.mark.parametrize("damage", ["cut short", "longer", "another byte", "empty"])
def test_a_damaged_file_is_made_again(damage: str, tmp_path: Path) -> None:
    joined(PARTS, torch.bfloat16, tmp_path)
    (path,) = tmp_path.iterdir()
    raw = path.read_bytes()
    changed = {"cut short": raw[:-3], "longer": raw + b"x", "another byte": b"\1\2" + raw[2:], "empty": b""}[damage]
    assert changed != raw
    path.write_bytes(changed)
    assert torch.equal(joined(PARTS, torch.bfloat16, tmp_path), WHOLE.bfloat16())
    assert path.read_bytes() == raw


def test_what_is_written_to_it_stays_here(tmp_path: Path) -> None:
    first, second = (joined(PARTS, torch.float32, tmp_path) for _ in range(2))
    first.zero_()
    assert torch.equal(second, WHOLE)
    assert torch.equal(joined(PARTS, torch.float32, tmp_path), WHOLE)


def test_it_is_mapped_and_not_read(tmp_path: Path) -> None:
    """The file of a matrix is among the mapped files of this process, so its pages are there once for all processes."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("the system does not show what a process has mapped")
    found = joined(PARTS, torch.bfloat16, tmp_path)
    (path,) = tmp_path.iterdir()
    assert str(path) in maps.read_text()
    assert len(found) == 13


def test_parts_of_different_widths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"different widths \(6, 4\)"):
        joined([part(3), part(3, width=4)], torch.float32, tmp_path)
    assert not list(tmp_path.iterdir())


# --- rounding and training

TOY = toy_domain(n_items=60, n_users=60)
CONFIG: dict[str, Any] = {"width": 16, "inner": 24, "experts": 3, "batch_targets": 64, "sequence_weight": 0.5}
OPTIONS = {
    "paper": {},
    "noisy texts": {"item_drop_share": 0.3},
    "released losses": {
        "prefix_rows": True,
        "released_negatives": True,
        "released_sequence_denominator": True,
        "gate_noise_floor": 0.01,
    },
}


def trained(config: dict[str, Any], cache: Path, dtype: torch.dtype) -> dict[str, Tensor]:
    """Weights and Adam's moments after two epochs in bfloat16, texts being given in a type."""
    spec = Pretraining(
        family="UniSRec", version=1, sources=("toy",), encoder="none", config=CONFIG | config, epochs=2, seed=0
    )
    parts = key_parts(spec, {"toy": TOY.fingerprint}, {"none": {}}, "bfloat16")
    text, noisy = (joined([part(60, 20, seed)], dtype, cache) for seed in (1, 2))
    pretrain(spec, FAMILY, parts, merge([TOY]), text, noisy, cache=cache / str(dtype))
    (state,) = (cache / str(dtype) / "artefacts").glob(".state-*")
    found = load_tensors(state)
    assert found is not None
    return found[0]


@pytest.mark.parametrize("option", OPTIONS)
def test_texts_rounded_before_teach_the_same_to_the_last_bit(option: str, tmp_path: Path) -> None:
    one, other = (trained(OPTIONS[option], tmp_path, dtype) for dtype in (torch.float32, torch.bfloat16))
    assert one.keys() == other.keys()
    assert [name for name, value in one.items() if not torch.equal(value, other[name])] == []


def test_dropout_of_texts_is_why_they_are_not_always_rounded(tmp_path: Path) -> None:
    """A text that is scaled before it is rounded is another one than a rounded text that is scaled."""
    settings = {"adaptor_dropout": 0.2}
    one, other = (trained(settings, tmp_path, dtype) for dtype in (torch.float32, torch.bfloat16))
    assert any(not torch.equal(value, other[name]) for name, value in one.items())
    configure = FAMILY.config
    assert FAMILY.rounds_text(configure())
    assert not FAMILY.rounds_text(configure(**settings))


GIVEN: list[Tensor] = []


class Looks(Pretrainer):
    """Notes the texts it is given."""

    def __init__(self, config: Any, text: Tensor, noisy: Tensor) -> None:
        super().__init__()
        GIVEN[:] = [text, noisy]
        self.weight = nn.Parameter(torch.ones(1))

    def loss(self, batch: Batch) -> Tensor:
        return self.weight.sum()

    def weights(self) -> dict[str, Tensor]:
        return self.state_dict()


CAUTIOUS = PretrainingFamily(name="Cautious", version=1, config=FAMILY.config, build=Looks, paper="none")
ROUNDING = replace(CAUTIOUS, name="Rounding", rounds_text=lambda config: True)
PLUGIN = (CAUTIOUS, ROUNDING)


@pytest.mark.parametrize(
    ("family", "precision", "expected"),
    [
        ("Rounding", "bfloat16", torch.bfloat16),
        ("Rounding", "float32", torch.float32),
        ("Cautious", "bfloat16", torch.float32),
    ],
)
def test_texts_are_rounded_where_products_are_and_the_family_says_so(
    family: str, precision: str, expected: torch.dtype, tmp_path: Path
) -> None:
    TOY.save(tmp_path / "domains" / "toy")
    spec = Pretraining(family=family, version=1, sources=("toy",), encoder="hash", config=CONFIG, epochs=0, seed=0)
    task = artefact_of(spec, {"toy": TOY.fingerprint}, provenances(["hash"]), precision)
    make_artefact(task, Place(cache=tmp_path, results=tmp_path, device="cpu", plugins=(f"{__name__}:PLUGIN",)))
    text, noisy = GIVEN
    assert (text.dtype, noisy.dtype) == (expected, expected)
    assert len(text) == len(noisy) == TOY.n_items
    assert not torch.equal(text, noisy)
