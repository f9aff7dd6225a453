"""Functions that take a function `x -> ...`: of what types its parameters are, and their names.

https://trino.io/docs/current/functions/lambda.html, array.html and map.html.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from local_aws.athena.dialect import FUNCTION_NAME
from local_aws.athena.errors import QueryFailed

Types = list[exp.DataType]

PREDICATES = frozenset(["all_match", "any_match", "filter", "map_filter", "none_match"])
"""Those whose function says true or false."""


def name_parameters(query: exp.Expr) -> None:
    """Give each parameter a name that no other lambda has.

    So no lambda that a rewrite puts around it can hide it, nor one that stands in a macro. Raises QueryFailed
    where a function has a query within it.
    """
    functions = list(query.find_all(exp.Lambda, bfs=False))
    for index, function in reversed(list(enumerate(functions))):  # Inner ones first: they hide outer names.
        if function.find(exp.Query):
            raise QueryFailed("NOT_SUPPORTED", "Lambda expression cannot contain subqueries", function)
        for place, parameter in enumerate(list(function.expressions)):
            name = exp.to_identifier(f"athena_{index}_{place}")
            for use in uses(function.this, parameter.name):
                named = name.copy()
                named.meta.update(use.meta)  # Where it stands, for errors.
                use.replace(named)
            parameter.replace(name)


def uses(body: exp.Expr, name: str) -> list[exp.Expr]:
    """The nodes of a lambda's body that stand for its parameter."""
    found: list[exp.Expr] = []
    for node in body.walk():
        if not isinstance(node, exp.Identifier) or node.name.lower() != name.lower():
            continue
        holder = node.parent
        if isinstance(holder, exp.Column) and node.arg_key == "this" and not holder.table:
            found.append(holder)
        elif not (isinstance(holder, exp.Dot | exp.Column | exp.PropertyEQ) and node.arg_key != "this"):
            found.append(node)
    return found


def values_of(call: exp.Expr) -> list[exp.Expr]:
    """The arguments of a call that are no functions."""
    return [argument for argument in call.iter_expressions() if not isinstance(argument, exp.Lambda)]


def parameter_types(function: exp.Lambda, values: Types) -> Types:
    """The types of a lambda's parameters, from those of its call's other arguments.

    UNKNOWN where a value's type is. Raises QueryFailed (TYPE_MISMATCH) for another number of parameters,
    and for a call that takes no function.
    """
    call = function.parent
    name = call.meta.get(FUNCTION_NAME, call.key) if call is not None else ""
    if name not in _PARAMETERS:
        raise QueryFailed("TYPE_MISMATCH", f"Unexpected parameters (function) for function {name}", call)
    types = _PARAMETERS[name](values)
    if function.arg_key == "finish":
        types = types[:1]
    if len(types) != len(function.expressions):
        raise QueryFailed(
            "TYPE_MISMATCH",
            f"The function that {name} takes has {len(types)} parameters, not {len(function.expressions)}",
            call,
        )
    return types


def part(whole: exp.DataType, place: int) -> exp.DataType:
    """The type at a place within an array's or a map's, UNKNOWN where there is none."""
    return whole.expressions[place] if place < len(whole.expressions) else exp.DType.UNKNOWN.into_expr()


def _element(values: Types) -> Types:
    return [part(values[0], 0)]


def _key_and_value(values: Types) -> Types:
    return [part(values[0], 0), part(values[0], 1)]


_PARAMETERS: dict[str, Callable[[Types], Types]] = {
    **dict.fromkeys(("all_match", "any_match", "filter", "none_match", "transform"), _element),
    **dict.fromkeys(("map_filter", "transform_keys", "transform_values"), _key_and_value),
    "array_sort": lambda values: _element(values) * 2,
    "reduce": lambda values: [values[1], part(values[0], 0)],
    "regexp_replace": lambda values: [exp.DataType.build("ARRAY<VARCHAR>")],
    "zip_with": lambda values: [part(values[0], 0), part(values[1], 0)],
}
