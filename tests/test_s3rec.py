"""S3-Rec's four tasks against their formulas, written out window by window; what is hidden, and what is drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from questions import everything
from test_scale import Watch
from torch import Tensor

from baselines import s3rec
from baselines.s3rec import Attributes, Pretraining, S3Rec, S3RecConfig
from baselines.s3rec_tasks import draw_stretches, elsewhere, hide, others
from baselines.sasrec import SASRec
from benchmark.batches import PADDING, Batch, whole_windows
from benchmark.domain import Sequences
from benchmark.errors import InputError
from benchmark.layers import Sizes
from benchmark.method import Material, configure
from benchmark.splits import Split, leave_one_out
from benchmark.testing import toy_domain
from benchmark.train import Training, train

torch.set_num_threads(1)

N_ITEMS, WIDTH = 12, 8
TAXONOMY = tuple((f"shelf {item % 3}", f"brand {item % 4}") if item % 5 else () for item in range(N_ITEMS))
"""Items 0, 5 and 10 have no attribute."""
SIZES = {"width": WIDTH, "inner": 10, "dropout": 0.0, "attention_dropout": 0.0}


def build(n_items: int = N_ITEMS, taxonomy: Sequence[tuple[str, ...]] = TAXONOMY, **changes: Any) -> S3Rec:
    """A model whose weights are large enough for every part of a loss to matter."""
    torch.manual_seed(3)
    config = configure(S3RecConfig, SIZES | changes, "test")
    model = S3Rec(config, Material(n_items=n_items, train=Sequences.of([[0]]), taxonomy=tuple(taxonomy)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def pretraining(**changes: Any) -> Pretraining:
    (phase,) = build(**changes).phases()
    assert isinstance(phase.trainable, Pretraining)
    return phase.trainable


ROWS = [[1, 2, 3, 4, 5], [6, 7], [8], [5, 2, 9, 11]]
BATCH = everything(Sequences.of(ROWS), whole_windows(Sequences.of(ROWS)))


# --- what is drawn


@given(n=st.integers(2, 30), seed=st.integers(0, 5))
def test_the_negative_of_an_item_is_any_other_item(n: int, seed: int) -> None:
    torch.manual_seed(seed)
    items_M = torch.arange(n).repeat_interleave(200)
    drawn = others(items_M, n).view(n, 200)
    assert all(set(row.tolist()) <= set(range(n)) - {item} for item, row in enumerate(drawn))
    if n <= 6:
        assert all(len(set(row.tolist())) == n - 1 for row in drawn), "an item is never drawn"


def test_the_share_of_hidden_items_is_as_asked_for_and_they_are_where_it_says() -> None:
    torch.manual_seed(0)
    many = everything(Sequences.of(ROWS * 500), whole_windows(Sequences.of(ROWS * 500)))
    is_hidden_T, hidden_BL = hide(many, 0.2)
    assert float(is_hidden_T.float().mean()) == pytest.approx(0.2, abs=0.02)
    assert hidden_BL.flatten().nonzero().flatten().tolist() == sorted(many.at_T[is_hidden_T].tolist())


LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=12)


@dataclass(frozen=True)
class Drawn:
    """A window's tokens, its stretch of them, and the tokens of the negative, as flat indices."""

    window: list[int]
    stretch: list[int]
    negative: list[int]
    found: bool


def drawn_of(batch: Batch) -> Iterator[Drawn]:
    stretches = draw_stretches(batch)
    begin_S, found_S = elsewhere(batch, stretches)
    behind_BL = stretches.behind(batch).flatten()
    for segment, (begin, length) in enumerate(zip(begin_S.tolist(), stretches.length.tolist(), strict=True)):
        window = (batch.segments_BL.flatten() == segment).nonzero().flatten().tolist()
        stretch = [place for place in window if behind_BL[place] >= 0]
        assert behind_BL[stretch].tolist() == list(range(length))
        assert (int(stretches.first[segment]), int(stretches.last[segment])) == (window[0], window[-1])
        yield Drawn(window, stretch, list(range(begin, begin + length)), bool(found_S[segment]))
    assert int((behind_BL >= 0).sum()) == int(stretches.length.sum()), "a stretch reaches beyond its window"


@given(lengths=LENGTHS, seed=st.integers(0, 3))
@settings(max_examples=60)
def test_a_negative_stretch_lies_in_one_window_of_another_sequence(lengths: list[int], seed: int) -> None:
    """Long sequences have several windows; those of one sequence are no negatives for each other."""
    torch.manual_seed(seed)
    sequences = Sequences.of([[0] * length for length in lengths])
    batch = everything(sequences, whole_windows(sequences))
    sequence_of = {}
    for place, sequence in zip(batch.at_T.tolist(), batch.sequences_T.tolist(), strict=True):
        sequence_of[int(batch.segments_BL.flatten()[place])] = sequence
    segments = batch.segments_BL.flatten()
    for segment, drawn in enumerate(drawn_of(batch)):
        assert 1 <= len(drawn.stretch) <= max(1, len(drawn.window) // 2)
        assert drawn.stretch == list(range(drawn.stretch[0], drawn.stretch[-1] + 1))
        fitting = {
            other
            for other, sequence in sequence_of.items()
            if sequence != sequence_of[segment] and int((segments == other).sum()) >= len(drawn.stretch)
        }
        assert drawn.found == bool(fitting)
        if drawn.found:
            (source,) = set(segments[drawn.negative].tolist())
            assert source in fitting


def test_every_stretch_and_every_negative_comes_up() -> None:
    rows = Sequences.of([[1, 2, 3, 4], [5, 6, 7], [8]])
    batch = everything(rows, whole_windows(rows))
    items = batch.items_BL.flatten()
    seen: list[set[tuple[tuple[int, ...], tuple[int, ...]]]] = [set(), set(), set()]
    torch.manual_seed(0)
    for _ in range(400):
        for segment, drawn in enumerate(drawn_of(batch)):
            seen[segment].add((tuple(items[drawn.stretch].tolist()), tuple(items[drawn.negative].tolist())))
    one, two = [(5,), (6,), (7,), (8,)], [(5, 6), (6, 7)]
    expected = {((own,), other) for own in (1, 2, 3, 4) for other in one}
    expected |= {(own, other) for own in ((1, 2), (2, 3), (3, 4)) for other in two}
    assert seen[0] == expected
    assert seen[1] == {((own,), (other,)) for own in (5, 6, 7) for other in (1, 2, 3, 4, 8)}


# --- the losses


def states(task: Pretraining, items: Sequence[int | None]) -> Tensor:
    """What the encoder makes of one history by itself, [n, D]; None is a hidden item."""
    n = len(items)
    x_1ND = torch.stack([task.critics.mask.weight[0] if i is None else task.item_table.weight[i] for i in items])[None]
    batch = Batch(
        torch.zeros(1, n, dtype=torch.long),
        torch.arange(n)[None],
        torch.zeros(1, n, dtype=torch.long),
        at_T=torch.arange(n),
        targets_T=torch.zeros(n, dtype=torch.long),
        sequences_T=torch.zeros(n, dtype=torch.long),
    )
    model = task.encode.encoder
    x_BLD = model.input_norm(x_1ND + model.positions.weight[:n])
    everyone_B1LL = torch.ones(1, 1, n, n, dtype=torch.bool)
    for block in model.blocks:
        x_BLD = block(x_BLD, everyone_B1LL)
    torch.testing.assert_close(x_BLD[0], model(x_1ND, batch, causal=False))
    return x_BLD[0]


def critic(form: torch.nn.Module, x_D: Tensor, y_D: Tensor) -> Tensor:
    """f(x, y) = sigmoid(y . (W x + b))"""
    weight, bias = form.parameters()
    return torch.sigmoid(y_D @ (weight @ x_D + bias))


def attribute_loss(task: Pretraining, form: torch.nn.Module, x_D: Tensor, item: int) -> Tensor:
    """- log f summed over what holds, - log (1 - f) over what does not; nothing for an item without attributes."""
    names = sorted({name for row in TAXONOMY for name in row})
    total = torch.zeros(())
    for row, name in enumerate(names):
        weight, bias = form.parameters()
        score = task.attributes.vectors.weight[row] @ (weight @ x_D + bias) + task.attributes.bias_A[row]
        f = torch.sigmoid(score)
        total = total - (f.log() if name in TAXONOMY[item] else (1 - f).log())
    return total if TAXONOMY[item] else torch.zeros(())


def test_associated_attributes_are_asked_of_every_item_as_often_as_it_occurs() -> None:
    task = pretraining()
    form, table = task.critics.aap, task.item_table.weight
    expected = sum(attribute_loss(task, form, table[item], item) for row in ROWS for item in row)
    torch.testing.assert_close(task.associated(BATCH), expected)


HIDDEN = [(0, 1), (0, 4), (1, 0), (3, 3)]
"""(sequence, place)"""


def test_hidden_items_and_their_attributes_are_told_from_what_stands_around_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = pretraining()
    negatives = {2: 7, 5: 6, 6: 1, 11: 0}
    place_T = [(sequence, place) for sequence, row in enumerate(ROWS) for place in range(len(row))]
    is_hidden_T = torch.tensor([place in HIDDEN for place in place_T])
    hidden_BL = torch.zeros_like(BATCH.items_BL, dtype=torch.bool)
    hidden_BL.view(-1)[BATCH.at_T[is_hidden_T]] = True
    monkeypatch.setattr(s3rec, "hide", lambda batch, share: (is_hidden_T, hidden_BL))
    monkeypatch.setattr(s3rec, "others", lambda items_M, n: torch.tensor([negatives[i] for i in items_M.tolist()]))
    mip, map_ = torch.zeros(()), torch.zeros(())
    for sequence, place in HIDDEN:
        shown = [None if (sequence, at) in HIDDEN else item for at, item in enumerate(ROWS[sequence])]
        state, item = states(task, shown)[place], ROWS[sequence][place]
        own, other = (critic(task.critics.mip, state, task.item_table.weight[i]) for i in (item, negatives[item]))
        mip = mip - torch.log(own.exp() / (own.exp() + other.exp()))
        map_ = map_ + attribute_loss(task, task.critics.map, state, item)
    found_mip, found_map = task.masked(BATCH)
    torch.testing.assert_close(found_mip, mip)
    torch.testing.assert_close(found_map, map_)


def test_a_stretch_is_told_from_what_is_left_of_its_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the states at the last token, each with masks where it has nothing; a window of one item says nothing."""
    task = pretraining()
    torch.manual_seed(4)
    stretches = draw_stretches(BATCH)
    begin_S, found_S = elsewhere(BATCH, stretches)
    assert found_S.all()
    monkeypatch.setattr(s3rec, "draw_stretches", lambda batch: stretches)
    monkeypatch.setattr(s3rec, "elsewhere", lambda batch, given: (begin_S, found_S))
    items, expected = BATCH.items_BL.flatten().tolist(), torch.zeros(())
    for segment, row in enumerate(ROWS):
        if len(row) == 1:
            continue
        begin = int(stretches.begin[segment] - stretches.first[segment])
        inside = range(begin, begin + int(stretches.length[segment]))
        source = int(begin_S[segment]) - begin
        left, own, other = (
            states(task, shown)[-1]
            for shown in (
                [None if at in inside else item for at, item in enumerate(row)],
                [item if at in inside else None for at, item in enumerate(row)],
                [items[source + at] if at in inside else None for at in range(len(row))],
            )
        )
        f_own, f_other = critic(task.critics.sp, left, own), critic(task.critics.sp, left, other)
        expected = expected - torch.log(f_own.exp() / (f_own.exp() + f_other.exp()))
    torch.testing.assert_close(task.segments(BATCH), expected)


def test_a_sequence_alone_has_no_negative_and_no_segment_loss() -> None:
    rows = Sequences.of([[1, 2, 3, 4]])
    batch = everything(rows, whole_windows(rows))
    task = pretraining()
    assert float(task.segments(batch).detach()) == 0
    assert torch.isfinite(task.loss(batch))


def test_the_loss_is_the_weighted_sum_of_the_tasks() -> None:
    """0.2 AAP + 1.0 MIP + 1.0 MAP + 0.5 SP over the 12 positions; the same seed draws the same."""
    names = ("mip_weight", "map_weight", "aap_weight", "sp_weight")
    task = pretraining(mask_share=0.5)
    alone = [pretraining(mask_share=0.5, **dict.fromkeys(names, 0.0) | {name: 2.0}) for name in names]
    torch.manual_seed(9)
    parts = (*task.masked(BATCH), task.associated(BATCH), task.segments(BATCH))
    assert all(float(part.detach()) > 0.1 for part in parts)
    torch.manual_seed(9)
    mip, map_, aap, sp = parts
    torch.testing.assert_close(task.loss(BATCH), (0.2 * aap + 1.0 * mip + 1.0 * map_ + 0.5 * sp) / 12)
    for one, part in zip(alone, parts, strict=True):
        torch.manual_seed(9)
        torch.testing.assert_close(one.loss(BATCH), 2 * part / 12)


# --- what reaches the encoder


def test_a_hidden_item_does_not_reach_the_encoder() -> None:
    """A NaN in its vector would be seen."""
    task = pretraining()
    torch.manual_seed(1)
    _, hidden_BL = hide(BATCH, 0.4)
    hidden_items = BATCH.items_BL[hidden_BL].unique()
    shown_too_BL = torch.isin(BATCH.items_BL, hidden_items) & ~hidden_BL & (BATCH.segments_BL != PADDING)
    shown = replace(BATCH, items_BL=BATCH.items_BL.masked_fill(shown_too_BL, 0))
    expected = task.encode(shown, hidden_BL)
    with torch.no_grad():
        task.item_table.weight[hidden_items] = torch.nan
    assert len(hidden_items) > 2
    assert torch.equal(task.encode(shown, hidden_BL), expected)


def test_the_encoder_looks_both_ways_in_pretraining_only() -> None:
    """The last item counts for the state of the first in pre-training, and not in what is scored."""
    model = build().eval()
    (phase,) = model.phases()
    changed = BATCH.items_BL.clone()
    last = int(BATCH.at_T[4])
    assert int(changed.view(-1)[last]) == 5
    changed.view(-1)[last] = 0
    nothing_BL = torch.zeros_like(BATCH.items_BL, dtype=torch.bool)
    assert isinstance(phase.trainable, Pretraining)
    before, after = (phase.trainable.encode(replace(BATCH, items_BL=b), nothing_BL) for b in (BATCH.items_BL, changed))
    assert (before[:5] != after[:5]).any(1).all()
    before, after = (model.users(replace(BATCH, items_BL=b), model.items()) for b in (BATCH.items_BL, changed))
    assert torch.equal(before[:4], after[:4])
    assert not torch.equal(before[4], after[4])


# --- what it leaves behind

DOMAIN = toy_domain()
SPLIT = leave_one_out(DOMAIN)
SHELVES = DOMAIN.taxonomy or ()
QUICK = {"batch_targets": 64, "learning_rate": 1e-2, "precision": "float32"}


def run(
    epochs: int = 0, taxonomy: Sequence[tuple[str, ...]] = SHELVES, split: Split = SPLIT, **changes: Any
) -> tuple[S3Rec, list[float]]:
    """The model after its pre-training and so many epochs of its own, and their losses."""
    config = configure(S3RecConfig, SIZES | {"pretraining_epochs": 3} | changes, "test")
    torch.manual_seed(0)
    model = S3Rec(config, Material(n_items=DOMAIN.n_items, train=split.train, taxonomy=tuple(taxonomy)))
    trained = train(model, split, configure(Training, QUICK | {"epochs": epochs}, "test"), 0)
    return model, [point.loss for point in trained.curve]


def test_finetuning_is_sasrec_from_the_pretrained_weights() -> None:
    pretrained, _ = run()
    weights = {name: value for name, value in pretrained.state_dict().items() if name.startswith(("item", "enc"))}
    torch.manual_seed(0)
    sasrec = SASRec(configure(Sizes, SIZES, "test"), Material(n_items=DOMAIN.n_items, train=SPLIT.train))
    assert not any(torch.equal(value, weights[name]) for name, value in sasrec.state_dict().items())
    sasrec.load_state_dict(weights)
    expected = train(sasrec, SPLIT, configure(Training, QUICK | {"epochs": 2}, "test"), 0)
    model, losses = run(epochs=2)
    assert losses == [point.loss for point in expected.curve]
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in sasrec.state_dict().items())


def test_attributes_matter() -> None:
    """Those of other items leave other weights behind, with all else the same."""
    others_of = [SHELVES[(item + 1) % DOMAIN.n_items] for item in range(DOMAIN.n_items)]
    model, _ = run()
    shuffled, _ = run(taxonomy=others_of)
    for name, value in model.state_dict().items():
        if name.startswith(("item_table", "encoder.blocks")):
            assert not torch.equal(value, shuffled.state_dict()[name]), name
    first, _ = run(aap_weight=0.0, map_weight=0.0)
    second, _ = run(taxonomy=others_of, aap_weight=0.0, map_weight=0.0)
    assert torch.equal(first.item_table.weight, second.item_table.weight)


def test_attributes_of_items_are_looked_up_in_any_order() -> None:
    known = Attributes(TAXONOMY, WIDTH)
    names = sorted({name for row in TAXONOMY for name in row})
    items = [4, 0, 11, 4, 5]
    places_P, attributes_P = known.of(torch.tensor(items))
    found = [(place, names[row]) for place, row in zip(places_P.tolist(), attributes_P.tolist(), strict=True)]
    assert sorted(found) == sorted((place, name) for place, item in enumerate(items) for name in TAXONOMY[item])
    assert places_P.tolist() == sorted(places_P.tolist())


def test_an_attribute_starts_as_likely_as_it_is_frequent() -> None:
    """Scores are near 0 at first, so that its probability is that of its bias: (items that have it + 1/2) / (N + 1)."""
    names = sorted({name for row in TAXONOMY for name in row})
    frequent = [(sum(name in row for row in TAXONOMY) + 0.5) / (len(TAXONOMY) + 1) for name in names]
    assert Attributes(TAXONOMY, WIDTH).bias_A.sigmoid().tolist() == pytest.approx(frequent)


def test_pre_training_learns_attributes_and_not_only_how_frequent_they_are() -> None:
    """Twenty items with two attributes each of forty: after a hundred steps far below what frequencies alone give."""
    torch.manual_seed(0)
    taxonomy = [(f"a{item}", f"b{item}") for item in range(20)]
    attributes = Attributes(taxonomy, 16)
    vectors = torch.nn.Embedding(20, 16)
    for module in (attributes.vectors, vectors):
        torch.nn.init.normal_(module.weight, std=0.02)
    optimizer = torch.optim.Adam([*attributes.parameters(), *vectors.parameters()], lr=0.01)
    items, times = torch.arange(20), torch.ones(20, dtype=torch.long)
    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        loss = attributes.loss(vectors.weight, items, times) / 20
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    share = 1.5 / 21
    entropy = -40 * (0.05 * np.log(share) + 0.95 * np.log(1 - share))
    assert losses[0] == pytest.approx(entropy, rel=0.01)
    assert losses[-1] < entropy / 4


def test_an_item_without_attributes_learns_nothing_from_them() -> None:
    task = pretraining()
    task.associated(BATCH).backward()
    gradient = task.item_table.weight.grad
    assert gradient is not None
    present = {item for row in ROWS for item in row}
    moved = set(gradient.abs().sum(1).nonzero().flatten().tolist())
    assert moved == {item for item in present if TAXONOMY[item]}


def test_a_domain_without_attributes_is_refused_with_a_reason() -> None:
    with pytest.raises(InputError, match="no item has any: give the domain a taxonomy"):
        build(taxonomy=[()] * N_ITEMS)


def test_a_step_holds_no_matrix_of_tokens_by_items_or_attributes() -> None:
    n_items, n_attributes, rng = 3_000, 1_500, np.random.default_rng(0)
    taxonomy = [tuple(f"a{a}" for a in rng.choice(n_attributes, 15, replace=False)) for _ in range(n_items)]
    task = pretraining(n_items=n_items, taxonomy=taxonomy)
    rows = Sequences.of([rng.integers(0, n_items, 5).tolist() for _ in range(500)])
    batch = everything(rows, whole_windows(rows))
    with Watch() as watch:
        task.loss(batch).backward()
    assert watch.largest < len(batch.at_T) * n_attributes
