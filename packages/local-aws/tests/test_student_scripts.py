"""Glue scripts as students write them, run as jobs; what they made is asked for through Athena."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lake import Lake
from local_aws import LocalAws
from local_aws.testing import GlueBench

SCRIPTS = Path(__file__).parent / "scripts"
BOOKMARKED = {"--job-bookmark-option": "job-bookmark-enable"}


class School:
    """A bucket, a database and a workgroup, and jobs that run the scripts."""

    def __init__(self, aws: LocalAws, name: str) -> None:
        self.lake = Lake(aws, name)
        self.jobs = GlueBench(aws, f"{name}-jobs")

    def create_job(self, script: str, **arguments: str) -> None:
        given = {"--BUCKET": self.lake.bucket, "--DATABASE": self.lake.database, **BOOKMARKED}
        given |= {
            f"--{name.replace('_', '-') if name.islower() else name}": v for name, v in arguments.items()
        }
        self.jobs.create_job(script, (SCRIPTS / f"{script}.py").read_text(), given)

    def run(self, script: str, **arguments: str) -> list[str]:
        """A run that succeeds: its output."""
        run = self.jobs.succeed(script, **arguments)
        return self.jobs.output(script, run["Id"])

    def put_json(self, key: str, *records: dict[str, Any]) -> None:
        self.lake.put(key, "".join(f"{json.dumps(record)}\n" for record in records).encode())


@pytest.fixture(scope="module")
def school(aws: LocalAws) -> School:
    return School(aws, "student-scripts")


def test_json_is_mapped_and_kept_as_parquet_and_only_news_under_a_bookmark(school: School) -> None:
    school.put_json(
        "raw/orders/day=1/a.json",
        {
            "order_id": "o1",
            "customer": {"name": "Ada"},
            "amount": "12.50",
            "ordered_at": "2025-01-31T10:00:00Z",
        },
        {"order_id": "o2", "customer": {"name": "Bob"}, "amount": "n/a", "note": None},
    )
    school.create_job("orders_to_parquet")
    output = school.run("orders_to_parquet")
    assert "|-- customer: struct" in output
    assert any(line.endswith("INFO GlueLogger: orders read: 2") for line in output)

    school.put_json("raw/orders/day=2/b.json", {"order_id": "o3", "customer": {"name": "Ada"}, "amount": "1"})
    school.run("orders_to_parquet")
    columns = {"order_id": "string", "customer": "string", "amount": "double", "ordered_at": "timestamp"}
    school.lake.create_table("orders", columns, location=f"s3://{school.lake.bucket}/clean/orders/")
    assert school.lake.rows("SELECT * FROM orders ORDER BY order_id") == [
        ("o1", "Ada", "12.5", "2025-01-31 10:00:00.000"),
        ("o2", "Bob", None, None),
        ("o3", "Ada", "1.0", None),
    ]


def test_tables_of_the_catalog_are_joined_into_a_third(school: School) -> None:
    lake = school.lake
    for month, quantities in (("01", [100]), ("02", [2, 0, 1])):
        lake.put_parquet(
            f"sales/year=2025/month={month}/a.parquet",
            {
                "shop_id": pa.array([1, 1, 2][: len(quantities)], pa.int64()),
                "quantity": pa.array(quantities, pa.int32()),
                "price": pa.array([1.5] * len(quantities)),
            },
        )
    sales = {"shop_id": "bigint", "quantity": "int", "price": "double"}
    keys = {"year": "string", "month": "string"}
    lake.create_table("sales", sales, partitions=keys)
    lake.rows("MSCK REPAIR TABLE sales")
    lake.put("shops/shops.csv", b"id,region\n1,North\n2,South\n")
    shops = {"id": "bigint", "region": "string"}
    lake.create_table("shops", shops, file_format="csv", parameters={"skip.header.line.count": "1"})
    lake.put_parquet("shops_by_id/a.parquet", {"id": pa.array([1, 2])})
    lake.create_table("shops_by_id", {"id": "bigint"})
    lake.create_table("revenue", {"region": "string", "revenue": "double"}, partitions=keys)

    school.create_job("revenue_by_region", **{"enable-glue-datacatalog": "true"})
    output = school.run("revenue_by_region")
    assert "|-- id: long" in output
    assert output[-2:] == ["regions: 2", "partitions: [Row(month='01'), Row(month='02')]"]
    assert lake.rows("SELECT count(*) FROM revenue") == [("0",)]
    lake.rows("MSCK REPAIR TABLE revenue")
    assert lake.rows("SELECT region, revenue, month FROM revenue ORDER BY region") == [
        ("North", "3.0", "02"),
        ("South", "1.5", "02"),
    ]


def test_a_sink_creates_a_partitioned_table_and_extends_it(school: School) -> None:
    lake = school.lake
    lake.put("raw/events/1.csv", b"at,value\n2025-03-01T10:00:00,1\n2025-03-02T11:00:00,2.5\n")
    lake.put("scratch/old.tmp", b"x")
    school.create_job("events_by_day", SINK="catalog")
    school.run("events_by_day")
    everything = "SELECT day, value FROM events_by_day ORDER BY day, value"
    assert lake.rows(everything) == [("2025-03-01", "1.0"), ("2025-03-02", "2.5")]
    assert school.jobs.keys(lake.bucket, "scratch/") == []

    lake.put("raw/events/2.csv", b"at,value,kind\n2025-03-02T12:00:00,3,new\n2025-03-03T00:00:00,4,new\n")
    school.run("events_by_day")
    assert lake.rows("SELECT day, value, kind FROM events_by_day ORDER BY day, value") == [
        ("2025-03-01", "1.0", None),
        ("2025-03-02", "2.5", None),
        ("2025-03-02", "3.0", "new"),
        ("2025-03-03", "4.0", "new"),
    ]

    lake.put("raw/events/3.csv", b"at,value\n2025-03-04T00:00:00,5\n")
    school.run("events_by_day", SINK="files")
    assert len(lake.rows(everything)) == 4, "files alone are no partition"
    lake.rows("MSCK REPAIR TABLE events_by_day")
    assert lake.rows(everything)[-1] == ("2025-03-04", "5.0")
