"""Run queries with DuckDB: each in a connection of its own, whose temporary views and tables end with it."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

import duckdb
from duckdb.sqltypes import DuckDBPyType
from sqlglot import exp

from local_aws.athena.catalog import Catalog
from local_aws.athena.errors import QueryCancelled, from_engine
from local_aws.athena.macros import DEFINITIONS
from local_aws.athena.planner import plan
from local_aws.athena.results import Result, csv_header, csv_lines
from local_aws.athena.scan import Scanner
from local_aws.athena.storage import ObjectStore
from local_aws.athena.types import ResultColumn, engine_parameters, hive_name, result_column

SETTINGS: dict[str, str | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
    "threads": 2,
    "memory_limit": "1GB",  # Of all queries together: what does not fit goes to disk.
    "allocator_background_threads": True,  # They give memory back that a query no longer needs.
}

ZONED = "timestamp with time zone"

_INTERRUPT_SECONDS = 0.02
_CHUNK_ROWS = 10_000
_PLAIN_TYPES = {"boolean", "tinyint", "smallint", "integer", "bigint", "varchar", "date"}
"""Types whose text is the same in DuckDB and in Athena, as is a decimal's of the same scale."""


class Cancellation:
    """Lets another thread stop a running query."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self.requested = False

    def request(self) -> None:
        """Stop the query now, or as soon as it starts; does not wait for it."""
        if not self.requested:
            self.requested = True
            threading.Thread(target=self._interrupt, name="athena-stop", daemon=True).start()

    def _interrupt(self) -> None:
        """Interrupt until the query lets go: DuckDB forgets an interrupt between two statements."""
        while True:
            with self._lock:
                if self._connection is None:
                    return
                self._connection.interrupt()
            time.sleep(_INTERRUPT_SECONDS)

    @contextlib.contextmanager
    def of(self, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """Interrupts go to this connection within the block."""
        with self._lock:
            self._connection = connection
        try:
            self.check()
            yield
        finally:
            with self._lock:
                self._connection = None

    def check(self) -> None:
        """Raises QueryCancelled when a stop was requested."""
        if self.requested:
            raise QueryCancelled("Query was cancelled by user")


@dataclass
class Session:
    """What a query runs with."""

    database: str
    catalog: Catalog
    store: ObjectStore
    temporary: Path
    scan_limit: int | None = None
    cancellation: Cancellation = field(default_factory=Cancellation)


@dataclass(frozen=True)
class Relation:
    """A query that is ready to run: DuckDB's relation and what Athena says of its columns."""

    connection: duckdb.DuckDBPyConnection
    relation: duckdb.DuckDBPyRelation
    sql: str
    result: Result

    @property
    def hive_columns(self) -> list[tuple[str, str]]:
        """(name, catalog type) of each column, for a table that is made of the result."""
        pairs = zip(self.result.columns, self.relation.types, strict=True)
        return [(column.name.lower(), hive_name(column, engine_type)) for column, engine_type in pairs]


@contextlib.contextmanager
def relation(query: exp.Expr, session: Session) -> Iterator[Relation]:
    """Plan a query, fetch what it reads, and hold its relation open for the length of a `with` block.

    Raises QueryFailed, or QueryCancelled when it was stopped or would scan more than the session allows.
    """
    planned = plan(query, session.database, session.catalog)
    connection = _database(session.temporary).cursor()
    try:
        with session.cancellation.of(connection):
            scanner = Scanner(session.catalog, session.store, connection)
            scanned = 0
            for reference in planned.references:
                scanned += scanner.create_view(reference)
                session.cancellation.check()
            if session.scan_limit is not None and scanned > session.scan_limit:
                raise QueryCancelled(
                    f"Bytes scanned limit was exceeded: the query reads {scanned} bytes and its workgroup "
                    f"allows {session.scan_limit}"
                )
            found = connection.sql(planned.sql)
            columns = [
                result_column(output.name, engine_type, output.data_type)
                for output, engine_type in zip(planned.columns, found.types, strict=True)
            ]
            yield Relation(connection, found, planned.sql, Result(columns, [], scanned))
    except duckdb.InterruptException as error:
        raise QueryCancelled("Query was cancelled by user") from error
    except duckdb.Error as error:
        if isinstance(error, duckdb.FatalException | duckdb.InternalException):
            _database.cache_clear()  # After an error of its own a database answers nothing any more.
        raise from_engine(error) from error
    finally:
        connection.close()


@functools.lru_cache(maxsize=1)
def _database(temporary: Path) -> duckdb.DuckDBPyConnection:
    """The database that queries share, as opening one takes a third of a small query's time.

    It holds our macros and nothing else. What does not fit into memory goes to a folder in `temporary`.
    """
    database = duckdb.connect(":memory:", config={**SETTINGS, "temp_directory": str(temporary / "spill")})
    database.execute("SET GLOBAL TimeZone = 'UTC'")
    for definition in DEFINITIONS:
        database.execute(f"CREATE MACRO {definition}")
    return database


def select(query: exp.Expr, session: Session) -> Result:
    """Run a query and write its rows to a CSV file, in pieces. Raises QueryFailed or QueryCancelled."""
    with relation(query, session) as prepared:
        path = session.temporary / f"athena-{uuid.uuid4()}.csv"
        try:
            with path.open("w", encoding="utf-8", newline="") as file:
                count = _write_csv(prepared, file, session.cancellation)
        except BaseException:
            path.unlink()
            raise
    return replace(prepared.result, file=path, file_rows=count)


def _write_csv(prepared: Relation, file: IO[str], cancellation: Cancellation) -> int:
    """Write header and rows; returns the number of rows."""
    columns, types = prepared.result.columns, prepared.relation.types
    is_plain = all(map(_is_plain, columns, types))
    cells = [_cell(index, engine_type.id, is_plain) for index, engine_type in enumerate(types, start=1)]
    selected = " || ',' || ".join(cells) + r" || E'\n'" if is_plain else ", ".join(cells)
    rows = prepared.connection.execute(f"SELECT {selected} FROM ({prepared.sql})")
    file.write(csv_header(columns))
    count = 0
    while chunk := rows.fetchmany(_CHUNK_ROWS):
        cancellation.check()
        file.writelines((line for (line,) in chunk) if is_plain else csv_lines(chunk, columns))
        count += len(chunk)
    return count


def _is_plain(column: ResultColumn, engine_type: DuckDBPyType) -> bool:
    """Whether DuckDB's text of a column's values is Athena's."""
    if engine_type.id == "decimal":  # Without a digit before the point, DuckDB writes .05.
        precision, scale = engine_parameters(engine_type)
        return precision > scale == column.scale
    return engine_type.id in _PLAIN_TYPES


def _cell(index: int, type_name: str, is_plain: bool) -> str:
    """SQL for a column's value: as CSV where DuckDB can write the whole line, else for Python to write."""
    if is_plain:
        text = f"CAST(#{index} AS VARCHAR)"
        return f"""coalesce('"' || replace({text}, '"', '""') || '"', '')"""
    # DuckDB's own conversion of zoned timestamps needs pytz: they become plain ones in UTC.
    return f"CAST(#{index} AS TIMESTAMP)" if type_name == ZONED else f"#{index}"
