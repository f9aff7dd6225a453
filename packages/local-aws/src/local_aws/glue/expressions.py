"""Expressions of GetPartitions: conditions on partition keys, in the SQL that Glue's API documents."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

import duckdb
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from local_aws.glue.errors import ApiError

_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_TYPES = {
    "string": "VARCHAR",
    "char": "VARCHAR",
    "varchar": "VARCHAR",
    "tinyint": "TINYINT",
    "smallint": "SMALLINT",
    "int": "INTEGER",
    "bigint": "BIGINT",
    "long": "BIGINT",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
}
_ALLOWED = (
    exp.And,
    exp.Or,
    exp.Not,
    exp.Paren,
    exp.EQ,
    exp.NEQ,
    exp.GT,
    exp.GTE,
    exp.LT,
    exp.LTE,
    exp.In,
    exp.Between,
    exp.Like,
    exp.Is,
    exp.Null,
    exp.Neg,
    exp.Literal,
    exp.Column,
    exp.Identifier,
)


def matching(expression: str, keys: Sequence[dict[str, Any]], values: Sequence[Sequence[str]]) -> list[int]:
    """The positions of the partitions that meet the expression. Raises ApiError when it is none, or when it
    names what is no partition key."""
    try:
        condition = sqlglot.parse_one(expression, into=exp.Condition, dialect="hive")
    except SqlglotError as error:
        raise _refused(expression, "it cannot be parsed") from error
    types = {key["Name"].lower(): _sql_type(expression, key) for key in keys}
    _check(expression, condition, types)
    columns = [f'TRY_CAST("{name}" AS {kind}) AS "{name}"' for name, kind in types.items()]
    names = ", ".join(f'"{name}"' for name in types)
    with _database().cursor() as database:
        declared = ", ".join(f'"{name}" VARCHAR' for name in types)
        database.execute(f"CREATE TEMP TABLE partitions (position INTEGER, {declared})")
        rows = [
            (position, *(None if value == _NULL_PARTITION else value for value in of_one))
            for position, of_one in enumerate(values)
        ]
        if rows:
            marks = ", ".join("?" for _ in rows[0])
            database.executemany(f"INSERT INTO partitions (position, {names}) VALUES ({marks})", rows)
        query = f"SELECT position FROM (SELECT position, {', '.join(columns)} FROM partitions) WHERE "
        try:
            found = database.execute(
                f"{query} {condition.sql(dialect='duckdb')} ORDER BY position"
            ).fetchall()
        except duckdb.Error as error:
            raise _refused(expression, str(error).splitlines()[0]) from error
    return [position for (position,) in found]


@functools.cache
def _database() -> duckdb.DuckDBPyConnection:
    """One that is never closed: its end would end the threads that give memory back, in all databases."""
    return duckdb.connect(":memory:")


def _sql_type(expression: str, key: dict[str, Any]) -> str:
    name = key.get("Type", "string").lower()
    if re.fullmatch(r"decimal(\(\d+, *\d+\))?", name):
        return name if "(" in name else "decimal(10,0)"
    kind = _TYPES.get(name.partition("(")[0])
    if kind is None:
        raise _refused(expression, f"partition keys of type {name} cannot be compared")
    return kind


def _check(expression: str, condition: exp.Expr, types: dict[str, str]) -> None:
    for node in condition.walk():
        if not isinstance(node, _ALLOWED):
            raise _refused(expression, f"{node.key.upper()} is not supported")
        if isinstance(node, exp.Column) and (node.name.lower() not in types or node.table):
            raise _refused(expression, f"{node.sql()} is no partition key")
    for column in condition.find_all(exp.Column):
        others = (
            [one for one in column.parent.iter_expressions() if one is not column] if column.parent else []
        )
        is_text = types[column.name.lower()] == "VARCHAR"
        if is_text and any(isinstance(one, exp.Literal) and not one.is_string for one in others):
            raise _refused(expression, f"{column.name} is text: put what it is compared with in quotes")


def _refused(expression: str, reason: str) -> ApiError:
    return ApiError("InvalidInputException", f"Unsupported expression {expression!r}: {reason}")
