"""Suites are strict YAML: what is not understood is an error that names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.cards import load_cards
from benchmark.errors import InputError
from benchmark.method import registry
from benchmark.plan import jobs_of
from benchmark.suite import load_suite, suite_names

GOOD = """\
name: mine
about: a suite of one row
targets: [demo-shop]
methods: [Popularity]
"""


def written(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", suite_names())
def test_every_suite_of_the_package_can_be_planned(name: str) -> None:
    suite, cards = load_suite(name), load_cards()
    assert suite.name == name
    assert len(jobs_of(suite, registry())) >= len(suite.targets) * len(suite.methods)
    assert {cards[target].role for target in suite.targets} <= {"target", "both"}
    assert {cards[source].role for source in suite.sources} <= {"source", "both"}
    assert len(suite.about) <= 140


def test_the_suites_that_the_documentation_names_are_there() -> None:
    assert {"demo", "lite"} <= set(suite_names())


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    suite = load_suite(written(tmp_path, GOOD))
    assert (suite.name, suite.targets, suite.seeds, suite.sources) == ("mine", ("demo-shop",), 1, ())
    assert [row.name for row in suite.methods] == ["Popularity"]


def test_rows_may_be_names_or_carry_changes(tmp_path: Path) -> None:
    rows = "methods: [Popularity, {name: SASRec, config: {width: 8}, training: {epochs: 2}, seeds: 4}]\n"
    suite = load_suite(written(tmp_path, GOOD.replace("methods: [Popularity]\n", rows)))
    assert [row.name for row in suite.methods] == ["Popularity", "SASRec"]
    assert (suite.methods[1].config, suite.methods[1].seeds) == ({"width": 8}, 4)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD + "seed: 3\n", r"mine\.yaml: unknown key 'seed'; did you mean 'seeds'"),
        (GOOD + "seeds: 0\n", r"mine\.yaml: key 'seeds'.*greater than or equal to 1"),
        (GOOD + "seeds: many\n", r"mine\.yaml: key 'seeds'"),
        (GOOD + "pretraining: {epoch: 3}\n", r"in 'pretraining': unknown key 'epoch'; did you mean 'epochs'"),
        (GOOD + "pretraining: {epochs: -1}\n", r"key 'pretraining\.epochs'"),
        (GOOD.replace("[demo-shop]", "[]"), r"key 'targets'"),
        (GOOD.replace("[Popularity]", "[]"), r"key 'methods'"),
        (GOOD.replace("[Popularity]", "5"), r"key 'methods'.*tuple.*found 5"),
        (GOOD.replace("[Popularity]", "Popularity"), r"key 'methods'.*tuple.*found 'Popularity'"),
        (GOOD.replace("[Popularity]", ""), r"key 'methods'.*tuple.*found None"),
        (GOOD.replace("name: mine", "name: failed"), r"key 'name': .*the name is reserved.*found 'failed'"),
        (GOOD.replace("name: mine", "name: artefacts"), r"key 'name': .*the name is reserved"),
        (GOOD.replace("name: mine", "name: 2020-99-99"), r"mine\.yaml:1: not valid YAML .month must be in 1..12"),
        (GOOD.replace("name: mine", "name: 2020-12-12"), r"key 'name'.*valid string"),
        (GOOD + f"seeds: {'1' * 5000}\n", r"mine\.yaml:5: not valid YAML"),
        (GOOD + "config: " + "[" * 5000 + "\n", r"mine\.yaml:? .*not valid YAML"),
        (GOOD.replace("[Popularity]", "[{nam: X}]"), r"unknown key 'nam'; did you mean 'name'"),
        (GOOD.replace("[Popularity]", "[{name: X, sead: 1}]"), r"unknown key 'sead'"),
        (GOOD.replace("targets: [demo-shop]\n", ""), r"key 'targets'.*required"),
        (GOOD.replace("name: mine", "name: ../mine"), r"key 'name'"),
        (GOOD + "seeds: 2\nseeds: 3\n", r"mine\.yaml:6: .*the key 'seeds' occurs twice"),
        (GOOD + "seeds: [2\n", r"mine\.yaml:\d+: not valid YAML"),
        ("- a list\n", r"mine\.yaml: expected keys and values, found list"),
        ("", r"mine\.yaml: expected keys and values, found NoneType"),
    ],
)
def test_mistakes_are_named_with_the_place(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        load_suite(written(tmp_path, text))


def test_an_unknown_suite_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match=r"unknown suite 'dmeo'; did you mean 'demo'"):
        load_suite("dmeo")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.yaml: no such suite file"):
        load_suite(str(tmp_path / "missing.yaml"))
