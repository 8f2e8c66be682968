"""TextKNN: the nearest texts to the last item, nothing else."""

from __future__ import annotations

import numpy as np

from baselines.text_knn import TextKNN
from benchmark.domain import Sequences
from benchmark.method import Material, NoConfig

TEXT = np.array([[1, 0], [3, 0.1], [0, 2], [1, 1], [3, 0.1]], np.float32)


def test_items_come_in_the_order_of_their_cosine_with_the_last_and_that_one_last() -> None:
    model = TextKNN(NoConfig(), Material(n_items=5, train=Sequences.of([[0, 1]]), text=TEXT))
    scores = model.scores(Sequences.of([[2, 0], [0, 3, 2]])).numpy()
    # after item 0: the two of one text tie exactly, then the diagonal, then the right angle, then itself
    assert scores[0, 1] == scores[0, 4]
    assert scores[0, 1] > scores[0, 3] > scores[0, 2] > scores[0, 0]
    np.testing.assert_allclose(scores[0, 3], np.sqrt(0.5), rtol=1e-6)
    # only the last item counts
    assert scores[1].argmax() == 3
    assert scores[1].argmin() == 2
