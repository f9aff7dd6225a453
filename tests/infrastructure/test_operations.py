"""A stack that is watched and that runs when files land, on the embedded AWS, with the real job.

One story, told once: files land, a run takes them in, a run fails. Each test looks at one side of it.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from capstone_pipeline import (
    Connection,
    JobRun,
    JobRunFailed,
    StackOutputs,
    create_or_update_job,
    job_definition,
    read_stack,
    upload_if_changed,
    wait_for_job_run,
)
from local_aws import LocalAws
from tests.infrastructure.stacks import OPERATIONS, Stack, create_operations, deployed
from tests.sample import embedded

ROOT = Path(__file__).parent.parent.parent
SAMPLES = sorted((ROOT / "sample-data").rglob("*.jsonl.gz"))
T = TypeVar("T")
ID = "ops-1"
NOWHERE = "capstone-events-nowhere-000000000000"
LONG_ENOUGH_SECONDS = 240


@dataclass(frozen=True)
class Watched:
    """A stack with its job, and what the topic of its operations stack has sent."""

    aws: Connection
    stack: StackOutputs
    operations: Stack
    inbox: str
    heard: list[str] = field(default_factory=list)

    def runs(self) -> list[dict[str, Any]]:
        """The job's runs, oldest first."""
        runs = self.aws.client("glue").get_job_runs(JobName=self.stack.glue_job_name)["JobRuns"]
        return runs[::-1]

    def land(self, *files: Path) -> None:
        for file in files:
            key = file.relative_to(ROOT / "sample-data").as_posix()
            upload_if_changed(self.aws, file, f"{self.stack.raw_events_location}{key}")

    def wait_until(self, look: Callable[[], list[T]]) -> list[T]:
        """Look until there is something; what is there."""
        deadline = time.monotonic() + LONG_ENOUGH_SECONDS
        while not (found := look()):
            assert time.monotonic() < deadline
            time.sleep(0.5)
        return found

    def wait_for_runs(self, count: int) -> list[dict[str, Any]]:
        """Wait until so many runs were started, and have ended."""
        deadline = time.monotonic() + LONG_ENOUGH_SECONDS
        while len(self.runs()) < count or self.runs()[-1]["JobRunState"] in ("STARTING", "RUNNING"):
            assert time.monotonic() < deadline, self.runs()
            time.sleep(0.5)
        return self.runs()

    def message_about(self, text: str) -> str:
        """Wait for a message of the topic that holds this text; the latest of them."""
        sqs = self.aws.client("sqs")

        def listen() -> list[str]:
            for message in sqs.receive_message(QueueUrl=self.inbox, WaitTimeSeconds=1).get("Messages", []):
                sqs.delete_message(QueueUrl=self.inbox, ReceiptHandle=message["ReceiptHandle"])
                self.heard.append(json.loads(message["Body"])["Message"])
            return [message for message in self.heard if text in message]

        return self.wait_until(listen)[-1]

    def metric(self, name: str) -> float:
        """The sum of a metric's datapoints of the last hour."""
        now = datetime.now(UTC)
        found = self.aws.client("cloudwatch").get_metric_statistics(
            Namespace=self.operations.outputs["MetricsNamespace"],
            MetricName=name,
            StartTime=now - timedelta(hours=1),
            EndTime=now + timedelta(minutes=1),
            Period=3600,
            Statistics=["Sum"],
        )
        return sum(point["Sum"] for point in found["Datapoints"])

    def alarms(self) -> dict[str, str]:
        alarms = self.aws.client("cloudwatch").describe_alarms(AlarmNamePrefix=f"capstone-{ID}-")
        return {alarm["AlarmName"]: alarm["StateValue"] for alarm in alarms["MetricAlarms"]}


@pytest.fixture(scope="module")
def watched(aws: LocalAws) -> Iterator[Watched]:
    with embedded(aws) as connection, deployed(aws, ID):
        stack = read_stack(connection, f"capstone-{ID}")
        upload_if_changed(connection, ROOT / "glue_scripts" / "capstone_etl.py", stack.script_location)
        create_or_update_job(connection, stack)
        operations = create_operations(aws, ID, AlarmEmail="me@example.com", FilesPerRun="2")
        sqs, sns = connection.client("sqs"), connection.client("sns")
        inbox = sqs.create_queue(QueueName=f"{ID}-inbox")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=inbox, AttributeNames=["QueueArn"])["Attributes"]
        topic = operations.outputs["NoticeTopicArn"]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn["QueueArn"])
        operations.update(OPERATIONS.read_text(), AlarmAfterMinutes="60")
        yield Watched(connection, stack, operations, inbox)
        operations.delete()


@pytest.fixture(scope="module")
def silence(watched: Watched) -> str:
    """What the topic says before the first run."""
    return watched.message_about("no-run-completed")


@pytest.fixture(scope="module")
def first_run(watched: Watched, silence: str) -> dict[str, Any]:
    """The run that two files start; two more land while it is active."""
    watched.land(SAMPLES[0])
    assert watched.runs() == []
    watched.land(SAMPLES[1])
    (run,) = watched.wait_until(watched.runs)
    assert run["JobRunState"] in ("STARTING", "RUNNING")
    watched.land(SAMPLES[2], SAMPLES[3])
    (run,) = watched.wait_for_runs(1)
    return run


@pytest.fixture(scope="module")
def failed_run(watched: Watched, first_run: dict[str, Any]) -> dict[str, Any]:
    """The run that one file starts, because no other comes in time; its source bucket does not exist."""
    glue, trigger = watched.aws.client("glue"), f"capstone-new-files-{ID}"
    job = job_definition(watched.stack)
    job["DefaultArguments"]["--SOURCE_BUCKET"] = NOWHERE
    glue.update_job(JobName=watched.stack.glue_job_name, JobUpdate=job)
    actions = glue.get_trigger(Name=trigger)["Trigger"]["Actions"]
    in_a_second = {"BatchSize": 2, "BatchWindow": 1}
    glue.update_trigger(
        Name=trigger, TriggerUpdate={"Actions": actions, "EventBatchingCondition": in_a_second}
    )
    watched.land(SAMPLES[4])
    return watched.wait_for_runs(2)[-1]


def test_before_the_first_run_both_alarms_go_off(watched: Watched, silence: str) -> None:
    message = json.loads(silence)
    assert message["NewStateValue"] == "ALARM"
    assert message["AlarmDescription"] == f"No run of capstone-etl-{ID} was completed for 60 minutes."
    assert json.loads(watched.message_about("no-new-data"))["NewStateValue"] == "ALARM"


def test_two_files_start_one_run(watched: Watched, first_run: dict[str, Any]) -> None:
    assert first_run["JobRunState"] == "SUCCEEDED", first_run.get("ErrorMessage")
    assert first_run["Arguments"]["--WORKFLOW_NAME"] == f"capstone-new-files-{ID}"


def test_files_that_land_during_a_run_start_no_other(
    watched: Watched, first_run: dict[str, Any], failed_run: dict[str, Any]
) -> None:
    assert [run["Id"] for run in watched.runs()] == [first_run["Id"], failed_run["Id"]]


def test_a_file_alone_starts_a_run_when_its_time_is_up(failed_run: dict[str, Any]) -> None:
    assert failed_run["Arguments"]["--WORKFLOW_NAME"] == f"capstone-new-files-{ID}"


def test_the_jobs_counters_become_metrics(watched: Watched, first_run: dict[str, Any]) -> None:
    log = watched.aws.client("logs").filter_log_events(
        logGroupName=watched.stack.output_log_group, filterPattern='"layer"'
    )
    lines = [json.loads(event["message"]) for event in log["events"] if event["message"].startswith("{")]
    counted = {line["layer"]: line for line in lines}
    assert [line["layer"] for line in lines] == ["bronze", "silver", "gold"]
    files = int(watched.metric("Files"))  # Those that landed during the run may have come in time.
    assert files == counted["bronze"]["files"] in (2, 3, 4)
    delivered = sum(len(gzip.decompress(file.read_bytes()).splitlines()) for file in SAMPLES[:files])
    assert watched.metric("RowsAccepted") + watched.metric("RowsRejected") == delivered
    assert watched.metric("RowsRejected") == counted["bronze"]["rejected"]
    assert watched.metric("Duplicates") == counted["silver"]["duplicates"]
    assert watched.metric("RunsCompleted") == 1


def test_the_job_asks_s3_for_nothing_that_its_role_does_not_name(
    aws: LocalAws, watched: Watched, first_run: dict[str, Any]
) -> None:
    asked = [folder.split("/") for folder in aws.requests()]
    folders = {path[1] for path in asked if path[0] == watched.stack.analytics_bucket_name and path[1:]}
    assert folders == {"scripts", "bronze", "silver", "gold", "_pending"}


def test_a_completed_run_with_new_files_ends_both_alarms(watched: Watched, first_run: dict[str, Any]) -> None:
    assert watched.alarms() == {
        f"capstone-{ID}-no-run-completed": "OK",
        f"capstone-{ID}-no-new-data": "OK",
    }


def test_a_failed_run_is_told_with_its_reason_and_its_log(
    watched: Watched, failed_run: dict[str, Any]
) -> None:
    told = watched.message_about("ended as")
    assert told.startswith(f'"Run {failed_run["Id"]} of Glue job capstone-etl-{ID} ended as FAILED: ')
    assert failed_run["ErrorMessage"] in told
    log = f"group /aws-glue/jobs/capstone-etl-{ID}/output, the streams that begin with {failed_run['Id']}"
    assert log in told
    assert watched.metric("RunsCompleted") == 1


def test_a_source_bucket_that_does_not_exist_is_named_by_the_failure(
    watched: Watched, failed_run: dict[str, Any]
) -> None:
    with pytest.raises(JobRunFailed) as failure:
        wait_for_job_run(watched.aws, watched.stack, JobRun(failed_run["Id"]), show=lambda _: None)
    assert NOWHERE in failure.value.what
    assert "aws logs filter-log-events" in failure.value.next_step


def test_the_key_lets_eventbridge_encrypt_without_a_condition_which_would_lose_its_notices(
    watched: Watched,
) -> None:
    key = watched.operations.client("cloudformation").describe_stack_resource(
        StackName=watched.operations.name, LogicalResourceId="NoticeKey"
    )["StackResourceDetail"]["PhysicalResourceId"]
    policy = watched.aws.client("kms").get_key_policy(KeyId=key, PolicyName="default")
    conditions = {
        statement["Principal"].get("Service"): statement.get("Condition")
        for statement in json.loads(policy["Policy"])["Statement"]
    }
    assert conditions["events.amazonaws.com"] is None
    assert conditions["cloudwatch.amazonaws.com"] == {
        "StringEquals": {"aws:SourceAccount": watched.aws.account}
    }


def test_whom_to_tell_is_subscribed(watched: Watched) -> None:
    sns, topic = watched.aws.client("sns"), watched.operations.outputs["NoticeTopicArn"]
    subscribed = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    assert ("email", "me@example.com") in [(each["Protocol"], each["Endpoint"]) for each in subscribed]
