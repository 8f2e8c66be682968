"""BERT4Rec hides what it asks, asks what a ranking asks, and teaches with every sequence; its replica does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from questions import everything
from torch import Tensor

from baselines.bert4rec import BERT4Rec, BERT4RecConfig, HidesItems, from_the_end, hide
from baselines.bert4rec_recbole1 import RecBole1BERT4Rec
from baselines.bert4rec_recbole1 import draw_hidden as draw_as_recbole1
from benchmark.batches import PADDING, Batch, history_batches, whole_windows
from benchmark.domain import Sequences
from benchmark.errors import InputError
from benchmark.layers import Sizes
from benchmark.method import Material, registry

torch.set_num_threads(1)

N_ITEMS = 300


def distinct_items(*lengths: int) -> Sequences:
    """Sequences in which no item occurs twice: an item says whose it is, and where."""
    order = np.random.default_rng(3).permutation(N_ITEMS).astype(np.int32)
    return Sequences.of(np.split(order[: sum(lengths)], np.cumsum(lengths)[:-1]))


def move_from_the_start(model: HidesItems) -> None:
    """There biases are zero and all scores alike."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)


def bert4rec(sequences: Sequences, **shares: float) -> BERT4Rec:
    torch.manual_seed(0)
    config = replace(BERT4RecConfig(width=16, inner=32), **shares)
    model = BERT4Rec(config, Material(n_items=N_ITEMS, train=sequences))
    move_from_the_start(model)
    return model.eval()


def recbole1(sequences: Sequences) -> RecBole1BERT4Rec:
    torch.manual_seed(0)
    model = RecBole1BERT4Rec(Sizes(width=16, inner=32), Material(n_items=N_ITEMS, train=sequences))
    move_from_the_start(model)
    return model.eval()


def asking(batch: Batch, *at: int) -> Batch:
    """The batch, asked at flat places only."""
    return replace(batch, at_T=torch.tensor(at), targets_T=batch.items_BL.flatten()[list(at)])


@torch.no_grad()
def users(model: HidesItems, batch: Batch) -> Tensor:
    return model.users(batch, model.items())


def other_item(batch: Batch, *at: int) -> Batch:
    """The batch with other items at flat places."""
    items = batch.items_BL.flatten().clone()
    items[list(at)] = (items[list(at)] + 1) % N_ITEMS
    return replace(batch, items_BL=items.view_as(batch.items_BL))


@pytest.mark.parametrize("build", [bert4rec, recbole1])
def test_what_is_hidden_is_not_seen_and_what_is_not_is_seen_from_both_sides(
    build: Callable[[Sequences], HidesItems],
) -> None:
    sequences = distinct_items(9)
    model, batch = build(sequences), everything(sequences, whole_windows(sequences))
    asked = asking(batch, 3, 6)
    expected = users(model, asked)
    assert torch.equal(users(model, other_item(asked, 3, 6)), expected), "a hidden item is seen"
    for seen in (0, 4, 8):
        changed = (users(model, other_item(asked, seen)) - expected).abs().amax(1)
        assert (changed > 1e-4).all(), f"the item at {seen} is not seen from every hidden place"


def test_neighbours_in_a_row_are_not_seen() -> None:
    sequences = distinct_items(5, 7)
    model, batch = bert4rec(sequences), everything(sequences, whole_windows(sequences))
    assert batch.items_BL.shape[0] == 1, "they do not share a row"
    first = int(torch.nonzero(batch.segments_BL.flatten() == 0)[0])
    second = torch.nonzero(batch.segments_BL.flatten() == 1).flatten().tolist()
    asked = asking(batch, first + 2)
    assert torch.equal(users(model, other_item(asked, *second)), users(model, asked))


def test_what_came_last_stands_at_the_same_place_in_every_history() -> None:
    batch = from_the_end(everything(distinct_items(3, 6), whole_windows(distinct_items(3, 6))))
    segment, position = batch.segments_BL.flatten(), batch.positions_BL.flatten()
    assert position[segment == 0].tolist() == [2, 1, 0]
    assert position[segment == 1].tolist() == [5, 4, 3, 2, 1, 0]
    assert not position[segment == PADDING].any()


@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=4),
    hidden_share=st.sampled_from([0.0, 0.2, 1.0]),
    last_share=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 99),
)
@settings(max_examples=60)
def test_every_sequence_teaches_something(
    lengths: list[int], hidden_share: float, last_share: float, seed: int
) -> None:
    sequences = distinct_items(*lengths)
    windows = whole_windows(sequences)
    torch.manual_seed(seed)
    batch = everything(sequences, windows)
    asked = hide(batch, hidden_share, last_share)
    for window, n in enumerate(windows.asked):
        before = torch.nonzero(batch.segments_BL.flatten() == window).flatten()
        left = torch.nonzero(asked.segments_BL.flatten() == window).flatten()
        hidden = asked.at_T[batch.segments_BL.flatten()[asked.at_T] == window]
        assert len(hidden) >= 1
        assert torch.equal(left, before[: len(left)]), "not a beginning of the window"
        if last_share == 1:
            assert hidden.tolist() == [left[-1]], "the last of a beginning, alone"
            assert len(left) > 1 or len(before) == 1, "nothing is left to tell it from"
        elif last_share == 0:
            assert len(left) == len(before)
        if hidden_share == 0:
            assert len(hidden) == 1
        elif last_share == 0 and hidden_share == 1:
            assert len(hidden) == n
    assert torch.equal(asked.targets_T, batch.items_BL.flatten()[asked.at_T])


def test_items_are_hidden_as_often_as_wished() -> None:
    """Of 4,000 windows of 8 items half end early, at any but the first place; the others hide 8 s + (1 - s)^8 items
    anywhere."""
    sequences = Sequences.of([np.arange(8, dtype=np.int32)] * 4_000)
    batch = everything(sequences, whole_windows(sequences))
    torch.manual_seed(1)
    asked = hide(batch, 0.25, 0.5)
    hidden = torch.bincount(asked.targets_T, minlength=8) / 4_000  # items are named by their place here
    anywhere_a_place = (8 * 0.25 + 0.75**8) / 8
    expected = [0.5 * anywhere_a_place, *[0.5 * anywhere_a_place + 0.5 / 7] * 7]
    assert hidden.tolist() == pytest.approx(expected, abs=0.025)
    left = torch.bincount(asked.segments_BL.flatten()[asked.segments_BL.flatten() >= 0], minlength=4_000)
    assert float((left == 8).float().mean()) == pytest.approx(0.5 + 0.5 / 7, abs=0.03)
    assert not torch.equal(asked.at_T, hide(batch, 0.25, 0.5).at_T), "the same in every epoch"


def test_the_loss_is_the_cross_entropy_at_the_hidden_places() -> None:
    """One sequence at a time, without packing: the formula written out over the library's functions."""
    sequences = distinct_items(6, 1, 4)
    model = bert4rec(sequences, hidden_share=0.4)
    windows = whole_windows(sequences)
    batch = everything(sequences, windows)
    torch.manual_seed(8)
    asked = hide(batch, 0.4, 0.5)
    segment, place = asked.segments_BL.flatten(), batch.positions_BL.flatten()
    losses = []
    for window, row in enumerate(sequences):
        length = int((segment == window).sum())
        hidden = place[asked.at_T[segment[asked.at_T] == window]]
        inputs_LD = model.item_table.weight[torch.from_numpy(row[:length]).long()].clone()
        inputs_LD[hidden] = model.mask_D
        places = torch.arange(length)
        from_end = places.flip(0)[None]
        alone = replace(batch, segments_BL=0 * from_end, positions_BL=from_end, at_T=places)
        states_LD = model.encoder(inputs_LD[None], alone, causal=False)
        outputs_LD = model.output_norm(F.gelu(model.project(states_LD)))
        logits_LN = outputs_LD @ model.item_table.weight.T + model.bias_N
        losses += [F.cross_entropy(logits_LN[at], torch.tensor(int(row[at]))) for at in hidden.tolist()]
    assert any((segment == window).sum() < len(row) for window, row in enumerate(sequences)), "none ends early"
    torch.manual_seed(8)
    expected = torch.stack(losses).mean()
    assert float(expected.detach()) > 2
    torch.testing.assert_close(model.loss(batch), expected, atol=1e-5, rtol=1e-5)


def test_an_early_end_is_asked_as_a_ranking_asks_what_follows() -> None:
    """What is hidden there gets the vector of a user of whom only what goes before is known."""
    sequences = distinct_items(2, 9, 50, 51, 4)
    model = bert4rec(sequences, last_share=1.0)
    batch = everything(sequences, whole_windows(sequences))
    torch.manual_seed(3)
    asked = hide(batch, 0.3, 1.0)
    segment, items = batch.segments_BL.flatten(), batch.items_BL.flatten().numpy()
    before = [items[(segment == segment[at]).numpy()][: batch.positions_BL.flatten()[at]] for at in asked.at_T]
    assert {len(history) for history in before} - {len(row) - 1 for row in sequences}, "none ends early"
    found = users(model, asked)
    for chosen, ranked in history_batches(Sequences.of(before), room=model.room):
        torch.testing.assert_close(users(model, ranked), found[chosen], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("share", ["hidden_share", "last_share"])
def test_a_share_out_of_range_is_refused(share: str) -> None:
    with pytest.raises(InputError, match=f"{share} is 1.5, expected a number from 0 to 1"):
        registry().method("BERT4Rec").configure({share: 1.5})


# --- the replica's defects


def drawn_as_recbole1(sequences: Sequences, times: int = 1) -> tuple[Batch, list[Batch]]:
    """The prefix rows of a replica's epoch, and what several epochs ask of them."""
    batch = everything(sequences, recbole1(sequences).windows(sequences))
    torch.manual_seed(2)
    return batch, [draw_as_recbole1(batch)[1] for _ in range(times)]


def test_the_replica_never_meets_the_last_training_item() -> None:
    sequences = distinct_items(5, 3, 12, 2, 8)
    lasts, others = set(sequences.from_end(1).tolist()), set(sequences.without_last(1).items.tolist())
    firsts = {int(row[0]) for row in sequences}
    batch, draws = drawn_as_recbole1(sequences, times=60)
    inputs = set(batch.items_BL[batch.segments_BL >= 0].tolist())
    assert inputs == others
    assert {target for asked in draws for target in asked.targets_T.tolist()} == others - firsts
    model = bert4rec(sequences)
    whole = everything(sequences, model.windows(sequences))
    asked = {int(t) for _ in range(60) for t in hide(whole, 0.3, 0.5).targets_T}
    assert asked == lasts | others, "BERT4Rec asks for every item"


def test_the_replica_learns_nothing_of_a_rows_target() -> None:
    sequences = distinct_items(5, 3, 12, 2, 8)
    model = recbole1(sequences)
    batch = everything(sequences, model.windows(sequences))
    losses = []
    for targets_T in (batch.targets_T, torch.zeros_like(batch.targets_T)):
        torch.manual_seed(4)
        losses.append(model.loss(replace(batch, targets_T=targets_T)))
    assert losses[0] > 1
    assert torch.equal(*losses)


def test_the_replica_hides_the_first_position_without_asking_it() -> None:
    sequences = Sequences.of([np.arange(4, dtype=np.int32)] * 500)
    batch = everything(sequences, recbole1(sequences).windows(sequences))
    torch.manual_seed(2)
    hidden_H, asked = draw_as_recbole1(batch)
    position_BL = batch.positions_BL.flatten()
    assert float((position_BL[hidden_H] == 0).sum()) == pytest.approx(0.2 * 1_500, abs=60)
    assert int((position_BL[asked.at_T] == 0).sum()) == 0
    assert float((position_BL[asked.at_T] == 1).sum()) == pytest.approx(0.2 * 1_000, abs=50)
    assert asked.targets_T.tolist() == position_BL[asked.at_T].tolist(), "items are named by their place here"
    assert set(asked.at_T.tolist()) <= set(hidden_H.tolist())


def test_most_short_rows_teach_the_replica_nothing() -> None:
    """A row of n items has no loss with probability 0.8^(n-1): all of those of one item."""
    sequences = Sequences.of([np.arange(5, dtype=np.int32)] * 1_000)
    batch, (asked,) = drawn_as_recbole1(sequences)
    segment_BL = batch.segments_BL.flatten()
    taught = torch.bincount(segment_BL[asked.at_T], minlength=4_000) > 0
    length = torch.bincount(segment_BL[segment_BL >= 0])
    for n in (1, 2, 3, 4):
        assert float((~taught[length == n]).float().mean()) == pytest.approx(0.8 ** (n - 1), abs=0.05)


def test_a_long_row_of_the_replica_is_asked_for_its_last_ten_hidden_items() -> None:
    sequences = Sequences.of([np.arange(51, dtype=np.int32)] * 40)
    batch = everything(sequences, recbole1(sequences).windows(sequences))
    torch.manual_seed(6)
    hidden_H, asked = draw_as_recbole1(batch)
    segment_BL = batch.segments_BL.flatten()
    found = {row: [] for row in range(len(batch.at_T))}
    hidden = {row: [] for row in range(len(batch.at_T))}
    for table, places in ((found, asked.at_T), (hidden, hidden_H)):
        for place in places.tolist():
            table[int(segment_BL[place])].append(place)
    positions = batch.positions_BL.flatten()
    assert found == {row: [at for at in places[-10:] if positions[at]] for row, places in hidden.items()}
    assert max(map(len, hidden.values())) > 12


def test_rows_without_a_question_are_no_error_of_the_replica() -> None:
    sequences = distinct_items(2)
    model = recbole1(sequences)
    loss = model.loss(everything(sequences, model.windows(sequences)))
    loss.backward()
    assert float(loss.detach()) == 0


def test_the_replica_has_the_librarys_settings() -> None:
    method = registry().method("BERT4Rec-recbole1")
    assert (method.role, method.defaults, method.configure({}).dropout) == ("replica", {}, 0.5)
    assert {entry.name for entry in fields(method.config)} == {entry.name for entry in fields(Sizes)}
