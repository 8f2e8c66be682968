"""Pre-training artefacts: what they learn from, that they can be continued, and that a damaged one is never used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from questions import Question, asked
from safetensors import safe_open
from torch import Tensor, nn

from benchmark.batches import Batch, Windows, prefix_windows
from benchmark.domain import Domain, Sequences
from benchmark.errors import InputError
from benchmark.jobs import Pretraining, digest
from benchmark.method import Pretrainer, PretrainingFamily, registry
from benchmark.pretrain import find, key_parts, load, merge, pretrain

torch.set_num_threads(1)

FAMILY = registry().families["UniSRec"]
CONFIG = {"width": 8, "inner": 12, "experts": 2, "batch_targets": 32, "learning_rate": 0.01, "sequence_weight": 0.5}


def domain(name: str, *lengths: int, n_items: int = 20, seed: int = 0) -> Domain:
    """Users of the lengths given; the last two items of everybody occur nowhere else."""
    rng = np.random.default_rng(seed)
    rows = []
    for user, length in enumerate(lengths):
        held_out = [n_items + 2 * user, n_items + 2 * user + 1]
        rows.append([*rng.integers(0, n_items, length).tolist(), *held_out][-length:])
    items = tuple(f"{name}-{item}" for item in range(n_items + 2 * len(lengths)))
    return Domain(
        name=name,
        sequences=Sequences.of(rows),
        item_ids=items,
        user_ids=tuple(f"{name} {user}" for user in range(len(lengths))),
        texts=items,
    )


KITCHEN = domain("kitchen", 5, 9, 3, 12, 2, 1, 60, seed=1)
GARDEN = domain("garden", 7, 4, 8, n_items=11, seed=2)
SOURCES = {"kitchen": KITCHEN, "garden": GARDEN}
SPEC = Pretraining(
    family="UniSRec", version=1, sources=("kitchen", "garden"), encoder="hash", config=CONFIG, epochs=3, seed=0
)


def parts_of(spec: Pretraining) -> dict[str, Any]:
    fingerprints = {name: each.fingerprint for name, each in SOURCES.items()}
    return key_parts(spec, fingerprints, {"encoder": "hash"}, "float32")


def make(spec: Pretraining, cache: Path, *, family: PretrainingFamily = FAMILY, **options: Any) -> Path:
    sequences = merge([SOURCES[name] for name in spec.sources])
    n_items = sum(SOURCES[name].n_items for name in spec.sources)
    text, noisy = (torch.from_numpy(np.random.default_rng(seed).normal(size=(n_items, 10))).float() for seed in (3, 4))
    return pretrain(spec, family, parts_of(spec), sequences, text, noisy, cache=cache, **options)


def weights(spec: Pretraining, path: Path) -> dict[str, Tensor]:
    return dict(load(path, digest(parts_of(spec))).weights)


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


# --- what is learnt from


def test_sources_are_put_one_after_another_without_the_last_two_of_everybody() -> None:
    first = replace(domain("a", 4, 2, 1), sequences=Sequences.of([[0, 1, 2, 3], [4, 5], [6]]))
    second = replace(domain("b", 3, 5), sequences=Sequences.of([[0, 1, 2], [3, 0, 3, 1, 2]]))
    merged = merge([first, second])
    shift = first.n_items
    assert [row.tolist() for row in merged] == [[0, 1], [], [], [shift], [shift + 3, shift, shift + 3]]
    assert merged.items.dtype == np.int32
    assert merged.offsets.dtype == np.int64


@dataclass(frozen=True, kw_only=True)
class SpyConfig:
    batch_targets: int = 7
    learning_rate: float = 0.1
    prefix_rows: bool = False


class Spy(Pretrainer):
    """Notes every question it is asked."""

    asked: ClassVar[list[list[Question]]] = []

    def __init__(self, config: SpyConfig, text: Tensor, noisy: Tensor) -> None:
        super().__init__()
        self.prefix_rows = config.prefix_rows
        self.weight = nn.Parameter(torch.ones(2))

    def windows(self, sequences: Sequences) -> Windows:
        return prefix_windows(sequences) if self.prefix_rows else super().windows(sequences)

    def loss(self, batch: Batch) -> Tensor:
        self.asked.append(list(asked(batch)))
        return self.weight.sum() ** 2

    def weights(self) -> dict[str, Tensor]:
        return self.state_dict()


SPY = PretrainingFamily(name="Spy", version=1, config=SpyConfig, build=Spy, paper="none")


@pytest.mark.parametrize("prefix_rows", [False, True])
def test_held_out_items_of_a_source_are_never_seen(
    prefix_rows: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Spy, "asked", [])
    spec = replace(SPEC, family="Spy", config={"prefix_rows": prefix_rows}, epochs=2)
    make(spec, tmp_path, family=SPY)
    rows = [row.tolist() for each in SOURCES.values() for row in each.sequences.without_last(2)]
    shifted = [
        [item + (0 if number < KITCHEN.n_users else KITCHEN.n_items) for item in row] for number, row in enumerate(rows)
    ]
    pairs = [(target, sequence) for batch in Spy.asked for _, target, sequence in batch]
    expected = [(item, number) for number, row in enumerate(shifted) for item in row[1:]]
    assert sorted(pairs) == sorted(expected * 2)
    held_out = {int(item) for row in KITCHEN.sequences for item in row[-2:]}
    held_out |= {int(item) + KITCHEN.n_items for row in GARDEN.sequences for item in row[-2:]}
    seen = {item for batch in Spy.asked for history, target, _ in batch for item in (*history, target)}
    assert seen
    assert not seen & held_out
    mixed = [batch for batch in Spy.asked if len({sequence < KITCHEN.n_users for _, _, sequence in batch}) == 2]
    assert mixed, "no batch holds two domains"
    sizes = [len(batch) for batch in Spy.asked]
    assert max(sizes) <= (8 if prefix_rows else 7 + 2 * 50)


def test_sources_without_two_training_items_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to train on"):
        pretrain(
            SPEC,
            FAMILY,
            parts_of(SPEC),
            Sequences.of([[0], [1], []]),
            torch.ones(2, 4),
            torch.ones(2, 4),
            cache=tmp_path,
        )
    assert not list(tmp_path.rglob("*.safetensors"))


# --- artefacts


def test_a_longer_pre_training_continues_a_shorter_one(tmp_path: Path) -> None:
    short, long = replace(SPEC, epochs=2), replace(SPEC, epochs=5)
    straight = weights(long, make(long, tmp_path / "straight"))
    cache = tmp_path / "continued"
    first = make(short, cache)
    lines: list[str] = []
    second = make(long, cache, log=lines.append)
    assert lines[0] == "resumed after epoch 2"
    assert [point["epoch"] for point in load(second, digest(parts_of(long))).about["curve"]] == [1, 2, 3, 4, 5]
    assert_same(weights(long, second), straight)
    assert first != second
    assert first.is_file(), "the shorter one is gone"


def test_a_shorter_pre_training_does_not_take_what_a_longer_one_has_learnt(tmp_path: Path) -> None:
    short, long = replace(SPEC, epochs=1), replace(SPEC, epochs=3)
    expected = weights(short, make(short, tmp_path / "alone"))
    make(long, tmp_path / "after")
    assert_same(weights(short, make(short, tmp_path / "after")), expected)


def test_a_shorter_pre_training_leaves_the_state_of_an_interrupted_longer_one(tmp_path: Path) -> None:
    short, long = replace(SPEC, epochs=1), replace(SPEC, epochs=4)
    expected = weights(short, make(short, tmp_path / "alone"))
    with pytest.raises(Interrupted):
        make(long, tmp_path, log=interrupt_at(4))
    assert_same(weights(short, make(short, tmp_path)), expected)
    lines: list[str] = []
    make(long, tmp_path, log=lines.append)
    assert lines[0] == "resumed after epoch 3"


class Interrupted(Exception):
    pass


def interrupt_at(epoch: int) -> Callable[[str], None]:
    def log(line: str) -> None:
        if f"epoch {epoch} of" in line:
            raise Interrupted

    return log


def test_an_interrupted_pre_training_goes_on(tmp_path: Path) -> None:
    expected = weights(SPEC, make(SPEC, tmp_path / "undisturbed"))
    cache = tmp_path / "disturbed"
    with pytest.raises(Interrupted):
        make(SPEC, cache, log=interrupt_at(3))
    assert find(SPEC, digest(parts_of(SPEC)), cache, tmp_path / "results") is None, "half an artefact is offered"
    lines: list[str] = []
    assert_same(weights(SPEC, make(SPEC, cache, log=lines.append)), expected)
    assert lines[0] == "resumed after epoch 2"


def test_a_damaged_state_costs_time_and_nothing_else(tmp_path: Path) -> None:
    short = replace(SPEC, epochs=2)
    make(short, tmp_path)
    (state,) = (tmp_path / "artefacts").glob(".state-*")
    state.write_bytes(state.read_bytes()[:200])
    assert_same(weights(SPEC, make(SPEC, tmp_path)), weights(SPEC, make(SPEC, tmp_path / "fresh")))


@pytest.mark.parametrize("change", [{"seed": 1}, {"config": CONFIG | {"sequence_weight": 0.0}}, {"epochs": 4}])
def test_what_is_configured_makes_a_difference(change: dict[str, Any], tmp_path: Path) -> None:
    other = replace(SPEC, **change)
    mine, theirs = make(SPEC, tmp_path), make(other, tmp_path)
    assert mine != theirs
    assert any(not torch.equal(value, weights(other, theirs)[name]) for name, value in weights(SPEC, mine).items())


def test_no_epochs_give_the_initial_weights(tmp_path: Path) -> None:
    untrained = replace(SPEC, epochs=0)
    found = weights(untrained, make(untrained, tmp_path))
    assert torch.equal(found["adaptor.gate_FE"], torch.zeros_like(found["adaptor.gate_FE"]))


def test_weights_are_kept_in_half_precision_and_given_in_full(tmp_path: Path) -> None:
    kept: dict[str, Tensor] = {}

    class Keeping(FAMILY.build):  # type: ignore[name-defined,misc]
        def weights(self) -> dict[str, Tensor]:
            kept.update({name: value.clone() for name, value in super().weights().items()})
            return super().weights()

    path = make(SPEC, tmp_path, family=replace(FAMILY, build=Keeping))
    with safe_open(path, "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118
    found = weights(SPEC, path)
    assert found.keys() == kept.keys()
    for name, value in kept.items():
        assert found[name].dtype == torch.float32
        torch.testing.assert_close(found[name], value, rtol=2**-11, atol=2**-24)


def test_an_artefact_says_what_it_is(tmp_path: Path) -> None:
    path = make(SPEC, tmp_path)
    artefact = load(path, digest(parts_of(SPEC)))
    about = artefact.about
    assert path.name == f"UniSRec-3-{about['key'][:12]}.safetensors"
    assert about["key_parts"] == parts_of(SPEC)
    assert (about["sources"], about["epochs"]) == (["kitchen", "garden"], 3)
    losses = [point["loss"] for point in about["curve"]]
    assert losses[-1] < losses[0]
    assert about["wall_seconds"] >= sum(point["seconds"] for point in about["curve"]) > 0
    assert sorted(each.name for each in path.parent.iterdir() if not each.name.startswith(".state-")) == [path.name]


@pytest.mark.parametrize("damage", [b"", b"not tensors at all", None], ids=["empty", "garbage", "cut short"])
def test_a_damaged_artefact_is_named(damage: bytes | None, tmp_path: Path) -> None:
    path = make(SPEC, tmp_path)
    path.write_bytes(path.read_bytes()[:-10] if damage is None else damage)
    with pytest.raises(InputError) as error:
        weights(SPEC, path)
    assert str(path) in str(error.value)
    assert "delete the file and run again" in str(error.value)


def test_an_artefact_of_another_key_is_not_taken(tmp_path: Path) -> None:
    other = replace(SPEC, seed=5)
    with pytest.raises(InputError, match="not the pre-trained weights of key"):
        weights(SPEC, make(other, tmp_path))


def test_artefacts_are_found_in_the_cache_and_beside_results(tmp_path: Path) -> None:
    cache, results = tmp_path / "cache", tmp_path / "results"
    key = digest(parts_of(SPEC))
    assert find(SPEC, key, cache, results) is None
    path = make(SPEC, cache)
    assert find(SPEC, key, cache, results) == path
    committed = results / "some-suite" / "artefacts" / path.name
    committed.parent.mkdir(parents=True)
    path.rename(committed)
    assert find(SPEC, key, cache, results) == committed
    assert find(replace(SPEC, epochs=4), digest(parts_of(replace(SPEC, epochs=4))), cache, results) is None


def test_a_pre_training_that_diverges_leaves_no_artefact(tmp_path: Path) -> None:
    hopeless = replace(SPEC, config=CONFIG | {"learning_rate": 1e30})
    with pytest.raises(ArithmeticError, match="diverged"):
        make(hopeless, tmp_path)
    assert find(hopeless, digest(parts_of(hopeless)), tmp_path, tmp_path) is None
