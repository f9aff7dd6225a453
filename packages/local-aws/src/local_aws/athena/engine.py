"""Run one query with DuckDB, in a database of its own that ends with it."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
from sqlglot import exp

from local_aws.athena.catalog import Catalog
from local_aws.athena.errors import QueryCancelled, from_engine
from local_aws.athena.planner import plan
from local_aws.athena.results import Result, text_rows
from local_aws.athena.rewrite import MACROS
from local_aws.athena.scan import Scanner
from local_aws.athena.storage import ObjectStore
from local_aws.athena.types import hive_name, result_column

SETTINGS: dict[str, str | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
    "threads": 2,
    "memory_limit": "2GB",
}


ZONED = "timestamp with time zone"

_INTERRUPT_ATTEMPTS = 200
_INTERRUPT_SECONDS = 0.05


class Cancellation:
    """Lets another thread stop a running query."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self.requested = False

    def request(self) -> None:
        """Stop the query now, or as soon as it starts; returns when it has let go of its connection."""
        self.requested = True
        for _ in range(_INTERRUPT_ATTEMPTS):  # DuckDB forgets an interrupt that comes between two statements.
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
    work_dir = Path(tempfile.mkdtemp(prefix="athena-", dir=session.temporary))
    connection = duckdb.connect(":memory:", config={**SETTINGS, "temp_directory": str(work_dir / "spill")})
    try:
        with session.cancellation.of(connection):
            connection.execute("SET TimeZone = 'UTC'")
            for macro in MACROS:
                connection.execute(macro)
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
            yield Relation(connection, found, Result(columns, [], scanned))
    except duckdb.InterruptException as error:
        raise QueryCancelled("Query was cancelled by user") from error
    except duckdb.Error as error:
        raise from_engine(error) from error
    finally:
        connection.close()
        shutil.rmtree(work_dir, ignore_errors=True)


def select(query: exp.Expr, session: Session) -> Result:
    """Run a query and return all its rows. Raises QueryFailed or QueryCancelled."""
    with relation(query, session) as prepared:
        columns = prepared.result.columns
        rows = text_rows(_without_zones(prepared).fetchall(), columns)
        return Result(columns, rows, prepared.result.bytes_scanned)


def _without_zones(prepared: Relation) -> duckdb.DuckDBPyRelation:
    """The relation with zoned timestamps as plain ones in UTC: DuckDB's own conversion of them needs pytz."""
    types = [engine_type.id for engine_type in prepared.relation.types]
    if ZONED not in types:
        return prepared.relation
    columns = [
        f"CAST(#{index} AS TIMESTAMP)" if type_name == ZONED else f"#{index}"
        for index, type_name in enumerate(types, start=1)
    ]
    return prepared.connection.sql(f"SELECT {', '.join(columns)} FROM ({prepared.relation.sql_query()})")
