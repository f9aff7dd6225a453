"""dashboard.ipynb: its figures are the oracle's, and its rules call unusual what is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest
from bs4 import BeautifulSoup

from notebooks import charts, dashboard
from notebooks.dashboard import FEWEST_HOURS, ShopData, unusual_hours
from tests.oracle import Expected

DAY = date(2025, 11, 18)


@pytest.fixture(scope="module")
def page(executed: Callable[[str], Path]) -> BeautifulSoup:
    return BeautifulSoup(executed("dashboard").with_suffix(".html").read_text(), "html.parser")


def text_of(page: BeautifulSoup, selector: str) -> str:
    (element,) = page.select(selector)
    return element.get_text()


def test_the_headline_figures_are_those_of_the_oracle(page: BeautifulSoup, oracle: Expected) -> None:
    revenue = sum((row[2] for row in oracle["gold.hourly_revenue"]), Decimal(0))
    purchases = sum(row[3] for row in oracle["gold.hourly_revenue"])
    views, carts = (sum(row[place] for row in oracle["gold.conversion_funnel"]) for place in (2, 3))
    assert text_of(page, "[data-figure=revenue]") == f"{revenue:,.2f}"
    assert text_of(page, "[data-figure=purchases]") == f"{purchases:,}"
    assert text_of(page, "[data-figure=average_order]") == f"{revenue / purchases:,.2f}"
    assert text_of(page, "[data-figure=views]") == f"{views:,}"
    assert text_of(page, "[data-figure=view_to_cart]") == f"{Decimal(100 * carts) / views:,.2f}"


def test_products_seen_often_and_seldom_put_into_a_cart_are_named(
    page: BeautifulSoup, oracle: Expected
) -> None:
    rows = oracle["gold.conversion_funnel"]
    overall = sum(row[3] for row in rows) / sum(row[2] for row in rows)
    named = [item.get_text() for item in page.select(".insight li b")]
    by_product = {row[0]: row for row in rows}
    assert len(named) == 5
    for product in named:
        views, carts = by_product[product][2:4]
        assert carts / views < overall * 2 / 3
        assert sum(row[2] > views for row in rows) < len(rows) / 10


def test_every_chart_has_a_picture_with_a_text_alternative_and_stands_beside_its_table(
    page: BeautifulSoup,
) -> None:
    pictures = page.select(".chart img")
    assert [bool(picture["alt"]) for picture in pictures] == [True] * 5
    assert all(str(picture["src"]).startswith("data:image/svg+xml;base64,") for picture in pictures)
    assert len(page.select(".pair .plot .chart")) == 5


def test_the_page_loads_nothing_and_shows_no_code(page: BeautifulSoup) -> None:
    assert page.find_all("script", src=True) == []
    assert page.find_all("iframe") == []
    assert all(str(link["href"]).startswith("data:") for link in page.find_all("link"))
    assert page.select(".jp-CodeCell .jp-InputArea") == []


def revenue_of(amounts: list[float]) -> pd.DataFrame:
    rows = [(DAY, hour, Decimal(str(amount)), 1) for hour, amount in enumerate(amounts)]
    return pd.DataFrame(rows, columns=["event_date", "event_hour", "total_revenue", "transaction_count"])


def test_an_hour_far_from_the_others_is_unusual_in_either_direction() -> None:
    amounts = [100, 104, 98, 101, 99, 103, 97, 102, 100, 96, 400, 105, 0.5, 100]
    found = unusual_hours(revenue_of(amounts))
    assert list(found[["event_hour", "direction"]].itertuples(index=False, name=None)) == [
        (10, "high"),
        (12, "low"),
    ]


def test_an_hour_without_any_purchase_counts_as_an_hour_without_revenue() -> None:
    frame = revenue_of([100, 104, 98, 101, 99, 103, 97, 102, 100, 96, 104, 105, 99, 100]).drop(index=5)
    assert list(unusual_hours(frame)["event_hour"]) == [5]


@pytest.mark.parametrize("amounts", [[], [100.0], [1.0] * (FEWEST_HOURS - 2) + [9_999.0], [5.0] * 24])
def test_few_hours_and_hours_that_are_all_alike_are_not_unusual(amounts: list[float]) -> None:
    assert unusual_hours(revenue_of(amounts)).empty


def many_days(days: int) -> ShopData:
    """Answers over a number of days, with an hour that stands out."""
    dates = [date(2025, 11, 1 + number) for number in range(days)]
    hours = [(day, hour) for day in dates for hour in range(24)]
    amounts = [Decimal(100 + hour % 3) if hour else Decimal(5000) for _, hour in hours]
    return ShopData(
        funnel=pd.DataFrame(
            {
                "product_id": ["p_1", "p_2"],
                "category": ["toys", "</script><b>"],
                "views": [100, 50],
                "add_to_carts": [10, 5],
                "purchases": [1, 0],
                "view_to_cart_conversion": [Decimal("0.1"), Decimal("0.1")],
                "view_to_purchase_conversion": [Decimal("0.01"), Decimal(0)],
                "cart_to_purchase_conversion": [Decimal("0.1"), Decimal(0)],
            }
        ),
        revenue=pd.DataFrame(
            {
                "event_date": [day for day, _ in hours],
                "event_hour": [hour for _, hour in hours],
                "total_revenue": amounts,
                "transaction_count": [1] * len(hours),
            }
        ),
        top_products=pd.DataFrame(
            {"rank": [1], "product_id": ["p_1"], "category": ["toys"], "view_count": [100]}
        ),
        categories=pd.DataFrame(
            [(day, name, 10) for day in dates for name in ("toys", "books")],
            columns=["event_date", "category", "event_count"],
        ),
        users=pd.DataFrame(
            {"event_date": dates[::-1], "unique_users": [10] * days, "unique_sessions": [15] * days}
        ),
        hourly=pd.DataFrame(
            [
                (day, hour, "toys", 5, 2, 1, amount)
                for (day, hour), amount in zip(hours, amounts, strict=True)
            ],
            columns=[
                *("event_date", "event_hour", "category", "views", "add_to_carts", "purchases"),
                "total_revenue",
            ],
        ),
        busy_users=pd.DataFrame(columns=["event_date", "event_hour", "user_id", "event_count"]),
    )


PANELS = ("headline_figures", "funnel", "revenue", "top_products", "category_trend", "users")


@pytest.mark.parametrize("days", [1, 2, 14])
@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_is_drawn_for_any_number_of_days(panel: str, days: int) -> None:
    drawn = getattr(dashboard, panel)(many_days(days))
    assert len(drawn.words) > 20
    assert BeautifulSoup(drawn._repr_html_(), "html.parser").get_text()


def test_the_hours_that_stand_out_are_named() -> None:
    assert "2025-11-02 00:00 (5,000.00 USD, high)" in dashboard.revenue(many_days(2)).words


def test_text_from_the_data_cannot_end_a_script_or_become_markup() -> None:
    drawn = dashboard.funnel(many_days(2))._repr_html_()
    assert "</script><b>" not in drawn
    assert drawn.count("</script>") == 1


def test_the_scripts_are_part_of_the_page() -> None:
    scripts = charts.scripts()
    assert "vegaEmbed" in scripts
    assert "src=" not in scripts.split(">", 1)[0]
    assert scripts.count("</script>") == 2
