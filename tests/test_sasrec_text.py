"""SASRec over texts, and over texts and ids."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from baselines.sasrec_text import SASRecText
from benchmark.domain import Sequences
from benchmark.errors import InputError
from benchmark.layers import Sizes
from benchmark.method import Material
from benchmark.testing import scores

torch.set_num_threads(1)

N_ITEMS, WIDTH = 20, 16
SIZES = Sizes(width=WIDTH, inner=24)
TRAIN = Sequences.of([np.arange(5, dtype=np.int32)])
HISTORIES = Sequences.of([np.array([3, 8, 5], np.int32), np.array([7], np.int32)])
TEXT = np.random.default_rng(0).normal(size=(N_ITEMS, 10)).astype(np.float32)
TEXT[11] = TEXT[4]


def built(*, with_ids: bool, text: np.ndarray | None = TEXT) -> SASRecText:
    torch.manual_seed(2)
    return SASRecText(SIZES, Material(n_items=N_ITEMS, train=TRAIN, text=text), with_ids=with_ids)


def with_same_weights() -> tuple[SASRecText, SASRecText]:
    """Texts alone, and texts with ids."""
    both, alone = built(with_ids=True), built(with_ids=False)
    alone.load_state_dict({name: value for name, value in both.state_dict().items() if "item_table" not in name})
    return alone, both


@torch.no_grad()
def test_an_items_vector_is_its_text_plus_its_id_for_histories_and_candidates() -> None:
    alone, both = with_same_weights()
    ids_ND = both.state_dict()["item_table.weight"]
    vectors_ND = torch.stack([alone.project.weight @ torch.from_numpy(row) + alone.project.bias for row in TEXT])
    torch.testing.assert_close(alone.items(), vectors_ND)
    torch.testing.assert_close(both.items(), vectors_ND + ids_ND)
    torch.testing.assert_close(both.candidates(both.items()), vectors_ND + ids_ND)


@torch.no_grad()
def test_a_table_of_zeros_leaves_the_texts_alone() -> None:
    alone, both = with_same_weights()
    assert not torch.allclose(scores(both, HISTORIES), scores(alone, HISTORIES), atol=1e-3)
    both.state_dict()["item_table.weight"].zero_()
    assert torch.equal(scores(both, HISTORIES), scores(alone, HISTORIES))


def test_only_ids_tell_items_of_one_text_apart() -> None:
    alone, both = with_same_weights()
    torch.testing.assert_close(scores(alone, HISTORIES)[:, 4], scores(alone, HISTORIES)[:, 11])
    assert not torch.allclose(scores(both, HISTORIES)[:, 4], scores(both, HISTORIES)[:, 11], atol=1e-3)


@pytest.mark.parametrize("with_ids", [False, True])
def test_without_texts_it_says_so(with_ids: bool) -> None:
    with pytest.raises(InputError, match="reads item texts"):
        built(with_ids=with_ids, text=None)
