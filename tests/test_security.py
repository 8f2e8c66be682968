"""Input is hostile: what is read neither runs nor leads out of a folder nor comes unchecked nor grows without end."""

from __future__ import annotations

import ast
import gzip
import json
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from results_tree import make_job, make_key, planned, store_context, store_run
from safetensors.torch import save_file

from benchmark import checkpoint, cli, encode, files, pretrain, store, strict
from benchmark.cards import load_card
from benchmark.domain import Domain, Sequences
from benchmark.errors import InputError
from benchmark.formats import lines, read_atomic, read_tables, write_atomic, write_unisrec
from benchmark.language_model import MODEL_FILES
from benchmark.method import load_plugin
from benchmark.prepare import fetch
from benchmark.prepare.amazon2018 import prepare_amazon2018
from benchmark.prepare.online_retail import prepare_online_retail
from benchmark.report.compare import compare
from benchmark.report.leaderboard import write_report
from benchmark.report.stored import stored
from benchmark.suite import load_suite
from benchmark.verify import verify

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for package in ("benchmark", "baselines", "unisrec") for path in (ROOT / package).rglob("*.py"))

# --- what the code may not do ---

FORBIDDEN = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.unsafe_load", "yaml.full_load", "input"),
    *(
        "pickle",
        "cPickle",
        "dill",
        "joblib",
        "shelve",
        "marshal",
        "cloudpickle",
        "requests",
        "urllib",
        "socket",
        "ftplib",
    ),
    *(
        "torch.load",
        "torch.save",
        "pd.read_pickle",
        "pandas.read_pickle",
        "np.fromregex",
        "tarfile",
        "shutil.unpack_archive",
    ),
    *("subprocess", "importlib", "pooch", "zipfile", "yaml.load", "np.load", "snapshot_download", "gzip.open"),
    *("extractall", "to_pickle", "read_pickle", "from_pretrained", "trust_remote_code"),
}
ALLOWED = {
    ("benchmark/environment.py", "subprocess"),  # this interpreter, to see whether it starts with jemalloc
    ("benchmark/machine.py", "subprocess"),  # git, with fixed arguments
    ("benchmark/method.py", "importlib"),  # the packages of the suite, installed ones and --plugin
    ("benchmark/recbole_compat.py", "importlib"),  # recbole and its modules
    ("benchmark/ray_workers.py", "importlib"),  # ray
    ("benchmark/ray_workers.py", "socket"),  # whether anybody answers at --address
    ("benchmark/parallel.py", "importlib"),  # a module of torch
    ("benchmark/language_model.py", "importlib"),  # importlib.metadata
    ("benchmark/prepare/fetch.py", "pooch"),  # what comes is hashed
    ("benchmark/prepare/fetch.py", "zipfile"),  # one named member, of a bounded size, to a name of the card's
    ("benchmark/prepare/online_retail.py", "zipfile"),  # looks at sizes
    ("benchmark/strict.py", "yaml.load"),  # by a SafeLoader
    ("benchmark/recbole_compat.py", "yaml.load"),  # likewise, of RecBole's own files
    ("benchmark/encode.py", "np.load"),  # allow_pickle=False
    ("benchmark/language_model.py", "snapshot_download"),  # safetensors and texts alone
    ("benchmark/language_model.py", "from_pretrained"),  # safetensors, no remote code
    ("benchmark/formats/lines.py", "gzip.open"),  # counts what comes out
    ("benchmark/language_model.py", "trust_remote_code"),  # False
}


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _uses(tree: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Every module that is imported, whole and by its first part, and every function that is called."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.Call):
            name = _dotted(node.func)
            last = [node.func.attr] if isinstance(node.func, ast.Attribute) and node.func.attr not in BUILT_IN else []
            names = [name, *last, *(keyword.arg or "" for keyword in node.keywords)]
        for name in names:
            yield name, node
            yield name.partition(".")[0], node


BUILT_IN = {"eval", "compile", "load", "save"}
"""Names of methods of other things too: ``model.eval()``, ``re.compile``."""


def _forbidden(tree: ast.AST) -> set[str]:
    return {name for name, _ in _uses(tree) if name in FORBIDDEN}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_does_what_is_forbidden_unless_it_is_listed(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    found = {(name, what) for what in _forbidden(ast.parse(path.read_text(encoding="utf-8")))}
    assert found <= ALLOWED


def test_what_is_allowed_is_used() -> None:
    found = {
        (str(path.relative_to(ROOT)), what)
        for path in SOURCES
        for what in _forbidden(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found >= ALLOWED


@pytest.mark.parametrize(
    "line",
    [
        *("import pickle", "from pickle import loads", "eval('1')", "exec('x')", "torch.load(path)", "x.to_pickle(p)"),
        *("import os\nos.system('x')", "from torch import load\ntorch.load(f)", "yaml.unsafe_load(x)", "np.load(p)"),
        *("z.extractall()", "from subprocess import run", "import urllib.request", "__import__('x')"),
    ],
)
def test_the_scan_would_tell(line: str) -> None:
    assert _forbidden(ast.parse(line))


def test_the_calls_that_are_allowed_are_made_as_the_list_says() -> None:
    def keywords(path: str, function: str) -> list[dict[str | None, Any]]:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        return [
            {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and _dotted(node.func).endswith(function)
        ]

    assert [found.get("allow_pickle") for found in keywords("benchmark/encode.py", "np.load")] == [False]
    models = keywords("benchmark/language_model.py", "from_pretrained")
    assert [found.get("trust_remote_code") for found in models] == [False, False]
    assert [found.get("use_safetensors") for found in models] == [None, True]
    assert set(MODEL_FILES) == {"*.safetensors", "*.json", "*.txt", "*.model"}
    for path in ("benchmark/strict.py", "benchmark/recbole_compat.py"):
        text = (ROOT / path).read_text(encoding="utf-8")
        assert "class _SafeLoader(yaml.SafeLoader)" in text
        assert text.count("yaml.load(") == 1
        assert ", _SafeLoader)" in text


# --- names that lead elsewhere ---

ESCAPES = (
    "../out",
    "../../out",
    "/tmp/out",
    "a/../../out",
    ".",
    "..",
    "a/b",
    "a\\b",
    "",
    "x\n",
    "~/x",
    "\x1b[2J",
    "x" * 300,
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory deep in another, and a cache in it."""
    folder = tmp_path / "a" / "b" / "c"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TRANSREC_CACHE", str(folder / "cache"))
    (folder / "x.csv").write_text("user,item,timestamp\n" + "".join(f"u,{i},{t}\n" for t, i in enumerate("aba")))
    (folder / "items.csv").write_text("item,text\na,Apple\nb,Bowl\n")
    return folder


def command(*arguments: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """Exit code and what is said on stderr."""
    monkeypatch.setattr(sys, "argv", ["transrec", *arguments])
    with pytest.raises(SystemExit) as leaving:
        cli.main()
    code = leaving.value.code
    return (code if isinstance(code, int) else int(code is not None)), capsys.readouterr().err


COMMANDS: dict[str, list[str]] = {
    "report": ["report", "{}"],
    "run": ["run", "{}", "--dry-run"],
    "pretrain": ["pretrain", "{}"],
    "compare": ["compare", "SASRec", "UniSRec_t", "--suite", "{}"],
    "compare target": ["compare", "SASRec", "UniSRec_t", "--suite", "small", "--target", "{}"],
    "compare row": ["compare", "{}", "UniSRec_t", "--suite", "small"],
    "targets": ["run", "demo", "--dry-run", "--targets", "{}"],
    "methods": ["run", "demo", "--dry-run", "--methods", "{}"],
    "recbole": ["run", "demo", "--dry-run", "--methods", "recbole:{}"],
    "plugin": ["list", "methods", "--plugin", "{}:X"],
    "import": ["data", "import", "{}", "--interactions", "x.csv", "--items", "items.csv"],
    "prepare": ["data", "prepare", "{}"],
    "show": ["data", "show", "{}"],
    "fetch": ["data", "fetch", "{}"],
    "data verify": ["data", "verify", "{}"],
}


@pytest.mark.parametrize("names", [ESCAPES[:1], pytest.param(ESCAPES, marks=pytest.mark.soak)], ids=["one", "all"])
@pytest.mark.parametrize("what", COMMANDS)
def test_no_name_leads_out_of_its_folder(
    what: str, names: tuple[str, ...], home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    results = home / "results"
    store_run(results, make_job(), [0, 1, 2, 3, 4, 5])
    store_context(results)
    store.write_plan(results, "small", [planned(make_job())])
    # what an escape would find
    for place in (home.parent, home.parents[1]):
        (place / "out").mkdir()
        (place / "out" / "suite.json").write_bytes((results / "small" / "suite.json").read_bytes())
        (place / "out.yaml").write_text("name: out\nabout: x\ntargets: [demo-garden]\nmethods: [Popularity]\n")

    def outside() -> list[str]:
        return sorted(str(path) for path in home.parents[1].rglob("*") if home not in (path, *path.parents))

    before = outside()
    for name in names:
        arguments = [argument.format(name) for argument in COMMANDS[what]]
        if name in ("", "x\n") and what in ("targets", "methods", "compare target", "compare", "recbole"):
            continue  # as good as not given
        code, said = command(*arguments, capsys=capsys, monkeypatch=monkeypatch)
        assert code == 2, (name, said)
        assert "Traceback" not in said
        assert "\x1b[2J" not in said
    assert outside() == before
    assert not (home / "reports").exists()


def test_a_plan_can_not_send_a_report_elsewhere(tmp_path: Path) -> None:
    store_run(tmp_path / "results", make_job(), [0, 1, 2, 3, 4, 5])
    store_context(tmp_path / "results")
    path = store.write_plan(tmp_path / "results", "small", [planned(make_job())])
    content = json.loads(path.read_text())
    content["jobs"][0]["target"] = "../../../../out"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"suite.json: jobs.0.target: String should match"):
        write_report("small", tmp_path / "results", tmp_path / "reports")
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize(
    "change", [{"target": "../out"}, {"suite": "a/b"}, {"seed": -1}, {"target": "failed"}, {"track": "../x"}]
)
def test_records_and_failures_name_nothing_outside(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = store_run(tmp_path, make_job(), [0, 1, 2, 3, 4, 5])
    failed = store.write_failure(tmp_path, make_job("FDSA"), make_key(make_job("FDSA"))[0], "no reason")
    for path in (folder / "record.json", failed):
        content = json.loads(path.read_text())
        content["job"] |= change
        path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="record.json"):
        store.read_run(folder)
    with pytest.raises(InputError, match="FDSA"):
        store.read_failures(tmp_path, "small")
    assert verify(tmp_path)


CARD: dict[str, Any] = {
    "name": "mine",
    "title": "Mine",
    "role": "source",
    "about": "x",
    "source": "x",
    "licence": "x",
    "inputs": [{"reader": "atomic", "split": "own", "files": {"interactions": "m.inter", "items": "m.item"}}],
}


def card(folder: Path, **changes: Any) -> Path:
    path = folder / "mine.yaml"
    inputs = {key: changes.pop(key) for key in ("files", "urls", "sha256", "expect") if key in changes}
    path.write_text(yaml.safe_dump(CARD | {"inputs": [CARD["inputs"][0] | inputs]} | changes))
    return path


@pytest.mark.parametrize("name", ESCAPES)
def test_cards_name_nothing_outside(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="mine.yaml: key 'name'"):
        load_card(card(tmp_path, name=name))
    with pytest.raises(InputError, match="mine.yaml: key 'aliases.0'"):
        load_card(card(tmp_path, aliases=[name]))
    if name in ("../out", "../../out", "/tmp/out", "a/../../out", "..", "", "x\n", "\x1b[2J"):
        with pytest.raises(InputError, match="mine.yaml: key 'inputs.0.atomic.files.items'"):
            load_card(card(tmp_path, files={"interactions": "m.inter", "items": name}))


@pytest.mark.parametrize("name", ["../out", "a/b", "/tmp/out", "..", ""])
def test_files_of_a_domain_stay_in_their_folder(tmp_path: Path, name: str) -> None:
    domain = Domain(name=name, sequences=Sequences.of([[0, 0, 0]]), item_ids=("a",), user_ids=("u",), texts=("A",))
    for write in (write_atomic, write_unisrec):
        with pytest.raises(InputError, match="can't be that of a file"):
            write(domain, tmp_path / "in")
    assert not list(tmp_path.rglob("*.i*"))


def test_a_folder_of_cards_may_hold_markup_and_commands_of_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    card(tmp_path, title="[/x] \x1b[2J", licence="[link=x]y")
    monkeypatch.setattr(sys, "argv", ["transrec", "list", "datasets", "--cards", str(tmp_path)])
    with pytest.raises(SystemExit) as leaving:
        cli.main()
    said = capsys.readouterr().out
    assert not leaving.value.code
    assert "[/x]" in said
    assert "\x1b" not in said


@pytest.mark.parametrize("name", ["..x:Y", "a/b:Y", "x", ":Y", "os.path:join.x", "../x:Y"])
def test_a_plugin_is_a_module_not_a_path(name: str) -> None:
    with pytest.raises(InputError, match="expected module:Name"):
        load_plugin(name)


def test_what_lies_in_the_working_directory_is_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "colorsys.py").write_text("raise SystemExit('taken over')\n")
    (tmp_path / "mine_of_a_test.py").write_text("import colorsys\nX = ()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    assert load_plugin("mine_of_a_test:X") == ()


# --- what comes from afar ---


@pytest.mark.parametrize("url", ["http://example.org/m", "file:///etc/passwd", "ftp://example.org/m", "doi:10/x", "m"])
def test_an_address_is_https_unless_the_card_knows_the_hash(tmp_path: Path, url: str) -> None:
    with pytest.raises(InputError, match="the address of 'items' must begin with https://"):
        load_card(card(tmp_path, urls={"items": url}))
    known = {"items": "0" * 64}
    if url.startswith("http:"):
        assert load_card(card(tmp_path, urls={"items": url}, sha256=known)).inputs[0].urls
    else:
        with pytest.raises(InputError, match="must begin with https://"):
            load_card(card(tmp_path, urls={"items": url}, sha256=known))


def fetched(content: bytes) -> Callable[..., None]:
    def retrieve(url: str, known: str | None, fname: str, path: Path) -> None:
        (Path(path) / fname).write_bytes(content)

    return retrieve


@pytest.mark.parametrize("name", ["m.inter", "m.inter.gz"])
def test_what_is_fetched_is_what_the_card_knows_also_when_it_is_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    import pooch

    content = gzip.compress(b"content") if name.endswith(".gz") else b"content"
    urls = {"interactions": f"https://example.org/{name}", "items": "https://example.org/m.item"}
    where = {"interactions": name, "items": "m.item"}
    known = load_card(card(tmp_path, files=where, urls=urls, sha256={"interactions": "1" * 64}))
    monkeypatch.setattr(pooch, "retrieve", fetched(content))
    with pytest.raises(InputError, match="hash of the content is ed7002b439e9ac84.*, the card has 1111"):
        fetch.fetch(known, tmp_path / "raw", print)
    assert not [path for path in (tmp_path / "raw").rglob("*") if path.is_file()]


def test_of_an_archive_one_member_is_taken_and_nothing_of_its_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pooch

    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("../../evil", "evil")
        file.writestr("bomb", b"0" * 2_000_000)
    monkeypatch.setattr(pooch, "retrieve", fetched(archive.read_bytes()))
    urls = {"interactions": "https://example.org/a.zip#../../evil", "items": "https://example.org/a.zip#bomb"}
    known = load_card(card(tmp_path, urls=urls))
    monkeypatch.setattr(fetch, "PACKED_SMALL", 1000)
    with pytest.raises(InputError, match="'bomb' unpacks to 2,000,000 bytes"):
        fetch.fetch(known, tmp_path / "raw", print)
    assert [path.name for path in (tmp_path / "raw").rglob("*")] == ["m.inter"]
    assert not (tmp_path.parent / "evil").exists()


# --- what grows without end ---


def test_a_packed_file_that_unpacks_without_end_is_refused_in_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "PACKED_SMALL", 1 << 16)
    (tmp_path / "x.inter.gz").write_bytes(gzip.compress(b"u\ta\t1\n" * 1_000_000))
    (tmp_path / "x.item").write_text("item_id:token\ttitle:token_seq\na\tApple\n")
    for read in (lines.read_bytes, lines.sha256_of, lambda path: list(lines.read_lines(path))):
        with pytest.raises(InputError, match="x.inter.gz: unpacks to more than 200 times its size"):
            read(tmp_path / "x.inter.gz")
    ratings = tmp_path / "r.csv.gz"
    ratings.write_bytes(gzip.compress(b"B,A,5.0,0\n" * 1_000_000))
    with pytest.raises(InputError, match="r.csv.gz: unpacks to more than 200 times its size"):
        prepare_amazon2018(ratings, tmp_path / "none", name="x")


def test_a_line_without_end_and_a_file_too_large_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 100)
    monkeypatch.setattr(lines, "WHOLE_FILE", 1000)
    path = tmp_path / "x"
    path.write_text("x\n" + "y" * 100 + "\n")
    with pytest.raises(InputError, match="x:2: a line of more than 100 bytes"):
        list(lines.read_lines(path))
    path.write_text("y" * 99 + "\n" + "z" * 1001)
    with pytest.raises(InputError, match="x: more than 1,000 bytes"):
        lines.read_bytes(path)


def test_aliases_that_multiply_are_refused_and_a_few_are_not(tmp_path: Path) -> None:
    levels = [
        f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    bomb = tmp_path / "bomb.yaml"
    bomb.write_text("\n".join(["a: &a [x, x]", *levels]))
    with pytest.raises(InputError, match="bomb.yaml:.*more than 100,000 values"):
        strict.load_yaml(bomb)
    bomb.write_text("&a [*a]")
    with pytest.raises(InputError, match="more than 100,000 values"):
        strict.load_yaml(bomb)
    bomb.write_text("\n".join(["a: &a [x, x]", *levels[:2]]))
    assert strict.load_yaml(bomb)["c"][9][9] == ["x", "x"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\na: 2\n", "occurs twice"),
        ("a: .nan\n", "no finite number"),
        ("a: [.inf]\n", "no finite number"),
        ("a: !!python/object/apply:os.system [x]\n", "could not determine a constructor"),
        ("[" * 5000, "not valid YAML"),
        ("a: " + "9" * 5000, "not valid YAML"),
        ("x" * (strict.LARGEST + 1), "more than 1,048,576 bytes"),
    ],
)
def test_yaml_is_plain_and_small(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(InputError, match=f"x.yaml.*{says}"):
        strict.load_yaml(tmp_path / "x.yaml")


def test_a_million_seeds_are_none(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(
        "name: x\nabout: x\ntargets: [demo-garden]\nmethods: [Popularity]\nseeds: 1000000\n"
    )
    with pytest.raises(InputError, match="x.yaml: key 'seeds'"):
        load_suite(str(tmp_path / "x.yaml"))


@pytest.mark.parametrize(
    "text",
    [
        *("NaN", "[Infinity]", '{"a": -Infinity}', "1e999", '{"a": 1, "a": 1}', "[" * 100_000, "9" * 5000, ""),
        *("{", "\ufeff{}", '{"a": {"b": 1, "b": 2}}'),
    ],
)
def test_json_is_as_the_standard_has_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="."):
        files.read_json(tmp_path / "x.json")


def test_a_key_of_a_record_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    folder = store_run(tmp_path, make_job(), [0, 1, 2, 3, 4, 5])
    path = folder / "record.json"
    path.write_text(path.read_text().replace('"commit": null', '"commit": "x", "commit": null'))
    with pytest.raises(InputError, match="record.json: not JSON .the key 'commit' occurs twice"):
        store.read_run(folder)


def test_parquet_of_results_is_looked_at_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_ROWS", 1000)
    path = tmp_path / "x.parquet"
    columns = {"a": pa.int32()}
    pq.write_table(pa.table({"a": pa.array(np.zeros(1001, np.int32))}), path)
    with pytest.raises(InputError, match="x.parquet: more than 1,000 rows"):
        files.read_table(path, columns)
    pq.write_table(pa.table({"a": pa.array([None], pa.int32())}), path)
    with pytest.raises(InputError, match="empty cells"):
        files.read_table(path, columns)


def npy(header: str, body: bytes = b"") -> bytes:
    text = f"{header}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body


@pytest.mark.parametrize(
    "content",
    [
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 256)}"),
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (2,)}", b"cos\nsystem\n"),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,"),
        npy("__import__('os')"),
        b"PK\x05\x06" + bytes(18),  # an empty archive: np.load would take it
        b"cos\nsystem\n(S'x'\ntR.",
        b"",
    ],
)
def test_an_encoder_cache_that_lies_is_made_again(tmp_path: Path, content: bytes) -> None:
    texts = ("An apple", "A bowl")
    first = encode.encode(texts, "hash", tmp_path)
    (path,) = tmp_path.glob("*.npy")
    path.unlink()
    path.write_bytes(content)
    assert encode.cached(texts, "hash", tmp_path) is None
    assert encode.encode(texts, "hash", tmp_path).sha256 == first.sha256


@pytest.mark.parametrize("about", ["[]", "null", "[" * 5000, '{"key": NaN}', "1e999", '{"key": 1, "key": 2}'])
def test_weights_whose_description_is_none_are_refused(tmp_path: Path, about: str) -> None:
    path = tmp_path / "UniSRec-1-0.safetensors"
    save_file({"w": torch.zeros(2)}, path, metadata={"about": about})
    assert checkpoint.load_tensors(path) is None
    with pytest.raises(InputError, match="not the pre-trained weights of key"):
        pretrain.load(path, "0" * 64)
    results = tmp_path / "results"
    (results / "small" / "artefacts").mkdir(parents=True)
    path.rename(results / "small" / "artefacts" / path.name)
    assert any("not an artefact" in problem for problem in verify(results))


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    checkpoint.save_tensors(tmp_path / "a.safetensors", {"w": torch.tensor([torch.nan])}, {"key": "k"})
    with pytest.raises(InputError, match="not finite"):
        pretrain.load(tmp_path / "a.safetensors", "k")


def test_an_artefact_without_its_key_is_a_problem_not_a_traceback(tmp_path: Path) -> None:
    folder = tmp_path / "small" / "artefacts"
    checkpoint.save_tensors(folder / "x-1-0.safetensors", {"w": torch.zeros(1)}, {"key_parts": {}})
    assert any("not an artefact" in problem for problem in verify(tmp_path))


# --- what is nothing of the kind ---


def test_a_nul_is_no_character_of_a_text_file(tmp_path: Path) -> None:
    (tmp_path / "x.item").write_text("item_id:token\ttitle:token_seq\na\0\tApple\n")
    (tmp_path / "x.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\nu\ta\t1\n")
    with pytest.raises(InputError, match="x.item:2: holds a NUL"):
        read_atomic(tmp_path / "x.inter", tmp_path / "x.item", name="x")


def test_an_id_that_ends_in_a_nul_is_not_taken_for_another(tmp_path: Path) -> None:
    rows = [(f"A{user}", f"B{item}") for user in range(5) for item in range(5)]
    (tmp_path / "r.csv").write_text("".join(f"{item},{user}\0,1.0,0\n" for user, item in rows))
    (tmp_path / "m.json").write_text(
        "".join(json.dumps({"asin": f"B{item}", "title": "x"}) + "\n" for item in range(5))
    )
    with pytest.raises(InputError, match="r.csv:1: holds a NUL"):
        prepare_amazon2018(tmp_path / "r.csv", tmp_path / "m.json", name="x")
    header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,CustomerID\n"
    (tmp_path / "or.csv").write_text(header + "".join(f"{u},{i}\0,x,1,2010-12-01 08:26:00,\n" for u, i in rows))
    with pytest.raises(InputError, match="or.csv:2: holds a NUL"):
        prepare_online_retail(tmp_path / "or.csv", name="x")


@pytest.mark.parametrize("time", [str(2**60), "9" * 400, "1_0", "٣"])
def test_what_is_no_time_is_refused(tmp_path: Path, time: str) -> None:
    (tmp_path / "x.csv").write_text(f"user,item,timestamp\nu,a,{time}\n", encoding="utf-8")
    (tmp_path / "items.csv").write_text("item,text\na,Apple\n")
    with pytest.raises(InputError, match="x.csv:2: the timestamp"):
        read_tables(tmp_path / "x.csv", tmp_path / "items.csv", name="x")
    (tmp_path / "r.csv").write_text(f"B,A,1.0,{time}\n" * 2, encoding="utf-8")
    with pytest.raises(InputError, match="r.csv"):
        prepare_amazon2018(tmp_path / "r.csv", tmp_path / "m.json", name="x")


@pytest.mark.parametrize("kind", [pa.list_(pa.int8()), pa.binary(), pa.struct([("a", pa.int8())])])
def test_a_column_of_bytes_or_lists_is_no_column_of_ids(tmp_path: Path, kind: pa.DataType) -> None:
    values = {"list": [[1]], "binary": [b"u"], "struct": [{"a": 1}]}[str(kind).partition("<")[0]]
    table = pa.table({"user": pa.array(values, kind), "item": ["a"], "timestamp": [1]})
    pq.write_table(table, tmp_path / "x.parquet")
    (tmp_path / "items.csv").write_text("item,text\na,Apple\n")
    with pytest.raises(InputError, match="x.parquet: column 'user' is of type"):
        read_tables(tmp_path / "x.parquet", tmp_path / "items.csv", name="x")


def test_a_workbook_says_a_date_where_a_text_belongs_and_ends_where_excel_does(tmp_path: Path) -> None:
    from datetime import datetime

    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    sheet.append(["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "CustomerID"])
    for user in range(5):
        for item in range(5):
            sheet.append([user, item, datetime(2010, 12, 1), 1, datetime(2010, 12, 1), None])
    book.save(tmp_path / "or.xlsx")
    assert prepare_online_retail(tmp_path / "or.xlsx", name="x").texts[0] == "2010-12-01 00:00:00."
    far = tmp_path / "far.xlsx"
    with zipfile.ZipFile(tmp_path / "or.xlsx") as whole, zipfile.ZipFile(far, "w") as changed:
        for name in whole.namelist():
            changed.writestr(name, whole.read(name).replace(b'<row r="26"', b'<row r="99999999999"'))
    with pytest.raises(InputError, match="far.xlsx:1027: not an xlsx workbook .1000 empty lines"):
        prepare_online_retail(far, name="x")


def test_a_context_that_does_not_fit_the_runs_is_not_used(tmp_path: Path) -> None:
    for method, shift in (("SASRec", 0), ("FDSA", 1)):
        store_run(tmp_path, make_job(method), [shift, 1, 2, 3, 4, 5])
    store_context(tmp_path)
    path = tmp_path / "small" / "toy" / "context.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(0, 4), path)
    assert stored("small", tmp_path)[0].context is None
    with pytest.raises(InputError, match="no target has both"):
        compare("small", tmp_path, "SASRec", "FDSA")
    for column, value in (("cluster", -1), ("train_count", 7)):
        values = table[column].to_pylist()
        values[0] = value
        changed = table.set_column(table.column_names.index(column), column, pa.array(values, pa.int32()))
        pq.write_table(changed.replace_schema_metadata(table.schema.metadata), path)
        with pytest.raises(InputError, match="context.parquet: counts below 0, or a cold item"):
            stored("small", tmp_path)


# --- the same through the command line ---


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", b"user,item,timestamp\nu\0,a,1\n"),
        ("x.csv", b"user,item,timestamp\n\x1b[2J,a,\x1b[31m\n"),
        ("x.csv", b"\xff\xfe"),
        ("x.csv", b'user,item,timestamp\n"u\nv,a,1\n'),
        ("x.parquet", b"PAR1"),
        ("x.inter", b"user_id:token\titem_id:token\ttimestamp:float\nu\t\x1b[2J\t1\n"),
        ("x.inter.gz", b"\x1f\x8b"),
    ],
)
def test_a_broken_file_is_one_line_and_exit_code_2(
    name: str, content: bytes, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / name).write_bytes(content)
    items = "items.csv"
    if ".inter" in name:
        (home / "x.item").write_text("item_id:token\ttitle:token_seq\na\tApple\n")
        items = "x.item"
    given = ("data", "import", "mine", "--interactions", name, "--items", items)
    code, said = command(*given, capsys=capsys, monkeypatch=monkeypatch)
    assert code == 2
    assert said.startswith(f"error: {name}")
    assert said.count("\n") == 1
    assert all(character.isprintable() for character in said[:-1])
    assert not [path for path in home.rglob("*") if path.is_file() and "cache" in path.parts and path.suffix != ".lock"]
