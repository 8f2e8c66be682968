"""What every method must hold to: checks that a method's own tests can run.

    import pytest
    from benchmark.testing import CHECKS, Subject

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_contract(check):
        check(Subject(method=MY_METHOD))

Each check builds the method on a toy domain of its own, with a configuration small enough for a test, and raises
AssertionError where the method breaks the contract. They take seconds and need no data.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.batches import MAX_LENGTH, history_batches, pack
from benchmark.domain import Domain, Sequences
from benchmark.errors import InputError
from benchmark.jobs import derive_seed
from benchmark.method import (
    Learned,
    Material,
    Method,
    Model,
    PretrainingFamily,
    Scorer,
    ScoringModel,
    SourceMaterial,
    Trainable,
    configure,
)
from benchmark.metrics import per_user
from benchmark.rank import Ranks, rank
from benchmark.splits import HeldOut, Split, leave_one_out
from benchmark.taxonomy import attributes
from benchmark.train import Trained, Training, train

TEXT_WIDTH = 24
SMALL: Mapping[str, Any] = {
    "width": 16,
    "inner": 32,
    "layers": 2,
    "heads": 2,
    "experts": 3,
    "subspaces": 8,
    "centroids": 16,
    "dropout": 0.2,
    "attention_dropout": 0.2,
    "pretraining_epochs": 3,
    "attribute_share": 1.0,
    "reconstruction_steps": 2,
    "generator_steps": 2,
}
"""Set in configurations that have these fields; give others to `Subject`."""
TOLERANCE = 1e-5
"""How far two scores may differ that ought to be the same, as a share of the largest."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A method under test."""

    method: Method
    family: PretrainingFamily | None = None
    """What it starts from, where its ``pretraining`` names one."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Fields of its configuration that keep a test small, beside those of `SMALL`."""

    def configuration(self, **changes: Any) -> Any:
        own = {entry.name for entry in fields(self.method.config)}
        small = {key: value for key, value in {**SMALL, **changes}.items() if key in own}
        return self.method.configure(small | dict(self.config))

    def material(self, domain: Domain, config: Any) -> Material:
        """What the method may see of a domain; pre-trained weights are fresh ones of its family."""
        text = toy_text(domain.n_items)
        pretrained = None
        if self.method.pretraining:
            assert self.family is not None, f"{self.method.name} starts from pre-training: give Subject its family"
            sizes = {entry.name for entry in fields(self.family.config)}
            shared = {key: value for key, value in asdict(config).items() if key in sizes}
            torch.manual_seed(1)
            given = torch.from_numpy(text)
            trainee = self.family.build(configure(self.family.config, shared, "toy"), given, given)
            pretrained = {name: value.clone() for name, value in trainee.weights().items()}
        needs, sources = self.method.needs, None
        source = toy_domain(n_items=30, n_users=25)
        taxonomies = attributes([domain, source]) if "taxonomy" in needs else [None, None]
        if self.method.reads_sources:
            sources = SourceMaterial(
                n_items=source.n_items,
                train=source.sequences.without_last(2),
                text=toy_text(source.n_items) if "text" in needs else None,
                taxonomy=taxonomies[1],
            )
        return Material(
            n_items=domain.n_items,
            train=leave_one_out(domain).train,
            text=text if "text" in needs else None,
            taxonomy=taxonomies[0],
            sources=sources,
            pretrained=pretrained,
        )

    def build(self, domain: Domain, *, seed: int = 0, **changes: Any) -> Model | ScoringModel | Scorer:
        """The method on a domain, as a run would build it."""
        config = self.configuration(**changes)
        material = self.material(domain, config)
        torch.manual_seed(seed)
        return self.method.build(config, material)

    def train(self, model: Model | ScoringModel, split: Split, *, seed: int = 0, **settings: Any) -> Trained:
        given = {"epochs": 2, "batch_targets": 64, "learning_rate": 1e-2, "precision": "float32"}
        return train(model, split, configure(Training, {**self.method.defaults, **given, **settings}, "toy"), seed)


def toy_domain(*, n_items: int = 40, n_users: int = 30, held_out_shift: int = 0) -> Domain:
    """A domain in which every item has one successor; users start anywhere and follow it.

    Histories have 3 to 9 items, two more than `MAX_LENGTH`. ``held_out_shift`` replaces every held-out item by another
    and leaves the training part as it is.
    """
    rng = np.random.default_rng(n_items)
    order = rng.permutation(n_items)
    lengths = [MAX_LENGTH + 5, MAX_LENGTH + 30, *rng.integers(3, 10, n_users - 2).tolist()]
    starts = rng.integers(0, n_items, n_users)
    rows = [order[(start + np.arange(length)) % n_items] for start, length in zip(starts, lengths, strict=True)]
    for row in rows:
        row[-2:] = (row[-2:] + held_out_shift) % n_items
    return Domain(
        name="toy",
        sequences=Sequences.of([row.astype(np.int32) for row in rows]),
        item_ids=tuple(f"i{item}" for item in range(n_items)),
        user_ids=tuple(f"u{user}" for user in range(n_users)),
        texts=tuple(f"thing {item}" for item in range(n_items)),
        taxonomy=tuple((f"shelf {item % 5}", f"brand {item % 3}") for item in range(n_items)),
    )


def toy_text(n_items: int) -> np.ndarray:
    """Encoded texts of a toy domain, unit rows, float32 [n_items, TEXT_WIDTH]."""
    text = np.random.default_rng(5).normal(size=(n_items, TEXT_WIDTH))
    return (text / np.linalg.norm(text, axis=1, keepdims=True)).astype(np.float32)


def scores(built: Model | ScoringModel | Scorer, histories: Sequences) -> Tensor:
    """The score of every item after each history, [n_histories, n_items], as ranking computes it."""
    if not isinstance(built, Learned):
        return built.scores(histories)
    built.eval()
    with torch.no_grad():
        if not isinstance(built, Model):
            return built.scores(histories)
        items_ND = built.items()
        candidates_NK = built.candidates(items_ND).float()
        found_UN = torch.empty(len(histories), len(candidates_NK))
        for users, batch in history_batches(histories, room=built.room):
            found_UN[torch.from_numpy(users)] = built.users(batch, items_ND).float() @ candidates_NK.T
    return found_UN


def assert_close(found: Tensor, expected: Tensor, what: str) -> None:
    largest = max(float(expected.abs().max()), 1e-12)
    off = float((found - expected).abs().max()) / largest
    assert off <= TOLERANCE, f"{what}: scores differ by {off:.1e} of the largest"


def check_configuration(subject: Subject) -> None:
    """Defaults alone are a configuration, it survives JSON (it is part of a run's key), and unknown keys are errors."""
    default = subject.method.configure({})
    told = json.loads(json.dumps(asdict(default)))
    try:
        again = subject.method.configure(told)
    except InputError as error:
        raise AssertionError(f"the configuration does not survive JSON: {error}") from error
    assert again == default, f"{told} makes another configuration than it was made from"
    try:
        subject.method.configure({"no such key": 1})
    except InputError:
        return
    raise AssertionError("an unknown key was accepted")


def check_scores(subject: Subject) -> None:
    """One finite score for every user and item."""
    domain = toy_domain()
    histories = leave_one_out(domain).test.histories
    found = scores(subject.build(domain), histories)
    assert found.shape == (len(histories), domain.n_items), f"scores of shape {tuple(found.shape)}"
    assert torch.isfinite(found).all(), "scores are not finite"


def check_histories_are_independent(subject: Subject) -> None:
    """Padding, neighbours in a batch and the order of users change no score."""
    domain = toy_domain()
    histories = leave_one_out(domain).test.histories
    built = subject.build(domain)
    together = scores(built, histories)
    backwards = np.arange(len(histories))[::-1].copy()
    assert_close(scores(built, histories.take(backwards)).flip(0), together, "users in another order")
    alone = torch.cat([scores(built, histories.take(np.array([user]))) for user in range(len(histories))])
    assert_close(alone, together, "each user alone")


def check_history_limit(subject: Subject) -> None:
    """Of a long history the last `MAX_LENGTH` items count, and no others: the protocol's limit holds for everybody."""
    domain = toy_domain()
    histories = leave_one_out(domain).test.histories
    built = subject.build(domain)
    cut = Sequences.of([history[-MAX_LENGTH:] for history in histories])
    assert_close(scores(built, cut), scores(built, histories), "histories cut at the limit")


def check_seed(subject: Subject) -> None:
    """The same seed gives the same ranks, whatever was drawn before."""
    assert _ranks_of_a_run(subject, 0) == _ranks_of_a_run(subject, 17), "two runs of one seed differ"


def _ranks_of_a_run(subject: Subject, drawn_before: int) -> list[list[int]]:
    np.random.seed(drawn_before)  # noqa: NPY002 - a method that draws from the global state must be caught
    domain = toy_domain()
    split = leave_one_out(domain)
    built = subject.build(domain, seed=3)
    if isinstance(built, Learned) and subject.method.trained:
        subject.train(built, split, seed=3)
    ranks = rank(built, split.test, split.n_items)
    return [ranks.greater.tolist(), ranks.equal.tolist()]


def check_weights_are_all(subject: Subject) -> None:
    """What is saved of a model is all of it: loaded into a fresh one, scores are the same to the last bit."""
    domain = toy_domain()
    split = leave_one_out(domain)
    built = subject.build(domain)
    if not isinstance(built, Learned):
        return
    if subject.method.trained:
        subject.train(built, split, epochs=1)
    fresh = subject.build(domain, seed=1)
    assert isinstance(fresh, Learned)
    fresh.load_state_dict({name: value.clone() for name, value in built.state_dict().items()})
    expected, found = scores(built, split.test.histories), scores(fresh, split.test.histories)
    assert torch.equal(found, expected), "a model with the same weights scores differently"


def check_overfits(subject: Subject) -> None:
    """A method that learns can learn by heart which of 20 items follows which; guessing gives an NDCG@10 of 0.23."""
    if not subject.method.trained:
        return
    domain = toy_domain(n_items=20)
    split = leave_one_out(domain)
    built = subject.build(domain, dropout=0.0, attention_dropout=0.0)
    assert isinstance(built, Learned), f"{subject.method.name} is to be trained and is no Model or ScoringModel"
    subject.train(built, split, epochs=80, patience=80)
    known = np.flatnonzero(split.train.lengths > 1)
    learnt = split.train.take(known)
    ranks = rank(built, HeldOut(learnt.without_last(1), learnt.from_end(1)), split.n_items)
    quality = _ndcg(ranks)
    assert quality > 0.6, f"NDCG@10 on what it was trained on is {quality:.2f}"


def _ndcg(ranks: Ranks) -> float:
    return float(per_user("NDCG@10", ranks.greater, ranks.equal).mean())


def check_held_out_items_are_not_learnt(subject: Subject) -> None:
    """Other held-out items, the same model: nothing of them is in the scores after the same histories."""
    learnt = []
    for shift in (0, 7):
        domain = toy_domain(held_out_shift=shift)
        built = subject.build(domain)
        split = leave_one_out(domain)
        if isinstance(built, Learned) and subject.method.trained:
            subject.train(built, split, epochs=1)
        learnt.append(scores(built, split.train))
    assert torch.equal(*learnt), "scores after training histories depend on held-out items"


def check_what_is_given_stays(subject: Subject) -> None:
    """Item texts, pre-trained weights and frozen parameters are the same after training as before."""
    domain = toy_domain()
    config = subject.configuration()
    material = subject.material(domain, config)
    given = {"text": torch.tensor(material.text)} if material.text is not None else {}
    given |= {name: value.clone() for name, value in (material.pretrained or {}).items()}
    torch.manual_seed(0)
    built = subject.method.build(config, material)
    if not isinstance(built, Learned):
        return
    frozen = {name: value.clone() for name, value in built.named_parameters() if not value.requires_grad}
    if subject.method.trained:
        subject.train(built, leave_one_out(domain), weight_decay=0.1)
    after = {"text": torch.from_numpy(material.text)} if material.text is not None else {}
    after |= dict(material.pretrained or {})
    changed = [name for name, value in given.items() if not torch.equal(after[name], value)]
    now = dict(built.named_parameters())
    changed += [name for name, value in frozen.items() if not torch.equal(now[name], value)]
    assert not changed, f"training changed {', '.join(changed)}"


def check_gradients(subject: Subject) -> None:
    """Every parameter that counts as trained gets a finite gradient, in float32 and under bfloat16 autocast."""
    if not subject.method.trained:
        return
    domain = toy_domain()
    train_part = leave_one_out(domain).train
    for reduced in (False, True):
        built = subject.build(domain)
        assert isinstance(built, Learned), f"{subject.method.name} is to be trained and is no Model or ScoringModel"
        built.train()
        torch.manual_seed(derive_seed("gradients"))
        parts = [(built, train_part)]
        parts += [(phase.trainable, phase.sequences or train_part) for phase in built.phases()]
        reached: set[str] = set()
        for part, sequences in parts:
            reached |= _gradients(built, part, sequences, reduced=reduced)
        trained = {name for name, value in built.named_parameters() if value.requires_grad}
        assert trained, "there is nothing to train"
        assert reached >= trained, f"no gradient reaches {', '.join(sorted(trained - reached))}"


def _gradients(built: Learned, part: Trainable, sequences: Sequences, *, reduced: bool) -> set[str]:
    """The parameters of a model that a loss of it, or of one of its phases, gives finite gradients."""
    windows = part.windows(sequences)
    batch = pack(sequences, windows, np.arange(len(windows)))
    built.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
        loss = part.loss(batch)
    assert loss.shape == (), f"the loss has shape {tuple(loss.shape)}"
    loss.backward()
    found = {name: value.grad for name, value in built.named_parameters() if value.grad is not None}
    broken = [name for name, gradient in found.items() if not torch.isfinite(gradient).all()]
    assert not broken, f"{'bfloat16' if reduced else 'float32'} gradients of {', '.join(broken)} are not finite"
    return set(found)


CHECKS: tuple[Callable[[Subject], None], ...] = (
    check_configuration,
    check_scores,
    check_histories_are_independent,
    check_history_limit,
    check_seed,
    check_weights_are_all,
    check_overfits,
    check_held_out_items_are_not_learnt,
    check_what_is_given_stays,
    check_gradients,
)
