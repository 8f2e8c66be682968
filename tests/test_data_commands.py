"""`transrec data` as a user meets it."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from benchmark.cards import load_cards
from benchmark.data_commands import app
from benchmark.errors import InputError
from benchmark.paths import cache_dir
from benchmark.prepare import prepare

INTER = "user,item,timestamp\n" + "".join(
    f"{user},{item},{time}\n" for user in "uvw" for time, item in enumerate("abc")
)
ITEMS = "item,text\na,Apple\nb,Bowl\nc,\n"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRANSREC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, InputError):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout


@pytest.fixture
def tables(tmp_path: Path) -> list[object]:
    (tmp_path / "x.csv").write_text(INTER)
    (tmp_path / "items.csv").write_text(ITEMS)
    return ["--interactions", tmp_path / "x.csv", "--items", tmp_path / "items.csv"]


def test_the_cache_is_below_the_working_directory_unless_told_otherwise(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache_dir() == cache
    monkeypatch.delenv("TRANSREC_CACHE")
    assert cache_dir() == Path("datasets/.data")


def test_an_imported_table_is_a_data_set_like_any_other(tables: list[object], cache: Path) -> None:
    said = run("import", "mine", *tables)
    assert "mine: 3 users, 3 items, 9 interactions" in said
    found = prepare(load_cards(cache=cache)["mine"], cache=cache)
    assert found.domain.texts == ("Apple", "Bowl", "")
    assert not found.custom
    shown = json.loads(run("show", "mine", "--json"))
    assert shown["inputs"][0]["expect"]["fingerprint"] == found.domain.fingerprint
    assert json.loads(run("prepare", "mine", "--json"))[0]["interactions"] == 9


def test_importing_again_replaces_and_a_lost_import_is_said(tables: list[object], cache: Path, tmp_path: Path) -> None:
    run("import", "mine", *tables)
    (tmp_path / "x.csv").write_text(INTER + "w,a,9\n")
    assert "10 interactions" in run("import", "mine", *tables)
    (cache / "domains" / "mine" / "prepared.json").unlink()
    with pytest.raises(InputError, match="mine: its imported tables are no longer in the cache; import them again"):
        run("prepare", "mine")


def test_columns_may_be_named_and_rare_users_and_items_left_out(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(INTER.replace("user,item,timestamp", "who,what,when") + "z,a,1\n")
    (tmp_path / "items.csv").write_text(ITEMS.replace("item,text", "what,title"))
    arguments = ["--interactions", tmp_path / "x.csv", "--items", tmp_path / "items.csv"]
    arguments += ["--user", "who", "--item", "what", "--timestamp", "when", "--text", "title"]
    with pytest.raises(InputError, match=r"x.csv: 1 users have fewer than 3 .*user 'z' has 1.*--k-core"):
        run("import", "mine", *arguments)
    assert "4 users" in run("import", "mine", *arguments, "--role", "source")
    assert "3 users, 3 items" in run("import", "mine", *arguments, "--k-core", 3)


def test_atomic_files_can_be_imported(tmp_path: Path) -> None:
    (tmp_path / "x.inter").write_text(
        "user_id:token\titem_id:token\ttimestamp:float\n" + INTER.partition("\n")[2].replace(",", "\t")
    )
    (tmp_path / "x.item").write_text("item_id:token\ttitle:token_seq\na\tApple\nb\tBowl\nc\tCup\n")
    arguments = ["import", "m", "--interactions", tmp_path / "x.inter", "--items", tmp_path / "x.item"]
    assert "9 interactions" in run(*arguments)
    with pytest.raises(InputError, match="x.inter: --user, --timestamp can't be given"):
        run(*arguments, "--user", "who", "--timestamp", "when")


def test_an_export_that_fails_leaves_nothing(tables: list[object], tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(INTER + "z,a,1\n")
    run("import", "mine", *tables, "--role", "source")
    with pytest.raises(InputError, match="user 'z' has 1 interactions"):
        run("export", "mine", "--to", tmp_path / "out", "--format", "benchmark")
    assert list((tmp_path / "out").iterdir()) == []
    said = run("export", "mine", "--to", tmp_path / "out")
    assert f"{tmp_path / 'out' / 'mine' / 'mine.inter'}\n" in said


def test_what_only_tables_have_is_no_option_of_atomic_files(tmp_path: Path) -> None:
    arguments = ["import", "m", "--interactions", tmp_path / "x.inter", "--items", tmp_path / "x.item"]
    with pytest.raises(InputError, match="x.inter: --drop-unknown is for .csv and .parquet tables; leave it out"):
        run(*arguments, "--drop-unknown")
    with pytest.raises(InputError, match="x.inter: --catalogue-item can't be given"):
        run(*arguments, "--catalogue-item", "sku")


def test_a_name_that_is_taken_or_no_name_is_refused_and_nothing_is_left(tables: list[object], cache: Path) -> None:
    for name, says in (
        ("Scientific", "the name 'Scientific' belongs to"),
        ("lite-food", "the name 'lite-food' belongs to"),
        ("a/b", "key 'name'"),
    ):
        with pytest.raises(InputError, match=says):
            run("import", name, *tables)
    assert not cache.exists()


def test_prepare_says_what_differs_and_verify_fails_on_it(tmp_path: Path, tables: list[object], cache: Path) -> None:
    run("import", "mine", *tables)
    card = yaml.safe_load((cache / "cards" / "mine.yaml").read_text())
    card["inputs"][0]["expect"]["users"] = 4
    folder = tmp_path / "cards"
    folder.mkdir()
    (folder / "mine.yaml").write_text(yaml.safe_dump(card))
    with pytest.raises(InputError, match="3 users instead of 4"):
        run("prepare", "mine", "--cards", folder)
    assert "CUSTOM" in run("prepare", "mine", "--cards", folder, "--allow-mismatch")
    assert "CUSTOM" in run("verify", "mine", "--cards", folder, code=1)
    assert "own)" in run("verify", "mine")


def test_damage_to_a_prepared_domain_is_found(tables: list[object], cache: Path) -> None:
    run("import", "mine", *tables)
    path = cache / "domains" / "mine" / "interactions.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="not a prepared domain"):
        run("prepare", "mine")
    run("verify", "mine", code=1)
    found = json.loads(run("verify", "demo-shop", "mine", "--json", code=1))
    assert [each["name"] for each in found] == ["demo-shop", "mine"]
    assert "not a prepared domain" in found[1]["damaged"]


def test_verify_does_not_put_what_differs_in_the_place_of_what_is_good(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "cards").mkdir()
    cards = published(tmp_path / "cards", "", TOY, urls={}, expect={"users": 1, "items": 3, "interactions": 1})
    data = tmp_path / "data"
    (data / "toy").mkdir(parents=True)
    (data / "toy" / "toy.inter").write_text(TOY)
    (data / "toy" / "toy.item").write_text("item_id:token\ttitle:token_seq\na\tApple\nb\tBowl\nc\tCup\n")
    arguments = ["toy", "--cards", cards, "--data", data]
    fingerprint = json.loads(run("prepare", *arguments, "--json"))[0]["fingerprint"]
    (data / "toy" / "toy.inter").write_text(TOY + "v\ta\t1\n")
    assert "CUSTOM" in run("verify", *arguments, code=1)
    assert json.loads((cache / "domains" / "toy" / "domain.json").read_text())["fingerprint"] == fingerprint


@pytest.mark.parametrize(
    ("role", "says", "not_said"),
    [
        ("source", "use it under 'sources' of a suite;", "--targets"),
        ("target", "use it with --targets mine;", "sources"),
        ("both", "use it with --targets mine, or under 'sources' of a suite;", "no such word"),
    ],
)
def test_what_was_imported_is_told_its_use(tables: list[object], role: str, says: str, not_said: str) -> None:
    said = run("import", "mine", *tables, "--role", role)
    assert says in said
    assert not_said not in said


def test_an_import_can_not_be_fetched(tables: list[object]) -> None:
    run("import", "mine", *tables)
    with pytest.raises(InputError, match="^mine: was imported from tables of your own; there is nothing to fetch$"):
        run("fetch", "mine")


def test_demo_domains_need_nothing() -> None:
    assert "demo-workshop (own): " in run("prepare", "demo-workshop", "demo-shop")


def test_show_is_readable_and_an_unknown_name_is_said() -> None:
    shown = yaml.safe_load(run("show", "OnlineRetail"))
    assert shown["name"] == "online-retail"
    assert shown["licence"].startswith("CC BY 4.0")
    with pytest.raises(InputError, match="did you mean 'online-retail'"):
        run("show", "onlin-retail")


# --- fetch ---


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address it is served at."""
    folder = tmp_path / "site"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def published(folder: Path, address: str, inter: str, **changes: object) -> Path:
    """A folder with a card whose files are on the site, the items inside an archive."""
    (folder / "toy.inter").write_text(inter)
    items = "item_id:token\ttitle:token_seq\na\tApple\nb\tBowl\nc\tCup\n"
    with zipfile.ZipFile(folder / "toy.zip", "w") as archive:
        archive.writestr("in/toy items.item", items)
    card = {
        "name": "toy",
        "title": "Toy",
        "role": "source",
        "about": "Made up.",
        "source": "https://example.org/toy",
        "licence": "none",
        "inputs": [
            {
                "reader": "atomic",
                "split": "own",
                "files": {"interactions": "toy/toy.inter", "items": "toy/toy.item"},
                "urls": {"interactions": f"{address}/toy.inter", "items": f"{address}/toy.zip#in/toy items.item"},
                "sha256": {
                    "interactions": hashlib.sha256(inter.encode()).hexdigest(),
                    "items": hashlib.sha256(items.encode()).hexdigest(),
                },
            }
            | changes
        ],
    }
    cards = folder.parent / "cards"
    cards.mkdir(exist_ok=True)
    (cards / "toy.yaml").write_text(yaml.safe_dump(card))
    return cards


TOY = "user_id:token\titem_id:token\ttimestamp:float\nu\ta\t1\n"


def test_fetched_files_are_there_for_prepare(site: tuple[Path, str], cache: Path) -> None:
    cards = published(*site, TOY)
    said = run("fetch", "toy", "--cards", cards)
    assert said.split("\n")[:2] == [str(cache / "raw" / "toy" / name) for name in ("toy.inter", "toy.item")]
    assert sorted(path.name for path in (cache / "raw" / "toy").iterdir()) == ["toy.inter", "toy.item"]
    assert "1 users, 3 items" in run("prepare", "toy", "--cards", cards)
    (site[0] / "toy.inter").unlink()  # what is there is not fetched again
    run("fetch", "toy", "--cards", cards)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sha256": {"interactions": "0" * 64, "items": "0" * 64}}, "toy.inter could not be fetched .*hash"),
        ({"urls": {"interactions": "{site}/none", "items": "{site}/toy.zip"}}, "404.*example.org/toy"),
        ({"urls": {"interactions": "{site}/toy.inter", "items": "{site}/toy.zip#other"}}, "no item named 'other'"),
        ({"urls": {}}, "(?s)toy: no direct download. Get it from https://example.org/toy.*toy/toy.inter, toy/toy.item"),
    ],
)
def test_what_cannot_be_fetched_says_where_to_get_it(
    site: tuple[Path, str], cache: Path, changes: dict[str, Any], says: str
) -> None:
    urls = {key: url.format(site=site[1]) for key, url in changes.get("urls", {}).items()}
    cards = published(*site, TOY, **(changes | ({"urls": urls} if "urls" in changes else {})))
    with pytest.raises(InputError, match=says):
        run("fetch", "toy", "--cards", cards)
    left = [path.name for path in cache.rglob("*") if path.is_file()]
    assert set(left) <= {"toy.inter"}
