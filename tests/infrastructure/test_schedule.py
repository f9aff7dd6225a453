"""EtlSchedule: what the stack schedules, and what becomes of starts that find no job or an active run."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from capstone_pipeline import connect, create_or_update_job, read_stack
from local_aws import LocalAws
from tests.infrastructure.stacks import Stack, deployed

ID = "schedule-1"
JOB = f"capstone-etl-{ID}"
SCHEDULE = f"capstone-etl-schedule-{ID}"
SCRIPT = b"import time\n\ntime.sleep(30)\n"
LONG_ENOUGH_SECONDS = 60


@pytest.fixture(scope="module")
def stack(aws: LocalAws) -> Iterator[Stack]:
    with deployed(aws, ID, EtlSchedule="15") as stack:
        yield stack


def target(stack: Stack) -> dict[str, Any]:
    return stack.client("scheduler").get_schedule(Name=SCHEDULE)["Target"]


def fire(stack: Stack, name: str) -> None:
    """Let the target of the stack's schedule be due now, by a schedule of its own."""
    stack.client("scheduler").create_schedule(
        Name=name,
        ScheduleExpression=f"at({datetime.now(UTC):%Y-%m-%dT%H:%M:%S})",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target=target(stack),
    )


def refusals(stack: Stack, error: str) -> list[str]:
    """What the server's log says of starts that were refused with this error."""
    log = (stack.aws.state_dir / "server.log").read_text()
    return [line for line in log.splitlines() if f"No run of job {JOB} started" in line and error in line]


def wait_for_refusal(stack: Stack, error: str) -> None:
    deadline = time.monotonic() + LONG_ENOUGH_SECONDS
    while not refusals(stack, error):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_the_job_is_started_every_so_many_minutes_and_a_refused_start_is_not_repeated(stack: Stack) -> None:
    schedule = stack.client("scheduler").get_schedule(Name=SCHEDULE)
    assert (schedule["State"], schedule["ScheduleExpression"]) == ("ENABLED", "rate(15 minutes)")
    assert target(stack)["Arn"] == "arn:aws:scheduler:::aws-sdk:glue:startJobRun"
    assert json.loads(target(stack)["Input"]) == {"JobName": JOB}
    assert target(stack)["RetryPolicy"] == {"MaximumRetryAttempts": 0}


def test_starts_before_there_is_a_job_and_during_a_run_do_no_harm(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    fire(stack, "without-a-job")
    wait_for_refusal(stack, "EntityNotFoundException")

    for name, value in stack.aws.environment.items():
        monkeypatch.setenv(name, value)
    connection = connect("us-west-2")
    outputs = read_stack(connection, stack.name)
    stack.client("s3").put_object(
        Bucket=outputs.analytics_bucket_name, Key="scripts/capstone_etl.py", Body=SCRIPT
    )
    create_or_update_job(connection, outputs)
    fire(stack, "first")
    fire(stack, "second")
    wait_for_refusal(stack, "ConcurrentRunsExceededException")

    glue = stack.client("glue")
    (run,) = glue.get_job_runs(JobName=JOB)["JobRuns"]
    glue.batch_stop_job_run(JobName=JOB, JobRunIds=[run["Id"]])
    assert len(refusals(stack, "EntityNotFoundException")) == 1
    assert len(refusals(stack, "ConcurrentRunsExceededException")) == 1


def test_an_update_takes_the_schedule_away_and_brings_another(stack: Stack) -> None:
    scheduler = stack.client("scheduler")
    stack.update(EtlSchedule="0")
    with pytest.raises(ClientError, match="ResourceNotFound"):
        scheduler.get_schedule(Name=SCHEDULE)
    assert "SchedulerRole" not in stack.resources()
    stack.update(EtlSchedule="60")
    assert scheduler.get_schedule(Name=SCHEDULE)["ScheduleExpression"] == "rate(60 minutes)"
