"""Databases and tables of the Glue Data Catalog, read through Glue's API, as a query sees them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from botocore.exceptions import ClientError
from sqlglot import exp

from local_aws.athena.errors import QueryFailed
from local_aws.athena.types import from_hive

CATALOG_NAME = "awsdatacatalog"

_VIEW_PREFIX, _VIEW_SUFFIX = "/* Presto View: ", " */"


@dataclass(frozen=True)
class Column:
    """A catalog column; `type` in the catalog's own (Hive) spelling."""

    name: str
    type: str
    comment: str = ""

    @cached_property
    def data_type(self) -> exp.DataType:
        return from_hive(self.type)


@dataclass(frozen=True)
class Table:
    """A catalog table: what a scan needs to know of it."""

    database: str
    name: str
    columns: tuple[Column, ...]
    partition_keys: tuple[Column, ...]
    location: str
    parameters: dict[str, str] = field(default_factory=dict)
    table_type: str = "EXTERNAL_TABLE"
    comment: str = ""
    input_format: str = ""
    output_format: str = ""
    serde: str = ""
    serde_parameters: dict[str, str] = field(default_factory=dict)
    view_text: str = ""
    bucket_columns: tuple[str, ...] = ()
    number_of_buckets: int = 0

    @property
    def is_view(self) -> bool:
        return self.table_type == "VIRTUAL_VIEW"

    @property
    def all_columns(self) -> tuple[Column, ...]:
        """The columns as a query sees them: partition keys last."""
        return self.columns + self.partition_keys

    @property
    def is_bucketed(self) -> bool:
        return bool(self.bucket_columns)

    @property
    def field_delimiter(self) -> str:
        """What LazySimpleSerDe splits a line on: Ctrl-A unless told otherwise."""
        settings = self.serde_parameters
        delimiter = settings.get("field.delim") or settings.get("serialization.format") or "\x01"
        return {"1": "\x01", "\\t": "\t"}.get(delimiter, delimiter)

    @property
    def view_query(self) -> str:
        """The SELECT of a view that Athena created. Raises QueryFailed for a view of another engine."""
        text = self.view_text.strip()
        if not text.startswith(_VIEW_PREFIX):
            raise QueryFailed("INVALID_VIEW", f"View '{self.database}.{self.name}' is not an Athena view")
        encoded = text.removeprefix(_VIEW_PREFIX).removesuffix(_VIEW_SUFFIX)
        return json.loads(base64.b64decode(encoded))["originalSql"]


def view_text(query: str, database: str, columns: list[tuple[str, str]]) -> str:
    """ViewOriginalText of an Athena view over `query`; `columns` are its names and types."""
    definition = {
        "originalSql": query,
        "catalog": CATALOG_NAME,
        "schema": database,
        "columns": [{"name": name, "type": type_name} for name, type_name in columns],
    }
    return _VIEW_PREFIX + base64.b64encode(json.dumps(definition).encode()).decode() + _VIEW_SUFFIX


class Catalog:
    """The catalog of one account and region. One instance serves one query and remembers what it read."""

    def __init__(self, glue: Any) -> None:
        self.glue = glue
        self._tables: dict[tuple[str, str], Table] = {}

    def databases(self) -> list[str]:
        pages = self.glue.get_paginator("get_databases").paginate()
        return sorted(database["Name"] for page in pages for database in page["DatabaseList"])

    def tables(self, database: str) -> list[Table]:
        """Every table of a database, by name. Raises QueryFailed when there is no such database."""
        self.require_database(database)
        pages = self.glue.get_paginator("get_tables").paginate(DatabaseName=database)
        found = [_table(database, description) for page in pages for description in page["TableList"]]
        return sorted(found, key=lambda table: table.name)

    def require_database(self, database: str, at: exp.Expr | None = None) -> None:
        """Raises QueryFailed (SCHEMA_NOT_FOUND) when there is no such database."""
        try:
            self.glue.get_database(Name=database)
        except self.glue.exceptions.EntityNotFoundException:
            raise QueryFailed("SCHEMA_NOT_FOUND", f"Schema '{database}' does not exist", at) from None

    def table(self, database: str, name: str, at: exp.Expr | None = None) -> Table:
        """The table. Raises QueryFailed (SCHEMA_NOT_FOUND, TABLE_NOT_FOUND), pointing at `at`."""
        key = (database, name)
        if key not in self._tables:
            try:
                description = self.glue.get_table(DatabaseName=database, Name=name)["Table"]
            except self.glue.exceptions.EntityNotFoundException:
                self.require_database(database, at)
                raise QueryFailed(
                    "TABLE_NOT_FOUND", f"Table '{CATALOG_NAME}.{database}.{name}' does not exist", at
                ) from None
            self._tables[key] = _table(database, description)
        return self._tables[key]

    def partitions(self, table: Table) -> list[tuple[tuple[str, ...], str]]:
        """The registered partitions of a table: (values, location) of each."""
        pages = self.glue.get_paginator("get_partitions").paginate(
            DatabaseName=table.database, TableName=table.name
        )
        return [
            (tuple(partition["Values"]), partition["StorageDescriptor"]["Location"])
            for page in pages
            for partition in page["Partitions"]
        ]

    def add_partition(self, table: Table, values: tuple[str, ...], url: str) -> None:
        """Register a partition at a location, with the table's own storage settings."""
        description = self.glue.get_table(DatabaseName=table.database, Name=table.name)["Table"]
        storage = {**description["StorageDescriptor"], "Location": url}
        self.glue.create_partition(
            DatabaseName=table.database,
            TableName=table.name,
            PartitionInput={"Values": list(values), "StorageDescriptor": storage},
        )

    def drop_partition(self, table: Table, values: tuple[str, ...]) -> None:
        """Take a partition out of the catalog; its data stays."""
        self.glue.delete_partition(
            DatabaseName=table.database, TableName=table.name, PartitionValues=list(values)
        )

    def update_table(self, table: Table, change: Callable[[dict[str, Any]], None]) -> None:
        """Apply `change` to the table's description, and store it."""
        description = self.glue.get_table(DatabaseName=table.database, Name=table.name)["Table"]
        known = self.glue.meta.service_model.shape_for("TableInput").members
        table_input = {key: value for key, value in description.items() if key in known and value != ""}
        change(table_input)
        self.glue.update_table(DatabaseName=table.database, TableInput=table_input)
        self._tables.pop((table.database, table.name), None)

    def create_table(self, database: str, table_input: dict[str, Any]) -> None:
        """Register a table. Raises QueryFailed when its name is taken or its database is missing."""
        self.require_database(database)
        try:
            self.glue.create_table(DatabaseName=database, TableInput=table_input)
        except self.glue.exceptions.AlreadyExistsException:
            name = f"{CATALOG_NAME}.{database}.{table_input['Name']}"
            raise QueryFailed("TABLE_ALREADY_EXISTS", f"Table '{name}' already exists") from None
        except ClientError as error:
            raise QueryFailed("HIVE_METASTORE_ERROR", error.response["Error"]["Message"]) from error


def _table(database: str, description: dict[str, Any]) -> Table:
    storage = description.get("StorageDescriptor") or {}
    serde = storage.get("SerdeInfo") or {}
    return Table(
        database=database,
        name=description["Name"],
        columns=_columns(storage.get("Columns")),
        partition_keys=_columns(description.get("PartitionKeys")),
        location=storage.get("Location") or "",
        parameters=description.get("Parameters") or {},
        table_type=description.get("TableType") or "EXTERNAL_TABLE",
        comment=(description.get("Parameters") or {}).get("comment") or description.get("Description") or "",
        input_format=storage.get("InputFormat") or "",
        output_format=storage.get("OutputFormat") or "",
        serde=serde.get("SerializationLibrary") or "",
        serde_parameters=serde.get("Parameters") or {},
        view_text=description.get("ViewOriginalText") or "",
        bucket_columns=tuple(storage.get("BucketColumns") or ()),
        number_of_buckets=storage.get("NumberOfBuckets") or 0,
    )


def _columns(descriptions: list[dict[str, str]] | None) -> tuple[Column, ...]:
    return tuple(
        Column(entry["Name"].lower(), entry.get("Type") or "string", entry.get("Comment") or "")
        for entry in descriptions or ()
    )
