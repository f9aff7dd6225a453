"""Where Trino and DuckDB mean different things by the same SQL: Trino's types, and the rewrites they ask for.

sqlglot translates spelling (function names, literals, date formats). What is here is meaning that depends on
the types of operands: division, averages and rounding of decimals, casts, dates plus intervals.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from sqlglot import exp
from sqlglot.dialects.athena import Athena
from sqlglot.optimizer.annotate_types import TypeAnnotator
from sqlglot.schema import Schema

from local_aws.athena.errors import QueryFailed
from local_aws.athena.types import MAX_DECIMAL, decimal_parameters, decimal_type

MACROS = (
    # Quotient of two HUGEINTs, rounded half away from zero as Trino's decimal division does.
    """CREATE MACRO athena_quotient(n, d) AS CASE
        WHEN d = 0 THEN error('DIVISION_BY_ZERO: Division by zero')
        ELSE sign(n) * sign(d) * ((abs(n) * 2 + abs(d)) // (abs(d) * 2)) END""",
    "CREATE MACRO map_agg(k, v) AS map_from_entries(list({'key': k, 'value': v}))",
    "CREATE MACRO infinity() AS CAST('Infinity' AS DOUBLE)",
    "CREATE MACRO nan() AS CAST('NaN' AS DOUBLE)",
    "CREATE MACRO is_finite(x) AS isfinite(x)",
    "CREATE MACRO is_infinite(x) AS isinf(x)",
    "CREATE MACRO every(x) AS bool_and(x)",
    "CREATE MACRO geometric_mean(x) AS geomean(x)",
    "CREATE MACRO codepoint(x) AS unicode(x)",
    "CREATE MACRO arrays_overlap(a, b) AS list_has_any(a, b)",
    "CREATE MACRO to_milliseconds(x) AS epoch_ms(x)",
)
"""Functions of Trino that neither sqlglot translates nor DuckDB has."""

_INTEGER_DIGITS = {exp.DType.TINYINT: 3, exp.DType.SMALLINT: 5, exp.DType.INT: 10, exp.DType.BIGINT: 19}
_NUMERIC_ORDER = (*_INTEGER_DIGITS, exp.DType.DECIMAL, exp.DType.FLOAT, exp.DType.DOUBLE)
_TEMPORAL_ORDER = (exp.DType.DATE, exp.DType.TIMESTAMP, exp.DType.TIMESTAMPTZ)
_DATE_UNITS = {"DAY", "WEEK", "MONTH", "QUARTER", "YEAR"}
_BIGINT_FUNCTIONS = (
    exp.Day,
    exp.DayOfMonth,
    exp.DayOfWeek,
    exp.DayOfWeekIso,
    exp.DayOfYear,
    exp.Extract,
    exp.Hour,
    exp.Minute,
    exp.Month,
    exp.Quarter,
    exp.Second,
    exp.Week,
    exp.WeekOfYear,
    exp.Year,
    exp.YearOfWeek,
    exp.YearOfWeekIso,
)
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


class TrinoTypes(TypeAnnotator):
    """Infers types by Trino's rules: sqlglot's annotator knows no decimal arithmetic."""

    def __init__(self, schema: Schema) -> None:
        super().__init__(schema, expression_metadata=_METADATA)

    def _maybe_coerce(
        self, type1: exp.DataType | exp.DType, type2: exp.DataType | exp.DType
    ) -> exp.DataType | exp.DType:
        """The type that both are coerced to, for CASE, COALESCE, UNION and the like."""
        left, right = (t if isinstance(t, exp.DataType) else t.into_expr() for t in (type1, type2))
        return common_type(left, right) or super()._maybe_coerce(type1, type2)

    def _annotate_literal(self, expression: exp.Literal) -> exp.Literal:
        """A number with a decimal point is a DECIMAL in Trino, and with an exponent a DOUBLE."""
        super()._annotate_literal(expression)
        text = expression.name
        if expression.is_string:
            return expression
        if expression.is_int:
            if abs(int(text)) > 2**31 - 1:
                self._set_type(expression, exp.DType.BIGINT)
        elif "e" not in text.lower():
            whole, _, fraction = text.partition(".")
            self._set_type(
                expression, decimal_type(max(len(whole.lstrip("0")) + len(fraction), 1), len(fraction))
            )
        return expression


def common_type(left: exp.DataType, right: exp.DataType) -> exp.DataType | None:
    """Trino's common super type of two numeric or two temporal types; None for other pairs."""
    if left.this == right.this and left.this != exp.DType.DECIMAL:
        return left
    for order in (_NUMERIC_ORDER, _TEMPORAL_ORDER):
        if left.this in order and right.this in order:
            if (
                exp.DType.DECIMAL in (left.this, right.this)
                and not _is_floating(left)
                and not _is_floating(right)
            ):
                (p1, s1), (p2, s2) = _exact(left), _exact(right)
                scale = max(s1, s2)
                return decimal_type(max(p1 - s1, p2 - s2) + scale, scale)
            return max(left, right, key=lambda data_type: order.index(data_type.this))
    return None


def rewrite(query: exp.Expr) -> exp.Expr:
    """Change an annotated query so that DuckDB computes what Trino would.

    Raises QueryFailed (TYPE_MISMATCH) for comparisons that Trino refuses and DuckDB would allow.
    """
    nodes = list(query.walk(bfs=False))
    for node in reversed(nodes):  # Operands before the operations over them.
        rule = _RULES.get(type(node))
        if rule is None:
            continue
        changed = rule(node)
        if changed is not None and changed is not node:
            changed.type = node.type
    return query


def _is_floating(data_type: exp.DataType | None) -> bool:
    return data_type is not None and data_type.this in (exp.DType.DOUBLE, exp.DType.FLOAT)


def _is_integer(data_type: exp.DataType | None) -> bool:
    return data_type is not None and data_type.this in _INTEGER_DIGITS


def _is_decimal(data_type: exp.DataType | None) -> bool:
    return data_type is not None and data_type.this == exp.DType.DECIMAL


def _is_exact(data_type: exp.DataType | None) -> bool:
    return _is_integer(data_type) or _is_decimal(data_type)


def _exact(data_type: exp.DataType) -> tuple[int, int]:
    """(precision, scale) of a decimal or an integer type."""
    if _is_decimal(data_type):
        return decimal_parameters(data_type)
    return _INTEGER_DIGITS[data_type.this], 0


# --- Inference -----------------------------------------------------------------------------------------------


def _infer_arithmetic(annotator: TypeAnnotator, node: exp.Binary) -> exp.Expr:
    """Type of + - * / %: Trino's rules for decimals, the wider type for other numbers."""
    left, right = node.left.type, node.right.type
    if left is None or right is None:
        return annotator._annotate_binary(node)
    if _is_exact(left) and _is_exact(right) and (_is_decimal(left) or _is_decimal(right)):
        return annotator._set_type(node, _decimal_result(node, _exact(left), _exact(right)))
    if left.this in _NUMERIC_ORDER and right.this in _NUMERIC_ORDER:
        return annotator._set_type(node, common_type(left, right))
    if isinstance(node, exp.Div):
        return annotator._set_type(node, exp.DType.UNKNOWN)
    return annotator._annotate_binary(node)


def _decimal_result(node: exp.Binary, left: tuple[int, int], right: tuple[int, int]) -> exp.DataType:
    """https://trino.io/docs/current/functions/decimal.html, "Result type"."""
    (p1, s1), (p2, s2) = left, right
    scale = max(s1, s2)
    if isinstance(node, exp.Mul):
        return decimal_type(p1 + p2, s1 + s2)
    if isinstance(node, exp.Div):
        return decimal_type(p1 + s2 + max(s2 - s1, 0), scale)
    if isinstance(node, exp.Mod):
        return decimal_type(min(p1 - s1, p2 - s2) + scale, scale)
    return decimal_type(max(p1 - s1, p2 - s2) + scale + 1, scale)


def _infer_sum(annotator: TypeAnnotator, node: exp.Sum) -> exp.Expr:
    operand = node.this.type
    if _is_integer(operand):
        return annotator._set_type(node, exp.DType.BIGINT)
    if _is_decimal(operand):
        return annotator._set_type(node, decimal_type(MAX_DECIMAL, decimal_parameters(operand)[1]))
    return annotator._set_type(node, operand)


def _infer_avg(annotator: TypeAnnotator, node: exp.Avg) -> exp.Expr:
    operand = node.this.type
    return annotator._set_type(node, operand if _is_decimal(operand) else exp.DType.DOUBLE)


def _infer_rounding(annotator: TypeAnnotator, node: exp.Expr) -> exp.Expr:
    """ROUND, CEIL, FLOOR and TRUNCATE keep the kind of their operand; decimals lose their scale or gain a digit."""
    operand = node.this.type
    if not _is_decimal(operand):
        return annotator._set_type(node, operand)
    precision, scale = decimal_parameters(operand)
    if node.args.get("decimals") is None:
        return annotator._set_type(node, decimal_type(precision - scale + min(scale, 1), 0))
    return annotator._set_type(node, decimal_type(precision + isinstance(node, exp.Round), scale))


def _infer_operand(annotator: TypeAnnotator, node: exp.Expr) -> exp.Expr:
    return annotator._set_type(node, node.this.type)


_METADATA = {
    **Athena.EXPRESSION_METADATA,
    **dict.fromkeys((exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod), {"annotator": _infer_arithmetic}),
    **dict.fromkeys((exp.Round, exp.Ceil, exp.Floor, exp.Trunc), {"annotator": _infer_rounding}),
    **dict.fromkeys(_BIGINT_FUNCTIONS, {"returns": exp.DType.BIGINT}),
    exp.Sum: {"annotator": _infer_sum},
    exp.Avg: {"annotator": _infer_avg},
    exp.TimestampTrunc: {"annotator": _infer_operand},
    exp.AtTimeZone: {"returns": exp.DType.TIMESTAMP},
    exp.Abs: {"annotator": _infer_operand},
    exp.Nullif: {"annotator": _infer_operand},
}


# --- Rewrites ------------------------------------------------------------------------------------------------


def _divide(node: exp.Div) -> exp.Expr | None:
    """Integers are divided to an integer, decimals to a decimal; DuckDB would make both DOUBLE."""
    left, right = node.left, node.right
    if _is_integer(left.type) and _is_integer(right.type):
        return node.replace(exp.IntDiv(this=_group(left), expression=_group(right)))
    if _is_exact(left.type) and _is_exact(right.type):
        return node.replace(_decimal_quotient(left, right, node.type))
    if _is_unknown(left.type) or _is_unknown(right.type):
        raise QueryFailed(
            "NOT_SUPPORTED",
            "the embedded Athena cannot tell the types of this division; cast both operands",
            node,
        )
    return None


def _is_unknown(data_type: exp.DataType | None) -> bool:
    return data_type is None or data_type.this == exp.DType.UNKNOWN


def _decimal_quotient(left: exp.Expr, right: exp.Expr, result: exp.DataType) -> exp.Expr:
    """left / right of two exact numbers, exactly, rounded half up to the result's scale."""
    scale = decimal_parameters(result)[1]
    left_scale, right_scale = _exact(left.type)[1], _exact(right.type)[1]
    numerator = _unscaled(left, left_scale)
    shift = scale - left_scale + right_scale
    if shift:
        numerator = exp.Mul(this=numerator, expression=exp.cast(exp.Literal.number(10**shift), "INT128"))
    quotient = exp.Anonymous(this="athena_quotient", expressions=[numerator, _unscaled(right, right_scale)])
    whole = exp.cast(quotient, f"DECIMAL({MAX_DECIMAL}, 0)")
    if scale == 0:
        return exp.cast(whole, result.copy())
    unit = exp.cast(exp.Literal.string(f"0.{'1'.zfill(scale)}"), f"DECIMAL({scale + 1}, {scale})")
    return exp.cast(exp.Mul(this=whole, expression=unit), result.copy())


def _unscaled(operand: exp.Expr, scale: int) -> exp.Expr:
    """The number without its decimal point, as a 128-bit integer."""
    value = operand.copy()
    if scale:
        factor = exp.cast(exp.Literal.number(10**scale), f"DECIMAL({scale + 1}, 0)")
        value = exp.Mul(this=_group(value), expression=factor)
    return exp.cast(value, "INT128")


def _average(node: exp.Avg) -> exp.Expr | None:
    """AVG of decimals is a decimal: the sum divided by the count, each with the AVG's own window and filter."""
    if not _is_decimal(node.this.type):
        return None
    whole = _with_modifiers(node)
    parts = []
    for function, data_type in ((exp.Sum, decimal_type(MAX_DECIMAL, decimal_parameters(node.type)[1])),
                                (exp.Count, exp.DataType.build("BIGINT"))):  # fmt: skip
        part = whole.copy()
        average = part if isinstance(part, exp.Avg) else part.find(exp.Avg)
        replaced = function(this=average.this.copy())
        part = replaced if average is part else (average.replace(replaced), part)[1]
        part.type = data_type
        parts.append(part)
    total, count = parts
    at_least_one = exp.Nullif(this=count, expression=exp.Literal.number(0))
    at_least_one.type = count.type
    quotient = _decimal_quotient(total, at_least_one, node.type)
    quotient.type = node.type
    whole.replace(quotient)
    return None


def _bigint_aggregate(node: exp.Sum | exp.CountIf) -> exp.Expr | None:
    """SUM of integers and COUNT_IF are BIGINT in Trino and HUGEINT in DuckDB."""
    if isinstance(node, exp.Sum) and not _is_integer(node.this.type):
        return None
    whole = _with_modifiers(node)
    placeholder = exp.Placeholder()
    whole.replace(placeholder)
    bigint = exp.cast(whole, "BIGINT")
    bigint.type = exp.DataType.build("BIGINT")
    placeholder.replace(bigint)
    return None


def _with_modifiers(aggregate: exp.Expr) -> exp.Expr:
    """The aggregate with the FILTER and OVER that belong to it."""
    whole = aggregate
    while isinstance(whole.parent, exp.Filter | exp.Window) and whole.arg_key == "this":
        whole = whole.parent
    return whole


def _round(node: exp.Round) -> exp.Expr | None:
    """ROUND(decimal, n) keeps the operand's scale in Trino; DuckDB cuts it to n."""
    if not _is_decimal(node.this.type):
        return None
    return _wrap(node, lambda inner: exp.cast(inner, node.type.copy()))


def _cast(node: exp.Cast) -> exp.Expr | None:
    source, target = node.this.type, node.to
    if _is_floating(source) and target.this in _INTEGER_DIGITS:
        # Trino rounds half away from zero, DuckDB half to even.
        node.set("this", exp.Round(this=node.this))
    elif target.this in (exp.DType.VARCHAR, exp.DType.CHAR, exp.DType.TEXT):
        length = target.expressions[0].this if target.expressions else None
        if source is not None and source.this == exp.DType.TIMESTAMP:
            text_format = exp.Literal.string("%Y-%m-%d %H:%M:%S.%g")
            node.set("this", exp.Anonymous(this="strftime", expressions=[node.this, text_format]))
        if length is not None:
            node.set("to", exp.DataType.build("VARCHAR"))
            return _wrap(node, lambda inner: exp.Left(this=inner, expression=length.copy()))
    return None


def _keep_date(node: exp.Expr) -> exp.Expr | None:
    """A DATE truncated, or moved by whole days, is a DATE in Trino and a TIMESTAMP in DuckDB."""
    if node.this.type is None or node.this.type.this != exp.DType.DATE:
        return None
    interval = node.expression if isinstance(node, exp.Add | exp.Sub) else node
    if isinstance(node, exp.Add | exp.Sub) and not isinstance(interval, exp.Interval):
        return None
    unit = interval.args.get("unit")
    if unit is None or unit.name.upper().rstrip("S") not in _DATE_UNITS:
        return None
    node.type = exp.DataType.build("DATE")
    return _wrap(node, lambda inner: exp.cast(inner, "DATE"))


def _regexp_extract(node: exp.RegexpExtract) -> exp.Expr:
    """NULL where nothing matches; DuckDB gives an empty text."""
    matches = exp.RegexpLike(this=node.this.copy(), expression=node.expression.copy())
    return _wrap(node, lambda inner: exp.Case(ifs=[exp.If(this=matches, true=inner)]))


def _at_time_zone(node: exp.AtTimeZone) -> None:
    """Trino reads a TIMESTAMP as UTC and shows it in the zone; DuckDB would read it as being in the zone."""
    node.set("this", exp.cast(node.this, "TIMESTAMPTZ"))


def _cardinality(node: exp.ArraySize) -> exp.Expr | None:
    if node.this.type is not None and node.this.type.this == exp.DType.MAP:
        return node.replace(exp.Anonymous(this="cardinality", expressions=[node.this]))
    return None


def _anonymous(node: exp.Anonymous) -> exp.Expr | None:
    """Functions of Trino that sqlglot passes through under their own name."""
    name, arguments = node.name.lower(), node.expressions
    if name == "at_timezone" and len(arguments) == 2:
        zoned = exp.AtTimeZone(this=exp.cast(arguments[0], "TIMESTAMPTZ"), zone=arguments[1])
        return node.replace(zoned)
    if name == "format_datetime" and len(arguments) == 2 and arguments[1].is_string:
        pattern = _strftime_pattern(arguments[1].name)
        return node.replace(
            exp.Anonymous(this="strftime", expressions=[arguments[0], exp.Literal.string(pattern)])
        )
    return None


def _strftime_pattern(joda: str) -> str:
    """A Joda pattern as one for strftime; quoted text stays as it is."""

    def translate(match: re.Match[str]) -> str:
        if match.group("text") is not None:
            return match.group("text").replace("%", "%%") or "'"
        return _JODA_TO_STRFTIME[match.group("letters")]

    known = "|".join(sorted(_JODA_TO_STRFTIME, key=len, reverse=True))
    return re.sub(f"'(?P<text>[^']*)'|(?P<letters>{known})", translate, joda)


def _comparison(node: exp.Binary) -> None:
    _require_comparable(node, node.left, node.right)


def _between(node: exp.Between) -> None:
    _require_comparable(node, node.this, node.args["low"])
    _require_comparable(node, node.this, node.args["high"])


def _in(node: exp.In) -> None:
    for value in node.expressions:
        _require_comparable(node, node.this, value)


def _require_comparable(node: exp.Expr, left: exp.Expr, right: exp.Expr) -> None:
    """Trino compares a text with a text only; DuckDB would cast it."""
    kinds = [operand.type.this if operand.type else exp.DType.UNKNOWN for operand in (left, right)]
    is_text = [kind in exp.DataType.TEXT_TYPES for kind in kinds]
    others = (*_NUMERIC_ORDER, *_TEMPORAL_ORDER, exp.DType.BOOLEAN)
    if any(is_text) and any(kind in others for kind in kinds):
        names = [operand.type.sql("athena").lower() for operand in (left, right)]
        symbol = _OPERATORS.get(type(node), type(node).__name__.upper())
        raise QueryFailed(
            "TYPE_MISMATCH",
            f"Cannot apply operator: {names[0]} {symbol} {names[1]}",
            left if left.type else right,
        )


def _wrap(node: exp.Expr, wrapper: Callable[[exp.Expr], exp.Expr]) -> exp.Expr:
    """Put `wrapper(node)` in the node's place."""
    placeholder = exp.Placeholder()
    node.replace(placeholder)
    return placeholder.replace(wrapper(node))


def _group(node: exp.Expr) -> exp.Expr:
    """The operand in parentheses, where it is an operation of its own."""
    return (
        exp.paren(node.copy(), copy=False)
        if isinstance(node, exp.Binary | exp.Case | exp.If)
        else node.copy()
    )


_OPERATORS = {exp.EQ: "=", exp.NEQ: "<>", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">="}

_RULES: dict[type[exp.Expr], Callable[..., exp.Expr | None]] = {
    **dict.fromkeys(_OPERATORS, _comparison),
    **dict.fromkeys(
        (exp.Add, exp.Sub, exp.DateAdd, exp.DateSub, exp.TimestampTrunc, exp.DateTrunc), _keep_date
    ),
    exp.Div: _divide,
    exp.Avg: _average,
    exp.Sum: _bigint_aggregate,
    exp.CountIf: _bigint_aggregate,
    exp.Round: _round,
    exp.Cast: _cast,
    exp.TryCast: _cast,
    exp.RegexpExtract: _regexp_extract,
    exp.AtTimeZone: _at_time_zone,
    exp.ArraySize: _cardinality,
    exp.Anonymous: _anonymous,
    exp.Between: _between,
    exp.In: _in,
}


def iter_conjuncts(condition: exp.Expr | None) -> Iterator[exp.Expr]:
    """The parts of a condition that AND joins."""
    if isinstance(condition, exp.And):
        yield from iter_conjuncts(condition.left)
        yield from iter_conjuncts(condition.right)
    elif isinstance(condition, exp.Paren):
        yield from iter_conjuncts(condition.this)
    elif condition is not None:
        yield condition
