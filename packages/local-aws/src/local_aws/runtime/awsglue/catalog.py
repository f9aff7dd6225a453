"""Tables and partitions of the Glue Data Catalog, as a job reads and changes them, through Glue's API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .refusals import NotReproduced

_SERDES = {
    "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe": "parquet",
    "org.apache.hadoop.hive.ql.io.orc.OrcSerde": "orc",
    "org.openx.data.jsonserde.JsonSerDe": "json",
    "org.apache.hive.hcatalog.data.JsonSerDe": "json",
    "org.apache.hadoop.hive.serde2.OpenCSVSerde": "csv",
    "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe": "csv",
}
_STORAGE = {
    "parquet": {
        "InputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
        "OutputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
        "SerdeInfo": {"SerializationLibrary": "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"},
    },
    "json": {
        "InputFormat": "org.apache.hadoop.mapred.TextInputFormat",
        "OutputFormat": "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat",
        "SerdeInfo": {"SerializationLibrary": "org.openx.data.jsonserde.JsonSerDe"},
    },
}
_BATCH = 100
"""The most partitions that BatchCreatePartition takes."""


@dataclass(frozen=True)
class Partition:
    """A registered partition: its values as text, and its s3:// folder."""

    values: tuple[str, ...]
    location: str


@dataclass(frozen=True)
class Table:
    """A table, as the API describes it."""

    description: dict[str, Any]

    @property
    def database(self) -> str:
        return str(self.description["DatabaseName"])

    @property
    def name(self) -> str:
        return str(self.description["Name"])

    @property
    def location(self) -> str:
        return str(self._storage.get("Location") or "")

    @property
    def is_view(self) -> bool:
        return self.description.get("TableType") == "VIRTUAL_VIEW"

    @property
    def parameters(self) -> dict[str, str]:
        return dict(self.description.get("Parameters") or {})

    @property
    def serde_parameters(self) -> dict[str, str]:
        return dict((self._storage.get("SerdeInfo") or {}).get("Parameters") or {})

    @property
    def columns(self) -> dict[str, str]:
        """Name -> Hive type of each column that is in the files."""
        return _types(self._storage.get("Columns"))

    @property
    def partition_keys(self) -> dict[str, str]:
        """Name -> Hive type of each partition key."""
        return _types(self.description.get("PartitionKeys"))

    @property
    def types(self) -> dict[str, str]:
        """Name -> Hive type of all columns, partition keys last."""
        return {**self.columns, **self.partition_keys}

    @property
    def format(self) -> str:
        """csv, json, orc or parquet: by classification, else by SerDe. Raises NotReproduced for others."""
        serde = (self._storage.get("SerdeInfo") or {}).get("SerializationLibrary") or ""
        classification = self.parameters.get("classification", "").lower()
        known = classification if classification in _SERDES.values() else _SERDES.get(serde)
        if known is None:
            raise NotReproduced(
                f"Table {self.database}.{self.name} has the classification {classification!r} and the SerDe "
                f"{serde!r}; outside AWS Glue tables of {', '.join(sorted(set(_SERDES.values())))} are read"
            )
        return known

    @property
    def _storage(self) -> dict[str, Any]:
        return dict(self.description.get("StorageDescriptor") or {})


class DataCatalog:
    """The catalog of the account and region that the environment names, as boto3 understands it."""

    def __init__(self) -> None:
        import boto3  # Now, because most runs do without, and it takes a while.

        self._glue: Any = boto3.client("glue")

    def databases(self) -> list[str]:
        """Names of all databases."""
        pages = self._glue.get_paginator("get_databases").paginate()
        return [database["Name"] for page in pages for database in page["DatabaseList"]]

    def tables(self, database: str) -> list[Table]:
        """All tables of a database."""
        pages = self._glue.get_paginator("get_tables").paginate(DatabaseName=database)
        return [Table(description) for page in pages for description in page["TableList"]]

    def table(self, database: str, name: str) -> Table:
        """Raises boto3's EntityNotFoundException, which names what is missing."""
        return Table(self._glue.get_table(DatabaseName=database, Name=name)["Table"])

    def find_table(self, database: str, name: str) -> Table | None:
        """The table, if there is one."""
        try:
            return self.table(database, name)
        except self._glue.exceptions.EntityNotFoundException:
            return None

    def partitions(self, table: Table) -> list[Partition]:
        """The registered partitions. Partition projection is Athena's: Glue does not know of it."""
        pages = self._glue.get_paginator("get_partitions").paginate(
            DatabaseName=table.database, TableName=table.name
        )
        return [
            Partition(tuple(found["Values"]), found["StorageDescriptor"]["Location"])
            for page in pages
            for found in page["Partitions"]
        ]

    def create_table(
        self,
        database: str,
        name: str,
        columns: Mapping[str, str],
        partition_keys: Mapping[str, str],
        location: str,
        format: str,
    ) -> Table:
        """Create an external table of Parquet or JSON files; types are Hive's."""
        self._glue.create_table(
            DatabaseName=database,
            TableInput={
                "Name": name,
                "TableType": "EXTERNAL_TABLE",
                "Parameters": {"classification": format},
                "PartitionKeys": _descriptions(partition_keys),
                "StorageDescriptor": {
                    **_STORAGE[format],
                    "Columns": _descriptions(columns),
                    "Location": location,
                },
            },
        )
        return self.table(database, name)

    def add_columns(self, table: Table, columns: Mapping[str, str]) -> None:
        """Add columns at the end of a table's."""
        given = table.description
        members = ("Name", "Description", "Owner", "TableType", "Parameters", "PartitionKeys")
        storage = dict(given["StorageDescriptor"])
        storage["Columns"] = [*storage.get("Columns", []), *_descriptions(columns)]
        table_input = {member: given[member] for member in members if given.get(member)}
        self._glue.update_table(
            DatabaseName=table.database, TableInput={**table_input, "StorageDescriptor": storage}
        )

    def add_partitions(self, table: Table, partitions: Sequence[Partition]) -> None:
        """Register those partitions that are not registered yet."""
        known = {partition.values for partition in self.partitions(table)}
        storage = dict(self.table(table.database, table.name).description["StorageDescriptor"])
        new = [
            {
                "Values": list(partition.values),
                "StorageDescriptor": {**storage, "Location": partition.location},
            }
            for partition in partitions
            if partition.values not in known
        ]
        for start in range(0, len(new), _BATCH):
            answer = self._glue.batch_create_partition(
                DatabaseName=table.database,
                TableName=table.name,
                PartitionInputList=new[start : start + _BATCH],
            )
            errors = [
                error
                for error in answer.get("Errors", [])
                if error["ErrorDetail"]["ErrorCode"] != "AlreadyExistsException"  # By a run at the same time.
            ]
            if errors:
                raise RuntimeError(f"Partitions of {table.database}.{table.name} were not added: {errors}")


def _types(descriptions: Iterable[Mapping[str, str]] | None) -> dict[str, str]:
    return {entry["Name"]: entry.get("Type") or "string" for entry in descriptions or ()}


def _descriptions(types: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Name": name, "Type": type_name} for name, type_name in types.items()]
