"""UniSRec against its equations, written out item by item and pair by pair."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from questions import Question, asked, everything, places_of
from torch import Tensor

from benchmark.batches import PADDING, Batch, history_windows, pack, prefix_windows, training_windows
from benchmark.domain import Sequences
from benchmark.errors import InputError
from benchmark.method import Material, configure, registry
from unisrec.adaptor import Adaptor
from unisrec.model import UniSRec, UniSRecConfig
from unisrec.objectives import PretrainingConfig, UniSRecPretrainer

torch.set_num_threads(1)

N_ITEMS, TEXT, WIDTH = 25, 12, 8


def random_text(seed: int = 0, n_items: int = N_ITEMS, width: int = TEXT) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n_items, width)).astype(np.float32)


def sequences(*lengths: int, seed: int = 1) -> Sequences:
    rng = np.random.default_rng(seed)
    return Sequences.of([rng.integers(0, N_ITEMS, length).astype(np.int32) for length in lengths])


def randomise(module: torch.nn.Module, seed: int = 5) -> None:
    """Away from the start, where biases and gates are zero."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)


# --- the adaptor


def adaptor(**changes: Any) -> Adaptor:
    made = Adaptor(**({"text_width": TEXT, "width": WIDTH, "experts": 3, "dropout": 0.0, "noise_floor": 0.0} | changes))
    randomise(made)
    return made.eval()


def test_an_item_vector_is_the_gated_mean_of_whitened_texts() -> None:
    """v_i = sum_k g_ik (x_i - b_k) W_k, g_i = softmax(x_i W_g): equations 3 to 5 without noise, one item at a time."""
    made = adaptor()
    bias, weight, gate = (made.state_dict()[name] for name in ("bias_FE", "weight_FED", "gate_FE"))
    x_NF = torch.from_numpy(random_text())
    found = made(x_NF)
    for item, x_F in enumerate(x_NF):
        gates = [float(x_F @ gate[:, k]) for k in range(3)]
        total = sum(map(math.exp, gates))
        expected = sum(
            (math.exp(g) / total * ((x_F - bias[:, k]) @ weight[:, k]) for k, g in enumerate(gates)), torch.zeros(WIDTH)
        )
        torch.testing.assert_close(found[item], expected, atol=1e-5, rtol=1e-4)


def test_without_whitening_experts_are_linear_maps() -> None:
    """v_i = sum_k g_ik x_i W_k; no bias is left, and the mixture stays."""
    made = adaptor(whitening=False)
    assert set(made.state_dict()) == {"weight_FED", "gate_FE", "noise_FE"}
    weight, gate = (made.state_dict()[name] for name in ("weight_FED", "gate_FE"))
    x_NF = torch.from_numpy(random_text())
    expected = torch.einsum("ne,nf,fed->nd", (x_NF @ gate).softmax(1), x_NF, weight)
    torch.testing.assert_close(made(x_NF), expected, atol=1e-5, rtol=1e-4)
    twice = made(torch.cat([x_NF, torch.zeros(1, TEXT)]))
    assert torch.equal(twice[-1], torch.zeros(WIDTH)), "a linear map takes nothing to nothing"


def test_gates_sum_to_one_and_are_noisy_in_training_only() -> None:
    x_NF = torch.from_numpy(random_text())
    made = adaptor()
    still = made.gates(x_NF)
    torch.testing.assert_close(still.sum(1), torch.ones(N_ITEMS))
    assert torch.equal(made.gates(x_NF), still)
    made.train()
    noisy = made.gates(x_NF)
    torch.testing.assert_close(noisy.sum(1), torch.ones(N_ITEMS))
    assert not torch.allclose(noisy, still, atol=1e-3)
    assert not torch.equal(made.gates(x_NF), noisy)


@pytest.mark.parametrize("floor", [0.0, 0.5])
def test_noise_has_the_scale_of_equation_5(floor: float) -> None:
    """log g_1 - log g_2 = (x W_g)_1 - (x W_g)_2 + noise of variance scale_1^2 + scale_2^2, scale = softplus(x W_n)."""
    made = adaptor(noise_floor=floor).train()
    x_F = torch.from_numpy(random_text(3, 1))[0]
    with torch.no_grad():
        draws = made.gates(x_F.expand(40_000, -1)).log()
    found = draws[:, 0] - draws[:, 1]
    noise, gate = made.state_dict()["noise_FE"], made.state_dict()["gate_FE"]
    scales = F.softplus(x_F @ noise) + floor
    assert float(found.mean()) == pytest.approx(float(x_F @ (gate[:, 0] - gate[:, 1])), abs=0.05)
    assert float(found.std()) == pytest.approx(float((scales[0] ** 2 + scales[1] ** 2).sqrt()), rel=0.03)


def test_dropout_in_the_adaptor_keeps_the_expected_vector() -> None:
    made = adaptor(dropout=0.25)
    x_F = torch.from_numpy(random_text(4, 1))[0]
    still = made(x_F[None])[0]
    made.train()
    with torch.no_grad():
        # x W_n = -50: no noise to speak of
        dict(made.named_parameters())["noise_FE"].copy_((-50 * x_F / x_F.dot(x_F))[:, None])
        drawn = made(x_F.expand(20_000, -1))
    assert float(drawn.std(0).min()) > 0.05
    torch.testing.assert_close(drawn.mean(0), still.detach(), atol=0.05, rtol=0)


# --- the model


def material(pretrained: dict[str, Tensor] | None = None, text: np.ndarray | None = None) -> Material:
    text = random_text() if text is None else text
    return Material(n_items=len(text), train=sequences(5, 4), text=text, pretrained=pretrained)


SIZES: dict[str, Any] = {"width": WIDTH, "inner": 12, "experts": 3}


def unisrec(*, with_ids: bool = False, pretrained: dict[str, Tensor] | None = None, **changes: Any) -> UniSRec:
    config = configure(UniSRecConfig, SIZES | changes, "test")
    torch.manual_seed(7)
    return UniSRec(config, material(pretrained), with_ids=with_ids)


def pretrainer(**changes: Any) -> UniSRecPretrainer:
    torch.manual_seed(8)
    text, noisy = map(torch.from_numpy, (random_text(0), random_text(9)))
    made = UniSRecPretrainer(configure(PretrainingConfig, SIZES | changes, "test"), text, noisy)
    randomise(made)
    return made.eval()


@pytest.mark.parametrize(
    ("with_ids", "total", "trained"), [(False, 2_910_344, 1_862_232), (True, 4_225_844, 3_177_732)]
)
def test_parameters_are_those_of_the_released_model(with_ids: bool, total: int, trained: int) -> None:
    """On Scientific (4,385 items, BERT's 768 dimensions); the released ID table has one more row, for padding."""
    known = Material(n_items=4385, train=sequences(3), text=np.zeros((4385, 768), np.float32))
    config = UniSRecConfig()
    torch.manual_seed(0)
    scratch = UniSRec(config, known, with_ids=with_ids)
    tuned, free = (
        UniSRec(each, replace(known, pretrained=scratch.universal.state_dict()), with_ids=with_ids)
        for each in (config, replace(config, freeze=False))
    )
    for model, expected in ((scratch, total), (tuned, trained), (free, total)):
        assert sum(p.numel() for p in model.parameters()) == total
        assert sum(p.numel() for p in model.parameters() if p.requires_grad) == expected


def test_what_is_tuned_is_the_adaptor_the_input_norm_and_the_ids() -> None:
    made = unisrec(with_ids=True, pretrained=pretrainer().weights())
    tuned = {name for name, parameter in made.named_parameters() if parameter.requires_grad}
    assert {name.split(".")[-2] if "adaptor" not in name else "adaptor" for name in tuned} == {
        "adaptor",
        "input_norm",
        "item_table",
    }


@pytest.mark.parametrize("with_ids", [False, True])
def test_scores_are_cosines(with_ids: bool) -> None:
    made = unisrec(with_ids=with_ids).eval()
    randomise(made)
    histories = sequences(4, 1, 9)
    batch = pack(histories, history_windows(histories), np.arange(3), ask=False)
    with torch.no_grad():
        items_ND = made.items()
        users_TK, candidates_NK = made.users(batch, items_ND), made.candidates(items_ND)
        expected = made.universal.adaptor(torch.from_numpy(random_text()))
        if with_ids:
            assert made.item_table is not None
            expected = expected + made.item_table.weight
    torch.testing.assert_close(items_ND, expected)
    torch.testing.assert_close(candidates_NK, expected / expected.norm(dim=1, keepdim=True))
    torch.testing.assert_close(users_TK.norm(dim=1), torch.ones(3))


def test_a_start_from_pre_training_is_the_pre_trained_model() -> None:
    source = pretrainer()
    made = unisrec(pretrained=source.weights()).eval()
    torch.testing.assert_close(made.items(), source.universal.adaptor(source.text_NF))
    assert all(
        torch.equal(value, made.universal.state_dict()[name]) for name, value in source.universal.state_dict().items()
    )


def test_weights_of_another_size_are_refused() -> None:
    with pytest.raises(InputError, match="do not fit the configured model"):
        unisrec(pretrained=pretrainer().weights(), width=16)


def test_texts_are_needed() -> None:
    with pytest.raises(InputError, match="item texts"):
        UniSRec(UniSRecConfig(), Material(n_items=3, train=sequences(3)), with_ids=False)


def test_its_rows_say_what_they_need() -> None:
    methods = registry().methods
    for name in ("UniSRec_t", "UniSRec_t+ID"):
        assert methods[name].needs == {"text", "sources"}
        assert methods[name].pretraining == "UniSRec"
        assert methods[f"{name}-scratch"].needs == {"text"}
        assert methods[f"{name}-scratch"].pretraining is None


# --- pre-training


def encode(model: UniSRecPretrainer, x_LD: Tensor) -> Tensor:
    """s of one history given its item vectors: alone in its row."""
    length = len(x_LD)
    row = torch.arange(length)[None]
    alone = Batch(row * 0, row, row * 0, torch.tensor([length - 1]), torch.tensor([-1]), torch.tensor([0]))
    return F.normalize(model.universal.encoder(x_LD[None], alone), dim=-1)[0]


def vectors(model: UniSRecPretrainer, items: tuple[int, ...], *, noisy: bool = False) -> Tensor:
    return model.universal.adaptor((model.noisy_NF if noisy else model.text_NF)[list(items)])


Masked = Callable[[Question, Question], float | None]
"""The logit that stands for a pair which is no negative; minus infinity for none at all; None for negatives."""


def contrast(
    anchors: list[Tensor], keys: list[Tensor], others: list[Tensor], questions: list[Question], mask: Masked
) -> Tensor:
    """Mean of -log exp(a_j . k_j / tau) / sum_j' exp(a_j . o_j' / tau), pair by pair."""
    losses = []
    for j, anchor in enumerate(anchors):
        terms = []
        for other_j, other in enumerate(others):
            fill = mask(questions[j], questions[other_j]) if other_j != j else None
            terms.append(anchor @ other / 0.07 if fill is None else torch.tensor(fill))
        losses.append(torch.logsumexp(torch.stack(terms), 0) - anchor @ keys[j] / 0.07)
    return torch.stack(losses).mean()


def nobody(one: Question, other: Question) -> float | None:
    return None


def own_sequence(one: Question, other: Question) -> float | None:
    return -math.inf if one[2] == other[2] else None


def same_next_item(one: Question, other: Question) -> float | None:
    return 0.0 if one[1] == other[1] else None


AUGMENTED = {
    "nothing dropped": ({"drop": 0.0}, lambda model, history: vectors(model, history)),
    "all items but the first": (
        {"drop": 1.0, "item_drop_share": 1.0},
        lambda model, history: vectors(model, history[:1]),
    ),
    "all texts noisy": (
        {"drop": 1.0, "item_drop_share": 0.0},
        lambda model, history: vectors(model, history, noisy=True),
    ),
}
"""Augmentations without chance: settings, and the item vectors of an augmented history."""
OPTIONS = {
    "paper": ({}, own_sequence),
    "paper, prefix rows": ({"prefix_rows": True}, nobody),
    "released negatives": ({"prefix_rows": True, "released_negatives": True}, same_next_item),
    "released denominator": ({"released_sequence_denominator": True}, own_sequence),
    "released": (
        {"prefix_rows": True, "released_negatives": True, "released_sequence_denominator": True},
        same_next_item,
    ),
}
"""Settings, and what is no negative under them."""


TASKS = [
    ("nothing dropped", 1.0, 0.0),
    *((name, *weights) for name in AUGMENTED for weights in ((0.0, 1.0), (1.0, 0.3))),
]
"""Augmentations, and the weights of the two tasks; without the second there is nothing to augment."""


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize(("augmented", "item_weight", "sequence_weight"), TASKS)
def test_the_loss_is_that_of_equations_7_to_9(
    option: str, augmented: str, item_weight: float, sequence_weight: float
) -> None:
    (settings, mask), (how, changed) = OPTIONS[option], AUGMENTED[augmented]
    model = pretrainer(item_weight=item_weight, sequence_weight=sequence_weight, **settings, **how)
    table = sequences(6, 9, 2, 5, 1)
    windows = model.windows(table)
    batch = everything(table, windows)
    questions = list(asked(batch))
    assert len({question[1] for question in questions}) < len(questions), "no next item occurs twice"

    s = [encode(model, vectors(model, history)) for history, _, _ in questions]
    v = [F.normalize(vectors(model, (target,)), dim=-1)[0] for _, target, _ in questions]
    s_changed = [encode(model, changed(model, history)) for history, _, _ in questions]
    item_task = contrast(s, v, v, questions, mask)
    others = s_changed if model.config.released_sequence_denominator else s
    sequence_task = contrast(s, s_changed, others, questions, mask)
    expected = item_weight * item_task + sequence_weight * sequence_task

    found = model.loss(batch)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)
    weights = [parameter for name, parameter in model.named_parameters() if "noise" not in name]
    for one, other in zip(
        torch.autograd.grad(found, weights), torch.autograd.grad(expected, weights, allow_unused=True), strict=True
    ):
        if other is not None:
            torch.testing.assert_close(one, other, atol=1e-4 * max(1.0, float(other.abs().max())), rtol=1e-3)


def test_the_same_next_item_of_another_user_is_a_negative_in_the_paper() -> None:
    """Two users with one next item: the paper's formula contrasts them, the released code does nearly not."""
    table = Sequences.of([[1, 2], [3, 2]])
    losses = {}
    for option in ("paper, prefix rows", "released negatives"):
        model = pretrainer(sequence_weight=0.0, **OPTIONS[option][0])
        losses[option] = model.loss(everything(table, prefix_windows(table))).item()
    assert losses["paper, prefix rows"] == pytest.approx(math.log(2), abs=1e-5)
    assert losses["released negatives"] != pytest.approx(math.log(2), abs=1e-3)


def test_released_negatives_need_prefix_rows() -> None:
    with pytest.raises(InputError, match="released_negatives needs prefix_rows"):
        configure(PretrainingConfig, {"released_negatives": True}, "suite 'x', pretraining")


def augmentation(model: UniSRecPretrainer, batch: Batch, seed: int) -> tuple[tuple[Tensor, Batch], Tensor]:
    """What the sequence encoder was given for the augmented histories, and what it made of them."""
    calls: list[Any] = []
    handle = model.universal.encoder.register_forward_hook(lambda _, given, made: calls.append((given, made)))
    torch.manual_seed(seed)
    model.loss(batch)
    handle.remove()
    (original, _), changed = calls
    assert original[1] is batch
    return changed


@pytest.mark.parametrize("seed", range(3))
def test_a_hidden_item_is_an_item_that_was_never_there(seed: int) -> None:
    """What the encoder makes of histories with hidden items is what it makes of the shortened ones, alone."""
    model = pretrainer(sequence_weight=1.0, drop=0.4, item_drop_share=0.7)
    table = sequences(12, 30, 2, 3, 7, 51, 20, 5, 5, 5, 60, *[9] * 12, seed=seed)
    batch = everything(table, training_windows(table))
    (x_BLD, changed), found_TD = augmentation(model, batch, seed)
    plain_ND, noisy_ND = (model.universal.adaptor(text) for text in (model.text_NF, model.noisy_NF))
    length = batch.items_BL.shape[1]
    shortened = replaced = 0
    for question, flat in enumerate(batch.at_T.tolist()):
        row, column = divmod(flat, length)
        places = places_of(batch, row, column)
        kept = [place for place in places if changed.segments_BL[row, place] != PADDING]
        assert kept[0] == places[0], "the first item is gone"
        vectors_LD = x_BLD[row, kept]
        items = batch.items_BL[row, kept]
        is_noisy = (vectors_LD - noisy_ND[items]).abs().amax(1) < 1e-5
        is_plain = (vectors_LD - plain_ND[items]).abs().amax(1) < 1e-5
        assert (is_noisy ^ is_plain).all()
        assert not (is_noisy.any() and len(kept) < len(places)), "both augmentations in one history"
        expected = model.universal.encoder(
            vectors_LD[None],
            Batch(
                items[None],
                torch.arange(len(kept))[None],
                torch.zeros(1, len(kept), dtype=torch.long),
                torch.tensor([len(kept) - 1]),
                torch.tensor([-1]),
                torch.tensor([0]),
            ),
        )[0]
        torch.testing.assert_close(found_TD[question], expected, atol=1e-5, rtol=1e-4)
        shortened += len(kept) < len(places)
        replaced += bool(is_noisy.any())
    assert shortened > 20
    assert replaced > 10


def test_the_share_of_what_is_dropped_is_as_configured() -> None:
    model = pretrainer(drop=0.2, item_drop_share=0.9)
    table = sequences(*[10] * 1000)
    batch = everything(table, training_windows(table))
    (x_BLD, changed), _ = augmentation(model, batch, 0)
    inside = batch.segments_BL != PADDING
    gone = inside & (changed.segments_BL == PADDING)
    noisy = (x_BLD - model.universal.adaptor(model.text_NF)[batch.items_BL]).abs().amax(-1) > 1e-5
    assert not (gone & (batch.positions_BL == 0)).any(), "a first item is gone"
    # 8 of 9 tokens can go, in 9 of 10 histories; 9 of 9 can be replaced, in 1 of 10
    assert float(gone[inside].float().mean()) == pytest.approx(0.9 * 0.2 * 8 / 9, abs=0.012)
    assert float((noisy & inside)[inside].float().mean()) == pytest.approx(0.1 * 0.2, abs=0.006)
    by_word = {int(segment) for segment in batch.segments_BL[noisy & inside]}
    assert not by_word & {int(segment) for segment in batch.segments_BL[gone]}, "both augmentations in one history"


def test_augmentation_is_drawn_anew_for_every_step() -> None:
    model, table = pretrainer(), sequences(*[10] * 30)
    batch = everything(table, training_windows(table))
    draws = [augmentation(model, batch, seed)[0][1].segments_BL for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
