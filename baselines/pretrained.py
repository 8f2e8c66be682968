"""What methods that start from pre-trained weights share."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from benchmark.errors import InputError


def take(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy an artefact's weights into a module; raises InputError where they were made with other sizes."""
    try:
        module.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise InputError(f"the pre-trained weights do not fit the configured model: {error}") from error
