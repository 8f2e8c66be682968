"""Where a worker finds and leaves things."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmark import pretrain
from benchmark.claims import RUNNING
from benchmark.method import Registry, registry
from benchmark.plan import ArtefactTask
from benchmark.record import now


@dataclass(frozen=True, kw_only=True)
class Place:
    """Folders and device of a worker, and the methods it knows."""

    cache: Path
    results: Path
    device: str
    plugins: tuple[str, ...] = ()
    replace: bool = False

    @property
    def registry(self) -> Registry:
        return registry(self.plugins)

    @property
    def running(self) -> Path:
        """Where runs are claimed."""
        return self.results / RUNNING

    def checkpoints(self, key: str) -> tuple[Path, Path]:
        """Of training, and of training anew after it."""
        folder = self.cache / "checkpoints"
        return folder / f"{key[:32]}.safetensors", folder / f"{key[:32]}.refit.safetensors"

    def has(self, artefact: ArtefactTask) -> bool:
        """Whether these pre-trained weights are at hand."""
        return pretrain.find(artefact.spec, artefact.key, self.cache, self.results) is not None

    def log(self, key: str) -> Path:
        return self.cache / "logs" / f"{key[:12]}.log"

    @contextmanager
    def logging(self, key: str) -> Iterator[Callable[[str], None]]:
        """A function that adds a line, with the time, to the log of a run or a pre-training."""
        path = self.log(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:

            def log(line: str) -> None:
                file.write(f"{now()} {line}\n")
                file.flush()

            yield log
