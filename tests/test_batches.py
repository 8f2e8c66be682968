"""Whole packed sequences ask exactly what prefix rows ask, once each, and teach the same."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from questions import Question, asked, everything
from torch import Tensor

from benchmark.batches import (
    MAX_LENGTH,
    PADDING,
    Batch,
    history_batches,
    history_windows,
    pack,
    prefix_windows,
    training_batches,
    training_windows,
    whole_windows,
)
from benchmark.domain import Sequences
from benchmark.errors import InputError
from benchmark.method import Material, Model, registry
from benchmark.testing import SMALL, toy_text

torch.set_num_threads(1)

N_ITEMS = 60


def random_sequences(lengths: list[int], seed: int = 0) -> Sequences:
    rng = np.random.default_rng(seed)
    return Sequences.of([rng.integers(0, N_ITEMS, length).astype(np.int32) for length in lengths])


def reference_rows(sequences: Sequences, limit: int) -> Counter[Question]:
    """The training rows of UniSRec's scripts: each prefix cut at its last items, with the item after it."""
    return Counter(
        (tuple(row[max(0, end - limit) : end].tolist()), int(row[end]), number)
        for number, row in enumerate(sequences)
        for end in range(1, len(row))
    )


lengths_of_sequences = st.lists(st.one_of(st.integers(0, 12), st.integers(0, 140)), min_size=1, max_size=8)


@given(lengths=lengths_of_sequences, seed=st.integers(0, 99))
@settings(max_examples=25)
def test_windows_of_stride_one_and_prefix_windows_are_the_reference_rows(lengths: list[int], seed: int) -> None:
    sequences = random_sequences(lengths, seed)
    expected = reference_rows(sequences, MAX_LENGTH)
    for windows in (training_windows(sequences, stride=1), prefix_windows(sequences)):
        if expected:
            assert Counter(asked(everything(sequences, windows))) == expected
        else:
            assert len(windows) == 0


@given(
    lengths=lengths_of_sequences,
    limit_and_stride=st.integers(1, MAX_LENGTH).flatmap(lambda limit: st.tuples(st.just(limit), st.integers(1, limit))),
)
@settings(max_examples=60)
def test_every_target_is_asked_once_with_enough_before_it(
    lengths: list[int], limit_and_stride: tuple[int, int]
) -> None:
    limit, stride = limit_and_stride
    sequences = random_sequences(lengths)
    windows = training_windows(sequences, stride, limit)
    assert (windows.length <= limit).all()
    seen: dict[int, int] = {}
    for start, length, n_asked, number in zip(
        windows.start, windows.length, windows.asked, windows.sequence, strict=True
    ):
        assert sequences.offsets[number] <= start
        for place in range(start + length - n_asked, start + length):
            target = int(place) + 1
            assert target not in seen, "a target is asked twice"
            assert target < sequences.offsets[number + 1], "a target is in another sequence"
            seen[target] = int(place - start) + 1
    firsts = zip(sequences.offsets[:-1].tolist(), sequences.lengths.tolist(), strict=True)
    wanted = {first + place: place for first, length in firsts for place in range(1, length)}
    assert seen.keys() == wanted.keys()
    for target, before in wanted.items():
        assert seen[target] >= min(before, limit - stride)
        if stride == 1:
            assert seen[target] == min(before, limit)


@given(lengths=st.lists(st.integers(1, MAX_LENGTH), min_size=1, max_size=30), row_length=st.integers(MAX_LENGTH, 130))
@settings(max_examples=40)
def test_packing_keeps_every_history_whole(lengths: list[int], row_length: int) -> None:
    sequences = random_sequences(lengths)
    windows = history_windows(sequences)
    chosen = np.random.default_rng(1).permutation(len(windows))
    batch = pack(sequences, windows, chosen, row_length=row_length, ask=False)
    assert list(asked(batch)) == [(tuple(sequences[user].tolist()), -1, user) for user in chosen]
    assert int((batch.segments_BL != PADDING).sum()) == sum(lengths), "tokens lie over each other"
    assert (batch.items_BL[batch.segments_BL == PADDING] == 0).all()


def test_hardly_a_token_is_padding() -> None:
    sequences = random_sequences((2 + np.random.default_rng(0).geometric(0.2, 2000)).clip(max=MAX_LENGTH).tolist())
    batch = everything(sequences, training_windows(sequences))
    assert float((batch.segments_BL == PADDING).float().mean()) < 0.05


@given(lengths=st.lists(st.integers(2, 80), min_size=1, max_size=20), batch_targets=st.integers(1, 300))
@settings(max_examples=20)
def test_an_epoch_asks_everything_once_in_batches_of_the_size_wished(lengths: list[int], batch_targets: int) -> None:
    sequences = random_sequences(lengths)
    windows = training_windows(sequences)
    epochs = [list(training_batches(sequences, windows, batch_targets, np.random.default_rng(seed))) for seed in (1, 1)]
    questions = [Counter(question for batch in epoch for question in asked(batch)) for epoch in epochs]
    assert questions[0] == Counter(asked(everything(sequences, windows)))
    assert [batch.at_T.tolist() for batch in epochs[0]] == [batch.at_T.tolist() for batch in epochs[1]]
    longest = int(windows.asked.max())
    for batch in epochs[0]:
        assert len(batch.at_T) < 2 * batch_targets + 2 * longest


@given(
    lengths=st.lists(st.integers(1, 70), min_size=1, max_size=20),
    batch_targets=st.integers(1, 200),
    processes=st.integers(2, 5),
)
@settings(max_examples=30)
def test_processes_share_the_batches_of_one(lengths: list[int], batch_targets: int, processes: int) -> None:
    sequences = random_sequences(lengths)
    windows = training_windows(sequences)

    def epoch(share: tuple[int, int]) -> list[Counter[Question]]:
        rng = np.random.default_rng(3)
        return [Counter(asked(each)) for each in training_batches(sequences, windows, batch_targets, rng, share)]

    if len(windows) < processes:
        with pytest.raises(InputError):
            epoch((0, processes))
        return
    parts = [epoch((number, processes)) for number in range(processes)]
    assert all(each for part in parts for each in part), "a process has nothing to do"
    steps = [sum(step, Counter[Question]()) for step in zip(*parts, strict=True)]
    # a batch of one process is a step, or the beginning or a part of one where it is too small to be shared
    waiting = epoch((0, 1))
    for step in steps:
        joined = waiting.pop(0)
        while joined != step:
            assert len(joined) < step.total(), "the step is not made of batches of one process"
            joined += waiting.pop(0)
    assert not waiting


@pytest.mark.parametrize(
    ("processes", "expected"),
    [
        (1, [2, 3, 3, 3, 3, 3, 3, 3, 3, 4]),
        (2, [2, 3, 3, 3, 3, 3, 3, 3, 3, 4]),
        (3, [2 + 3, 3, 3, 3, 3, 3, 3, 3, 4]),
        (4, [2 + 3, 3 + 3, 3 + 3, 3 + 3, 3 + 4]),
    ],
)
def test_only_what_is_too_small_to_be_shared_is_joined(processes: int, expected: list[int]) -> None:
    """Thirty sequences of five pairs each, about fifteen pairs a batch; sizes of steps, in sequences."""
    sequences = random_sequences([6] * 30)
    windows = training_windows(sequences)
    parts = [
        [
            len(batch.at_T) // 5
            for batch in training_batches(sequences, windows, 15, np.random.default_rng(0), (number, processes))
        ]
        for number in range(processes)
    ]
    assert [sum(step) for step in zip(*parts, strict=True)] == expected


def test_parts_of_a_batch_are_nearly_equal() -> None:
    """In tokens they differ by less than the longest history; chance alone would make one of four a fifth too large."""
    sequences = random_sequences((2 + np.random.default_rng(0).geometric(0.1, 400)).clip(max=MAX_LENGTH).tolist())
    windows = training_windows(sequences)
    parts = [
        [
            int((batch.segments_BL != PADDING).sum())
            for batch in training_batches(sequences, windows, 1000, np.random.default_rng(0), (number, 4))
        ]
        for number in range(4)
    ]
    assert all(max(step) - min(step) < MAX_LENGTH for step in zip(*parts, strict=True))


def test_batches_are_as_large_as_wished_and_in_another_order_each_epoch() -> None:
    sequences = random_sequences([12] * 300)
    windows = training_windows(sequences)
    first, second = (list(training_batches(sequences, windows, 330, np.random.default_rng(seed))) for seed in (0, 1))
    assert len(first) == 10
    assert all(abs(len(batch.at_T) - 330) <= 11 for batch in first), "off by more than one sequence"
    assert first[0].sequences_T.tolist() != second[0].sequences_T.tolist()
    assert first[0].sequences_T.tolist() != sorted(first[0].sequences_T.tolist())


@given(lengths=st.lists(st.integers(1, 90), min_size=1, max_size=50), batch_tokens=st.integers(1, 400))
@settings(max_examples=40)
def test_ranking_asks_each_user_once_after_the_last_items(lengths: list[int], batch_tokens: int) -> None:
    sequences = random_sequences(lengths)
    found: dict[int, tuple[int, ...]] = {}
    for users, batch in history_batches(sequences, batch_tokens):
        questions = list(asked(batch))
        assert [user for _, _, user in questions] == users.tolist()
        assert all(target == -1 for _, target, _ in questions)
        found |= {user: history for history, _, user in questions}
        assert len(users) == 1 or sum(len(history) for history, _, _ in questions) <= batch_tokens + MAX_LENGTH
    assert found == {user: tuple(row[-MAX_LENGTH:].tolist()) for user, row in enumerate(sequences)}


@given(lengths=lengths_of_sequences)
@settings(max_examples=40)
def test_whole_windows_ask_every_item_for_itself(lengths: list[int]) -> None:
    sequences = random_sequences(lengths)
    windows = whole_windows(sequences)
    if not sum(lengths):
        assert len(windows) == 0
        return
    batch = everything(sequences, windows)
    assert batch.items_BL.flatten()[batch.at_T].tolist() == batch.targets_T.tolist()
    found = Counter(zip(batch.sequences_T.tolist(), batch.targets_T.tolist(), strict=True))
    assert found == Counter((number, int(item)) for number, row in enumerate(sequences) for item in row)
    assert int(windows.length.max()) <= MAX_LENGTH


@given(lengths=st.lists(st.integers(1, 90), min_size=1, max_size=30), room=st.integers(1, 3))
@settings(max_examples=40)
def test_room_behind_a_history_is_what_is_asked(lengths: list[int], room: int) -> None:
    sequences = random_sequences(lengths)
    for users, batch in history_batches(sequences, 300, room=room):
        for number, user in enumerate(users.tolist()):
            places = torch.nonzero(batch.segments_BL.flatten() == number).flatten()
            history = sequences[user][-(MAX_LENGTH - room) :].tolist()
            assert batch.items_BL.flatten()[places].tolist() == history + [0] * room
            assert batch.positions_BL.flatten()[places].tolist() == list(range(len(history) + room))
            assert int(batch.at_T[number]) == int(places[-1])


def test_nothing_can_be_asked_after_an_empty_history() -> None:
    with pytest.raises(ValueError, match="history 1 is empty"):
        list(history_batches(random_sequences([3, 0, 2])))


LONG = [3, 2, 7, 1, 0, 51, 52, 20, 64, 130, 4]
"""Lengths about the limit of 50 inputs, and sequences that ask nothing."""
SHORT = [3, 2, 7, 1, 0, 51, 40, 20, 4]
CAUSAL = ["SASRec", "UniSRec_t-scratch", "UniSRec_t+ID-scratch"]


def still_model(name: str, sequences: Sequences) -> Model:
    """A small model in evaluation mode: no dropout, no gate noise."""
    method = registry().methods[name]
    own = set(vars(method.configure({})))
    config = method.configure({key: value for key, value in SMALL.items() if key in own})
    torch.manual_seed(3)
    built = method.build(config, Material(n_items=N_ITEMS, train=sequences, text=toy_text(N_ITEMS)))
    assert isinstance(built, Model)
    with torch.no_grad():
        for parameter in built.parameters():
            # far from the start, where biases are zero and all scores alike
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return built.eval()


def loss_and_gradients(model: Model, batch: Batch) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    loss = model.loss(batch)
    loss.backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    return {"loss": loss.detach()} | {name: gradient.clone() for name, gradient in found.items()}


def assert_all_close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-4, msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize(
    ("lengths", "stride"), [(LONG, 1), (SHORT, MAX_LENGTH // 2)], ids=["long, stride 1", "short, default stride"]
)
def test_whole_sequences_teach_what_prefix_rows_teach(name: str, lengths: list[int], stride: int) -> None:
    sequences = random_sequences(lengths)
    model = still_model(name, sequences)
    whole = everything(sequences, training_windows(sequences, stride))
    prefixes = everything(sequences, prefix_windows(sequences))
    assert len(whole.at_T) == len(prefixes.at_T) == sum(max(length - 1, 0) for length in lengths)
    expected = loss_and_gradients(model, prefixes)
    assert expected["loss"] > 1
    assert set(expected) == {"loss", *(name for name, _ in model.named_parameters())} - noise_parameters(model)
    assert_all_close(loss_and_gradients(model, whole), expected)


def noise_parameters(model: Model) -> set[str]:
    """What only learns while there is gate noise."""
    return {name for name, _ in model.named_parameters() if "noise" in name}


@pytest.mark.parametrize("name", CAUSAL)
def test_the_loss_is_the_cross_entropy_of_one_prefix_at_a_time(name: str) -> None:
    """No packing, no padding, no neighbours: each prefix alone in a row, all scores, the library's cross-entropy."""
    sequences = random_sequences([9, 4, 60])
    model = still_model(name, sequences)
    temperature = getattr(model, "temperature", 1.0)
    losses = []
    for row in sequences:
        for end in range(1, len(row)):
            history = Sequences.of([row[max(0, end - MAX_LENGTH) : end]])
            alone = pack(history, history_windows(history), np.array([0]), row_length=len(history.items), ask=False)
            items_ND = model.items()
            logits_1N = model.users(alone, items_ND) @ model.candidates(items_ND).T / temperature
            losses.append(F.cross_entropy(logits_1N, torch.tensor([int(row[end])])))
    whole = everything(sequences, training_windows(sequences, stride=1))
    torch.testing.assert_close(model.loss(whole), torch.stack(losses).mean(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", CAUSAL)
def test_packed_rows_teach_what_one_history_a_row_teaches(name: str) -> None:
    sequences = random_sequences(LONG)
    model = still_model(name, sequences)
    windows = training_windows(sequences)
    chosen = np.arange(len(windows))
    # in rows of 50 no two of the longer windows fit together; one window a batch shares with nobody
    rows = loss_and_gradients(model, pack(sequences, windows, chosen, row_length=MAX_LENGTH))
    mixed = loss_and_gradients(model, pack(sequences, windows, chosen[::-1].copy(), row_length=200))
    assert_all_close(mixed, rows)
    single = [pack(sequences, windows, chosen[at : at + 1]) for at in range(len(chosen))]
    total = sum(model.loss(batch) * len(batch.at_T) for batch in single) / windows.asked.sum()
    torch.testing.assert_close(torch.as_tensor(total), rows["loss"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", CAUSAL)
def test_what_comes_later_changes_no_earlier_state(name: str) -> None:
    sequences = random_sequences([30, 12])
    model = still_model(name, sequences)
    windows = training_windows(sequences)
    changed = sequences.items.copy()
    changed[20:30] = (changed[20:30] + 1) % N_ITEMS
    with torch.no_grad():
        items_ND = model.items()
        before, after = (
            model.users(pack(table, windows, np.arange(2)), items_ND)
            for table in (sequences, Sequences(changed, sequences.offsets))
        )
    same_T = (before == after).all(1)
    # asked positions 0 to 28 of the first sequence, then those of the second: items 20 and later are seen from 20 on
    assert same_T[:20].all()
    assert not same_T[20:29].any()
    assert same_T[29:].all()
