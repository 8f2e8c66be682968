"""What there is to choose from: every method with all that a program may want to know of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmark.cli import app
from benchmark.errors import InputError
from benchmark.listing import methods
from benchmark.method import Budget, MethodFactory, Registry, registry

SASREC = registry().methods["SASRec"]


def listed(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["list", "methods", *arguments], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads(listed("--json"))}


def test_every_method_is_listed_with_the_same_keys(rows: dict[str, dict[str, Any]]) -> None:
    known = registry()
    assert set(rows) == {*known.methods, *(f"{prefix}<name>" for prefix in known.factories)}
    expected = {"name", "names", "family", "role", "version", "paper", "consumes", "trained", "pretraining"}
    assert {frozenset(row) for row in rows.values()} == {
        frozenset(expected | {"settings", "training", "space", "budgets", "note"})
    }


@pytest.mark.parametrize(
    ("name", "consumes", "trained"),
    [
        ("Popularity", ["ids"], False),
        ("TextKNN", ["text"], False),
        ("SASRec", ["ids"], True),
        ("SASRec_text", ["text"], True),
        ("UniSRec_t", ["text", "sources"], True),
        ("UniSRec_t+ID", ["ids", "text", "sources"], True),
        ("UniSRec_t+ID-scratch", ["ids", "text"], True),
        ("UniSRec_t-zeroshot", ["text", "sources"], False),
    ],
)
def test_what_a_method_learns_from(
    rows: dict[str, dict[str, Any]], name: str, consumes: list[str], trained: bool
) -> None:
    assert (rows[name]["consumes"], rows[name]["trained"]) == (consumes, trained)


def test_a_row_says_where_a_method_comes_from_and_what_can_be_set(rows: dict[str, dict[str, Any]]) -> None:
    assert rows["SASRec-cos"] == {
        "name": "SASRec-cos",
        "names": None,
        "family": "id",
        "role": "control",
        "version": 1,
        "paper": "Kang & McAuley, ICDM 2018, arXiv:1808.09781; loss of arXiv:2206.05941",
        "consumes": ["ids"],
        "trained": True,
        "pretraining": None,
        "settings": {
            "width": 300,
            "layers": 2,
            "heads": 2,
            "inner": 256,
            "dropout": 0.5,
            "attention_dropout": 0.5,
            "temperature": 0.07,
        },
        "training": {},
        "space": {"dropout": [0.2, 0.5], "temperature": [0.05, 0.07, 0.1]},
        "budgets": {},
        "note": "cosine scores and temperature 0.07 instead of dot products: UniSRec's loss without its texts",
    }
    assert rows["Popularity"]["settings"] == {}
    assert rows["UniSRec_t"]["pretraining"] == "UniSRec"


def test_budgets_and_settings_of_training_are_listed() -> None:
    full = Budget(config={"layers": 4}, training={"epochs": 1000})
    slow = replace(
        SASREC, name="Slow", needs=frozenset({"taxonomy"}), defaults={"patience": 20}, budgets={"literature": full}
    )
    (row,) = methods(Registry({"Slow": slow}, {}))
    assert row["budgets"] == {"literature": {"config": {"layers": 4}, "training": {"epochs": 1000}}}
    assert row["training"] == {"patience": 20}
    assert row["consumes"] == ("ids", "taxonomy")


def test_settings_that_are_listed_are_settings_that_can_be_given(rows: dict[str, dict[str, Any]]) -> None:
    for name, method in registry().methods.items():
        assert method.configure(rows[name]["settings"]) == method.configure({})


def test_the_table_has_a_line_a_method_and_one_a_prefix() -> None:
    header, *lines = listed().splitlines()
    assert header.split() == ["name", "role", "consumes", "paper"]
    assert [line.split()[0] for line in lines] == [row["name"] for row in methods(registry())]
    (ours,) = [line for line in lines if line.startswith("UniSRec_t+ID ")]
    assert ours.split()[1:5] == ["paper", "ids", "text", "sources"]


# --- methods that are made when they are named


def made(name: str) -> Any:
    return replace(SASREC, name=f"own:{name}")


FACTORY = MethodFactory(
    prefix="own:", names=("Deep", "Wide"), refused={"Old": "it is too old"}, make=made, paper="nowhere", note="a test"
)
KNOWN = Registry({"SASRec": SASREC}, {}, {"own:": FACTORY})


def test_a_prefix_finds_what_is_behind_it() -> None:
    assert KNOWN.method("own:Deep").name == "own:Deep"
    assert KNOWN.method("SASRec") is SASREC


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own:Dep", "suite 'x': unknown 'own:' method 'Dep'; did you mean 'Deep'?"),
        ("own:Zzzzzz", "suite 'x': unknown 'own:' method 'Zzzzzz'; known: Deep, Wide"),
        ("own:Old", "suite 'x': 'own:Old' can't be run here: it is too old"),
        ("Deep", "suite 'x': unknown method 'Deep'; known: SASRec, own:<name>"),
    ],
)
def test_names_that_are_not_there(name: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        KNOWN.method(name, "suite 'x'")
    assert str(error.value) == message


def test_a_factory_is_one_line() -> None:
    row = methods(KNOWN)[1]
    assert (row["name"], row["names"], row["paper"], row["note"]) == (
        "own:<name>",
        ("Deep", "Wide"),
        "nowhere",
        "a test",
    )
    assert row["settings"] is None


def test_a_plugin_may_bring_one_and_no_two_share_a_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    source = "from test_listing import FACTORY\n"
    (tmp_path / "own_methods.py").write_text(source, encoding="utf-8")
    (tmp_path / "own_methods_again.py").write_text(source, encoding="utf-8")
    assert registry(("own_methods:FACTORY",)).method("own:Wide").name == "own:Wide"
    with pytest.raises(InputError, match="two registered entries are named 'own:'"):
        registry(("own_methods:FACTORY", "own_methods_again:FACTORY"))
