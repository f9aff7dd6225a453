"""Turn a table reference of a query into a DuckDB view over the objects that it must read.

The view has the catalog's columns in the catalog's types. Partitions that the query's own predicates exclude
are not fetched. The bytes counted are those of the referenced columns' chunks in the files of the remaining
partitions (whole files for text formats): what Athena bills before its row-group skipping.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
from sqlglot import exp

from local_aws.athena import partitions
from local_aws.athena.catalog import Catalog, Column, Table
from local_aws.athena.errors import QueryFailed
from local_aws.athena.partitions import Location, Values
from local_aws.athena.storage import (
    ObjectStore,
    ParquetFooter,
    StoredObject,
    orc_as_parquet,
    parquet_footer,
)
from local_aws.athena.text import is_lazy, lazy_value, null_text, plain_value
from local_aws.athena.types import is_readable_as

PATH = "$path"
"""The column that every table has and no `*` shows: the URL of the object that a row is in."""

_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"

Placed = tuple[Values, StoredObject]
"""An object and the values of the partition that it lies in."""


@dataclass(frozen=True)
class Reference:
    """One mention of a table in a query."""

    view: str
    alias: str
    table: Table
    used_columns: frozenset[str]
    partition_predicates: tuple[exp.Expr, ...]
    with_path: bool = False


class Scanner:
    """Prepares the scans of one query in its DuckDB connection."""

    def __init__(self, catalog: Catalog, store: ObjectStore, connection: duckdb.DuckDBPyConnection) -> None:
        self.catalog = catalog
        self.store = store
        self.connection = connection

    def create_view(self, reference: Reference) -> int:
        """Fetch what the reference reads and create its view; returns the bytes that reading it takes.

        Raises QueryFailed when its table cannot be read.
        """
        table = reference.table
        if partitions.is_projected(table):
            partitions.check_injected(table, reference.partition_predicates)
        placed = self._prune(reference, self._placed_objects(table))
        items = [item for _, item in placed]
        files = self.store.fetch(items)
        kind = _file_format(table)
        size = sum(item.size for item in items)
        if not items:
            relation = _empty_relation(reference)
        elif kind == "parquet":
            footers = [parquet_footer(item, files[item]) for item in items]
            size = sum(f.compressed_bytes.get(name, 0) for f in footers for name in reference.used_columns)
            relation = _parquet_relation(reference, items, [files[item] for item in items], footers)
        elif kind == "orc":
            converted = [orc_as_parquet(item, files[item]) for item in items]
            found = [parquet_footer(item, path) for item, path in zip(items, converted, strict=True)]
            footers = [_by_position(footer, table) for footer in found]
            relation = _parquet_relation(reference, items, converted, footers)
        else:
            relation = _text_relation(reference, kind, [files[item] for item in items])
        if items and (table.partition_keys or reference.with_path):
            relation += self._partition_join(reference, placed)
        self.connection.execute(f"CREATE TEMP VIEW {_quoted(reference.view)} AS {relation}")
        return size

    def _placed_objects(self, table: Table) -> list[Placed]:
        """The table's objects with their partitions' values (none for a table without partitions)."""
        owner = f"Table '{table.database}.{table.name}'"
        if not table.partition_keys:
            location = Location.parse(table.location, owner)
            return [((), item) for item in self._visible(location)]
        if partitions.is_projected(table):
            location = Location.parse(table.location, owner)
            template = table.parameters.get("storage.location.template")
            if template:  # It need not lie below the location: list what its constant part covers.
                location = Location.parse(template.split("${", 1)[0].rsplit("/", 1)[0], owner)
            return list(partitions.projected(table, ((item.key, item) for item in self.store.list(location))))
        return [
            (values, item)
            for values, url in self.catalog.partitions(table)
            for item in self._visible(Location.parse(url, f"A partition of {owner}"))
        ]

    def _visible(self, location: Location) -> list[StoredObject]:
        cut = len(location.prefix)
        return [item for item in self.store.list(location) if not partitions.is_hidden(item.key[cut:])]

    def _prune(self, reference: Reference, placed: list[Placed]) -> list[Placed]:
        """Without the objects of partitions that the query's predicates exclude."""
        if not reference.partition_predicates or not placed:
            return placed
        distinct = sorted({values for values, _ in placed})
        name = f"{reference.view}_distinct"
        self._create_values(name, reference.table, distinct)
        condition = " AND ".join(f"({part.sql('duckdb')})" for part in reference.partition_predicates)
        rows = self.connection.execute(
            f"SELECT file_index FROM {_quoted(name)} AS {_quoted(reference.alias)} WHERE {condition}"
        ).fetchall()
        kept = {distinct[index] for (index,) in rows}
        return [(values, item) for values, item in placed if values in kept]

    def _partition_join(self, reference: Reference, placed: list[Placed]) -> str:
        """The join that gives each row what its file tells: partition values, and `$path`.

        Files are known by their place in the list read.
        """
        name = f"{reference.view}_partitions"
        self._create_values(
            name, reference.table, [values for values, _ in placed], [i.url for _, i in placed]
        )
        return f" JOIN {_quoted(name)} AS p ON f.file_index = p.file_index"

    def _create_values(
        self, name: str, table: Table, values: list[Values], paths: list[str] | None = None
    ) -> None:
        """A table of partition values in the types of the keys, and of paths, numbered by `file_index`."""
        keys = table.partition_keys
        texts = {f"v{index}": [row[index] for row in values] for index in range(len(keys))}
        if paths is not None:
            texts["path"] = paths
        self.connection.register("texts", pa.table({"file_index": pa.array(range(len(values))), **texts}))
        typed = [
            f"CAST(NULLIF(v{index}, '{_NULL_PARTITION}') AS {_engine_type(key)}) AS {_quoted(key.name)}"
            for index, key in enumerate(keys)
        ]
        if paths is not None:
            typed.append(f"path AS {_quoted(PATH)}")
        columns = ", ".join(["file_index", *typed])
        self.connection.execute(f"CREATE TEMP TABLE {_quoted(name)} AS SELECT {columns} FROM texts")
        self.connection.unregister("texts")


def _parquet_relation(
    reference: Reference, items: list[StoredObject], paths: list[Path], footers: list[ParquetFooter]
) -> str:
    """SELECT of the table's columns, matched by name as Athena does.

    A column that a file has in a type that Athena cannot read fails the query (HIVE_BAD_DATA) that reads it.
    """
    columns = []
    for column in reference.table.columns:
        found = [
            (item, footer) for item, footer in zip(items, footers, strict=True) if column.name in footer.types
        ]
        bad = [
            (item, footer.types[column.name])
            for item, footer in found
            if not is_readable_as(footer.types[column.name], column.data_type)
        ]
        if bad:
            columns.append(_unreadable_column(column, *bad[0]))
        elif found:
            stored = found[-1][1]
            is_uint32 = any(pa.types.is_uint32(footer.types[column.name]) for _, footer in found)
            columns.append(_parquet_column(column, stored.stored_names[column.name], is_uint32=is_uint32))
        else:
            columns.append(_empty_column(column))
    is_uniform = all(footer.types == footers[0].types for footer in footers)
    options = "hive_partitioning = false" + ("" if is_uniform else ", union_by_name = true")
    return _select(reference, columns, f"read_parquet({_path_list(paths)}, {options})")


def _select(reference: Reference, columns: list[str], source: str) -> str:
    """Columns of the files `f`, and the partition keys and paths of `p`, which the caller joins."""
    names = [key.name for key in reference.table.partition_keys] + [PATH] * reference.with_path
    return f"SELECT {', '.join(columns + [f'p.{_quoted(name)}' for name in names])} FROM {source} AS f"


def _empty_relation(reference: Reference) -> str:
    """No rows, with the columns of the table."""
    columns = [_empty_column(column) for column in reference.table.all_columns]
    if reference.with_path:
        columns.append(f"'' AS {_quoted(PATH)}")
    return f"SELECT {', '.join(columns)} WHERE FALSE"


def _empty_column(column: Column) -> str:
    return f"CAST(NULL AS {_engine_type(column)}) AS {_quoted(column.name)}"


def _parquet_column(column: Column, stored_name: str, *, is_uint32: bool) -> str:
    """A catalog column from the file's column of that name. A number that is too large for it fails."""
    value = f"f.{_quoted(stored_name)}"
    if is_uint32:  # Beyond 31 bits, what Trino makes of it is another number.
        value = f"CAST({value} AS INTEGER)"
    cast = f"CAST({value} AS {_engine_type(column)})"
    if column.data_type.this == exp.DType.TIMESTAMP:
        # Athena's timestamps have milliseconds; Trino rounds the file's finer ones, half up.
        cast = f"date_trunc('millisecond', {cast} + INTERVAL 500 MICROSECOND)"
    return f"{cast} AS {_quoted(column.name)}"


def _unreadable_column(column: Column, item: StoredObject, stored: pa.DataType) -> str:
    """A column that fails when a query reads it."""
    message = (
        f"HIVE_BAD_DATA: Field {column.name}'s type {stored} in parquet file {item.url} is incompatible "
        f"with type {column.type} defined in table schema"
    )
    failure = f"CAST(athena_fail({_text(message)}) AS VARCHAR)"
    return f"CAST({failure} AS {_engine_type(column)}) AS {_quoted(column.name)}"


def _by_position(footer: ParquetFooter, table: Table) -> ParquetFooter:
    """The footer of a converted ORC file by the names of the table's columns."""
    names = {f"c{index}": column.name for index, column in enumerate(table.columns)}
    types = {names[stored]: kind for stored, kind in footer.types.items() if stored in names}
    return ParquetFooter(types, {name: stored for stored, name in names.items() if name in types}, {})


def _file_format(table: Table) -> str:
    """`parquet`, `orc`, `json` or `csv`. Raises QueryFailed for any other."""
    classes = (
        f"{table.input_format} {table.serde}".lower() + table.parameters.get("classification", "").lower()
    )
    for name in ("parquet", "json", "orc", "avro", "grok", "regex"):
        if name in classes:
            if name in ("parquet", "orc", "json"):
                return name
            raise QueryFailed(
                "NOT_SUPPORTED",
                f"Table '{table.database}.{table.name}': the embedded Athena reads Parquet, ORC, JSON and "
                f"CSV, not {name}",
            )
    return "csv"


def _text_relation(reference: Reference, kind: str, paths: list[Path]) -> str:
    """SELECT of a table of JSON lines or delimited text; compression follows the objects' extensions."""
    table = reference.table
    if kind == "json":
        fields = ", ".join(f"{_text(c.name)}: {_text(_engine_type(c))}" for c in table.columns)
        source = (
            f"read_json({_path_list(paths)}, format = 'newline_delimited', columns = {{{fields}}}, "
            f"ignore_errors = {_malformed_json_ignored(table)}, hive_partitioning = false)"
        )
        return _select(reference, [f"f.{_quoted(column.name)}" for column in table.columns], source)
    delimiter, quotes = _csv_dialect(table)
    null = f"nullstr = {_text(null_text(table))}, " if is_lazy(table) else ""
    raw = ", ".join(f"'c{index}': 'VARCHAR'" for index in range(len(table.columns)))
    source = (
        f"read_csv({_path_list(paths)}, auto_detect = false, header = false, columns = {{{raw}}}, "
        f"skip = {int(table.parameters.get('skip.header.line.count', 0))}, delim = {_text(delimiter)}, "
        f"quote = {_text(quotes)}, escape = {_text(quotes)}, {null}"
        "null_padding = true, strict_mode = false, "
        "hive_partitioning = false)"
    )
    typed = lazy_value if is_lazy(table) else plain_value
    columns = [
        f"{typed(f'f.c{index}', column.data_type, table)} AS {_quoted(column.name)}"
        for index, column in enumerate(table.columns)
    ]
    return _select(reference, columns, source)


def _csv_dialect(table: Table) -> tuple[str, str]:
    """(delimiter, quote) of a delimited table's SerDe."""
    settings = table.serde_parameters
    if "opencsv" in table.serde.lower():
        return settings.get("separatorChar", ","), settings.get("quoteChar", '"')
    return table.field_delimiter, ""  # LazySimpleSerDe knows no quotes.


def _malformed_json_ignored(table: Table) -> str:
    return "true" if table.serde_parameters.get("ignore.malformed.json", "").lower() == "true" else "false"


def _engine_type(column: Column) -> str:
    return column.data_type.sql("duckdb")


def _path_list(paths: list[Path]) -> str:
    return "[" + ", ".join(_text(str(path)) for path in paths) + "]"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
