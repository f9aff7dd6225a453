"""Query errors as Athena words them: a code, a position where one is known, and a message."""

from __future__ import annotations

import re

import duckdb
from sqlglot import exp
from sqlglot.errors import ParseError, TokenError


class QueryFailed(Exception):
    """A query that ends FAILED; `str()` of it is its StateChangeReason."""

    def __init__(self, code: str, message: str, at: exp.Expr | None = None) -> None:
        self.code = code
        super().__init__(f"{code}: {position(at)}{message}")


class QueryCancelled(Exception):
    """A query that ends CANCELLED; `str()` of it is its StateChangeReason."""


class RequestRefused(Exception):
    """A request that AWS refuses with InvalidRequestException."""


def position(node: exp.Expr | None) -> str:
    """`line 1:8: `, counted from 1 as Trino does, of the first token below `node`; empty if unknown."""
    if node is None:
        return ""
    starts = [
        (part.meta["line"], part.meta["col"] - (part.meta["end"] - part.meta["start"]))
        for part in node.walk()
        if "line" in part.meta
    ]
    return "line {}:{}: ".format(*min(starts)) if starts else ""


def from_parser(error: ParseError | TokenError) -> QueryFailed:
    """The error of a statement that cannot be parsed, with line and column where sqlglot knows them."""
    details = error.errors[0] if isinstance(error, ParseError) and error.errors else None
    if details is None:
        return QueryFailed("SYNTAX_ERROR", str(error).splitlines()[0])
    near = details.get("highlight") or "end of the statement"
    column = (details.get("col") or 1) - len(details.get("highlight") or "") + 1
    return QueryFailed(
        "SYNTAX_ERROR", f"line {details.get('line')}:{max(column, 1)}: mismatched input '{near}'"
    )


_ENGINE_ERRORS: tuple[tuple[str, str, str], ...] = (
    # (pattern in DuckDB's message, Athena's code, Athena's message; \1 refers to the pattern's group)
    (r"Division by zero", "DIVISION_BY_ZERO", "Division by zero"),
    (
        r'column "([^"]+)" must appear in the GROUP BY clause',
        "EXPRESSION_NOT_AGGREGATE",
        r"'\1' must be an aggregate expression or appear in GROUP BY clause",
    ),
    (
        r'Referenced column "([^"]+)" not found',
        "COLUMN_NOT_FOUND",
        r"Column '\1' cannot be resolved or requester is not authorized to access requested resources",
    ),
    (
        r"(?:Scalar|Aggregate|Table)? ?(?:Function|Macro)[\w ]* with name \"?(\w+)\"? does not exist",
        "FUNCTION_NOT_FOUND",
        r"Function '\1' is not registered with the embedded Athena",
    ),
    (r"Could not convert (.*)", "INVALID_CAST_ARGUMENT", r"Cannot cast \1"),
    (r"((?:Overflow|overflow|out of range).*)", "NUMERIC_VALUE_OUT_OF_RANGE", r"\1"),
    (
        r"No function matches the given name and argument types (.*)",
        "TYPE_MISMATCH",
        r"Unexpected parameters \1",
    ),
    (
        r"Could not choose a best candidate function for the function call (.*)",
        "TYPE_MISMATCH",
        r"Unexpected parameters \1",
    ),
    (
        r"More than one row returned by a subquery",
        "SUBQUERY_MULTIPLE_ROWS",
        "Scalar sub-query has returned multiple rows",
    ),
    (r"Not implemented Error: (.*)", "NOT_SUPPORTED", r"\1"),
)


def from_engine(error: duckdb.Error) -> QueryFailed:
    """The error of a statement that DuckDB refused or failed on."""
    text = str(error)
    marked = re.search(r"athena:([A-Z_]+): (.*?)\|", text, re.DOTALL)  # One that a macro of ours raised.
    if marked:
        return QueryFailed(marked[1], marked[2])
    for pattern, code, message in _ENGINE_ERRORS:
        match = re.search(pattern, text)
        if match:
            return QueryFailed(code, match.expand(message))
    return QueryFailed("GENERIC_INTERNAL_ERROR", text.splitlines()[0])
