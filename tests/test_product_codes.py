"""Product codes: near in text is near in codes, equal in text is equal in codes, and the same again next time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from baselines.product_codes import Codebook, fit
from benchmark.errors import InputError

torch.set_num_threads(1)


def texts(n: int, width: int = 24, seed: int = 0) -> NDArray[np.float32]:
    """Vectors that differ more in some directions than in others, as text vectors do."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(width, width)))[0]
    return ((rng.normal(size=(n, width)) * np.geomspace(1, 0.1, width)) @ axes + 0.3).astype(np.float32)


def error(vectors: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    """Squared error as a share of the variance: 1 is what the mean vector alone would give."""
    return float(((vectors - found) ** 2).sum() / ((vectors - vectors.mean(0)) ** 2).sum())


def test_centroids_are_the_means_of_what_they_stand_for() -> None:
    """Two clusters in the plane and one subspace: no rotation may hide what k-means must find."""
    vectors = np.array([[0, 0], [0, 1], [8, 4], [8, 5], [8, 6]], np.float32)
    book = fit(vectors, subspaces=1, centroids=2)
    codes = book.codes(vectors)[:, 0]
    assert codes[0] == codes[1] != codes[2] == codes[3] == codes[4]
    np.testing.assert_allclose(book.vectors(book.codes(vectors)), [[0, 0.5]] * 2 + [[8, 5]] * 3, atol=0.01)


def test_codes_keep_more_of_the_texts_than_random_ones() -> None:
    vectors = texts(600)
    book = fit(vectors, subspaces=8, centroids=16)
    codes = book.codes(vectors)
    shuffled = np.random.default_rng(1).permuted(codes, axis=0)
    assert error(vectors, book.vectors(codes)) < 0.35
    assert error(vectors, book.vectors(shuffled)) > 1.5


def test_more_subspaces_and_more_centroids_keep_more() -> None:
    vectors = texts(400)
    few, cut, many = (fit(vectors, subspaces=s, centroids=k) for s, k in ((4, 8), (8, 8), (8, 32)))
    errors = [error(vectors, book.vectors(book.codes(vectors))) for book in (few, cut, many)]
    assert errors[0] > errors[1] > errors[2]


def test_a_code_is_the_nearest_centroid() -> None:
    """Against distances one by one, in float64."""
    vectors = texts(50, seed=3)
    book = fit(texts(300), subspaces=6, centroids=10)
    rotated = vectors.astype(np.float64) @ book.rotation_FF
    for row, codes in zip(rotated, book.codes(vectors), strict=True):
        for s, part in enumerate(row.reshape(6, 4)):
            distances = ((book.centroids_SKG[s] - part) ** 2).sum(1)
            assert distances[codes[s]] <= distances.min() + 1e-5


def test_the_rotation_keeps_distances_and_shares_out_the_variance() -> None:
    vectors = texts(500)
    book = fit(vectors, subspaces=6, centroids=4)
    np.testing.assert_allclose(book.rotation_FF @ book.rotation_FF.T, np.eye(24), atol=2e-3)
    variances = (vectors @ book.rotation_FF).var(0).reshape(6, 4)
    products = np.log(variances).sum(1)
    assert products.max() - products.min() < 0.5
    in_order = np.log(np.sort(variances.ravel())[::-1].reshape(6, 4)).sum(1)
    assert in_order.max() - in_order.min() > 5


def test_where_every_text_has_its_centroid_nothing_is_lost() -> None:
    vectors = texts(20)
    book = fit(vectors, subspaces=4, centroids=256)
    assert book.centroids_SKG.shape == (4, 20, 6)
    np.testing.assert_allclose(book.vectors(book.codes(vectors)), vectors, atol=5e-3)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_items_are_handled(n: int) -> None:
    vectors = np.concatenate([texts(n), texts(n)])
    book = fit(vectors, subspaces=4, centroids=256)
    assert book.centroids_SKG.shape == (4, n, 6)
    assert len(np.unique(book.codes(vectors), axis=0)) == n


def test_texts_without_any_difference_are_handled(recwarn: pytest.WarningsRecorder) -> None:
    vectors = np.ones((5, 8), np.float32)
    vectors[0, 0] = 2.0  # only one direction, so most parts are the same
    book = fit(vectors, subspaces=4, centroids=3)
    assert len(np.unique(book.codes(vectors), axis=0)) == 2
    assert not recwarn.list


BOOK = fit(texts(200), subspaces=8, centroids=16)


@given(st.lists(st.integers(0, 39), min_size=1, max_size=120))
def test_equal_texts_have_equal_codes_wherever_they_stand(rows: list[int]) -> None:
    vectors = texts(40, seed=7)
    np.testing.assert_array_equal(BOOK.codes(vectors[rows]), BOOK.codes(vectors)[rows])


def test_the_same_texts_give_the_same_codes() -> None:
    vectors = texts(300, seed=4)
    first = fit(vectors, subspaces=8, centroids=16)
    np.random.seed(17)  # noqa: NPY002 - what was drawn before must not matter
    with threadpool_limits(2):
        second = fit(vectors, subspaces=8, centroids=16)
        codes = second.codes(vectors)
    for one, other in ((first, second), (BOOK, fit(texts(200), subspaces=8, centroids=16))):
        np.testing.assert_array_equal(one.rotation_FF, other.rotation_FF)
        np.testing.assert_array_equal(one.centroids_SKG, other.centroids_SKG)
    np.testing.assert_array_equal(first.codes(vectors), codes)


def test_half_precision_changes_no_code() -> None:
    """Artefacts hold half-precision numbers: sources must have been coded with the same."""
    stored = Codebook(
        rotation_FF=BOOK.rotation_FF.astype(np.float16).astype(np.float32),
        centroids_SKG=BOOK.centroids_SKG.astype(np.float16).astype(np.float32),
    )
    vectors = texts(2000, seed=8)
    np.testing.assert_array_equal(stored.codes(vectors), BOOK.codes(vectors))


def test_a_width_that_can_not_be_cut_is_said_with_one_that_can() -> None:
    with pytest.raises(InputError, match=r"width 24 can't be cut into 7 subspaces; .*'subspaces'.* example 6"):
        fit(texts(10), subspaces=7, centroids=4)
