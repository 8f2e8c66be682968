"""Online Retail: every form of the raw file gives one domain."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
from datetime import datetime
from pathlib import Path

import numpy as np
import openpyxl
import pytest

from benchmark.cards import load_cards
from benchmark.errors import InputError
from benchmark.prepare import prepare
from benchmark.prepare.online_retail import prepare_online_retail

HEADER = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"]
SHARED = Path(__file__).parents[1].parent / "shared" / "data" / "online_retail" / "online_retail.csv.gz"
Rows = list[list[str]]


def raw_rows() -> Rows:
    """Six invoices of five codes each, with what the file is known for: repeats, cancellations, guests, no text."""
    rows: Rows = []
    for number, invoice in enumerate(["536370", "536365", "C536379", "536366", "536367", "536368"]):
        customer = ["17850", "17850", "14527", "", "", "13047"][number]
        for code in ["85123A", "71053", "84406B", "POST", "22139"]:
            text = f" {code} heart £{number} " if code != "POST" else "POSTAGE"
            quantity = "-1" if invoice.startswith("C") else "6"
            rows.append([invoice, code, text, quantity, f"2010-12-{10 - number:02d} 08:26:00", "2.5", customer, "UK"])
    rows.insert(3, list(rows[0]))  # an exact repeat counts once
    rows.insert(0, ["536365", "85123A", "", "1", "2010-12-01 08:26:00", "0.0", "", "UK"])  # no description: dropped
    rows.append(["536999", "71053", "lonely", "1", "2010-12-01 08:26:00", "1.0", "", "UK"])  # below the 5-core
    return rows


def as_csv(rows: Rows) -> str:
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerows([HEADER, *rows])
    return file.getvalue()


def american(rows: Rows) -> Rows:
    parsed = [datetime.strptime(row[4], "%Y-%m-%d %H:%M:%S") for row in rows]
    dates = [f"{date.month}/{date.day}/{date.year} {date.hour}:{date:%M}" for date in parsed]
    return [[*row[:4], date, *row[5:]] for row, date in zip(rows, dates, strict=True)]


def as_xlsx(rows: Rows, path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    sheet.append(HEADER)
    for invoice, code, text, quantity, date, price, customer, country in rows:
        sheet.append(
            [
                int(invoice) if invoice.isdecimal() else invoice,
                int(code) if code.isdecimal() else code,
                text or None,
                int(quantity),
                datetime.strptime(date, "%Y-%m-%d %H:%M:%S"),
                float(price),
                float(customer) if customer else None,
                country,
            ]
        )
    book.save(path)


def test_users_are_invoices_and_items_stock_codes(tmp_path: Path) -> None:
    path = tmp_path / "or.csv"
    path.write_text(as_csv(raw_rows()))
    domain = prepare_online_retail(path, name="or")
    assert domain.user_ids == ("536365", "536366", "536367", "536368", "536370", "C536379")
    assert domain.item_ids == ("22139", "71053", "84406B", "85123A", "POST")
    assert domain.n_interactions == 30
    # The first description in the file, stripped and lower-cased.
    assert domain.texts == ("22139 heart £0.", "71053 heart £0.", "84406b heart £0.", "85123a heart £0.", "postage.")
    # 536365 and 536370 are of one customer; the two guests stand for themselves.
    assert domain.clusters is not None
    assert domain.clusters.tolist() == [0, 1, 2, 3, 0, 4]


def test_customers_as_users_have_their_invoices_in_order_of_time(tmp_path: Path) -> None:
    rows = [row for row in raw_rows() if row[2]]
    path = tmp_path / "or.csv"
    path.write_text(as_csv(rows))
    # three customers and five codes: the codes occur four times each, of 17850 twice
    with pytest.raises(InputError, match="or.csv: no customer and stock code have 5 lines each"):
        prepare_online_retail(path, name="or", users_are="customers")
    again = [[f"6{row[0][1:]}", *row[1:4], f"2011{row[4][4:]}", *row[5:]] for row in rows]
    path.write_text(as_csv([*again, *rows]))
    domain = prepare_online_retail(path, name="or", users_are="customers")
    assert domain.user_ids == ("13047", "14527", "17850"), "guests are left out"
    assert domain.sequences.lengths.tolist() == [10, 10, 20]
    assert domain.timestamps is not None
    days = domain.timestamps.reshape(-1, 5) // 86_400  # an invoice a row
    assert (days == days[:, :1]).all(), "a basket shares its time"
    dates = ["2010-12-05", "2011-12-05", "2010-12-08", "2011-12-08"]  # of 13047 and of 14527
    dates += ["2010-12-09", "2010-12-10", "2011-12-09", "2011-12-10"]  # of 17850
    assert days[:, 0].tolist() == np.array(dates, "datetime64[D]").astype(int).tolist()
    assert domain.clusters is None
    path.write_text(as_csv([[*row[:6], f"{row[6]}.0" if row[6] else "", row[7]] for row in [*again, *rows]]))
    assert prepare_online_retail(path, name="or", users_are="customers").fingerprint == domain.fingerprint


def test_every_form_of_the_file_gives_the_same_domain(tmp_path: Path) -> None:
    rows = raw_rows()
    forms = {
        "utf8.csv": as_csv(rows).encode(),
        "mark.csv": as_csv(rows).encode("utf-8-sig"),
        "latin1.csv": as_csv(rows).encode("latin-1"),
        "american.csv": as_csv(american(rows)).encode("latin-1"),
        "packed.csv.gz": gzip.compress(as_csv(rows).encode()),
        "floats.csv": as_csv([[*row[:6], f"{row[6]}.0" if row[6] else "", row[7]] for row in rows]).encode(),
    }
    fingerprints = {}
    for name, content in forms.items():
        (tmp_path / name).write_bytes(content)
        fingerprints[name] = prepare_online_retail(tmp_path / name, name="or").fingerprint
    as_xlsx(rows, tmp_path / "or.xlsx")
    fingerprints["or.xlsx"] = prepare_online_retail(tmp_path / "or.xlsx", name="or").fingerprint
    assert len(set(fingerprints.values())) == 1, fingerprints


def test_line_order_leaks_into_the_sequence_only_when_asked_for(tmp_path: Path) -> None:
    rows = raw_rows()
    path = tmp_path / "or.csv"
    orders = {"hash": set(), "line-order": set()}
    for shuffled in (rows, rows[::-1]):
        path.write_text(as_csv(shuffled))
        orders["hash"].add(prepare_online_retail(path, name="or").sequences.items.tobytes())
        by_line = prepare_online_retail(path, name="or", ties="line-order")
        orders["line-order"].add(by_line.sequences.items.tobytes())
        codes = [by_line.item_ids[item] for item in by_line.sequences[0]]
        distinct = dict.fromkeys(row[1] for row in shuffled if row[0] == "536365" and row[2])
        assert codes == list(distinct)
    assert (len(orders["hash"]), len(orders["line-order"])) == (1, 2)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({3: "six"}, "or.csv:2: the quantity 'six' is not a whole number"),
        ({4: "1 December 2010"}, "or.csv:2: the date '1 December 2010' is neither"),
        ({0: ""}, "or.csv:2: empty InvoiceNo or StockCode"),
        ({7: "UK,Wales"}, "or.csv:2: expected 8 columns, found 9"),
        ({2: "two\nlines", 3: "six"}, "or.csv:2: the quantity 'six'"),
        ({3: "6" * 5000}, "or.csv:2: the quantity '6{56}... is not a whole number"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, change: dict[int, str], says: str) -> None:
    rows = raw_rows()[1:]
    rows[0] = [change.get(column, value) for column, value in enumerate(rows[0])]
    path = tmp_path / "or.csv"
    path.write_text(as_csv(rows).replace('"UK,Wales"', "UK,Wales"))
    with pytest.raises(InputError, match=says):
        prepare_online_retail(path, name="or")


def test_lines_are_counted_as_an_editor_does(tmp_path: Path) -> None:
    rows = [[*row[:2], "two\nlines", *row[3:]] if row[2] else row for row in raw_rows()]
    path = tmp_path / "or.csv"
    path.write_text(as_csv(rows).replace("\r\n", "\n").replace("\n", "\n\n", 1) + "x\n")
    last = path.read_text().count("\n")
    with pytest.raises(InputError, match=f"or.csv:{last}: expected 8 columns, found 1"):
        prepare_online_retail(path, name="or")


def test_files_of_another_kind_are_input_errors(tmp_path: Path) -> None:
    path = tmp_path / "or.csv"
    path.write_text("StockCode,Description\n1,x\n")
    with pytest.raises(InputError, match="or.csv:1: no column InvoiceNo, Quantity, InvoiceDate, CustomerID"):
        prepare_online_retail(path, name="or")
    path.write_text(as_csv([["1", "2", "", "1", "2010-12-01 08:26:00", "0", "", "UK"]]))
    with pytest.raises(InputError, match="or.csv: no line has a description"):
        prepare_online_retail(path, name="or")
    path.write_text(as_csv([["1", "2", "text", "1", "2010-12-01 08:26:00", "0", "", "UK"]]))
    with pytest.raises(InputError, match="or.csv: no invoice and stock code have 5 lines each"):
        prepare_online_retail(path, name="or")
    (tmp_path / "or.xlsx").write_text("no workbook")
    with pytest.raises(InputError, match="or.xlsx: not an xlsx workbook"):
        prepare_online_retail(tmp_path / "or.xlsx", name="or")


@pytest.mark.parametrize(
    ("part", "says"), [("xl/workbook.xml", "or.xlsx: not an xlsx workbook"), ("xl/worksheets/sheet1.xml", "or.xlsx:2:")]
)
def test_a_workbook_with_broken_xml_is_an_input_error(tmp_path: Path, part: str, says: str) -> None:
    as_xlsx(raw_rows(), tmp_path / "whole.xlsx")
    with (
        zipfile.ZipFile(tmp_path / "whole.xlsx") as whole,
        zipfile.ZipFile(tmp_path / "or.xlsx", "w") as broken,
    ):
        for name in whole.namelist():
            content = whole.read(name)
            if name == part:
                content = content.replace(b'<row r="2"', b"<row <") if b'<row r="2"' in content else content[:200]
            broken.writestr(name, content)
    with pytest.raises(InputError, match=says):
        prepare_online_retail(tmp_path / "or.xlsx", name="or")


@pytest.mark.skipif(not SHARED.is_file(), reason="the real data are not beside the repository")
def test_the_real_file_has_the_paper_s_counts() -> None:
    domain = prepare_online_retail(SHARED, name="online-retail")
    assert (domain.n_users, domain.n_items, domain.n_interactions) == (16520, 3469, 519906)
    assert domain.fingerprint == "c97c5d94bba5dc2ffc5da2c7219c7dc123b11ef1f16662fd14c4db3337ba5752"
    assert np.mean([len(text) for text in domain.texts]) == pytest.approx(27.80, abs=0.005)


@pytest.mark.skipif(not SHARED.is_file(), reason="the real data are not beside the repository")
@pytest.mark.soak
def test_the_real_file_by_customer_is_what_its_card_says(tmp_path: Path) -> None:
    card = load_cards()["online-retail-customers"]
    assert not prepare(card, data=[SHARED.parents[1]], cache=tmp_path).custom
