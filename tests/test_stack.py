"""The template deployed on the embedded AWS: created, used, updated, deleted and created again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from glue_scripts.capstone_etl import TABLES
from local_aws import LocalAws
from tests import template
from tests.infrastructure.stacks import ACCOUNT, Stack, cfn_parameters, client, create, deployed, fill

LAB_ROLE = f"arn:aws:iam::{ACCOUNT}:role/LabRole"

FIELDS = [
    "timestamp",
    "user_id",
    "session_id",
    "event_type",
    "product_id",
    "quantity",
    "price",
    "category",
    "search_query",
]
FILLED = {  # which of the last five fields an event of a type has
    "page_view": {"product_id", "category"},
    "add_to_cart": {"product_id", "quantity", "price", "category"},
    "remove_from_cart": {"product_id", "quantity", "price", "category"},
    "purchase": {"product_id", "quantity", "price", "category"},
    "search": {"search_query"},
}
KEY_PATTERN = re.compile(
    r"events/year=(\d{4})/month=(\d\d)/day=(\d\d)/hour=(\d\d)/minute=(\d\d)/events-(\d{8}-\d{6})\.jsonl\.gz"
)


@pytest.fixture(scope="module")
def stack(aws: LocalAws) -> Iterator[Stack]:
    with deployed(aws, "tpl-main") as stack:
        yield stack


# --- What is there after create-stack -----------------------------------------------------------------------


def test_outputs_name_what_was_created(stack: Stack) -> None:
    outputs = stack.outputs
    events, analytics = f"capstone-events-tpl-main-{ACCOUNT}", f"capstone-analytics-tpl-main-{ACCOUNT}"
    assert outputs.pop("GlueRoleArn").startswith(f"arn:aws:iam::{ACCOUNT}:role/")
    assert outputs == {
        "StudentId": "tpl-main",
        "SourceBucketName": events,
        "AnalyticsBucketName": analytics,
        "GeneratorFunctionName": "capstone-event-generator-tpl-main",
        "GlueJobName": "capstone-etl-tpl-main",
        "BronzeDatabaseName": "bronze_tpl_main",
        "SilverDatabaseName": "silver_tpl_main",
        "GoldDatabaseName": "gold_tpl_main",
        "AthenaWorkgroupName": "capstone-tpl-main",
        "AthenaResultsLocation": f"s3://{analytics}/athena-results/",
        "JobLogGroupPrefix": "/aws-glue/jobs/capstone-etl-tpl-main",
        "ScriptLocation": f"s3://{analytics}/scripts/capstone_etl.py",
        "QueriesLocation": f"s3://{analytics}/queries/queries.sql",
        "RawEventsLocation": f"s3://{events}/events/",
        "AnalyticsDataLocation": f"s3://{analytics}/",
    }


@pytest.mark.parametrize("output", ["SourceBucketName", "AnalyticsBucketName"])
def test_buckets_are_protected(stack: Stack, output: str) -> None:
    s3, bucket = stack.client("s3"), stack.outputs[output]
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    encryption = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert encryption[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    block = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert len(block) == 4 and all(block.values())
    ownership = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]
    assert ownership == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    (statement,) = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
    assert statement["Resource"] == [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]


def test_tables_lie_in_the_analytics_bucket_in_the_layers_databases(stack: Stack) -> None:
    glue, outputs = stack.client("glue"), stack.outputs
    found = {}
    for layer in ("bronze", "silver", "gold"):
        database = outputs[f"{layer.capitalize()}DatabaseName"]
        for table in glue.get_tables(DatabaseName=database)["TableList"]:
            found[f"{layer}.{table['Name']}"] = table["StorageDescriptor"]["Location"]
    assert found == {
        name: f"{outputs['AnalyticsDataLocation']}{table.location}/" for name, table in TABLES.items()
    }


def test_the_workgroup_enforces_its_result_location_and_a_scan_limit(stack: Stack) -> None:
    athena = stack.client("athena")
    workgroup = athena.get_work_group(WorkGroup=stack.outputs["AthenaWorkgroupName"])["WorkGroup"]
    configuration = workgroup["Configuration"]
    assert configuration["EnforceWorkGroupConfiguration"] is True
    assert configuration["BytesScannedCutoffPerQuery"] == 10 * 2**30
    assert configuration["EngineVersion"]["SelectedEngineVersion"] == "Athena engine version 3"
    assert configuration["ResultConfiguration"] == {
        "OutputLocation": stack.outputs["AthenaResultsLocation"],
        "EncryptionConfiguration": {"EncryptionOption": "SSE_S3"},
    }


def test_log_groups_of_functions_and_job_have_a_retention(stack: Stack) -> None:
    pages = stack.client("logs").get_paginator("describe_log_groups").paginate()
    retention = {
        group["logGroupName"]: group.get("retentionInDays")
        for page in pages
        for group in page["logGroups"]
        if "tpl-main" in group["logGroupName"]
    }
    assert retention == {
        "/aws/lambda/capstone-event-generator-tpl-main": 30,
        "/aws/lambda/capstone-bucket-cleanup-tpl-main": 30,
        "/aws-glue/jobs/capstone-etl-tpl-main/output": 30,
        "/aws-glue/jobs/capstone-etl-tpl-main/error": 30,
    }


def test_the_schedule_invokes_the_generator_every_five_minutes(stack: Stack) -> None:
    events, outputs = stack.client("events"), stack.outputs
    rule = events.describe_rule(Name="capstone-event-schedule-tpl-main")
    assert (rule["ScheduleExpression"], rule["State"]) == ("rate(5 minutes)", "DISABLED")
    (target,) = events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
    assert target["Arn"].endswith(f":function:{outputs['GeneratorFunctionName']}")
    policy = stack.client("lambda").get_policy(FunctionName=outputs["GeneratorFunctionName"])["Policy"]
    (statement,) = json.loads(policy)["Statement"]
    assert statement["Condition"]["ArnLike"]["AWS:SourceArn"] == rule["Arn"]


# --- Roles --------------------------------------------------------------------------------------------------


def test_with_a_lab_role_all_run_with_it_and_no_role_is_created(aws: LocalAws) -> None:
    with deployed(aws, "tpl-lab", LabRoleArn=LAB_ROLE) as stack:
        assert "AWS::IAM::Role" not in stack.resources().values()
        assert stack.outputs["GlueRoleArn"] == LAB_ROLE
        functions = stack.client("lambda")
        for name in (stack.outputs["GeneratorFunctionName"], "capstone-bucket-cleanup-tpl-lab"):
            assert functions.get_function_configuration(FunctionName=name)["Role"] == LAB_ROLE
        assert stack.invoke_generator()["event_count"]


# --- Generator ----------------------------------------------------------------------------------------------


def test_an_invocation_delivers_the_events_that_it_answers_with(stack: Stack) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    answer = stack.invoke_generator()
    after = datetime.now(UTC)

    assert answer.keys() == {"event_count", "s3_key", "bucket"}
    assert answer["bucket"] == stack.outputs["SourceBucketName"]
    assert 2000 <= answer["event_count"] <= 2500
    match = KEY_PATTERN.fullmatch(answer["s3_key"])
    assert match, answer["s3_key"]
    *folders, second = match.groups()
    arrived = datetime.strptime(second, "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    assert "".join(folders) == f"{arrived:%Y%m%d%H%M}"
    assert before <= arrived <= after + timedelta(seconds=5)

    lines = stack.raw_lines(answer["s3_key"])
    assert len(lines) == answer["event_count"]
    check_events(lines, before - timedelta(minutes=5), after)


def check_events(lines: list[str], earliest: datetime, latest: datetime) -> None:
    """Every line is a valid event of the window, as the design describes them."""
    products: dict[str, tuple[str, float | None]] = {}
    for line in lines:
        event = json.loads(line)
        assert list(event) == FIELDS
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", event["timestamp"])
        assert earliest <= datetime.fromisoformat(event["timestamp"]) <= latest
        assert re.fullmatch(r"u_\d+", event["user_id"])
        assert re.fullmatch(r"s_[0-9a-f]+", event["session_id"])
        assert {field for field in FIELDS[4:] if event[field] is not None} == FILLED[event["event_type"]]
        if event["quantity"] is not None:
            assert type(event["quantity"]) is int and 1 <= event["quantity"] <= 5
            assert event["price"] > 0 and round(event["price"], 2) == event["price"]
        if event["product_id"] is not None:
            category, price = products.get(event["product_id"], (event["category"], None))
            assert event["category"] == category
            assert event["price"] is None or price in (None, event["price"])
            products[event["product_id"]] = (category, event["price"] or price)


def test_invocations_of_the_same_second_do_not_overwrite_each_other(stack: Stack) -> None:
    stack.invoke_generator()  # Warm: the next ones take less than a second together.
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: stack.invoke_generator(), range(3)))
    assert len({answer["s3_key"] for answer in answers}) == 3
    for answer in answers:
        assert len(stack.raw_lines(answer["s3_key"])) == answer["event_count"]
    keys = [version["Key"] for version in object_versions(stack, "SourceBucketName")]
    assert all(keys.count(answer["s3_key"]) == 1 for answer in answers)


def test_an_invocation_is_logged_in_the_functions_log_group(stack: Stack) -> None:
    key = stack.invoke_generator()["s3_key"]
    logs = stack.client("logs")
    events = logs.filter_log_events(logGroupName="/aws/lambda/capstone-event-generator-tpl-main")["events"]
    assert any(key in event["message"] for event in events)


# --- Update -------------------------------------------------------------------------------------------------


def test_an_update_changes_retention_and_schedule_and_keeps_the_data(aws: LocalAws) -> None:
    with deployed(aws, "tpl-update") as stack:
        s3, bucket = client(aws, "s3"), stack.outputs["SourceBucketName"]
        key = stack.invoke_generator()["s3_key"]

        stack.update(
            RawRetentionDays="10", GeneratorState="ENABLED", EventsPerRunMin="5", EventsPerRunMax="5"
        )

        rules = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
        expiry = {rule["ID"]: rule["Expiration"].get("Days") for rule in rules if "Expiration" in rule}
        assert expiry["expire-raw-events"] == 10
        rule = client(aws, "events").describe_rule(Name="capstone-event-schedule-tpl-update")
        assert rule["State"] == "ENABLED"
        assert 5 <= stack.invoke_generator()["event_count"] <= 2500
        assert stack.raw_lines(key)


# --- Delete and create again --------------------------------------------------------------------------------


def test_a_stack_full_of_data_can_be_deleted_and_created_again_beside_another(
    aws: LocalAws, stack: Stack
) -> None:
    fill(stack)
    in_the_neighbour = object_versions(stack, "AnalyticsBucketName")
    for _ in range(2):
        again = create(aws, "tpl-again")
        assert object_versions(again, "SourceBucketName") == []
        again.invoke_generator()
        fill(again)
        outputs = again.outputs
        again.delete()
        buckets = {bucket["Name"] for bucket in client(aws, "s3").list_buckets()["Buckets"]}
        assert buckets.isdisjoint({outputs["SourceBucketName"], outputs["AnalyticsBucketName"]})
        with pytest.raises(ClientError, match="EntityNotFound"):
            client(aws, "glue").get_database(Name=outputs["GoldDatabaseName"])
    assert object_versions(stack, "AnalyticsBucketName") == in_the_neighbour != []


def object_versions(stack: Stack, bucket_output: str) -> list[dict[str, Any]]:
    """Versions and delete markers of a bucket."""
    page = stack.client("s3").list_object_versions(Bucket=stack.outputs[bucket_output])
    return page.get("Versions", []) + page.get("DeleteMarkers", [])


def test_without_the_clean_up_resource_data_stays_and_keeps_the_stack_from_being_deleted(
    aws: LocalAws,
) -> None:
    """An update that drops the resource empties nothing; and deleting full buckets is what it is for."""
    stack = create(aws, "tpl-full")
    key = stack.invoke_generator()["s3_key"]
    without = template.content()
    del without["Resources"]["BucketCleanup"]
    for resource in without["Resources"].values():
        resource.pop("DependsOn", None)

    stack.update(json.dumps(without))
    assert "BucketCleanup" not in stack.resources()
    assert stack.raw_lines(key)

    stack.client("cloudformation").delete_stack(StackName=stack.name)
    stack.wait("DELETE_FAILED")
    assert "SourceBucket" in stack.description()["StackStatusReason"]

    for version in object_versions(stack, "SourceBucketName"):
        stack.client("s3").delete_object(
            Bucket=stack.outputs["SourceBucketName"], Key=version["Key"], VersionId=version["VersionId"]
        )
    stack.delete()


@pytest.mark.parametrize("student_id", ["Uppercase", "under_score", "dot.dot", "", "x" * 32])
def test_an_invalid_student_id_is_refused_before_anything_is_created(aws: LocalAws, student_id: str) -> None:
    cloudformation = client(aws, "cloudformation")
    with pytest.raises(ClientError, match="StudentId"):
        cloudformation.create_stack(
            StackName="capstone-tpl-invalid",
            TemplateBody=template.body(),
            Parameters=cfn_parameters({"StudentId": student_id}),
            Capabilities=["CAPABILITY_IAM"],
        )
    with pytest.raises(ClientError, match="does not exist"):
        cloudformation.describe_stacks(StackName="capstone-tpl-invalid")
