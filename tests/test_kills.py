"""Runs that are killed, interrupted and started twice: nothing is lost but an epoch, nothing is done twice, and the
ranks are those of a run that nobody disturbed."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from test_campaign import ROOT, Place

from benchmark.checkpoint import load_tensors
from benchmark.verify import verify

TINY: dict[str, Any] = {
    "name": "killed",
    "methods": ["Popularity", "SASRec", "UniSRec_t", {"name": "UniSRec_t-zeroshot", "pretraining": {"epochs": 6}}],
    "seeds": 1,
    "training": {"epochs": 8, "batch_targets": 128},
    "pretraining": {"epochs": 4, "config": {"batch_targets": 512}},
}
WITHOUT_FIGURES = (
    # whoever runs the tests in the background may ignore Ctrl-C, and children inherit that
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from benchmark.report import leaderboard; leaderboard.write_figures = lambda *parts: (); "
    "from benchmark.cli import main; main()"
)
PATH = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
EPOCH = re.compile(r"^(?:(.*), )?epoch (\d+)(?: of \d+)?: loss")
RESUMED = re.compile(r"^resumed after epoch (\d+)(?: of (.*))?$")


@dataclass(frozen=True)
class Command:
    """``transrec run`` in a session of its own, with all its processes."""

    place: Place
    process: subprocess.Popen[str]

    @classmethod
    def start(cls, place: Place, suite: str, *arguments: str) -> Command:
        environment = {**os.environ, "TRANSREC_CACHE": str(place.folder / "cache"), "PYTHONPATH": PATH}
        process = subprocess.Popen(
            [sys.executable, "-c", WITHOUT_FIGURES, "run", suite, "--workers", "1", *arguments],
            cwd=place.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        return cls(place, process)

    def ends(self) -> tuple[int, str]:
        """Exit code and what was said."""
        out, _ = self.process.communicate(timeout=600)
        return self.process.returncode, out

    def after(self, more_lines: int, seconds: float = 0.0) -> bool:
        """Wait until the logs of workers have so many more lines, and then a little; False if the command has ended."""
        wanted = len(lines(self.place)) + more_lines
        while self.process.poll() is None:
            if len(lines(self.place)) >= wanted:
                time.sleep(seconds)
                return True
            time.sleep(0.01)
        return False

    def send(self, number: int) -> None:
        os.killpg(self.process.pid, number)


def logs(place: Place) -> dict[str, list[str]]:
    """What workers noted, by key, without the times."""
    found = sorted((place.folder / "cache" / "logs").glob("*.log"))
    return {path.stem: [line.partition(" ")[2] for line in path.read_text().splitlines()] for path in found}


def lines(place: Place) -> list[str]:
    return [line for log in logs(place).values() for line in log]


def assert_nothing_was_done_twice(place: Place, kills: int) -> None:
    """Of each log: no epoch but the one that a kill fell in was done again, and nothing once it was done."""
    again = 0
    for key, log in logs(place).items():
        reached: dict[str | None, int] = {}  # epochs by phase of the method, in their order
        found, done = 0, False
        for line in log:
            assert not done, f"{key}: '{line}' though it was done"
            if resumed := RESUMED.search(line):
                found = int(resumed[1])
                assert found >= max([0, *reached.values()][-1] - 1, 0), f"{key}: lost what came after epoch {found}"
            elif epoch := EPOCH.search(line):
                phase, number = epoch[1], int(epoch[2])
                # what continues a shorter pre-training finds more than its own log tells
                last = reached.setdefault(phase, 0 if reached else found)
                assert phase == list(reached)[-1], f"{key}: {phase} was begun again"
                assert number in (last, last + 1), f"{key}: epoch {number} after {last}"
                again += number == last
                reached[phase] = number
            done = line.startswith("done:")
    assert again <= kills


def stored_bytes(place: Place) -> dict[Path, bytes]:
    """The files of ranks, byte for byte."""
    return {path.relative_to(place.results): path.read_bytes() for path in place.results.rglob("ranks.parquet")}


def weights(place: Place) -> dict[str, dict[str, list[float]]]:
    """Pre-trained weights; the files themselves tell what they cost as well."""
    found = {}
    for path in sorted((place.folder / "cache" / "artefacts").glob("[!.]*.safetensors")):
        loaded = load_tensors(path)
        assert loaded is not None
        found[path.name] = {name: value.flatten().tolist() for name, value in loaded[0].items()}
    return found


def assert_whole(place: Place, undisturbed: Place) -> None:
    assert stored_bytes(place) == stored_bytes(undisturbed)
    assert weights(place) == weights(undisturbed)
    assert verify(place.results) == []
    left = [path for kind in ("artefacts", "checkpoints") for path in (place.folder / "cache" / kind).iterdir()]
    assert not [path for path in left if "state" not in path.name and path.name.startswith(".")], (
        "left by a broken write"
    )
    assert not list((place.folder / "cache" / "checkpoints").iterdir())


def ends_within(command: Command, seconds: float) -> bool:
    """Whether all processes of a command's session are gone by then; what Python keeps beside them goes after them."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            command.send(0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("undisturbed"))
    code, out = Command.start(place, place.suite(**TINY)).ends()
    assert code == 0, out
    assert_nothing_was_done_twice(place, kills=0)
    return place


def kill_until_it_is_through(place: Place, suite: str, points: Iterable[tuple[int, float]]) -> int:
    """Kill all processes at each point (lines more in the logs, seconds after them), then let it end; how often."""
    kills = 0
    for more_lines, seconds in points:
        command = Command.start(place, suite)
        if not command.after(more_lines, seconds):
            command.ends()
            break
        command.send(signal.SIGKILL)
        command.ends()
        kills += 1
    code, out = Command.start(place, suite).ends()
    assert code == 0, out
    return kills


def test_a_suite_that_is_killed_ends_as_if_it_had_not_been(undisturbed: Place, tmp_path: Path) -> None:
    place, draw = Place(tmp_path), random.Random(1)
    points = [(draw.randint(2, 7), draw.random() / 10) for _ in range(3)]
    assert kill_until_it_is_through(place, place.suite(**TINY), points) == 3
    assert_nothing_was_done_twice(place, kills=3)
    assert_whole(place, undisturbed)


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(tmp_path: Path) -> None:
    place = Place(tmp_path)
    command = Command.start(place, place.suite(**TINY))
    assert command.after(3)
    command.send(signal.SIGINT)
    code, out = command.ends()
    assert code == 130, out
    assert out.splitlines()[-1].startswith("interrupted: ")
    assert "the same command goes on from here" in out
    assert "Traceback" not in out
    assert ends_within(command, seconds=30), "somebody of its session is left"


def test_two_commands_share_the_work(undisturbed: Place, tmp_path: Path) -> None:
    place = Place(tmp_path)
    suite = place.suite(**TINY)
    both = [Command.start(place, suite) for _ in range(2)]
    for command in both:
        code, out = command.ends()
        assert code == 0, out
    assert_nothing_was_done_twice(place, kills=0)
    assert sum(line.startswith("done:") for line in lines(place)) == 4
    assert_whole(place, undisturbed)


@pytest.mark.soak
def test_fifty_kills_at_random(tmp_path: Path) -> None:
    """Of a suite like the demo, wherever a kill falls: while planning, encoding, pre-training, training and writing."""
    large = TINY | {
        "targets": ["demo-workshop", "demo-shop"],
        "sources": ["demo-kitchen", "demo-garden", "demo-toys"],
        "methods": ["Popularity", "Markov", "SASRec", "SASRec_text", "UniSRec_t", "UniSRec_t+ID", "S3-Rec"],
        "seeds": 2,
        "training": {"epochs": 25, "batch_targets": 128},
        "pretraining": {"epochs": 20, "config": {"batch_targets": 256}},
    }
    undisturbed, place, draw = Place(tmp_path / "undisturbed"), Place(tmp_path / "killed"), random.Random(0)
    for each in (undisturbed, place):
        each.folder.mkdir()
    code, out = Command.start(undisturbed, undisturbed.suite(**large)).ends()
    assert code == 0, out
    share = len(lines(undisturbed)) // 80  # so that all kills fall before it is through
    points = [(draw.randint(0, 2 * share // 3), draw.random() * (0.3 if draw.random() < 0.8 else 4)) for _ in range(50)]
    kills = kill_until_it_is_through(place, place.suite(**large), points)
    assert kills == 50
    assert_nothing_was_done_twice(place, kills)
    assert_whole(place, undisturbed)
