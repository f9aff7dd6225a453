"""Tables of the Data Catalog in a job: read under a bookmark, written, and seen by Spark's SQL.

A run costs seconds, so one script tells all that it finds, line by line.
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from lake import Lake
from local_aws import LocalAws
from local_aws.testing import GlueBench

SCRIPT = """
import json, sys
import boto3
from awsglue.context import GlueContext
from awsglue.dynamicframe import DynamicFrame
from awsglue.job import Job
from awsglue.utils import getResolvedOptions
from pyspark.context import SparkContext

args = getResolvedOptions(sys.argv, ["JOB_NAME", "DATABASE", "BUCKET"])
context = GlueContext(SparkContext.getOrCreate())
spark = context.spark_session
job = Job(context)
job.init(args["JOB_NAME"], args)
database, bucket = args["DATABASE"], args["BUCKET"]

def tell(name, value):
    print("TOLD", json.dumps([name, value], default=str))

def attempt(name, action):
    try:
        tell(name, action())
    except Exception as error:
        tell(name, f"{type(error).__name__}: {error}")

def table(name, ctx="", **options):
    return context.create_dynamic_frame.from_catalog(database, name, transformation_ctx=ctx, **options)

def rows(frame):
    return sorted([list(row) for row in frame.toDF().collect()], key=str)

def sql(text):
    return [list(row) for row in spark.sql(text.format(db=database)).collect()]

def sink(name, format, keys, **options):
    target = context.getSink(
        "s3", path=f"s3://{bucket}/{name}", enableUpdateCatalog=True, partitionKeys=keys
    )
    target.setFormat(format, **options)
    target.setCatalogInfo(catalogDatabase=database, catalogTableName=name)
    return target
"""

READS = """
tell("bookmarked", rows(table("parted", ctx="parted")))
tell("predicate", rows(table("parted", push_down_predicate="day >= date'2025-01-02' and n = 1")))
tell("deeper", rows(table("parted", additional_options={"recurse": True}, push_down_predicate="n = 2")))
attempt("wrong predicate", lambda: rows(table("parted", push_down_predicate="x > 1")))
attempt("no keys", lambda: rows(table("people", push_down_predicate="x > 1")))
people = table("people")
people.printSchema()
attempt("choice", lambda: rows(people))
tell("cast", rows(people.resolveChoice(specs=[("age", "cast:int")])))
matched = people.resolveChoice(choice="match_catalog", database=database, table_name="people")
tell("match_catalog", rows(matched))
attempt("view", lambda: rows(table("v")))
attempt("missing", lambda: rows(table("nowhere")))
job.commit()
"""

SEES = """
tell("count", spark.table(f"{database}.parted").count())
tell("predicate", sql("SELECT x, day FROM {db}.parted WHERE day = date'2025-01-02' ORDER BY x"))
tell("read.table", context.read.table(f"{database}.parted").columns)
tell("tables", sorted(row[1] for row in sql("SHOW TABLES IN {db}")))
tell("exists", [spark.catalog.tableExists(f"{database}.{name}") for name in ("parted", "nowhere")])
boto3.client("glue").delete_partition(
    DatabaseName=database, TableName="parted", PartitionValues=["2025-01-02", "1"]
)
tell("partition gone", spark.table(f"{database}.parted").count())
spark.sql(f"USE {database}")
tell("used", sql("SELECT count(*) FROM parted"))
attempt("csv", lambda: sql("SELECT * FROM {db}.people"))
attempt("view", lambda: sql("SELECT * FROM {db}.v"))
attempt("missing", lambda: sql("SELECT * FROM {db}.nowhere"))
attempt("create", lambda: sql("CREATE TABLE {db}.made (x int) USING parquet"))
attempt("insert", lambda: sql("INSERT INTO {db}.parted VALUES (1, date'2025-01-01', 1)"))
attempt("save", lambda: spark.range(1).write.saveAsTable(f"{database}.saved"))
spark.range(3).createOrReplaceTempView("mine")
tell("temporary", sql("WITH few AS (SELECT * FROM mine LIMIT 2) SELECT count(*) FROM few"))
"""

WRITES = """
frame = DynamicFrame.fromDF(spark.createDataFrame([("a b/c", 1), (None, 2)], ["kind", "x"]), context, "f")
sink("kinds", "json", ["kind"]).writeFrame(frame)
attempt("plain writer", lambda: sink("plain", "parquet", []).writeFrame(frame))
attempt("csv", lambda: sink("text", "csv", []).writeFrame(frame))
attempt("other keys", lambda: sink("kinds", "json", []).writeFrame(frame))
attempt("no keys", lambda: context.write_dynamic_frame.from_catalog(frame, database, "kinds"))
sink("flat", "parquet", [], useGlueParquetWriter=True).writeFrame(frame)
context.write_dynamic_frame.from_catalog(frame=frame, database=database, table_name="flat")
context.purge_s3_path(f"s3://{bucket}/kinds/")
"""


@pytest.fixture(scope="module")
def lake(aws: LocalAws) -> Lake:
    lake = Lake(aws, "glue-tables")
    lake.create_table("parted", {"x": "bigint"}, partitions={"day": "date", "n": "int"})
    for day, n, values in (("2025-01-01", "1", [1, 2]), ("2025-01-02", "1", [3]), ("2025-01-02", "2", [4])):
        lake.put_parquet(f"parted/day={day}/n={n}/a.parquet", {"x": pa.array(values)})
    lake.put_parquet("parted/day=2025-01-02/n=2/deeper/a.parquet", {"x": pa.array([8])})
    lake.put_parquet("parted/day=2025-01-03/n=1/unregistered.parquet", {"x": pa.array([9])})
    for day, n in (("2025-01-01", "1"), ("2025-01-02", "1"), ("2025-01-02", "2")):
        location = f"s3://{lake.bucket}/parted/day={day}/n={n}/"
        lake.rows(f"ALTER TABLE parted ADD PARTITION (day='{day}', n={n}) LOCATION '{location}'")
    lake.put("people/p.csv", b'"Ada, Countess","36"\n"Bob","n/a"\n"Eve",""\n')
    lake.create_table("people", {"name": "string", "age": "int"}, file_format="csv")
    lake.rows("CREATE VIEW v AS SELECT x FROM parted")
    return lake


@pytest.fixture(scope="module")
def jobs(aws: LocalAws, lake: Lake) -> GlueBench:
    bench = GlueBench(aws, "glue-tables-jobs")
    arguments = {
        "--DATABASE": lake.database,
        "--BUCKET": lake.bucket,
        "--job-bookmark-option": "job-bookmark-enable",
    }
    bench.create_job("reads", SCRIPT + READS, arguments)
    bench.create_job("sees", SCRIPT + SEES, {**arguments, "--enable-glue-datacatalog": ""})
    bench.create_job("writes", SCRIPT + WRITES, arguments)
    return bench


def told(jobs: GlueBench, job: str) -> dict[str, Any]:
    """What a run of the script told."""
    run = jobs.succeed(job)
    lines = (line for line in jobs.output(job, run["Id"]) if line.startswith("TOLD "))
    return dict(json.loads(line.removeprefix("TOLD ")) for line in lines)


def test_a_table_is_read_by_partitions_and_under_a_bookmark(lake: Lake, jobs: GlueBench) -> None:
    found = told(jobs, "reads")
    first, second = [1, "2025-01-01", 1], [2, "2025-01-01", 1]
    assert found["bookmarked"] == [first, second, [3, "2025-01-02", 1], [4, "2025-01-02", 2]]
    assert found["predicate"] == [[3, "2025-01-02", 1]]
    assert found["deeper"] == [[4, "2025-01-02", 2], [8, "2025-01-02", 2]]
    assert "partition keys day, n" in found["wrong predicate"]
    assert "no partition keys" in found["no keys"]
    assert "age is int in some records and string in others" in found["choice"]
    assert found["cast"] == [["Ada, Countess", 36], ["Bob", None], ["Eve", None]]
    assert found["match_catalog"] == found["cast"]
    assert "is a view" in found["view"]
    assert found["missing"].startswith("EntityNotFoundException")

    lake.put_parquet("parted/day=2025-01-02/n=2/b.parquet", {"x": pa.array([5])})
    assert told(jobs, "reads")["bookmarked"] == [[5, "2025-01-02", 2]]


def test_sparks_sql_sees_the_catalog_as_it_is_and_does_not_change_it(lake: Lake, jobs: GlueBench) -> None:
    found = told(jobs, "sees")
    total = len(lake.rows("SELECT x FROM parted WHERE x <> 8"))  # Athena reads what lies deeper.
    assert found["partition gone"] == total
    assert found["count"] == total + 1
    assert found["predicate"][0] == [3, "2025-01-02"]
    assert found["read.table"] == ["x", "day", "n"]
    assert "parted" in found["tables"]
    assert found["exists"] == [True, False]
    assert found["used"] == [[total]]
    assert found["temporary"] == [[2]]
    for refused in ("csv", "view", "create", "insert", "save"):
        assert found[refused].startswith("NotReproduced"), (refused, found[refused])
        assert "Instead: " in found[refused]
    assert found["missing"].startswith("AnalysisException")
    assert "made" not in [
        table["Name"] for table in lake.glue.get_tables(DatabaseName=lake.database)["TableList"]
    ]


def test_tables_are_written_and_what_would_go_wrong_on_glue_is_refused(lake: Lake, jobs: GlueBench) -> None:
    found = told(jobs, "writes")
    assert lake.rows("SELECT kind, x FROM kinds ORDER BY x") == [("a b/c", "1"), (None, "2")]
    assert lake.rows("SELECT kind, count(*) FROM flat GROUP BY 1 ORDER BY 2, 1") == [
        ("a b/c", "2"),
        (None, "2"),
    ]
    assert "glueparquet" in found["plain writer"]
    assert "MSCK REPAIR TABLE" in found["csv"]
    assert "must be the same" in found["other keys"]
    assert "partitionKeys" in found["no keys"]
    assert jobs.keys(lake.bucket, "kinds/"), "what is younger than seven days is not purged"
