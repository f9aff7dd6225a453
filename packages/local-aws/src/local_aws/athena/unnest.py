"""UNNEST as Trino has it: several arrays side by side, maps as two columns, arrays of rows as their fields.

DuckDB's takes one list; the others become a subquery that unnests each of them in its SELECT.
https://trino.io/docs/current/sql/select.html#unnest
"""

from __future__ import annotations

from sqlglot import exp

from local_aws.athena.errors import QueryFailed
from local_aws.athena.inference import is_array, is_map, is_unknown, type_of
from local_aws.athena.trees import call


def name_columns(query: exp.Expr) -> None:
    """Give every UNNEST without column names Trino's: only SELECT * can see them."""
    for index, node in enumerate(query.find_all(exp.Unnest)):
        alias = node.args.get("alias")
        if alias is not None and alias.columns:
            continue
        if any(isinstance(operand, exp.Column) for operand in node.expressions) or len(node.expressions) > 1:
            raise QueryFailed(
                "NOT_SUPPORTED",
                "the columns of UNNEST need names in the embedded AWS: UNNEST(x) AS t (a, b)",
                node.expressions[0],
            )
        is_a_map = isinstance(node.expressions[0], exp.Map | exp.MapFromEntries | exp.VarMap)
        columns = [exp.to_identifier(f"_col{n}") for n in range(2 if is_a_map else 1)]
        name = alias.this if alias is not None and alias.this else exp.to_identifier(f"_unnest_{index}")
        node.set("alias", exp.TableAlias(this=name.copy(), columns=columns))


def rewrite(node: exp.Unnest) -> None:
    """Make a subquery of an UNNEST that DuckDB's cannot do. Raises QueryFailed for too few or many names."""
    operands = node.expressions
    if len(operands) == 1 and not is_map(type_of(operands[0])) and not _row_fields(operands[0]):
        if not (is_array(type_of(operands[0])) or is_unknown(type_of(operands[0]))):
            found = type_of(operands[0]).sql("athena").lower()
            raise QueryFailed("TYPE_MISMATCH", f"Cannot unnest type: {found}", operands[0])
        return
    parts = [part for operand in operands for part in _parts(operand)]
    alias = node.args["alias"]
    names = list(alias.columns)
    ordinality = node.args.get("offset")
    if isinstance(ordinality, exp.Expr):
        names.append(ordinality)
        longest = call("greatest", *(call("coalesce", call("len", p), exp.Literal.number(0)) for p in parts))
        parts.append(
            call("range", exp.Literal.number(1), exp.Add(this=longest, expression=exp.Literal.number(1)))
        )
    if len(names) != len(parts):
        raise QueryFailed(
            "MISMATCHED_COLUMN_ALIASES",
            f"Column alias list has {len(names)} entries but '{alias.name}' has {len(parts)} columns "
            "available",
            operands[0],
        )
    select = exp.select(*(call("unnest", part) for part in parts))
    subquery = exp.Subquery(
        this=select, alias=exp.TableAlias(this=alias.this.copy(), columns=[name.copy() for name in names])
    )
    node.replace(subquery)


def _parts(operand: exp.Expr) -> list[exp.Expr]:
    """The lists that an operand of UNNEST gives, one a column."""
    if is_map(type_of(operand)):
        return [call("map_keys", operand), call("map_values", operand)]
    fields = _row_fields(operand)
    if fields:
        element = exp.to_identifier("e")
        return [
            call(
                "list_transform",
                operand,
                exp.Lambda(
                    this=call("struct_extract_at", element, exp.Literal.number(place)),
                    expressions=[element.copy()],
                ),
            )
            for place in range(1, fields + 1)
        ]
    return [operand]


def _row_fields(operand: exp.Expr) -> int:
    """How many fields the rows of an array have; 0 for other arrays."""
    inner = type_of(operand).expressions
    is_rows = is_array(type_of(operand)) and inner and inner[0].this == exp.DType.STRUCT
    return len(inner[0].expressions) if is_rows else 0
