"""Amazon 2018: the recipe on small files in the raw format, and its memory on one of Home's size."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.errors import InputError
from benchmark.prepare.amazon2018 import clean, prepare_amazon2018

DAY = 86400
USERS = [f"A{user}" for user in range(5)]
ITEMS = [f"B{item}" for item in range(5)]


def ratings() -> list[str]:
    """Five users took each of five items once; user and item order is not that of the ids."""
    return [
        f"{item},{user},{1 + number % 5}.0,{DAY * (number % 3)}"
        for user in reversed(USERS)
        for number, item in enumerate(reversed(ITEMS))
    ]


def metadata() -> list[dict[str, Any]]:
    return [{"asin": item, "title": f"Thing {item}", "category": ["Home", "Lamps"], "brand": "Acme"} for item in ITEMS]


def raw_files(folder: Path, lines: list[str], products: list[dict[str, Any]]) -> tuple[Path, Path]:
    (folder / "ratings.csv").write_text("".join(f"{line}\n" for line in lines))
    with gzip.open(folder / "meta.json.gz", "wt") as file:
        file.writelines(json.dumps(product) + "\n" for product in products)
    return folder / "ratings.csv", folder / "meta.json.gz"


def test_sequences_are_in_time_and_ties_by_hash_of_user_item_and_raw_line(tmp_path: Path) -> None:
    domain = prepare_amazon2018(*raw_files(tmp_path, ratings(), metadata()), name="x")
    assert (domain.user_ids, domain.item_ids) == (tuple(USERS), tuple(ITEMS))
    expected = sorted(
        (line.split(",") for line in ratings() if ",A2," in line),
        key=lambda found: (
            int(found[3]),
            hashlib.sha256(f"{found[1]}\x1f{found[0]}\x1f{','.join(found)}".encode()).digest(),
        ),
    )
    assert [ITEMS[item] for item in domain.sequences[2]] == [found[0] for found in expected]
    assert domain.timestamps is not None
    assert domain.timestamps[10:15].tolist() == [0, 0, DAY, DAY, 2 * DAY]


def test_the_order_of_lines_changes_nothing(tmp_path: Path) -> None:
    lines = ratings()
    fingerprints = set()
    for shuffle in (lines, lines[::-1], [lines[row] for row in np.random.default_rng(1).permutation(len(lines))]):
        fingerprints.add(prepare_amazon2018(*raw_files(tmp_path, shuffle, metadata()), name="x").fingerprint)
    path = tmp_path / "ratings.csv"
    (tmp_path / "ratings.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    fingerprints.add(prepare_amazon2018(tmp_path / "ratings.csv.gz", tmp_path / "meta.json.gz", name="x").fingerprint)
    assert len(fingerprints) == 1


def test_only_exact_repeats_collapse(tmp_path: Path) -> None:
    lines = ratings()
    extra = [lines[0], lines[0].replace(".0,", ".5,"), lines[0] + "0"]
    same = prepare_amazon2018(*raw_files(tmp_path, lines + [lines[0]] * 3, metadata()), name="x")
    more = prepare_amazon2018(*raw_files(tmp_path, lines + extra, metadata()), name="x")
    assert (same.n_interactions, more.n_interactions) == (25, 26 if lines[0].endswith(",0") else 27)


def test_repeats_do_not_hold_a_user_in_the_core(tmp_path: Path) -> None:
    # A9 has four distinct ratings and one of them twice: below the core once repeats collapse.
    lines = ratings() + [f"{item},A9,5.0,7" for item in [*ITEMS[:4], ITEMS[3]]]
    assert "A9" not in prepare_amazon2018(*raw_files(tmp_path, lines, metadata()), name="x").user_ids


def test_items_without_metadata_do_not_count_for_the_core(tmp_path: Path) -> None:
    # B9 is popular but unknown; A9 took it and four known items, so A9 goes with it.
    lines = ratings() + [f"B9,{user},5.0,7" for user in USERS] + [f"{item},A9,5.0,7" for item in [*ITEMS[:4], "B9"]]
    domain = prepare_amazon2018(*raw_files(tmp_path, lines, metadata()), name="x")
    assert (domain.item_ids, domain.user_ids) == (tuple(ITEMS), tuple(USERS))
    known = [*metadata(), {"asin": "B9"}]
    domain = prepare_amazon2018(*raw_files(tmp_path, lines, known), name="x")
    assert domain.item_ids[-1] == "B9"
    assert domain.texts[-1] == ""


def test_text_is_title_category_and_brand_of_the_first_line_of_an_item(tmp_path: Path) -> None:
    products = [*metadata(), {"asin": "B0", "title": "later"}]
    products[1] = {"asin": "B1", "title": "Half &amp; half...", "brand": "", "description": "unused"}
    domain = prepare_amazon2018(*raw_files(tmp_path, ratings(), products), name="x")
    assert domain.texts[:2] == ("Thing B0. Home Lamps. Acme.", "Half & half. .")
    assert domain.taxonomy is not None
    assert domain.taxonomy[:2] == (("Home", "Lamps", "brand: Acme"), ())


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("A lamp", "A lamp."),
        ("A lamp...", "A lamp."),
        ("", "."),
        (["Home", "Caf&eacute; &amp; bar"], "Home Café & bar."),
        ('12" wide\r\nlamp', "12 widelamp."),
        ({"a": 1}, "{'a': 1}."),
        ("x" * 1998, "x" * 1998 + "."),
        ("x" * 1999, ""),
    ],
)
def test_a_field_is_cleaned(raw: Any, text: str) -> None:
    assert clean(raw) == text


@pytest.mark.parametrize(
    "line",
    ["B0,A0,5.0", "B0,A0,5.0,soon", "B0,A0,good,1", "B0,A0,nan,1", "B0,A0,5.0,", "B0,,5.0,1", "a,b,5.0,1,x", "x"],
)
def test_a_malformed_rating_names_file_and_line(tmp_path: Path, line: str) -> None:
    lines = ratings()
    lines.insert(7, line)
    with pytest.raises(InputError, match=r"ratings.csv:8: expected 'item,user,rating,time'"):
        prepare_amazon2018(*raw_files(tmp_path, lines, metadata()), name="x")


def test_broken_files_are_input_errors(tmp_path: Path) -> None:
    csv, meta = raw_files(tmp_path, ratings(), metadata())
    for content, says in (
        (b'{"asin": "B0"}\n{"asin"\n', "meta.json.gz:2: not JSON"),
        (b'{"asin": "B0"}\n[]\n', "meta.json.gz:2: expected one product"),
        (b'{"title": "no id"}\n', "meta.json.gz:1: no 'asin'"),
        (b'{"asin": "B0", "title": "a \\ud83d"}\n', "meta.json.gz:1: half of a character"),
        (b'{"asin": "B0", "category": ["\\udead"]}\n', "meta.json.gz:1: half of a character"),
        (b"\n".join([b'{"asin": "B0"}', b"[" * 100_000]), "meta.json.gz:2: not JSON"),
        (b'{"asin": "other"}\n', "no user and item with metadata"),
    ):
        meta.write_bytes(gzip.compress(content))
        with pytest.raises(InputError, match=says):
            prepare_amazon2018(csv, meta, name="x")
    csv.write_text("")
    with pytest.raises(InputError, match="not a ratings file"):
        prepare_amazon2018(csv, meta, name="x")


def home_like(folder: Path, n: int) -> tuple[Path, Path]:
    """Raw files with ``n`` ratings in the proportions of Home: 0.45 users and 0.06 items a rating, skewed."""
    rng = np.random.default_rng(0)
    users, items = int(0.45 * n), int(0.06 * n)
    csv, meta = folder / "ratings.csv", folder / "meta.json.gz"
    with csv.open("w") as file:
        for start in range(0, n, 1_000_000):
            size = min(1_000_000, n - start)
            columns = (
                (items * rng.random(size) ** 3).astype(np.int64).tolist(),
                (users * rng.random(size) ** 3).astype(np.int64).tolist(),
                rng.integers(1, 6, size).tolist(),
                rng.integers(15_000, 17_800, size).tolist(),
            )
            rows = zip(*columns, strict=True)
            file.writelines(f"B{item:09X},A{user:013X},{score}.0,{DAY * day}\n" for item, user, score, day in rows)
    with gzip.open(meta, "wt", compresslevel=1) as file:
        for item in range(items):
            product = {"title": f"Thing number {item}", "category": ["Home", f"C{item % 97}"], "asin": f"B{item:09X}"}
            file.write(json.dumps(product) + "\n")
    return csv, meta


MEASURE = """
import resource, sys
from pathlib import Path
from benchmark.prepare.amazon2018 import prepare_amazon2018
domain = prepare_amazon2018(Path(sys.argv[1]), Path(sys.argv[2]), name="home")
print(domain.n_interactions, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def peak_memory(csv: Path, meta: Path) -> tuple[int, int]:
    """Interactions prepared and peak bytes, in a process of its own."""
    command = [sys.executable, "-c", MEASURE, str(csv), str(meta)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True)
    interactions, peak = map(int, done.stdout.split())
    return interactions, peak


@pytest.mark.soak
def test_a_file_of_home_s_size_stays_below_eight_gigabytes(tmp_path: Path) -> None:
    csv, meta = home_like(tmp_path, 21_900_000)
    interactions, peak = peak_memory(csv, meta)
    csv.unlink()
    assert interactions > 5_000_000
    assert peak < 8e9, f"{peak / 1e9:.1f} GB"
