"""Athena's statements run in this process, without a server: for what depends on SQL alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlglot import exp

from local_aws.athena import statements
from local_aws.athena.catalog import Catalog, Table, view_text
from local_aws.athena.engine import Session
from local_aws.athena.errors import QueryFailed
from local_aws.athena.partitions import Location
from local_aws.athena.results import Result, read_page
from local_aws.athena.storage import ObjectStore

SALES = """
    SELECT * FROM (VALUES
        (1, 'a', CAST(10.05 AS decimal(18,2)), CAST(3 AS bigint)),
        (2, '', CAST(20.10 AS decimal(18,2)), 0),
        (NULL, 'x', NULL, NULL)
    ) AS t (hour, category, revenue, buys)
"""

Run = Callable[[str], Result]


class CatalogOfOneView(Catalog):
    """A catalog that needs no server: database `shop` with the view `sales`."""

    def table(self, database: str, name: str, at: exp.Expr | None = None) -> Table:
        assert (database, name) == ("shop", "sales")
        view = view_text(SALES, database, [])
        return Table(database, name, (), (), "", table_type="VIRTUAL_VIEW", view_text=view)


def runner(folder: Path) -> Run:
    """Runs a statement as the embedded Athena does; what it leaves goes to `folder`."""
    nothing: Any = None

    def run_statement(sql: str) -> Result:
        store = ObjectStore(nothing, nothing, folder)
        session = Session("shop", CatalogOfOneView(nothing), store, folder)
        result = statements.run(sql, [], session, "query-id", Location("results", ""))
        if result.file is None:
            return result
        rows = read_page(result.file, 0, 1_000, is_csv=True).rows[1:]
        result.file.unlink()
        return replace(result, rows=rows)

    return run_statement


def failure(run: Run, sql: str) -> str:
    """What a statement that must fail says."""
    with pytest.raises(QueryFailed) as failed:
        run(sql)
    return str(failed.value)


def sql_type(result: Result) -> str:
    """The type of a result's first column as SQL spells it."""
    column = result.columns[0]
    return f"decimal({column.precision},{column.scale})" if column.type == "decimal" else column.type
