"""Input is hostile: of whatever file a reader gives a value that holds, or an `InputError` that names the file."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from benchmark.errors import InputError

from .readers import READERS, Reader
from .run import Hang, fuzz, judge, memory_folder, put
from .structured import STRUCTURED

SHARES = sum(reader.share for reader in READERS.values())
ORDINARY, SOAK, STRUCTURED_SOAK = 2_500, 89_000, 12_000
"""Inputs of all readers together."""
MEMORY = 1 << 30
"""What fuzzing may add to the highest resident memory, in bytes: files are of kilobytes."""

NO_CHECKS = (
    HealthCheck.too_slow,
    HealthCheck.large_base_example,
    HealthCheck.data_too_large,
    HealthCheck.filter_too_much,
)

by_name = pytest.mark.parametrize("reader", READERS.values(), ids=lambda reader: reader.name.replace(" ", "-"))
with_strategy = pytest.mark.parametrize("name", STRUCTURED, ids=lambda name: name.replace(" ", "-"))


def _clean(reader: Reader, n: int, seed: int) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    findings = fuzz(reader, n, seed=seed)
    said = "\n".join(sorted({what[:400] for what, _ in findings}))
    assert not findings, f"{len(findings)} of {n} inputs:\n{said}\nthe first: {findings[0][1]}"
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY


@by_name
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_are_read_or_refused(reader: Reader) -> None:
    _clean(reader, ORDINARY * reader.share // SHARES, seed=0)


@pytest.mark.soak
@by_name
@pytest.mark.filterwarnings("ignore")
def test_a_hundred_thousand_damaged_files_are_read_or_refused(reader: Reader) -> None:
    _clean(reader, SOAK * reader.share // SHARES, seed=1)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with memory_folder() as folder:
        for name in STRUCTURED:
            put(folder / name, READERS[name].seed())
        yield folder


def _structured(name: str, examples: int, place: Path) -> None:
    reader, folder = READERS[name], place / name
    seed = reader.seed()

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=NO_CHECKS)
    @given(STRUCTURED[name])
    def holds(files: dict[str, bytes]) -> None:
        put(folder, files)
        try:
            judge(reader, folder)
        finally:
            put(folder, {path: seed[path] for path in files})

    holds()


@with_strategy
@pytest.mark.filterwarnings("ignore")
def test_nearly_valid_files_are_read_or_refused(name: str, place: Path) -> None:
    _structured(name, 12, place)


@pytest.mark.soak
@with_strategy
@pytest.mark.filterwarnings("ignore")
def test_thousands_of_nearly_valid_files_are_read_or_refused(name: str, place: Path) -> None:
    _structured(name, STRUCTURED_SOAK // len(STRUCTURED), place)


class TestTheOracle:
    """It would tell."""

    def reader(self, read: object, check: object = lambda value: None) -> Reader:
        return Reader(name="x", seed=lambda: {"x": b"0123456789"}, read=read, check=check)  # pyright: ignore[reportArgumentType]

    def test_of_another_exception(self) -> None:
        found = fuzz(self.reader(lambda folder: int((folder / "x").read_bytes())), 200)
        assert found
        assert all(what.startswith("ValueError") for what, _ in found)

    def test_of_a_value_that_does_not_hold(self) -> None:
        def check(value: bytes) -> None:
            assert len(value) >= 10

        assert fuzz(self.reader(lambda folder: (folder / "x").read_bytes(), check), 200)

    def test_of_an_error_that_names_no_file(self, tmp_path: Path) -> None:
        def read(folder: Path) -> None:
            raise InputError("something is wrong")

        with pytest.raises(AssertionError, match="does not name the file"):
            judge(self.reader(read), tmp_path)

    def test_of_a_reader_that_hangs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("fuzz.run.HANG_SECONDS", 0.05)

        def read(folder: Path) -> None:
            while True:
                pass

        with pytest.raises(Hang):
            judge(self.reader(read), tmp_path)

    def test_the_same_seed_gives_the_same_inputs(self) -> None:
        seen: list[list[bytes]] = []
        for _ in range(2):
            seen.append([])
            fuzz(self.reader(lambda folder: seen[-1].append((folder / "x").read_bytes())), 50)
        assert seen[0] == seen[1]
        assert len(set(seen[0])) > 30
