"""Nearest texts: what a shop without any model shows beside the item at hand.

No training, no history but the last item: what remains of a text model's score beyond this is what it has learned.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.domain import Sequences
from benchmark.errors import InputError
from benchmark.method import Material, Method, NoConfig


class TextKNN:
    """An item's score is the cosine of its text vector and the last item's; the last item itself comes last."""

    def __init__(self, config: NoConfig, material: Material) -> None:
        if material.text is None:
            raise InputError("TextKNN reads item texts and got none")
        # items of one text share a column, so that they tie to the last bit
        distinct, column_of_N = np.unique(material.text, axis=0, return_inverse=True)
        self.vectors_MF = F.normalize(torch.from_numpy(distinct), dim=-1)
        self.column_of_N = torch.from_numpy(column_of_N.ravel())

    def scores(self, histories: Sequences) -> Tensor:
        last_U = torch.from_numpy(histories.from_end(1).astype(np.int64))
        cosines_UM = self.vectors_MF[self.column_of_N[last_U]] @ self.vectors_MF.T
        return cosines_UM[:, self.column_of_N].scatter_(1, last_U[:, None], -2.0)


METHODS = (
    Method(
        name="TextKNN",
        family="text",
        role="control",
        version=1,
        paper="nearest neighbours of the last item's text",
        build=TextKNN,
        needs=frozenset({"text"}),
        trained=False,
        note="items by the cosine of their texts with the last item's, itself left out; nothing is trained",
    ),
)
