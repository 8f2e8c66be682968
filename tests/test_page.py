"""The page says what the leaderboard says, asks nothing of the network, and sorts and filters in a browser."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from boards import HOSTILE, WAYS_OUT, full_board, hostile_board, make_board, make_row, make_table

from benchmark.errors import InputError
from benchmark.report import wording
from benchmark.report.export import render_json
from benchmark.report.figures.saving import Words
from benchmark.report.figures.write import Made
from benchmark.report.page import render_page
from benchmark.report.tables import Leaderboard, Unrun

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><rect width="40" height="20" fill="#246"/></svg>'


@pytest.fixture
def figure(tmp_path: Path) -> Made:
    (tmp_path / "cost.svg").write_text(SVG)
    words = Words(title=f"Cost {HOSTILE}", caption=WAYS_OUT, alt='" onload="alert(3)')
    return Made(name="cost", target=None, track=None, words=words, svg="cost.svg", png="cost.png")


class Elements(HTMLParser):
    """Tags with their attributes, and the text of each kind of element."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.comments: list[str] = []
        self._open = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open, data))

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def text(self) -> str:
        return " ".join(" ".join(data for tag, data in self.texts if tag not in ("script", "style")).split())

    def embedded(self) -> Any:
        (content,) = [data for tag, data in self.texts if tag == "script" and data.startswith("{")]
        return json.loads(content)


class TestContent:
    def test_every_row_stands_in_the_page_without_its_script(self) -> None:
        board = full_board()
        page = Elements(render_page(board, [], Path()))
        text = page.text()
        bodies = [attributes for tag, attributes in page.tags if tag == "tbody" and "data-row" in attributes]
        assert len(bodies) == sum(len(table.rows) for table in board.tables)
        for table in board.tables:
            for row in table.rows:
                assert row.label in text
                for cell in row.cells.values():
                    assert f"{cell.mean:.4f}" in text
                    assert f"[{cell.low:.4f}, {cell.high:.4f}]" in text

    def test_values_marks_print_cost_and_gaps_are_told(self) -> None:
        text = Elements(render_page(full_board(), [], Path())).text()
        for said in (
            "print 0.0553 (-0.0008)",
            "0.0665 ** ± 0.0010",
            "Above every paper baseline and every control in NDCG@10",
            "best: 0.1330",
            "second: 0.1276",
            "+0.0120 [+0.0100, +0.0140]",
            "0.93 M of 1.98 M",
            "lite-kitchen shares 37 items with the target",
            "Can't be told apart in NDCG@10: UniSRec_t, UniSRec_t+ID.",
            "Smallest difference to SASRec that would be found with power 0.8: 0.0031",
            "Recall@10 +5.2%, NDCG@10 +5.2%, Recall@50 -1.0%.",
            "CCDR, seeds 0, 1: failed: NotFinite: the loss is not finite",
            "5,060 clusters",
            "not checkable users, 37 items, 4 identical texts",
            "No comparison with SASRec: there is no SASRec row.",
            "AMD EPYC, Linux x86_64, cpu with 1 threads",
            "transrec 0.1.0, torch 2.13.0",
            "SASRec, seed 0: failed: diverged",
            *wording.claims(full_board().tables[0]),
        ):
            assert said in text

    def test_what_was_never_asked_for_is_told_where_nothing_failed(self) -> None:
        never = Unrun(method="FDSA", setting="full", done=0, runs=3, seconds=1200.0)
        board = make_board(make_table("toy", (make_row("SASRec", 0.1),), unrun=(never,)))
        text = Elements(render_page(board, [], Path())).text()
        assert "Without a result" in text
        assert "Not run, with what a run is forecast to take of one processor: FDSA (20 min)" in text

    def test_what_does_not_exist_is_not_explained(self) -> None:
        row = make_row("SASRec", 0.1, epochs=None, parameters_total=None)
        text = Elements(render_page(make_board(make_table("toy", (row,))), [], Path())).text()
        for absent in ("What the tests say", "Figures", "Above every", "print 0", "best:", "told apart", "None"):
            assert absent not in text

    def test_another_track_of_a_target_is_named(self) -> None:
        rows = (make_row("SASRec", 0.1),)
        board = make_board(make_table("toy", rows), replace(make_table("toy", rows), track="strict"))
        text = Elements(render_page(board, [], Path())).text()
        assert "The toy domain, track strict" in text
        assert "Strict track: one instant" in text

    def test_a_row_without_interval_shows_none(self) -> None:
        row = make_row("SASRec", 0.1)
        bare = {name: replace(cell, low=None, high=None) for name, cell in row.cells.items()}
        page = render_page(make_board(make_table("toy", (make_row("SASRec", 0.1, cells=bare),))), [], Path())
        assert 'class="whisker"' not in page
        assert 'class="whisker"' in render_page(make_board(make_table("toy", (row,))), [], Path())

    def test_the_numbers_are_inside_as_the_json_file_has_them(self) -> None:
        for board in (full_board(), hostile_board()):
            assert Elements(render_page(board, [], Path())).embedded() == json.loads(render_json(board))

    def test_the_same_leaderboard_gives_the_same_bytes(self, figure: Made, tmp_path: Path) -> None:
        assert render_page(full_board(), [figure], tmp_path) == render_page(full_board(), [figure], tmp_path)


class TestSafety:
    def test_hostile_text_is_shown_and_is_no_markup(self, figure: Made, tmp_path: Path) -> None:
        page = Elements(render_page(hostile_board(), [figure], tmp_path))
        assert page.text().count(HOSTILE) > 10
        assert [tag for tag, _ in page.tags if tag == "script"] == ["script", "script"]
        assert [attributes["alt"] for tag, attributes in page.tags if tag == "img"] == [figure.words.alt]
        assert page.comments == []
        assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]

    def test_nothing_is_asked_of_any_address(self, figure: Made, tmp_path: Path) -> None:
        page = Elements(render_page(full_board(), [figure], tmp_path))
        addresses = [
            attributes[name]
            for _, attributes in page.tags
            for name in ("src", "href", "srcset", "poster", "action", "data")
            if name in attributes
        ]
        assert len(addresses) == 2
        assert all(str(address).startswith("data:") for address in addresses)
        style = "".join(data for tag, data in page.texts if tag == "style")
        assert "url(" not in style
        assert "@import" not in style
        (policy,) = [
            attributes["content"] for tag, attributes in page.tags if tag == "meta" and "http-equiv" in attributes
        ]
        assert str(policy).startswith("default-src 'none'; img-src data:;")

    def test_a_figure_that_is_gone_is_named(self, figure: Made, tmp_path: Path) -> None:
        (tmp_path / figure.svg).unlink()
        with pytest.raises(InputError, match="cost.svg: the figure can't be read"):
            render_page(full_board(), [figure], tmp_path)


@contextmanager
def opened(browser: Any, page: str, folder: Path, **options: Any) -> Iterator[Any]:
    """The page as a browser shows it; fails where it said an error, opened a dialog or asked for another address."""
    file = folder / "index.html"
    file.write_text(page, encoding="utf-8")
    context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
    tab = context.new_page()
    trouble: list[str] = []
    tab.on("console", lambda message: trouble.append(message.text))
    tab.on("pageerror", lambda error: trouble.append(str(error)))
    tab.on("dialog", lambda dialog: (trouble.append(dialog.message), dialog.dismiss()))
    tab.on("request", lambda request: None if request.url.startswith("data:") else trouble.append(request.url))
    tab.goto(file.as_uri())
    yield tab
    assert trouble == [file.as_uri()]
    context.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    # Some systems have a chromium that only says how to install it.
    if CHROMIUM is None or subprocess.run([CHROMIUM, "--version"], capture_output=True, check=False).returncode:
        pytest.skip("there is no chromium that runs")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Callable[..., Any]:
    def shown(board: Leaderboard, *figures: Made, **options: Any) -> Any:
        return opened(browser, render_page(board, figures, tmp_path), tmp_path, **options)

    return shown


def labels(tab: Any, table: int = 0) -> list[str]:
    """Of the rows that are shown, in their order."""
    return tab.locator(f"section[data-table='{table}'] tbody[data-row]:visible .label").all_inner_texts()


def header(tab: Any, column: str) -> Any:
    return tab.locator(f"section[data-table='0'] th[data-column='{column}']")


WRITTEN = [row.label for row in full_board().tables[0].rows]


class TestBrowser:
    def test_sorting_by_numbers_as_numbers(self, show: Callable[..., Any]) -> None:
        with show(full_board()) as tab:
            assert labels(tab) == WRITTEN
            core = header(tab, "core")
            assert core.get_attribute("aria-sort") is None
            core.get_by_role("button").click()
            # 0.6, then those of 90, then 209, then 1,100: as text 1,100 would come first.
            assert labels(tab)[0] == "Popularity"
            assert labels(tab)[-2:] == ["UniSRec_t", "FDSA"]
            assert core.get_attribute("aria-sort") == "ascending"
            core.get_by_role("button").click()
            assert labels(tab)[:2] == ["FDSA", "UniSRec_t"]
            assert core.get_attribute("aria-sort") == "descending"
            core.get_by_role("button").click()
            assert labels(tab) == WRITTEN
            assert core.get_attribute("aria-sort") is None

    def test_every_column_sorts_and_missing_values_come_last(self, show: Callable[..., Any]) -> None:
        first = {
            "method": "FDSA",
            "kind": "SASRec",
            "Recall@10": "UniSRec_t",
            "NDCG@10": "UniSRec_t",
            "Recall@50": "UniSRec_t",
            "NDCG@50": "UniSRec_t",
            "versus": "UniSRec_t",
            "seeds": "SASRec",
            "core": "Popularity",
            "memory": "SASRec",
            "parameters": "SASRec",
        }
        with show(full_board()) as tab:
            columns = tab.locator("section[data-table='0'] th[data-column]")
            assert [column.get_attribute("data-column") for column in columns.all()] == list(first)
            for column, label in first.items():
                header(tab, column).get_by_role("button").click()
                assert labels(tab)[0] == label, column
                assert tab.locator("section[data-table='0'] th[aria-sort]").count() == 1
            assert labels(tab)[-1] == "FDSA"  # nothing is known of its parameters
            header(tab, "parameters").get_by_role("button").click()
            assert labels(tab)[-1] == "FDSA"
            assert labels(tab, 1) == ["SASRec", "UniSRec_t", "Markov"]  # the other table is as it was

    def test_the_keyboard_sorts_and_opens_details(self, show: Callable[..., Any]) -> None:
        with show(full_board()) as tab:
            header(tab, "kind").get_by_role("button").focus()
            tab.keyboard.press("Tab")
            tab.keyboard.press("Tab")
            tab.keyboard.press("Enter")
            assert header(tab, "NDCG@10").get_attribute("aria-sort") == "descending"
            tab.keyboard.press("Space")
            assert header(tab, "NDCG@10").get_attribute("aria-sort") == "ascending"
            assert labels(tab)[0] == "Popularity"
            details = tab.locator("tbody[data-row='4'] details").first
            assert not details.locator(".facts").is_visible()
            details.locator("summary").focus()
            tab.keyboard.press("Enter")
            assert details.locator(".facts").is_visible()
            assert "94.8 %" in details.inner_text()

    def test_filters_by_target_kind_and_text(self, show: Callable[..., Any]) -> None:
        with show(full_board()) as tab:
            count = tab.locator("#count")
            assert count.inner_text() == "11 rows on 2 targets"
            tab.locator("[name=target]").select_option("1")
            assert tab.locator("section.target:visible").count() == 1
            assert labels(tab) == []
            assert labels(tab, 1) == ["SASRec", "UniSRec_t", "Markov"]
            tab.locator("[name=target]").select_option("")
            tab.get_by_label("paper", exact=True).uncheck()
            assert labels(tab) == ["Popularity", "TextKNN", "FDSA-released", "Mine (zero-shot; hidden=64)"]
            tab.locator("[name=text]").fill("NOTHING trained")
            assert labels(tab) == ["TextKNN"]
            assert count.inner_text() == "1 row on 1 target"
            assert tab.locator("section[data-table='1'] .nothing").is_visible()

    def test_the_best_is_that_of_the_rows_shown(self, show: Callable[..., Any]) -> None:
        best = "section[data-table='0'] tbody:visible:has(td.{}[data-metric='NDCG@10']) .label"
        with show(full_board()) as tab:
            assert tab.locator(best.format("best")).all_inner_texts() == ["UniSRec_t"]
            for kind in ("paper", "other"):
                tab.get_by_label(kind, exact=True).uncheck()
            assert tab.locator(best.format("best")).all_inner_texts() == ["TextKNN"]
            assert tab.locator(best.format("second")).all_inner_texts() == ["FDSA-released"]
            tab.get_by_label("replica", exact=True).uncheck()
            tab.locator("[name=text]").fill("TextKNN")
            assert tab.locator(best.format("best")).count() == 0  # alone, it is best of nothing

    def test_one_metric_alone(self, show: Callable[..., Any]) -> None:
        with show(full_board()) as tab:
            tab.locator("[name=metric]").select_option("Recall@50")
            shown = tab.locator("section[data-table='0'] thead th:visible").all_inner_texts()
            assert [name for name in shown if "@" in name] == ["Recall@50"]
            assert tab.locator("tbody[data-row='0']").first.locator("td[data-metric]:visible").count() == 1

    def test_without_its_script_the_tables_are_there(self, show: Callable[..., Any]) -> None:
        with show(full_board(), java_script_enabled=False) as tab:
            assert labels(tab) == WRITTEN
            assert not tab.locator("#filters").is_visible()
            assert tab.locator("th button").count() == 0

    def test_hostile_text_runs_nothing(self, show: Callable[..., Any], figure: Made, tmp_path: Path) -> None:
        with show(hostile_board(), figure) as tab:
            header(tab, "method").get_by_role("button").click()
            tab.locator("[name=text]").fill("onerror")
            assert len(labels(tab)) == 1
            assert tab.locator("img").count() == 1
            assert tab.evaluate("document.images[0].naturalWidth") == 40

    @pytest.mark.parametrize("width", [1280, 390])
    def test_it_fits_a_desk_and_a_phone_by_day_and_by_night(
        self, width: int, show: Callable[..., Any], figure: Made, tmp_path: Path
    ) -> None:
        shades = []
        for scheme in ("light", "dark"):
            viewport = {"width": width, "height": 800}
            with show(full_board(), figure, viewport=viewport, color_scheme=scheme) as tab:
                # Tables scroll in themselves, the page does not scroll sideways.
                assert tab.evaluate("document.documentElement.scrollWidth") == width
                shades.append(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
                picture = tab.screenshot(path=tmp_path / f"{scheme}.png")
                assert picture.startswith(b"\x89PNG")
        assert shades == ["rgb(251, 251, 249)", "rgb(20, 23, 26)"]
