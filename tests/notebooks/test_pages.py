"""The rendered pages in a real browser, opened from the file system without a network."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import Browser, Page

from capstone_pipeline import Answer, Query
from capstone_pipeline.render import Panel, data_table
from notebooks import dashboard
from notebooks.plots import bar_plot
from tests.browser import in_a_browser, running_browser
from tests.names import AWKWARD_NAMES, SCRIPT
from tests.notebooks.conftest import ROOT
from tests.oracle import Expected
from tests.outputs import code_cells, read

PAGES = ("explore_events", "validate_results", "dashboard", "data_quality", "more_answers")
WIDTHS = {"phone": 390, "desktop": 1280}

pytestmark = in_a_browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as started:
        yield started


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[[Path, int, str], tuple[Page, list[str]]]]:
    """A function that opens a file; what goes wrong in the page gathers in the list."""
    contexts = []

    def open_file(file: Path, width: int, scheme: str = "light") -> tuple[Page, list[str]]:
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if scheme == "dark" else "light",
            offline=True,
        )
        contexts.append(context)
        page, wrong = context.new_page(), list[str]()
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("requestfailed", lambda request: wrong.append(f"not loaded: {request.url[:80]}"))
        page.goto(file.resolve().as_uri(), wait_until="load")
        return page, wrong

    yield open_file
    for context in contexts:
        context.close()


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_without_errors_and_without_scrolling_sideways(
    name: str,
    width: int,
    executed: Callable[[str], Path],
    open_page: Callable[..., tuple[Page, list[str]]],
) -> None:
    page, wrong = open_page(executed(name).with_suffix(".html"), width, "dark" if width < 500 else "light")
    if name == "dashboard":
        page.wait_for_selector(".chart svg")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.images].filter(image => !image.naturalWidth).length") == 0
    assert wrong == []


def figure(page: Page, name: str) -> str:
    return page.inner_text(f"[data-figure={name}]")


def test_the_filters_change_figures_tables_and_charts_and_back(
    executed: Callable[[str], Path],
    open_page: Callable[..., tuple[Page, list[str]]],
    oracle: Expected,
) -> None:
    page, wrong = open_page(executed("dashboard").with_suffix(".html"), 1280)
    page.wait_for_function("document.querySelectorAll('.chart svg').length === 5")
    before = figure(page, "revenue")
    bars = page.locator("#top-chart svg .mark-rect path").count()
    cells = [row for row in oracle["gold.event_cube"] if row[3] == "toys"]

    page.select_option("select[name=category]", "toys")
    revenue = sum(row[7] for row in cells)
    assert figure(page, "revenue") == f"{revenue:,.2f}"
    assert figure(page, "views") == f"{sum(row[5] for row in cells if row[4] == 'page_view'):,}"
    shown = page.locator("tr[data-category]:visible")
    assert {shown.nth(i).get_attribute("data-category") for i in range(shown.count())} == {"toys"}
    page.wait_for_function(f"document.querySelectorAll('#top-chart svg .mark-rect path').length < {bars}")
    assert page.inner_text("[data-chosen]") == "Shown: toys"

    page.select_option("select[name=day]", "2025-11-17")
    of_day = [row for row in cells if str(row[0]) == "2025-11-17"]
    assert figure(page, "revenue") == f"{sum(row[7] for row in of_day):,.2f}"

    page.select_option("select[name=category]", "all")
    page.select_option("select[name=day]", "all")
    assert figure(page, "revenue") == before
    page.wait_for_function(f"document.querySelectorAll('#top-chart svg .mark-rect path').length === {bars}")
    assert wrong == []


def test_no_name_in_an_event_can_run_a_script(
    tmp_path: Path, open_page: Callable[..., tuple[Page, list[str]]]
) -> None:
    """All names at once, in everything that shows names: answers, dashboard, rejected lines, first lines."""
    names, count = list(AWKWARD_NAMES), len(AWKWARD_NAMES)
    numbers, dates = list(range(100, 100 + count)), [date(2025, 11, 18)] * count
    funnel = pd.DataFrame({"product_id": names, "category": names, "views": numbers, "add_to_carts": 1})
    funnel = funnel.assign(purchases=1, view_to_purchase_conversion=Decimal("0.01"))
    top = pd.DataFrame({"rank": numbers, "product_id": names, "category": names, "view_count": numbers})
    categories = pd.DataFrame({"event_date": dates, "category": names, "event_count": numbers})
    hours = categories.assign(event_hour=1, total_revenue=Decimal("1.00"), transaction_count=1)
    users = pd.DataFrame({"event_date": dates[:1], "unique_users": [1], "unique_sessions": [2]})
    busy = pd.DataFrame({"event_date": dates, "event_hour": 1, "user_id": names, "event_count": numbers})
    counts = hours.assign(views=1, add_to_carts=1, purchases=1)
    data = dashboard.ShopData(
        *map(dashboard.printable_frame, (funnel, hours.head(1), top, categories, users, counts, busy))
    )
    rejects = pd.DataFrame({"source_file": names, "reason": names, "line_count": numbers, "example": names})
    parts: list[Any] = [
        *(
            Answer(Query(number, SCRIPT, "", ""), frame, 0, 0.0)
            for number, frame in ((1, funnel), (3, top), (4, categories))
        ),
        dashboard.page_scripts(),
        *(
            show(data)
            for show in (
                dashboard.headline_figures,
                dashboard.funnel,
                dashboard.revenue,
                dashboard.top_products,
                dashboard.category_trend,
                dashboard.users,
            )
        ),
        Panel(bar_plot(SCRIPT, SCRIPT, dict(zip(names, numbers, strict=True))), ""),
        Panel(data_table(rejects, 100, {"reason": "reason"}), ""),
    ]
    page_file = tmp_path / "names.html"
    page_file.write_text("<!doctype html><meta charset=utf-8>" + "".join(p._repr_html_() for p in parts))
    page, wrong = open_page(page_file, 1280)
    page.wait_for_function("document.querySelectorAll('.chart svg').length === 5")
    page.locator(".chart svg path").first.hover(force=True)
    assert page.evaluate("window.hit") is None
    assert page.evaluate("[...document.images].filter(image => !image.naturalWidth).length") == 0
    assert page.locator("td", has_text="$a$ and $b$").count() >= 5
    page.select_option("select[name=category]", label="</script><script>window.hit=1</script>")
    assert page.inner_text("[data-chosen]") == "Shown: </script><script>window.hit=1</script>"
    assert page.evaluate("window.hit") is None
    assert wrong == []


def test_without_scripts_the_dashboard_shows_its_pictures_and_all_its_tables(
    browser: Browser, executed: Callable[[str], Path]
) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(executed("dashboard").with_suffix(".html").resolve().as_uri())
    assert page.locator(".chart img").count() == 5
    assert page.locator(".chart img").first.is_visible()
    assert page.locator("tr[data-category]").count() > 400
    context.close()


TEXTS = """[...document.querySelectorAll('text')]
    .filter(text => text.textContent.trim() && text.getAttribute('opacity') !== '0')
    .map(text => [text.textContent, text.getBoundingClientRect().toJSON()])"""


def test_no_two_texts_of_a_committed_picture_meet_and_none_leaves_it(browser: Browser) -> None:
    """Though the letters of this browser may be wider than those that it was laid out in."""
    cells = code_cells(read(ROOT / "notebooks/dashboard.ipynb"))
    text = "".join(output.data.get("text/html", "") for cell in cells for output in cell.outputs)
    pictures = [str(one["src"]).partition(",")[2] for one in BeautifulSoup(text, "html.parser").select("img")]
    assert len(pictures) == 5
    page = browser.new_page()
    for picture in pictures:
        page.set_content(base64.b64decode(picture).decode())
        width = page.evaluate("document.querySelector('svg').getBoundingClientRect().right")
        texts = page.evaluate(TEXTS)
        assert len(texts) > 8
        for number, (words, box) in enumerate(texts):
            assert 0 <= box["left"] < box["right"] <= width, words
            for others, other in texts[:number]:
                is_beside = box["right"] <= other["left"] or other["right"] <= box["left"]
                # A box is as high as its line, of which two may touch.
                is_below = box["bottom"] - 3 <= other["top"] or other["bottom"] - 3 <= box["top"]
                assert is_beside or is_below, (words, others)
    page.close()
