"""Readers, transforms and writers of our small `awsglue`, on a Spark session and a folder as a bucket."""

from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import awsglue.transforms
import pytest
from awsglue import DynamicFrame
from awsglue.context import GlueContext
from awsglue.dynamicframe import DynamicFrameCollection, NotReproduced
from awsglue.transforms import (
    ApplyMapping,
    Coalesce,
    DropFields,
    DropNullFields,
    Filter,
    Join,
    Map,
    MapToCollection,
    Relationalize,
    RenameField,
    Repartition,
    ResolveChoice,
    SelectFields,
    SelectFromCollection,
    Spigot,
    SplitFields,
    SplitRows,
    Union,
)
from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from buckets import map_buckets

Rows = list[dict[str, Any]]

PEOPLE: Rows = [
    {"id": 1, "name": {"first": "Ada", "last": "L."}, "age": 36, "note": None},
    {"id": 2, "name": {"first": "Bob", "last": None}, "age": None, "note": None},
    {"id": 3, "name": None, "age": 17, "note": None},
]


class Bucket:
    """A bucket, and a context that reads and writes it."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.name = f"b-{uuid.uuid4().hex[:12]}"
        self.folder = folder / self.name
        map_buckets(spark, {self.name: self.folder})
        self.context = GlueContext(spark)

    def put(self, key: str, content: bytes) -> None:
        path = self.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def put_json(self, key: str, records: Iterable[dict[str, Any]]) -> None:
        self.put(key, "".join(f"{json.dumps(record)}\n" for record in records).encode())

    def read(self, format: str, path: str = "in/", recurse: bool = True, **options: Any) -> DynamicFrame:
        return self.context.create_dynamic_frame.from_options(
            connection_type="s3",
            connection_options={"paths": [f"s3://{self.name}/{path}"], "recurse": recurse},
            format=format,
            format_options=options,
        )

    def json(self, *records: dict[str, Any]) -> DynamicFrame:
        """A frame of these records, by way of an object."""
        key = uuid.uuid4().hex
        self.put_json(f"{key}/records.json", records)
        return self.read("json", f"{key}/")

    def write(self, frame: DynamicFrame, format: str, path: str = "out", **options: Any) -> None:
        self.context.write_dynamic_frame.from_options(
            frame=frame,
            connection_type="s3",
            connection_options={"path": f"s3://{self.name}/{path}", **options},
            format=format,
        )

    def files(self, path: str = "out") -> list[Path]:
        """Files with data, relative to the path."""
        place = self.folder / path
        found = (file.relative_to(place) for file in place.rglob("part-*"))
        return sorted(found)


@pytest.fixture
def bucket(spark: SparkSession, tmp_path: Path) -> Bucket:
    return Bucket(spark, tmp_path)


@pytest.fixture
def people(bucket: Bucket) -> DynamicFrame:
    return bucket.json(*PEOPLE)


def rows(frame: DynamicFrame) -> Rows:
    """The rows as dictionaries, in the order of their first column."""
    found = [row.asDict(recursive=True) for row in frame.toDF().collect()]
    return sorted(found, key=lambda row: str(next(iter(row.values()))))


def types(frame: DynamicFrame) -> dict[str, str]:
    return {field.name: field.dataType.simpleString() for field in frame.schema()}


def tree(frame: DynamicFrame, capsys: pytest.CaptureFixture[str]) -> list[str]:
    capsys.readouterr()
    frame.printSchema()
    return capsys.readouterr().out.splitlines()


# JSON


def test_json_has_the_types_that_its_values_have(bucket: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    record = {"i": 1, "l": 2**40, "d": 1.5, "b": True, "s": "x", "n": None, "o": {"x": "y"}, "a": [{"z": 1}]}
    frame = bucket.json(record, {"s": "only"})
    assert rows(frame)[0] == record
    assert tree(frame, capsys) == [
        "root",
        "|-- i: int",
        "|-- l: long",
        "|-- d: double",
        "|-- b: boolean",
        "|-- s: string",
        "|-- n: null",
        "|-- o: struct",
        "|    |-- x: string",
        "|-- a: array",
        "|    |-- element: struct",
        "|    |    |-- z: int",
    ]


def test_a_field_of_several_types_is_a_choice_that_must_be_resolved(
    bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = bucket.json({"k": 1, "price": 5}, {"k": 2, "price": 5.5})
    assert tree(frame, capsys) == [
        "root",
        "|-- k: int",
        "|-- price: choice",
        "|    |-- double",
        "|    |-- int",
    ]
    for use in (frame.toDF, lambda: frame.apply_mapping([("price", "price")]).count()):
        with pytest.raises(NotReproduced, match=r"price is double in some records and int.*cast:double"):
            use()
    assert rows(frame.select_fields(["k"])) == [{"k": 1}, {"k": 2}]
    resolved = ResolveChoice.apply(frame, specs=[("price", "cast:double")])
    assert rows(resolved) == [{"k": 1, "price": 5.0}, {"k": 2, "price": 5.5}]
    assert rows(frame.resolveChoice(choice="cast:string"))[0]["price"] == "5"


def test_a_choice_within_a_struct_can_be_resolved_and_within_an_array_cannot(bucket: Bucket) -> None:
    frame = bucket.json({"o": {"v": 1, "w": "x"}}, {"o": {"v": "2"}})
    assert rows(frame.resolveChoice(specs=("o.v", "cast:int"))) == [
        {"o": {"v": 1, "w": "x"}},
        {"o": {"v": 2, "w": None}},
    ]
    with pytest.raises(NotReproduced, match=r"a\.\[\]"):
        bucket.json({"a": [1, "x"]}).toDF()


@pytest.mark.parametrize("action", ["make_cols", "make_struct", "project:int"])
def test_other_actions_do_nothing_without_a_choice_and_are_refused_with_one(
    bucket: Bucket, action: str
) -> None:
    assert rows(bucket.json({"v": 1}).resolveChoice(choice=action)) == [{"v": 1}]
    with pytest.raises(NotReproduced, match=action):
        bucket.json({"v": 1}, {"v": "x"}).resolveChoice(choice=action).toDF()


def test_resolve_choice_takes_one_of_specs_and_choice(people: DynamicFrame) -> None:
    for wrong in ({}, {"specs": [("id", "cast:int")], "choice": "make_cols"}, {"choice": "match_catalog"}):
        with pytest.raises(ValueError):
            people.resolveChoice(**wrong)


def test_a_line_that_is_no_json_fails_the_frame_and_an_array_is_refused(bucket: Bucket) -> None:
    bucket.put("bad/fine.json", b'{"a": 1}\n\n{"a": 2}')
    bucket.put("bad/broken.json", b'{"a": 1}\n{"a":')
    with pytest.raises(Py4JJavaError, match=r"Unable to parse file: broken\.json"):
        bucket.read("json", "bad/").toDF()
    bucket.put("array/a.json", b'[{"a": 1}, {"a": 2}]')
    with pytest.raises(NotReproduced, match="one object a line"):
        bucket.read("json", "array/").toDF()


def test_json_over_several_lines_is_read_when_asked_for(bucket: Bucket) -> None:
    bucket.put("in/a.json", json.dumps({"a": 1, "b": "x\ny"}, indent=2).encode())
    assert rows(bucket.read("json", multiLine=True)) == [{"a": 1, "b": "x\ny"}]


def test_names_of_files_are_attached_when_asked_for(bucket: Bucket) -> None:
    bucket.put("in/a b.json", b'{"a": 1}')
    expected = [{"a": 1, "file": f"s3://{bucket.name}/in/a b.json"}]
    assert rows(bucket.read("json", attachFilename="file")) == expected


# CSV and Parquet


def test_csv_is_text_and_an_empty_value_is_an_empty_text(bucket: Bucket) -> None:
    bucket.put("in/a.csv", b'id,name\n01,"A, ""x"""\n02,\n')
    assert rows(bucket.read("csv", withHeader=True)) == [
        {"id": "01", "name": 'A, "x"'},
        {"id": "02", "name": ""},
    ]
    assert rows(bucket.read("csv"))[0] == {"col0": "01", "col1": 'A, "x"'}
    assert rows(bucket.read("csv", skipFirst=True, separator=";"))[0] == {"col0": '01,"A, ""x"""'}
    assert rows(bucket.read("csv", quoteChar=-1, separator="\t"))[0] == {"col0": '01,"A, ""x"""'}


def test_csv_that_is_not_utf_8_fails_the_frame(bucket: Bucket) -> None:
    bucket.put("in/a.csv", "a,ü\n".encode("latin-1"))
    with pytest.raises(Py4JJavaError, match=r"Unable to parse file: a\.csv"):
        bucket.read("csv").toDF()


def test_parquet_comes_back_as_it_was_written(bucket: Bucket, people: DynamicFrame) -> None:
    bucket.write(DropNullFields.apply(people), "parquet")
    assert rows(bucket.read("parquet", "out/")) == rows(people.drop_fields("note"))


def test_a_frame_of_nothing_has_no_columns_and_writes_nothing(bucket: Bucket) -> None:
    for format in ("csv", "json", "parquet"):
        frame = bucket.read(format, "nowhere/")
        assert (frame.toDF().columns, frame.count()) == ([], 0)
        bucket.write(frame, format)
    assert bucket.files() == []


# Fields


def test_apply_mapping_selects_renames_and_casts(people: DynamicFrame) -> None:
    mapped = ApplyMapping.apply(
        frame=people,
        mappings=[
            ("ID", "int", "key", "string"),
            ("name.first", "string", "who.given", "string"),
            ("name.last", "string", "who.family", "string"),
            ("age", "int", "age", "decimal"),
            ("nowhere", "string", "nowhere", "string"),
        ],
    )
    assert types(mapped) == {
        "key": "string",
        "who": "struct<given:string,family:string>",
        "age": "decimal(10,2)",
    }
    assert rows(mapped)[0] == {"key": "1", "who": {"given": "Ada", "family": "L."}, "age": Decimal("36.00")}
    assert mapped.applyMapping([("KEY", "key")], case_sensitive=True).toDF().columns == []


@pytest.mark.parametrize(
    ("text", "type_name", "value"),
    [
        ("12", "int", 12),
        ("x", "int", None),
        ("12", "long", 12),
        ("1.5", "double", 1.5),
        ("true", "boolean", True),
        ("2025-01-31", "date", datetime.date(2025, 1, 31)),
        ("2025-01-31 10:00:00", "timestamp", datetime.datetime(2025, 1, 31, 10)),
        ("1.239", "decimal(5,2)", Decimal("1.24")),
    ],
)
def test_apply_mapping_casts_text_or_makes_it_null(
    bucket: Bucket, text: str, type_name: str, value: Any
) -> None:
    assert rows(bucket.json({"v": text}).apply_mapping([("v", "string", "v", type_name)])) == [{"v": value}]


def test_what_is_no_mapping_is_refused(people: DynamicFrame) -> None:
    with pytest.raises(TypeError):
        people.apply_mapping([["id", "key"]])
    with pytest.raises(ValueError, match="2, 3 or 4"):
        people.apply_mapping([("id",)])
    with pytest.raises(NotReproduced, match="money"):
        people.apply_mapping([("id", "int", "id", "money")])


def test_fields_are_selected_dropped_and_renamed_also_within_structs(people: DynamicFrame) -> None:
    assert rows(SelectFields.apply(people, ["name.first", "id", "nowhere"]))[1:] == [
        {"id": 2, "name": {"first": "Bob"}},
        {"id": 3, "name": None},
    ]
    assert rows(DropFields.apply(people, ["name.last", "age", "note"]))[0] == {
        "id": 1,
        "name": {"first": "Ada"},
    }
    assert RenameField.apply(people, "id", "`a.b`").toDF().columns == ["a.b", "name", "age", "note"]
    assert people.rename_field("id", "`a.b`").drop_fields("`a.b`").toDF().columns == ["name", "age", "note"]
    with pytest.raises(NotReproduced, match="apply_mapping"):
        people.rename_field("name.first", "first")


def test_null_fields_are_dropped(people: DynamicFrame, capsys: pytest.CaptureFixture[str]) -> None:
    assert DropNullFields.apply(people).toDF().columns == ["id", "name", "age"]
    assert "note" in capsys.readouterr().out


def test_fields_and_rows_are_split(people: DynamicFrame) -> None:
    halves = SplitFields.apply(people, ["id"], "keys", "rest")
    assert [halves[name].toDF().columns for name in ("keys", "rest")] == [["id"], ["name", "age", "note"]]
    ages = SplitRows.apply(people, {"age": {">": 18, "<": 99}}, "adults", "others")
    assert [[row["id"] for row in rows(ages[name])] for name in ("adults", "others")] == [[1], [2, 3]]
    counted = MapToCollection.apply(ages, lambda frame, ctx: frame.select_fields("id"))
    assert SelectFromCollection.apply(counted, "adults").toDF().columns == ["id"]
    assert SelectFromCollection.apply(counted, "unknown").count() == 0


# Rows


def test_filter_keeps_what_is_true_and_counts_other_exceptions_as_errors(people: DynamicFrame) -> None:
    adults = Filter.apply(frame=people, f=lambda x: x["age"] > 18)  # A TypeError, where there is no age.
    assert ([row["id"] for row in rows(adults)], adults.errorsCount()) == ([1], 0)
    assert [row["id"] for row in rows(people.filter(lambda x: x.name.first == "Bob"))] == [2]
    failing = people.filter(lambda x: 1 / (x["id"] - 2) < 9)
    assert ([row["id"] for row in rows(failing)], failing.errorsCount()) == ([1, 3], 1)
    assert failing.select_fields("id").errorsCount() == 1
    assert failing.select_fields("id").stageErrorsCount() == 0


def test_map_keeps_types_finds_new_ones_and_counts_errors(people: DynamicFrame) -> None:
    def decorate(record: Any) -> Any:
        if record["id"] == 3:
            raise RuntimeError("no")
        record["label"] = f"{record['id']}: {record['name']['first']}"
        record.tags = [1, 2]
        del record["note"]
        return record

    mapped = Map.apply(frame=people, f=decorate)
    assert types(mapped)["tags"] == "array<int>"
    assert types(mapped)["id"] == "int"
    assert [row["label"] for row in rows(mapped)] == ["1: Ada", "2: Bob"]
    assert (mapped.count(), mapped.errorsCount()) == (2, 1)
    assert people.map(lambda record: None).errorsCount() == 3
    with pytest.raises(NotReproduced, match="x"):
        people.map(lambda record: {"x": record["id"] if record["id"] < 2 else "many"}).toDF()


def test_join_keeps_all_fields_and_marks_the_second_of_a_name(bucket: Bucket, people: DynamicFrame) -> None:
    orders = bucket.json({"id": 10, "person": 1}, {"id": 11, "person": 1}, {"id": 12, "person": 9})
    joined = Join.apply(people.select_fields(["id", "age"]), orders, "id", "person")
    assert joined.toDF().columns == ["id", "age", ".id", "person"]
    assert sorted(row[".id"] for row in rows(joined)) == [10, 11]
    assert joined.drop_fields(["`.id`"]).toDF().columns == ["id", "age", "person"]
    again = people.select_fields("id").join(["id"], ["id"], people.select_fields("id"))
    assert (again.toDF().columns, again.count()) == (["id", ".id"], 3)


def test_frames_are_united_and_merged(bucket: Bucket, people: DynamicFrame) -> None:
    staged = bucket.json({"id": 2, "age": 40}, {"id": 4, "age": 50})
    ages = people.select_fields(["id", "age"])
    assert Union.apply(ages, staged).count() == 5
    merged = ages.mergeDynamicFrame(staged, ["id"])
    assert [(row["id"], row["age"]) for row in rows(merged)] == [(1, 36), (2, 40), (3, 17), (4, 50)]


def test_partitions_of_spark_can_be_chosen(people: DynamicFrame) -> None:
    assert Repartition.apply(people, 3).getNumPartitions() == 3
    assert Coalesce.apply(people.repartition(3), 1).getNumPartitions() == 1


def test_a_frame_goes_to_spark_and_back(bucket: Bucket, people: DynamicFrame, spark: SparkSession) -> None:
    adults = people.toDF().where("age > 18")
    frame = DynamicFrame.fromDF(adults, bucket.context, "adults")
    assert (frame.name, frame.count(), bucket.context.sql("select 1").count()) == ("adults", 1, 1)


def test_show_prints_json(people: DynamicFrame, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    people.show(1)
    assert json.loads(capsys.readouterr().out)["name"] == {"first": "Ada", "last": "L."}


# Writing


def test_what_is_written_lies_in_folders_of_its_partitions_beside_what_was_there(bucket: Bucket) -> None:
    frame = bucket.json({"day": "01", "n": 1}, {"day": "02", "n": 2})
    for _ in range(2):
        bucket.write(frame, "json", partitionKeys=["day"])
    files = bucket.files()
    assert [file.parts[0] for file in files] == ["day=01", "day=01", "day=02", "day=02"]
    assert (bucket.folder / "out" / files[0]).read_text() == '{"n":1}\n'
    with pytest.raises(ValueError, match="month"):
        bucket.write(frame, "json", partitionKeys=["month"])


def test_csv_is_written_with_a_header_unless_told_otherwise(bucket: Bucket) -> None:
    frame = bucket.json({"a": 1, "b": 'x "y", z'})
    bucket.write(frame, "csv")
    (file,) = bucket.files()
    assert (bucket.folder / "out" / file).read_text() == 'a,b\n1,"x ""y"", z"\n'
    sink = bucket.context.getSink("s3", path=f"s3://{bucket.name}/bare")
    sink.setFormat("csv", writeHeader=False, separator="|", quoteChar=-1)
    sink.writeFrame(frame)
    (file,) = bucket.files("bare")
    assert (bucket.folder / "bare" / file).read_text() == '1|x "y", z\n'


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"path": "s3://b/x", "format": "avro"}, "avro"),
        ({"path": "s3://b/x", "format": "json", "groupFiles": "inPartition"}, "groupFiles"),
        ({"path": "s3://b/x", "format": "json", "updateBehavior": "NONE"}, "updateBehavior"),
        ({"path": "/tmp/x", "format": "json"}, "path"),
    ],
)
def test_a_sink_refuses_what_it_does_not_do(bucket: Bucket, options: dict[str, Any], error: str) -> None:
    with pytest.raises((NotReproduced, ValueError), match=error):
        bucket.context.getSink("s3", **options)


# What is not here


@pytest.mark.parametrize("transform", [Relationalize, Spigot])
def test_transforms_that_are_not_here_say_so_when_they_are_used(transform: Any, people: DynamicFrame) -> None:
    for use in (transform.apply, transform):
        with pytest.raises(NotReproduced, match="Instead: "):
            use(people, "root", "s3://b/tmp/")


def test_names_that_are_not_here_say_what_to_use_instead(bucket: Bucket, people: DynamicFrame) -> None:
    for ask in (
        lambda: people.relationalize("root", "s3://b/tmp/"),
        lambda: people.unnest(),
        lambda: bucket.context.create_data_frame.from_catalog("db", "t"),
        lambda: bucket.context.create_dynamic_frame.from_rdd([], "x"),
        lambda: bucket.context.write_dynamic_frame.from_jdbc_conf(people, "c"),
        lambda: bucket.context.forEachBatch(None, None),
        lambda: awsglue.transforms.describe_transform("Map"),
        lambda: people.select_fields("id", stageThreshold=1),
        lambda: DynamicFrameCollection([people], bucket.context).flatmap(None),
    ):
        with pytest.raises(NotReproduced):
            ask()
    for line in (
        "from awsglue.gluetypes import StructType",
        "from awsgluedq.transforms import EvaluateDataQuality",
        "from awsglueml.transforms import FindMatches",
    ):
        with pytest.raises(NotReproduced, match="Instead: "):
            exec(line)
    with pytest.raises(AttributeError):
        people.nonsense()


def test_star_import_brings_every_transform_of_glues() -> None:
    names: dict[str, Any] = {}
    exec("from awsglue.transforms import *", names)
    assert {"ApplyMapping", "DropNullFields", "Relationalize", "SelectFromCollection"} <= set(names)
