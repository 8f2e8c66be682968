"""Sizes, data and machine of the speed suite."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pytest
import torch

from benchmark.domain import Domain
from benchmark.machine import versions
from benchmark.precision import resolve_precision

from . import generated
from .contenders import CPU
from .sizes import FULL, QUICK, THREADS, Sizes


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--speed-quick", action="store_true", help="speed suite: tiny sizes, whose figures mean nothing")


def is_quick(config: pytest.Config) -> bool:
    return bool(config.getoption("--speed-quick", default=False))


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """What the report says of the machine, beside the measurements in the run's JSON."""
    try:
        recbole = version("recbole")
    except PackageNotFoundError:
        recbole = "not installed"
    machine_info["speed"] = {
        **versions().model_dump(),
        "recbole": recbole,
        "memory_gb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        "threads": THREADS,
        "precision": resolve_precision("auto", CPU),
        "quick": is_quick(config),
    }


@pytest.fixture(scope="session")
def sizes(request: pytest.FixtureRequest) -> Sizes:
    return QUICK if is_quick(request.config) else FULL


@pytest.fixture(scope="session")
def target(sizes: Sizes) -> Domain:
    return generated.target(sizes.target, real=sizes is FULL)


@pytest.fixture(autouse=True, scope="package")
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)
