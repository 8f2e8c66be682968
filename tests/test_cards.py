"""Dataset cards: all are whole and right, and a wrong one says what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.cards import Card, load_cards
from benchmark.errors import InputError

CARDS = load_cards()
PAPER = [
    *("amazon2018-food", "amazon2018-home", "amazon2018-cds", "amazon2018-kindle", "amazon2018-movies"),
    *("amazon2018-scientific", "amazon2018-pantry", "amazon2018-instruments", "amazon2018-arts", "amazon2018-office"),
    "online-retail",
]
MINIMAL = """
name: mine
title: Mine
role: target
about: A table of mine.
source: my shelf
licence: none
inputs:
  - reader: atomic
    files: {interactions: m.inter, items: m.item}
    split: own
    expect: {users: 1, items: 1, interactions: 3}
"""


def expected(name: str) -> tuple[int, int, int]:
    expect = CARDS[name].inputs[0].expect
    assert expect is not None
    return expect.users, expect.items, expect.interactions


def card_file(folder: Path, text: str, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_all_eleven_data_sets_of_the_paper_have_cards() -> None:
    assert {CARDS[name].name for name in PAPER} == set(PAPER)
    printed = {card.paper_name for card in CARDS if card.paper_name}
    assert printed == {"Scientific", "Pantry", "Instruments", "Arts", "Office", "Online Retail"}


def test_the_sources_add_up_to_the_printed_totals() -> None:
    totals = [sum(counts) for counts in zip(*map(expected, PAPER[:5]), strict=True)]
    assert totals == [1_361_408, 446_975, 14_029_229]


@pytest.mark.parametrize(
    ("name", "full", "counts"),
    [
        ("Scientific", "amazon2018-scientific", (8442, 4385, 59427)),
        ("OnlineRetail", "online-retail", (16520, 3469, 519906)),
        ("lite-kitchen", "lite-kitchen", (42910, 27539, 309593)),
    ],
)
def test_names_and_aliases_find_a_card(name: str, full: str, counts: tuple[int, int, int]) -> None:
    assert CARDS[name].name == full
    assert expected(name) == counts


@pytest.mark.parametrize("card", list(CARDS), ids=lambda card: card.name)
def test_each_card_is_fit_for_use(card: Card) -> None:
    assert card.file.stem == card.name
    assert card.licence
    assert card.about
    for given in card.inputs:
        assert given.expect is not None
        assert given.paths()
        assert all(url.startswith("https://") for url in given.urls.values())
        if card.paper_name is None:
            assert given.split == "own" or card.role == "source"


def test_splits_that_must_not_move_have_a_fingerprint() -> None:
    for name in ("Scientific", "online-retail", "online-retail-lineorder", "demo-workshop", "demo-shop"):
        expect = CARDS[name].inputs[0].expect
        assert expect is not None
        assert expect.fingerprint, name


def test_only_texts_of_generated_domains_may_be_published(tmp_path: Path) -> None:
    assert {card.name for card in CARDS if card.texts_may_be_published} == {
        card.name for card in CARDS if card.name.startswith("demo-")
    }
    assert "python -m benchmark.prepare.demo" in CARDS["demo-shop"].source
    card_file(tmp_path, MINIMAL.replace("name: mine", "name: mine\ntexts_may_be_published: true"))
    assert load_cards([tmp_path])["mine"].texts_may_be_published


def test_an_unknown_data_set_names_the_nearest() -> None:
    with pytest.raises(InputError, match="unknown dataset 'Scientifc'; did you mean 'Scientific'"):
        CARDS["Scientifc"]


def test_more_cards_are_added_and_override(tmp_path: Path) -> None:
    card_file(tmp_path, MINIMAL)
    card_file(tmp_path, MINIMAL.replace("name: mine", "name: lite-food"), "food.yaml")
    cards = load_cards([tmp_path])
    assert len(cards) == len(CARDS) + 1
    assert cards["mine"].file == tmp_path / "mine.yaml"
    assert cards["lite-food"].title == "Mine"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("licence:", "license:", "mine.yaml: unknown key 'license'; did you mean 'licence'"),
        ("split: own", "splitt: own", "mine.yaml: in 'inputs.0.atomic': unknown key 'splitt'; did you mean 'split'"),
        ("items: m.item", "itmes: m.item", "in 'inputs.0.atomic.files': unknown key 'itmes'; did you mean 'items'"),
        ("users: 1", "user: 1", "in 'inputs.0.atomic.expect': unknown key 'user'; did you mean 'users'"),
        ("role: target", "role: goal", "mine.yaml: key 'role': .*'source', 'target' or 'both'.*found 'goal'"),
        ("users: 1", "users: many", "key 'inputs.0.atomic.expect.users'"),
        ("reader: atomic", "reader: atomik", "key 'inputs.0'.*'atomik'"),
        ("title: Mine\n", "", "mine.yaml: key 'title': Field required"),
        ("title: Mine\n", "title: Mine\ntitle: Yours\n", "mine.yaml:4: not valid YAML .the key 'title' occurs twice"),
        ("title: Mine", "title: [Mine", "mine.yaml:4: not valid YAML"),
        ("m.inter", "../m.inter", "files.interactions.*must be a relative path without"),
        ("m.inter", "/m.inter", "files.interactions.*must be a relative path without"),
        ("name: mine", "name: a/b", "mine.yaml: key 'name'"),
        ("name: mine", "name: failed", "mine.yaml: key 'name': .*the name is reserved.*found 'failed'"),
        ("name: mine", "name: mine\naliases: [artefacts]", "mine.yaml: key 'aliases.0': .*the name is reserved"),
        ("title: Mine", "title: 2020-99-99", "mine.yaml:3: not valid YAML .month must be in 1..12"),
        ("split: own", "split: own\n    urls: {item: 'https://x'}", "unknown file 'item'; did you mean 'items'"),
        *(
            (
                "name: mine",
                f"name: mine\ntexts_may_be_published: {word}",
                "mine.yaml: key 'texts_may_be_published': .*valid boolean",
            )
            for word in ("'true'", "1", "maybe", "")
        ),
        (
            "name: mine",
            "name: mine\naliases: [Scientific]",
            "the name 'Scientific' already belongs to",
        ),
        (MINIMAL, "- mine", "mine.yaml: expected keys and values, found list"),
    ],
)
def test_a_wrong_card_names_file_and_key(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in MINIMAL
    card_file(tmp_path, MINIMAL.replace(old, new))
    with pytest.raises(InputError, match=f"(?s){says}"):
        load_cards([tmp_path])


def test_cards_that_cannot_be_read_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder of cards"):
        load_cards([tmp_path / "missing"])
    card_file(tmp_path, MINIMAL)
    card_file(tmp_path, MINIMAL, "zwei.yaml")
    with pytest.raises(InputError, match=r"zwei.yaml: 'mine' is already the name of .*mine.yaml"):
        load_cards([tmp_path])
    (tmp_path / "zwei.yaml").write_bytes(b"name: \xff")
    with pytest.raises(InputError, match=r"zwei.yaml: not UTF-8 text"):
        load_cards([tmp_path])
