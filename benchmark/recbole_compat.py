"""The one module that knows RecBole: version 1.2.1, no longer maintained, on the NumPy of today.

RecBole reads names that NumPy 2 no longer has, partly on import and partly when it runs, so they are put back for the
life of the process. Importing its sequential models turns on torch's anomaly detection, which makes every model of the
process slow; that is turned back. ``recbole.quick_start`` stays out of reach: it needs an old ray.
"""

from __future__ import annotations

import importlib
from types import ModuleType

import numpy as np
import torch

from benchmark.errors import InputError

VERSION = "1.2.1"
REMOVED = {"float": np.float64, "float_": np.float64, "complex_": np.complex128, "unicode_": np.str_}
"""What RecBole expects to find in ``numpy``: its metrics read ``float``, its configuration the other three."""


def load(module: str) -> ModuleType:
    """A module of RecBole, for example ``recbole.evaluator``.

    Raises InputError where RecBole, something it needs, or the module is not installed, or it is of another version.
    """
    for name, kind in REMOVED.items():
        if name not in vars(np):
            setattr(np, name, kind)
    try:
        found = importlib.import_module("recbole").__version__
        with torch.autograd.set_detect_anomaly(torch.is_anomaly_enabled()):
            loaded = importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"{module}: {error}; {_how_to_install()}") from error
    if found != VERSION:
        raise InputError(f"RecBole {found} is installed, and only {VERSION} is known to work here; {_how_to_install()}")
    return loaded


def _how_to_install() -> str:
    return (
        'install it with `python -m pip install "transrec-bench[recbole]"` and then '
        f"`python -m pip install --no-deps recbole=={VERSION}`, in this order: what it declares includes an old ray"
    )
