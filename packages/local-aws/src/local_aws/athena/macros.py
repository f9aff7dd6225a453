"""Functions in DuckDB's SQL that rewritten queries call: Trino's meaning where DuckDB has another, or none.

A macro that must fail calls `athena_fail`, or makes a text that no cast accepts: both carry Athena's code and
message in the engine's error, where `errors.from_engine` finds them. (DuckDB's own `error` would not do: it
counts as volatile, so TRY refuses it.)
"""

from __future__ import annotations

DEFINITIONS = (
    "athena_marked(m) AS 'athena:' || m || '|'",
    # Only for THEN and ELSE: DuckDB evaluates a constant WHEN whether or not it comes to that.
    "athena_fail(m) AS CAST(athena_marked(m) AS BIGINT)",
    "athena_require(ok, m) AS CAST(CASE WHEN ok THEN '0' ELSE athena_marked(m) END AS BIGINT) = 0",
    # --- Numbers ---
    # Quotient of two HUGEINTs, rounded half away from zero as Trino's decimal division does; fails for d = 0.
    "athena_quotient(n, d) AS sign(n) * sign(d) * ((abs(n) * 2 + abs(d)) // (abs(d) * 2))",
    "e() AS exp(1e0)",
    "infinity() AS CAST('Infinity' AS DOUBLE)",
    "nan() AS CAST('NaN' AS DOUBLE)",
    # The text of a DOUBLE: its shortest digits d with the exponent e, as 1.5E0.
    "athena_scientific(d, e) AS d[1] || '.' || CASE WHEN len(d) > 1 THEN d[2:] ELSE '0' END || 'E' || e",
    """athena_plain_scientific(t) AS athena_scientific(
        CASE WHEN trim(replace(t, '.', ''), '0') = '' THEN '0'
             ELSE rtrim(ltrim(replace(t, '.', ''), '0'), '0') END,
        CASE WHEN t LIKE '0.%' THEN len(ltrim(t[3:], '0')) - len(t[3:]) - 1
             ELSE len(split_part(t, '.', 1)) - 1 END)""",
    """athena_magnitude_text(t) AS CASE WHEN contains(t, 'e')
        THEN athena_scientific(
            replace(split_part(t, 'e', 1), '.', ''), CAST(split_part(t, 'e', 2) AS INTEGER))
        ELSE athena_plain_scientific(t) END""",
    """athena_double_text(x) AS CASE
        WHEN isnan(x) THEN 'NaN'
        WHEN isinf(x) THEN CASE WHEN x > 0 THEN 'Infinity' ELSE '-Infinity' END
        WHEN x = 0 THEN CASE WHEN signbit(x) THEN '-0E0' ELSE '0E0' END
        ELSE CASE WHEN x < 0 THEN '-' ELSE '' END || athena_magnitude_text(CAST(abs(x) AS VARCHAR)) END""",
    # --- Text ---
    """athena_substr(s, i) AS CASE WHEN i = 0 OR (i < 0 AND -i > length(s)) THEN '' ELSE substring(s, i) END,
        (s, i, n) AS CASE WHEN i = 0 OR (i < 0 AND -i > length(s)) OR n <= 0 THEN ''
            ELSE substring(s, i, n) END""",
    """athena_split_part(s, d, i) AS CASE
        WHEN i < 1
        THEN CAST(athena_fail('INVALID_FUNCTION_ARGUMENT: Index must be greater than zero') AS VARCHAR)
        WHEN i <= len(str_split(s, d)) THEN split_part(s, d, i) END""",
    """athena_levenshtein(a, b) AS CASE WHEN strlen(a) = length(a) AND strlen(b) = length(b)
        THEN levenshtein(a, b)
        WHEN a IS NULL OR b IS NULL THEN NULL
        ELSE athena_fail('NOT_SUPPORTED: levenshtein_distance of a text beyond ASCII is not available in the '
            || 'embedded AWS') END""",
    "athena_url_encode(s) AS replace(replace(replace(url_encode(s), '%20', '+'), '%2A', '*'), '~', '%7E')",
    "athena_url_decode(s) AS url_decode(replace(s, '+', ' '))",
    # --- Texts that casts take: the same text, or one that fails ---
    """athena_castable(ok, x, type) AS CASE WHEN ok THEN x
        ELSE athena_marked('INVALID_CAST_ARGUMENT: Cannot cast ''' || x || ''' to ' || type) END""",
    "athena_integer_text(x, type) AS athena_castable(regexp_full_match(x, '[+-]?[0-9]+'), x, type)",
    "athena_boolean_text(x) AS athena_castable("
    "lower(x) IN ('t', 'true', '1', 'f', 'false', '0'), x, 'boolean')",
    # First the usual spelling, yyyy-mm-dd: to match a pattern takes three times as long as the cast itself.
    r"""athena_try_date(x) AS CASE
        WHEN strlen(x) = 10 AND x >= '0' AND x < ':' AND instr(x, '-') = 5 THEN TRY_CAST(x AS DATE)
        WHEN regexp_full_match(trim(x), '[+-]?\d{4,}-\d{1,2}-\d{1,2}') THEN TRY_CAST(trim(x) AS DATE) END""",
    """athena_date(x) AS coalesce(athena_try_date(x), CASE WHEN x IS NOT NULL THEN
        CAST(athena_marked('INVALID_CAST_ARGUMENT: Value cannot be cast to date: ' || x) AS DATE) END)""",
    r"""athena_timestamp_text(x) AS CASE
        WHEN regexp_full_match(trim(x), '[+-]?\d{4,}-\d{1,2}-\d{1,2}( \d{1,2}:\d{1,2}(:\d{1,2}(\.\d+)?)?)?')
        THEN trim(x)
        ELSE athena_marked('INVALID_CAST_ARGUMENT: Value cannot be cast to timestamp: ' || x) END""",
    r"""athena_utc_text(x) AS CASE
        WHEN regexp_matches(x, '[T ]\d.*([A-Za-z]|[+-]\d)')
            AND NOT regexp_matches(x, '(Z|UTC|[+-]00(:?00)?)$')
        THEN athena_marked(
            'NOT_SUPPORTED: a time zone other than UTC would be lost in the embedded AWS: ' || x)
        ELSE x END""",
    """athena_bounded(x, n) AS CASE WHEN length(x) <= n THEN x WHEN x IS NULL THEN NULL
        ELSE CAST(athena_fail('INVALID_CAST_ARGUMENT: Value ' || x || ' cannot be represented as varchar('
            || n || ')') AS VARCHAR) END""",
    # --- Arrays ---
    "athena_has_null(x) AS list_position(x, NULL) IS NOT NULL",
    "athena_distinct(x) AS list_filter(x, lambda e, i: list_position(x, e) = i)",
    """athena_union(x, y) AS CASE WHEN x IS NOT NULL AND y IS NOT NULL
        THEN athena_distinct(list_concat(x, y)) END""",
    """athena_intersect(x, y) AS CASE WHEN y IS NOT NULL
        THEN athena_distinct(list_filter(x, lambda e: list_position(y, e) IS NOT NULL)) END""",
    """athena_except(x, y) AS CASE WHEN y IS NOT NULL
        THEN athena_distinct(list_filter(x, lambda e: list_position(y, e) IS NULL)) END""",
    """athena_remove(x, v) AS CASE WHEN v IS NOT NULL
        THEN list_filter(x, lambda e: e IS DISTINCT FROM v) END""",
    """athena_contains(x, v) AS CASE WHEN x IS NULL OR v IS NULL THEN NULL WHEN list_contains(x, v) THEN true
        WHEN athena_has_null(x) THEN NULL ELSE false END""",
    """athena_overlap(x, y) AS CASE WHEN x IS NULL OR y IS NULL THEN NULL
        WHEN len(x) = 0 OR len(y) = 0 THEN false WHEN list_has_any(x, y) THEN true
        WHEN athena_has_null(x) OR athena_has_null(y) THEN NULL ELSE false END""",
    "athena_array_max(x) AS CASE WHEN NOT athena_has_null(x) THEN list_max(x) END",
    "athena_array_min(x) AS CASE WHEN NOT athena_has_null(x) THEN list_min(x) END",
    """athena_all(t) AS CASE WHEN t IS NULL THEN NULL WHEN list_contains(t, false) THEN false
        WHEN athena_has_null(t) THEN NULL ELSE true END""",
    """athena_any(t) AS CASE WHEN t IS NULL THEN NULL WHEN list_contains(t, true) THEN true
        WHEN athena_has_null(t) THEN NULL ELSE false END""",
    "athena_none(t) AS NOT athena_any(t)",
    """athena_index(i) AS CASE
        WHEN i = 0 THEN athena_fail('INVALID_FUNCTION_ARGUMENT: SQL array indices start at 1') ELSE i END""",
    "athena_element(x, i) AS x[athena_index(i)]",
    """athena_subscript(x, i) AS x[CASE
        WHEN i < 0 THEN athena_fail('INVALID_FUNCTION_ARGUMENT: Array subscript is negative: ' || i)
        WHEN i > len(x) THEN athena_fail('INVALID_FUNCTION_ARGUMENT: Array subscript must be less than or '
            || 'equal to array length: ' || i || ' > ' || len(x))
        ELSE athena_index(i) END]""",
    """athena_slice(x, i, n) AS CASE
        WHEN -i > len(x) THEN x[1:0] WHEN i < 0 THEN x[len(x) + i + 1:len(x) + i + n]
        ELSE x[athena_index(i):i + n - 1] END""",
    """athena_trim_array(x, n) AS x[1:CASE WHEN n BETWEEN 0 AND len(x) THEN len(x) - n
        ELSE athena_fail(
            'INVALID_FUNCTION_ARGUMENT: size must not be negative nor exceed array cardinality') END]""",
    """athena_ngrams(x, n) AS CASE WHEN n >= len(x) THEN [x]
        ELSE list_transform(range(1, len(x) - n + 2), lambda i: x[i:i + n - 1]) END""",
    """athena_step(a, b, step) AS CASE WHEN step > 0 AND b >= a OR step < 0 AND b <= a THEN step
        ELSE athena_fail('INVALID_FUNCTION_ARGUMENT: sequence stop value should be greater than or equal to '
            || 'start value if step is greater than zero otherwise stop should be less than or equal to '
            || 'start')
        END""",
    """athena_sequence(a, b) AS generate_series(a, b, CASE WHEN b >= a THEN 1 ELSE -1 END),
        (a, b, step) AS generate_series(a, b, athena_step(a, b, step))""",
    # Months are added to the start, not to the value before: from the 31st, each is the last of its month.
    """athena_month_sequence(a, b, months) AS list_transform(
        range(0, date_sub('month', a, b) // athena_step(epoch(a), epoch(b), months) + 1),
        lambda i: a + to_months(CAST(i * months AS INTEGER)))""",
    """athena_time_sequence(a, b, step) AS CASE
        WHEN athena_step(epoch(a), epoch(b), epoch(step)) IS NOT NULL THEN generate_series(a, b, step) END""",
    # --- Maps ---
    """athena_value(m, k) AS CASE WHEN athena_require(map_contains(m, k) OR m IS NULL OR k IS NULL,
        'INVALID_FUNCTION_ARGUMENT: Key not present in map: ' || k) THEN m[k] END""",
    # --- Intervals of months ---
    "athena_months(i) AS datepart('year', i) * 12 + datepart('month', i)",
    """athena_year_month_text(i) AS CASE WHEN athena_months(i) < 0 THEN '-' ELSE '' END
        || abs(athena_months(i)) // 12 || '-' || abs(athena_months(i)) % 12""",
    # --- JSON ---
    "athena_valid(j) AS CASE WHEN json_valid(j) THEN j END",
    """athena_json_parse(x) AS CASE WHEN athena_require(json_valid(x) OR x IS NULL,
        'INVALID_FUNCTION_ARGUMENT: Cannot convert value to JSON: ''' || x || '''')
        THEN CAST(athena_valid(x) AS JSON) END""",
    # Trino sorts the keys of what it parsed; DuckDB keeps their order: the same only where they are sorted.
    """athena_json_text(j) AS CASE WHEN athena_require(coalesce((
            SELECT bool_and(list_sort(json_keys(t.value)) = json_keys(t.value))
            FROM json_tree(j) AS t WHERE t.type = 'OBJECT'), true),
        'NOT_SUPPORTED: JSON whose keys are not sorted cannot be shown by the embedded AWS, only extracted: '
        || j)
        THEN CAST(json(j) AS VARCHAR) END""",
    "athena_json_extract(j, path) AS json_extract(athena_valid(j), path)",
    """athena_json_length(j) AS CASE WHEN json_type(athena_valid(j)) = 'ARRAY'
        THEN json_array_length(athena_valid(j)) END""",
    # Trino gives a number as it is written, DuckDB in its shortest form: the same if it is written so.
    r"""athena_is_shortest(j, path) AS coalesce(json_type(j, path) <> 'DOUBLE' OR regexp_matches(
        CAST(j AS VARCHAR),
        '(^|[^0-9.-])' || replace(json_extract_string(j, path), '.', '\.') || '($|[^0-9eE])'), true)""",
    """athena_json_scalar(j, path) AS CASE
        WHEN json_type(athena_valid(j), path) IN ('ARRAY', 'OBJECT', 'NULL') THEN NULL
        WHEN athena_require(athena_is_shortest(athena_valid(j), path),
            'NOT_SUPPORTED: a number that JSON has not in '
            || 'its shortest form cannot be shown by the embedded AWS, only cast: '
            || 'CAST(json_extract(...) AS double): ' || j)
        THEN json_extract_string(athena_valid(j), path) END""",
    """athena_json_varchar(j) AS CASE WHEN athena_require(
        coalesce(json_type(j) NOT IN ('ARRAY', 'OBJECT'), true),
        'INVALID_CAST_ARGUMENT: Cannot cast ''' || j || ''' to varchar')
        THEN athena_json_scalar(j, '$') END""",
)
"""What follows CREATE MACRO. Those that others call come first."""
