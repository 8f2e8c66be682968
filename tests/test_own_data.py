"""``docs/own-data.md``, followed to the letter on tables of another shop's making."""

from __future__ import annotations

import random
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from in_process import jobs_run_here
from test_campaign import Done, Place

from benchmark.cards import load_cards
from benchmark.domain import Domain
from benchmark.errors import InputError
from benchmark.formats import Columns, read_tables
from benchmark.prepare import prepare

PAGE = Path(__file__).parents[1] / "docs" / "own-data.md"
BLOCKS = [
    re.sub(r"^    ", "", block, flags=re.MULTILINE).rstrip()
    for block in re.findall(r"(?:^    .*\n)+", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
]
"""What the page sets apart, in its order."""


def block(start: str) -> str:
    (found,) = [each for each in BLOCKS if each.startswith(start)]
    return found


def shop(folder: Path) -> tuple[int, int]:
    """The page's tables, and more of the same: tastes, texts in several scripts, rows twice, items that nobody lists.

    Returns how many interactions are with unknown items, and how many are said again.
    """
    rng = random.Random(7)
    words = ["Teeschale", "Kanne", "Löffel", "茶筅", "чайник", "théière", "Tablett"]
    articles = [f'{5000 + n};"{words[n % 7]} ""Nr. {n}""; weiß";{"Höfer" if n % 3 else ""}' for n in range(40)]
    articles += ["5040;;", "5041; ;", articles[3]]  # no texts at all; one that is listed twice, alike
    orders = []
    for customer in range(60):
        day = rng.randrange(1, 10)
        for _ in range(rng.randrange(4, 9)):
            day += rng.randrange(0, 3)
            orders.append(
                f"Kundin {customer} ☕;{5000 + 2 * rng.randrange(20) + customer % 2};2024-04-{day:02}T10:00;1"
            )
    unknown = [f"Kundin {customer} ☕;9999;2024-05-01;1" for customer in range(5)]
    repeated = rng.sample(orders, 9)
    rng.shuffle(mixed := orders + unknown + repeated)
    for name, start, rows in (("orders.csv", "kunde;", mixed), ("articles.csv", "nummer;", articles)):
        (folder / name).write_text("\n".join([block(start), *rows, ""]), encoding="utf-8")
    return len(unknown), len(mixed) - len(set(mixed))


@dataclass(frozen=True)
class Followed:
    place: Place
    commands: dict[str, Done]
    unknown: int
    repeated: int

    def done(self, start: str) -> Done:
        """The first command that begins so."""
        return next(done for command, done in self.commands.items() if command.startswith(start))

    def domain(self, name: str) -> Domain:
        cache = self.place.folder / "cache"
        return prepare(load_cards(cache=cache)[name], cache=cache).domain


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Followed:
    """Every command of the page, in its order."""
    place = Place(tmp_path_factory.mktemp("own"))
    unknown, repeated = shop(place.folder)
    (place.folder / "my-suite.yaml").write_text(block("name: my-suite"), encoding="utf-8")
    done = {}
    with pytest.MonkeyPatch.context() as patch:
        jobs_run_here(patch)
        for commands in (each for each in BLOCKS if each.startswith("transrec ")):
            for command in commands.splitlines():
                done[command] = place.transrec(*shlex.split(command)[1:])
    return Followed(place, done, unknown, repeated)


def test_every_command_of_the_page_works(followed: Followed) -> None:
    assert len(followed.commands) == 8
    assert {command: done.err for command, done in followed.commands.items() if done.code} == {}


def test_the_import_says_what_it_left_out_and_what_it_found(followed: Followed) -> None:
    done = followed.done("transrec data import my-shop --")
    assert f"{followed.unknown} interactions with items that are not in articles.csv are left out" in done.err
    assert f"{followed.repeated} interactions that repeat user, item and time of another are left out" in done.err
    assert ", 2024-04-" in done.out
    domain = followed.domain("my-shop")
    assert all(user.startswith("Kundin ") for user in domain.user_ids)  # the page's own two are no 3-core
    assert 'Kanne "Nr. 1"; weiß Höfer' in domain.texts
    assert 'Teeschale "Nr. 0"; weiß' in domain.texts
    assert (domain.sequences.lengths >= 3).all()


def test_the_report_prints_no_number_and_shows_no_id_and_no_text(followed: Followed) -> None:
    report = followed.place.folder / "reports" / "demo"
    said = (report / "README.md").read_text(encoding="utf-8")
    assert "own split" in said
    assert "Beside the printed numbers" not in said
    for path in [*followed.place.results.rglob("*"), *report.rglob("*")]:
        if path.is_file():
            content = path.read_bytes()
            assert not [word for word in ("Kundin", "Teeschale", "茶筅", "Höfer") if word.encode() in content], path


def test_as_a_source_it_is_pre_trained_on(followed: Followed) -> None:
    said = (followed.place.folder / "reports" / "my-suite" / "README.md").read_text(encoding="utf-8")
    assert "Sources: my-shop (" in said


def test_verify_finds_data_that_are_no_longer_what_was_imported(followed: Followed) -> None:
    card = followed.place.folder / "cache" / "cards" / "my-shop-again.yaml"
    content = yaml.safe_load(card.read_text(encoding="utf-8"))
    content["inputs"][0]["expect"]["fingerprint"] = "0" * 64
    card.write_text(yaml.safe_dump(content), encoding="utf-8")
    found = followed.place.transrec("data", "verify", "my-shop", "my-shop-again")
    assert found.code == 1
    assert "my-shop (own):" in found.out
    assert "my-shop-again (own, CUSTOM):" in found.out


def test_what_went_out_as_atomic_files_comes_back_the_same(followed: Followed) -> None:
    again = Domain.load(followed.place.folder / "cache" / "domains" / "my-shop-again")
    assert again.fingerprint == followed.domain("my-shop").fingerprint
    assert "--ties line-order" in followed.done("transrec data export my-shop").out


def test_an_export_does_not_replace_what_is_there(followed: Followed) -> None:
    again = followed.place.transrec("data", "export", "my-shop", "--to", "exported")
    assert (again.code, again.out) == (2, "")
    assert "exported/my-shop: is there already" in again.err


# --- tables of other shapes

TABLE = "user,item,timestamp\nu,a,30\nv,b,5\nu,b,10\nu,c,10\n"
CATALOGUE = "item,text\na,An apple\nb,A bowl\nc,\n"


def tables(folder: Path, interactions: str = TABLE, items: str = CATALOGUE) -> tuple[Path, Path]:
    paths = folder / "x.csv", folder / "items.csv"
    for path, text in zip(paths, (interactions, items), strict=True):
        path.write_text(text, encoding="utf-8", newline="")
    return paths


@pytest.mark.parametrize("mark", [";", "\t"])
def test_the_separator_is_seen_from_the_header(tmp_path: Path, mark: str) -> None:
    expected = read_tables(*tables(tmp_path), name="x").fingerprint
    changed = tables(tmp_path, TABLE.replace(",", mark), CATALOGUE.replace(",", mark))
    assert read_tables(*changed, name="x").fingerprint == expected
    # a comma inside a name does not make commas the separator
    odd = TABLE.replace("user,item,timestamp", f"user{mark}item{mark}timestamp{mark}a, b, c, d")
    rows = [line.replace(",", mark) + f"{mark}-" if line[1:2] == "," else line for line in odd.splitlines()]
    assert read_tables(*tables(tmp_path, "\n".join(rows)), name="x").fingerprint == expected


def test_a_separator_that_was_not_meant_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="x.csv:1: no column 'user', .*; the table has who, what, when"):
        read_tables(*tables(tmp_path, "who;what;when\nu;a;1\n"), name="x")
    with pytest.raises(InputError, match="x.csv:2: expected 3 columns separated by semicolons, found 4"):
        read_tables(*tables(tmp_path, "user;item;timestamp\nu;a;1;2\n"), name="x")


def test_repeats_are_told_and_left_out_when_asked_for(tmp_path: Path) -> None:
    said: list[str] = []
    paths = tables(tmp_path, TABLE + "u,b,10\nu,b,11\nu,b,10.5\n")
    assert read_tables(*paths, name="x", say=said.append).n_interactions == 7
    assert len(said) == 1
    assert said[0].startswith("1 interactions repeat user, item and time of another (first: ")
    assert "x.csv:6" in said[0]
    assert read_tables(*paths, name="x", drop_repeated=True).n_interactions == 6


def test_unknown_items_are_left_out_when_asked_for(tmp_path: Path) -> None:
    paths = tables(tmp_path, TABLE + "u,d,1\nw,d,1\n")
    with pytest.raises(InputError, match="x.csv:6: item 'd' is not in .*--drop-unknown"):
        read_tables(*paths, name="x")
    found = read_tables(*paths, name="x", drop_unknown=True)
    assert found.fingerprint == read_tables(*tables(tmp_path), name="x").fingerprint
    with pytest.raises(InputError, match="x.csv: no interaction is left"):
        read_tables(*tables(tmp_path, "user,item,timestamp\nu,d,1\n"), name="x", drop_unknown=True)


def test_an_item_may_be_listed_twice_only_if_both_say_the_same(tmp_path: Path) -> None:
    expected = read_tables(*tables(tmp_path), name="x").fingerprint
    assert read_tables(*tables(tmp_path, items=CATALOGUE + "a,An apple\n"), name="x").fingerprint == expected
    with pytest.raises(InputError, match="items.csv:5: item 'a' occurs a second time with another text than in line 2"):
        read_tables(*tables(tmp_path, items=CATALOGUE + "a,A pear\n"), name="x")


def test_ties_and_positions_are_as_told(tmp_path: Path) -> None:
    rows = [f"u,{item},5\n" for item in "cab"]
    for order in (rows, rows[::-1]):
        paths = tables(tmp_path, "user,item,timestamp\n" + "".join(order))
        found = read_tables(*paths, name="x", ties="line-order", positions=True)
        assert found.sequences[0].tolist() == ["abc".index(row[2]) for row in order]
        assert found.timestamps is None


def test_the_item_may_be_called_otherwise_in_its_own_table(tmp_path: Path) -> None:
    expected = read_tables(*tables(tmp_path), name="x").fingerprint
    paths = tables(tmp_path, items=CATALOGUE.replace("item", "sku"))
    assert read_tables(*paths, name="x", columns=Columns(catalogue_item="sku")).fingerprint == expected


def test_times_that_are_no_seconds_are_told(tmp_path: Path) -> None:
    place = Place(tmp_path)
    rows = "".join(f"u,{item},170000000000{n}\n" for n, item in enumerate("abc"))
    tables(tmp_path, "user,item,timestamp\n" + rows)
    done = place.transrec("data", "import", "mine", "--interactions", "x.csv", "--items", "items.csv")
    assert "times 1700000000000 to 1700000000002: no seconds since 1970 (milliseconds?)" in done.out
