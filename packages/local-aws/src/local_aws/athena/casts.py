"""CAST and TRY_CAST: what Trino takes and gives, where DuckDB takes more or gives another text.

https://trino.io/docs/current/functions/conversion.html; what texts are numbers, dates and times is in Trino's
operators of the target types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sqlglot import exp

from local_aws.athena.errors import QueryFailed
from local_aws.athena.functions import not_available, type_needed
from local_aws.athena.inference import (
    INTEGER_DIGITS,
    NUMERIC_ORDER,
    is_exact,
    is_floating,
    is_integer,
    is_map,
    is_text,
    is_unknown,
    type_of,
)
from local_aws.athena.trees import call, replace, wrap
from local_aws.athena.types import MAX_DECIMAL

_TIME_FORMATS = {
    exp.DType.TIMESTAMP: "%Y-%m-%d %H:%M:%S.%g",
    exp.DType.TIMESTAMPTZ: "%Y-%m-%d %H:%M:%S.%g UTC",
}
_TEXT_MACROS = {
    exp.DType.BOOLEAN: "athena_boolean_text",
    exp.DType.TIMESTAMP: "athena_timestamp_text",
    exp.DType.TIMESTAMPTZ: "athena_utc_text",
}
"""What a text has to pass on its way to a type."""


def date(node: exp.Expr) -> None:
    """DATE(x) is CAST(x AS DATE)."""
    replaced = exp.Cast(this=node.this.copy(), to=exp.DType.DATE.into_expr())
    replaced.type = node.type
    node.replace(replaced)
    cast(replaced)


def cast(node: exp.Cast) -> None:
    """Rewrite a CAST or TRY_CAST in place. Raises QueryFailed for types that are not served."""
    source, target = type_of(node.this), node.to
    if is_unknown(source):
        raise type_needed("what is cast", node)
    _require_served(node, source, target)
    if target.this == exp.DType.DECIMAL and not target.expressions:  # DuckDB's is DECIMAL(18, 3).
        node.set("to", exp.DataType.build(f"DECIMAL({MAX_DECIMAL}, 0)"))
    if target.this == exp.DType.JSON:
        _to_json(node, source)
    elif target.this == exp.DType.STRUCT:
        _to_row(node, source)
    elif target.this in (exp.DType.ARRAY, exp.DType.LIST):
        _name_fields(node.this, target)
    elif is_text(target):
        _to_text(node, source)
    elif is_text(source):
        _from_text(node, target)
    elif is_floating(source) and target.this in INTEGER_DIGITS:
        node.set("this", exp.Round(this=node.this))  # Half away from zero; DuckDB's cast rounds half to even.


def _require_served(node: exp.Cast, source: exp.DataType, target: exp.DataType) -> None:
    """Refuse types that are not served, and within arrays, maps and rows casts that would need our rules."""
    for found, wanted in _scalars(source, target):
        if wanted.this in (exp.DType.CHAR, exp.DType.TIME, exp.DType.TIMETZ):
            raise not_available(f"the type {wanted.sql('athena').lower()}", node, "varchar or timestamp")
        if wanted is not target and not _needs_no_rule(found, wanted):
            names = " to ".join(kind.sql("athena").lower() for kind in (found, wanted))
            raise not_available(f"a cast of {names} within another type", node, "UNNEST, and cast each value")


def _needs_no_rule(found: exp.DataType, wanted: exp.DataType) -> bool:
    """Whether DuckDB's cast of a scalar is Trino's; a type that is not known counts as such."""
    if is_text(wanted) and wanted.expressions:
        return found == wanted
    if is_exact(found):
        return wanted.this in NUMERIC_ORDER or (is_integer(found) and is_text(wanted))
    return found.this in (wanted.this, exp.DType.UNKNOWN, exp.DType.NULL) or (
        is_text(found) and is_text(wanted)
    )


def _scalars(source: exp.DataType, target: exp.DataType) -> Iterator[tuple[exp.DataType, exp.DataType]]:
    """The scalar types within `target`, each after the one that is cast to it; else UNKNOWN."""
    parts, sources = _parts(target), _parts(source)
    for index, part in enumerate(parts):
        yield from _scalars(sources[index] if index < len(sources) else exp.DType.UNKNOWN.into_expr(), part)
    if not parts:
        yield source, target


def _parts(data_type: exp.DataType) -> list[exp.DataType]:
    """The types that an array, a map or a row is made of."""
    if not data_type.is_type(exp.DType.ARRAY, exp.DType.LIST, exp.DType.MAP, exp.DType.STRUCT):
        return []
    return [part.args["kind"] if isinstance(part, exp.ColumnDef) else part for part in data_type.expressions]


def _from_text(node: exp.Cast, target: exp.DataType) -> None:
    if target.this in INTEGER_DIGITS:
        name = exp.Literal.string(target.sql("athena").lower())
        node.set("this", call("athena_integer_text", node.this, name))
    elif target.this == exp.DType.DATE:
        macro = "athena_try_date" if isinstance(node, exp.TryCast) else "athena_date"
        replace(node, call(macro, node.this))
    elif target.this in _TEXT_MACROS:
        node.set("this", call(_TEXT_MACROS[target.this], node.this))


def _to_json(node: exp.Cast, source: exp.DataType) -> None:
    """A text becomes a JSON string: it is JSON_PARSE that reads JSON. The keys of a map are sorted."""
    if is_map(source):
        node.set("this", call("map_from_entries", call("list_sort", call("map_entries", node.this))))
    if source.this != exp.DType.JSON:
        node.set("this", call("to_json", node.this))


def _to_row(node: exp.Cast, source: exp.DataType) -> None:
    """Fields of rows are cast by their place, DuckDB's by their name: what has none yet gets the new ones."""
    if source.this == exp.DType.STRUCT and not isinstance(node.this, exp.Struct):
        raise not_available("a cast of a row other than ROW(...)", node, "its fields")
    _name_fields(node.this, node.to)


def _name_fields(value: exp.Expr, target: exp.DataType) -> None:
    """Give the fields of ROW(...), also within ROW(...) and ARRAY[...], the names that the type has."""
    if isinstance(value, exp.Struct) and target.this == exp.DType.STRUCT:
        for field, column in zip(value.expressions, target.expressions, strict=False):
            if isinstance(field, exp.PropertyEQ):
                field.set("this", column.this.copy())
                _name_fields(field.expression, column.args["kind"])
    elif isinstance(value, exp.Array) and target.this in (exp.DType.ARRAY, exp.DType.LIST):
        for item in value.expressions:
            _name_fields(item, target.expressions[0])


def _to_text(node: exp.Cast, source: exp.DataType) -> None:
    length = node.to.expressions[0].this.copy() if node.to.expressions else None
    node.set("to", exp.DType.VARCHAR.into_expr())
    if source.this in _TIME_FORMATS:
        moment = exp.cast(node.this, "TIMESTAMP") if source.this == exp.DType.TIMESTAMPTZ else node.this
        node.set("this", call("strftime", moment, exp.Literal.string(_TIME_FORMATS[source.this])))
    elif is_floating(source):  # As 1.5E0, https://github.com/trinodb/trino/pull/10657.
        node.set("this", call("athena_double_text", node.this))
    elif source.this == exp.DType.JSON:
        node.set("this", call("athena_json_varchar", node.this))
    elif source.this in (
        exp.DType.ARRAY,
        exp.DType.LIST,
        exp.DType.MAP,
        exp.DType.STRUCT,
        exp.DType.INTERVAL,
    ):
        name = source.sql("athena").lower()
        raise QueryFailed("TYPE_MISMATCH", f"Cannot cast {name} to varchar", node)
    if length is None:
        return
    if is_text(source):  # A text is cut; anything else fails.
        wrap(node, lambda inner: exp.Left(this=inner, expression=length))
    elif isinstance(node, exp.TryCast):
        fits = exp.LTE(this=call("length", node), expression=length.copy())
        wrap(node, lambda inner: exp.Case(ifs=[exp.If(this=fits, true=inner)]))
    else:
        wrap(node, lambda inner: call("athena_bounded", inner, length))


RULES: dict[type[exp.Expr], Callable[..., None]] = {
    **dict.fromkeys((exp.Cast, exp.TryCast), cast),
    **dict.fromkeys((exp.Date, exp.TsOrDsToDate), date),
}
