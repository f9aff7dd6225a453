"""The Glue Data Catalog in Spark's session: what a job's --enable-glue-datacatalog asks for.

Before each `spark.sql`, `spark.table`, `spark.read.table` and `spark.catalog` call, the databases and those
tables whose names occur in it are taken over into Spark's own catalog, with their registered partitions.
Parquet and ORC tables can be read. What would change the catalog, and other tables, is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrameReader, DataFrameWriter, DataFrameWriterV2, SparkSession
from pyspark.sql.catalog import Catalog

from .catalog import DataCatalog, Partition, Table
from .fields import quoted
from .refusals import NotReproduced

_FORMATS = ("parquet", "orc")
_READING = {
    "CacheTable",
    "ClearCacheCommand",
    "CreateViewCommand",  # A temporary view.
    "CreateViewUsing",
    "CreateTempViewUsing",
    "DescribeColumn",
    "DescribeQueryCommand",
    "DescribeRelation",
    "ExplainCommand",
    "InsertIntoDir",
    "RefreshTable",
    "ResetCommand",
    "SetCatalogAndNamespace",
    "SetCommand",
    "ShowColumns",
    "ShowCreateTable",
    "ShowFunctions",
    "ShowNamespaces",
    "ShowPartitions",
    "ShowTables",
    "ShowTblProperties",
    "ShowViews",
    "UncacheTable",
}
"""Spark's names of the commands that leave the catalog as it is."""

_READ_INSTEAD = "create_dynamic_frame.from_catalog(...).toDF().createOrReplaceTempView(...)"

_CATALOG_METHODS = (
    "databaseExists",
    "getDatabase",
    "getTable",
    "listColumns",
    "listDatabases",
    "listTables",
    "setCurrentDatabase",
    "tableExists",
)

_INSTEAD = (
    "write files with getSink(..., enableUpdateCatalog=True), or create the table with boto3 or in Athena, "
    "write to its location, and run MSCK REPAIR TABLE in Athena"
)


def enable() -> None:
    """Let all sessions of this process see the catalog, from now on."""
    shared = _SessionCatalog()
    _before(SparkSession, "sql", lambda session, sql, *_, **__: shared.prepare_sql(session, sql), shared)
    _before(SparkSession, "table", lambda session, name: shared.take_over(session, name), shared)
    _before(DataFrameReader, "table", lambda reader, name: shared.take_over(reader._spark, name), shared)
    for method in _CATALOG_METHODS:
        _before(Catalog, method, lambda catalog, *_, **__: shared.take_over(catalog._sparkSession), shared)
    for owner, method in (
        (DataFrameWriter, "saveAsTable"),
        (DataFrameWriter, "insertInto"),
        (DataFrameWriterV2, "create"),
        (DataFrameWriterV2, "append"),
    ):
        _before(owner, method, _refuse_writer(f"{owner.__name__}.{method}"), shared)


def _before(owner: type, method: str, prepare: Callable[..., None], shared: _SessionCatalog) -> None:
    """Call `prepare` before each call of a method; say why when Spark then misses a table."""
    original = getattr(owner, method)

    @wraps(original)
    def prepared(*args: Any, **kwargs: Any) -> Any:
        prepare(*args, **kwargs)
        try:
            return original(*args, **kwargs)
        except AnalysisException as error:
            for table, reason in shared.left_out.items():
                if _is_named(table, str(error)):
                    raise NotReproduced(reason) from error
            raise

    setattr(owner, method, prepared)


def _refuse_writer(what: str) -> Callable[..., None]:
    def refuse(*_: Any, **__: Any) -> None:
        raise NotReproduced(f"{what} with the Glue Data Catalog is not reproduced. Instead: {_INSTEAD}")

    return refuse


class _SessionCatalog:
    """What of the catalog is in Spark's."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[Table, list[Partition]]] = {}
        self._busy = False
        self.left_out: dict[str, str] = {}
        """Tables that are not taken over, and why."""

    def prepare_sql(self, session: SparkSession, sql: str) -> None:
        """Take over what a statement names. Raises NotReproduced when it would change the catalog."""
        if self._busy:
            return
        try:
            plan = session._jsparkSession.sessionState().sqlParser().parsePlan(sql)
        except AnalysisException:  # Spark will say it again, to the caller.
            return
        name = plan.getClass().getSimpleName()
        commands = session._jvm.java.lang.Class  # type: ignore[union-attr]
        kinds = (
            "org.apache.spark.sql.catalyst.plans.logical.Command",
            "org.apache.spark.sql.catalyst.plans.logical.ParsedStatement",
        )
        is_command = any(commands.forName(kind).isInstance(plan) for kind in kinds)
        if is_command and name not in _READING:
            raise NotReproduced(
                f"{name} in spark.sql with the Glue Data Catalog is not reproduced. Instead: {_INSTEAD}"
            )
        self.take_over(session, None if name.startswith("Show") else sql)

    def take_over(self, session: SparkSession, text: str | None = None) -> None:
        """Bring databases, and the tables whose names are in the text (all, without one), up to date."""
        if self._busy:
            return
        self._busy = True
        try:
            self._take_over(session, text)
        finally:
            self._busy = False

    def _take_over(self, session: SparkSession, text: str | None) -> None:
        catalog = DataCatalog()
        found: dict[tuple[str, str], Table] = {}
        for database in catalog.databases():
            session.sql(f"CREATE DATABASE IF NOT EXISTS {quoted((database,))}")
            found.update({(database, table.name): table for table in catalog.tables(database)})
        for key in set(self._known) - set(found):
            self._drop(session, key)
        for key, table in found.items():
            if text is None or _is_named(table.name, text):
                self._renew(session, key, table, catalog)

    def _renew(self, session: SparkSession, key: tuple[str, str], table: Table, catalog: DataCatalog) -> None:
        try:
            kind = "view" if table.is_view else table.format
        except NotReproduced as error:
            self.left_out[table.name] = str(error)
            return
        if kind not in _FORMATS:
            self.left_out[table.name] = (
                f"{quoted(key)} is a {kind if table.is_view else f'{kind} table'}: with the Glue Data "
                f"Catalog spark.sql reads tables of {' and '.join(_FORMATS)} only. Instead: {_READ_INSTEAD}"
            )
            return
        state = (table, catalog.partitions(table) if table.partition_keys else [])
        if self._known.get(key) == state:
            return
        self._drop(session, key)
        columns = ", ".join(f"{quoted((name,))} {hive}" for name, hive in table.types.items())
        keys = ", ".join(quoted((name,)) for name in table.partition_keys)
        try:
            session.sql(
                f"CREATE TABLE {quoted(key)} ({columns}) USING {kind}"
                f"{f' PARTITIONED BY ({keys})' if keys else ''} LOCATION {_literal(table.location)}"
            )
        except Py4JJavaError as error:
            self.left_out[table.name] = f"{table.location} of {quoted(key)}: {error.java_exception}"
            return
        for partition in state[1]:
            values = ", ".join(
                f"{quoted((name,))}={_literal(value)}"
                for name, value in zip(table.partition_keys, partition.values, strict=True)
            )
            session.sql(
                f"ALTER TABLE {quoted(key)} ADD IF NOT EXISTS PARTITION ({values}) "
                f"LOCATION {_literal(partition.location)}"
            )
        self._known[key] = state

    def _drop(self, session: SparkSession, key: tuple[str, str]) -> None:
        session.sql(f"DROP TABLE IF EXISTS {quoted(key)}")
        self._known.pop(key, None)


def _is_named(table: str, text: str) -> bool:
    """Whether the text may name the table."""
    return re.search(rf"(?<!\w){re.escape(table)}(?!\w)", text, re.IGNORECASE) is not None


def _literal(text: str) -> str:
    return "'{}'".format(text.replace("\\", "\\\\").replace("'", "\\'"))
