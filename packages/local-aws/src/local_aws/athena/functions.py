"""Functions that Trino and DuckDB name alike but define otherwise, or that only their names tell apart.

Each rule changes one call in place; `RULES` says which node each is for. Whatever sqlglot translates rightly
is not here. Which functions are served at all is in `names`; what needs SQL of its own in `macros`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from sqlglot import exp

from local_aws.athena import patterns
from local_aws.athena.dialect import FUNCTION_NAME
from local_aws.athena.errors import QueryFailed
from local_aws.athena.inference import (
    INTEGER_DIGITS,
    TEMPORAL_ORDER,
    is_array,
    is_binary,
    is_decimal,
    is_floating,
    is_integer,
    is_map,
    is_text,
    is_unknown,
    is_year_month,
    type_of,
)
from local_aws.athena.lambdas import uses
from local_aws.athena.trees import call, replace, with_modifiers, wrap

_RENAMED = {
    "array_distinct": "athena_distinct",
    "array_except": "athena_except",
    "array_intersect": "athena_intersect",
    "array_max": "athena_array_max",
    "array_min": "athena_array_min",
    "array_remove": "athena_remove",
    "array_union": "athena_union",
    "arrays_overlap": "athena_overlap",
    "codepoint": "unicode",
    "contains": "athena_contains",
    "every": "bool_and",
    "geometric_mean": "geomean",
    "is_finite": "isfinite",
    "is_infinite": "isinf",
    "json_array_length": "athena_json_length",
    "json_format": "athena_json_text",
    "ngrams": "athena_ngrams",
    "sha1": "sha1",
    "to_milliseconds": "epoch_ms",
    "trim_array": "athena_trim_array",
    "url_decode": "athena_url_decode",
    "url_encode": "athena_url_encode",
    "yow": "isoyear",
}
"""Functions of Trino that DuckDB, or a macro of ours, has under another name."""

_MATCHES = {"all_match": "athena_all", "any_match": "athena_any", "none_match": "athena_none"}
_EXTRACT_FIELDS = {
    "DOW": "ISODOW",
    "DAY_OF_WEEK": "ISODOW",
    "DAY_OF_YEAR": "DOY",
    "YOW": "ISOYEAR",
    "YEAR_OF_WEEK": "ISOYEAR",
}
_ISO_8601 = {
    exp.DType.DATE: "%Y-%m-%d",
    exp.DType.TIMESTAMP: "%Y-%m-%dT%H:%M:%S.%g",
    exp.DType.TIMESTAMPTZ: "%Y-%m-%dT%H:%M:%S.%gZ",
}
_WHITESPACE = "\t\n\v\f\r\x1c\x1d\x1e\x1f \u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2008\u2009\u200a"


def not_available(what: str, at: exp.Expr, instead: str = "") -> QueryFailed:
    """The refusal of something that Athena does and the embedded one does not."""
    advice = f"; use {instead}" if instead else ""
    return QueryFailed("NOT_SUPPORTED", f"{what} is not available in the embedded AWS{advice}", at)


def type_needed(what: str, at: exp.Expr) -> QueryFailed:
    """The refusal of what means something else for each type, where the type is not known."""
    return QueryFailed("NOT_SUPPORTED", f"the embedded Athena cannot tell the type of {what}", at)


# --- Text ---


def _regexp_extract(node: exp.RegexpExtract) -> None:
    """NULL where nothing matches; DuckDB gives an empty text."""
    matches = exp.RegexpLike(this=node.this.copy(), expression=node.expression.copy())
    wrap(node, lambda inner: exp.Case(ifs=[exp.If(this=matches, true=inner)]))


def _regexp_replace(node: exp.RegexpReplace) -> None:
    """Groups are `$1` in Trino and `\\1` in DuckDB."""
    replacement = node.args.get("replacement")
    if not isinstance(replacement, exp.Literal) or "${" in replacement.name:
        raise not_available("regexp_replace with a function, an expression or a group by name", node, "$1")
    text = re.sub(r"\\(.)|\$(\d+)", lambda m: m.group(1) or f"\\{m.group(2)}", replacement.name)
    node.set("replacement", exp.Literal.string(text))


def _split(node: exp.Split) -> None:
    if node.args.get("limit") is not None:
        raise not_available("split with a limit", node, "regexp_extract")
    if node.expression.is_string and not node.expression.name:
        raise QueryFailed("INVALID_FUNCTION_ARGUMENT", "The delimiter may not be the empty string", node)


def _split_part(node: exp.SplitPart) -> None:
    """NULL beyond the last part; DuckDB gives an empty text, and counts from the end below 1."""
    parts = (node.this, node.args["delimiter"], node.args["part_index"])
    replace(node, call("athena_split_part", *parts))


def _substring(node: exp.Substring) -> None:
    """An empty text where the start lies outside of the text; DuckDB takes what it can get."""
    start, length = node.args.get("start"), node.args.get("length")
    if isinstance(start, exp.Literal) and int(start.name) > 0 and not length:
        return
    replace(node, call("athena_substr", *(part for part in (node.this, start, length) if part is not None)))


def _trim(node: exp.Trim) -> None:
    """All white space; DuckDB's takes spaces only."""
    if node.expression is None:
        node.set("expression", exp.Literal.string(_WHITESPACE))


def _length(node: exp.Length) -> None:
    if is_binary(type_of(node.this)):
        replace(node, call("octet_length", node.this))


def _levenshtein(node: exp.Levenshtein) -> None:
    replace(node, call("athena_levenshtein", node.this, node.expression))


def _format(node: exp.Format) -> None:
    """Placeholders as in Java. DuckDB's PRINTF has them too, but takes texts only for %s."""
    pattern, values = node.this, list(node.expressions)
    if not pattern.is_string:
        raise not_available("format with a pattern that is no literal", node, "concat")
    letters = re.findall(r"%(?:%|[-0,]*\d*(?:\.\d+)?([a-zA-Z]))", pattern.name)
    letters = [letter for letter in letters if letter]
    kinds = {"s": is_text, "d": is_integer, "f": lambda t: is_floating(t) or is_decimal(t)}
    if len(letters) != len(values) or pattern.name.count("$"):
        raise not_available("format with other than one plain placeholder a value", node, "concat")
    for letter, value in zip(letters, values, strict=True):
        found = type_of(value)
        if letter not in kinds or not (kinds[letter](found) or (letter == "s" and is_integer(found))):
            type_name = found.sql("athena").lower()
            raise not_available(f"format of {type_name} as %{letter}", node, "CAST(... AS varchar)")
        if letter == "s" and not is_text(found):
            value.replace(exp.cast(value.copy(), "VARCHAR"))
        elif letter == "f":
            value.replace(exp.cast(value.copy(), "DOUBLE"))
    replace(node, call("printf", node.this, *node.expressions))


def _concatenation(node: exp.DPipe | exp.Concat) -> None:
    """Texts, arrays, binaries, or an array and an element; DuckDB would make texts of anything."""
    operands = [node.left, node.right] if isinstance(node, exp.DPipe) else node.expressions
    types = [type_of(operand) for operand in operands]
    if isinstance(node, exp.DPipe) and is_array(types[0]) != is_array(types[1]) and not _any_unknown(types):
        function = "list_append" if is_array(types[0]) else "list_prepend"
        replace(node, call(function, node.left, node.right))
    elif any(is_text(t) for t in types) and any(is_plain(t) for t in types):
        names = ", ".join(t.sql("athena").lower() for t in types)
        raise QueryFailed("TYPE_MISMATCH", f"Unexpected parameters ({names}) for function concat", node)


def _any_unknown(types: list[exp.DataType]) -> bool:
    return any(is_unknown(t) or t.this == exp.DType.NULL for t in types)


def is_plain(data_type: exp.DataType) -> bool:
    """Whether it is a number, a boolean, a date or a time."""
    return data_type.this in (
        *INTEGER_DIGITS,
        exp.DType.DECIMAL,
        exp.DType.DOUBLE,
        exp.DType.FLOAT,
        exp.DType.BOOLEAN,
        *TEMPORAL_ORDER,
    )


def _sha1(node: exp.Anonymous) -> None:
    replace(node, exp.Unhex(this=call("sha1", *node.expressions)))


def _reverse(node: exp.Anonymous) -> None:
    operand = type_of(node.expressions[0])
    if is_unknown(operand):
        raise type_needed("what reverse turns around (text or array)", node)
    node.set("this", "list_reverse" if is_array(operand) else "reverse")


# --- JSON ---


def _json_path(path: exp.Expr) -> exp.Expr:
    """A path such as `$.a[0]["b c"]` as DuckDB spells it. Raises QueryFailed for any other."""
    steps = re.compile(r"\.(\w+)|\[(\d+)\]|\[\"([^\"\\]*)\"\]")
    text = path.name if path.is_string else ""
    rest = steps.sub("", text)
    if rest != "$":
        raise not_available(
            f"the JSON path {path.sql('athena')}", path, 'names, indices and quoted names: $.a[0]["b c"]'
        )
    keys = (f"[{m[2]}]" if m[2] else f'."{m[1] or m[3]}"' for m in steps.finditer(text))
    return exp.Literal.string("$" + "".join(keys))


def _json_extract(node: exp.Anonymous) -> None:
    document, path = node.expressions
    macro = "athena_json_scalar" if node.name.lower() == "json_extract_scalar" else "athena_json_extract"
    replace(node, call(macro, document, _json_path(path)))


def _json_parse(node: exp.ParseJSON) -> None:
    replace(node, call("athena_json_parse", node.this))


# --- Arrays and maps ---


def _array_position(node: exp.ArrayPosition) -> None:
    """0 where the element is missing; DuckDB gives NULL."""
    wrap(node, lambda inner: exp.Coalesce(this=inner, expressions=[exp.Literal.number(0)]))


def _array_sort(node: exp.Expr) -> None:
    if node.find(exp.Lambda):
        raise not_available("array_sort with a comparison", node, "array_agg(... ORDER BY ...)")


def _array_join(node: exp.ArrayToString) -> None:
    """Without its NULLs; DuckDB gives NULL if there is nothing else."""
    wrap(
        node,
        lambda inner: exp.Case(
            ifs=[
                exp.If(
                    this=exp.Not(this=exp.Is(this=node.this.copy(), expression=exp.null())),
                    true=exp.Coalesce(this=inner, expressions=[exp.Literal.string("")]),
                )
            ]
        ),
    )


def _slice(node: exp.ArraySlice) -> None:
    """SLICE(array, start, length); DuckDB's third argument is the end."""
    replace(node, call("athena_slice", node.this, node.args["start"], node.args["end"]))


def _repeat(node: exp.Repeat) -> None:
    """REPEAT(element, count) makes an array; DuckDB's repeats a text."""
    element = node.this
    replace(node, call("list_resize", exp.array(element.copy(), copy=False), node.args["times"], element))


def _reduce(node: exp.Reduce) -> None:
    """REDUCE's last function is applied to the result, as the one element of an array: DuckDB has none."""
    merge, finish = node.args["merge"], node.args.get("finish")
    if not isinstance(merge, exp.Lambda) or not isinstance(finish, exp.Lambda):
        raise not_available("reduce without its two functions", node)
    state = type_of(merge.expressions[0])
    if type_of(node.args["initial"]) != state:
        node.set("initial", exp.cast(node.args["initial"], state))
    node.set("finish", None)
    if finish.this != finish.expressions[0]:
        last = call("list_transform", exp.array(node.copy()), finish)
        replace(node, call("list_extract", last, exp.Literal.number(1)))


def _cardinality(node: exp.ArraySize) -> None:
    if is_map(type_of(node.this)):
        replace(node, call("cardinality", node.this))


def _subscript(node: exp.Bracket) -> None:
    """`array[i]` and `map[key]` fail where there is nothing; element_at gives NULL."""
    container, keys = type_of(node.this), node.expressions
    if len(keys) != 1 or isinstance(keys[0], exp.Slice) or container.this == exp.DType.STRUCT:
        _field(node, container)
    elif is_map(container):
        if not node.args.get("safe"):
            replace(node, call("athena_value", node.this, keys[0]))
    elif is_array(container):
        macro = "athena_element" if node.args.get("safe") else "athena_subscript"
        replace(node, call(macro, node.this, keys[0]))
    elif node.args.get("safe"):
        raise type_needed("what element_at looks into (array or map)", node)
    else:
        raise type_needed("what [] looks into (array or map)", node)


def _field(node: exp.Bracket, container: exp.DataType) -> None:
    """`row[1]`: the field at a place."""
    keys = node.expressions
    if len(keys) != 1 or not keys[0].is_int or container.this != exp.DType.STRUCT:
        raise not_available("a subscript that is no number", node)
    replace(node, call("struct_extract_at", node.this, keys[0]))


def _row(node: exp.Struct) -> None:
    """ROW(...) has fields field0, field1, ... until a cast names them."""
    for index, part in enumerate(list(node.expressions)):
        if not isinstance(part, exp.PropertyEQ):
            name = exp.to_identifier(f"field{index}")
            part.replace(exp.PropertyEQ(this=name, expression=part.copy()))


def _applied(function: exp.Expr, *values: exp.Expr) -> exp.Expr:
    """The body of a lambda with values in place of its parameters."""
    if not isinstance(function, exp.Lambda):
        raise not_available("a function that is not written as x -> ...", function)
    body = exp.Paren(this=function.this.copy())
    for parameter, value in zip(function.expressions, values, strict=True):
        for use in uses(body, parameter.name):
            use.replace(value.copy())
    return body


def _over(variable: str, body: exp.Expr) -> exp.Lambda:
    return exp.Lambda(this=body, expressions=[exp.to_identifier(variable)])


def _matches(node: exp.Anonymous) -> None:
    """ALL_MATCH, ANY_MATCH, NONE_MATCH: of what the function says of each element, NULLs included."""
    _require_predicate(node, node.expressions[-1])
    replace(node, call(_MATCHES[node.name.lower()], call("list_transform", *node.expressions)))


def _filter(node: exp.ArrayFilter) -> None:
    _require_predicate(node, node.expression)


def _require_predicate(node: exp.Expr, function: exp.Expr) -> None:
    """Trino's filters want true or false; DuckDB takes any number or text that can be cast to one."""
    said = type_of(function.this)
    if isinstance(function, exp.Lambda) and said.this not in (exp.DType.BOOLEAN, exp.DType.NULL):
        if is_unknown(said):
            raise type_needed("what the function says", node)
        raise QueryFailed(
            "TYPE_MISMATCH",
            f"The function that {node.meta.get(FUNCTION_NAME, node.key)} takes says "
            f"{said.sql('athena').lower()}, not boolean",
            node,
        )


def _zip(node: exp.Anonymous) -> None:
    """Rows of the arrays' elements."""
    replace(node, _rows_without_names(call("list_zip", *node.expressions), len(node.expressions)))


def _map_entries(node: exp.Anonymous) -> None:
    replace(node, _rows_without_names(call("map_entries", *node.expressions), 2))


def _rows_without_names(rows: exp.Expr, count: int) -> exp.Expr:
    """An array of rows, whose fields get the names with which Athena shows fields that have none."""
    fields = [
        exp.PropertyEQ(
            this=exp.to_identifier(f"field{n}"),
            expression=call("struct_extract_at", exp.to_identifier("e"), exp.Literal.number(n + 1)),
        )
        for n in range(count)
    ]
    return call("list_transform", rows, _over("e", exp.Struct(expressions=fields)))


def _zip_with(node: exp.Anonymous) -> None:
    left, right, function = node.expressions
    pair = _variable(function)
    body = _applied(function, _at(pair, 1), _at(pair, 2))
    replace(node, call("list_transform", call("list_zip", left, right), _over(pair, body)))


def _variable(function: exp.Expr) -> str:
    """A name for the one parameter of the lambda that is to stand for this one."""
    return f"{function.expressions[0].name}_of" if isinstance(function, exp.Lambda) else "e"


def _at(variable: str, index: int) -> exp.Expr:
    return call("struct_extract", exp.to_identifier(variable), exp.Literal.number(index))


def _map_function(node: exp.Anonymous) -> None:
    """MAP_FILTER, TRANSFORM_KEYS, TRANSFORM_VALUES: over the map's entries."""
    name, (whole, function) = node.name.lower(), node.expressions
    pair = _variable(function)
    key, value = (
        call("struct_extract", exp.to_identifier(pair), exp.Literal.string(n)) for n in ("key", "value")
    )
    body = _applied(function, key, value)
    if name == "map_filter":
        _require_predicate(node, function)
        entries = call("list_filter", call("map_entries", whole), _over(pair, body))
    else:
        parts = (body, value) if name == "transform_keys" else (key, body)
        entries = call("list_transform", call("map_entries", whole), _over(pair, _entry(*parts)))
    replace(node, call("map_from_entries", entries))


def _entry(key: exp.Expr, value: exp.Expr) -> exp.Struct:
    return exp.Struct(
        expressions=[
            exp.PropertyEQ(this=exp.to_identifier(name), expression=part)
            for name, part in (("key", key), ("value", value))
        ]
    )


def _map_aggregate(node: exp.Anonymous) -> None:
    """MAP_AGG as a list of entries, collected with the FILTER and OVER of the MAP_AGG."""
    whole = with_modifiers(node)
    entry = _entry(*node.expressions)
    node.set("this", "list")
    node.set("expressions", [entry])
    wrap(whole, lambda inner: call("map_from_entries", inner))


def _sequence(node: exp.GenerateSeries) -> None:
    """SEQUENCE: up or down; months are added to the start, so the 31st stays the last of its month."""
    start, stop, step = node.args["start"], node.args["end"], node.args.get("step")
    moment = type_of(start).this
    if moment not in TEMPORAL_ORDER:
        replace(node, call("athena_sequence", *(part for part in (start, stop, step) if part is not None)))
        return
    if step is not None and is_year_month(type_of(step)):
        series = call("athena_month_sequence", start, stop, call("athena_months", step))
    elif step is not None:
        series = call("athena_time_sequence", start, stop, step)
    else:
        days = call("date_diff", exp.Literal.string("day"), start.copy(), stop.copy())
        sign = exp.Case(
            ifs=[
                exp.If(this=exp.LT(this=days, expression=exp.Literal.number(0)), true=exp.Literal.number(-1))
            ],
            default=exp.Literal.number(1),
        )
        series = call("generate_series", start, stop, call("to_days", sign))
    replace(node, exp.cast(series, "ARRAY<DATE>") if moment == exp.DType.DATE else series)


# --- Dates ---


def require_time(node: exp.Expr, operand: exp.Expr) -> None:
    """Raises QueryFailed (TYPE_MISMATCH) where a function of dates is given a text."""
    if is_text(type_of(operand)):
        name = node.meta.get(FUNCTION_NAME, node.key)
        raise QueryFailed(
            "TYPE_MISMATCH",
            f"Unexpected parameters (varchar) for function {name}. Expected: a date or a timestamp",
            node,
        )


def _extract(node: exp.Extract) -> None:
    """Days of the week are 1 (Monday) to 7; DuckDB's DOW starts with Sunday as 0."""
    field = node.this.name.upper()
    node.set("this", exp.var(_EXTRACT_FIELDS.get(field, field)))


def _date_difference(node: exp.DateDiff) -> None:
    """DATE_DIFF counts the whole units that passed, as DuckDB's DATE_SUB does, not the boundaries crossed."""
    for operand in (node.this, node.expression):
        require_time(node, operand)
    unit = exp.Literal.string(node.args["unit"].name.lower())
    replace(node, call("date_sub", unit, node.expression, node.this))


def _date_parse(node: exp.Anonymous) -> None:
    """Trino's has milliseconds; finer ones are cut off."""
    parsed = call("strptime", node.expressions[0], patterns.from_mysql(node.expressions[1], parsing=True))
    replace(node, call("date_trunc", exp.Literal.string("millisecond"), parsed))


def _parse_datetime(node: exp.Anonymous) -> None:
    parsed = call("strptime", node.expressions[0], patterns.from_joda(node.expressions[1], parsing=True))
    replace(node, exp.AtTimeZone(this=parsed, zone=exp.Literal.string("UTC")))


def _date_format(node: exp.Anonymous) -> None:
    translate = patterns.from_mysql if node.name.lower() == "date_format" else patterns.from_joda
    moment, pattern = node.expressions
    if type_of(moment).this == exp.DType.TIMESTAMPTZ:
        moment = exp.cast(moment, "TIMESTAMP")
    replace(node, call("strftime", moment, translate(pattern)))


def _to_iso8601(node: exp.Anonymous) -> None:
    moment = node.expressions[0]
    if type_of(moment).this not in _ISO_8601:
        raise type_needed("what to_iso8601 shows", node)
    pattern = exp.Literal.string(_ISO_8601[type_of(moment).this])
    if type_of(moment).this == exp.DType.TIMESTAMPTZ:
        moment = exp.cast(moment, "TIMESTAMP")
    replace(node, call("strftime", moment, pattern))


def _from_unixtime(node: exp.Anonymous) -> None:
    """Seconds, rounded to milliseconds; with a zone, the wall clock's time there."""
    seconds, *zone = node.expressions
    if len(zone) > 1:
        raise not_available("from_unixtime with hours and minutes", node, "date_add")
    if not is_integer(type_of(seconds)):
        milliseconds = exp.Mul(this=exp.paren(seconds.copy()), expression=exp.Literal.number(1000))
        seconds = exp.Div(
            this=exp.Round(this=milliseconds), expression=exp.cast(exp.Literal.number(1000), "DOUBLE")
        )
    moment = call("to_timestamp", seconds)
    if not zone:
        replace(node, moment)
        return
    _require_local_use(node)
    replace(node, exp.AtTimeZone(this=moment, zone=zone[0]))


def _at_time_zone(node: exp.AtTimeZone) -> None:
    """Trino reads a TIMESTAMP as UTC and shows it in the zone; DuckDB would read it as being in the zone."""
    _require_local_use(node)
    node.set("this", exp.cast(node.this, "TIMESTAMPTZ"))


def _at_timezone(node: exp.Anonymous) -> None:
    _require_local_use(node)
    zoned = exp.cast(node.expressions[0], "TIMESTAMPTZ")
    replace(node, exp.AtTimeZone(this=zoned, zone=node.expressions[1]))


_LOCAL_USES = frozenset(
    [
        "date",
        "date_format",
        "day",
        "day_of_month",
        "day_of_week",
        "day_of_year",
        "dow",
        "doy",
        "extract",
        "format_datetime",
        "hour",
        "last_day_of_month",
        "millisecond",
        "minute",
        "month",
        "quarter",
        "second",
        "week",
        "week_of_year",
        "year",
        "year_of_week",
        "yow",
    ]
)


def _require_local_use(node: exp.Expr) -> None:
    """Raises QueryFailed where a moment in a zone is shown or compared: its zone would be lost.

    Taken are its parts (hour, date_format), and casts to DATE and TIMESTAMP.
    """
    user = node.parent
    while isinstance(user, exp.Paren | exp.TimestampTrunc | exp.DateTrunc):
        user = user.parent
    is_cast = isinstance(user, exp.Cast) and user.to.this in (exp.DType.DATE, exp.DType.TIMESTAMP)
    if not is_cast and (user is None or user.meta.get(FUNCTION_NAME) not in _LOCAL_USES):
        raise not_available(
            "a timestamp in a time zone of its own", node, "CAST(... AS timestamp) of it, or its parts"
        )


def _of_utc(node: exp.Expr) -> None:
    """FROM_ISO8601_TIMESTAMP keeps the offset of its text; only UTC can be kept here."""
    node.set("this", call("athena_utc_text", node.this.copy()))


def _iso_date(node: exp.Expr) -> None:
    replace(node, call("athena_date", node.this))


# --- Aggregates and others ---


def _approximate_quantile(node: exp.ApproxQuantile) -> None:
    """APPROX_PERCENTILE of integers is one of them in Trino and a DOUBLE in DuckDB."""
    if node.args.get("weight") is not None:
        raise not_available("approx_percentile with weights", node, "sum(weight) OVER (ORDER BY x)")
    operand, quantile = node.this, node.args["quantile"]
    if is_decimal(type_of(operand)):
        operand = exp.cast(operand, "DOUBLE")
    is_list = isinstance(quantile, exp.Array)
    plain = call("approx_quantile", operand, exp.cast(quantile, "ARRAY<REAL>" if is_list else "REAL"))
    replace(node, plain)
    if is_integer(type_of(operand)):
        wrap(
            with_modifiers(plain),
            lambda whole: (
                exp.cast(whole, "ARRAY<BIGINT>") if is_list else exp.cast(exp.Round(this=whole), "BIGINT")
            ),
        )


def _by_extreme(node: exp.ArgMax | exp.ArgMin) -> None:
    """MAX_BY(x, y) is the x of the greatest y even if it is NULL; DuckDB's passes NULLs over."""
    if node.args.get("count") is not None:
        raise not_available("max_by and min_by of several rows", node, "row_number() OVER (ORDER BY ...)")
    name = "arg_max_null" if isinstance(node, exp.ArgMax) else "arg_min_null"
    replace(node, call(name, node.this, node.expression))


def _null_for_nan(node: exp.Expr) -> None:
    """Of too few rows: NULL; DuckDB gives NaN."""
    wrap(with_modifiers(node), lambda whole: exp.Nullif(this=whole, expression=call("nan")))


def _bigint(node: exp.Expr) -> None:
    wrap(with_modifiers(node), lambda whole: exp.cast(whole, "BIGINT"))


def _as_operand(node: exp.Expr) -> None:
    """CEIL, FLOOR, SIGN and TRUNCATE keep their number's type; DuckDB makes a DOUBLE or a TINYINT of it."""
    if is_integer(type_of(node.this)) or is_floating(type_of(node.this)):
        target = type_of(node.this).copy()
        wrap(node, lambda inner: exp.cast(inner, target))


def _random(node: exp.Rand) -> None:
    if node.this is not None:
        raise not_available("random with bounds", node, "floor(random() * n)")


def _type_name(node: exp.Typeof) -> None:
    """The type as Trino infers it."""
    found = type_of(node.this)
    if is_unknown(found):
        raise type_needed("what typeof looks at", node)
    name = found.sql("athena").lower().replace(", ", ",")
    if node.this.is_string:
        name = f"varchar({len(node.this.name)})"
    elif found.this == exp.DType.TIMESTAMP:
        name = "timestamp(3)"
    elif found.this == exp.DType.TIMESTAMPTZ:
        name = "timestamp(3) with time zone"
    replace(node, exp.Literal.string(name))


def _by_name(node: exp.Anonymous) -> None:
    """Functions that sqlglot passes through under their own name."""
    name = node.name.lower()
    if name in _BY_NAME:
        _BY_NAME[name](node)
    elif name in _RENAMED:
        node.set("this", _RENAMED[name])


def _millisecond(node: exp.Anonymous) -> None:
    """Of the second; DuckDB's holds the seconds too."""
    wrap(node, lambda inner: exp.Mod(this=inner, expression=exp.Literal.number(1000)))


def _to_base(node: exp.Anonymous) -> None:
    wrap(node, lambda inner: exp.Lower(this=inner))


def _current_timezone(node: exp.CurrentTimezone) -> None:
    replace(node, exp.Literal.string("UTC"))


_BY_NAME: dict[str, Callable[[exp.Anonymous], None]] = {
    **dict.fromkeys(_MATCHES, _matches),
    **dict.fromkeys(("date_format", "format_datetime"), _date_format),
    **dict.fromkeys(("json_extract", "json_extract_scalar"), _json_extract),
    **dict.fromkeys(("map_filter", "transform_keys", "transform_values"), _map_function),
    "at_timezone": _at_timezone,
    "date_parse": _date_parse,
    "from_unixtime": _from_unixtime,
    "map_agg": _map_aggregate,
    "map_entries": _map_entries,
    "millisecond": _millisecond,
    "parse_datetime": _parse_datetime,
    "reverse": _reverse,
    "sha1": _sha1,
    "to_base": _to_base,
    "to_iso8601": _to_iso8601,
    "zip": _zip,
    "zip_with": _zip_with,
}

RULES: dict[type[exp.Expr], Callable[..., None]] = {
    **dict.fromkeys((exp.ArgMax, exp.ArgMin), _by_extreme),
    **dict.fromkeys((exp.BitwiseAndAgg, exp.BitwiseOrAgg), _bigint),
    **dict.fromkeys((exp.Ceil, exp.Floor, exp.Sign, exp.Trunc), _as_operand),
    **dict.fromkeys((exp.Corr, exp.RegrSlope, exp.RegrIntercept), _null_for_nan),
    **dict.fromkeys((exp.DPipe, exp.Concat), _concatenation),
    exp.Anonymous: _by_name,
    exp.ApproxQuantile: _approximate_quantile,
    exp.ArrayFilter: _filter,
    exp.ArrayPosition: _array_position,
    exp.ArraySize: _cardinality,
    exp.ArraySlice: _slice,
    exp.ArraySort: _array_sort,
    exp.ArrayToString: _array_join,
    exp.AtTimeZone: _at_time_zone,
    exp.Bracket: _subscript,
    exp.CurrentTimezone: _current_timezone,
    exp.DateDiff: _date_difference,
    exp.Extract: _extract,
    exp.Format: _format,
    exp.FromISO8601Date: _iso_date,
    exp.FromISO8601Timestamp: _of_utc,
    exp.GenerateSeries: _sequence,
    exp.Length: _length,
    exp.Levenshtein: _levenshtein,
    exp.ParseJSON: _json_parse,
    exp.Rand: _random,
    exp.Reduce: _reduce,
    exp.RegexpExtract: _regexp_extract,
    exp.RegexpReplace: _regexp_replace,
    exp.Repeat: _repeat,
    exp.Split: _split,
    exp.SplitPart: _split_part,
    exp.Struct: _row,
    exp.Substring: _substring,
    exp.Trim: _trim,
    exp.Typeof: _type_name,
}
