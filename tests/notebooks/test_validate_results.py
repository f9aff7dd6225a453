"""validate_results.ipynb: passes over a sound lake, goes red at a planted fault."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import capstone_pipeline as pipeline
from capstone_pipeline import Connection, Shop, StackOutputs
from capstone_pipeline.raw_objects import RawObject
from capstone_pipeline.report import NotebookFailed, run_notebook
from notebooks import validation
from notebooks.recompute import Recomputed, compute, query_rows, recompute
from notebooks.validation import (
    Check,
    Figure,
    Validation,
    ValidationFailed,
    differing_rows,
    shares_of_files,
)
from tests.notebooks.conftest import NOTEBOOKS, STUDENT_ID

# awswrangler calls pandas in a way that pandas 4 will not know.
pytestmark = pytest.mark.filterwarnings("ignore:The copy keyword is deprecated")

EVENT = '{"timestamp":"2025-11-18T00:00:00Z","user_id":"u","session_id":"s","event_type":"search"}'


# --- The notebook -------------------------------------------------------------------------------------------


def test_every_check_passes_over_the_sample_data(executed: Callable[[str], Path]) -> None:
    page = executed("validate_results").with_suffix(".html").read_text()
    assert "8 checks passed, 0 skipped." in page
    assert page.count(">passed<") > 40
    assert ">failed<" not in page


def first_object(shop: Shop, prefix: str) -> str:
    s3 = shop.aws.client("s3")
    listed = s3.list_objects_v2(Bucket=shop.stack.analytics_bucket_name, Prefix=prefix)["Contents"]
    return next(item["Key"] for item in listed if item["Key"].endswith(".parquet"))


@contextmanager
def changed(shop: Shop, prefix: str, change: Callable[[pa.Table], pa.Table]) -> Iterator[None]:
    """The first file below a prefix of the analytics bucket, changed for the length of the block."""
    s3, bucket = shop.aws.client("s3"), shop.stack.analytics_bucket_name
    key = first_object(shop, prefix)
    original = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    buffer = io.BytesIO()
    pq.write_table(change(pq.read_table(io.BytesIO(original))), buffer)
    s3.put_object(Bucket=bucket, Key=key, Body=buffer.getvalue())
    try:
        yield
    finally:
        s3.put_object(Bucket=bucket, Key=key, Body=original)


def all_checks(shop: Shop, recomputed: Recomputed) -> dict[str, Check]:
    return {
        "lines": validation.check_lines(shop, recomputed),
        "events": validation.check_events(shop, recomputed),
        "funnel": validation.check_funnel(shop, recomputed),
        "revenue": validation.check_revenue(shop, recomputed),
        "top": validation.check_top_products(shop, recomputed),
        "categories": validation.check_categories(shop, recomputed),
        "users": validation.check_users(shop, recomputed),
        "schemas": validation.check_schemas(shop),
    }


def failed(checks: dict[str, Check]) -> list[str]:
    return [name for name, check in checks.items() if check.state == "failed"]


def one_cent_more(table: pa.Table) -> pa.Table:
    amounts = table["total_revenue"].to_pylist()
    amounts[0] += Decimal("0.01")
    position = table.schema.get_field_index("total_revenue")
    return table.set_column(position, "total_revenue", pa.array(amounts, table.schema.field(position).type))


def test_one_cent_in_a_gold_table_turns_the_notebook_red_at_the_revenue(shop: Shop, tmp_path: Path) -> None:
    with (
        changed(shop, "gold/hourly_revenue/", one_cent_more),
        pytest.raises(NotebookFailed, match="ValidationFailed: 1 of 8 checks failed") as caught,
    ):
        run_notebook(NOTEBOOKS / "validate_results.ipynb", tmp_path / "red.ipynb", {"student_id": STUDENT_ID})
    assert "Hourly revenue matches a sum by hand: revenue added up purchase by purchase" in caught.value.what
    assert "should be 269,385.04, is 269,385.05" in caught.value.what


def test_a_files_events_missing_from_silver_fail_that_check_alone_and_name_the_file(
    shop: Shop, recomputed: Recomputed
) -> None:
    removed: list[str] = []

    def without_one_file(table: pa.Table) -> pa.Table:
        removed.append(table["source_file"][0].as_py())
        return table.filter(pc.not_equal(table["source_file"], removed[0]))

    with changed(shop, "silver/events_cleaned/", without_one_file):
        checks = all_checks(shop, recomputed)
    assert failed(checks) == ["events"]
    assert set(checks["events"].differences["source_file"].dropna()) == set(removed)


@pytest.mark.parametrize(
    ("prefix", "check"),
    [
        ("bronze/events/", "lines"),
        ("bronze/events_rejected/", "lines"),
        ("gold/conversion_funnel/", "funnel"),
        ("gold/top_products/", "top"),
        ("gold/category_performance/", "categories"),
        ("gold/user_activity/", "users"),
    ],
)
def test_a_row_that_is_missing_fails_the_check_of_its_table(
    prefix: str, check: str, shop: Shop, recomputed: Recomputed
) -> None:
    checks: dict[str, Callable[[], Check]] = {
        "lines": lambda: validation.check_lines(shop, recomputed),
        "funnel": lambda: validation.check_funnel(shop, recomputed),
        "top": lambda: validation.check_top_products(shop, recomputed),
        "categories": lambda: validation.check_categories(shop, recomputed),
        "users": lambda: validation.check_users(shop, recomputed),
    }
    with changed(shop, prefix, lambda table: table.slice(1)):
        assert checks[check]().state == "failed"
    assert checks[check]().state == "passed"


def test_a_column_of_another_type_fails_the_check_of_the_catalog(shop: Shop) -> None:
    def counted_in_32_bits(table: pa.Table) -> pa.Table:
        position = table.schema.get_field_index("unique_users")
        return table.set_column(position, "unique_users", table["unique_users"].cast(pa.int32()))

    with changed(shop, "gold/user_activity/", counted_in_32_bits):
        check = validation.check_schemas(shop)
    assert check.state == "failed"
    assert check.differences.values.tolist() == [
        [f"gold_{STUDENT_ID}.user_activity", "unique_users", "bigint", "int"]
    ]


# --- Its parts ----------------------------------------------------------------------------------------------


def test_an_event_that_silver_holds_twice_is_found(shop: Shop, recomputed: Recomputed) -> None:
    def first_row_twice(table: pa.Table) -> pa.Table:
        return pa.concat_tables([table, table.slice(0, 1)])

    with changed(shop, "silver/events_cleaned/", first_row_twice):
        check = validation.check_events(shop, recomputed)
    assert next(figure for figure in check.figures if "twice" in figure.name).found == 1


def test_two_events_of_one_millisecond_are_no_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Athena reads times in milliseconds; the answers here are those that it gives of a sound silver."""
    arrived = datetime(2025, 11, 18, 0, 5, tzinfo=UTC)
    item = RawObject("s3://raw/events/x.jsonl", arrived, arrived)
    search = EVENT.replace("}", ',"search_query":"shoes"}')
    lines = [search.replace("00:00Z", f"00:00.123{micros}Z") for micros in ("001", "999")]
    database = compute([(item, "\n".join(lines).encode())])
    database.execute(
        "CREATE SCHEMA silver_database_name; CREATE TABLE silver_database_name.events_cleaned AS SELECT * "
        "REPLACE (date_trunc('milliseconds', event_timestamp) AS event_timestamp), sources[1] AS source_file "
        "FROM events"
    )
    monkeypatch.setattr(Shop, "ask", lambda shop, sql, title: query_rows(database, sql))
    names = StackOutputs(**{field.name: field.name for field in fields(StackOutputs)})
    recomputed = Recomputed(database, (item,), (), (), None, arrived)
    shop = Shop(Connection(boto3.Session(), "", "", None), names)
    check = validation.check_events(shop, recomputed)
    assert {figure.name: figure.found for figure in check.figures}["events"] == 2
    assert check.state == "passed", str(check)


def test_raw_objects_that_came_after_the_last_run_are_left_out(shop: Shop, recomputed: Recomputed) -> None:
    s3, bucket = shop.aws.client("s3"), shop.stack.source_bucket_name
    told = "events/year=2025/month=11/day=18/hour=02/minute=00/events-20251118-020000.jsonl.gz"
    keys = (told, "events/whenever.txt", "events/_temporary/hidden.txt")
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=EVENT.encode())
    try:
        again = recompute(shop)
    finally:
        for key in keys:
            s3.delete_object(Bucket=bucket, Key=key)
    assert set(again.pending) == {f"s3://{bucket}/{key}" for key in keys[:2]}
    assert again.rows("SELECT * FROM hourly_revenue ORDER BY ALL").equals(
        recomputed.rows("SELECT * FROM hourly_revenue ORDER BY ALL")
    )


def test_what_an_expired_object_brought_is_not_compared(shop: Shop) -> None:
    s3, bucket = shop.aws.client("s3"), shop.stack.source_bucket_name
    key = "events/year=2025/month=11/day=17/hour=23/minute=10/events-20251117-231000.jsonl.gz"
    content = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    s3.delete_object(Bucket=bucket, Key=key)
    try:
        after = recompute(shop)
        states = {name: check.state for name, check in all_checks(shop, after).items()}
    finally:
        s3.put_object(Bucket=bucket, Key=key, Body=content)
    assert after.expired == (f"s3://{bucket}/{key}",)
    assert {name for name, state in states.items() if state == "skipped"} == {"funnel", "top"}
    assert "failed" not in states.values()


def test_without_a_successful_run_the_reader_is_told_to_run_the_job(shop: Shop) -> None:
    other = pipeline.StackOutputs(**{**vars(shop.stack), "glue_job_name": "capstone-etl-nobody"})
    with pytest.raises(pipeline.NotRunYet, match=r"No run of Glue job capstone-etl-nobody has succeeded"):
        recompute(Shop(shop.aws, other))


def test_an_event_of_several_files_may_name_any_of_them_and_no_event_another() -> None:
    names = {"source_file": list("abcd"), "event_date": [date(2025, 11, 18)] * 4}
    bounds = pd.DataFrame(names | {"least": [5, 0, 5, 5], "most": [7, 2, 7, 7]}).head(3)
    found = pd.DataFrame(names | {"event_count": [6, 0, 8, 1]}).query("event_count > 0")
    possible, shares = shares_of_files(found, bounds)
    assert list(possible["event_count"]) == [6, 0, 7, 0]
    assert list(shares["event_count"]) == [6, 0, 8, 1]


def test_rows_are_compared_as_often_as_they_occur() -> None:
    def frame(*rows: tuple[Any, ...]) -> Any:
        return pd.DataFrame(rows, columns=["name", "amount"], dtype=object)

    found = differing_rows(
        frame(("a", Decimal("1.50")), ("b", None), ("b", None)),
        frame(("a", Decimal("1.5")), ("b", None), ("c", 1)),
    )
    assert [tuple(row) for row in found.values] == [
        ("missing or other", "b", None),
        ("in the tables only", "c", 1),
    ]


def test_a_failed_check_stops_the_notebook_with_both_figures() -> None:
    good = Check("Sound", (Figure("rows", 3, 3),), differing_rows(*[empty_frame()] * 2))
    bad = Check("Broken", (Figure("revenue, USD", Decimal("10.00"), Decimal("10.01")),), good.differences)
    with pytest.raises(ValidationFailed, match=r"Broken: revenue, USD should be 10.00, is 10.01"):
        Validation((good, bad)).require_passed()
    assert str(Validation((good,)).require_passed()) == "1 checks passed, 0 skipped."


def empty_frame() -> Any:
    return pd.DataFrame({"name": []})
