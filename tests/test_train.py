"""The training loop: what it shows a model, when it stops, what it keeps, and that it can be interrupted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from baselines.sasrec import SASRec
from benchmark.batches import PADDING, Batch
from benchmark.checkpoint import load_tensors, save_tensors
from benchmark.domain import Domain, Sequences
from benchmark.errors import InputError
from benchmark.layers import Sizes
from benchmark.method import Material, Model, Phase, Trainable, configure, registry
from benchmark.rank import NotFinite, rank
from benchmark.splits import HeldOut, Split, leave_one_out
from benchmark.testing import TEXT_WIDTH, Subject, toy_domain, toy_text
from benchmark.train import Trained, Training, refit, train

torch.set_num_threads(1)

DOMAIN = toy_domain()
SPLIT = leave_one_out(DOMAIN)
SETTINGS = {"epochs": 6, "batch_targets": 64, "learning_rate": 1e-2, "precision": "float32"}


def build(name: str, seed: int = 0) -> Model:
    methods, families = registry().methods, registry().families
    built = Subject(method=methods[name], family=families.get(methods[name].pretraining or "")).build(DOMAIN, seed=seed)
    assert isinstance(built, Model)
    return built


class Scripted(Model):
    """Ranks the held-out item 0 of everybody at a given place after each epoch; what it has learnt is the epoch."""

    learnt: Tensor

    def __init__(self, places: list[int], n_items: int = 40) -> None:
        super().__init__()
        self.places, self.n_items = places, n_items
        self.weight = nn.Parameter(torch.zeros(1))
        self.register_buffer("learnt", torch.zeros((), dtype=torch.long))

    def loss(self, batch: Batch) -> Tensor:
        self.learnt += 1
        return self.weight.sum() ** 2

    def items(self) -> Tensor:
        place = self.places[int(self.learnt) - 1]
        scores_N = -torch.arange(self.n_items, dtype=torch.float32)
        scores_N[0] = 0.5 - place
        return scores_N[:, None]

    def users(self, batch: Batch, items_ND: Tensor) -> Tensor:
        return torch.ones(len(batch.at_T), 1)


def scripted_split(n_items: int = 40) -> Split:
    train_part = Sequences.of([[1, 2, 3], [4, 5]])
    asked = HeldOut(train_part, np.zeros(2, np.int32))
    return Split(n_items=n_items, train=train_part, valid=asked, test=asked)


@pytest.mark.parametrize(
    ("places", "patience", "epochs_run", "best"),
    [
        # rises, then falls: stops after `patience` epochs without a better one
        ([9, 5, 3, 4, 4, 4, 1], 3, 6, 3),
        # just in time
        ([9, 5, 5, 5, 2, 2, 2, 2, 1], 3, 8, 5),
        # a tie is no improvement: the first of equals is kept
        ([4, 4, 4, 1], 2, 3, 1),
        # rises to the end
        ([9, 8, 7, 6], 2, 4, 4),
        # never anything: the first epoch
        ([30, 30, 30, 30], 2, 3, 1),
    ],
)
def test_stops_early_and_keeps_the_best(places: list[int], patience: int, epochs_run: int, best: int) -> None:
    model = Scripted(places)
    settings = Training(epochs=len(places), patience=patience, precision="float32")
    trained = train(model, scripted_split(), settings, 0)
    assert [point.epoch for point in trained.curve] == list(range(1, epochs_run + 1))
    gains = [1 / np.log2(place + 1) if place <= 10 else 0.0 for place in places[:epochs_run]]
    assert [point.valid for point in trained.curve] == pytest.approx(gains, abs=1e-12)
    assert trained.best_epoch == best
    assert int(model.learnt) == best, "the weights are not those of the best epoch"
    early = epochs_run < len(places)
    assert trained.stopped == (f"no better NDCG@10 in {patience} epochs" if early else f"reached {len(places)} epochs")


def test_improvements_are_not_rounded() -> None:
    # one of 20,000 users gains: far less than a fourth decimal
    split = scripted_split()
    many = HeldOut(Sequences.of([[1]] * 20_000), np.zeros(20_000, np.int32))

    class Nudged(Scripted):
        def users(self, batch: Batch, items_ND: Tensor) -> Tensor:
            vectors = torch.ones(len(batch.at_T), 1)
            if int(self.learnt) == 1:
                vectors[0] = -1.0
            return vectors

    model = Nudged([9, 9, 9])
    trained = train(model, Split(n_items=40, train=split.train, valid=many, test=many), Training(epochs=3), 0)
    first, second = trained.curve[0].valid, trained.curve[1].valid
    assert 0 < second - first < 1e-4
    assert trained.best_epoch == 2


# S3-Rec has phases before its own training
@pytest.mark.parametrize("name", ["SASRec", "UniSRec_t-scratch", "S3-Rec"])
def test_training_anew_on_the_same_sequences_gives_the_model_that_was_selected(name: str) -> None:
    settings = configure(Training, SETTINGS | {"epochs": 4, "patience": 4, "weight_decay": 0.01}, "test")
    selected, again = build(name), build(name)
    trained = train(selected, SPLIT, settings, 3)
    refit(again, SPLIT.train, settings, trained.best_epoch, 3)
    assert trained.best_epoch > 0
    for key, value in selected.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key


def test_training_anew_learns_from_what_it_is_given() -> None:
    settings = configure(Training, SETTINGS, "test")
    first, second = build("SASRec"), build("SASRec")
    refit(first, SPLIT.train, settings, 2, 0)
    refit(second, DOMAIN.sequences, settings, 2, 0)
    assert not torch.equal(first.items(), second.items())


def test_training_anew_goes_on_after_an_interruption_as_if_there_had_been_none(tmp_path: Path) -> None:
    settings, path = configure(Training, SETTINGS, "test"), tmp_path / "state.safetensors"
    undisturbed, resumed = build("S3-Rec"), build("S3-Rec")
    refit(undisturbed, SPLIT.train, settings, 4, 0)
    refit(build("S3-Rec"), SPLIT.train, settings, 2, 0, checkpoint=path)
    said: list[str] = []
    earlier = refit(resumed, SPLIT.train, settings, 4, 0, checkpoint=path, log=said.append)
    assert said[0] == "resumed after epoch 2 of training anew"
    assert earlier.wall_seconds > 0
    for key, value in undisturbed.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_without_epochs_the_model_stays_as_it_was() -> None:
    model = build("SASRec")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trained = train(model, SPLIT, configure(Training, SETTINGS | {"epochs": 0}, "test"), 0)
    assert (trained.curve, trained.best_epoch) == ((), 0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Spy(SASRec):
    """Notes every item it is shown, in training and in ranking."""

    def __init__(self, config: Sizes, material: Material) -> None:
        super().__init__(config, material)
        self.learnt_from: set[int] = set()
        self.ranked_after: list[list[int]] = []

    def loss(self, batch: Batch) -> Tensor:
        self.learnt_from |= set(batch.items_BL[batch.segments_BL != PADDING].tolist()) | set(batch.targets_T.tolist())
        return super().loss(batch)

    def users(self, batch: Batch, items_ND: Tensor) -> Tensor:
        if not self.training:
            assert (batch.targets_T == -1).all()
            for segment in range(int(batch.segments_BL.max()) + 1):
                self.ranked_after.append(batch.items_BL[batch.segments_BL == segment].tolist())
        return super().users(batch, items_ND)


def test_the_loop_never_shows_what_is_held_out() -> None:
    """The last two items of everybody are items that occur nowhere else."""
    rng = np.random.default_rng(0)
    rows = [[*rng.integers(0, 30, rng.integers(1, 70)).tolist(), 30 + user, 60 + user] for user in range(30)]
    items = tuple(map(str, range(90)))
    domain = Domain(name="spied", sequences=Sequences.of(rows), item_ids=items, user_ids=items[:30], texts=items)
    split = leave_one_out(domain)
    spy = Spy(Sizes(width=8, inner=8), Material(n_items=90, train=split.train))
    train(spy, split, Training(epochs=2, batch_targets=100, precision="float32"), 0)
    assert spy.learnt_from == {item for row in rows if len(row) > 3 for item in row[:-2]}
    histories = sorted(row[:-2][-50:] for row in rows)
    assert sorted(spy.ranked_after) == sorted(histories * 2)


def same(one: Model, other: Model) -> bool:
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def told(trained: Trained) -> list[tuple[int, float, float]]:
    return [(point.epoch, point.loss, point.valid) for point in trained.curve]


def run(name: str = "SASRec", *, seed: int = 0, **options: Any) -> tuple[Model, Trained]:
    model = build(name, seed)
    return model, train(model, SPLIT, configure(Training, SETTINGS, "test"), seed, **options)


NAMES = ["SASRec", "UniSRec_t", "UniSRec_t+ID"]


@pytest.mark.parametrize("name", NAMES)
def test_one_seed_one_outcome(name: str) -> None:
    first, curve = run(name, seed=2)
    torch.manual_seed(12345)
    torch.rand(7)
    again, curve_again = run(name, seed=2)
    other, _ = run(name, seed=3)
    assert told(curve) == told(curve_again)
    assert same(first, again)
    assert not same(first, other)
    ranks = [rank(model, SPLIT.test, SPLIT.n_items) for model in (first, again)]
    assert ranks[0].greater.tolist() == ranks[1].greater.tolist()


class Interrupted(Exception):
    pass


def interrupt_after(epoch: int) -> Callable[[str], None]:
    def log(line: str) -> None:
        if line.startswith(f"epoch {epoch}:"):
            raise Interrupted

    return log


@pytest.mark.parametrize("name", NAMES)
def test_resuming_is_the_undisturbed_run(name: str, tmp_path: Path) -> None:
    expected, curve = run(name)
    checkpoint = tmp_path / "state" / "run.safetensors"
    for epoch in (3, 5):
        with pytest.raises(Interrupted):
            run(name, checkpoint=checkpoint, log=interrupt_after(epoch))
    lines: list[str] = []
    found, resumed = run(name, checkpoint=checkpoint, log=lines.append)
    assert lines[0] == "resumed after epoch 4"
    assert told(resumed) == told(curve)
    assert resumed.best_epoch == curve.best_epoch
    assert same(found, expected)
    assert [path.name for path in checkpoint.parent.iterdir()] == ["run.safetensors"], "something is left beside it"


class Guesses(Trainable):
    """What comes before the model's own training: its item table is drawn to the mean of what it is shown."""

    def __init__(self, table: nn.Embedding) -> None:
        super().__init__()
        self.table = table

    def loss(self, batch: Batch) -> Tensor:
        shown = self.table(batch.targets_T)
        return (shown - torch.rand(())).square().mean()


class InPhases(SASRec):
    def phases(self) -> list[Phase]:
        guesses = Guesses(self.item_table)
        return [
            Phase(name="first", trainable=guesses, epochs=3, learning_rate=0.01, batch_targets=40),
            Phase(
                name="second",
                trainable=guesses,
                epochs=2,
                learning_rate=0.1,
                batch_targets=20,
                betas=(0.5, 0.9),
                sequences=Sequences.of([[1, 2, 3]]),
            ),
        ]


def run_in_phases(**options: Any) -> tuple[Model, Trained]:
    torch.manual_seed(0)
    model = InPhases(Sizes(width=8, inner=8), Material(n_items=DOMAIN.n_items, train=SPLIT.train))
    return model, train(model, SPLIT, configure(Training, SETTINGS, "test"), 0, **options)


def test_phases_come_first_in_turn_and_learn_from_what_they_name() -> None:
    lines: list[str] = []
    model, trained = run_in_phases(log=lines.append)
    told_of = [line.split(":")[0] for line in lines]
    assert told_of[:5] == [f"first, epoch {e} of 3" for e in (1, 2, 3)] + [f"second, epoch {e} of 2" for e in (1, 2)]
    assert told_of[5] == "epoch 1"
    plain, curve = run_sasrec_alike()
    assert told(trained) != told(curve), "the phases have left nothing behind"
    assert not same(model, plain)
    before = model_after(0).item_table.weight
    after = model_after(1).item_table.weight
    moved = {int(row) for row in torch.nonzero((before != after).any(1))}
    assert moved == {2, 3}, "the second phase sees its own sequences"


def run_sasrec_alike() -> tuple[Model, Trained]:
    torch.manual_seed(0)
    model = SASRec(Sizes(width=8, inner=8), Material(n_items=DOMAIN.n_items, train=SPLIT.train))
    return model, train(model, SPLIT, configure(Training, SETTINGS, "test"), 0)


def model_after(n_second: int) -> InPhases:
    """No epoch of the loop itself, and so many of the second phase alone."""

    class Second(InPhases):
        def phases(self) -> list[Phase]:
            return [replace(super().phases()[1], epochs=n_second)]

    torch.manual_seed(0)
    model = Second(Sizes(width=8, inner=8), Material(n_items=DOMAIN.n_items, train=SPLIT.train))
    train(model, SPLIT, configure(Training, SETTINGS | {"epochs": 0}, "test"), 0)
    return model


@pytest.mark.parametrize("line", ["first, epoch 2", "first, epoch 3", "second, epoch 1", "second, epoch 2", "epoch 3:"])
def test_resuming_within_phases_is_the_undisturbed_run(line: str, tmp_path: Path) -> None:
    expected, curve = run_in_phases()
    checkpoint = tmp_path / "run.safetensors"

    def stop(said: str) -> None:
        if said.startswith(line):
            raise Interrupted

    with pytest.raises(Interrupted):
        run_in_phases(checkpoint=checkpoint, log=stop)
    found, resumed = run_in_phases(checkpoint=checkpoint)
    assert told(resumed) == told(curve)
    assert same(found, expected)


@pytest.mark.parametrize("damage", [b"", b"garbage", None], ids=["empty", "garbage", "cut short"])
def test_a_damaged_checkpoint_costs_time_and_nothing_else(damage: bytes | None, tmp_path: Path) -> None:
    expected, curve = run()
    checkpoint = tmp_path / "run.safetensors"
    with pytest.raises(Interrupted):
        run(checkpoint=checkpoint, log=interrupt_after(4))
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100] if damage is None else damage)
    found, again = run(checkpoint=checkpoint)
    assert told(again) == told(curve)
    assert same(found, expected)


def test_a_checkpoint_of_another_model_is_not_used(tmp_path: Path) -> None:
    """As after a change of the method's code."""
    expected, curve = run("SASRec")
    checkpoint = tmp_path / "run.safetensors"
    with pytest.raises(Interrupted):
        run("UniSRec_t", checkpoint=checkpoint, log=interrupt_after(4))
    lines: list[str] = []
    found, again = run("SASRec", checkpoint=checkpoint, log=lines.append)
    assert lines[0] == "the checkpoint is damaged, or of another version of the model: not used"
    assert told(again) == told(curve)
    assert same(found, expected)


def test_tensors_and_notes_survive_a_file(tmp_path: Path) -> None:
    shared = torch.arange(6.0)
    tensors = {
        "a": shared,
        "same": shared,
        "turned": shared.view(2, 3).T,
        "whole": torch.tensor(3),
        "half": shared.half(),
    }
    path = tmp_path / "new" / "tensors.safetensors"
    save_tensors(path, tensors, {"note": [1, 2.5, "é"], "none": None})
    loaded = load_tensors(path)
    assert loaded is not None
    assert loaded[1] == {"note": [1, 2.5, "é"], "none": None}
    assert loaded[0].keys() == tensors.keys()
    for name, value in tensors.items():
        assert loaded[0][name].dtype == value.dtype
        assert torch.equal(loaded[0][name], value)
    assert load_tensors(tmp_path / "absent") is None


def test_training_that_diverges_is_an_error() -> None:
    with pytest.raises(ArithmeticError, match="learning rate|not finite"):
        train(build("SASRec"), SPLIT, configure(Training, SETTINGS | {"learning_rate": 1e30}, "test"), 0)

    class LosesNumbers(Scripted):
        def loss(self, batch: Batch) -> Tensor:
            return super().loss(batch) * torch.nan

    with pytest.raises(ArithmeticError, match="the training loss is nan"):
        train(LosesNumbers([1, 1]), scripted_split(), Training(epochs=2), 0)

    class ScoresNaN(Scripted):
        def items(self) -> Tensor:
            return super().items() * torch.nan

    with pytest.raises(NotFinite):
        train(ScoresNaN([1, 1]), scripted_split(), Training(epochs=2), 0)


@pytest.mark.parametrize("name", ["UniSRec_t", "UniSRec_t+ID"])
def test_only_what_is_not_frozen_moves(name: str) -> None:
    model = build(name)
    before = {key: value.clone() for key, value in model.named_parameters()}
    text = {key: value.clone() for key, value in model.named_buffers()}
    settings = SETTINGS | {"weight_decay": 0.1, "patience": 6}
    train(model, SPLIT, configure(Training, settings, "test"), 0)
    moved = {key for key, value in model.named_parameters() if not torch.equal(value, before[key])}
    frozen = {key for key in before if key.startswith(("universal.encoder.positions", "universal.encoder.blocks"))}
    assert len(frozen) > 10
    assert moved == set(before) - frozen
    assert list(text) == ["text_NF"]
    assert torch.equal(text["text_NF"], torch.from_numpy(toy_text(DOMAIN.n_items)))
    assert torch.equal(dict(model.named_buffers())["text_NF"], text["text_NF"])
    assert text["text_NF"].shape == (DOMAIN.n_items, TEXT_WIDTH)


def test_a_longer_wait_or_more_epochs_only_continue_the_same_run() -> None:
    short = train(build("SASRec"), SPLIT, configure(Training, SETTINGS | {"epochs": 3}, "test"), 0)
    long = train(build("SASRec"), SPLIT, configure(Training, SETTINGS | {"patience": 3}, "test"), 0)
    assert told(short) == told(long)[:3]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epochs": -1}, "epochs is -1"),
        ({"batch_targets": 0}, "batch_targets is 0"),
        ({"patience": 0}, "patience is 0"),
        ({"precision": "float16"}, "precision 'float16' is not one of auto, float32, bfloat16"),
        ({"precission": "auto"}, "unknown key 'precission'; did you mean 'precision'"),
        ({"epochs": "ten"}, "'epochs' is 'ten', expected a int"),
    ],
)
def test_impossible_settings_are_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        configure(Training, changes, "suite 'x', training")


def test_nothing_to_learn_from_is_said() -> None:
    """Users of exactly three interactions leave one each to train on: no next item is known."""
    rows = Sequences.of([[0, 1, 2], [3, 4, 5]])
    short = Split(
        n_items=40,
        train=rows.without_last(2),
        valid=HeldOut(rows.without_last(2), rows.from_end(2)),
        test=HeldOut(rows.without_last(1), rows.from_end(1)),
    )
    with pytest.raises(InputError, match="nothing to train on"):
        train(Scripted([1]), short, Training(epochs=1), 0)


def test_the_cost_of_a_resumed_training_counts_what_came_before(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.safetensors"
    for epochs in (2, 3):
        done = train(
            build("SASRec"), SPLIT, configure(Training, SETTINGS | {"epochs": epochs}, "test"), 1, checkpoint=checkpoint
        )
    assert done.earlier.wall_seconds >= sum(e.train_seconds + e.rank_seconds for e in done.curve[:2])
    assert done.earlier.core_seconds > 0
