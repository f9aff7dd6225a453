"""Rewrites of a query whose meaning, not spelling, differs between Trino and DuckDB.

sqlglot translates spelling (function names, literals, date formats). What is here depends on the types of
operands: division, averages and rounding of decimals, dates plus intervals, comparisons. Functions with two
meanings are in `functions`, casts in `casts`, UNNEST in `unnest`. `inference.TrinoTypes` must have annotated
the query before.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from local_aws.athena import casts, functions, names, unnest
from local_aws.athena.errors import QueryFailed
from local_aws.athena.inference import (
    NUMERIC_ORDER,
    TEMPORAL_ORDER,
    exact_parameters,
    is_decimal,
    is_exact,
    is_floating,
    is_integer,
    is_interval,
    is_text,
    is_unknown,
    type_of,
)
from local_aws.athena.trees import group, replace, with_modifiers, wrap
from local_aws.athena.types import MAX_DECIMAL, decimal_parameters, decimal_type


def rewrite(query: exp.Expr) -> None:
    """Change an annotated query so that DuckDB computes what Trino would.

    Raises QueryFailed: TYPE_MISMATCH for operands that Trino refuses and DuckDB would allow, NOT_SUPPORTED
    for what Athena does and the embedded one does not.
    """
    names.require_arguments(query)
    for node in reversed(list(query.walk(bfs=False))):  # Operands before the operations over them.
        rule = _RULES.get(type(node))
        if rule is not None:
            rule(node)


# --- Numbers ---


def _number(node: exp.Literal) -> None:
    """1.5 is a DOUBLE for Athena and a DECIMAL for DuckDB."""
    if not node.is_string and not node.is_int and "e" not in node.name.lower():
        node.set("this", f"{node.name}e0")


def _divide(node: exp.Div) -> None:
    """Integers divide to an integer, decimals to a decimal; DuckDB would make a DOUBLE of both."""
    left, right = type_of(node.left), type_of(node.right)
    if is_floating(left) or is_floating(right):
        return
    if exp.DType.NULL in (left.this, right.this):
        replace(node, exp.cast(exp.null(), type_of(node)))
        return
    if is_integer(left) and is_integer(right):
        replace(node, exp.IntDiv(this=group(node.left), expression=group(node.right)))
    elif is_exact(left) and is_exact(right):
        replace(node, _decimal_quotient(node.left, node.right, type_of(node)))
    elif is_unknown(left) or is_unknown(right):
        raise functions.type_needed("an operand of this division", node)


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


def _bigint_sum(node: exp.Sum) -> None:
    """SUM of integers is BIGINT in Trino and HUGEINT in DuckDB."""
    if is_integer(type_of(node.this)):
        wrap(with_modifiers(node), lambda whole: exp.cast(whole, "BIGINT"))


def _count_if(node: exp.CountIf) -> None:
    """COUNT_IF is BIGINT in Trino, and 0 where no condition is known; HUGEINT and NULL in DuckDB."""
    wrap(
        with_modifiers(node),
        lambda whole: exp.func("COALESCE", exp.cast(whole, "BIGINT"), exp.cast(0, "BIGINT")),
    )


def _round(node: exp.Round) -> None:
    """ROUND(decimal, n) keeps the operand's scale in Trino; DuckDB cuts it to n."""
    if is_decimal(type_of(node.this)):
        result = type_of(node).copy()
        wrap(node, lambda inner: exp.cast(inner, result))


# --- Dates ---


def _keep_date(node: exp.Expr) -> None:
    """A DATE truncated, or moved by whole days, is a DATE in Trino and a TIMESTAMP in DuckDB."""
    if not isinstance(node, exp.Add | exp.Sub):
        functions.require_time(node, node.this)
    if isinstance(node, exp.Add) and is_interval(type_of(node.this)):
        interval, moment = node.this.copy(), node.expression.copy()
        node.set("this", moment)
        node.set("expression", interval)
    if type_of(node.this).this != exp.DType.DATE:
        return
    if isinstance(node, exp.Sub) and type_of(node.expression).this == exp.DType.DATE:
        _date_distance(node)
        return
    if not isinstance(node, exp.Add | exp.Sub) or is_interval(type_of(node.expression)):
        node.type = exp.DType.DATE.into_expr()
        wrap(node, lambda inner: exp.cast(inner, "DATE"))


def _date_distance(node: exp.Sub) -> None:
    """The difference of two dates is an interval in Trino and a number of days in DuckDB."""
    node.type = exp.DType.INTERVAL.into_expr()
    day = exp.Interval(this=exp.Literal.string("1"), unit=exp.var("DAY"))
    wrap(node, lambda inner: exp.Mul(this=exp.paren(inner, copy=False), expression=day))


# --- Comparisons ---


def _comparison(node: exp.Binary) -> None:
    _require_comparable(_OPERATORS[type(node)], node.left, node.right)


def _between(node: exp.Between) -> None:
    for bound in ("low", "high"):
        _require_comparable("BETWEEN", node.this, node.args[bound])


def _in(node: exp.In) -> None:
    for value in node.expressions:
        _require_comparable("IN", node.this, value)


def _alternatives(node: exp.Coalesce | exp.Case) -> None:
    """Trino finds no common type of a text and anything else; DuckDB takes the text's."""
    if isinstance(node, exp.Coalesce):
        values, message = [node.this, *node.expressions], "All COALESCE operands must be the same type"
    else:
        default = [node.args["default"]] if node.args.get("default") is not None else []
        values, message = (
            [branch.args["true"] for branch in node.args["ifs"]] + default,
            "All CASE results must be the same type",
        )
    types = [type_of(value) for value in values]
    if any(is_text(t) for t in types) and any(functions.is_plain(t) for t in types):
        names_of_types = ", ".join(t.sql("athena").lower() for t in types)
        raise QueryFailed("TYPE_MISMATCH", f"{message}: {names_of_types}", node)


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
    **casts.RULES,
    **dict.fromkeys(_OPERATORS, _comparison),
    **dict.fromkeys(
        (exp.Add, exp.Sub, exp.DateAdd, exp.DateSub, exp.TimestampTrunc, exp.DateTrunc), _keep_date
    ),
    exp.Avg: _average,
    exp.Between: _between,
    **dict.fromkeys((exp.Coalesce, exp.Case), _alternatives),
    exp.CountIf: _count_if,
    exp.Div: _divide,
    exp.In: _in,
    exp.Literal: _number,
    exp.Round: _round,
    exp.Sum: _bigint_sum,
    exp.Unnest: unnest.rewrite,
}
