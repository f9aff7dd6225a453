"""Turn a table reference of a query into a DuckDB view over the objects that it must read.

The view has the catalog's columns in the catalog's types. Partitions that the query's own predicates exclude
are not fetched. The bytes counted are those of the referenced columns' chunks in the files of the remaining
partitions (whole files for text formats): what Athena bills before its row-group skipping.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import duckdb
import pyarrow as pa
from sqlglot import exp

from local_aws.athena import partitions
from local_aws.athena.catalog import Catalog, Column, Table
from local_aws.athena.errors import QueryFailed
from local_aws.athena.partitions import Location, Values
from local_aws.athena.storage import ObjectStore, StoredObject, parquet_footer
from local_aws.athena.types import is_readable_as

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


@dataclass(frozen=True)
class Scan:
    """The SQL of a reference's view, and how many bytes reading it takes."""

    view_sql: str
    bytes: int


class Scanner:
    """Prepares the scans of one query; `work_dir` is the query's own and removed with it."""

    def __init__(
        self, catalog: Catalog, store: ObjectStore, connection: duckdb.DuckDBPyConnection, work_dir: Path
    ) -> None:
        self.catalog = catalog
        self.store = store
        self.connection = connection
        self.work_dir = work_dir

    def scan(self, reference: Reference) -> Scan:
        """Fetch what the reference reads. Raises QueryFailed when its table cannot be read."""
        placed = self._prune(reference, self._placed_objects(reference.table))
        if not placed:
            return Scan(_view(reference, _empty_relation(reference.table)), 0)
        files = self.store.fetch(item for _, item in placed)
        paths = [self._stage(reference, values, item, files[item]) for values, item in placed]
        kind = _file_format(reference.table)
        if kind == "parquet":
            relation, size = self._parquet(reference, placed, files, paths)
        else:
            relation = _text_relation(reference.table, kind, paths)
            size = sum(item.size for _, item in placed)
        return Scan(_view(reference, relation), size)

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
        keys = reference.table.partition_keys
        distinct = sorted({values for values, _ in placed})
        columns = {f"v{index}": [values[index] for values in distinct] for index in range(len(keys))}
        self.connection.register("partition_values", pa.table(columns))
        typed = ", ".join(
            f"CAST(v{index} AS {key.data_type.sql('duckdb')}) AS {_quoted(key.name)}"
            for index, key in enumerate(keys)
        )
        condition = " AND ".join(f"({part.sql('duckdb')})" for part in reference.partition_predicates)
        raw = ", ".join(columns)
        rows = self.connection.execute(
            f"SELECT {raw} FROM (SELECT {raw}, {typed} FROM partition_values) AS {_quoted(reference.alias)} "
            f"WHERE {condition}"
        ).fetchall()
        self.connection.unregister("partition_values")
        kept = set(rows)
        return [(values, item) for values, item in placed if values in kept]

    def _stage(self, reference: Reference, values: Values, item: StoredObject, file: Path) -> Path:
        """A link to the cached file under a folder that spells its partition, as DuckDB reads it."""
        keys = reference.table.partition_keys
        folders = [f"{key.name}={quote(value, safe='')}" for key, value in zip(keys, values, strict=True)]
        folder = self.work_dir.joinpath(reference.view, *folders)
        folder.mkdir(parents=True, exist_ok=True)
        suffix = "".join(Path(item.key).suffixes[-2:])
        link = folder / (hashlib.sha256(item.key.encode()).hexdigest() + suffix)
        os.link(file, link)
        return link

    def _parquet(
        self, reference: Reference, placed: list[Placed], files: dict[StoredObject, Path], paths: list[Path]
    ) -> tuple[str, int]:
        """Relation and bytes of a Parquet table; columns are matched by name, as Athena does."""
        table = reference.table
        footers = [(item, parquet_footer(item, files[item])) for _, item in placed]
        stored_names: dict[str, str] = {}
        for item, footer in footers:
            for column in table.columns:
                stored = footer.types.get(column.name)
                if stored is not None and not is_readable_as(stored, column.data_type):
                    raise QueryFailed(
                        "HIVE_BAD_DATA",
                        f"Field {column.name}'s type {stored} in parquet file {item.url} is incompatible "
                        f"with type {column.type} defined in table schema",
                    )
            stored_names.update(footer.stored_names)
        is_uniform = all(footer.types == footers[0][1].types for _, footer in footers)
        source = (
            f"read_parquet({_path_list(paths)}, union_by_name = {str(not is_uniform).lower()}, "
            f"{_hive_options(table)})"
        )
        projections = [_parquet_column(column, stored_names.get(column.name)) for column in table.columns] + [
            _quoted(key.name) for key in table.partition_keys
        ]
        size = sum(
            footer.compressed_bytes.get(name, 0) for _, footer in footers for name in reference.used_columns
        )
        return f"SELECT {', '.join(projections)} FROM {source}", size


def _view(reference: Reference, relation: str) -> str:
    return f"CREATE VIEW {_quoted(reference.view)} AS {relation}"


def _empty_relation(table: Table) -> str:
    """No rows, with the columns of the table."""
    columns = ", ".join(
        f"CAST(NULL AS {column.data_type.sql('duckdb')}) AS {_quoted(column.name)}"
        for column in table.all_columns
    )
    return f"SELECT {columns} WHERE FALSE"


def _parquet_column(column: Column, stored_name: str | None) -> str:
    """A catalog column from the file's column of that name; NULL where no file has it."""
    value = "NULL" if stored_name is None else _quoted(stored_name)
    cast = f"CAST({value} AS {column.data_type.sql('duckdb')})"
    if column.data_type.this == exp.DType.TIMESTAMP and stored_name is not None:
        # Athena's timestamps have milliseconds; Trino rounds the file's finer ones, half up.
        cast = f"date_trunc('millisecond', {cast} + INTERVAL 500 MICROSECOND)"
    return f"{cast} AS {_quoted(column.name)}"


def _file_format(table: Table) -> str:
    """`parquet`, `json` or `csv`. Raises QueryFailed for any other."""
    classes = (
        f"{table.input_format} {table.serde}".lower() + table.parameters.get("classification", "").lower()
    )
    for name in ("parquet", "json", "orc", "avro", "grok", "regex"):
        if name in classes:
            if name in ("parquet", "json"):
                return name
            raise QueryFailed(
                "NOT_SUPPORTED",
                f"Table '{table.database}.{table.name}': the embedded Athena reads Parquet, JSON and CSV, "
                f"not {name}",
            )
    return "csv"


def _text_relation(table: Table, kind: str, paths: list[Path]) -> str:
    """Relation of a table of JSON lines or delimited text; compression follows the objects' extensions."""
    if kind == "json":
        source = (
            f"read_json({_path_list(paths)}, format = 'newline_delimited', "
            f"columns = {_struct(table.columns)}, ignore_errors = {_malformed_json_ignored(table)}, "
            f"{_hive_options(table)})"
        )
        columns = [_quoted(column.name) for column in table.all_columns]
        return f"SELECT {', '.join(columns)} FROM {source}"
    delimiter, quotes = _csv_dialect(table)
    raw = "{" + ", ".join(f"'c{index}': 'VARCHAR'" for index in range(len(table.columns))) + "}"
    source = (
        f"read_csv({_path_list(paths)}, auto_detect = false, header = false, columns = {raw}, "
        f"skip = {int(table.parameters.get('skip.header.line.count', 0))}, delim = {_text(delimiter)}, "
        f"quote = {_text(quotes)}, escape = {_text(quotes)}, null_padding = true, strict_mode = false, "
        f"{_hive_options(table)})"
    )
    columns = [
        f"TRY_CAST(c{index} AS {column.data_type.sql('duckdb')}) AS {_quoted(column.name)}"
        for index, column in enumerate(table.columns)
    ] + [_quoted(key.name) for key in table.partition_keys]
    return f"SELECT {', '.join(columns)} FROM {source}"


def _csv_dialect(table: Table) -> tuple[str, str]:
    """(delimiter, quote) of a delimited table's SerDe."""
    settings = table.serde_parameters
    if "opencsv" in table.serde.lower():
        return settings.get("separatorChar", ","), settings.get("quoteChar", '"')
    # LazySimpleSerDe splits on Ctrl-A unless told otherwise, and knows no quotes.
    delimiter = settings.get("field.delim") or settings.get("serialization.format") or "\x01"
    return {"1": "\x01", "\\t": "\t"}.get(delimiter, delimiter), ""


def _malformed_json_ignored(table: Table) -> str:
    return "true" if table.serde_parameters.get("ignore.malformed.json", "").lower() == "true" else "false"


def _hive_options(table: Table) -> str:
    if not table.partition_keys:
        return "hive_partitioning = false"
    return f"hive_partitioning = true, hive_types = {_struct(table.partition_keys)}"


def _struct(columns: Iterable[Column]) -> str:
    return "{" + ", ".join(f"{_text(c.name)}: {_text(c.data_type.sql('duckdb'))}" for c in columns) + "}"


def _path_list(paths: list[Path]) -> str:
    return "[" + ", ".join(_text(str(path)) for path in paths) + "]"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
