"""Prepared statements: PREPARE, EXECUTE ... USING, DEALLOCATE PREPARE. They belong to a workgroup.

https://docs.aws.amazon.com/athena/latest/ug/querying-with-prepared-statements.html. MiniStack keeps them and
answers their API but for UpdatePreparedStatement.
"""

from __future__ import annotations

import re
import time
from typing import Any

from ministack.services import athena as ministack_athena
from sqlglot import exp

from local_aws.athena.errors import QueryFailed
from local_aws.athena.planner import parse
from local_aws.athena.results import Result

_NAME = r"\"?(?P<name>\w+)\"?"
_EXECUTE = re.compile(rf"EXECUTE\s+{_NAME}(?:\s+USING\s+(?P<values>.*))?", re.IGNORECASE | re.DOTALL)
_PREPARE = re.compile(rf"PREPARE\s+{_NAME}\s+FROM\s+(?P<statement>.*)", re.IGNORECASE | re.DOTALL)
_DEALLOCATE = re.compile(rf"DEALLOCATE\s+PREPARE\s+{_NAME}", re.IGNORECASE)


class NotPrepared(Exception):
    """The workgroup has no such statement."""


def update(name: str, workgroup: str, statement: str, description: str | None = None) -> None:
    """Give a prepared statement another text. Raises NotPrepared."""
    found = _statement(name, workgroup)
    found.update(QueryStatement=statement, LastModifiedTime=int(time.time()))
    if description is not None:
        found["Description"] = description


def resolve(plain: str, parameters: list[str], workgroup: str) -> tuple[str, list[str]] | None:
    """The statement that EXECUTE names, with the parameters to run it with; None for any other statement.

    Raises NotPrepared, and QueryFailed when the values after USING cannot be parsed.
    """
    match = _EXECUTE.fullmatch(plain)
    if match is None:
        return None
    values = parameters
    if match["values"]:
        selected = parse(f"SELECT {match['values']}")
        assert isinstance(selected, exp.Select)
        values = [value.sql("athena") for value in selected.expressions]
    return _statement(match["name"], workgroup)["QueryStatement"], values


def run(plain: str, workgroup: str) -> Result | None:
    """Run PREPARE or DEALLOCATE PREPARE; None for any other statement. Raises QueryFailed."""
    prepare, deallocate = _PREPARE.fullmatch(plain), _DEALLOCATE.fullmatch(plain)
    statements = ministack_athena._prepared_statements
    if prepare:
        statements[f"{workgroup}/{prepare['name']}"] = {
            "StatementName": prepare["name"],
            "WorkGroupName": workgroup,
            "QueryStatement": prepare["statement"],
            "LastModifiedTime": int(time.time()),
        }
    elif deallocate:
        if statements.pop(f"{workgroup}/{deallocate['name']}", None) is None:
            raise QueryFailed("NOT_FOUND", f"Prepared statement not found: {deallocate['name']}")
    else:
        return None
    return Result([], [])


def _statement(name: str, workgroup: str) -> dict[str, Any]:
    found = ministack_athena._prepared_statements.get(f"{workgroup}/{name}")
    if found is None:
        raise NotPrepared(f"PreparedStatement {name} was not found in workGroup {workgroup}")
    return found
