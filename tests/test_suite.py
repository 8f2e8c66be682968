"""Suites are strict YAML: what is not understood is an error that names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmark.cards import load_cards
from benchmark.errors import InputError
from benchmark.groundwork import card_of, with_full_names
from benchmark.method import registry
from benchmark.plan import jobs_of, named_jobs
from benchmark.suite import Suite, load_suite, suite_names

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
    assert {card_of(target, cards).role for target in suite.targets} <= {"target", "both"}
    sources = {*suite.sources, *(source for row in suite.methods for source in row.sources or ())}
    assert {card_of(source, cards).role for source in sources} <= {"source", "both"}
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
        (GOOD.replace("[Popularity]", "Popularity"), r"mine\.yaml, key 'methods': unknown suite 'Popularity'"),
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
        (GOOD.replace("[Popularity]", "[{name: X, few_shot: 1.0}]"), r"key 'methods\.0\.few_shot'.*less than 1"),
        (GOOD.replace("[Popularity]", "[{name: X, few_shot: 0}]"), r"key 'methods\.0\.few_shot'.*greater than 0"),
        (GOOD.replace("[Popularity]", "[{name: X, few_shot: .nan}]"), r"mine.yaml:4: .*no finite number"),
        (GOOD.replace("[Popularity]", "[{name: X, label: ''}]"), r"key 'methods\.0\.label'"),
        (GOOD + "pretraining: {epochs: 2, seeds: 0}\n", r"key 'pretraining\.seeds'"),
        (GOOD + "pretraining: {seeds: 2}\n", r"key 'pretraining\.epochs'.*required"),
        (GOOD + "tuning: {learning_rate: []}\n", r"key 'tuning\.learning_rate'"),
        (GOOD + "tuning: {learning_rate: [0.0]}\n", r"key 'tuning\.learning_rate\.0'.*greater than 0"),
        (GOOD + "tuning: {dropout: [0.1]}\n", r"in 'tuning': unknown key 'dropout'"),
        (GOOD + "extends: dmeo\n", r"mine\.yaml, key 'extends': unknown suite 'dmeo'; did you mean 'demo'"),
        (GOOD + "extends: nowhere.yaml\n", r"nowhere\.yaml: no such suite file"),
        (GOOD + "extends: [demo]\n", r"mine\.yaml: key 'extends': expected the name of a suite"),
        (GOOD + "extends: mine.yaml\n", r"mine\.yaml: takes 'extends' from 'mine\.yaml'.*break the circle"),
        ("extends: demo\n", r"mine\.yaml: key 'name'.*required"),
        ("extends: demo\nname: mine\n", r"mine\.yaml: key 'about'.*required"),
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


def test_a_suite_takes_from_another_what_it_does_not_say(tmp_path: Path) -> None:
    text = "name: mine\nabout: mine\nextends: demo\nmethods: ablation\nseeds: 7\npretraining: {epochs: 1}\n"
    mine, demo, ablation = load_suite(written(tmp_path, text)), load_suite("demo"), load_suite("ablation")
    assert (mine.name, mine.about, mine.seeds) == ("mine", "mine", 7)
    assert (mine.targets, mine.sources, mine.encoder, mine.config) == (
        demo.targets,
        demo.sources,
        demo.encoder,
        demo.config,
    )
    assert mine.methods == ablation.methods
    assert mine.pretraining is not None
    assert mine.pretraining.config == {}, "a key is taken as a whole or not at all"


def test_files_beside_each_other_may_extend_each_other(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(GOOD.replace("mine", "base") + "seeds: 4\n", encoding="utf-8")
    assert load_suite(written(tmp_path, "name: mine\nabout: x\nextends: base.yaml\n")).seeds == 4
    (tmp_path / "base.yaml").write_text(GOOD.replace("mine", "base") + "seeds: 0\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"base\.yaml: key 'seeds'"):
        load_suite(written(tmp_path, "name: mine\nabout: x\nextends: base.yaml\n"))
    (tmp_path / "base.yaml").write_text("name: base\nabout: x\nextends: mine.yaml\n", encoding="utf-8")
    with pytest.raises(InputError, match="break the circle"):
        load_suite(written(tmp_path, "name: mine\nabout: x\nextends: base.yaml\n"))


def test_aliases_of_rows_are_resolved_too() -> None:
    rows = [{"name": "UniSRec_t", "sources": ["Food", "amazon2018-home"]}, "SASRec"]
    text = {"name": "x", "about": "x", "targets": ["Scientific"], "sources": ["CDs"], "methods": rows}
    suite = with_full_names(Suite.model_validate(text), load_cards())
    assert (suite.targets, suite.sources) == (("amazon2018-scientific",), ("amazon2018-cds",))
    assert [row.sources for row in suite.methods] == [("amazon2018-food", "amazon2018-home"), None]


DEFINITIONS: dict[str, dict[str, Any]] = {
    "w/o parametric whitening": {"whitening": False},
    "w/o MoE": {"experts": 1},
    "w/o sequence-item task": {"item_weight": 0.0, "sequence_weight": 1.0},
    "w/o sequence-sequence task": {"sequence_weight": 0.0},
    "w/o item drop": {"item_drop_share": 0.0},
    "w/o word drop": {"item_drop_share": 1.0},
    "full fine-tuning": {},
}
"""How each variant's pre-training departs from that of the full row."""


@pytest.mark.parametrize("name", ["ablation", "ablation-demo"])
def test_each_variant_of_the_ablation_leaves_out_one_thing(name: str) -> None:
    rows = named_jobs(load_suite(name), registry(), seeds=1)
    first, *others = [row for row in rows if row.job.target == rows[0].job.target]
    full = first.job.pretraining
    assert full is not None
    assert (first.label, first.job.method) == (None, "UniSRec_t")
    found = {row.label: row.job for row in others}
    assert found.pop("w/o pre-training").method == "UniSRec_t-scratch"
    assert found.keys() == DEFINITIONS.keys()
    for label, job in found.items():
        assert job.pretraining is not None
        assert dict(job.pretraining.config) == {**full.config, **DEFINITIONS[str(label)]}, label
        assert job.pretraining.epochs == full.epochs
        departs = {key: value for key, value in job.config.items() if first.job.config.get(key) != value}
        own = {"freeze": False} if label == "full fine-tuning" else DEFINITIONS[str(label)]
        assert departs == {key: value for key, value in own.items() if key in ("whitening", "experts", "freeze")}


def test_the_paper_suite_is_the_papers() -> None:
    suite, cards = load_suite("paper"), load_cards()
    assert [cards[name].paper_name for name in suite.targets] == [
        "Scientific",
        "Pantry",
        "Instruments",
        "Arts",
        "Office",
        "Online Retail",
    ]
    assert [cards[name].aliases[0] for name in suite.sources] == ["Food", "Home", "CDs", "Kindle", "Movies"]
    assert (suite.encoder, suite.seeds) == ("bert-base-uncased", 5)
    assert {row.name for row in suite.methods} == {row.name for row in load_suite("lite").methods}
    with_literature = {name for name, method in registry().methods.items() if "literature" in method.budgets}
    assert {row.name for row in suite.methods if row.budget == "literature"} == with_literature
    assert {job.pretraining.epochs for job in jobs_of(suite, registry()) if job.pretraining} == {300}
