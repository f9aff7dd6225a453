"""Athena of the embedded AWS through its API, the stock CLI and awswrangler: tables in, results out."""

from __future__ import annotations

import csv
import gzip
import inspect
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import awswrangler as wr
import pandas as pd
import pyarrow as pa
import pytest
from botocore.exceptions import ClientError

from lake import Lake
from local_aws.server import LocalAws, running_server

SALES = {
    "event_date": pa.array([date(2025, 11, 18), date(2025, 11, 18), None]),
    "hour": pa.array([1, 2, None], pa.int32()),
    "revenue": pa.array([Decimal("10.05"), Decimal("20.10"), None], pa.decimal128(18, 2)),
    "buys": pa.array([3, 0, None], pa.int64()),
    "at": pa.array(
        [datetime(2025, 11, 18, 1, 2, 3, 123600), datetime(2025, 11, 18, 2), None], pa.timestamp("us")
    ),
    "category": pa.array(["a", "", 'say "x", y']),
    "share": pa.array([0.5, 1e10, None]),
    "tags": pa.array([["x", "y"], [], None], pa.list_(pa.string())),
}
SALES_COLUMNS = {
    "event_date": "date",
    "hour": "int",
    "revenue": "decimal(18,2)",
    "buys": "bigint",
    "at": "timestamp",
    "category": "string",
    "share": "double",
    "tags": "array<string>",
}
MONTHLY = {
    "projection.enabled": "true",
    "projection.year.type": "integer",
    "projection.year.range": "2020,2039",
    "projection.month.type": "integer",
    "projection.month.range": "1,12",
    "projection.month.digits": "2",
}


@pytest.fixture(scope="module")
def lake(aws: LocalAws) -> Iterator[Lake]:
    lake = Lake(aws, "athena-lake")
    lake.put_parquet("sales/part-0.parquet", SALES)
    lake.create_table("sales", SALES_COLUMNS)
    lake.create_table("nothing", SALES_COLUMNS)
    for folder in ("year=2025/month=03", "year=2025/month=11", "year=2041/month=01", "year=2025/month=4"):
        lake.put_parquet(
            f"monthly/{folder}/part-0.parquet", {"place": pa.array([folder]), "n": pa.array([1])}
        )
    monthly = {"place": "string", "n": "bigint"}
    keys = {"year": "int", "month": "int"}
    lake.create_table("monthly", monthly, partitions=keys, parameters=MONTHLY)
    yield lake


def object_keys(lake: Lake, prefix: str) -> list[str]:
    listing = lake.s3.list_objects_v2(Bucket=lake.bucket, Prefix=prefix)
    return [entry["Key"] for entry in listing.get("Contents", [])]


# --- Results ---


def test_the_result_lands_where_athena_puts_it_and_is_quoted_as_athena_quotes(lake: Lake) -> None:
    outcome = lake.query("SELECT hour, revenue, category, at FROM sales ORDER BY hour")

    query_id = outcome.execution["QueryExecutionId"]
    url = f"s3://{lake.bucket}/results/{query_id}.csv"
    assert outcome.execution["ResultConfiguration"]["OutputLocation"] == url
    assert object_keys(lake, f"results/{query_id}") == [
        f"results/{query_id}.csv",
        f"results/{query_id}.csv.metadata",
    ]
    content = lake.s3.get_object(Bucket=lake.bucket, Key=f"results/{query_id}.csv")["Body"].read().decode()
    assert content == (
        '"hour","revenue","category","at"\n'
        '"1","10.05","a","2025-11-18 01:02:03.124"\n'
        '"2","20.10","","2025-11-18 02:00:00.000"\n'
        ',,"say ""x"", y",\n'
    )
    assert list(csv.reader(content.splitlines()))[3] == ["", "", 'say "x", y', ""]


def test_columns_have_athenas_types_and_values_their_texts(lake: Lake) -> None:
    outcome = lake.query("SELECT * FROM sales ORDER BY hour")

    assert outcome.names == list(SALES_COLUMNS)
    assert outcome.types == [
        "date",
        "integer",
        "decimal(18,2)",
        "bigint",
        "timestamp",
        "varchar",
        "double",
        "array",
    ]
    assert outcome.rows[0] == (
        "2025-11-18",
        "1",
        "10.05",
        "3",
        "2025-11-18 01:02:03.124",
        "a",
        "0.5",
        "[x, y]",
    )
    assert outcome.rows[1][6] == "1.0E10"
    assert outcome.rows[2] == (None, None, None, None, None, 'say "x", y', None, None)


def test_the_first_page_starts_with_the_header_and_pages_join(lake: Lake) -> None:
    query_id = lake.start("SELECT x FROM UNNEST(sequence(1, 25)) AS t (x) ORDER BY x")
    lake.wait(query_id)

    pages = [lake.athena.get_query_results(QueryExecutionId=query_id, MaxResults=10)]
    while "NextToken" in pages[-1]:
        pages.append(
            lake.athena.get_query_results(
                QueryExecutionId=query_id, MaxResults=10, NextToken=pages[-1]["NextToken"]
            )
        )

    values = [[row["Data"][0]["VarCharValue"] for row in page["ResultSet"]["Rows"]] for page in pages]
    assert [len(page) for page in values] == [10, 10, 6]
    assert values[0][0] == "x"
    assert [value for page in values for value in page][1:] == [str(n) for n in range(1, 26)]


def test_an_execution_carries_what_athena_reports(lake: Lake) -> None:
    execution = lake.query("SELECT hour FROM sales").execution

    assert execution["StatementType"] == "DML"
    assert execution["WorkGroup"] == lake.workgroup
    assert execution["QueryExecutionContext"] == {"Database": lake.database, "Catalog": "awsdatacatalog"}
    assert execution["EngineVersion"]["EffectiveEngineVersion"] == "Athena engine version 3"
    assert execution["Status"]["CompletionDateTime"] >= execution["Status"]["SubmissionDateTime"]
    statistics = execution["Statistics"]
    assert statistics["TotalExecutionTimeInMillis"] >= statistics["EngineExecutionTimeInMillis"] > 0


def test_a_failed_query_says_why_and_has_no_results(lake: Lake) -> None:
    outcome = lake.query("SELECT nope FROM sales")

    assert outcome.state == "FAILED"
    assert outcome.reason.startswith("COLUMN_NOT_FOUND: line 1:8: Column 'nope' cannot be resolved")
    assert outcome.execution["Status"]["AthenaError"]["ErrorMessage"] == outcome.reason
    with pytest.raises(ClientError, match="Final query state: FAILED"):
        lake.athena.get_query_results(QueryExecutionId=outcome.execution["QueryExecutionId"])


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT * FROM missing", "TABLE_NOT_FOUND: line 1:15: Table 'awsdatacatalog.athena_lake.missing'"),
        ("SELECT * FROM no_db.sales", "SCHEMA_NOT_FOUND: line 1:15: Schema 'no_db' does not exist"),
        ("DESCRIBE missing", "TABLE_NOT_FOUND: Table 'awsdatacatalog.athena_lake.missing' does not exist"),
        ("SHOW TABLES IN no_db", "SCHEMA_NOT_FOUND: Schema 'no_db' does not exist"),
        ("DROP TABLE missing", "TABLE_NOT_FOUND"),
        ("EXPLAIN ANALYZE SELECT 1", "NOT_SUPPORTED: EXPLAIN ANALYZE"),
        ("CREATE TABLE t WITH (format = 'AVRO') AS SELECT 1 a", "NOT_SUPPORTED: AVRO is not written"),
        ("CREATE TABLE t AS SELECT 1", "MISSING_COLUMN_NAME: Column name not specified at position 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_fails_and_never_succeeds_silently(lake: Lake, sql: str, reason: str) -> None:
    assert lake.error(sql).startswith(reason)


def test_a_stopped_query_is_cancelled(lake: Lake) -> None:
    query_id = lake.start(
        "SELECT count(*) FROM UNNEST(sequence(1, 300000)) AS a (x) "
        "CROSS JOIN UNNEST(sequence(1, 300000)) AS b (y) WHERE x * y % 7 = 3"
    )
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        execution = lake.athena.get_query_execution(QueryExecutionId=query_id)["QueryExecution"]
        if execution["Status"]["State"] == "RUNNING":
            break
    time.sleep(0.3)

    lake.athena.stop_query_execution(QueryExecutionId=query_id)

    execution = lake.wait(query_id)
    assert execution["Status"]["State"] == "CANCELLED", execution["Status"]
    assert execution["Status"]["StateChangeReason"] == "Query was cancelled by user"


def test_parameters_replace_question_marks(lake: Lake) -> None:
    sql = "SELECT hour FROM sales WHERE hour = ? AND category = ?"

    assert lake.rows(sql, ExecutionParameters=["1", "'a'"]) == [("1",)]
    assert "Incorrect number of parameters" in lake.error(sql, ExecutionParameters=["1"])


def test_a_repeated_request_token_starts_no_second_query(lake: Lake) -> None:
    token = "a-token-that-is-long-enough-for-the-api"

    first = lake.start("SELECT 1", ClientRequestToken=token)

    assert lake.start("SELECT 1", ClientRequestToken=token) == first
    with pytest.raises(ClientError, match="Idempotent parameters do not match"):
        lake.start("SELECT 2", ClientRequestToken=token)


def test_the_newest_query_is_listed_first(lake: Lake) -> None:
    query_id = lake.query("SELECT 1").execution["QueryExecutionId"]

    listed = lake.athena.list_query_executions(WorkGroup=lake.workgroup, MaxResults=1)

    assert listed["QueryExecutionIds"] == [query_id]
    assert listed["NextToken"]


# --- Workgroups ---


def test_the_location_of_an_enforced_workgroup_wins(lake: Lake) -> None:
    elsewhere = {"OutputLocation": f"s3://{lake.bucket}/elsewhere/"}

    enforced = lake.query("SELECT 1", ResultConfiguration=elsewhere)
    free = lake.query("SELECT 1", ResultConfiguration=elsewhere, WorkGroup="primary")

    assert "/results/" in enforced.execution["ResultConfiguration"]["OutputLocation"]
    assert "/elsewhere/" in free.execution["ResultConfiguration"]["OutputLocation"]


@pytest.mark.parametrize(
    ("request_settings", "message"),
    [
        ({"WorkGroup": "no-such-workgroup"}, "WorkGroup no-such-workgroup is not found."),
        ({"WorkGroup": "primary"}, "No output location provided"),
        (
            {"WorkGroup": "primary", "ResultConfiguration": {"OutputLocation": "s3://no-such-bucket-here/"}},
            "Unable to verify/create output bucket no-such-bucket-here",
        ),
        (
            {"WorkGroup": "primary", "ResultConfiguration": {"OutputLocation": "/tmp/results"}},
            "outputLocation is not a valid S3 path",
        ),
    ],
)
def test_a_request_that_athena_refuses_is_refused(
    lake: Lake, request_settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ClientError, match=message) as refused:
        lake.start("SELECT 1", **request_settings)

    assert refused.value.response["Error"]["Code"] == "InvalidRequestException"


def test_a_query_over_the_scan_limit_is_cancelled(lake: Lake) -> None:
    configuration = {
        "ResultConfiguration": {"OutputLocation": f"s3://{lake.bucket}/results/"},
        "BytesScannedCutoffPerQuery": 10_000_000,
    }
    lake.athena.create_work_group(Name="thrifty", Configuration=configuration)
    lake.put_parquet("large/x.parquet", {"n": pa.array([1]), "noise": pa.array([os.urandom(10_000_000)])})
    lake.create_table("large", {"n": "bigint", "noise": "binary"})

    outcome = lake.query("SELECT * FROM large", WorkGroup="thrifty")

    assert outcome.state == "CANCELLED"
    assert outcome.reason.startswith("Bytes scanned limit was exceeded")
    assert lake.query("SELECT n FROM large", WorkGroup="thrifty").rows == [("1",)]


def test_workgroups_have_the_settings_that_awswrangler_reads(lake: Lake) -> None:
    for name, enforced in (("primary", False), (lake.workgroup, True)):
        found = lake.athena.get_work_group(WorkGroup=name)["WorkGroup"]["Configuration"]
        assert found["EnforceWorkGroupConfiguration"] is enforced
        assert found["EngineVersion"]["EffectiveEngineVersion"] == "Athena engine version 3"
    with pytest.raises(ClientError, match="is not found"):
        lake.athena.get_work_group(WorkGroup="no-such-workgroup")


# --- Tables ---


def test_a_table_without_objects_is_empty_and_has_its_columns(lake: Lake) -> None:
    outcome = lake.query("SELECT * FROM nothing")

    assert outcome.rows == []
    assert outcome.names == list(SALES_COLUMNS)
    assert outcome.types[2] == "decimal(18,2)"


def test_only_projected_partitions_are_seen(lake: Lake) -> None:
    rows = lake.rows("SELECT place, year, month FROM monthly ORDER BY month")

    assert rows == [("year=2025/month=03", "2025", "3"), ("year=2025/month=11", "2025", "11")]


def test_only_registered_partitions_are_seen_where_nothing_is_projected(lake: Lake) -> None:
    location = f"s3://{lake.bucket}/monthly/"
    lake.create_table(
        "listed", {"n": "bigint"}, partitions={"year": "int", "month": "string"}, location=location
    )
    assert lake.rows("SELECT * FROM listed") == []

    lake.rows("MSCK REPAIR TABLE listed")

    assert lake.rows("SELECT year, month FROM listed ORDER BY 1, 2") == [
        ("2025", "03"),
        ("2025", "11"),
        ("2025", "4"),
        ("2041", "01"),
    ]
    assert lake.rows("SHOW PARTITIONS listed")[0] == ("year=2025/month=03",)


@pytest.mark.parametrize(
    ("settings", "value"),
    [
        ({"type": "date", "range": "2025-01-01,NOW", "format": "yyyy-MM-dd"}, "2025-11-18"),
        ({"type": "enum", "values": "2025-11-18,other"}, "2025-11-18"),
    ],
)
def test_dates_and_enumerations_are_projected(lake: Lake, settings: dict[str, str], value: str) -> None:
    name = f"projected_{settings['type']}"
    for day in ("2025-11-18", "2019-01-01"):
        lake.put_parquet(f"{name}/by-day/{day}/part-0.parquet", {"n": pa.array([1])})
    parameters = {f"projection.day.{key}": text for key, text in settings.items()}
    parameters["projection.enabled"] = "true"
    parameters["storage.location.template"] = f"s3://{lake.bucket}/{name}/by-day/${{day}}"
    lake.create_table(name, {"n": "bigint"}, partitions={"day": "string"}, parameters=parameters)

    assert lake.rows(f"SELECT day FROM {name} WHERE day > '2020'") == [(value,)]


@pytest.fixture(scope="module")
def injected(lake: Lake) -> str:
    """A table whose days a query has to name, and whose hours it may name."""
    for day, hour in (("17", "05"), ("18", "05"), ("18", "06")):
        lake.put_parquet(f"injected/day={day}/hour={hour}/part-0.parquet", {"n": pa.array([int(day)])})
    parameters = {
        "projection.enabled": "true",
        "projection.day.type": "injected",
        "projection.hour.type": "integer",
        "projection.hour.range": "0,23",
        "projection.hour.digits": "2",
    }
    keys = {"day": "string", "hour": "int"}
    lake.create_table("injected", {"n": "bigint"}, partitions=keys, parameters=parameters)
    lake.create_table(
        "injected_int",
        {"n": "bigint"},
        partitions={"day": "int", "hour": "int"},
        parameters=parameters,
        location=f"s3://{lake.bucket}/injected/",
    )
    return "injected"


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("day = '18'", 2),
        ("'18' = day AND hour = 6", 1),
        ("day IN ('17', '18') AND (hour < 6 OR n > 17)", 3),
        ("(day = '17')", 1),
        ("day = '19'", 0),
        ("day = concat('1', '8')", 2),
    ],
)
def test_injected_values_are_those_that_the_query_names(
    lake: Lake, injected: str, condition: str, rows: int
) -> None:
    assert lake.rows(f"SELECT count(*) FROM {injected} WHERE {condition}") == [(str(rows),)]


@pytest.mark.parametrize(
    "rest",
    [
        "",
        "WHERE hour = 5",
        "WHERE day > '17'",
        "WHERE day = '18' OR hour = 5",
        "WHERE day = '18' AND day <> '17'",
        "WHERE day IN (SELECT '18')",
        "WHERE day LIKE '18'",
    ],
)
def test_a_query_that_does_not_name_injected_values_is_refused(lake: Lake, injected: str, rest: str) -> None:
    error = lake.error(f"SELECT count(*) FROM {injected} {rest}")
    assert "CONSTRAINT_VIOLATION: For the injected projected partition column day, the WHERE clause" in error


def test_only_a_string_can_be_injected(lake: Lake, injected: str) -> None:
    assert "only columns of type string" in lake.error(f"SELECT n FROM {injected}_int WHERE day = 18")


def test_a_partition_key_without_projection_is_an_error(lake: Lake) -> None:
    parameters = {"projection.enabled": "true", "projection.year.type": "integer"}
    lake.create_table(
        "halfway", {"n": "bigint"}, partitions={"year": "int", "month": "int"}, parameters=parameters
    )

    assert "missing projection configuration: ['month']" in lake.error("SELECT * FROM halfway")


def test_columns_are_read_by_name_and_may_be_missing_in_some_files(lake: Lake) -> None:
    lake.put_parquet("evolving/old.parquet", {"B": pa.array(["old"]), "a": pa.array([1], pa.int32())})
    lake.put_parquet("evolving/new.parquet", {"a": pa.array([2], pa.int64()), "c": pa.array([0.5])})
    lake.put("evolving/_SUCCESS", b"not parquet")
    lake.put("evolving/.hidden/x.parquet", b"not parquet")
    lake.create_table("evolving", {"a": "bigint", "b": "string", "c": "double", "d": "date"})

    assert lake.rows("SELECT * FROM evolving ORDER BY a") == [
        ("1", "old", None, None),
        ("2", None, "0.5", None),
    ]


def test_timestamps_are_utc_and_have_milliseconds_however_they_are_stored(lake: Lake) -> None:
    moment = datetime(2025, 11, 18, 23, 59, 59, 999600)
    for zone in (None, "UTC"):
        lake.put_parquet(f"moments/{zone}.parquet", {"at": pa.array([moment], pa.timestamp("us", zone))})
    lake.create_table("moments", {"at": "timestamp"})

    assert lake.rows("SELECT at, hour(at) FROM moments") == [("2025-11-19 00:00:00.000", "0")] * 2


def test_a_file_of_another_type_than_the_catalogs_is_bad_data(lake: Lake) -> None:
    lake.put_parquet("mistyped/x.parquet", {"price": pa.array([1.5])})
    lake.create_table("mistyped", {"price": "decimal(10,2)"})
    lake.put("broken/x.parquet", b"PAR0 is not a magic number")
    lake.create_table("broken", {"price": "double"})

    assert lake.error("SELECT * FROM mistyped") == (
        f"HIVE_BAD_DATA: Field price's type double in parquet file s3://{lake.bucket}/mistyped/x.parquet "
        "is incompatible with type decimal(10,2) defined in table schema"
    )
    assert "HIVE_BAD_DATA: Not valid Parquet file" in lake.error("SELECT * FROM broken")


def test_an_overwritten_object_is_read_anew(lake: Lake) -> None:
    lake.create_table("changing", {"n": "bigint"})
    lake.put_parquet("changing/x.parquet", {"n": pa.array([1])})
    assert lake.rows("SELECT n FROM changing") == [("1",)]

    lake.put_parquet("changing/x.parquet", {"n": pa.array([2])})
    assert lake.rows("SELECT n FROM changing") == [("2",)]

    lake.s3.delete_object(Bucket=lake.bucket, Key="changing/x.parquet")
    assert lake.rows("SELECT n FROM changing") == []


def test_json_lines_and_delimited_text_are_read_plain_or_compressed(lake: Lake) -> None:
    lines = '{"id": 1, "name": "x", "tags": ["a"]}\n{"id": 2}\n'
    lake.put("events/a.jsonl.gz", gzip.compress(lines.encode()))
    lake.create_table("events", {"id": "int", "name": "string", "tags": "array<string>"}, file_format="json")
    lake.put("quoted/a.csv", b'id,name\n1,"x, y"\n2,\n')
    lake.create_table(
        "quoted",
        {"id": "int", "name": "string"},
        file_format="csv",
        parameters={"skip.header.line.count": "1"},
    )
    lake.put("plain/a.txt", b"1\x01x\n2\x01y\n")
    lake.create_table("plain", {"id": "int", "name": "string"}, file_format="text")

    assert lake.rows("SELECT * FROM events ORDER BY id") == [("1", "x", "[a]"), ("2", None, None)]
    assert lake.rows("SELECT name FROM quoted WHERE id = 1") == [("x, y",)]
    assert lake.rows("SELECT * FROM plain ORDER BY id") == [("1", "x"), ("2", "y")]


def test_a_format_that_is_not_read_fails_by_name(lake: Lake) -> None:
    lake.put("avros/x.avro", b"Obj")
    lake.create_table("avros", {"a": "int"}, file_format="avro")

    assert "reads Parquet, ORC, JSON and CSV, not avro" in lake.error("SELECT * FROM avros")


def test_a_location_in_a_missing_bucket_fails(lake: Lake) -> None:
    lake.create_table("adrift", {"a": "int"}, location="s3://no-such-bucket-anywhere/adrift/")

    assert "HIVE_FILESYSTEM_ERROR" in lake.error("SELECT * FROM adrift")


def test_databases_are_chosen_by_context_or_by_name(lake: Lake) -> None:
    other = Lake(lake.aws, "athena-other")
    other.create_table("sales", {"only_here": "int"})

    assert lake.query("SELECT * FROM athena_other.sales").names == ["only_here"]
    assert lake.query("SELECT * FROM sales", QueryExecutionContext={"Database": "athena_other"}).names == [
        "only_here"
    ]
    assert lake.rows(
        "SELECT count(*) FROM AwsDataCatalog.athena_lake.sales s "
        "LEFT JOIN athena_other.sales o ON s.hour = o.only_here"
    ) == [("3",)]


# --- Bytes scanned ---


def test_bytes_scanned_are_those_of_the_columns_and_partitions_read(lake: Lake) -> None:
    def scanned(sql: str) -> int:
        outcome = lake.query(sql)
        assert outcome.state == "SUCCEEDED", outcome.reason
        return outcome.execution["Statistics"]["DataScannedInBytes"]

    everything = scanned("SELECT * FROM sales")
    assert scanned("SELECT count(*) FROM sales") == 0
    assert 0 < scanned("SELECT hour FROM sales") < scanned("SELECT hour, revenue FROM sales") < everything
    assert scanned("SELECT hour FROM (SELECT * FROM sales)") == scanned("SELECT hour FROM sales")
    assert 2 * scanned("SELECT n FROM monthly WHERE month = 3 AND year > 2020") == scanned(
        "SELECT n FROM monthly"
    )
    assert scanned("SELECT a.n FROM monthly a LEFT JOIN monthly b ON a.n = b.n WHERE b.month IS NULL") > 0


def test_a_predicate_over_the_nullable_side_of_a_join_prunes_nothing_away(lake: Lake) -> None:
    rows = lake.rows(
        "SELECT count(*) FROM (VALUES 3, 5) AS wanted (m) LEFT JOIN monthly ON month = m WHERE month IS NULL"
    )

    assert rows == [("1",)]


# --- Statements over the catalog ---


def test_show_and_describe_read_the_catalog(lake: Lake) -> None:
    assert ("athena_lake",) in lake.rows("SHOW DATABASES")
    assert ("monthly",) in lake.rows("SHOW TABLES")
    assert lake.rows("SHOW TABLES IN athena_lake 'mon*'") == [("monthly",)]
    assert lake.rows("SHOW COLUMNS IN monthly") == [("place",), ("n",), ("year",), ("month",)]
    described = lake.query("DESCRIBE monthly")
    assert described.names == ["col_name", "data_type", "comment"]
    assert described.rows[0] == ("place               \tstring              \t                    ",)
    assert ("# Partition Information\t \t ",) in described.rows
    assert described.execution["StatementType"] == "UTILITY"
    assert described.execution["ResultConfiguration"]["OutputLocation"].endswith(".txt")


def test_create_table_as_writes_parquet_and_registers_the_table(lake: Lake) -> None:
    outcome = lake.query(
        f"CREATE TABLE made WITH (format = 'PARQUET', external_location = 's3://{lake.bucket}/made/') AS "
        "SELECT event_date, sum(revenue) AS total, count(*) AS n FROM sales GROUP BY event_date"
    )

    assert outcome.state == "SUCCEEDED", outcome.reason
    assert outcome.execution["StatementType"] == "DDL"
    columns = lake.glue.get_table(DatabaseName=lake.database, Name="made")["Table"]["StorageDescriptor"][
        "Columns"
    ]
    assert [(c["Name"], c["Type"]) for c in columns] == [
        ("event_date", "date"),
        ("total", "decimal(38,2)"),
        ("n", "bigint"),
    ]
    assert lake.rows("SELECT * FROM made ORDER BY n") == [(None, None, "1"), ("2025-11-18", "30.15", "2")]
    again = f"CREATE TABLE made_again WITH (external_location = 's3://{lake.bucket}/made/') AS SELECT 1 AS a"
    assert lake.error(again).startswith("HIVE_PATH_ALREADY_EXISTS")
    assert lake.error("CREATE TABLE made AS SELECT 1 AS a").startswith("TABLE_ALREADY_EXISTS")
    lake.rows("DROP TABLE made")
    assert "TABLE_NOT_FOUND" in lake.error("SELECT * FROM made")
    assert object_keys(lake, "made/"), "dropping an external table leaves its data"


def test_a_view_is_stored_and_read_as_athena_does(lake: Lake) -> None:
    lake.rows(
        "CREATE OR REPLACE VIEW daily AS SELECT event_date, sum(revenue) AS total FROM sales GROUP BY 1"
    )

    stored = lake.glue.get_table(DatabaseName=lake.database, Name="daily")["Table"]
    assert stored["TableType"] == "VIRTUAL_VIEW"
    assert stored["ViewOriginalText"].startswith("/* Presto View: ")
    assert lake.rows("SELECT d.total / 2 FROM daily d WHERE total > 1") == [("15.08",)]
    assert ("daily",) in lake.rows("SHOW VIEWS")
    assert lake.error("CREATE VIEW daily AS SELECT 1 AS a").startswith("TABLE_ALREADY_EXISTS")
    lake.rows("DROP VIEW daily")
    assert "TABLE_NOT_FOUND" in lake.error("SELECT * FROM daily")


def test_databases_and_external_tables_are_created_and_dropped(lake: Lake) -> None:
    lake.rows("CREATE DATABASE IF NOT EXISTS athena_made COMMENT 'x'")
    lake.rows(
        "CREATE EXTERNAL TABLE athena_made.t (n bigint, place string) PARTITIONED BY (year int, month int) "
        f"STORED AS PARQUET LOCATION 's3://{lake.bucket}/monthly/'"
    )
    lake.rows("MSCK REPAIR TABLE athena_made.t")

    assert lake.rows("SELECT count(*) FROM athena_made.t") == [("4",)]
    assert lake.error("DROP DATABASE athena_made").startswith("SCHEMA_NOT_EMPTY")
    lake.rows("DROP DATABASE athena_made CASCADE")
    lake.rows("DROP DATABASE IF EXISTS athena_made")


# --- awswrangler and the CLI ---


@pytest.mark.parametrize("ctas_approach", [False, True])
def test_awswrangler_reads_exact_types(lake: Lake, ctas_approach: bool) -> None:
    frame = wr.athena.read_sql_query(
        "SELECT event_date, hour, revenue, buys, at, category, share FROM sales ORDER BY hour",
        database=lake.database,
        workgroup=lake.workgroup,
        ctas_approach=ctas_approach,
        athena_query_wait_polling_delay=0.05,
        boto3_session=lake.aws.session(),
    )

    kinds = {name: str(kind) for name, kind in frame.dtypes.items()}
    assert kinds | {"at": ""} == {
        "event_date": "object",
        "hour": "Int32",
        "revenue": "object",
        "buys": "Int64",
        "at": "",
        "category": "string",
        "share": "float64",
    }
    assert kinds["at"].startswith("datetime64")
    first, last = frame.iloc[0], frame.iloc[2]
    assert (first.event_date, first.revenue, first.buys) == (date(2025, 11, 18), Decimal("10.05"), 3)
    assert first["at"] == pd.Timestamp("2025-11-18 01:02:03.124")
    assert last.event_date is None and last.revenue is None
    assert last.hour is pd.NA and last.category == 'say "x", y'


def test_awswrangler_reads_an_empty_table(lake: Lake) -> None:
    frame = wr.athena.read_sql_query(
        "SELECT hour, revenue FROM nothing",
        database=lake.database,
        workgroup=lake.workgroup,
        ctas_approach=False,
        athena_query_wait_polling_delay=0.05,
        boto3_session=lake.aws.session(),
    )

    assert list(frame.columns) == ["hour", "revenue"]
    assert frame.empty


def test_awswrangler_raises_athenas_reason(lake: Lake) -> None:
    with pytest.raises(wr.exceptions.QueryFailed, match="COLUMN_NOT_FOUND: line 1:8"):
        wr.athena.read_sql_query(
            "SELECT nope FROM sales",
            database=lake.database,
            workgroup=lake.workgroup,
            ctas_approach=False,
            athena_query_wait_polling_delay=0.05,
            boto3_session=lake.aws.session(),
        )


def test_awswrangler_describes_a_table(lake: Lake) -> None:
    described = wr.athena.describe_table(
        "monthly",
        database=lake.database,
        workgroup=lake.workgroup,
        athena_query_wait_polling_delay=0.05,
        boto3_session=lake.aws.session(),
    )

    assert list(described["Column Name"]) == ["place", "n", "year", "month"]
    assert list(described["Partition"]) == [False, False, True, True]


def test_the_stock_cli_runs_a_query_and_shows_its_rows(lake: Lake) -> None:
    def cli(*arguments: str) -> Any:
        aws_cli = str(Path(sys.executable).with_name("aws"))
        command = [aws_cli, "athena", *arguments, "--output", "json"]
        done = subprocess.run(
            command, env={**os.environ, **lake.aws.environment}, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    query_id = cli(
        "start-query-execution",
        *("--query-string", "SELECT hour, revenue FROM sales WHERE hour = 1"),
        *("--work-group", lake.workgroup),
        *("--query-execution-context", f"Database={lake.database}"),
    )["QueryExecutionId"]
    lake.wait(query_id)

    rows = cli("get-query-results", "--query-execution-id", query_id)["ResultSet"]["Rows"]
    assert [[datum["VarCharValue"] for datum in row["Data"]] for row in rows] == [
        ["hour", "revenue"],
        ["1", "10.05"],
    ]


# --- Life and ground ---


def test_results_survive_a_restart_and_unfinished_queries_end_failed(tmp_path: Any) -> None:
    with running_server(tmp_path / "state") as aws:
        lake = Lake(aws, "restarted")
        done = lake.query("SELECT 1 AS one").execution["QueryExecutionId"]
        endless = lake.start(
            "SELECT count(*) FROM UNNEST(sequence(1, 3000000)) AS a (x) "
            "CROSS JOIN UNNEST(sequence(1, 3000000)) AS b (y) WHERE x * y % 7 = 3"
        )

    with running_server(tmp_path / "state") as aws:
        athena = aws.client("athena")
        rows = athena.get_query_results(QueryExecutionId=done)["ResultSet"]["Rows"]
        assert [row["Data"][0]["VarCharValue"] for row in rows] == ["one", "1"]
        status = athena.get_query_execution(QueryExecutionId=endless)["QueryExecution"]["Status"]
        assert status["State"] == "FAILED"
        assert "embedded AWS ended while the query ran" in status["StateChangeReason"]


def test_ministack_still_has_what_athena_builds_on() -> None:
    from ministack.core import concurrency, responses
    from ministack.services import athena, s3

    handler = ["method", "path", "headers", "body", "query_params"]
    assert list(inspect.signature(athena.handle_request).parameters) == handler
    assert list(inspect.signature(athena.load_persisted_state).parameters) == ["data"]
    assert list(inspect.signature(athena._parse_ddl).parameters) == ["query"]
    assert list(inspect.signature(athena._create_table_input).parameters) == ["ddl"]
    assert list(inspect.signature(athena._execution_out).parameters) == ["ex"]
    assert list(inspect.signature(s3._get_object_data).parameters)[:2] == ["bucket_name", "key"]
    assert list(inspect.signature(responses.error_response_json).parameters)[:3] == [
        "code",
        "message",
        "status",
    ]
    assert list(inspect.signature(concurrency.run_reentrant).parameters) == ["fn", "args", "thread_name"]
    for store in (athena._executions, athena._workgroups):
        assert isinstance(store, responses.AccountRegionScopedDict)
    athena._ensure_default_workgroup()
    assert athena._workgroups["primary"]["Name"] == "primary"
    statement = athena._parse_ddl("CREATE EXTERNAL TABLE d.t (a int) STORED AS PARQUET LOCATION 's3://b/t/'")
    assert (statement.database, statement.table, statement.if_not_exists) == ("d", "t", False)
