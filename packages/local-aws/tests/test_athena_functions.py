"""Functions, literals and casts of Trino that DuckDB has too, with another meaning; and what is refused.

Expected values are those of Trino's documentation (https://trino.io/docs/current/functions.html) and source.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest

from in_process import Run, failure, sql_type
from lake import Lake
from local_aws.athena.errors import QueryFailed
from local_aws.server import LocalAws

SUNDAY = "timestamp '2025-01-05 10:11:12'"


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        (f"format_datetime({SUNDAY}, 'E')", "Sun"),
        (f"format_datetime({SUNDAY}, 'EEEE, d MMM yy, h:mm a ''at'' HH:mm:ss.SSS')",
         "Sunday, 5 Jan 25, 10:11 AM at 10:11:12.000"),
        (f"format_datetime({SUNDAY}, 'xxxx-ww-e')", "2025-01-7"),
        (f"date_format({SUNDAY}, '%v %x')", "01 2025"),
        (f"date_format({SUNDAY}, '%f %c %e %k %l %r %T %h %p %y %M %b %a %W %j %%')",
         "000000 1 5 10 10 10:11:12 AM 10:11:12 10 AM 25 January Jan Sun Sunday 005 %"),
        ("date_parse('2025-01-05 10:11:12.123456', '%Y-%m-%d %H:%i:%s.%f')", "2025-01-05 10:11:12.123"),
        ("parse_datetime('05/01/2025', 'dd/MM/yyyy')", "2025-01-05 00:00:00.000 UTC"),
        ("from_unixtime(1.2345)", "1970-01-01 00:00:01.235 UTC"),
        ("hour(from_unixtime(0, 'America/New_York'))", "19"),
        ("CAST(from_unixtime(0, 'America/New_York') AS timestamp)", "1969-12-31 19:00:00.000"),
        ("date(date_trunc('day', from_unixtime(0, 'America/New_York')))", "1969-12-31"),
        ("date_format(at_timezone(from_unixtime(0), 'Asia/Tokyo'), '%H')", "09"),
        ("CAST(' 2025-1-5 ' AS date)", "2025-01-05"),
        ("CAST('2025-01-05 10:11' AS timestamp)", "2025-01-05 10:11:00.000"),
        ("CAST(from_unixtime(0) AS varchar)", "1970-01-01 00:00:00.000 UTC"),
        ("sequence(date '2025-01-31', date '2025-05-31', interval '1' month)",
         "[2025-01-31, 2025-02-28, 2025-03-31, 2025-04-30, 2025-05-31]"),
        ("sequence(date '2025-03-31', date '2025-01-31', interval '-1' month)",
         "[2025-03-31, 2025-02-28, 2025-01-31]"),
        ("sequence(date '2025-01-02', date '2025-01-01')", "[2025-01-02, 2025-01-01]"),
        (f"sequence({SUNDAY}, timestamp '2025-01-05 12:00:00', interval '1' hour)",
         "[2025-01-05 10:11:12.000, 2025-01-05 11:11:12.000]"),
        ("interval '3' month", "0-3"),
        ("interval '1' year + 2 * interval '1' month", "1-2"),
        ("- interval '14' month", "-1-2"),
        ("date '2025-01-31' + 2 * interval '1' month", "2025-03-31"),
        ("interval '1' month + date '2025-01-31'", "2025-02-28"),
        ("current_timezone()", "UTC"),
    ],
)  # fmt: skip
def test_dates_and_times(run: Run, expression: str, value: str) -> None:
    assert run(f"SELECT {expression}").rows == [(value,)]


def test_an_interval_of_months_has_a_type_of_its_own(run: Run) -> None:
    assert sql_type(run("SELECT interval '3' month")) == "interval year to month"


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("reverse(ARRAY[1, 2, 3])", "[3, 2, 1]"),
        ("reverse('abc')", "cba"),
        ("ARRAY[1, 2][2]", "2"),
        ("try(ARRAY[1, 2][3])", None),
        ("MAP(ARRAY[1, 2], ARRAY['a', 'b'])[2]", "b"),
        ("split('a,b', ',')[1]", "a"),
        ("ROW(1, 'x')", "{field0=1, field1=x}"),
        ("ROW(1, 'x')[2]", "x"),
        ("CAST(ROW(1, 'x') AS ROW(a integer, b varchar)).b", "x"),
        ("CAST(ROW(1, ROW(2, 'x')) AS ROW(a bigint, b ROW(c integer, d varchar)))", "{a=1, b={c=2, d=x}}"),
        ("CAST(ARRAY[ROW(1, 'x')] AS ARRAY(ROW(a integer, b varchar)))", "[{a=1, b=x}]"),
        ("array_max(ARRAY[1, NULL])", None),
        ("array_min(ARRAY[2, 1])", "1"),
        ("sequence(3, 1)", "[3, 2, 1]"),
        ("sequence(1, 10, 4)", "[1, 5, 9]"),
        ("array_distinct(ARRAY[3, 1, 3, NULL, NULL])", "[3, 1, null]"),
        ("array_union(ARRAY[3, 1], ARRAY[2, 3])", "[3, 1, 2]"),
        ("array_intersect(ARRAY[3, NULL, 2], ARRAY[2, NULL])", "[null, 2]"),
        ("array_except(ARRAY[3, 1, 1], ARRAY[3])", "[1]"),
        ("array_remove(ARRAY[1, NULL, 2], 2)", "[1, null]"),
        ("array_join(ARRAY[CAST(NULL AS varchar)], ',')", ""),
        ("array_sort(ARRAY[2, NULL, 1])", "[1, 2, null]"),
        ("arrays_overlap(ARRAY[1, NULL], ARRAY[2])", None),
        ("contains(ARRAY[1, NULL], 2)", None),
        ("all_match(ARRAY[1, NULL], x -> x > 0)", None),
        ("any_match(ARRAY[1, 2], x -> x > 1)", "true"),
        ("none_match(ARRAY[1, 2], x -> x > 2)", "true"),
        ("slice(ARRAY[1, 2, 3, 4], -2, 5)", "[3, 4]"),
        ("trim_array(ARRAY[1, 2, 3], 1)", "[1, 2]"),
        ("ngrams(ARRAY[1, 2, 3], 2)", "[[1, 2], [2, 3]]"),
        ("zip(ARRAY[1, 2], ARRAY['a'])", "[{field0=1, field1=a}, {field0=2, field1=null}]"),
        ("zip_with(ARRAY[1, 2], ARRAY[3, 4], (x, y) -> x + y)", "[4, 6]"),
        ("map_filter(MAP(ARRAY['a', 'b'], ARRAY[1, 2]), (k, v) -> v > 1)", "{b=2}"),
        ("transform_values(MAP(ARRAY['a'], ARRAY[1]), (k, v) -> v + 1)", "{a=2}"),
        ("transform_keys(MAP(ARRAY['a'], ARRAY[1]), (k, v) -> k || 'x')", "{ax=1}"),
        ("ARRAY[1] || 2", "[1, 2]"),
        ("0 || ARRAY[1]", "[0, 1]"),
    ],
)  # fmt: skip
def test_arrays_maps_and_rows(run: Run, expression: str, value: str | None) -> None:
    assert run(f"SELECT {expression}").rows == [(value,)]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("url_decode('a+b%20c')", "a b c"),
        ("url_encode('a b+c/d~*')", "a+b%2Bc%2Fd%7E*"),
        ("substr('abc', 0)", ""),
        ("substr('abc', -5)", ""),
        ("substr('abcde', -3, 2)", "cd"),
        ("trim(chr(9) || ' x ' || chr(10))", "x"),
        ("length(X'00ff')", "2"),
        ("levenshtein_distance('kitten', 'sitting')", "3"),
        ("to_base(255, 16)", "ff"),
        ("to_hex(sha1(to_utf8('a')))", "86F7E437FAA5A7FCE15D1DDCB9EAEAEA377667B8"),
        ("lower(to_hex(md5(to_utf8('a'))))", "0cc175b9c0f1b6a831c399e269772661"),
        ("upper(to_hex(md5(to_utf8('a'))))", "0CC175B9C0F1B6A831C399E269772661"),
        ("format('%s: %5d, %.2f%%', 'x', 12, 1.5)", "x:    12, 1.50%"),
        ("CAST('abc' AS varchar(2))", "ab"),
        ("TRY_CAST(12 AS varchar(1))", None),
        ("TRY_CAST('1.5' AS integer)", None),
        ("CAST('T' AS boolean)", "true"),
        ("CAST(1.5 AS varchar)", "1.5E0"),
        ("CAST(ARRAY[1, NULL] AS array(varchar))", "[1, null]"),
        ("CAST(ROW(1, ARRAY['a']) AS ROW(x double, y array(varchar)))", "{x=1.0, y=[a]}"),
        ("CAST(-123.456e0 AS varchar)", "-1.23456E2"),
        ("CAST(0.00123 AS varchar)", "1.23E-3"),
        ("CAST(1e20 AS varchar)", "1.0E20"),
        ("CAST(nan() AS varchar)", "NaN"),
        ("typeof(1.5)", "double"),
    ],
)  # fmt: skip
def test_texts_and_casts(run: Run, expression: str, value: str | None) -> None:
    assert run(f"SELECT {expression}").rows == [(value,)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2024-02-29", "2024-02-29"),
        (" 2024-01-05 ", "2024-01-05"),
        ("2024-1-5", "2024-01-05"),
        ("12024-01-05", "12024-01-05"),
        *((text, None) for text in ("2024-02-30", "2024/01/05", "20240105", "2024-01-5x", "  24-01-05", "")),
        *((text, None) for text in ("infinity", "epoch", "0044-03-15 (BC)", "2024-01-05 10:00:00")),
    ],
)
def test_a_text_is_a_date_where_trino_takes_it_for_one(run: Run, text: str, value: str | None) -> None:
    rows = f"(VALUES '{text}', NULL) AS t (x)"
    assert run(f"SELECT CAST(TRY_CAST(x AS date) AS varchar) FROM {rows}").rows == [(value,), (None,)]
    if value is not None:
        assert run(f"SELECT CAST(CAST(x AS date) AS varchar) FROM {rows}").rows == [(value,), (None,)]
    else:
        with pytest.raises(QueryFailed, match="INVALID_CAST_ARGUMENT: Value cannot be cast to date: "):
            run(f"SELECT CAST(x AS date) FROM {rows}")


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("json_extract('{\"a\": [1, 2]}', '$.a')", "[1,2]"),
        ("json_extract('{\"a\": null}', '$.a')", "null"),
        ('json_extract_scalar(\'{"a b": [1, 2.5]}\', \'$["a b"][1]\')', "2.5"),
        ("json_extract_scalar('{\"a\": null}', '$.a')", None),
        ("json_extract_scalar('no JSON', '$.a')", None),
        ("json_format(json_parse('{\"a\": 1, \"b\": 2}'))", '{"a":1,"b":2}'),
        ("json_array_length('[1, 2]')", "2"),
        ("json_array_length('{}')", None),
        ("CAST('{\"a\": 1}' AS json)", '"{\\"a\\": 1}"'),
        ("CAST(MAP(ARRAY['b', 'a'], ARRAY[1, 2]) AS json)", '{"a":2,"b":1}'),
        ("CAST(JSON '\"x\"' AS varchar)", "x"),
        ("CAST(json_parse('[1, 2]') AS array(integer))[2]", "2"),
        ("CAST(JSON '{\"a\": 1}' AS MAP(varchar, integer))['a']", "1"),
    ],
)  # fmt: skip
def test_json(run: Run, expression: str, value: str | None) -> None:
    assert run(f"SELECT {expression}").rows == [(value,)]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("max_by(category, hour) FROM (VALUES (1, 'a'), (2, NULL)) AS t (hour, category)", None),
        ("corr(x, x) FROM (VALUES 1) AS t (x)", None),
        ("approx_percentile(hour, 0.9) FROM sales", "2"),
        ("approx_percentile(hour, ARRAY[0.0, 1.0]) FILTER (WHERE hour > 0) FROM sales", "[1, 2]"),
        ("approx_percentile(revenue, 1) FROM sales", "20.1"),
        ("map_agg(hour, category)[1] FROM sales WHERE hour > 0", "a"),
        ("histogram(hour) FROM sales", "{1=1, 2=1}"),
        ("bitwise_or_agg(hour) FROM sales", "3"),
    ],
)
def test_aggregates(run: Run, expression: str, value: str | None) -> None:
    assert run(f"SELECT {expression}").rows == [(value,)]


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT k, v FROM UNNEST(MAP(ARRAY['a'], ARRAY[1])) AS t (k, v)", [("a", "1")]),
        ("SELECT a, b FROM UNNEST(ARRAY[1, 2], ARRAY['x']) AS t (a, b)", [("1", "x"), ("2", None)]),
        ("SELECT a, b, n FROM UNNEST(ARRAY[1], ARRAY['x', 'y']) WITH ORDINALITY AS t (a, b, n) ORDER BY n",
         [("1", "x", "1"), (None, "y", "2")]),
        ("SELECT a, b FROM UNNEST(ARRAY[ROW(1, 'x'), ROW(2, 'y')]) AS t (a, b)", [("1", "x"), ("2", "y")]),
        ("SELECT n, k, v FROM (VALUES (1, MAP(ARRAY['a'], ARRAY[2]))) AS s (n, m) "
         "CROSS JOIN UNNEST(m) AS t (k, v)", [("1", "a", "2")]),
        ("SELECT * FROM UNNEST(ARRAY[1, 2])", [("1",), ("2",)]),
        ("SELECT a, count(*) FROM (VALUES 1, 2) AS t (a) GROUP BY a HAVING max(a) > 1", [("2", "1")]),
        ("SELECT hour FROM sales WHERE hour = (SELECT max(hour) FROM sales ORDER BY 1)", [("2",)]),
        ("SELECT shop.sales.hour FROM shop.sales GROUP BY shop.sales.hour HAVING max(shop.sales.hour) = 1",
         [("1",)]),
    ],
)  # fmt: skip
def test_queries_that_used_to_fail(run: Run, sql: str, rows: list[tuple[str | None, ...]]) -> None:
    assert run(sql).rows == rows


NOT_HERE = "is not available in the embedded AWS"


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("len('abc')", "FUNCTION_NOT_FOUND: line 1:8: Function 'len' not registered"),
        ("list_contains(ARRAY[1], 1)", "FUNCTION_NOT_FOUND: line 1:8: Function 'list_contains' not"),
        ("left('abc', 1)", "FUNCTION_NOT_FOUND: line 1:8: Function 'left' not registered"),
        ("athena_fail('x')", "FUNCTION_NOT_FOUND: line 1:8: Function 'athena_fail' not registered"),
        ("soundex('abc')", f"NOT_SUPPORTED: line 1:8: Function 'soundex' {NOT_HERE}"),
        ("ST_Point(1, 2)", f"NOT_SUPPORTED: line 1:8: Function 'st_point' {NOT_HERE}"),
        ("json_value('{}', 'lax $.a')",
         f"NOT_SUPPORTED: line 1:8: Function 'json_value' {NOT_HERE}; use json_extract_scalar"),
        ("json_query('{}', 'lax $.a')", f"NOT_SUPPORTED: line 1:8: Function 'json_query' {NOT_HERE}"),
        ("current_time", f"NOT_SUPPORTED: Function 'current_time' {NOT_HERE}; use current_timestamp"),
        (f"format_datetime({SUNDAY}, 'Z')", f"NOT_SUPPORTED: line 1:57: 'Z' in the pattern 'Z' {NOT_HERE}"),
        (f"format_datetime({SUNDAY}, 'yyyyy')", "NOT_SUPPORTED: line 1:57: 'yyyyy' in the pattern"),
        (f"date_format({SUNDAY}, '%U')", "NOT_SUPPORTED: line 1:53: '%U' in the pattern"),
        (f"date_format({SUNDAY}, '%q')", "NOT_SUPPORTED: line 1:53: '%q' in the pattern"),
        ("date_parse('69', '%y')", "NOT_SUPPORTED: line 1:25: '%y' in the pattern"),
        ("from_unixtime(0, 'America/New_York')",
         f"NOT_SUPPORTED: line 1:8: a timestamp in a time zone of its own {NOT_HERE}"),
        (f"{SUNDAY} AT TIME ZONE 'Asia/Tokyo'", "NOT_SUPPORTED: line 1:18: a timestamp in a time zone"),
        ("from_iso8601_timestamp('2025-01-05T10:11:12+02:00')", "NOT_SUPPORTED: a time zone other than UTC"),
        ("timestamp '2025-01-05 01:00 Asia/Tokyo'", "NOT_SUPPORTED: a time zone other than UTC"),
        ("CAST('2025-01-05T10:11:12+02:00' AS date)",
         "INVALID_CAST_ARGUMENT: Value cannot be cast to date: 2025-01-05T10:11:12+02:00"),
        ("date('2025-01-05 10:11:12')", "INVALID_CAST_ARGUMENT: Value cannot be cast to date: 2025-01-05 10"),
        ("CAST('2025-02-29' AS date)", "INVALID_CAST_ARGUMENT: Value cannot be cast to date: 2025-02-29"),
        ("CAST('2025-01-05T10:11:12' AS timestamp)", "INVALID_CAST_ARGUMENT: Value cannot be cast to timest"),
        ("CAST(12 AS varchar(1))", "INVALID_CAST_ARGUMENT: Value 12 cannot be represented as varchar(1)"),
        ("CAST('1.5' AS integer)", "INVALID_CAST_ARGUMENT: Cannot cast '1.5' to integer"),
        ("CAST('yes' AS boolean)", "INVALID_CAST_ARGUMENT: Cannot cast 'yes' to boolean"),
        ("CAST('a' AS char(3))", f"NOT_SUPPORTED: line 1:13: the type char(3) {NOT_HERE}"),
        ("CAST(ARRAY['10:00'] AS array(time))", f"NOT_SUPPORTED: line 1:19: the type time {NOT_HERE}"),
        ("CAST(ARRAY['1.5'] AS array(integer))",
         f"NOT_SUPPORTED: line 1:19: a cast of varchar to integer within another type {NOT_HERE}; use UN"),
        ("CAST(ROW(1, 2.5) AS ROW(a bigint, b integer))", "NOT_SUPPORTED: line 1:13: a cast of double to"),
        ("CAST(MAP(ARRAY['abc'], ARRAY[1]) AS map(varchar(2), bigint))",
         "NOT_SUPPORTED: line 1:13: a cast of varchar to varchar(2) within another type"),
        ("CAST(ARRAY[1] AS varchar)", "TYPE_MISMATCH: line 1:19: Cannot cast array(integer) to varchar"),
        ("ARRAY[1, 2][3]", "INVALID_FUNCTION_ARGUMENT: Array subscript must be less than or equal to array "
         "length: 3 > 2"),
        ("ARRAY[1, 2][0]", "INVALID_FUNCTION_ARGUMENT: SQL array indices start at 1"),
        ("ARRAY[1, 2][-1]", "INVALID_FUNCTION_ARGUMENT: Array subscript is negative: -1"),
        ("MAP(ARRAY['a'], ARRAY[1])['b']", "INVALID_FUNCTION_ARGUMENT: Key not present in map: b"),
        ("sequence(1, 3, -1)", "INVALID_FUNCTION_ARGUMENT: sequence stop value should be greater than"),
        ("approx_percentile(x, w, 0.5) FROM (VALUES (1, 10)) AS t (x, w)",
         f"NOT_SUPPORTED: line 1:8: approx_percentile with weights {NOT_HERE}"),
        ("array_sort(ARRAY[1], (x, y) -> 0)", "NOT_SUPPORTED"),
        ("n FROM TABLE(sequence(1, 3))", "NOT_SUPPORTED: line 1:15: Function 'table' is not available"),
        ("regexp_replace('a', 'a', x -> 'b')", "NOT_SUPPORTED: line 1:8: regexp_replace with a function"),
        ("json_extract('{}', '$..a')", f"NOT_SUPPORTED: line 1:27: the JSON path '$..a' {NOT_HERE}"),
        ("json_extract_scalar('{\"a\": 1.50}', '$.a')", "NOT_SUPPORTED: a number that JSON has not in its"),
        ("json_format(json_parse('{\"b\": 1, \"a\": 2}'))", "NOT_SUPPORTED: JSON whose keys are not sorted"),
        ("json_parse('no JSON')", "INVALID_FUNCTION_ARGUMENT: Cannot convert value to JSON: 'no JSON'"),
        ("split_part('a', ',', 0)", "INVALID_FUNCTION_ARGUMENT: Index must be greater than zero"),
        ("levenshtein_distance('é', 'e')", "NOT_SUPPORTED: levenshtein_distance of a text beyond ASCII"),
        ("year('2025-01-01')", "TYPE_MISMATCH: line 1:8: Unexpected parameters (varchar) for function year"),
        ("date_diff('day', '2025-01-01', '2025-01-03')", "TYPE_MISMATCH: line 1:8: Unexpected parameters"),
        ("lower(5)", "TYPE_MISMATCH: line 1:8: Unexpected parameters (integer) for function lower"),
        ("'a' || 1", "TYPE_MISMATCH: line 1:8: Unexpected parameters (varchar, integer) for function concat"),
        ("coalesce(1, 'a')", "TYPE_MISMATCH: line 1:8: All COALESCE operands must be the same type"),
        ("CASE WHEN true THEN 1 ELSE 'a' END", "TYPE_MISMATCH: line 1:28: All CASE results must be the same"),
        ("a FROM UNNEST(ARRAY[1], ARRAY[2]) AS t (a)", "MISMATCHED_COLUMN_ALIASES"),
        ("a FROM UNNEST(1) AS t (a)", "TYPE_MISMATCH: line 1:22: Cannot unnest type: integer"),
    ],
)  # fmt: skip
def test_what_would_be_answered_otherwise_fails_or_is_refused_by_name(
    run: Run, expression: str, reason: str
) -> None:
    assert failure(run, f"SELECT {expression}").startswith(reason)


def test_a_view_of_functions_that_are_not_served_is_refused(run: Run) -> None:
    reason = failure(run, "CREATE VIEW v AS SELECT soundex(category) AS s FROM sales")

    assert "Function 'soundex' is not available in the embedded AWS" in reason


# --- Tables ---


@pytest.fixture(scope="module")
def lake(aws: LocalAws) -> Iterator[Lake]:
    lake = Lake(aws, "athena-functions")
    columns = {
        "good": pa.array([1, 2]),
        "bad": pa.array(["x", "y"]),
        "wide": pa.array([1, 2], pa.int64()),
        "byte": pa.array([200, 255], pa.uint8()),
    }
    lake.put_parquet("mixed/part-0.parquet", columns)
    lake.create_table("mixed", {"good": "bigint", "bad": "int", "wide": "smallint", "byte": "smallint"})
    lake.put_parquet("big/part-0.parquet", {"n": pa.array([2**40])})
    lake.create_table("big", {"n": "int"})
    for day in ("01", "02"):
        lake.put_parquet(f"days/day={day}/a.parquet", {"n": pa.array([int(day)])})
        url = f"s3://{lake.bucket}/days/day={day}/"
        if day == "01":
            lake.create_table("days", {"n": "bigint"}, partitions={"day": "string"})
        lake.glue.create_partition(
            DatabaseName=lake.database,
            TableName="days",
            PartitionInput={
                "Values": [day],
                "StorageDescriptor": {"Columns": [{"Name": "n", "Type": "bigint"}], "Location": url},
            },
        )
    yield lake


def test_a_query_fails_only_for_columns_that_it_reads(lake: Lake) -> None:
    assert lake.rows("SELECT sum(good) FROM mixed") == [("3",)]
    assert lake.rows("SELECT count(*) FROM (SELECT * FROM mixed)") == [("2",)]
    reason = lake.error("SELECT good, bad FROM mixed")
    assert reason.startswith(
        "HIVE_BAD_DATA: Field bad's type string in parquet file s3://athena-functions/mixed/"
    )
    assert lake.error("SELECT good FROM mixed WHERE bad = 1").startswith("HIVE_BAD_DATA")


def test_integers_of_other_widths_are_read_while_their_values_fit(lake: Lake) -> None:
    outcome = lake.query("SELECT wide, byte FROM mixed ORDER BY wide")

    assert (outcome.rows, outcome.types) == ([("1", "200"), ("2", "255")], ["smallint", "smallint"])
    assert lake.error("SELECT n FROM big").startswith("NUMERIC_VALUE_OUT_OF_RANGE")


def test_path_tells_the_object_of_a_row_and_no_star_shows_it(lake: Lake) -> None:
    urls = [f"s3://{lake.bucket}/days/day={day}/a.parquet" for day in ("01", "02")]

    assert lake.rows('SELECT "$path", * FROM days ORDER BY n') == [(urls[0], "1", "01"), (urls[1], "2", "02")]
    assert lake.rows(f"SELECT n FROM days WHERE \"$path\" = '{urls[1]}'") == [("2",)]
    assert lake.rows('SELECT "$path", count(*) FROM mixed GROUP BY "$path"') == [
        (f"s3://{lake.bucket}/mixed/part-0.parquet", "2")
    ]
    assert lake.rows("SELECT * FROM days WHERE day = '02'") == [("2", "02")]


def test_names_with_their_database_and_subqueries_with_an_order(lake: Lake) -> None:
    database = lake.database

    assert lake.rows(f"SELECT {database}.days.n FROM {database}.days ORDER BY {database}.days.n") == [
        ("1",),
        ("2",),
    ]
    assert lake.rows(f"SELECT max({database}.days.n) FROM days WHERE {database}.days.day = '01'") == [("1",)]
    assert lake.rows("SELECT (SELECT n FROM days ORDER BY n DESC LIMIT 1)") == [("2",)]
    assert lake.rows("SELECT n, (SELECT day FROM days ORDER BY n LIMIT 1) FROM days ORDER BY 1") == [
        ("1", "01"),
        ("2", "01"),
    ]
    assert lake.rows("SELECT n FROM days WHERE n = (SELECT max(n) AS m FROM days ORDER BY m)") == [("2",)]


def test_a_view_keeps_its_subscripts(lake: Lake) -> None:
    lake.query("CREATE VIEW first_tag AS SELECT ARRAY['a', 'b'][1] AS tag, element_at(ARRAY[7, 8], 2) AS n")

    assert lake.rows("SELECT * FROM first_tag") == [("a", "8")]
