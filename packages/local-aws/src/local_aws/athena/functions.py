"""Functions that Trino and DuckDB name alike but define otherwise, or that only their names tell apart.

Each rule changes one call in place; `RULES` says which node each is for. Whatever sqlglot translates rightly
is not here, and what nobody translates fails when DuckDB does not know it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from sqlglot import exp

from local_aws.athena.errors import QueryFailed
from local_aws.athena.inference import is_integer, type_of
from local_aws.athena.trees import replace, with_modifiers, wrap

_RENAMED = {
    "arrays_overlap": "list_has_any",
    "codepoint": "unicode",
    "every": "bool_and",
    "geometric_mean": "geomean",
    "is_finite": "isfinite",
    "is_infinite": "isinf",
    "to_milliseconds": "epoch_ms",
    "yow": "isoyear",
}
"""Functions of Trino that sqlglot does not know, and DuckDB has under another name."""

_EXTRACT_FIELDS = {
    "DOW": "ISODOW",
    "DAY_OF_WEEK": "ISODOW",
    "DAY_OF_YEAR": "DOY",
    "YOW": "ISOYEAR",
    "YEAR_OF_WEEK": "ISOYEAR",
}
_JODA_TO_STRFTIME = {
    "yyyy": "%Y",
    "yy": "%y",
    "MMMM": "%B",
    "MMM": "%b",
    "MM": "%m",
    "dd": "%d",
    "EEEE": "%A",
    "EEE": "%a",
    "HH": "%H",
    "hh": "%I",
    "mm": "%M",
    "ss": "%S",
    "SSS": "%g",
    "a": "%p",
}
_ISO_8601 = {
    exp.DType.DATE: "%Y-%m-%d",
    exp.DType.TIMESTAMP: "%Y-%m-%dT%H:%M:%S.%g",
    exp.DType.TIMESTAMPTZ: "%Y-%m-%dT%H:%M:%S.%gZ",
}


def _call(name: str, *arguments: exp.Expr) -> exp.Anonymous:
    return exp.Anonymous(this=name, expressions=list(arguments))


# --- Text ---


def _regexp_extract(node: exp.RegexpExtract) -> None:
    """NULL where nothing matches; DuckDB gives an empty text."""
    matches = exp.RegexpLike(this=node.this.copy(), expression=node.expression.copy())
    wrap(node, lambda inner: exp.Case(ifs=[exp.If(this=matches, true=inner)]))


def _regexp_replace(node: exp.RegexpReplace) -> None:
    """Groups are `$1` in Trino and `\\1` in DuckDB."""
    replacement = node.args.get("replacement")
    if isinstance(replacement, exp.Literal):
        text = re.sub(r"\\(.)|\$(\d+)", lambda m: m.group(1) or f"\\{m.group(2)}", replacement.name)
        node.set("replacement", exp.Literal.string(text))


def _split(node: exp.Split) -> None:
    if node.args.get("limit") is not None:
        raise QueryFailed("NOT_SUPPORTED", "SPLIT with a limit is not served by the embedded Athena", node)


def _split_part(node: exp.SplitPart) -> None:
    """NULL beyond the last part; DuckDB gives an empty text."""
    parts = _call("len", _call("str_split", node.this.copy(), node.args["delimiter"].copy()))
    exists = exp.LTE(this=node.args["part_index"].copy(), expression=parts)
    wrap(node, lambda inner: exp.Case(ifs=[exp.If(this=exists, true=inner)]))


def _format(node: exp.Format) -> None:
    """Placeholders as in C and Java; DuckDB's FORMAT has others, its PRINTF these."""
    replace(node, _call("printf", node.this, *node.expressions))


def _json_extract_scalar(node: exp.JSONExtractScalar) -> None:
    """NULL for an object or an array; DuckDB gives its text."""
    kind = _call("json_type", node.this.copy(), node.expression.copy())
    nested = [exp.Literal.string(name) for name in ("ARRAY", "OBJECT")]
    is_scalar = exp.Not(this=exp.In(this=kind, expressions=nested))
    wrap(node, lambda inner: exp.Case(ifs=[exp.If(this=is_scalar, true=exp.paren(inner, copy=False))]))


# --- Arrays and maps ---


def _array_position(node: exp.ArrayPosition) -> None:
    """0 where the element is missing; DuckDB gives NULL."""
    wrap(node, lambda inner: exp.Coalesce(this=inner, expressions=[exp.Literal.number(0)]))


def _slice(node: exp.ArraySlice) -> None:
    """SLICE(array, start, length); DuckDB's third argument is the end."""
    start, length = node.args["start"], node.args["end"]
    last = exp.Sub(
        this=exp.Add(this=exp.paren(start), expression=exp.paren(length)), expression=exp.Literal.number(1)
    )
    node.set("end", last)


def _repeat(node: exp.Repeat) -> None:
    """REPEAT(element, count) makes an array; DuckDB's repeats a text."""
    element = node.this
    replace(node, _call("list_resize", exp.array(element.copy(), copy=False), node.args["times"], element))


def _reduce(node: exp.Reduce) -> None:
    """REDUCE's last function is often the identity; DuckDB has no place for it (any other is refused)."""
    finish = node.args.get("finish")
    if isinstance(finish, exp.Lambda) and finish.this == finish.expressions[0]:
        node.set("finish", None)


def _cardinality(node: exp.ArraySize) -> None:
    if type_of(node.this).this == exp.DType.MAP:
        replace(node, _call("cardinality", node.this))


def _map_aggregate(node: exp.Anonymous) -> None:
    """MAP_AGG as a list of entries, collected with the FILTER and OVER of the MAP_AGG."""
    entry = exp.Struct(
        expressions=[
            exp.PropertyEQ(this=exp.to_identifier(name), expression=argument)
            for name, argument in zip(("key", "value"), node.expressions, strict=True)
        ]
    )
    whole = with_modifiers(node)
    node.set("this", "list")
    node.set("expressions", [entry])
    wrap(whole, lambda inner: _call("map_from_entries", inner))


# --- Dates ---


def _extract(node: exp.Extract) -> None:
    """Days of the week are 1 (Monday) to 7; DuckDB's DOW starts with Sunday as 0."""
    field = node.this.name.upper()
    node.set("this", exp.var(_EXTRACT_FIELDS.get(field, field)))


def _date_difference(node: exp.DateDiff) -> None:
    """DATE_DIFF counts the whole units that passed, as DuckDB's DATE_SUB does, not the boundaries crossed."""
    unit = exp.Literal.string(node.args["unit"].name.lower())
    replace(node, _call("date_sub", unit, node.expression, node.this))


def _strftime_pattern(joda: str) -> str:
    """A Joda pattern as one for strftime; quoted text stays as it is."""

    def translate(match: re.Match[str]) -> str:
        if match.group("text") is not None:
            return match.group("text").replace("%", "%%") or "'"
        return _JODA_TO_STRFTIME[match.group("letters")]

    known = "|".join(sorted(_JODA_TO_STRFTIME, key=len, reverse=True))
    return re.sub(f"'(?P<text>[^']*)'|(?P<letters>{known})", translate, joda)


# --- Others ---


def _approximate_quantile(node: exp.ApproxQuantile) -> None:
    """APPROX_PERCENTILE of integers is one of them in Trino and a DOUBLE in DuckDB."""
    if is_integer(type_of(node.this)) and not isinstance(node.args["quantile"], exp.Array):
        wrap(with_modifiers(node), lambda whole: exp.cast(exp.Round(this=whole), "BIGINT"))


def _type_name(node: exp.Typeof) -> None:
    wrap(node, lambda inner: exp.Lower(this=inner))


def _by_name(node: exp.Anonymous) -> None:
    """Functions that sqlglot passes through under their own name."""
    name, arguments = node.name.lower(), node.expressions
    if name == "at_timezone" and len(arguments) == 2:
        zoned = exp.cast(arguments[0], "TIMESTAMPTZ")
        replace(node, exp.AtTimeZone(this=zoned, zone=arguments[1]))
    elif name == "format_datetime" and len(arguments) == 2 and arguments[1].is_string:
        pattern = exp.Literal.string(_strftime_pattern(arguments[1].name))
        replace(node, _call("strftime", arguments[0], pattern))
    elif name == "to_iso8601" and len(arguments) == 1 and type_of(arguments[0]).this in _ISO_8601:
        pattern = exp.Literal.string(_ISO_8601[type_of(arguments[0]).this])
        replace(node, _call("strftime", arguments[0], pattern))
    elif name == "millisecond" and len(arguments) == 1:  # Of the second; DuckDB's holds the seconds too.
        wrap(node, lambda inner: exp.Mod(this=inner, expression=exp.Literal.number(1000)))
    elif name == "map_agg" and len(arguments) == 2:
        _map_aggregate(node)
    elif name in _RENAMED:
        node.set("this", _RENAMED[name])


RULES: dict[type[exp.Expr], Callable[..., None]] = {
    exp.Anonymous: _by_name,
    exp.ApproxQuantile: _approximate_quantile,
    exp.ArrayPosition: _array_position,
    exp.ArraySize: _cardinality,
    exp.ArraySlice: _slice,
    exp.DateDiff: _date_difference,
    exp.Extract: _extract,
    exp.Format: _format,
    exp.JSONExtractScalar: _json_extract_scalar,
    exp.Reduce: _reduce,
    exp.RegexpExtract: _regexp_extract,
    exp.RegexpReplace: _regexp_replace,
    exp.Repeat: _repeat,
    exp.Split: _split,
    exp.SplitPart: _split_part,
    exp.Typeof: _type_name,
}
