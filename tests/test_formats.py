"""Into and out of Domain: what a user would miss if a reader or writer changed."""

from __future__ import annotations

import gzip
import hashlib
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from benchmark.domain import Domain, Sequences
from benchmark.errors import InputError
from benchmark.formats import (
    Columns,
    lost_in_atomic,
    read_as_missing,
    read_atomic,
    read_features,
    read_tables,
    read_unisrec,
    write_atomic,
    write_features,
    write_unisrec,
)
from benchmark.formats.atomic import MISSING
from benchmark.formats.interactions import check_lengths, text_warnings, time_order

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the real data are not beside the repository")


def domain_of(rows: list[list[int]], **changes: object) -> Domain:
    n_items = 1 + max(max(row) for row in rows if row)
    fields: dict[str, object] = {
        "name": "toy",
        "sequences": Sequences.of(rows),
        "item_ids": tuple(f"i{item}" for item in range(n_items)),
        "user_ids": tuple(f"u{user}" for user in range(len(rows))),
        "texts": tuple(f"Text of {item}." for item in range(n_items)),
    }
    return Domain(**(fields | changes))  # pyright: ignore[reportArgumentType]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


# --- UniSRec's benchmark files ---


@needs_shared
def test_released_scientific_has_the_paper_s_counts_and_is_written_back_byte_for_byte(tmp_path: Path) -> None:
    domain = read_unisrec(SHARED / "Scientific" / "Scientific", "Scientific")
    assert (domain.n_users, domain.n_items, domain.n_interactions) == (8442, 4385, 59427)
    write_unisrec(domain, tmp_path)
    for suffix in ("train.inter", "valid.inter", "test.inter", "item2index", "user2index"):
        name = f"Scientific.{suffix}"
        assert (tmp_path / name).read_bytes() == (SHARED / "Scientific" / name).read_bytes(), suffix
    assert read_unisrec(tmp_path / "Scientific", "again").fingerprint == domain.fingerprint


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=70), min_size=1, max_size=6))
def test_unisrec_files_hold_whole_sequences_also_beyond_fifty_items(tmp_path: Path, rows: list[list[int]]) -> None:
    domain = domain_of(rows)
    write_unisrec(domain, tmp_path)
    assert read_unisrec(tmp_path / "toy", "toy").fingerprint == domain.fingerprint


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """A small set of benchmark files with one user of four items and one of three."""
    write_unisrec(domain_of([[0, 1, 2, 3], [3, 2, 0]]), tmp_path)
    return tmp_path / "toy"


def test_unisrec_rows_are_prefixes_longest_first(released: Path) -> None:
    header = "user_id:token\titem_id_list:token_seq\titem_id:token\n"
    train = Path(f"{released}.train.inter").read_text()
    assert train == header + "0\t0\t1\n"
    assert Path(f"{released}.valid.inter").read_text() == header + "0\t0 1\t2\n1\t3\t2\n"
    assert Path(f"{released}.test.inter").read_text() == header + "0\t0 1 2\t3\n1\t3 2\t0\n"


def test_unisrec_files_may_be_gzipped(released: Path) -> None:
    plain = read_unisrec(released, "toy")
    for path in list(released.parent.iterdir()):
        with gzip.open(f"{path}.gz", "wb") as file:
            file.write(path.read_bytes())
        path.unlink()
    assert read_unisrec(released, "toy").fingerprint == plain.fingerprint


@pytest.mark.parametrize(
    ("suffix", "old", "new", "says"),
    [
        ("train.inter", "0\t0\t1", "0\t\t1", "train.inter:2: empty sequence"),
        ("train.inter", "0\t0\t1", "0\t0", "train.inter:2: expected 3 columns"),
        ("train.inter", "0\t0\t1", "0\tx\t1", "train.inter:2: ids must be whole numbers"),
        ("train.inter", "0\t0\t1", f"0\t{'1' * 5000}\t1", "train.inter:2: ids must be whole numbers"),
        ("train.inter", "0\t0\t1", "0\t0\t١", "train.inter:2: ids must be whole numbers"),
        ("item2index", "i3\t3", f"i3\t{'3' * 5000}", "item2index:4: expected 'raw id<TAB>index'"),
        ("item2index", "i3\t3", "i3\t³", "item2index:4: expected 'raw id<TAB>index'"),
        ("train.inter", "0\t0\t1", "0\t0\t4", "train.inter:2: item 4, but the item2index file has only 4"),
        ("train.inter", "0\t0\t1", "2\t0\t1", "train.inter:2: user 2, but"),
        ("train.inter", "0\t0\t1", "0\t0 2\t1", "train.inter:2: the history does not fit"),
        ("train.inter", "item_id_list", "items", "train.inter:1: expected the header"),
        ("valid.inter", "0\t0 1\t2", "0\t1 0\t2", "valid.inter:2: the history of user 0"),
        ("valid.inter", "1\t3\t2\n", "", "valid.inter: no row of user 1"),
        ("test.inter", "1\t3 2\t0", "0\t3 2\t0", "test.inter:3: a second row of user 0"),
        ("test.inter", "1\t3 2\t0", "1\t3\t0", "test.inter:3: the history of user 1"),
        ("item2index", "i3\t3", "i3\t4", "item2index: indices must be 0 to n-1"),
        ("item2index", "i3\t3", "i3", "item2index:4: expected 'raw id<TAB>index'"),
        ("item2index", "i3\t3", "i2\t3", "item2index: a raw id occurs twice"),
        ("text", "i3\t", "i9\t", "text:5: item 'i9' is not in"),
        ("text", "i3\t", "i2\t", "text:5: a second text of item 'i2'"),
    ],
)
def test_unisrec_faults_name_file_and_line(released: Path, suffix: str, old: str, new: str, says: str) -> None:
    path = Path(f"{released}.{suffix}")
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new))
    with pytest.raises(InputError, match=f"(?s){says}"):
        read_unisrec(released, "toy")


def test_a_sequence_that_leave_one_out_cannot_split_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="user 'u1' has 2 interactions"):
        write_unisrec(domain_of([[0, 1, 2], [0, 1]]), tmp_path)
    assert not list(tmp_path.iterdir())


# --- item features ---


def test_features_round_trip_and_refuse_what_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "toy.feat1CLS"
    features = np.arange(12, dtype=np.float32).reshape(4, 3)
    write_features(path, features)
    assert path.stat().st_size == 48
    np.testing.assert_array_equal(read_features(path, 4), features)
    for n_items, width in ((5, None), (4, 4), (3, 3)):
        with pytest.raises(InputError, match="48 bytes are not"):
            read_features(path, n_items, width)
    features[2, 1] = np.nan
    features[3, 0] = np.inf
    write_features(path, features)
    with pytest.raises(InputError, match="NaN or infinity in the features of 2 items .first: row 2"):
        read_features(path, 4)
    with path.open("ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match="49 bytes"):
        read_features(path, 4)
    with pytest.raises(InputError, match="cannot be read"):
        read_features(tmp_path / "missing", 4)
    with pytest.raises(InputError, match="features of no items"):
        read_features(path, 0)


# --- RecBole atomic files ---

INTER = "user_id:token\titem_id:token\ttimestamp:float\n"
ITEM = "item_id:token\ttitle:token_seq\n"
ITEMS = ITEM + "".join(f"{name}\tThe {name} thing\n" for name in "abc")


def atomic(folder: Path, inter: str, item: str = ITEMS) -> tuple[Path, Path]:
    return write(folder / "x.inter", inter), write(folder / "x.item", item)


def test_atomic_files_are_sorted_by_time_within_each_user(tmp_path: Path) -> None:
    inter = INTER + "u\tb\t30\nv\ta\t5\nu\ta\t10.5\nu\tc\t20\n"
    domain = read_atomic(*atomic(tmp_path, inter), name="x")
    assert domain.user_ids == ("u", "v")
    assert domain.item_ids == ("a", "b", "c")
    assert [list(sequence) for sequence in domain.sequences] == [[0, 2, 1], [0]]
    assert domain.timestamps is not None
    assert domain.timestamps.tolist() == [10, 20, 30, 5]
    assert domain.texts[0] == "The a thing"
    assert read_atomic(tmp_path / "x.inter", tmp_path / "x.item", name="x", positions=True).timestamps is None


def test_order_inside_equal_times_does_not_depend_on_the_order_of_lines(tmp_path: Path) -> None:
    lines = [f"u\t{item}\t{time}\n" for time in (1, 2) for item in "abc"]
    orders = set()
    for shuffled in (lines, lines[::-1], lines[3:] + lines[:3]):
        paths = atomic(tmp_path, INTER + "".join(shuffled))
        orders.add(tuple(read_atomic(*paths, name="x").sequences[0].tolist()))
        by_line = read_atomic(*paths, name="x", ties="line-order").sequences[0].tolist()
        assert by_line[:3] == ["abc".index(line[2]) for line in shuffled if line.endswith("1\n")]
    assert len(orders) == 1
    digests = {item: hashlib.sha256(f"u\x1f{item}\x1fu\t{item}\t1".encode()).hexdigest() for item in "abc"}
    assert list(orders.pop()[:3]) == ["abc".index(item) for item in sorted("abc", key=digests.__getitem__)]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), min_size=1, max_size=9), min_size=1),
    timed=st.booleans(),
    clustered=st.booleans(),
    data=st.data(),
)
def test_atomic_files_round_trip(
    tmp_path: Path, rows: list[list[tuple[int, int]]], timed: bool, clustered: bool, data: st.DataObject
) -> None:
    times = [time for row in rows for time in sorted(pair[1] for pair in row)]
    numbers = data.draw(st.lists(st.integers(0, 2), min_size=len(rows), max_size=len(rows))) if clustered else []
    clusters = np.array([sorted(set(numbers), key=numbers.index).index(number) for number in numbers], np.int32)
    domain = domain_of(
        [[pair[0] for pair in row] for row in rows],
        timestamps=np.array(times, np.int64) if timed else None,
        clusters=clusters if clustered else None,
    )
    write_atomic(domain, tmp_path)
    again = read_atomic(
        tmp_path / "toy.inter", tmp_path / "toy.item", name="toy", ties="line-order", positions=not timed
    )
    assert again.fingerprint == domain.fingerprint


ODD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r\0"), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_atomic_files_of_any_making_round_trip(tmp_path: Path, data: st.DataObject) -> None:
    """Files -> domain -> files -> domain: odd ids, texts in any script or none, times with fractions, ties."""
    users = data.draw(st.lists(ODD, min_size=1, max_size=4, unique=True))
    items = data.draw(st.lists(ODD, min_size=1, max_size=5, unique=True))
    texts = data.draw(st.lists(ODD.map(str.strip) | st.just(""), min_size=len(items), max_size=len(items)))
    assume(any(texts))
    times = st.floats(-1e10, 1e10) | st.sampled_from([0.25, 0.5, 1e9]) | st.integers(-(2**53) + 1, 2**53 - 1)
    rows = data.draw(
        st.lists(st.tuples(st.sampled_from(users), st.sampled_from(items), times), min_size=1, max_size=12)
    )
    clusters = {user: data.draw(st.sampled_from(["", "k", "ö", "7"])) for user in users}
    lines = [f"{user}\t{item}\t{time!r}\t{clusters[user]}\n" for user, item, time in rows]
    titles = [f"{item}\t{text}\n" for item, text in zip(items, texts, strict=True)]
    paths = atomic(tmp_path, INTER.replace("\n", "\tcluster:token\n") + "".join(lines), ITEM + "".join(titles))
    domain = read_atomic(*paths, name="toy")
    assert domain.texts == tuple(texts)
    assert lost_in_atomic(domain) == []
    write_atomic(domain, tmp_path)
    again = read_atomic(tmp_path / "toy.inter", tmp_path / "toy.item", name="toy", ties="line-order")
    assert again.fingerprint == domain.fingerprint


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), min_size=2, max_size=2),
    clusters=st.none() | st.lists(st.integers(0, 2), min_size=2, max_size=2),
    attributes=st.booleans(),
    silent=st.booleans(),
)
def test_what_atomic_files_can_not_hold_is_told(
    tmp_path: Path, texts: list[str], clusters: list[int] | None, attributes: bool, silent: bool
) -> None:
    """Nothing is told exactly where the domain that is read back is the same one."""
    assume(any(text.strip() for text in texts))
    domain = domain_of(
        [[0, 1], [] if silent else [1]],
        item_ids=("a", "b"),
        texts=tuple(texts),
        clusters=None if clusters is None else np.array(clusters, np.int32),
        taxonomy=(("x",), ()) if attributes else None,
    )
    write_atomic(domain, tmp_path)
    again = read_atomic(tmp_path / "toy.inter", tmp_path / "toy.item", name="toy", ties="line-order", positions=True)
    assert (again.fingerprint == domain.fingerprint) == (lost_in_atomic(domain) == [])


def test_what_recbole_takes_for_missing_is_what_pandas_does() -> None:
    words = [*sorted(MISSING), "none", "NAN", "N.A.", "-", "0", "?"]
    found = pd.read_csv(io.StringIO("\n".join(["id", *words])), dtype={"id": str})["id"]
    assert found.isna().tolist() == [word in MISSING for word in words]
    assert read_as_missing(domain_of([[0]], item_ids=("NA",), user_ids=("nan",))) == 2
    assert read_as_missing(domain_of([[0]])) == 0


def test_only_a_line_feed_ends_a_line_and_windows_ends_are_taken_off(tmp_path: Path) -> None:
    item = "item_id:token\ttitle:token_seq\r\na\tone\u2028two\x85three\r\n"
    domain = read_atomic(*atomic(tmp_path, INTER.replace("\n", "\r\n") + "u\ta\t1\r\n", item), name="x")
    assert domain.texts == ("one\u2028two\x85three",)


def test_a_byte_order_mark_is_not_part_of_the_header(tmp_path: Path) -> None:
    inter, item = atomic(tmp_path, "\ufeff" + INTER + "u\ta\t1\n", "\ufeff" + ITEMS)
    assert read_atomic(inter, item, name="x").item_ids == ("a", "b", "c")


def test_users_without_a_cluster_are_each_their_own(tmp_path: Path) -> None:
    header = INTER.replace("\n", "\tcluster:token\n")
    rows = [("u", ""), ("v", "k"), ("w", ""), ("x", "k")]
    inter = header + "".join(f"{user}\ta\t1\t{cluster}\n" for user, cluster in rows)
    domain = read_atomic(*atomic(tmp_path, inter), name="x")
    assert domain.clusters is not None
    assert domain.clusters.tolist() == [0, 1, 2, 1]
    blank = header + "u\ta\t1\t\nv\ta\t1\t\n"
    assert read_atomic(*atomic(tmp_path, blank), name="x").clusters is None


def test_text_columns_are_joined_and_others_ignored_only_when_named(tmp_path: Path) -> None:
    item = "item_id:token\tbrand:token\ttitle:token_seq\tprice:float\na\tAcme\tA lamp\t3\n"
    paths = atomic(tmp_path, INTER + "u\ta\t1\n", item)
    with pytest.raises(InputError, match="x.item:1: unknown column 'price'"):
        read_atomic(*paths, name="x")
    assert read_atomic(*paths, name="x", text=["brand", "price"]).texts == ("Acme 3",)
    without = item.replace("\tprice:float", "").replace("\t3\n", "\n")
    assert read_atomic(*atomic(tmp_path, INTER + "u\ta\t1\n", without), name="x").texts == ("A lamp Acme",)


def test_items_nobody_took_stay_candidates_and_items_without_text_are_counted(tmp_path: Path) -> None:
    domain = read_atomic(*atomic(tmp_path, INTER + "u\ta\t1\n", ITEMS + "d\t \n"), name="x")
    assert domain.item_ids == ("a", "b", "c", "d")
    assert text_warnings(domain) == ["x: 1 of 4 items have no text"]


@pytest.mark.parametrize(
    ("inter", "item", "says"),
    [
        (INTER + "u\ta\n", ITEMS, "x.inter:2: expected 3 columns separated by tabs .*, found 2"),
        (INTER + "u\ta\t1\nu\ta\tnan\n", ITEMS, "x.inter:3: the timestamp 'nan' is not a finite number"),
        (INTER + "u\ta\tsoon\n", ITEMS, "x.inter:2: the timestamp 'soon'"),
        (INTER + "u\ta\t-1e300\n", ITEMS, "x.inter:2: the timestamp '-1e300' is not"),
        (INTER + f"u\ta\t{2**53}\n", ITEMS, "x.inter:2: the timestamp '9007199254740992' is not"),
        (INTER + f"u\ta\t{'9' * 5000}\n", ITEMS, "x.inter:2: the timestamp '9{56}... is not"),
        (INTER + "u\td\t1\n", ITEMS, "x.inter:2: item 'd' is not in .*x.item"),
        (INTER + "\ta\t1\n", ITEMS, "x.inter:2: empty user_id"),
        (INTER, ITEMS, "x.inter: no interactions"),
        ("", ITEMS, "x.inter: empty file"),
        (INTER.replace("timestamp:float", "time:float"), ITEMS, "x.inter:1: no column 'timestamp'"),
        (INTER.replace("\n", "\tmood:float\n"), ITEMS, "x.inter:1: unknown column 'mood'"),
        (INTER.replace("user_id:token", "user_id"), ITEMS, "x.inter:1: the header has no type for 'user_id'"),
        (INTER.replace("item_id", "user_id"), ITEMS, "x.inter:1: no column 'item_id'"),
        (INTER.replace("\n", "\tuser_id:token\n"), ITEMS, "x.inter:1: a column occurs twice"),
        (INTER.replace("\n", "\tcluster:token\n") + "u\ta\t1\tk\nu\ta\t2\tl\n", ITEMS, "user 'u' is in two clusters"),
        (INTER + "u\ta\t1\n", ITEM, "x.item: no items"),
        (INTER + "u\ta\t1\n", ITEMS + "a\tagain\n", "x.item:5: item 'a' occurs a second time"),
        (INTER + "u\ta\t1\n", ITEM + "a\t\nb\t \n", "x.item: no item has any text"),
        (INTER + "u\ta\t1\n", "item_id:token\na\n", "x.item: no item has any text"),
    ],
)
def test_atomic_faults_name_file_and_line(tmp_path: Path, inter: str, item: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_atomic(*atomic(tmp_path, inter, item), name="x")


def test_files_that_are_missing_truncated_or_not_utf8_are_input_errors(tmp_path: Path) -> None:
    inter, item = atomic(tmp_path, INTER + "u\ta\t1\n")
    with pytest.raises(InputError, match="no such file"):
        read_atomic(tmp_path / "y.inter", item, name="x")
    inter.write_bytes(INTER.encode() + b"u\xff\ta\t1\n")
    with pytest.raises(InputError, match="x.inter:2: not UTF-8 text; .*`iconv -f latin1 -t utf-8`"):
        read_atomic(inter, item, name="x")
    inter.write_bytes(INTER.encode("utf-16"))
    with pytest.raises(InputError, match="x.inter:1: not UTF-8 text; .*`iconv -f utf-16 -t utf-8`"):
        read_atomic(inter, item, name="x")
    inter.unlink()
    (tmp_path / "x.inter.gz").write_bytes(gzip.compress((INTER + "u\ta\t1\n" * 999).encode())[:-12])
    with pytest.raises(InputError, match="cannot be read further"):
        read_atomic(inter, item, name="x")


def test_an_id_the_format_cannot_hold_is_refused_and_tabs_in_texts_become_spaces(tmp_path: Path) -> None:
    write_atomic(domain_of([[0]], texts=("a\tb\nc",)), tmp_path)
    assert (tmp_path / "toy.item").read_text().endswith("i0\ta b c\n")
    with pytest.raises(InputError, match="holds a tab"):
        write_atomic(domain_of([[0]], user_ids=("a\tb",)), tmp_path)


@needs_shared
@pytest.mark.parametrize(("name", "counts"), [("Food", (9481, 8587, 72952)), ("Movies", (16411, 12845, 192183))])
def test_real_atomic_files_have_their_counts(name: str, counts: tuple[int, int, int]) -> None:
    folder = SHARED / name
    domain = read_atomic(folder / f"{name}.inter", folder / f"{name}.item", name=name, positions=True)
    assert (domain.n_users, domain.n_items, domain.n_interactions) == counts


# --- csv and parquet tables ---

TABLE = "user,item,timestamp\nu,a,30\nv,b,5\nu,b,10\nu,c,10\n"
CATALOGUE = "item,text\na,An apple\nb,A bowl\nc,\n"


def tables(folder: Path, interactions: str = TABLE, items: str = CATALOGUE) -> tuple[Path, Path]:
    return write(folder / "x.csv", interactions), write(folder / "items.csv", items)


def test_csv_and_parquet_give_the_same_domain(tmp_path: Path) -> None:
    paths = tables(tmp_path)
    domain = read_tables(*paths, name="x")
    assert domain.user_ids == ("u", "v")
    assert domain.sequences[0].tolist()[-1] == 0
    assert sorted(domain.sequences[0].tolist()) == [0, 1, 2]
    assert domain.texts == ("An apple", "A bowl", "")
    interactions = pd.read_csv(paths[0])
    interactions.iloc[::-1].iloc[[0, 2, 1, 3]].to_parquet(tmp_path / "x.parquet")
    pd.read_csv(paths[1]).to_parquet(tmp_path / "items.parquet")
    again = read_tables(tmp_path / "x.parquet", tmp_path / "items.parquet", name="x")
    assert again.fingerprint == domain.fingerprint
    with gzip.open(tmp_path / "x.csv.gz", "wt") as file:
        file.write(TABLE)
    assert read_tables(tmp_path / "x.csv.gz", paths[1], name="x").fingerprint == domain.fingerprint


@pytest.mark.parametrize("date", ["1970-01-02", "1970-01-02 00:00:00", "1970-01-02T01:00:00+01:00", "86400.9"])
def test_dates_and_numbers_are_seconds_since_1970(tmp_path: Path, date: str) -> None:
    domain = read_tables(*tables(tmp_path, f"user,item,timestamp\nu,a,{date}\n"), name="x")
    assert domain.timestamps is not None
    assert domain.timestamps.tolist() == [86400]


@pytest.mark.parametrize("form", ["number", "date", "parquet"])
def test_what_happens_within_one_second_keeps_its_order(tmp_path: Path, form: str) -> None:
    items = [f"i{number}" for number in range(5)]
    paths = tables(tmp_path, "", "item,text\n" + "".join(f"{item},Text\n" for item in items))
    clicks = [(f"2020-01-01T00:00:00.{n}", item) for n, item in enumerate(items)][::-1]
    frame = pd.DataFrame({"user": "u", "item": [i for _, i in clicks], "timestamp": [time for time, _ in clicks]})
    if form == "number":
        frame["timestamp"] = [f"1577836800.{time[-1]}" for time, _ in clicks]
    if form == "parquet":
        frame["timestamp"] = pd.to_datetime(frame["timestamp"])
        frame.set_index("user").to_parquet(tmp_path / "x.parquet")
    else:
        frame.to_csv(paths[0], index=False)
    domain = read_tables(tmp_path / "x.parquet" if form == "parquet" else paths[0], paths[1], name="x")
    assert domain.sequences[0].tolist() == [0, 1, 2, 3, 4]
    assert domain.timestamps is not None
    assert set(domain.timestamps.tolist()) == {1577836800}


def test_a_csv_table_may_have_a_byte_order_mark_and_is_told_how_to_become_utf8(tmp_path: Path) -> None:
    paths = tables(tmp_path, "\ufeff" + TABLE, "\ufeff" + CATALOGUE)
    assert read_tables(*paths, name="x").item_ids == ("a", "b", "c")
    paths[1].write_bytes(CATALOGUE.replace("apple", "crêpe").encode("latin-1"))
    with pytest.raises(InputError, match="items.csv:2: not UTF-8 text; .*`iconv -f latin1 -t utf-8`"):
        read_tables(*paths, name="x")


def test_a_parquet_table_may_have_a_column_of_times(tmp_path: Path) -> None:
    frame = pd.DataFrame({"user": [7], "item": ["a"], "timestamp": pd.to_datetime(["1970-01-02"])})
    frame.to_parquet(tmp_path / "x.parquet")
    domain = read_tables(tmp_path / "x.parquet", tables(tmp_path)[1], name="x")
    assert domain.timestamps is not None
    assert domain.timestamps.tolist() == [86400]
    assert domain.user_ids == ("7",)


def test_columns_may_have_other_names_and_texts_several_columns(tmp_path: Path) -> None:
    paths = tables(tmp_path, "who,what,when\nu,NA,1\n", "what,title,brand\nNA,Lamp,Acme\n")
    with pytest.raises(InputError, match="no column 'item', 'text'; the table has what, title, brand"):
        read_tables(*paths, name="x")
    columns = Columns(user="who", item="what", timestamp="when", text=("brand", "title"))
    domain = read_tables(*paths, name="x", columns=columns)
    assert domain.item_ids == ("NA",)
    assert domain.texts == ("Acme Lamp",)


@pytest.mark.parametrize(
    ("interactions", "items", "says"),
    [
        (TABLE + "u,d,1\nu,e,1\n", CATALOGUE, "x.csv:6: item 'd' is not in .*items.csv .nor are 1 others"),
        (TABLE + "u,a,inf\n", CATALOGUE, "x.csv:6: the timestamp 'inf'"),
        (TABLE + "u,a,\n", CATALOGUE, "x.csv:6: the timestamp ''"),
        (TABLE + ",a,1\n", CATALOGUE, "x.csv:6: empty 'user'"),
        (TABLE + "u,a,1,2,3\n", CATALOGUE, "x.csv:6: expected 3 columns separated by commas, found 5"),
        (TABLE + "u,a,1,\n", CATALOGUE, "x.csv:6: expected 3 columns separated by commas, found 4"),
        (TABLE + "u,a\n", CATALOGUE, "x.csv:6: expected 3 columns separated by commas, found 2"),
        (TABLE + '"u,a,1\n', CATALOGUE, "x.csv:6: not a row of a csv file"),
        (TABLE + "\n\nu,a,1e300\n", CATALOGUE, "x.csv:8: the timestamp '1e300'"),
        (TABLE + f"u,a,{'9' * 5000}\n", CATALOGUE, "x.csv:6: the timestamp '9{56}... is no finite number"),
        (TABLE.replace("user", "item"), CATALOGUE, "x.csv:1: no column 'user'"),
        (TABLE.replace("user", "user,item", 1), CATALOGUE, "x.csv:1: the column 'item' occurs twice"),
        (TABLE, 'item,text\na,"one\r\ntwo\n"\n\nb,B\nb,again\n', "items.csv:7: item 'b' occurs a second time"),
        ("user,item,timestamp\n", CATALOGUE, "x.csv: no interactions"),
        ("", CATALOGUE, "x.csv: not a csv table"),
        (TABLE.replace("item", "thing"), CATALOGUE, "x.csv:1: no column 'item'; the table has user, thing, timestamp"),
        (TABLE, CATALOGUE + "a,again\n", "items.csv:5: item 'a' occurs a second time"),
        (TABLE, "item,text\na,\nb,\nc, \n", "items.csv: no item has any text"),
        (TABLE, "item,text\n", "items.csv: no items"),
    ],
)
def test_table_faults_name_file_and_line(tmp_path: Path, interactions: str, items: str, says: str) -> None:
    with pytest.raises(InputError, match=f"(?s){says}"):
        read_tables(*tables(tmp_path, interactions, items), name="x")


def test_a_file_that_is_no_table_is_an_input_error(tmp_path: Path) -> None:
    fake = write(tmp_path / "x.parquet", "no parquet")
    with pytest.raises(InputError, match="not a parquet table"):
        read_tables(fake, tables(tmp_path)[1], name="x")
    with pytest.raises(InputError, match="no such file"):
        read_tables(tmp_path / "y.csv", tables(tmp_path)[1], name="x")


# --- what all of them share ---


def test_users_too_short_for_leave_one_out_are_named() -> None:
    check_lengths(domain_of([[0, 1, 2]]), "x.inter")
    with pytest.raises(InputError, match="x.inter: 2 users have fewer than 3 interactions .first: user 'u1' has 2"):
        check_lengths(domain_of([[0, 1, 2], [0, 1], [0]]), "x.inter")


@given(rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=40))
def test_time_order_sorts_by_user_time_and_key_whatever_the_order_given(rows: list[tuple[int, int]]) -> None:
    users = np.array([row[0] for row in rows], np.int64)
    times = np.array([row[1] for row in rows], np.int64)
    keys = [(7919 * row) % 101 for row in range(len(rows))]
    order = time_order(users, times, keys.__getitem__)
    assert order.tolist() == sorted(range(len(rows)), key=lambda row: (users[row], times[row], keys[row]))
    in_line_order = time_order(users, times, None)
    assert in_line_order.tolist() == sorted(range(len(rows)), key=lambda row: (users[row], times[row], row))
