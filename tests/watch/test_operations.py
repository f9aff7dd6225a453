"""WatchSeconds of the operations stack: a run that watches all day, and an alarm when it stands still.

A script that prints the lines of a watch stands for the job: this is about who starts it, and who hears it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from local_aws import LocalAws
from tests.infrastructure.stacks import Stack, create_operations, with_another_script

ID = "ops-watch-1"
JOB = f"capstone-etl-{ID}"
SCRIPT = b"""
import time
while True:
    print('{"layer": "watch", "rounds": 9, "idle_rounds": 9, "newest_event_age_seconds": 70}', flush=True)
    time.sleep(5)
"""
LONG_ENOUGH_SECONDS = 150


@pytest.fixture(scope="module")
def stack(aws: LocalAws) -> Iterator[Stack]:
    with with_another_script(aws, ID, SCRIPT) as stack:
        operations = create_operations(aws, ID, WatchSeconds="5")
        yield stack
        operations.delete()
        for run in runs(stack):
            stack.client("glue").batch_stop_job_run(JobName=JOB, JobRunIds=[run["Id"]])


def runs(stack: Stack) -> list[dict[str, Any]]:
    """The job's runs, newest first."""
    return stack.client("glue").get_job_runs(JobName=JOB)["JobRuns"]


def alarm(stack: Stack) -> str:
    """The state of the only alarm that WatchSeconds brings."""
    found = stack.client("cloudwatch").describe_alarms(AlarmNamePrefix=f"capstone-{ID}-")["MetricAlarms"]
    assert [one["AlarmName"] for one in found] == [f"capstone-{ID}-watch-stands-still"]
    return found[0]["StateValue"]


def wait_until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + LONG_ENOUGH_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(1)


@pytest.fixture(scope="module")
def states(stack: Stack) -> list[str]:
    """The alarm before the first run, and while one watches."""
    wait_until(lambda: alarm(stack) == "ALARM")
    before = alarm(stack)
    wait_until(lambda: runs(stack))
    wait_until(lambda: alarm(stack) == "OK")
    return [before, alarm(stack)]


def test_the_schedule_starts_a_run_that_watches_on_two_workers_for_less_than_a_day(
    stack: Stack, states: list[str]
) -> None:
    (run,) = runs(stack)
    asked = {"--WATCH_SECONDS": "5", "--WATCH_MINUTES": "1380"}
    assert asked.items() <= run["Arguments"].items()
    assert (run["WorkerType"], run["NumberOfWorkers"], run["Timeout"]) == ("G.1X", 2, 1440)


def test_the_alarm_sounds_until_a_round_is_completed(states: list[str]) -> None:
    assert states == ["ALARM", "OK"]


def test_the_age_of_the_newest_event_is_a_metric_of_a_watch_as_well(stack: Stack, states: list[str]) -> None:
    names = stack.client("cloudwatch").list_metrics(Namespace=f"Capstone/{ID}")["Metrics"]
    assert {"NewestEventAge", "RunsCompleted"} <= {metric["MetricName"] for metric in names}


def test_another_start_is_refused_and_a_run_that_was_killed_is_followed_by_another(
    stack: Stack, states: list[str]
) -> None:
    glue = stack.client("glue")
    with pytest.raises(glue.exceptions.ConcurrentRunsExceededException):
        glue.start_job_run(JobName=JOB)
    glue.batch_stop_job_run(JobName=JOB, JobRunIds=[runs(stack)[0]["Id"]])
    wait_until(lambda: len(runs(stack)) == 2)
    assert "--WATCH_SECONDS" in runs(stack)[0]["Arguments"]
