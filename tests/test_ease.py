"""EASE against a ridge regression of each item on all others, solved one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from baselines.ease import EASE, MOST_ITEMS, EASEConfig, taken
from benchmark.batches import MAX_LENGTH
from benchmark.domain import Sequences
from benchmark.errors import InputError
from benchmark.method import Material

torch.set_num_threads(1)

TRAIN = Sequences.of([[0, 1, 2], [0, 1], [3, 1, 2, 2], [4, 0, 1], [2]])
"""Of six items, of which the last was never taken."""


def by_regression(x_UN: NDArray[np.float64], l2: float) -> NDArray[np.float64]:
    """Weights [N, N]: column j is the ridge regression of item j on the other items."""
    n = x_UN.shape[1]
    weights_NN = np.zeros((n, n))
    for item in range(n):
        others = np.delete(np.arange(n), item)
        x = x_UN[:, others]
        weights_NN[others, item] = np.linalg.solve(x.T @ x + l2 * np.eye(n - 1), x.T @ x_UN[:, item])
    return weights_NN


@pytest.mark.parametrize("l2", [0.5, 1.0, 100.0])
def test_each_column_is_the_regression_of_an_item_on_the_others(l2: float) -> None:
    model = EASE(EASEConfig(l2=l2), Material(n_items=6, train=TRAIN))
    x_UN = np.zeros((5, 6))
    for user, items in enumerate(TRAIN):
        x_UN[user, items] = 1  # item 2 of the third user, taken twice, counts once
    np.testing.assert_allclose(model.weights_NN, by_regression(x_UN, l2), rtol=1e-5, atol=1e-7)


def test_a_history_adds_up_the_weights_of_its_items_whatever_their_order_and_number() -> None:
    model = EASE(EASEConfig(l2=1.0), Material(n_items=6, train=TRAIN))
    scores_UN = model.scores(Sequences.of([[0, 3], [3, 0, 3, 0], [5]])).numpy()
    np.testing.assert_allclose(scores_UN[0], model.weights_NN[0] + model.weights_NN[3], rtol=1e-6)
    np.testing.assert_array_equal(scores_UN[0], scores_UN[1])
    # an item that was never taken tells nothing, and nothing tells of it
    assert not scores_UN[2].any()
    assert not scores_UN[:, 5].any()
    # of two items, each speaks for the other and not for itself
    assert scores_UN[0, 1] > scores_UN[0, 0]


def test_only_the_last_items_of_a_long_history_are_read() -> None:
    long = [0, *[1] * (MAX_LENGTH - 1), 2]
    assert taken(Sequences.of([long, [0, 4]]), 6, MAX_LENGTH).toarray().tolist() == [
        [0, 1, 1, 0, 0, 0],
        [1, 0, 0, 0, 1, 0],
    ]
    assert taken(Sequences.of([long]), 6).toarray().tolist() == [[1, 1, 1, 0, 0, 0]]


def test_a_catalogue_that_does_not_fit_is_refused_before_anything_is_held() -> None:
    with pytest.raises(InputError, match=r"200,000 items 960 GB; it is for at most 30,000: leave it out"):
        EASE(EASEConfig(), Material(n_items=200_000, train=TRAIN))
    assert MOST_ITEMS >= 25_986, "the largest target of the paper"


def test_a_penalty_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="l2 is 0"):
        EASEConfig(l2=0.0)
