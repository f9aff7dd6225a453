"""The store of the ETL's tests: Spark reaches it as it reaches S3 on Glue, and it can go dark at any time."""

from __future__ import annotations

from typing import Any

import pytest
from awsglue.context import GlueContext
from awsglue.objects import list_objects
from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from tests.etl.s3 import Store

BUCKET = "store-tests"


@pytest.fixture(scope="module", autouse=True)
def bucket(store: Store) -> None:
    where = {"LocationConstraint": "us-west-2"}
    store.client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=where)


@pytest.fixture(autouse=True)
def clean(store: Store) -> None:
    store.gate.open()
    store.clear(BUCKET)


def write(spark: SparkSession, table: str = "table") -> None:
    rows = spark.range(100).selectExpr("id", "id % 3 AS part")
    rows.coalesce(1).write.mode("append").partitionBy("part").parquet(f"s3://{BUCKET}/{table}")


def test_what_spark_writes_it_reads_and_what_it_asks_for_is_counted(
    spark: SparkSession, store: Store
) -> None:
    write(spark)
    changes = store.gate.count
    assert 6 < changes < store.gate.requests
    assert spark.read.parquet(f"s3://{BUCKET}/table").count() == 100
    assert store.gate.count == changes, "reading changes nothing"
    assert len(store.gate.log) == store.gate.requests
    puts = [request for request in store.gate.log if request.startswith(f"PUT {BUCKET}/table/")]
    assert any(request.endswith(".parquet") for request in puts)


def test_a_store_that_goes_dark_ends_the_write_and_keeps_what_was_written(
    spark: SparkSession, store: Store
) -> None:
    write(spark)
    needed = store.gate.count
    for changes in (0, needed // 2, needed - 1):
        store.clear(BUCKET)
        store.put(f"s3://{BUCKET}/kept", b"kept")
        store.gate.shut_after(changes)
        with pytest.raises(Py4JJavaError, match="403"):
            write(spark)
        assert store.gate.is_dark and store.gate.count == changes
        left = store.objects(BUCKET)
        assert "kept" in left and (len(left) > 1) == (changes > 0)
        store.gate.open()
        write(spark)
        # Of a commit that was not finished, none, some or all files may be there.
        assert 100 <= spark.read.parquet(f"s3://{BUCKET}/table").count() <= 200


def test_a_read_fails_in_the_dark_too(spark: SparkSession, store: Store) -> None:
    write(spark)
    store.gate.shut_after(3, only_changes=False)
    with pytest.raises(Py4JJavaError, match="403"):
        spark.read.parquet(f"s3://{BUCKET}/table").count()
    assert (store.gate.requests, store.gate.count) == (3, 0)


def test_nothing_is_renamed_onto_an_object(spark: SparkSession, store: Store) -> None:
    for name in "ab":
        store.put(f"s3://{BUCKET}/{name}", name.encode())
    path: Any = spark._jvm.org.apache.hadoop.fs.Path  # type: ignore[union-attr]
    source, target = path(f"s3://{BUCKET}/a"), path(f"s3://{BUCKET}/b")
    files = source.getFileSystem(spark.sparkContext._jsc.hadoopConfiguration())
    with pytest.raises(Py4JJavaError, match="FileAlreadyExistsException"):
        files.rename(source, target)
    assert store.read(BUCKET) == {"a": b"a", "b": b"b"}


def test_glues_reader_finds_objects_as_they_are_named(spark: SparkSession, store: Store) -> None:
    keys = ["a b.json", "100%25.json", "#1=+ü😀.json", "sub/[x]*.json"]
    for key in [*keys, "folder/", "sub/_hidden/x", ".hidden"]:
        store.put(f"s3://{BUCKET}/in/{key}", b"{}\n")
    store.put(f"s3://{BUCKET}/in/broken.gz", b"no gzip")
    options = {"separator": "\x01", "quoteChar": -1, "withHeader": False, "attachFilename": "source_file"}
    read = GlueContext(spark.sparkContext).create_dynamic_frame.from_options
    source: dict[str, Any] = {"paths": [f"s3://{BUCKET}/in/"], "recurse": True}
    with pytest.raises(Py4JJavaError, match=r"Unable to parse file: broken\.gz"):
        read("s3", source, "csv", options).toDF()
    rows = read("s3", {**source, "exclusions": '["**.gz"]'}, "csv", options).toDF().collect()
    assert {(row.source_file, row.col0) for row in rows} == {
        (f"s3://{BUCKET}/in/{key}", "{}") for key in keys
    }
    (single,) = list_objects(spark, f"s3://{BUCKET}/in/a b.json", recurse=False)
    assert single.modified_ns % 10**9 == 0 and single[::2] == (f"s3://{BUCKET}/in/a b.json", 3)
    assert list_objects(spark, f"s3://{BUCKET}/nothing/", recurse=True) == []
    with pytest.raises(Py4JJavaError, match="UnknownStoreException"):
        list_objects(spark, "s3://no-such-bucket/", recurse=True)


def test_a_test_reads_and_writes_beside_the_gate(store: Store) -> None:
    store.gate.shut_after(0)
    content = {"a b/100%.txt": b"1", "a b/ü=1/+😀": b"2", "folder/": b""}
    for key, body in content.items():
        store.put(f"s3://{BUCKET}/{key}", body)
    assert store.read(BUCKET) == content
    assert store.read(BUCKET, "a b/ü") == {"a b/ü=1/+😀": b"2"}
    before = store.content(BUCKET)
    assert len({listed.modified for listed, _ in before.values()}) == 3, "as if written seconds apart"
    store.put(f"s3://{BUCKET}/folder/", b"no more")
    store.delete(BUCKET, ["a b/100%.txt"])
    store.put(f"s3://{BUCKET}/new", b"")
    assert store.content(BUCKET).keys() != before.keys()
    store.put_back(BUCKET, before)
    assert store.content(BUCKET) == before
    store.clear(BUCKET)
    assert store.objects(BUCKET) == {}
    assert store.gate.requests == 0 and store.gate.log == []
