"""Where the suite keeps what it can make again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """Folder of prepared domains, downloads, encoded texts and pre-trained artefacts.

    ``$TRANSREC_CACHE``, or ``datasets/.data`` below the working directory. It may not exist yet.
    """
    return Path(os.environ.get("TRANSREC_CACHE") or Path("datasets", ".data"))
