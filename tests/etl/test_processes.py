"""The script as a job of the embedded AWS: on two worker processes, killed, stopped, and started twice."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from botocore.exceptions import ClientError

from glue_scripts import capstone_etl as etl
from local_aws.server import LocalAws
from local_aws.testing import FINAL_STATES, GlueBench, spark_jvms
from tests import oracle
from tests.etl.events import SEARCH, VIEW, line, packed, uri
from tests.etl.workbench import assert_lake_holds
from tests.sample import AS_USUAL, conf

JOB = "capstone-etl"
KILLS = 1 if "ETL_EXAMPLES" not in os.environ else 20
LONGEST_MOMENT_SECONDS = 6
EXIT_TIMEOUT_SECONDS = 20
FIRST = {
    "2025-11-18T14:25": packed(line(), line(), line(VIEW), line(user_id="u_2"), b"broken"),
    "2025-11-18T14:30": packed(line(SEARCH, timestamp="2025-11-17T23:59:59.999999Z"), line(user_id="u_3")),
}
# A correction, a repetition and a late event.
SECOND = {"2025-11-18T14:35": packed(line(user_id="u_3", quantity=5), line(), line(VIEW, user_id="u_9"))}


class Shop(GlueBench):
    """The job under its real script, in buckets of its own."""

    def __init__(self, aws: LocalAws, name: str) -> None:
        super().__init__(aws, name)
        self.aws, self.job, self.objects = aws, f"{JOB}-{name}", dict[str, bytes]()
        self.create_job(
            self.job,
            Path(etl.__file__).read_text(),
            {"--ANALYTICS_BUCKET": self.target, "--job-bookmark-option": "job-bookmark-enable"},
        )

    def deliver(self, arrivals: Mapping[str, bytes]) -> None:
        for arrival, data in arrivals.items():
            source_file = uri(arrival).replace("s3://raw/", f"s3://{self.source}/")
            self.objects[source_file] = data
            self.s3.put_object(Bucket=self.source, Key=source_file.split("/", 3)[3], Body=data)

    def run_for_a_moment(self, least_seconds: float) -> str:
        """Start the job on the first objects, in a cold JVM: its run, at any moment from then on."""
        self.deliver(FIRST)
        end_idle_jvms(self.aws)
        run_id = self.start(self.job)
        self.wait(self.job, run_id, "RUNNING")
        moment = random.uniform(least_seconds, LONGEST_MOMENT_SECONDS)
        print(f"{moment:.2f} s after RUNNING")
        time.sleep(moment)
        return run_id

    def succeed_on_two_workers(self) -> None:
        """A run on two worker processes, its plans compiled and adapted as on Glue."""
        settings = AS_USUAL | {"spark.master": "local-cluster[2,1,1024]"}
        run_id, workers = self.start(self.job, conf=conf(settings)), 0
        while (run := self.get(self.job, run_id))["JobRunState"] not in FINAL_STATES:
            workers = max(workers, len(executors(self.aws)))
            time.sleep(0.5)
        assert run["JobRunState"] == "SUCCEEDED", run
        assert workers == 2

    def starts_at_once(self, count: int) -> list[str]:
        """What each of so many starts in one moment was answered with: its run, or the error's code."""

        def start(_: int) -> str:
            try:
                return self.start(self.job)
            except ClientError as error:
                return str(error.response["Error"]["Code"])

        with ThreadPoolExecutor() as starts:
            return list(starts.map(start, range(count)))

    def assert_tables_are_right(self) -> None:
        expected = oracle.expected_tables(self.objects)
        lake = {key: self.read(self.target, key) for key in self.keys(self.target)}
        assert_lake_holds(lake, expected)


def executors(aws: LocalAws) -> list[psutil.Process]:
    """The worker processes of the server's runs, without theirs: a fork of one looks like it for a moment."""
    found = []
    for process in (child for jvm in spark_jvms(aws) for child in jvm.children()):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "org.apache.spark.executor.CoarseGrainedExecutorBackend" in process.cmdline():
                found.append(process)
    return found


def processes_of_runs(aws: LocalAws) -> list[psutil.Process]:
    """The drivers, JVMs and workers of a server's runs, by where they work: their parent may have ended."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if Path(process.cwd()).is_relative_to(aws.state_dir.resolve() / "glue"):
                found.append(process)
    return found


def end_idle_jvms(aws: LocalAws) -> None:
    """Have the next run begin in a cold JVM, where it lasts longer than the longest of our moments.

    A JVM that is dying still counts as alive for its server, and might be handed out.
    """
    idle = spark_jvms(aws)
    for jvm in idle:
        jvm.kill()
    deadline = time.monotonic() + EXIT_TIMEOUT_SECONDS
    while not all(map(has_ended, idle)):
        assert time.monotonic() < deadline, f"{idle} live on after {EXIT_TIMEOUT_SECONDS} s"
        time.sleep(0.02)


def has_ended(process: psutil.Process) -> bool:
    """Whether its parent could reap it, or has: of a zombie, other threads may still be dying."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("number", range(KILLS))
def test_a_job_whose_jvm_is_killed_at_any_moment_is_made_good_by_a_run_on_two_worker_processes(
    aws: LocalAws, number: int
) -> None:
    shop = Shop(aws, f"killed-{number}")
    run_id = shop.run_for_a_moment(least_seconds=0.5)
    (jvm,) = spark_jvms(aws)
    jvm.kill()
    run = shop.wait(shop.job, run_id)
    assert run["JobRunState"] == "FAILED" and "SIGKILL" in run["ErrorMessage"], run
    shop.deliver(SECOND)
    shop.succeed_on_two_workers()
    shop.assert_tables_are_right()


def test_a_job_stopped_at_any_moment_leaves_no_process_and_is_made_good_by_one_of_two_started_at_once(
    aws: LocalAws,
) -> None:
    shop = Shop(aws, "stopped")
    run_id = shop.run_for_a_moment(least_seconds=0)
    begun = {process.name() for process in processes_of_runs(aws)}
    assert any("java" in name for name in begun) and any("python" in name for name in begun), begun
    answer = shop.glue.batch_stop_job_run(JobName=shop.job, JobRunIds=[run_id])
    assert [one["JobRunId"] for one in answer["SuccessfulSubmissions"]] == [run_id] and not answer["Errors"]
    run = shop.wait(shop.job, run_id)
    assert run["JobRunState"] == "STOPPED", run
    assert processes_of_runs(aws) == []
    shop.deliver(SECOND)
    answers = shop.starts_at_once(2)
    assert answers.count("ConcurrentRunsExceededException") == 1, answers
    next_run, _ = shop.glue.get_job_runs(JobName=shop.job)["JobRuns"]
    assert next_run["Id"] in answers
    assert shop.wait(shop.job, next_run["Id"])["JobRunState"] == "SUCCEEDED"
    shop.assert_tables_are_right()
