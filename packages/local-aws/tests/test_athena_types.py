"""Types that are inferred: of every function that is served, and of what lambdas are given.

All that Trino decides by types (casts, divisions, comparisons) rests on them.
"""

from __future__ import annotations

import re

import pytest

from in_process import Run, failure, sql_type
from local_aws.athena.names import CHECKED

VALUES = """(VALUES (1, 2.5, 'a', true, date '2025-01-31', timestamp '2025-01-05 10:11:12', ARRAY[3, 1],
    ARRAY['b', 'a'], MAP(ARRAY['k'], ARRAY[7]), X'61', DECIMAL '1.50', JSON '[1, 2]'))
    AS t (i, d, s, b, day, moment, a, words, m, bytes, dec, doc)"""

SCALARS = """
    abs(i) | acos(d) | asin(d) | atan(d) | atan2(d, d) | bitwise_and(i, i) | bitwise_not(i) |
    bitwise_or(i, i) | bitwise_xor(i, i) | cbrt(d) | ceil(dec) | ceiling(i) | chr(i) | cos(d) | cosh(d)
    | degrees(d) | exp(d) | floor(d) | from_unixtime(i) | is_finite(d) | is_infinite(d) | is_nan(d) |
    ln(d) | log(2, d) | log10(d) | log2(d) | mod(i, 2) | pow(d, 2) | power(i, 2) | radians(d) |
    round(dec, 1) | sign(i) | sin(d) | sinh(d) | sqrt(d) | tan(d) | tanh(d) | to_base(i, 2) |
    truncate(dec) | codepoint(s) | concat_ws(',', s, s) | date_parse('2025', '%Y') | from_base64('YQ==') |
    from_hex('61') | from_iso8601_date('2025-01-31') | from_iso8601_timestamp('2025-01-31T10:11:12Z') |
    json_parse('[1]') |
    levenshtein_distance(s, s) | lower(s) | lpad(s, 3, ' ') | ltrim(s) | parse_datetime('2025', 'yyyy') |
    position(s IN s) | regexp_count(s, 'a') | regexp_extract(s, 'a') | regexp_extract_all(s, 'a') |
    regexp_like(s, 'a') | regexp_replace(s, 'a', 'b') | regexp_split(s, 'a') | replace(s, 'a', 'b') |
    rpad(s, 3, ' ') | rtrim(s) | split(s, 'a') | split_part(s, 'a', 1) | starts_with(s, 'a') | strpos(s,
    'a') | substr(s, 1) | substring(s, 1, 2) | to_utf8(s) | translate(s, 'a', 'b') | trim(s) | upper(s)
    | url_decode(s) | url_encode(s) | format('%s', s) | length(s) | from_utf8(bytes) | md5(bytes) |
    sha1(bytes) | sha256(bytes) | to_base64(bytes) | to_hex(bytes) | hour(at_timezone(moment, 'UTC')) |
    date_format(moment, '%Y') | day(day) | day_of_month(day) | day_of_week(day) | day_of_year(day) |
    dow(day) | doy(day) | extract(year FROM day) | format_datetime(moment, 'yyyy') | hour(moment) |
    last_day_of_month(day) | millisecond(moment) | minute(moment) | month(day) | quarter(day) |
    second(moment) | to_iso8601(day) | to_unixtime(moment) | week(day) | week_of_year(day) | year(day) |
    year_of_week(day) | yow(day) | all_match(a, x -> x > 1) | any_match(a, x -> x > 1) |
    array_distinct(a) | array_except(a, a) | array_intersect(a, a) | array_join(words, ',') |
    array_max(a) | array_min(words) | array_position(a, 1) | array_remove(a, 1) | array_sort(a) |
    array_union(a, a) | arrays_overlap(a, a) | contains(a, 1) | filter(a, x -> x > 1) | flatten(ARRAY[a,
    a]) | map_from_entries(ARRAY[ROW(s, i)]) | ngrams(words, 2) | none_match(a, x -> x > 1) | reduce(a,
    BIGINT '0', (y, x) -> y + x, y -> y) | slice(a, 1, 1) | transform(words, x -> upper(x)) |
    trim_array(a, 1) | zip(a, words) | zip_with(a, words, (x, y) -> y || CAST(x AS varchar)) |
    map_concat(m, m) | map_entries(m) | map_filter(m, (k, v) -> v > 1) | map_keys(m) | map_values(m) |
    transform_keys(m, (k, v) -> length(k)) | transform_values(m, (k, v) -> v * 1.5) | concat(s, s) |
    reverse(a) | reverse(s) | cardinality(m) | cardinality(a) | element_at(a, 1) | element_at(m, 'k') |
    CASE WHEN b THEN i ELSE 2 END | cast(i AS bigint) | coalesce(i, 2) | current_date | current_timestamp |
    current_timezone() | date(moment) | date_add('day', 1, day) | date_diff('day', day, day) |
    date_diff('day', day, day) / 2 |
    date_trunc('day', day) | e() | greatest(i, 2) | if(b, i, 2) | infinity() | json_array_length(doc) |
    json_extract(doc, '$[0]') | json_extract_scalar(doc, '$[0]') | json_format(doc) | least(d, d) |
    localtimestamp | map(a, words) | nan() | now() | nullif(i, 2) | pi() | rand() | random() |
    repeat(s, 2) | row(i, s) | sequence(1, 3) | to_milliseconds(interval '1' second) | try(i) |
    try_cast(s AS double) | typeof(i) | uuid() | EXISTS (SELECT 1)
    """
AGGREGATES = """
    bitwise_and_agg(i) | bitwise_or_agg(i) | corr(d, d) | covar_pop(d, d) | covar_samp(d, d) |
    geometric_mean(d) | regr_intercept(d, d) | regr_slope(d, d) | stddev(d) | stddev_pop(d) |
    stddev_samp(d) | var_pop(d) | var_samp(d) | variance(d) | avg(i) | avg(dec) | sum(i) | sum(dec) |
    sum(d) | listagg(s, ',') WITHIN GROUP (ORDER BY s) | any_value(s) | approx_distinct(i) |
    approx_percentile(i, 0.5) | approx_percentile(d, ARRAY[0.5]) |
    arbitrary(s) | array_agg(i) | bool_and(b) | bool_or(b) | count(i) | count_if(b) | every(b) |
    histogram(s) | map_agg(s, i) | max(day) | max_by(s, i) | min(dec) | min_by(i, s)
    """
WINDOWS = """
    cume_dist() | dense_rank() | first_value(s) | lag(i) | last_value(d) | lead(s) | nth_value(i, 1) |
    ntile(2) | percent_rank() | rank() | row_number()
    """
NOT_CALLS = {"all", "some", "any", "unnest", "grouping"}
"""Of those that are served: quantifiers, a table, and what a test of its own asks for."""


def calls(text: str) -> list[str]:
    return " ".join(text.split()).split(" | ")


CALLS = [*calls(SCALARS), *calls(AGGREGATES), *(f"{call} OVER (ORDER BY i)" for call in calls(WINDOWS))]


def test_every_function_that_is_served_is_among_these() -> None:
    called = {name.lower() for call in CALLS for name in re.findall(r"\w+", call)}
    assert set(CHECKED) - NOT_CALLS <= called


@pytest.mark.parametrize("call", CALLS)
def test_the_type_of_every_function_is_inferred_and_is_that_of_its_value(run: Run, call: str) -> None:
    """TYPEOF says what is inferred; the value's own type comes from DuckDB."""
    result = run(f"SELECT {call}, typeof({call}) FROM {VALUES}")
    inferred = result.rows[0][1] or ""
    of_texts = {"uuid": "varchar", "char": "varchar"}
    kind = re.sub(r"\(.*\)", "", inferred)
    assert of_texts.get(kind, kind) == re.sub(r"\(.*\)", "", sql_type(result))


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("transform(ARRAY['1', NULL], e -> CAST(e AS integer))", "[1, null]"),
        ("transform(ARRAY['1.5'], e -> TRY_CAST(e AS integer))", "[null]"),
        ("transform(ARRAY[7, -7], e -> e / 2)", "[3, -3]"),
        ("transform(ARRAY[7], e -> e / 2.0)", "[3.5]"),
        ("transform(ARRAY[DECIMAL '1.00'], e -> e / 3)", "[0.33]"),
        ("transform(ARRAY[1.5], e -> CAST(e AS varchar))", "[1.5E0]"),
        ("transform(ARRAY['a', 'b'], E -> upper(e))", "[A, B]"),
        ("transform(ARRAY[date '2025-01-31'], day -> day + interval '1' month)", "[2025-02-28]"),
        ("transform(ARRAY[ROW(1, 'x')], r -> r[2])", "[x]"),
        ("transform(ARRAY[CAST(ROW('7') AS ROW(a varchar))], r -> CAST(r.A AS integer) / 2)", "[3]"),
        ("transform(ARRAY['a,b'], e -> split(e, ','))", "[[a, b]]"),
        ("transform(ARRAY[ARRAY[7]], e -> transform(e, e -> e / 2))", "[[3]]"),
        ("transform(ARRAY[2], e -> transform(ARRAY[7], x -> x / e))", "[[3]]"),
        ("transform(ARRAY[1, 2], e -> array_remove(ARRAY[1, 2, 3], e))", "[[2, 3], [1, 3]]"),
        ("transform(ARRAY[2], e -> map_filter(MAP(ARRAY['a', 'b'], ARRAY[1, 3]), (k, v) -> v > e))",
         "[{b=3}]"),
        ("zip_with(ARRAY[1], ARRAY[2], (x, y) -> zip_with(ARRAY[10], ARRAY[20], (a, b) -> a + b + x + y))",
         "[[33]]"),
        ("filter(ARRAY['1', '12'], e -> CAST(e AS integer) / 10 = 1)", "[12]"),
        ("any_match(ARRAY['x', '1'], e -> TRY_CAST(e AS integer) = 1)", "true"),
        ("zip_with(ARRAY[7], ARRAY['2'], (x, y) -> x / CAST(y AS integer))", "[3]"),
        ("map_filter(MAP(ARRAY['a', 'b'], ARRAY[3, 2]), (k, v) -> v / 2 * 2 = v)", "{b=2}"),
        ("transform_values(MAP(ARRAY['a'], ARRAY[7]), (k, v) -> v / 2)", "{a=3}"),
        ("transform_keys(MAP(ARRAY[7], ARRAY['a']), (k, v) -> k / 2)", "{3=a}"),
        ("reduce(ARRAY[1, 2, 4], 0, (s, x) -> s + x, s -> s / 2)", "3"),
        ("reduce(ARRAY[1, 2], 0, (s, x) -> s + x, s -> s * s)", "9"),
        ("reduce(ARRAY[2147483647, 1], BIGINT '0', (s, x) -> s + x, s -> s)", "2147483648"),
        ("reduce(ARRAY[1, 2], 0, (s, x) -> s + x / 2.0, s -> s)", "1.5"),
        ("reduce(ARRAY[1, 2], CAST(ROW(0, 0) AS ROW(total integer, n integer)), (s, x) -> "
         "CAST(ROW(s.total + x, s.n + 1) AS ROW(total integer, n integer)), s -> s.total / s.n)", "1"),
        ("reduce(ARRAY[5], NULL, (s, x) -> x, s -> s)", "5"),
        ("map_entries(MAP(ARRAY['a'], ARRAY[1]))", "[{field0=a, field1=1}]"),
        ("map_from_entries(map_entries(MAP(ARRAY['a'], ARRAY[1])))", "{a=1}"),
        ("CAST(map_keys(MAP(ARRAY['7'], ARRAY[1]))[1] AS integer) / 2", "3"),
        ("CAST(now() AS varchar) LIKE '% UTC'", "true"),
        ("e() > 2.718281828 AND e() < 2.718281829", "true"),
        ("1 + NULL", None),
        ("1 / NULL", None),
        ("CAST(NULL AS integer)", None),
    ],
)  # fmt: skip
def test_the_rules_of_types_hold_within_lambdas(run: Run, expression: str, value: str | None) -> None:
    assert run(f"SELECT {expression}").rows == [(value,)]


NO_INTEGER = "INVALID_CAST_ARGUMENT: Cannot cast '1.5' to integer"


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("transform(ARRAY['1.5'], e -> CAST(e AS integer))", NO_INTEGER),
        ("filter(ARRAY['1.5'], e -> CAST(e AS integer) = 1)", NO_INTEGER),
        ("any_match(ARRAY['1.5'], e -> CAST(e AS integer) = 1)", NO_INTEGER),
        ("all_match(ARRAY['1.5'], e -> CAST(e AS integer) = 1)", NO_INTEGER),
        ("none_match(ARRAY['1.5'], e -> CAST(e AS integer) = 1)", NO_INTEGER),
        ("zip_with(ARRAY['1.5'], ARRAY[1], (x, y) -> CAST(x AS integer))", NO_INTEGER),
        ("map_filter(MAP(ARRAY['1.5'], ARRAY[1]), (k, v) -> CAST(k AS integer) = v)", NO_INTEGER),
        ("transform_keys(MAP(ARRAY['1.5'], ARRAY[1]), (k, v) -> CAST(k AS integer))", NO_INTEGER),
        ("transform_values(MAP(ARRAY[1], ARRAY['1.5']), (k, v) -> CAST(v AS integer))", NO_INTEGER),
        ("reduce(ARRAY['1.5'], 0, (s, x) -> s + CAST(x AS integer), s -> s)", NO_INTEGER),
        ("reduce(ARRAY['.5'], '1', (s, x) -> s || x, s -> CAST(s AS integer))", NO_INTEGER),
        ("transform(ARRAY[ARRAY['1.5']], e -> transform(e, x -> CAST(x AS integer)))", NO_INTEGER),
        ("transform(split('1.5', ','), e -> CAST(e AS integer))", NO_INTEGER),
        ("CAST(regexp_extract('a1.5', '[0-9.]+') AS integer)", NO_INTEGER),
        ("CAST(split_part('1.5,2', ',', 1) AS integer)", NO_INTEGER),
        ("CAST(try('1.5') AS integer)", NO_INTEGER),
        ("CAST(map_keys(MAP(ARRAY['1.5'], ARRAY[1]))[1] AS integer)", NO_INTEGER),
        ("transform(ARRAY['1'], e -> e = 1)", "TYPE_MISMATCH: line 1:35: Cannot apply operator: varchar ="),
        ("filter(ARRAY[1], e -> e)", "TYPE_MISMATCH: line 1:8: The function that filter takes says int"),
        ("any_match(ARRAY['true'], e -> e)", "TYPE_MISMATCH: line 1:8: The function that any_match takes"),
        ("transform(ARRAY[1], e -> upper(e))", "TYPE_MISMATCH"),
        ("transform(ARRAY[1], (a, b) -> a)", "TYPE_MISMATCH: line 1:8: The function that"),
        ("transform(ARRAY[1], e -> soundex('a'))", "NOT_SUPPORTED: line 1:33: Function 'soundex'"),
        ("transform(ARRAY[2147483647], e -> e + 1)", "NUMERIC_VALUE_OUT_OF_RANGE"),
        ("transform(ARRAY[1], e -> e / 0)", "DIVISION_BY_ZERO"),
        ("transform(ARRAY[1], e -> (SELECT 1))", "NOT_SUPPORTED: line 1:28: Lambda expression cannot"),
        ("cardinality(e -> 1)", "TYPE_MISMATCH: line 1:8: Unexpected parameters (function)"),
        ("array_sort(ARRAY['b', 'a'], (a, b) -> CAST(a AS integer))", "NOT_SUPPORTED: line 1:8: array_sort"),
        ("map_zip_with(m, m, (k, a, b) -> a)", "NOT_SUPPORTED: line 1:8: Function 'map_zip_with'"),
    ],
)  # fmt: skip
def test_what_fails_outside_of_a_lambda_fails_within(run: Run, expression: str, reason: str) -> None:
    assert failure(run, f"SELECT {expression}").startswith(reason)


def test_columns_of_unnest_have_types(run: Run) -> None:
    sql = "SELECT CAST({} AS integer) FROM UNNEST({}) AS t ({})"
    rows = "ARRAY[ROW(1, '1.5')]"
    for column, operand, names in [
        ("k", "MAP(ARRAY['1.5'], ARRAY[1])", "k, v"),
        ("b", "ARRAY[1], ARRAY['1.5']", "a, b"),
        ("b", rows, "a, b"),
        ("c", f"ARRAY[1], {rows}", "a, b, c"),
    ]:
        assert failure(run, sql.format(column, operand, names)) == NO_INTEGER
    found = run("SELECT n / 2 FROM UNNEST(ARRAY['a', 'b', 'c']) WITH ORDINALITY AS t (e, n)")
    assert [row for (row,) in found.rows] == ["0", "1", "1"]
