"""Rewrites of a query whose meaning, not spelling, differs between Trino and DuckDB.

sqlglot translates spelling (function names, literals, date formats). What is here depends on the types of
operands: division, averages and rounding of decimals, casts, dates plus intervals, comparisons. Functions
with two meanings are in `functions`. `inference.TrinoTypes` must have annotated the query before.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from local_aws.athena import functions
from local_aws.athena.errors import QueryFailed
from local_aws.athena.inference import (
    INTEGER_DIGITS,
    NUMERIC_ORDER,
    TEMPORAL_ORDER,
    exact_parameters,
    is_decimal,
    is_exact,
    is_floating,
    is_integer,
    is_unknown,
    type_of,
)
from local_aws.athena.trees import group, replace, with_modifiers, wrap
from local_aws.athena.types import MAX_DECIMAL, decimal_parameters, decimal_type

MACROS = (
    # Quotient of two HUGEINTs, rounded half away from zero as Trino's decimal division does; fails for d = 0.
    "CREATE MACRO athena_quotient(n, d) AS sign(n) * sign(d) * ((abs(n) * 2 + abs(d)) // (abs(d) * 2))",
    "CREATE MACRO infinity() AS CAST('Infinity' AS DOUBLE)",
    "CREATE MACRO nan() AS CAST('NaN' AS DOUBLE)",
)
"""Functions that the rewritten SQL calls and DuckDB lacks."""

_DATE_UNITS = {"DAY", "WEEK", "MONTH", "QUARTER", "YEAR"}


def rewrite(query: exp.Expr) -> None:
    """Change an annotated query so that DuckDB computes what Trino would.

    Raises QueryFailed (TYPE_MISMATCH) for comparisons that Trino refuses and DuckDB would allow.
    """
    for node in reversed(list(query.walk(bfs=False))):  # Operands before the operations over them.
        rule = _RULES.get(type(node))
        if rule is not None:
            rule(node)


# --- Numbers ---


def _divide(node: exp.Div) -> None:
    """Integers divide to an integer, decimals to a decimal; DuckDB would make a DOUBLE of both."""
    left, right = type_of(node.left), type_of(node.right)
    if is_floating(left) or is_floating(right):
        return
    if is_integer(left) and is_integer(right):
        replace(node, exp.IntDiv(this=group(node.left), expression=group(node.right)))
    elif is_exact(left) and is_exact(right):
        replace(node, _decimal_quotient(node.left, node.right, type_of(node)))
    elif is_unknown(left) or is_unknown(right):
        raise QueryFailed(
            "NOT_SUPPORTED",
            "the embedded Athena cannot tell the types of this division; cast both operands",
            node,
        )


def _decimal_quotient(left: exp.Expr, right: exp.Expr, result: exp.DataType) -> exp.Expr:
    """left / right of two exact numbers, exactly, rounded half up to the result's scale."""
    scale = decimal_parameters(result)[1]
    left_scale, right_scale = exact_parameters(type_of(left))[1], exact_parameters(type_of(right))[1]
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
        value = exp.Mul(this=group(value), expression=factor)
    return exp.cast(value, "INT128")


def _average(node: exp.Avg) -> None:
    """AVG of decimals is a decimal: the sum over the count, each with the AVG's own FILTER and OVER."""
    if not is_decimal(type_of(node.this)):
        return
    whole, result = with_modifiers(node), type_of(node)
    total = _with_function(whole, exp.Sum, decimal_type(MAX_DECIMAL, decimal_parameters(result)[1]))
    count = _with_function(whole, exp.Count, exp.DType.BIGINT.into_expr())
    at_least_one = exp.Nullif(this=count, expression=exp.Literal.number(0))
    at_least_one.type = count.type
    replace(whole, _decimal_quotient(total, at_least_one, result))


def _with_function(whole: exp.Expr, function: type[exp.AggFunc], data_type: exp.DataType) -> exp.Expr:
    """A copy of an AVG with its modifiers, in which another aggregate stands for the AVG."""
    wrapper = exp.Paren(this=whole.copy())
    average = wrapper.find(exp.Avg)
    if average is not None:
        average.replace(function(this=average.this))
    wrapper.this.type = data_type
    return wrapper.this


def _bigint_aggregate(node: exp.Sum | exp.CountIf) -> None:
    """SUM of integers and COUNT_IF are BIGINT in Trino and HUGEINT in DuckDB."""
    if isinstance(node, exp.CountIf) or is_integer(type_of(node.this)):
        wrap(with_modifiers(node), lambda whole: exp.cast(whole, "BIGINT"))


def _round(node: exp.Round) -> None:
    """ROUND(decimal, n) keeps the operand's scale in Trino; DuckDB cuts it to n."""
    if is_decimal(type_of(node.this)):
        result = type_of(node).copy()
        wrap(node, lambda inner: exp.cast(inner, result))


# --- Casts and dates ---


def _cast(node: exp.Cast) -> None:
    source, target = type_of(node.this), node.to
    if is_floating(source) and target.this in INTEGER_DIGITS:
        node.set("this", exp.Round(this=node.this))  # Half away from zero; DuckDB's cast rounds half to even.
    elif target.this in exp.DataType.TEXT_TYPES:
        if source.this == exp.DType.TIMESTAMP:
            text_format = exp.Literal.string("%Y-%m-%d %H:%M:%S.%g")
            node.set("this", exp.Anonymous(this="strftime", expressions=[node.this, text_format]))
        if target.expressions:
            length = target.expressions[0].this
            node.set("to", exp.DType.VARCHAR.into_expr())
            wrap(node, lambda inner: exp.Left(this=inner, expression=length.copy()))


def _keep_date(node: exp.Expr) -> None:
    """A DATE truncated, or moved by whole days, is a DATE in Trino and a TIMESTAMP in DuckDB."""
    if type_of(node.this).this != exp.DType.DATE:
        return
    if isinstance(node, exp.Sub) and type_of(node.expression).this == exp.DType.DATE:
        _date_distance(node)
        return
    interval = node.expression if isinstance(node, exp.Add | exp.Sub) else node
    unit = interval.args.get("unit") if isinstance(interval, exp.Expr) else None
    if unit is not None and unit.name.upper().rstrip("S") in _DATE_UNITS:
        node.type = exp.DType.DATE.into_expr()
        wrap(node, lambda inner: exp.cast(inner, "DATE"))


def _date_distance(node: exp.Sub) -> None:
    """The difference of two dates is an interval in Trino and a number of days in DuckDB."""
    node.type = exp.DType.INTERVAL.into_expr()
    day = exp.Interval(this=exp.Literal.string("1"), unit=exp.var("DAY"))
    wrap(node, lambda inner: exp.Mul(this=exp.paren(inner, copy=False), expression=day))


def _date_series(node: exp.GenerateSeries) -> None:
    """SEQUENCE of dates gives dates, a day apart unless told otherwise; DuckDB's series are timestamps."""
    if type_of(node.args["start"]).this == exp.DType.DATE:
        if node.args.get("step") is None:
            node.set("step", exp.Interval(this=exp.Literal.string("1"), unit=exp.var("DAY")))
        wrap(node, lambda inner: exp.cast(inner, "ARRAY<DATE>"))


def _at_time_zone(node: exp.AtTimeZone) -> None:
    """Trino reads a TIMESTAMP as UTC and shows it in the zone; DuckDB would read it as being in the zone."""
    node.set("this", exp.cast(node.this, "TIMESTAMPTZ"))


# --- Comparisons ---


def _comparison(node: exp.Binary) -> None:
    _require_comparable(_OPERATORS[type(node)], node.left, node.right)


def _between(node: exp.Between) -> None:
    for bound in ("low", "high"):
        _require_comparable("BETWEEN", node.this, node.args[bound])


def _in(node: exp.In) -> None:
    for value in node.expressions:
        _require_comparable("IN", node.this, value)


def _require_comparable(operator: str, left: exp.Expr, right: exp.Expr) -> None:
    """Trino compares a text with a text only; DuckDB would cast it."""
    types = [type_of(left), type_of(right)]
    others = (*NUMERIC_ORDER, *TEMPORAL_ORDER, exp.DType.BOOLEAN)
    is_mixed = any(t.this in exp.DataType.TEXT_TYPES for t in types) and any(t.this in others for t in types)
    if is_mixed:
        names = [data_type.sql("athena").lower() for data_type in types]
        raise QueryFailed("TYPE_MISMATCH", f"Cannot apply operator: {names[0]} {operator} {names[1]}", left)


_OPERATORS: dict[type[exp.Expr], str] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
}
_RULES: dict[type[exp.Expr], Callable[..., None]] = {
    **functions.RULES,
    **dict.fromkeys(_OPERATORS, _comparison),
    **dict.fromkeys(
        (exp.Add, exp.Sub, exp.DateAdd, exp.DateSub, exp.TimestampTrunc, exp.DateTrunc), _keep_date
    ),
    exp.AtTimeZone: _at_time_zone,
    exp.Avg: _average,
    exp.Between: _between,
    exp.Cast: _cast,
    exp.CountIf: _bigint_aggregate,
    exp.Div: _divide,
    exp.GenerateSeries: _date_series,
    exp.In: _in,
    exp.Round: _round,
    exp.Sum: _bigint_aggregate,
    exp.TryCast: _cast,
}
