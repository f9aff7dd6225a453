"""Stacks that change: from an older template to this one, with data, beside others, away and back again."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local_aws import LocalAws
from tests import template
from tests.infrastructure.stacks import (
    OPERATIONS,
    Stack,
    client,
    create,
    create_operations,
    deployed,
    fill,
    limited_cleanup,
)

OLDER = "fb28302"
"""The commit before the job's schedule, the buckets' events and the operations template."""


@pytest.fixture(scope="module")
def older_template() -> str:
    path = f"{OLDER}:{template.PATH.name}"
    shown = subprocess.run(["git", "show", path], cwd=template.PATH.parent, capture_output=True, text=True)
    if shown.returncode:
        pytest.skip(f"git history is not here, so there is no {path}: {shown.stderr.strip()}")
    return shown.stdout


def data(stack: Stack) -> list[tuple[str, str, str, bool]]:
    """Bucket, key, version and whether it is the latest, of every version in the stack's buckets."""
    s3 = stack.client("s3")
    found = []
    for bucket in (stack.outputs["SourceBucketName"], stack.outputs["AnalyticsBucketName"]):
        page = s3.list_object_versions(Bucket=bucket)
        for version in page.get("Versions", []) + page.get("DeleteMarkers", []):
            found.append((bucket, version["Key"], version["VersionId"], version["IsLatest"]))
    return sorted(found)


def physical_ids(stack: Stack) -> dict[str, str]:
    resources = stack.client("cloudformation").describe_stack_resources(StackName=stack.stack_id)
    return {item["LogicalResourceId"]: item["PhysicalResourceId"] for item in resources["StackResources"]}


def test_an_update_from_an_older_template_replaces_nothing_and_loses_no_data(
    aws: LocalAws, older_template: str
) -> None:
    stack = create(aws, "older-1", older_template)
    fill(stack)
    key = stack.invoke_generator()["s3_key"]
    before, ids = data(stack), physical_ids(stack)
    assert "JobSchedule" not in ids

    stack.update(template.body(), EtlSchedule="30")

    assert data(stack) == before
    assert stack.raw_lines(key)
    after = physical_ids(stack)
    assert {name: after[name] for name in ids} == ids
    assert after.keys() - ids.keys() == {"JobSchedule", "SchedulerRole", "GoldDailyVisitorsTable"}
    notified = stack.client("s3").get_bucket_notification_configuration(
        Bucket=stack.outputs["SourceBucketName"]
    )
    assert "EventBridgeConfiguration" in notified
    stack.delete()


def test_a_stack_with_data_goes_and_comes_again_beside_a_neighbour_that_keeps_its_own(aws: LocalAws) -> None:
    with deployed(aws, "side-1") as neighbour:
        fill(neighbour)
        kept = data(neighbour)
        for minutes in ("0", "45"):
            stack = create(aws, "side-10", EtlSchedule=minutes)
            assert data(stack) == []
            fill(stack)
            stack.update(RawRetentionDays="10", EtlSchedule="20")
            assert data(stack) != []
            stack.delete()
        assert data(neighbour) == kept != []


def test_buckets_with_more_than_one_clean_up_can_delete_are_emptied_by_several(aws: LocalAws) -> None:
    stack = create(aws, "many-1", limited_cleanup(template.content()))
    fill(stack)
    versions = len(data(stack))
    assert versions > 12
    stack.delete()
    now = datetime.now(UTC)
    counted = client(aws, "cloudwatch").get_metric_statistics(
        Namespace="AWS/Lambda",
        MetricName="Invocations",
        Dimensions=[{"Name": "FunctionName", "Value": "capstone-bucket-cleanup-many-1"}],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(minutes=1),
        Period=3600,
        Statistics=["Sum"],
    )
    # One for the creation; at most three versions in each of the others.
    assert sum(point["Sum"] for point in counted["Datapoints"]) > 1 + versions / 3


def test_the_operations_stack_comes_changes_and_goes_without_touching_the_other(aws: LocalAws) -> None:
    with deployed(aws, "operated-1") as stack:
        fill(stack)
        before, ids = data(stack), physical_ids(stack)
        for _ in range(2):
            operations = create_operations(aws, "operated-1")
            assert "FilesRule" not in operations.resources()
            everything = {"FilesPerRun": "12", "AlarmAfterMinutes": "30", "AlarmEmail": "me@example.com"}
            operations.update(OPERATIONS.read_text(), **everything, WatchSeconds="5")
            assert {"FilesRule", "FilesRole", "NoRunAlarm", "NoticeSubscription", "WatchSchedule"} <= set(
                operations.resources()
            )
            operations.update(OPERATIONS.read_text(), FilesPerRun="0", WatchSeconds="0")
            assert {"FilesWorkflow", "WatchSchedule", "WatchRole", "StandstillAlarm"}.isdisjoint(
                operations.resources()
            )
            operations.delete()
        assert (data(stack), physical_ids(stack)) == (before, ids)


def test_the_order_in_which_the_two_stacks_are_deleted_does_not_matter(aws: LocalAws) -> None:
    stack = create(aws, "order-1")
    operations = create_operations(aws, "order-1", FilesPerRun="12", AlarmAfterMinutes="30")
    stack.delete()
    operations.delete()
    left: list[Any] = client(aws, "cloudwatch").describe_alarms(AlarmNamePrefix="capstone-order-1-")[
        "MetricAlarms"
    ]
    assert left == []


def test_with_a_lab_role_the_operations_stack_creates_no_role(aws: LocalAws) -> None:
    role = "arn:aws:iam::000000000000:role/LabRole"
    with deployed(aws, "lab-1", LabRoleArn=role, EtlSchedule="30") as stack:
        schedule = stack.client("scheduler").get_schedule(Name="capstone-etl-schedule-lab-1")
        assert schedule["Target"]["RoleArn"] == role
        operations = create_operations(aws, "lab-1", LabRoleArn=role, FilesPerRun="2", WatchSeconds="5")
        assert "AWS::IAM::Role" not in {*stack.resources().values(), *operations.resources().values()}
        targets = stack.client("events").list_targets_by_rule(Rule="capstone-new-files-lab-1")["Targets"]
        assert [target["RoleArn"] for target in targets] == [role]
        watch = stack.client("scheduler").get_schedule(Name="capstone-watch-lab-1")
        assert watch["Target"]["RoleArn"] == role
        operations.delete()
