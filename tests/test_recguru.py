"""RecGURU: its losses against values by hand, whose turn it is, and that h tells nothing of what is to come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from questions import everything
from torch import Tensor, nn

from baselines.recguru import RecGURU, RecGURUConfig, bpr_loss, ends, gradient_penalty, sampled_softmax
from benchmark.batches import Batch, training_windows, whole_windows
from benchmark.domain import Sequences
from benchmark.errors import InputError
from benchmark.method import Material, SourceMaterial, configure
from benchmark.splits import leave_one_out
from benchmark.testing import scores, toy_domain
from benchmark.train import Training, adam, train

torch.set_num_threads(1)

SPLIT = leave_one_out(toy_domain())
SOURCES = leave_one_out(toy_domain(n_items=30, n_users=25)).train
SMALL: dict[str, Any] = {"width": 16, "inner": 32, "dropout": 0.0, "attention_dropout": 0.0}


def build(train_part: Sequences = SPLIT.train, sources: Sequences = SOURCES, **changes: Any) -> RecGURU:
    config = configure(RecGURUConfig, SMALL | changes, "test")
    torch.manual_seed(0)
    material = Material(n_items=40, train=train_part, sources=SourceMaterial(n_items=30, train=sources))
    return RecGURU(config, material)


def whole(sequences: Sequences) -> Batch:
    return everything(sequences, whole_windows(sequences))


def randomise(module: nn.Module) -> None:
    """Away from the start, where all states are nearly alike."""
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)


# --- reconstruction


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12))
@settings(deadline=None, max_examples=30)
def test_h_is_the_state_at_the_last_item_of_each_sequence(lengths: list[int]) -> None:
    rows = [[100 * row + place for place in range(length)] for row, length in enumerate(lengths)]
    batch = whole(Sequences.of(rows))
    assert batch.items_BL.flatten()[ends(batch)].tolist() == [row[-1] for row in rows]


def test_h_is_seen_from_both_sides() -> None:
    """Without positions the order of the items before the last makes no difference; to a causal encoder it does."""
    autoencoder = build().adversary.autoencoder
    randomise(autoencoder)
    nn.init.zeros_(autoencoder.encoder.positions.weight)
    one, other = (whole(Sequences.of([row])) for row in ([3, 9, 4, 7], [9, 4, 3, 7]))
    h_of_one, h_of_other = (autoencoder.rebuild(autoencoder.target, batch)[1] for batch in (one, other))
    torch.testing.assert_close(h_of_one, h_of_other)


def test_a_sampled_softmax_over_all_items_is_the_full_one() -> None:
    torch.manual_seed(0)
    states_TD, table_ND = torch.randn(6, 4), torch.randn(9, 4)
    targets_T, others_M = torch.randint(9, (6,)), torch.randperm(9)
    found = sampled_softmax(states_TD, table_ND[targets_T], table_ND[others_M], targets_T[:, None] == others_M)
    torch.testing.assert_close(found, F.cross_entropy(states_TD @ table_ND.T, targets_T))


def test_a_sampled_softmax_by_hand() -> None:
    """One state (1, 2): its own item scores 3, the others 1 and, being the same item once more, 3."""
    own_TD, others_MD = torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    found = sampled_softmax(torch.tensor([[1.0, 2.0]]), own_TD, others_MD, torch.tensor([[False, True]]))
    assert float(found) == pytest.approx(np.log(1 + np.exp(1 - 3)))


def test_sequences_are_learnt_by_heart_through_h() -> None:
    """All items of a few sequences without order: the first of each can be known from h alone."""
    rng = np.random.default_rng(0)
    target = Sequences.of([rng.integers(0, 40, length).tolist() for length in (3, 5, 4, 6, 2, 5)])
    source = Sequences.of([rng.integers(0, 30, length).tolist() for length in (4, 3, 5)])
    autoencoder = build(target, source).adversary.autoencoder
    optimizer, batch = adam(autoencoder, 3e-3), whole(target)
    for _ in range(150):
        optimizer.zero_grad()
        loss = autoencoder.loss(batch)
        loss.backward()
        optimizer.step()
    for side, sequences in ((autoencoder.target, target), (autoencoder.source, source)):
        learnt, h_SD = autoencoder.rebuild(side, whole(sequences))
        assert float(learnt.detach()) < 0.1, "guessing costs 3.4 at least"
        autoencoder.users = lambda x_BLD, batch, h_SD=h_SD: h_SD.roll(1, 0)
        mistaken, _ = autoencoder.rebuild(side, whole(sequences))
        del autoencoder.users
        assert float(mistaken.detach()) > 1, "the decoder does not read h"


def test_the_decoder_sees_h_and_what_comes_before() -> None:
    """Given h, its state at a place is the same whatever stands there and after it, or in other sequences."""
    autoencoder = build().adversary.autoencoder
    randomise(autoencoder)
    autoencoder.users = lambda x_BLD, batch: torch.ones(2, 16)
    states: list[Any] = []
    autoencoder.target.decoder.register_forward_hook(lambda module, given, states_TD: states.append(states_TD))
    for row, neighbour in (([3, 9, 4, 7], [1] * 5), ([3, 9, 11, 7], [2] * 5)):
        batch = whole(Sequences.of([row, neighbour]))
        autoencoder.rebuild(autoencoder.target, batch)
        states[-1] = states[-1][batch.sequences_T == 0]
    one, other = states
    torch.testing.assert_close(one[:3], other[:3])
    assert not torch.allclose(one[3], other[3], rtol=1e-2)


def test_a_step_shows_as_many_sequences_of_the_sources() -> None:
    (_, target), (side, source) = build().adversary.autoencoder.sides(whole(SPLIT.train))
    assert int(source.segments_BL.max()) == int(target.segments_BL.max())
    assert side.item_table.num_embeddings == 30


# --- the critic


def test_the_penalty_of_a_linear_critic_and_its_gradient() -> None:
    """D(h) = (3, 4) h: its slope is 5 everywhere, (5 - 1)^2 = 16, and d/dw (|w| - 1)^2 = 2 (|w| - 1) w / |w|."""
    critic = nn.Linear(2, 1)
    with torch.no_grad():
        critic.weight.copy_(torch.tensor([[3.0, 4.0]]))
    penalty = gradient_penalty(critic, torch.randn(7, 2), torch.randn(7, 2))
    assert float(penalty.detach()) == pytest.approx(16)
    penalty.backward()
    assert critic.weight.grad is not None
    torch.testing.assert_close(critic.weight.grad, torch.tensor([[4.8, 6.4]]))


def test_the_penalty_is_taken_between_the_pairs() -> None:
    """D(h) = |h|^2 / 2 has the slope |h|: at h = (0, 3) it costs 4; on the way from 1 to 3 from 0 to 4."""

    def critic(h_SD: Tensor) -> Tensor:
        return h_SD.square().sum(1) / 2

    there = torch.tensor([[0.0, 3.0]])
    assert float(gradient_penalty(critic, there, there).detach()) == pytest.approx(4)
    places = torch.cat([1 + gradient_penalty(critic, there / 3, there).sqrt()[None] for _ in range(200)])
    assert 1 <= float(places.min()) < 1.1
    assert 2.9 < float(places.max()) <= 3


def test_losses_of_the_adversaries_by_hand() -> None:
    adversary = build().adversary
    randomise(adversary)
    linear = nn.Linear(16, 1)
    adversary.critic = nn.Sequential(linear)
    weight_D, bias = linear.weight[0], linear.bias
    sides = adversary.autoencoder.sides(whole(SPLIT.train))
    gap, rebuilt = torch.zeros(()), torch.zeros(())
    for sign, (side, batch) in zip((1, -1), sides, strict=True):
        loss, h_SD = adversary.autoencoder.rebuild(side, batch)
        rebuilt = rebuilt + loss
        gap = gap + sign * sum(float(h_D @ weight_D + bias) for h_D in h_SD) / len(h_SD)
    assert abs(float(gap)) > 0.01
    penalty = (float(weight_D.norm()) - 1) ** 2
    assert float(adversary.critic_loss(sides)) == pytest.approx(0.1 * penalty - float(gap), rel=1e-4)
    assert float(adversary.generator_loss(sides)) == pytest.approx(float(rebuilt) + float(gap), rel=1e-4)


def test_each_adversary_moves_in_its_turn_alone() -> None:
    adversary = build(critic_steps=2).adversary
    optimizer, batch = adam(adversary, 1e-2, betas=(0.5, 0.9)), whole(SPLIT.train)
    turns = []
    for _ in range(6):
        before = {name: value.clone() for name, value in adversary.named_parameters()}
        optimizer.zero_grad(set_to_none=True)
        adversary.loss(batch).backward()
        optimizer.step()
        moved = {name for name, value in adversary.named_parameters() if not torch.equal(value, before[name])}
        # what is added to every score of both domains makes no difference
        turns.append(moved - {"critic.6.bias"})
    critic = {name for name, _ in adversary.named_parameters() if name.startswith("critic.")} - {"critic.6.bias"}
    others = {name for name, _ in adversary.named_parameters() if name.startswith("autoencoder.")}
    # softmax is indifferent to what is added to all scores of a query
    others -= {name for name in others if name.endswith("attention.key.bias")}
    turns = [turn - {name for name in turn if name.endswith("attention.key.bias")} for turn in turns]
    assert turns == [critic, critic, others] * 2


def test_the_critic_tells_domains_apart_and_the_encoder_deceives_it() -> None:
    """By the critic's scores, which rise on the target's vectors and fall on the sources', and what becomes of it."""
    adversary = build().adversary
    randomise(adversary.autoencoder)
    sides = adversary.autoencoder.sides(whole(SPLIT.train))

    def gap() -> float:
        with torch.no_grad():
            target_SD, source_SD = (adversary.autoencoder.rebuild(*side)[1] for side in sides)
            return float(adversary.critic(target_SD).mean() - adversary.critic(source_SD).mean())

    optimizer, at_first = adam(adversary, 1e-3), gap()
    for _ in range(60):
        optimizer.zero_grad()
        adversary.critic_loss(sides).backward()
        optimizer.step()
    told_apart = gap()
    for _ in range(20):
        optimizer.zero_grad()
        adversary.generator_loss(sides).backward()
        optimizer.step()
    assert abs(at_first) < 0.3 < told_apart
    assert gap() < 0.5 * told_apart


@pytest.mark.parametrize("line", ["reconstruction, epoch 2 ", "adversarial, epoch 2 ", "adversarial, epoch 3 "])
def test_resuming_within_the_phases_is_the_undisturbed_run(line: str, tmp_path: Path) -> None:
    """Four steps an epoch: an interruption falls within a round of one generator and two critic steps."""

    def run(**options: Any) -> dict[str, Tensor]:
        sizes = {"dropout": 0.2, "batch_items": 60, "critic_steps": 2, "generator_steps": 5, "reconstruction_steps": 8}
        model = build(**sizes)
        assert model.steps_a_pass % 3 == 1
        given = {"epochs": 1, "batch_targets": 64, "precision": "float32"}
        train(model, SPLIT, configure(Training, given, "test"), 0, **options)
        return model.state_dict()

    def stop(said: str) -> None:
        if said.startswith(line):
            raise InterruptedError

    expected = run()
    checkpoint = tmp_path / "run.safetensors"
    with pytest.raises(InterruptedError):
        run(checkpoint=checkpoint, log=stop)
    found = run(checkpoint=checkpoint)
    assert found.keys() == expected.keys()
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []


def test_phases_are_as_long_as_configured() -> None:
    """In steps, rounded up to whole passes over the target: 250 items make 5 steps of 50."""
    train_part = Sequences.of([[1] * 25] * 10)
    model = build(train_part, batch_items=50, reconstruction_steps=11, generator_steps=10, critic_steps=3)
    assert [phase.epochs for phase in model.phases()] == [3, 8]
    assert [phase.epochs for phase in build(reconstruction_steps=0, generator_steps=0).phases()] == [0, 0]


# --- recommendation


def test_no_later_item_has_a_part_in_an_earlier_answer() -> None:
    """Gradients of each answer by the items of a sequence, each of which occurs once: none from later ones."""
    model = build()
    randomise(model)
    row = [7, 3, 21, 14, 30, 2, 9]
    sequences = Sequences.of([[38, 39, 37], row])
    batch = everything(sequences, training_windows(sequences))
    items_ND = model.items().detach().requires_grad_()
    users_TD = model.users(batch, items_ND)
    of_row = torch.nonzero(batch.sequences_T == 1)[:, 0]
    for place, at in enumerate(of_row.tolist()):
        (by_N,) = torch.autograd.grad(users_TD[at].square().sum(), items_ND, retain_graph=True)
        assert set(torch.nonzero(by_N.abs().sum(1))[:, 0].tolist()) == set(row[: place + 1])


def test_an_answer_within_a_sequence_is_that_after_its_prefix() -> None:
    """So nothing of what follows is in h or in the decoder, and ranking gives what was trained."""
    model = build()
    randomise(model)
    model.eval()
    row = [7, 3, 21, 14, 30, 2, 9]
    sequences = Sequences.of([row, [1, 2]])
    batch = everything(sequences, training_windows(sequences))
    with torch.no_grad():
        within = model.users(batch, model.items())[batch.sequences_T == 0] @ model.items().T
    alone = torch.cat([scores(model, Sequences.of([row[: place + 1]])) for place in range(len(row) - 1)])
    torch.testing.assert_close(within, alone, rtol=1e-4, atol=1e-4)


def test_the_recommender_is_given_h() -> None:
    model = build()
    randomise(model)
    model.eval()
    histories = Sequences.of([[7, 3, 21]])
    with_h = scores(model, histories)
    for name, parameter in model.adversary.autoencoder.encoder.named_parameters():
        if name.endswith("blocks.1.feed_forward_norm.weight"):
            nn.init.zeros_(parameter)
    assert not torch.allclose(scores(model, histories), with_h, rtol=1e-2)


def test_bpr_compares_with_the_mean_score_of_its_negatives() -> None:
    torch.manual_seed(0)
    users_TD, wanted_TD, others_TMD = torch.randn(4, 3), torch.randn(4, 3), torch.randn(4, 5, 3)
    total = 0.0
    for user in range(4):
        wanted = float(users_TD[user] @ wanted_TD[user])
        others = [float(users_TD[user] @ others_TMD[user, m]) for m in range(5)]
        total += -np.log(1 / (1 + np.exp(-(wanted - sum(others) / 5))))
    assert float(bpr_loss(users_TD, wanted_TD, others_TMD)) == pytest.approx(total / 4, rel=1e-5)


@pytest.mark.parametrize("bpr", [False, True])
def test_the_last_phase_lifts_what_follows(bpr: bool) -> None:
    model = build(bpr=bpr)
    batch = everything(SPLIT.train, training_windows(SPLIT.train))
    torch.manual_seed(3)
    found = model.loss(batch)
    users_TD, items_ND = model.users(batch, model.items()), model.items()
    expected = F.cross_entropy(users_TD @ items_ND.T, batch.targets_T)
    if bpr:
        torch.manual_seed(3)
        others_TM = torch.randint(40, (len(users_TD), 5))
        expected = bpr_loss(users_TD, items_ND[batch.targets_T], items_ND[others_TM])
    torch.testing.assert_close(found, expected)


def test_without_sources_it_says_so() -> None:
    with pytest.raises(InputError, match="source domains"):
        RecGURU(RecGURUConfig(width=16), Material(n_items=40, train=SPLIT.train))
