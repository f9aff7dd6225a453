"""A small data lake in the embedded AWS, and a way to query it, for the tests of Athena."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from local_aws.server import LocalAws

FORMATS = {
    "parquet": ("mapred.parquet.Input", "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"),
    "json": ("mapred.TextInputFormat", "org.openx.data.jsonserde.JsonSerDe"),
    "csv": ("mapred.TextInputFormat", "org.apache.hadoop.hive.serde2.OpenCSVSerde"),
    "text": ("mapred.TextInputFormat", "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe"),
    "avro": (
        "ql.io.avro.AvroContainerInputFormat",
        "org.apache.hadoop.hive.serde2.avro.AvroSerDe",
    ),
    "orc": ("ql.io.orc.OrcInputFormat", "org.apache.hadoop.hive.ql.io.orc.OrcSerde"),
}

Row = tuple[str | None, ...]


@dataclass(frozen=True)
class Outcome:
    """How a query ended: `rows` without the header, NULL as None."""

    execution: dict[str, Any]
    columns: list[dict[str, Any]] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    @property
    def state(self) -> str:
        return self.execution["Status"]["State"]

    @property
    def reason(self) -> str:
        return self.execution["Status"].get("StateChangeReason", "")

    @property
    def types(self) -> list[str]:
        """Types as SQL spells them."""
        return [
            f"decimal({c['Precision']},{c['Scale']})" if c["Type"] == "decimal" else c["Type"]
            for c in self.columns
        ]

    @property
    def names(self) -> list[str]:
        return [column["Name"] for column in self.columns]


class Lake:
    """A bucket, a database and a workgroup of one name, and what tests put there."""

    def __init__(self, aws: LocalAws, name: str) -> None:
        self.aws = aws
        self.name = self.bucket = self.workgroup = name
        self.database = name.replace("-", "_")
        self.s3, self.glue, self.athena = (aws.client(service) for service in ("s3", "glue", "athena"))
        self.s3.create_bucket(
            Bucket=self.bucket, CreateBucketConfiguration={"LocationConstraint": "us-west-2"}
        )
        self.glue.create_database(DatabaseInput={"Name": self.database})
        self.athena.create_work_group(
            Name=name,
            Configuration={
                "ResultConfiguration": {"OutputLocation": f"s3://{name}/results/"},
                "EnforceWorkGroupConfiguration": True,
            },
        )

    def put(self, key: str, content: bytes) -> None:
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=content)

    def put_parquet(self, key: str, columns: dict[str, pa.Array]) -> None:
        buffer = io.BytesIO()
        pq.write_table(pa.table(columns), buffer)
        self.put(key, buffer.getvalue())

    def create_table(
        self,
        name: str,
        columns: dict[str, str],
        *,
        partitions: dict[str, str] | None = None,
        location: str | None = None,
        file_format: str = "parquet",
        parameters: dict[str, str] | None = None,
        serde_parameters: dict[str, str] | None = None,
    ) -> None:
        """A table of the catalog; its location is a folder of its name unless given."""
        input_format, serde = FORMATS[file_format]
        self.glue.create_table(
            DatabaseName=self.database,
            TableInput={
                "Name": name,
                "TableType": "EXTERNAL_TABLE",
                "Parameters": parameters or {},
                "PartitionKeys": [{"Name": n, "Type": t} for n, t in (partitions or {}).items()],
                "StorageDescriptor": {
                    "Columns": [{"Name": n, "Type": t} for n, t in columns.items()],
                    "Location": location or f"s3://{self.bucket}/{name}/",
                    "InputFormat": input_format,
                    "SerdeInfo": {"SerializationLibrary": serde, "Parameters": serde_parameters or {}},
                },
            },
        )

    def start(self, sql: str, **request: Any) -> str:
        settings = {
            "WorkGroup": self.workgroup,
            "QueryExecutionContext": {"Database": self.database},
            **request,
        }
        return self.athena.start_query_execution(QueryString=sql, **settings)["QueryExecutionId"]

    def wait(self, query_id: str, timeout: float = 60) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        while True:
            execution = self.athena.get_query_execution(QueryExecutionId=query_id)["QueryExecution"]
            if execution["Status"]["State"] in ("SUCCEEDED", "FAILED", "CANCELLED"):
                return execution
            assert time.monotonic() < deadline, f"query still {execution['Status']['State']}"
            time.sleep(0.01)

    def query(self, sql: str, **request: Any) -> Outcome:
        """Run a statement to its end, whatever that is."""
        execution = self.wait(self.start(sql, **request))
        if execution["Status"]["State"] != "SUCCEEDED":
            return Outcome(execution)
        pages = self.athena.get_paginator("get_query_results").paginate(
            QueryExecutionId=execution["QueryExecutionId"]
        )
        columns: list[dict[str, Any]] = []
        rows: list[Row] = []
        for page in pages:
            columns = page["ResultSet"]["ResultSetMetadata"]["ColumnInfo"]
            rows += [
                tuple(datum.get("VarCharValue") for datum in row["Data"]) for row in page["ResultSet"]["Rows"]
            ]
        return Outcome(execution, columns, rows[1:] if execution["StatementType"] == "DML" else rows)

    def rows(self, sql: str, **request: Any) -> list[Row]:
        """The rows of a query that has to succeed."""
        outcome = self.query(sql, **request)
        assert outcome.state == "SUCCEEDED", outcome.reason
        return outcome.rows

    def error(self, sql: str, **request: Any) -> str:
        """The reason of a query that has to fail."""
        outcome = self.query(sql, **request)
        assert outcome.state == "FAILED", outcome.rows
        return outcome.reason
