"""What the acceptance expects, worked out by hand, against the witness of the validation."""

from __future__ import annotations

from collections import Counter

import pytest

from capstone_pipeline.accept import deliveries
from capstone_pipeline.accept.deliveries import Answers
from tests.oracle import Expected, expected_tables

TABLES = {
    1: "gold.conversion_funnel",
    2: "gold.hourly_revenue",
    3: "gold.top_products",
    4: "gold.category_performance",
    5: "gold.user_activity",
}


def witnessed(*given: dict[str, bytes]) -> Expected:
    objects = {f"s3://raw/{key}": content for delivery in given for key, content in delivery.items()}
    return expected_tables(objects)


@pytest.mark.parametrize("number", TABLES)
@pytest.mark.parametrize(
    "given, answers",
    [
        ([deliveries.FIRST, deliveries.IGNORED], deliveries.AFTER_FIRST),
        ([deliveries.FIRST, deliveries.IGNORED, deliveries.SECOND], deliveries.AFTER_SECOND),
        ([deliveries.FIRST, deliveries.SECOND, deliveries.THIRD], deliveries.AFTER_THIRD),
    ],
    ids=["first", "second", "third"],
)
def test_the_answers_worked_out_by_hand_are_the_witnesss(
    given: list[dict[str, bytes]], answers: Answers, number: int
) -> None:
    assert Counter(answers[number]) == Counter(witnessed(*given)[TABLES[number]])


def test_so_are_the_lines_of_each_object_and_the_reasons() -> None:
    tables = witnessed(deliveries.FIRST, deliveries.IGNORED, deliveries.SECOND)
    bronze, rejected = tables["bronze.events"], tables["bronze.events_rejected"]
    found = Counter((row[9].removeprefix("s3://raw/"), 0) for row in bronze)
    found += Counter((row[2].removeprefix("s3://raw/"), 1) for row in rejected)
    assert {key: (found[key, 0], found[key, 1]) for key in deliveries.LINES} == deliveries.LINES
    assert sum(found.values()) == sum(map(sum, deliveries.LINES.values()))
    assert Counter(row[1] for row in rejected) == deliveries.REASONS


def test_no_table_has_fewer_rows_after_the_run_that_is_watched() -> None:
    before, after = deliveries.AFTER_FIRST, deliveries.AFTER_SECOND
    assert all(len(before[number]) <= len(after[number]) for number in before)
    assert all(before[number] != after[number] for number in before)
