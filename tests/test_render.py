"""What the notebook shows: numbers as people read them, tables with units, plots that hold for any amount."""

from __future__ import annotations

import base64
import re
import warnings
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest
from bs4 import BeautifulSoup

from capstone_pipeline import Answer, Query
from capstone_pipeline.plots import PLOTS, label, plot_answer
from capstone_pipeline.render import Progress, data_table, duration, file_size, format_value, plural, when
from tests.names import AWKWARD_NAMES

DAY = date(2025, 11, 18)
COLUMNS_OF_QUERY_4 = ("event_date", "category", "event_count")


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (1234567, "count", "1,234,567"),
        (Decimal("1234567.50"), "money", "1,234,567.50"),
        (Decimal("0.1234"), "percent", "12.34"),
        (Decimal("1.5"), "percent", "150.00"),
        (7, "hour", "07:00"),
        (DAY, "text", "2025-11-18"),
        ("p_1", "text", "p_1"),
        (None, "percent", "–"),
        (pd.NA, "count", "–"),
        (float("nan"), "money", "–"),
    ],
)
def test_a_value_is_written_as_its_kind_asks(value: Any, kind: str, text: str) -> None:
    assert format_value(value, kind) == text


def test_seconds_bytes_and_counts_read_naturally() -> None:
    assert [duration(s) for s in (0.4, 59.4, 59.6, 125, 3720)] == [
        "0 s",
        "59 s",
        "1 min 00 s",
        "2 min 05 s",
        "1 h 02 min",
    ]
    assert [file_size(b) for b in (0, 999, 1000, 4_210_000, 5e15)] == [
        "0 bytes",
        "999 bytes",
        "1.0 kB",
        "4.2 MB",
        "5,000.0 TB",
    ]
    assert [plural(n, "row") for n in (0, 1, 1200)] == ["0 rows", "1 row", "1,200 rows"]
    assert when(datetime(2025, 11, 18, 14, 23, 45, tzinfo=UTC)) == "2025-11-18 14:23:45 UTC"


def test_a_table_has_readable_headings_over_the_column_names() -> None:
    page = BeautifulSoup(data_table(pd.DataFrame({"product_id": ["p_1"], "views": [1200]})), "html.parser")
    assert [th.get_text("|") for th in page.find_all("th")] == ["Product|product_id", "Views|views"]
    assert [td.get_text() for td in page.find_all("td")] == ["p_1", "1,200"]


def test_a_column_that_is_not_known_is_shown_under_its_own_name() -> None:
    page = BeautifulSoup(data_table(pd.DataFrame({"baskets": [12000]})), "html.parser")
    assert [cell.get_text("|") for cell in page.find_all(["th", "td"])] == ["baskets|baskets", "12,000"]


def test_a_long_table_is_cut_and_says_so() -> None:
    page = BeautifulSoup(data_table(pd.DataFrame({"views": range(1500)}), max_rows=10), "html.parser")
    assert len(page.find_all("td")) == 10
    assert "10 of 1,500 rows" in page.get_text()


def test_text_from_the_data_cannot_become_markup() -> None:
    table = data_table(pd.DataFrame({"category": ["<script>alert(1)</script>"]}))
    assert "<script>" not in table
    assert "&lt;script&gt;" in table


@pytest.mark.parametrize(
    ("state", "done", "share"), [("STARTING", 0, "12"), ("RUNNING", 2, "62"), ("SUCCEEDED", 3, "100")]
)
def test_the_progress_bar_grows_with_the_layers(state: str, done: int, share: str) -> None:
    page = BeautifulSoup(Progress(state, 5, ("bronze", "silver", "gold"), done)._repr_html_(), "html.parser")
    assert state in page.get_text()
    bar = page.find(role="progressbar")
    assert bar is not None
    assert bar["aria-valuenow"] == share


def frames(days: int) -> dict[int, pd.DataFrame]:
    """Answers that cover a number of days."""
    dates = [DAY + timedelta(days=number) for number in range(days)]
    return {
        1: pd.DataFrame(
            {
                "product_id": [f"p_{n}" for n in range(days)],
                "views": [n * n for n in range(days)],
                "add_to_carts": range(days),
            }
        ),
        2: pd.DataFrame(
            {
                "event_date": [day for day in dates for _ in (0, 23)],
                "event_hour": [hour for _ in dates for hour in (0, 23)],
                "total_revenue": [Decimal("10.25")] * 2 * days,
            }
        ),
        3: pd.DataFrame({"rank": [1], "product_id": ["p_1"], "category": ["toys"], "view_count": [days]}),
        4: pd.DataFrame(
            [(day, f"category {n}", n + 1) for day in dates for n in range(20)],
            columns=["event_date", "category", "event_count"],
        ),
        5: pd.DataFrame({"event_date": dates, "unique_users": range(days), "unique_sessions": range(days)}),
    }


@pytest.mark.parametrize("days", [1, 2, 5, 20, 400])
@pytest.mark.parametrize("number", sorted(PLOTS))
def test_a_plot_is_drawn_without_warnings_for_any_amount_of_data(number: int, days: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = BeautifulSoup(plot_answer(number, frames(days)[number]), "html.parser").find("img")
    assert picture is not None
    assert len(str(picture["alt"])) > 20
    assert str(picture["src"]).startswith("data:image/svg+xml;base64,")


@pytest.mark.parametrize("name", AWKWARD_NAMES)
def test_any_name_that_an_event_can_carry_is_drawn_as_it_is(name: str) -> None:
    names = [name, "b"]
    few, many = ([DAY + timedelta(days=number) for number in range(days)] for days in (2, 5))
    answers = [
        (1, pd.DataFrame({"product_id": names, "views": [10, 2], "add_to_carts": [1, 2]})),
        (3, pd.DataFrame({"rank": [1, 2], "product_id": names, "category": names, "view_count": [3, 2]})),
        *(
            (4, pd.DataFrame([(d, n, 1) for d in days for n in names], columns=list(COLUMNS_OF_QUERY_4)))
            for days in (few, many)
        ),
    ]
    for number, frame in answers:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            picture = BeautifulSoup(plot_answer(number, frame), "html.parser").find("img")
        assert picture is not None
        drawing = base64.b64decode(str(picture["src"]).partition("base64,")[2])
        texts = " ".join(element.text or "" for element in ElementTree.fromstring(drawing).iter())
        assert label(name).strip() in texts


def test_a_category_of_the_name_that_the_rest_has_is_counted_for_itself() -> None:
    counts = {f"c{number}": 100 - number for number in range(20)} | {"others": 1_000}
    rows = [(DAY, name, count) for name, count in counts.items()]
    frame = pd.DataFrame(rows, columns=list(COLUMNS_OF_QUERY_4))
    picture = BeautifulSoup(plot_answer(4, frame), "html.parser").find("img")
    assert picture is not None
    shown = re.findall(r"others ([\d,]*\d)", str(picture["alt"]))
    assert shown == ["1,000", f"{sum(sorted(counts.values())[:7]):,}"]


def test_a_terminal_is_not_told_what_to_do_by_a_name() -> None:
    frame = frames(1)[3].assign(product_id="\x1b[2J$x$")
    assert "\x1b" not in str(Answer(Query(3, "top", "", ""), frame, 0, 0.0))


def test_the_same_answer_gives_the_same_picture() -> None:
    frame = frames(5)[2]
    assert plot_answer(2, frame) == plot_answer(2, frame)


def test_the_alternative_text_tells_the_main_point() -> None:
    picture = BeautifulSoup(plot_answer(2, frames(1)[2]), "html.parser").find("img")
    assert picture is not None
    assert "20.50 USD in all" in str(picture["alt"])


@pytest.mark.parametrize("number", sorted(PLOTS))
def test_an_empty_answer_says_so_and_has_no_plot(number: int) -> None:
    page = Answer(Query(number, "title", "", ""), frames(1)[number].head(0), 0, 0.0)._repr_html_()
    assert "<img" not in page
    assert "no run of the job has filled it yet" in page


def test_an_answer_with_other_columns_is_shown_without_a_plot() -> None:
    page = Answer(Query(3, "title", "", ""), pd.DataFrame({"city": ["Oslo"]}), 0, 0.0)._repr_html_()
    assert "Oslo" in page
    assert "<img" not in page


def test_an_answer_reads_as_text_where_no_html_is_shown() -> None:
    answer = Answer(Query(3, "top 10 products", "", ""), frames(1)[3], 0, 0.0)
    assert "top 10 products" in repr(answer)
    assert "p_1" in repr(answer)


def test_the_committed_picture_of_the_architecture_is_well_formed_and_described() -> None:
    tree = ElementTree.parse("docs/images/architecture.svg").getroot()
    namespace = "{http://www.w3.org/2000/svg}"
    assert tree.find(f"{namespace}title") is not None
    assert tree.find(f"{namespace}desc") is not None
