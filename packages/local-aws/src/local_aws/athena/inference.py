"""Types of expressions by Trino's rules: sqlglot's inference, with Trino's decimal arithmetic put in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlglot import exp
from sqlglot.dialects.athena import Athena
from sqlglot.optimizer.annotate_types import TypeAnnotator
from sqlglot.optimizer.scope import Scope
from sqlglot.schema import Schema

from local_aws.athena import lambdas
from local_aws.athena.types import MAX_DECIMAL, decimal_parameters, decimal_type

INTEGER_DIGITS = {exp.DType.TINYINT: 3, exp.DType.SMALLINT: 5, exp.DType.INT: 10, exp.DType.BIGINT: 19}
NUMERIC_ORDER = (*INTEGER_DIGITS, exp.DType.DECIMAL, exp.DType.FLOAT, exp.DType.DOUBLE)
TEMPORAL_ORDER = (exp.DType.DATE, exp.DType.TIMESTAMP, exp.DType.TIMESTAMPTZ)

YEAR_TO_MONTH = exp.DataType.build("INTERVAL YEAR TO MONTH", dialect="trino")
_MONTH_UNITS = ("YEAR", "QUARTER", "MONTH")

_BIGINT_FUNCTIONS = (
    exp.ArrayPosition,
    exp.BitwiseAnd,
    exp.BitwiseAndAgg,
    exp.BitwiseOr,
    exp.BitwiseOrAgg,
    exp.BitwiseXor,
    exp.DateDiff,
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
    exp.RegexpCount,
    exp.Second,
    exp.Week,
    exp.WeekOfYear,
    exp.Year,
    exp.YearOfWeek,
    exp.YearOfWeekIso,
)


_TEXT_FUNCTIONS = (
    exp.CurrentTimezone,
    exp.Decode,
    exp.Format,
    exp.Hex,
    exp.Pad,
    exp.RegexpExtract,
    exp.RegexpReplace,
    exp.Replace,
    exp.SplitPart,
)
_OF_OPERAND = (exp.Abs, exp.ArgMax, exp.ArgMin, exp.Nullif, exp.TimestampTrunc, exp.Try)
"""Functions whose type is that of their first argument."""


class TrinoTypes(TypeAnnotator):
    """Annotates every node of a qualified query with its Trino type."""

    def __init__(self, schema: Schema) -> None:
        super().__init__(schema, expression_metadata=_METADATA)

    def annotate_expression(self, expression: exp.Expr, scope: Scope | None = None) -> None:
        """Annotate a node and all below it: the parameters of a lambda before what is computed from them."""
        for function in expression.find_all(exp.Lambda, bfs=False):  # Outer ones first.
            if id(function) not in self._visited:
                self._annotate_parameters(function, scope)
        super().annotate_expression(expression, scope)

    def _annotate_parameters(self, function: exp.Lambda, scope: Scope | None) -> None:
        call = function.parent or function
        values = lambdas.values_of(call)
        for value in values:
            self.annotate_expression(value, scope)
        types = lambdas.parameter_types(function, [type_of(value) for value in values])
        if isinstance(call, exp.Reduce):  # Its state is what both the start and the function can be.
            probe = exp.Paren(this=call.args["merge"].copy())
            self._bind(probe.this, [types[0], lambdas.part(type_of(values[0]), 0)])
            self.annotate_expression(probe.this.this, scope)
            types[0] = _built(self._maybe_coerce(types[0], type_of(probe.this.this)))
        self._bind(function, types)

    def _bind(self, function: exp.Lambda, types: list[exp.DataType]) -> None:
        for parameter, data_type in zip(function.expressions, types, strict=True):
            for node in (parameter, *lambdas.uses(function.this, parameter.name)):
                self._set_type(node, data_type.copy())

    def _get_source_scope_selects(self, source: Scope) -> dict[str, exp.DataType | exp.DType]:
        """Names and types of the columns that a subquery gives: of an UNNEST, those of all its operands."""
        unnest = source.expression
        if not isinstance(unnest, exp.Unnest):
            return super()._get_source_scope_selects(source)
        types: list[exp.DataType | exp.DType] = []
        for operand in unnest.expressions:
            inner = type_of(operand).expressions
            is_rows = is_array(type_of(operand)) and inner and inner[0].this == exp.DType.STRUCT
            types += [row_field(field) for field in inner[0].expressions] if is_rows else inner
        columns: dict[str, exp.DataType | exp.DType] = dict(
            zip(unnest.alias_column_names, types, strict=False)
        )
        ordinality = unnest.args.get("offset")
        if isinstance(ordinality, exp.Identifier):
            columns[ordinality.name] = exp.DType.BIGINT
        return columns

    def _maybe_coerce(
        self, type1: exp.DataType | exp.DType, type2: exp.DataType | exp.DType
    ) -> exp.DataType | exp.DType:
        """The type that both are coerced to, for CASE, COALESCE, UNION and the like."""
        left, right = _built(type1), _built(type2)
        return common_type(left, right) or super()._maybe_coerce(type1, type2)

    def _annotate_literal(self, expression: exp.Literal) -> exp.Literal:
        """A number with a decimal point is a DOUBLE for Athena, as is one with an exponent.

        Trino made a DECIMAL of the first only once it had lost `parse-decimal-literals-as-double` (release
        428); Athena asks for DECIMAL '0.12' where one is meant ("Considerations for data types").
        """
        super()._annotate_literal(expression)
        if expression.is_string:
            return expression
        if not expression.is_int:
            self._set_type(expression, exp.DType.DOUBLE)
        elif abs(int(expression.name)) > 2**31 - 1:
            self._set_type(expression, exp.DType.BIGINT)
        return expression


def type_of(node: exp.Expr) -> exp.DataType:
    """The annotated type; UNKNOWN where there is none."""
    return node.type or exp.DType.UNKNOWN.into_expr()


def row_field(field: exp.Expr) -> exp.DataType:
    """The type of a field of a row's type, which has a name or none."""
    kind = field.args.get("kind") if isinstance(field, exp.ColumnDef) else field
    return kind if isinstance(kind, exp.DataType) else exp.DType.UNKNOWN.into_expr()


def _built(data_type: exp.DataType | exp.DType) -> exp.DataType:
    return data_type if isinstance(data_type, exp.DataType) else data_type.into_expr()


def is_unknown(data_type: exp.DataType) -> bool:
    return data_type.this == exp.DType.UNKNOWN


def is_floating(data_type: exp.DataType) -> bool:
    return data_type.this in (exp.DType.DOUBLE, exp.DType.FLOAT)


def is_integer(data_type: exp.DataType) -> bool:
    return data_type.this in INTEGER_DIGITS


def is_decimal(data_type: exp.DataType) -> bool:
    return data_type.this == exp.DType.DECIMAL


def is_text(data_type: exp.DataType) -> bool:
    return data_type.this in exp.DataType.TEXT_TYPES


def is_array(data_type: exp.DataType) -> bool:
    return data_type.this in (exp.DType.ARRAY, exp.DType.LIST)


def is_map(data_type: exp.DataType) -> bool:
    return data_type.this == exp.DType.MAP


def is_interval(data_type: exp.DataType) -> bool:
    return data_type.this == exp.DType.INTERVAL or is_year_month(data_type)


def is_binary(data_type: exp.DataType) -> bool:
    return data_type.this in (exp.DType.VARBINARY, exp.DType.BINARY)


def is_year_month(data_type: exp.DataType) -> bool:
    """Whether it is Trino's interval of months, not that of milliseconds."""
    return data_type == YEAR_TO_MONTH


def is_exact(data_type: exp.DataType) -> bool:
    """Whether it is a decimal or an integer."""
    return is_integer(data_type) or is_decimal(data_type)


def exact_parameters(data_type: exp.DataType) -> tuple[int, int]:
    """(precision, scale) of a decimal, or of an integer taken as one."""
    if is_decimal(data_type):
        return decimal_parameters(data_type)
    return INTEGER_DIGITS[data_type.this], 0


def common_type(left: exp.DataType, right: exp.DataType) -> exp.DataType | None:
    """Trino's common super type of two numeric or two temporal types; None for other pairs."""
    if left.this == right.this and not is_decimal(left):
        return left
    if is_exact(left) and is_exact(right) and (is_decimal(left) or is_decimal(right)):
        (p1, s1), (p2, s2) = exact_parameters(left), exact_parameters(right)
        return decimal_type(max(p1 - s1, p2 - s2) + max(s1, s2), max(s1, s2))
    for order in (NUMERIC_ORDER, TEMPORAL_ORDER):
        if left.this in order and right.this in order:
            return max(left, right, key=lambda data_type: order.index(data_type.this))
    return None


def _arithmetic(annotator: TypeAnnotator, node: exp.Binary) -> exp.Expr:
    """Type of + - * / %: Trino's rules for decimals, the wider type for other numbers."""
    left, right = type_of(node.left), type_of(node.right)
    left, right = (
        (right if left.this == exp.DType.NULL else left),
        (left if right.this == exp.DType.NULL else right),
    )
    if is_exact(left) and is_exact(right) and (is_decimal(left) or is_decimal(right)):
        return annotator._set_type(
            node, _decimal_result(node, exact_parameters(left), exact_parameters(right))
        )
    if left.this in NUMERIC_ORDER and right.this in NUMERIC_ORDER:
        return annotator._set_type(node, common_type(left, right))
    for operand, other in ((left, right), (right, left)):
        if is_year_month(operand) and (other.this in NUMERIC_ORDER or is_year_month(other)):
            return annotator._set_type(node, YEAR_TO_MONTH.copy())
    for operand, other in ((left, right), (right, left)):
        if operand.this in TEMPORAL_ORDER and is_interval(other):
            return annotator._set_type(node, operand)
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


def _sum(annotator: TypeAnnotator, node: exp.Sum) -> exp.Expr:
    operand = type_of(node.this)
    if is_integer(operand):
        return annotator._set_type(node, exp.DType.BIGINT)
    if is_decimal(operand):
        return annotator._set_type(node, decimal_type(MAX_DECIMAL, decimal_parameters(operand)[1]))
    return annotator._set_type(node, operand)


def _avg(annotator: TypeAnnotator, node: exp.Avg) -> exp.Expr:
    operand = type_of(node.this)
    return annotator._set_type(node, operand if is_decimal(operand) else exp.DType.DOUBLE)


def _quantile(annotator: TypeAnnotator, node: exp.ApproxQuantile) -> exp.Expr:
    """One of the values: of integers a BIGINT, of other numbers a DOUBLE; for several shares an array."""
    one = (exp.DType.BIGINT if is_integer(type_of(node.this)) else exp.DType.DOUBLE).into_expr()
    is_list = is_array(type_of(node.args["quantile"]))
    return annotator._set_type(node, _array_of(one) if is_list else one)


def _rounding(annotator: TypeAnnotator, node: exp.Expr) -> exp.Expr:
    """ROUND, CEIL, FLOOR, TRUNCATE keep the kind of number; a decimal loses its scale or gains a digit."""
    operand = type_of(node.this)
    if not is_decimal(operand):
        return annotator._set_type(node, operand)
    precision, scale = decimal_parameters(operand)
    if node.args.get("decimals") is None:
        return annotator._set_type(node, decimal_type(precision - scale + min(scale, 1), 0))
    return annotator._set_type(node, decimal_type(precision + isinstance(node, exp.Round), scale))


def _as_operand(annotator: TypeAnnotator, node: exp.Expr) -> exp.Expr:
    return annotator._set_type(node, type_of(node.this))


def _interval(annotator: TypeAnnotator, node: exp.Interval) -> exp.Expr:
    unit = node.unit
    name = unit.name.upper().rstrip("S") if isinstance(unit, exp.Var) else ""
    return annotator._set_type(node, YEAR_TO_MONTH.copy() if name in _MONTH_UNITS else exp.DType.INTERVAL)


_BY_NAME = {
    **dict.fromkeys(
        [
            "date_format",
            "format_datetime",
            "json_extract_scalar",
            "json_format",
            "reverse",
            "to_base",
            "to_iso8601",
            "url_decode",
            "url_encode",
            "current_timezone",
        ],
        exp.DType.VARCHAR,
    ),
    **dict.fromkeys(
        ["all_match", "any_match", "arrays_overlap", "contains", "none_match", "is_finite", "is_infinite"],
        exp.DType.BOOLEAN,
    ),
    **dict.fromkeys(
        ["codepoint", "json_array_length", "millisecond", "to_milliseconds", "yow"], exp.DType.BIGINT
    ),
    "at_timezone": exp.DType.TIMESTAMP,
    "date_parse": exp.DType.TIMESTAMP,
    "e": exp.DType.DOUBLE,
    "every": exp.DType.BOOLEAN,
    "geometric_mean": exp.DType.DOUBLE,
    "infinity": exp.DType.DOUBLE,
    "json_extract": exp.DType.JSON,
    "nan": exp.DType.DOUBLE,
    "parse_datetime": exp.DType.TIMESTAMPTZ,
    "sha1": exp.DType.VARBINARY,
}
_AS_FIRST_ARGUMENT = frozenset(
    [
        "arbitrary",
        "array_distinct",
        "array_except",
        "array_intersect",
        "array_remove",
        "array_union",
        "map_concat",
        "map_filter",
        "reverse",
        "trim_array",
    ]
)


def _anonymous(annotator: TypeAnnotator, node: exp.Anonymous) -> exp.Expr:
    """The type of a function that sqlglot passes through."""
    name, arguments = node.name.lower(), node.expressions
    if name in _BY_ARGUMENTS:
        types = [
            type_of(argument.this if isinstance(argument, exp.Lambda) else argument) for argument in arguments
        ]
        return annotator._set_type(node, _BY_ARGUMENTS[name](*types))
    if name in _AS_FIRST_ARGUMENT and arguments:
        return annotator._set_type(node, type_of(arguments[0]))
    if name == "from_unixtime":
        return annotator._set_type(
            node, exp.DType.TIMESTAMPTZ if len(arguments) == 1 else exp.DType.TIMESTAMP
        )
    return annotator._set_type(node, _BY_NAME.get(name, exp.DType.UNKNOWN))


def _array_of(operand: exp.DataType) -> exp.DataType:
    return exp.DataType(this=exp.DType.ARRAY, expressions=[operand.copy()], nested=True)


def _map_of(key: exp.DataType, value: exp.DataType) -> exp.DataType:
    return exp.DataType(this=exp.DType.MAP, expressions=[key.copy(), value.copy()], nested=True)


def _row_of(*fields: exp.DataType) -> exp.DataType:
    """A row whose fields have no names."""
    kinds = [field.copy() for field in fields]
    return exp.DataType(this=exp.DType.STRUCT, expressions=kinds, nested=True)


_BY_ARGUMENTS: dict[str, Callable[..., exp.DataType]] = {
    "array_max": lambda array: lambdas.part(array, 0),
    "array_min": lambda array: lambdas.part(array, 0),
    "histogram": lambda value: _map_of(value, exp.DType.BIGINT.into_expr()),
    "map_agg": _map_of,
    "map_entries": lambda whole: _array_of(_row_of(*whole.expressions)),
    "map_values": lambda whole: _array_of(lambdas.part(whole, 1)),
    "ngrams": lambda array, n: _array_of(array),
    "transform_keys": lambda whole, said: _map_of(said, lambdas.part(whole, 1)),
    "transform_values": lambda whole, said: _map_of(lambdas.part(whole, 0), said),
    "zip": lambda *arrays: _array_of(_row_of(*(lambdas.part(array, 0) for array in arrays))),
    "zip_with": lambda left, right, said: _array_of(said),
}
"""Functions of arrays and maps, whose types hold those of their arguments, and of what a lambda says."""


def _transformed(annotator: TypeAnnotator, node: exp.Transform) -> exp.Expr:
    return annotator._set_type(node, _array_of(type_of(node.expression.this)))


def _reduced(annotator: TypeAnnotator, node: exp.Reduce) -> exp.Expr:
    finish = node.args.get("finish")
    return annotator._set_type(node, type_of(finish.this if finish is not None else node.args["initial"]))


def _map(annotator: TypeAnnotator, node: exp.Map) -> exp.Expr:
    keys, values = (
        type_of(part) if part is not None else None
        for part in (node.args.get("keys"), node.args.get("values"))
    )
    if keys is None or values is None:
        return annotator._set_type(node, exp.DType.MAP)
    return annotator._set_type(node, _map_of(lambdas.part(keys, 0), lambdas.part(values, 0)))


def _map_keys(annotator: TypeAnnotator, node: exp.MapKeys) -> exp.Expr:
    return annotator._set_type(node, _array_of(lambdas.part(type_of(node.this), 0)))


def _map_of_entries(annotator: TypeAnnotator, node: exp.MapFromEntries) -> exp.Expr:
    row = lambdas.part(type_of(node.this), 0)
    pair = [row_field(field) for field in row.expressions]
    return annotator._set_type(node, _map_of(*pair) if len(pair) == 2 else exp.DType.UNKNOWN)


def _row(annotator: TypeAnnotator, node: exp.Struct) -> exp.Expr:
    parts = [part.expression if isinstance(part, exp.PropertyEQ) else part for part in node.expressions]
    return annotator._set_type(node, _row_of(*map(type_of, parts)))


def _dot(annotator: TypeAnnotator, node: exp.Dot) -> exp.Expr:
    """A field of a row, by its name in any case."""
    fields = type_of(node.this).expressions if type_of(node.this).this == exp.DType.STRUCT else []
    named = (row_field(field) for field in fields if field.name.lower() == node.expression.name.lower())
    return annotator._set_type(node, next(named, exp.DType.UNKNOWN.into_expr()))


def _collected(annotator: TypeAnnotator, node: exp.Expr) -> exp.Expr:
    """ARRAY_AGG, REPEAT, SEQUENCE: an array of what they are given."""
    operand = node.args["start"] if isinstance(node, exp.GenerateSeries) else node.this
    while isinstance(operand, exp.Distinct | exp.Order):
        operand = operand.expressions[0] if isinstance(operand, exp.Distinct) else operand.this
    return annotator._set_type(node, _array_of(type_of(operand)))


def _flattened(annotator: TypeAnnotator, node: exp.Flatten) -> exp.Expr:
    inner = type_of(node.this).expressions
    return annotator._set_type(node, inner[0] if inner else exp.DType.ARRAY)


def _bracket(annotator: TypeAnnotator, node: exp.Bracket) -> exp.Expr:
    """An element of an array, or a value of a map."""
    container = type_of(node.this)
    inner = container.expressions
    if inner and (is_array(container) or is_map(container)):
        return annotator._set_type(node, inner[-1])
    place = node.expressions[0]
    if container.this == exp.DType.STRUCT and place.is_int and 1 <= int(place.name) <= len(inner):
        return annotator._set_type(node, row_field(inner[int(place.name) - 1]))
    return annotator._set_type(node, exp.DType.UNKNOWN)


_METADATA: dict[type[exp.Expr], dict[str, Any]] = {
    **Athena.EXPRESSION_METADATA,
    **{kind: {"annotator": _arithmetic} for kind in (exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod)},
    **{kind: {"annotator": _rounding} for kind in (exp.Round, exp.Ceil, exp.Floor, exp.Trunc, exp.Sign)},
    **{kind: {"annotator": _as_operand} for kind in _OF_OPERAND},
    **{kind: {"returns": exp.DType.BIGINT} for kind in _BIGINT_FUNCTIONS},
    **{
        kind: {"returns": exp.DataType.build("ARRAY<VARCHAR>")}
        for kind in (exp.Split, exp.RegexpSplit, exp.RegexpExtractAll)
    },
    **{kind: {"annotator": _as_operand} for kind in (exp.ArraySlice, exp.ArraySort, exp.ArrayFilter)},
    **{kind: {"annotator": _collected} for kind in (exp.ArrayAgg, exp.Repeat, exp.GenerateSeries)},
    **{kind: {"returns": exp.DType.VARCHAR} for kind in _TEXT_FUNCTIONS},
    **{
        kind: {"returns": exp.DType.VARBINARY}
        for kind in (exp.Encode, exp.FromBase64, exp.SHA2Digest, exp.Unhex)
    },
    exp.FromISO8601Date: {"returns": exp.DType.DATE},
    exp.FromISO8601Timestamp: {"returns": exp.DType.TIMESTAMPTZ},
    **{
        kind: {"returns": exp.DType.DOUBLE}
        for kind in (exp.Atan2, exp.RegrIntercept, exp.RegrSlope, exp.TimeToUnix)
    },
    exp.CurrentTimestamp: {"returns": exp.DType.TIMESTAMPTZ},
    exp.Localtimestamp: {"returns": exp.DType.TIMESTAMP},
    exp.Uuid: {"returns": exp.DType.UUID},
    exp.ApproxQuantile: {"annotator": _quantile},
    exp.Dot: {"annotator": _dot},
    exp.Map: {"annotator": _map},
    exp.MapFromEntries: {"annotator": _map_of_entries},
    exp.MapKeys: {"annotator": _map_keys},
    exp.Reduce: {"annotator": _reduced},
    exp.Struct: {"annotator": _row},
    exp.Flatten: {"annotator": _flattened},
    exp.Transform: {"annotator": _transformed},
    exp.Anonymous: {"annotator": _anonymous},
    exp.Bracket: {"annotator": _bracket},
    exp.Interval: {"annotator": _interval},
    exp.AtTimeZone: {"returns": exp.DType.TIMESTAMP},
    exp.Sum: {"annotator": _sum},
    exp.Avg: {"annotator": _avg},
}
