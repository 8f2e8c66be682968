"""Item vectors made elsewhere, in place of an encoder: the encoder ``features:FOLDER`` of a suite.

The folder holds ``NAME.feat1CLS`` for every domain, and ``NAME.feat2CLS`` (the copy with words dropped) for every
source, as UniSRec's scripts write them: headless little-endian float32, one row an item, in the domain's order.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.domain import Domain
from benchmark.encode import Encoded, sha256_of_matrix
from benchmark.encoders import FEATURES
from benchmark.errors import InputError
from benchmark.formats.lines import sha256_of
from benchmark.formats.unisrec import read_features


def _folder(encoder: str) -> Path:
    folder = Path(encoder.removeprefix(FEATURES))
    if not folder.is_dir():
        raise InputError(f"encoder '{encoder}': {folder} is no folder; name the one that holds NAME.feat1CLS")
    return folder


def provenance(encoder: str) -> dict[str, Any]:
    """The files' SHA-256 by name: where they lie does not matter. Raises InputError if there are none."""
    files = sorted(_folder(encoder).glob("*.feat[12]CLS"))
    if not files:
        raise InputError(f"encoder '{encoder}': no .feat1CLS file lies there")
    sums = {file.name: sha256_of(file) for file in files}
    return {"encoder": "features", "files": sums}


def vectors(encoder: str, domain: Domain, *, noisy: bool = False) -> NDArray[np.float32]:
    """The vectors of a domain's items, [n_items, width]; raises InputError for a missing or misfitting file, or NaN."""
    return read_features(_folder(encoder) / f"{domain.name}.feat{2 if noisy else 1}CLS", domain.n_items)


def read(encoder: str, domain: Domain, *, noisy: bool) -> Encoded:
    """`vectors`, and what they are."""
    matrix = vectors(encoder, domain, noisy=noisy)
    return Encoded(matrix=matrix, provenance=provenance(encoder), sha256=sha256_of_matrix(matrix))
