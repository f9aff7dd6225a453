"""Glue's API for tables, their versions and partitions, and for looking jobs up."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws import LocalAws, running_server

DATABASE = "glue_catalog_tests"
KEYS = {"year": "string", "day": "date", "n": "int", "share": "decimal(4,2)"}
PARTITIONS = [
    ("2024", "2024-12-31", "9", "0.50"),
    ("2025", "2025-01-01", "10", "1.00"),
    ("2025", "2025-02-01", "11", "__HIVE_DEFAULT_PARTITION__"),
]


@pytest.fixture(scope="module")
def glue(aws: LocalAws) -> Any:
    client = aws.client("glue")
    client.create_database(DatabaseInput={"Name": DATABASE})
    create_table(client, "parted", KEYS)
    client.batch_create_partition(
        DatabaseName=DATABASE,
        TableName="parted",
        PartitionInputList=[
            {
                "Values": list(values),
                "StorageDescriptor": {"Location": "s3://b/", "Columns": [{"Name": "x", "Type": "int"}]},
            }
            for values in PARTITIONS
        ],
    )
    return client


def create_table(glue: Any, name: str, keys: dict[str, str], **members: Any) -> None:
    glue.create_table(
        DatabaseName=DATABASE,
        TableInput={
            "Name": name,
            "StorageDescriptor": {"Location": f"s3://b/{name}/", "Columns": [{"Name": "x", "Type": "int"}]},
            "PartitionKeys": [{"Name": key, "Type": kind} for key, kind in keys.items()],
            **members,
        },
    )


def error_code(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def days(glue: Any, expression: str, **request: Any) -> list[str]:
    """The days of the partitions that meet an expression."""
    pages = glue.get_paginator("get_partitions").paginate(
        DatabaseName=DATABASE, TableName="parted", Expression=expression, **request
    )
    return [partition["Values"][1] for page in pages for partition in page["Partitions"]]


@pytest.mark.parametrize(
    ("expression", "positions"),
    [
        ("", [0, 1, 2]),
        ("year = '2025'", [1, 2]),
        ("YEAR='2025' AND n > 10", [2]),
        ("n >= 9 and n < 11", [0, 1]),
        ("n in (9, 11)", [0, 2]),
        ("n BETWEEN 10 AND 11", [1, 2]),
        ("n <> 9", [1, 2]),
        ("n = '10'", [1]),
        ("day > '2025-01-01'", [2]),
        ("year LIKE '%4' OR NOT (n < 11)", [0, 2]),
        ("share < 1", [0]),
        ("share IS NULL", [2]),
        ("share IS NOT NULL", [0, 1]),
    ],
)
def test_partitions_are_those_that_meet_the_expression(
    glue: Any, expression: str, positions: list[int]
) -> None:
    assert days(glue, expression) == [PARTITIONS[position][1] for position in positions]


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("x = 1", "x is no partition key"),
        ("year = 2025", "quotes"),
        ("n = ", "cannot be parsed"),
        ("upper(year) = 'X'", "UPPER"),
        ("n IN (SELECT 1)", "SELECT"),
        ("day = 'tomorrow'", "tomorrow"),
    ],
)
def test_what_is_no_such_expression_is_refused(glue: Any, expression: str, reason: str) -> None:
    with pytest.raises(ClientError, match=reason) as error:
        days(glue, expression)
    assert error_code(error) == "InvalidInputException"


def test_partitions_come_in_pages_and_segments_and_without_columns(glue: Any) -> None:
    assert days(glue, "", PaginationConfig={"PageSize": 2}) == [values[1] for values in PARTITIONS]
    segments = [days(glue, "", Segment={"SegmentNumber": number, "TotalSegments": 2}) for number in (0, 1)]
    assert sorted(segments[0] + segments[1]) == [values[1] for values in PARTITIONS]
    name = {"DatabaseName": DATABASE, "TableName": "parted"}
    for excluded in (True, False):
        (first, *_) = glue.get_partitions(**name, ExcludeColumnSchema=excluded)["Partitions"]
        assert ("Columns" in first["StorageDescriptor"]) is not excluded


def test_partitions_are_deleted_and_what_is_not_there_is_an_error(glue: Any) -> None:
    create_table(glue, "doomed", {"day": "string"})
    name = {"DatabaseName": DATABASE, "TableName": "doomed"}
    for day in ("1", "2", "3"):
        glue.create_partition(**name, PartitionInput={"Values": [day]})
    answer = glue.batch_delete_partition(
        **name, PartitionsToDelete=[{"Values": ["1"]}, {"Values": ["2"]}, {"Values": ["9"]}]
    )
    (error,) = answer["Errors"]
    assert (error["PartitionValues"], error["ErrorDetail"]["ErrorCode"]) == (["9"], "EntityNotFoundException")
    assert [one["Values"] for one in glue.get_partitions(**name)["Partitions"]] == [["3"]]
    with pytest.raises(ClientError) as missing:
        glue.delete_partition(**name, PartitionValues=["9"])
    assert error_code(missing) == "EntityNotFoundException"


def test_partitions_of_a_table_that_is_not_there_are_an_error(glue: Any) -> None:
    name = {"DatabaseName": DATABASE, "TableName": "nowhere"}
    for call in (
        lambda: glue.get_partitions(**name),
        lambda: glue.create_partition(**name, PartitionInput={"Values": ["1"]}),
        lambda: glue.batch_delete_partition(**name, PartitionsToDelete=[{"Values": ["1"]}]),
    ):
        with pytest.raises(ClientError, match="nowhere") as error:
            call()
        assert error_code(error) == "EntityNotFoundException"


def test_versions_of_a_table_are_kept_until_they_are_deleted(glue: Any) -> None:
    create_table(glue, "versioned", {}, Description="one")
    name = {"DatabaseName": DATABASE, "TableName": "versioned"}
    for description, options in (("two", {}), ("three", {"SkipArchive": True}), ("four", {})):
        table_input = {"Name": "versioned", "Description": description}
        glue.update_table(DatabaseName=DATABASE, TableInput=table_input, **options)

    def descriptions() -> list[str]:
        pages = glue.get_paginator("get_table_versions").paginate(**name, PaginationConfig={"PageSize": 1})
        return [one["Table"]["Description"] for page in pages for one in page["TableVersions"]]

    assert descriptions() == ["four", "three", "one"]
    (current, *_, first) = glue.get_table_versions(**name)["TableVersions"]
    assert glue.get_table_version(**name)["TableVersion"]["Table"]["Description"] == "four"
    found = glue.get_table_version(**name, VersionId=first["VersionId"])["TableVersion"]
    assert found["Table"]["Description"] == "one"
    doomed = [first["VersionId"], current["VersionId"]]
    (error,) = glue.batch_delete_table_version(**name, VersionIds=doomed)["Errors"]
    assert error["VersionId"] == current["VersionId"]
    assert descriptions() == ["four", "three"]
    with pytest.raises(ClientError):
        glue.delete_table_version(**name, VersionId=first["VersionId"])
    glue.delete_table(DatabaseName=DATABASE, Name="versioned")
    create_table(glue, "versioned", {}, Description="new")
    assert descriptions() == ["new"]


def test_versions_outlive_the_server(tmp_path: Any) -> None:
    for run in range(2):
        with running_server(tmp_path) as server:
            client = server.client("glue")
            if run == 0:
                client.create_database(DatabaseInput={"Name": DATABASE})
                create_table(client, "t", {})
                client.update_table(DatabaseName=DATABASE, TableInput={"Name": "t", "Description": "two"})
            found = client.get_table_versions(DatabaseName=DATABASE, TableName="t")["TableVersions"]
            assert len(found) == 2


def test_members_that_say_nothing_are_left_out(glue: Any) -> None:
    create_table(glue, "copied", {})
    (listed,) = glue.get_tables(DatabaseName=DATABASE, Expression="copied")["TableList"]
    for table in (glue.get_table(DatabaseName=DATABASE, Name="copied")["Table"], listed):
        assert not {"Owner", "Description", "ViewOriginalText", "ViewExpandedText"} & set(table)


def test_tables_are_found_by_words_and_by_filters(glue: Any) -> None:
    create_table(glue, "web_sales", {}, Owner="shop", Description="What was sold")
    create_table(glue, "web_visits", {}, Owner="shop", Parameters={"typeOfData": "counter"})

    def found(**request: Any) -> list[str]:
        tables = glue.search_tables(**request)["TableList"]
        return [table["Name"] for table in tables if table["DatabaseName"] == DATABASE]

    assert found(SearchText="sales") == ["web_sales"]
    assert found(SearchText="SOLD") == ["web_sales"]
    assert found(SearchText="counter") == ["web_visits"]
    assert found(SearchText="web") == ["web_sales", "web_visits"]
    assert found(SearchText='"web"') == []
    assert found(Filters=[{"Key": "Owner", "Value": '"shop"'}, {"Key": "Name", "Value": "visits"}]) == [
        "web_visits"
    ]
    page = glue.search_tables(SearchText="web", MaxResults=1)
    assert found(SearchText="web", NextToken=page["NextToken"]) == ["web_visits"]
    with pytest.raises(ClientError, match="UpdateTime"):
        found(Filters=[{"Key": "UpdateTime", "Value": "0", "Comparator": "GREATER_THAN"}])


def test_jobs_are_listed_by_tags_and_told_with_their_capacity(glue: Any) -> None:
    command = {"Name": "glueetl", "ScriptLocation": "s3://b/s.py"}
    workers = {"WorkerType": "G.2X", "NumberOfWorkers": 3}
    glue.create_job(Name="catalog-a", Role="r", Command=command, Tags={"team": "x"}, **workers)
    glue.create_job(Name="catalog-b", Role="r", Command={**command, "Name": "pythonshell"}, MaxCapacity=1.0)
    assert glue.list_jobs(Tags={"team": "x"})["JobNames"] == ["catalog-a"]
    assert {"catalog-a", "catalog-b"} <= set(glue.list_jobs()["JobNames"])
    answer = glue.batch_get_jobs(JobNames=["catalog-b", "catalog-a", "catalog-c"])
    assert [(job["Name"], job["MaxCapacity"]) for job in answer["Jobs"]] == [
        ("catalog-b", 1.0),
        ("catalog-a", 6.0),
    ]
    assert answer["JobsNotFound"] == ["catalog-c"]
    job = glue.get_job(JobName="catalog-a")["Job"]
    assert job["MaxCapacity"] == 6.0
    assert not {"Tags", "Description", "SecurityConfiguration"} & set(job)
