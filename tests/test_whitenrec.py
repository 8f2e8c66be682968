"""WhitenRec: texts are whitened as the textbook says, degenerate ones too, and the model reads what comes out."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st

from baselines.whitenrec import WhitenRec, zca
from benchmark.domain import Sequences
from benchmark.errors import InputError
from benchmark.layers import Sizes
from benchmark.method import Material
from benchmark.rank import rank
from benchmark.splits import HeldOut
from benchmark.testing import scores

torch.set_num_threads(1)

SIZES = Sizes(width=16, inner=24)
TRAIN = Sequences.of([np.arange(5, dtype=np.int32)])


def texts(n_items: int = 60, width: int = 8, seed: int = 0) -> np.ndarray:
    """Much alike, as those of a language model are: a common part, and variances that differ a thousandfold along axes
    of their own."""
    rng = np.random.default_rng(seed)
    axes_FF, _ = np.linalg.qr(rng.normal(size=(width, width)))
    return (3 + rng.normal(size=(n_items, width)) * np.geomspace(1, 0.03, width) @ axes_FF).astype(np.float32)


def covariance(x_NF: np.ndarray) -> np.ndarray:
    return np.cov(x_NF, rowvar=False, ddof=0)


# --- whitening


@given(n_items=st.integers(20, 80), width=st.integers(1, 9), seed=st.integers(0, 99))
def test_whitened_texts_have_mean_zero_and_the_identity_as_covariance(n_items: int, width: int, seed: int) -> None:
    whitened_NF = zca(texts(n_items, width, seed))
    np.testing.assert_allclose(whitened_NF.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(covariance(whitened_NF).reshape(width, width), np.eye(width), atol=1e-4)


def test_whitening_is_by_the_inverse_root_of_the_covariance() -> None:
    """ZCA and not another whitening: the symmetric root, which moves the texts least."""
    text_NF = texts().astype(np.float64)
    root_FF = scipy.linalg.inv(scipy.linalg.sqrtm(covariance(text_NF)))
    np.testing.assert_allclose(zca(texts()), (text_NF - text_NF.mean(0)) @ root_FF, atol=1e-5)


def test_every_item_counts_in_the_covariance_also_one_whose_text_another_has() -> None:
    text_NF = texts()
    text_NF[1:30] = text_NF[0]
    np.testing.assert_allclose(covariance(zca(text_NF)), np.eye(8), atol=1e-5)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_scale_of_an_encoder_does_not_matter(scale: float) -> None:
    scaled_NF = (texts() * scale).astype(np.float32)
    np.testing.assert_allclose(zca(scaled_NF), zca(texts()), atol=1e-4)


def test_fewer_items_than_dimensions() -> None:
    """n items span n - 1 dimensions: variance 1 in those, 0 in the others."""
    whitened_NF = zca(texts(5, 12))
    assert np.isfinite(whitened_NF).all()
    variances = np.linalg.eigvalsh(covariance(whitened_NF))
    np.testing.assert_allclose(variances, [0] * 8 + [1] * 4, atol=1e-6)


def test_dimensions_in_which_texts_do_not_differ_stay_at_zero() -> None:
    plain_NF = texts()
    with_constants_NF = np.insert(plain_NF, [0, 4, 8], [[0.1, 1e4, -7.3]], axis=1).astype(np.float32)
    whitened_NF = zca(with_constants_NF)
    np.testing.assert_allclose(whitened_NF[:, [0, 5, 10]], 0, atol=1e-6)
    np.testing.assert_allclose(np.delete(whitened_NF, [0, 5, 10], axis=1), zca(plain_NF), atol=1e-6)


@pytest.mark.parametrize("n_items", [1, 7])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e4])
def test_items_that_all_have_one_text_have_one_finite_vector(n_items: int, value: float) -> None:
    whitened_NF = zca(np.full((n_items, 4), value, np.float32))
    assert np.isfinite(whitened_NF).all()
    assert len(np.unique(whitened_NF, axis=0)) == 1


# --- the model


def built(text: np.ndarray | None, *, n_items: int = 60) -> WhitenRec:
    torch.manual_seed(3)
    model = WhitenRec(SIZES, Material(n_items=n_items, train=TRAIN, text=text))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


@torch.no_grad()
def test_an_item_is_its_whitened_text_through_two_layers() -> None:
    text_NF = texts()
    text_NF[[7, 31]] = text_NF[2]
    model = built(text_NF)
    first_DF, first_D, second_DD, second_D = (value.numpy() for value in model.head.state_dict().values())
    expected = [np.maximum(second_DD @ np.maximum(first_DF @ z_F + first_D, 0) + second_D, 0) for z_F in zca(text_NF)]
    np.testing.assert_allclose(model.items().numpy(), np.stack(expected), atol=1e-4)


def test_items_of_one_text_tie_to_the_last_bit() -> None:
    """Items 0 to 299 have three texts between them: behind each there are 99 that score exactly the same."""
    text_NF = texts(307, 40)
    text_NF[:300] = text_NF[np.arange(300) % 3]
    model = built(text_NF, n_items=307)
    users = Sequences.of([np.array([first, 305], np.int32) for first in range(300)])
    ranks = rank(model, HeldOut(users, np.arange(300, dtype=np.int32)), 307)
    assert ranks.equal.tolist() == [99] * 300


@pytest.mark.parametrize("n_items", [6, 60])
def test_degenerate_texts_give_finite_scores(n_items: int) -> None:
    text_NF = texts(n_items, 20)
    text_NF[:, 3:9] = 0.7
    found = scores(built(text_NF, n_items=n_items), Sequences.of([np.array([0, 3, 5], np.int32)]))
    assert torch.isfinite(found).all()
    assert float(found.std()) > 0


def test_without_texts_it_says_so() -> None:
    with pytest.raises(InputError, match="WhitenRec reads item texts"):
        built(None)
