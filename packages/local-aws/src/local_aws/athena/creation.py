"""Statements that make a table or a view of a query: CREATE TABLE AS (to Parquet) and CREATE VIEW."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlglot import exp

from local_aws.athena import engine
from local_aws.athena.catalog import CATALOG_NAME, view_text
from local_aws.athena.engine import Relation, Session
from local_aws.athena.errors import QueryFailed
from local_aws.athena.partitions import Location
from local_aws.athena.results import Result
from local_aws.athena.types import ResultColumn, from_hive

_PARQUET = "org.apache.hadoop.hive.ql.io.parquet."
_COMPRESSIONS = {"SNAPPY", "GZIP", "ZSTD", "LZ4", "NONE"}


def create_table_as(statement: exp.Create, session: Session, query_id: str, output: Location) -> Result:
    """CREATE TABLE ... WITH (...) AS: Parquet below `external_location`, or below the workgroup's results.

    Raises QueryFailed when the name or the location is taken, or for a format other than Parquet.
    """
    database, name = _target(statement, session)
    options = _options(statement)
    if any(table.name == name for table in session.catalog.tables(database)):
        if statement.args.get("exists"):
            return Result([], [])
        raise QueryFailed("TABLE_ALREADY_EXISTS", f"Table '{CATALOG_NAME}.{database}.{name}' already exists")
    location = Location(output.bucket, f"{output.prefix}tables/{query_id}/")
    if "external_location" in options:
        location = Location.parse(options["external_location"], f"Table '{name}'")
    url = f"s3://{location.bucket}/{location.prefix}"
    if session.store.list(location):
        raise QueryFailed(
            "HIVE_PATH_ALREADY_EXISTS",
            f"Target directory for table '{database}.{name}' already exists: {url}",
        )
    with engine.relation(statement.expression, session) as prepared:
        columns = _named(prepared)
        file_name = f"{query_id}.parquet"
        local = session.temporary / file_name
        rows = 0 if _is_without_data(statement) else _write_parquet(prepared, local, options["compression"])
    if rows:
        session.store.put(location, file_name, local.read_bytes(), "binary/octet-stream")
    local.unlink(missing_ok=True)
    session.catalog.create_table(database, _table_input(name, columns, url))
    manifest = f"{url}{file_name}\n" if rows else ""
    return Result(
        [ResultColumn("rows", "bigint", 19)], [], prepared.result.bytes_scanned, rows, manifest=manifest
    )


def create_view(statement: exp.Create, session: Session) -> Result:
    """CREATE [OR REPLACE] VIEW, stored in the catalog as Athena stores it."""
    database, name = _target(statement, session)
    with engine.relation(statement.expression, session) as prepared:
        columns = _named(prepared)
        types = [(column.name, column.type) for column in prepared.result.columns]
    query = statement.expression.sql("athena")
    table_input: dict[str, Any] = {
        "Name": name,
        "TableType": "VIRTUAL_VIEW",
        "Parameters": {"presto_view": "true", "comment": "Presto View"},
        "ViewOriginalText": view_text(query, session.database, types),
        "ViewExpandedText": "/* Presto View */",
        "StorageDescriptor": {"Columns": [{"Name": n, "Type": t} for n, t in columns], "Location": ""},
    }
    existing = {table.name: table for table in session.catalog.tables(database)}
    if name in existing:
        if not statement.args.get("replace") or not existing[name].is_view:
            raise QueryFailed("TABLE_ALREADY_EXISTS", f"'{database}.{name}' already exists")
        session.catalog.glue.delete_table(DatabaseName=database, Name=name)
    session.catalog.create_table(database, table_input)
    return Result([], [])


def _target(statement: exp.Create, session: Session) -> tuple[str, str]:
    target = statement.this
    return (target.db or session.database).lower(), target.name.lower()


def _options(statement: exp.Create) -> dict[str, str]:
    """external_location and compression from WITH. Raises QueryFailed for what is not served."""
    options = {"compression": "GZIP"}  # Athena's default for Parquet.
    properties = statement.args.get("properties")
    for entry in properties.expressions if properties else ():
        name = entry.name.lower()
        if isinstance(entry, exp.FileFormatProperty):
            if name != "parquet":
                raise QueryFailed(
                    "NOT_SUPPORTED", f"CREATE TABLE AS in format {entry.name}; use PARQUET", entry
                )
        elif isinstance(entry, exp.WithDataProperty):
            continue
        elif name in ("write_compression", "parquet_compression"):
            options["compression"] = entry.args["value"].name.upper()
            if options["compression"] not in _COMPRESSIONS:
                raise QueryFailed("NOT_SUPPORTED", f"compression {options['compression']}", entry)
        elif name == "external_location":
            options[name] = entry.args["value"].name
        else:
            raise QueryFailed("NOT_SUPPORTED", f"CREATE TABLE AS with {name or entry.key} is not supported")
    return options


def _is_without_data(statement: exp.Create) -> bool:
    properties = statement.args.get("properties")
    found = properties.find(exp.WithDataProperty) if properties else None
    return found is not None and bool(found.args.get("no"))


def _named(prepared: Relation) -> list[tuple[str, str]]:
    """The columns of the new table. Raises QueryFailed where one has no name of its own, or another's."""
    columns = prepared.hive_columns
    names = [name for name, _ in columns]
    for index, name in enumerate(names):
        if name == f"_col{index}":
            raise QueryFailed("MISSING_COLUMN_NAME", f"Column name not specified at position {index + 1}")
        if name in names[:index]:
            raise QueryFailed("DUPLICATE_COLUMN_NAME", f"Column name '{name}' specified more than once")
    return columns


def _write_parquet(prepared: Relation, path: Path, compression: str) -> int:
    """Write the rows in the new table's types; returns their number."""
    casts = [
        f'CAST("{engine_name}" AS {from_hive(hive_type).sql("duckdb")}) AS "{name}"'
        for engine_name, (name, hive_type) in zip(
            prepared.relation.columns, prepared.hive_columns, strict=True
        )
    ]
    rows = prepared.relation.project(", ".join(casts))
    rows.write_parquet(
        str(path), compression="uncompressed" if compression == "NONE" else compression.lower()
    )
    count = prepared.connection.execute("SELECT count(*) FROM read_parquet(?)", [str(path)]).fetchone()
    return count[0] if count else 0


def _table_input(name: str, columns: list[tuple[str, str]], url: str) -> dict[str, Any]:
    return {
        "Name": name,
        "TableType": "EXTERNAL_TABLE",
        "Parameters": {"EXTERNAL": "TRUE", "classification": "parquet", "has_encrypted_data": "false"},
        "StorageDescriptor": {
            "Columns": [{"Name": column, "Type": hive_type} for column, hive_type in columns],
            "Location": url,
            "InputFormat": _PARQUET + "MapredParquetInputFormat",
            "OutputFormat": _PARQUET + "MapredParquetOutputFormat",
            "SerdeInfo": {"SerializationLibrary": _PARQUET + "serde.ParquetHiveSerDe"},
        },
        "PartitionKeys": [],
    }
