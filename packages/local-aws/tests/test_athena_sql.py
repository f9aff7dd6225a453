"""Trino's meaning of SQL, where DuckDB's is another: what the embedded Athena must compute like Athena.

Expected values follow Trino's documentation (https://trino.io/docs/current/) of types, operators, functions.
"""

from __future__ import annotations

import pytest

from in_process import Run, sql_type
from local_aws.athena.errors import QueryFailed


@pytest.mark.parametrize(
    ("expression", "value", "expected_type"),
    [
        ("7 / 2", "3", "integer"),
        ("-7 / 2", "-3", "integer"),
        ("-7 % 3", "-1", "integer"),
        ("CAST(7 AS bigint) / 2", "3", "bigint"),
        ("7 / 2.0", "3.5", "double"),
        ("7 / 2e0", "3.5", "double"),
        ("1 / DECIMAL '3.0'", "0.3", "decimal(12,1)"),
        ("DECIMAL '2.00' / 3", "0.67", "decimal(3,2)"),
        ("DECIMAL '-2.00' / 3", "-0.67", "decimal(3,2)"),
        ("DECIMAL '10.00' / DECIMAL '3.000'", "3.333", "decimal(8,3)"),
        ("CAST(1 AS decimal(38,10)) / 3", "0.3333333333", "decimal(38,10)"),
        ("CAST(5 AS decimal(10,0)) / 2", "3", "decimal(10,0)"),
        ("DECIMAL '100.0' * 1 / 3", "33.3", "decimal(14,1)"),
        ("DECIMAL '1.10' + DECIMAL '2.205'", "3.305", "decimal(5,3)"),
        ("DECIMAL '1.10' * DECIMAL '2.205'", "2.42550", "decimal(7,5)"),
        ("round(DECIMAL '2.345', 2)", "2.350", "decimal(5,3)"),
        ("round(DECIMAL '2.5')", "3", "decimal(2,0)"),
        ("round(-2.5e0)", "-3.0", "double"),
        ("CAST(2.5e0 AS bigint)", "3", "bigint"),
        ("CAST(-2.5e0 AS integer)", "-3", "integer"),
        ("CAST(2.5 AS integer)", "3", "integer"),
        ("CAST(2.345e0 AS decimal(10,2))", "2.35", "decimal(10,2)"),
        ("ceil(DECIMAL '2.1')", "3", "decimal(2,0)"),
        ("1.0e10", "1.0E10", "double"),
        ("1e-5", "1.0E-5", "double"),
        ("1234567e0", "1234567.0", "double"),
        ("0.001e0", "0.001", "double"),
        ("1e0 / 0", "Infinity", "double"),
        ("1.5", "1.5", "double"),
        ("DECIMAL '1.23456'", "1.23456", "decimal(6,5)"),
        ("CAST(-0.05 AS decimal(2,2))", "-0.05", "decimal(2,2)"),
        ("CAST(1.23456 AS DECIMAL)", "1", "decimal(38,0)"),
        ("CAST('1.5' AS DECIMAL)", "2", "decimal(38,0)"),
        ("100.0 * 2 / 3", "66.66666666666667", "double"),
        ("1 * 100.0 / 0", "Infinity", "double"),
        ("ceil(5)", "5", "integer"),
        ("sign(-2.5)", "-1.0", "double"),
        ("CAST(0.1 AS real)", "0.1", "float"),
        ("3000000000", "3000000000", "bigint"),
        ("bitwise_and(5, 3)", "1", "bigint"),
    ],
)
def test_numbers_have_trinos_types_scales_and_rounding(
    run: Run, expression: str, value: str, expected_type: str
) -> None:
    result = run(f"SELECT {expression}")

    assert (result.rows[0][0], sql_type(result)) == (value, expected_type)


@pytest.mark.parametrize(
    ("expression", "value", "expected_type"),
    [
        ("date '2025-01-31' + interval '1' month", "2025-02-28", "date"),
        ("date_add('day', 1, date '2025-02-28')", "2025-03-01", "date"),
        ("date_trunc('month', date '2025-02-28')", "2025-02-01", "date"),
        ("date_trunc('hour', timestamp '2025-02-28 10:11:12')", "2025-02-28 10:00:00.000", "timestamp"),
        (
            "date_diff('hour', timestamp '2025-01-01 00:30:00', timestamp '2025-01-01 02:29:00')",
            "1",
            "bigint",
        ),
        ("date_diff('month', date '2025-01-31', date '2025-02-28')", "1", "bigint"),
        ("date_diff('day', date '2025-01-01', date '2025-01-05')", "4", "bigint"),
        ("day_of_week(date '2025-01-05')", "7", "bigint"),
        ("year(date '2025-01-05')", "2025", "bigint"),
        ("extract(hour FROM timestamp '2025-01-05 10:11:12')", "10", "bigint"),
        ("CAST(timestamp '2025-01-05 10:11:12' AS varchar)", "2025-01-05 10:11:12.000", "varchar"),
        ("CAST(timestamp '2025-01-05 10:11:12' AS date)", "2025-01-05", "date"),
        (
            "date_format(timestamp '2025-01-05 10:11:12', '%Y-%m-%d %H:%i:%s')",
            "2025-01-05 10:11:12",
            "varchar",
        ),
        ("format_datetime(timestamp '2025-01-05 10:11:12', 'yyyy/MM/dd HH')", "2025/01/05 10", "varchar"),
        ("date_parse('2025-01-05', '%Y-%m-%d')", "2025-01-05 00:00:00.000", "timestamp"),
        ("from_iso8601_date('2025-01-05')", "2025-01-05", "date"),
        (
            "from_iso8601_timestamp('2025-01-05T10:11:12Z')",
            "2025-01-05 10:11:12.000 UTC",
            "timestamp with time zone",
        ),
        (
            "CAST(timestamp '2025-01-05 10:11:12' AT TIME ZONE 'America/New_York' AS timestamp)",
            "2025-01-05 05:11:12.000",
            "timestamp",
        ),
        ("to_unixtime(timestamp '1970-01-01 00:00:01')", "1.0", "double"),
        ("last_day_of_month(date '2025-02-05')", "2025-02-28", "date"),
        ("interval '1' day", "1 00:00:00.000", "interval day to second"),
        ("date '2025-01-05' - date '2025-01-01'", "4 00:00:00.000", "interval day to second"),
        ("extract(dow FROM date '2025-01-05')", "7", "bigint"),
        ("millisecond(timestamp '2025-01-05 10:11:12.345')", "345", "bigint"),
        ("to_iso8601(timestamp '2025-01-05 10:11:12')", "2025-01-05T10:11:12.000", "varchar"),
    ],
)
def test_dates_and_times_have_trinos_types_and_text(
    run: Run, expression: str, value: str, expected_type: str
) -> None:
    result = run(f"SELECT {expression}")

    assert (result.rows[0][0], sql_type(result)) == (value, expected_type)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("greatest(1, NULL)", None),
        ("concat('a', NULL)", None),
        ("concat_ws('-', 'a', NULL, 'b')", "a-b"),
        ("regexp_extract('abc', 'x')", None),
        ("regexp_extract('abc', 'a(b)', 1)", "b"),
        ("regexp_replace('aaa', 'a', 'b')", "bbb"),
        ("regexp_like('abc', 'b')", "true"),
        ("regexp_replace('a1b2', '([a-z])([0-9])', '$2$1')", "1a2b"),
        ("replace('aXb', 'X')", "ab"),
        ("split('a,b', ',')", "[a, b]"),
        ("split_part('a,b', ',', 2)", "b"),
        ("split_part('a,b', ',', 3)", None),
        ("format('%s has %d', 'a', 1)", "a has 1"),
        ("strpos('abc', 'b')", "2"),
        ("length('héllo')", "5"),
        ("CAST('abc' AS varchar(2))", "ab"),
        ("CAST(DECIMAL '1.50' AS varchar)", "1.50"),
        ("try_cast('x' AS integer)", None),
        ("try(1 / 0)", None),
        ("try(DECIMAL '1.0' / 0)", None),
        ("if(1 > 2, 'x')", None),
        ("CASE WHEN true THEN 1 ELSE 2.5 END", "1.0"),
        ("element_at(ARRAY[1, 2], 3)", None),
        ("element_at(MAP(ARRAY['a'], ARRAY[1]), 'a')", "1"),
        ("cardinality(MAP(ARRAY['a'], ARRAY[1]))", "1"),
        ("cardinality(ARRAY[1, 2])", "2"),
        ("contains(ARRAY[1, 2], 2)", "true"),
        ("transform(ARRAY[1, 2], x -> x * 2)", "[2, 4]"),
        ("filter(ARRAY[1, 2], x -> x > 1)", "[2]"),
        ("array_join(ARRAY['a', 'b'], '|')", "a|b"),
        ("reduce(ARRAY[1, 2, 3], 0, (s, x) -> s + x, s -> s * 2)", "12"),
        ("array_position(ARRAY['a', 'b'], 'c')", "0"),
        ("slice(ARRAY[1, 2, 3, 4], 2, 2)", "[2, 3]"),
        ("repeat('a', 2)", "[a, a]"),
        ("reduce(ARRAY[1, 2, 3], 0, (s, x) -> s + x, s -> s)", "6"),
        ("MAP(ARRAY['a'], ARRAY[1])", "{a=1}"),
        ("CAST(ROW(1, 'x') AS ROW(n integer, t varchar))", "{n=1, t=x}"),
        ('json_extract_scalar(\'{"a": {"b": "c"}}\', \'$.a.b\')', "c"),
        ("json_extract_scalar('{\"a\": [1]}', '$.a')", None),
        ("ARRAY[1, NULL]", "[1, null]"),
        ("true AND NULL", None),
        ("X'6869'", "68 69"),
    ],
)
def test_functions_mean_what_they_mean_in_trino(run: Run, expression: str, value: str | None) -> None:
    assert run(f"SELECT {expression}").rows == [(value,)]


@pytest.mark.parametrize(
    ("expression", "value", "expected_type"),
    [
        ("sum(revenue)", "30.15", "decimal(38,2)"),
        ("avg(revenue)", "15.08", "decimal(18,2)"),
        ("avg(hour)", "1.5", "double"),
        ("sum(hour)", "3", "bigint"),
        ("count(*)", "3", "bigint"),
        ("count_if(hour > 1)", "1", "bigint"),
        ("count_if(nullif(hour, hour) > 1)", "0", "bigint"),
        ("sum(revenue) / count(*)", "10.05", "decimal(38,2)"),
        ("sum(buys) / count(*)", "1", "bigint"),
        ("sum(revenue) / nullif(sum(buys) - 3, 0)", None, "decimal(38,2)"),
        ("sum(CASE WHEN hour = 1 THEN 1 ELSE 0 END) * 100.0 / count(*)", "33.333333333333336", "double"),
        ("CAST(sum(buys) AS double) / sum(hour)", "1.0", "double"),
        ("round(CAST(sum(buys) AS decimal(18,4)) / 7, 2)", "0.4300", "decimal(19,4)"),
        ("avg(revenue) FILTER (WHERE hour = 2)", "20.10", "decimal(18,2)"),
        ("approx_distinct(category)", "3", "bigint"),
        ("max_by(category, hour)", "", "varchar"),
        ("array_agg(category ORDER BY category)", "[, a, x]", "array"),
        ("map_agg(hour, category) FILTER (WHERE hour IS NOT NULL)", "{1=a, 2=}", "map"),
        ("listagg(category, ',') WITHIN GROUP (ORDER BY category)", ",a,x", "varchar"),
        ("approx_percentile(hour, 0.5)", "2", "bigint"),
        ("count(DISTINCT category)", "3", "bigint"),
        ("arbitrary(hour)", "1", "integer"),
    ],
)
def test_aggregates_have_trinos_types_and_rounding(
    run: Run, expression: str, value: str | None, expected_type: str
) -> None:
    result = run(f"SELECT {expression} FROM sales")

    assert (result.rows[0][0], sql_type(result)) == (value, expected_type)


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT hour FROM sales ORDER BY hour", [("1",), ("2",), (None,)]),
        ("SELECT hour FROM sales ORDER BY hour DESC", [("2",), ("1",), (None,)]),
        ("SELECT hour FROM sales ORDER BY hour OFFSET 1 LIMIT 1", [("2",)]),
        ("SELECT hour AS h FROM sales ORDER BY h DESC FETCH FIRST 1 ROW ONLY", [("2",)]),
        ("SELECT hour, avg(revenue) OVER () FROM sales WHERE hour = 1", [("1", "10.05")]),
        ("SELECT hour, sum(hour) OVER (ORDER BY hour) FROM sales WHERE hour > 0", [("1", "1"), ("2", "3")]),
        ("SELECT x FROM UNNEST(sequence(1, 3)) AS t (x) WHERE x <> 2", [("1",), ("3",)]),
        ("SELECT d FROM UNNEST(sequence(date '2025-01-01', date '2025-01-02')) AS t (d)",
         [("2025-01-01",), ("2025-01-02",)]),
        ("SELECT v, i FROM UNNEST(ARRAY['x', 'y']) WITH ORDINALITY AS t (v, i)", [("x", "1"), ("y", "2")]),
        ("SELECT c, v FROM (SELECT 1 AS c, ARRAY['x'] AS a) CROSS JOIN UNNEST(a) AS t (v)", [("1", "x")]),
        ("SELECT category, count(*) FROM sales GROUP BY ROLLUP (category) ORDER BY 1",
         [("", "1"), ("a", "1"), ("x", "1"), (None, "3")]),
        ("SELECT category FROM sales GROUP BY 1 HAVING sum(revenue) > 15", [("",)]),
        ("WITH s AS (SELECT hour h FROM sales), t AS (SELECT max(h) m FROM s) SELECT h FROM s, t WHERE h = m",
         [("2",)]),
        ("WITH RECURSIVE t (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 3) SELECT sum(n) FROM t",
         [("6",)]),
        ("SELECT hour FROM sales s WHERE EXISTS (SELECT 1 FROM sales t WHERE t.hour = s.hour + 1)", [("1",)]),
        ("SELECT shop.sales.hour FROM shop.sales WHERE shop.sales.category = 'a'", [("1",)]),
        ("SELECT 2 EXCEPT SELECT 1", [("2",)]),
        ("SELECT 1 UNION ALL SELECT 2.5", [("1.0",), ("2.5",)]),
        ("VALUES (1, 'a'), (2, 'b')", [("1", "a"), ("2", "b")]),
        ("-- a comment; with a semicolon\nSELECT 1 /* and another */;", [("1",)]),
    ],
)  # fmt: skip
def test_queries_give_trinos_rows(run: Run, sql: str, rows: list[tuple[str | None, ...]]) -> None:
    assert run(sql).rows == rows


def test_columns_are_named_as_athena_names_them(run: Run) -> None:
    result = run('SELECT 1, hour, Category, hour + 1, sum(revenue) AS "Total" FROM sales GROUP BY 2, 3')

    assert [column.name for column in result.columns] == ["_col0", "hour", "Category", "_col3", "Total"]


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT nope FROM sales", "COLUMN_NOT_FOUND: line 1:8: Column 'nope' cannot be resolved"),
        ("SELECT s.nope FROM sales s", "COLUMN_NOT_FOUND: line 1:8: Column 'nope' cannot be resolved"),
        ("SELECT hour\nFROM sales\nWHERE nope = 1", "COLUMN_NOT_FOUND: line 3:7: Column 'nope'"),
        ("SELECT hour AS h FROM sales WHERE h = 1", "COLUMN_NOT_FOUND: line 1:35: Column 'h'"),
        ("SELECT hour AS h, count(*) FROM sales GROUP BY h", "COLUMN_NOT_FOUND: line 1:48: Column 'h'"),
        ("SELECT count(*) AS c FROM sales HAVING c > 1", "COLUMN_NOT_FOUND: line 1:40: Column 'c'"),
        ("SELECT hour FROM sales a, sales b", "AMBIGUOUS_NAME: line 1:8: Column 'hour' is ambiguous"),
        ("SELECT hour, category FROM sales GROUP BY hour", "EXPRESSION_NOT_AGGREGATE: 'category' must be"),
        ("SELECT * FROM other.shop.sales", "CATALOG_NOT_FOUND: line 1:15: Catalog 'other' does not exist"),
        ("SELECT 1 FROM sales WHERE hour = '1'",
         "TYPE_MISMATCH: line 1:27: Cannot apply operator: integer = varchar"),
        ("SELECT 1 FROM sales WHERE category IN (1)", "TYPE_MISMATCH: line 1:27: Cannot apply operator"),
        ("SELECT sum(category) FROM sales", "TYPE_MISMATCH: line 1:8: Unexpected parameters (varchar) for"),
        ("SELECT revenue / buys FROM sales", "DIVISION_BY_ZERO: Division by zero"),
        ("SELECT hour / 0 FROM sales", "DIVISION_BY_ZERO: Division by zero"),
        ("SELECT CAST(category AS integer) FROM sales", "INVALID_CAST_ARGUMENT: Cannot cast"),
        ("SELECT no_such_function(hour) FROM sales", "FUNCTION_NOT_FOUND: line 1:8: Function 'no_such_func"),
        ("SELECT * FROM read_csv('/etc/passwd')", "FUNCTION_NOT_FOUND: line 1:15: Function 'read_csv' not"),
        ("SELECT (SELECT hour FROM sales)", "SUBQUERY_MULTIPLE_ROWS: Scalar sub-query"),
        ("SELECT 1 FROM sales WHERE", "SYNTAX_ERROR: line 1:21: mismatched input 'WHERE'"),
        ("SELEC 1", "SYNTAX_ERROR: line 1:7: mismatched input '1'"),
        ("SELECT 'open", "SYNTAX_ERROR"),
        ("SELECT 1; SELECT 2", "SYNTAX_ERROR: Only one sql statement is allowed. Got 2"),
        ("DELETE FROM sales", "NOT_SUPPORTED: DELETE is for Iceberg tables"),
        ("MERGE INTO sales USING sales AS s ON true WHEN MATCHED THEN DELETE",
         "NOT_SUPPORTED: MERGE is for Iceberg tables"),
        ("CREATE TABLE x (a int) LOCATION 's3://b/x/' TBLPROPERTIES ('table_type' = 'ICEBERG')",
         "NOT_SUPPORTED: CREATE TABLE is for Iceberg tables"),
        ("VACUUM sales", "NOT_SUPPORTED: VACUUM is for Iceberg tables"),
        ("GRANT SELECT ON sales TO me", "NOT_SUPPORTED: GRANT SELECT is not supported by the embedded"),
        ("SELECT * FROM information_schema.tables", "NOT_SUPPORTED: line 1:15: information_schema"),
        ("SELECT sum(hour * 9223372036854775807) FROM sales", "NUMERIC_VALUE_OUT_OF_RANGE"),
    ],
)  # fmt: skip
def test_an_error_says_what_and_where_as_athena_does(run: Run, sql: str, reason: str) -> None:
    with pytest.raises(QueryFailed) as failed:
        run(sql)

    assert str(failed.value).startswith(reason)
