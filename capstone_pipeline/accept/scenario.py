"""What is done to a pipeline in an acceptance, step by step, and what is seen of it. Judges nothing.

Each step is done when it is first asked for, once; what it saw is kept. Which promise wants which of it is in
`promises`, and in what order.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

import pyarrow.parquet as pq
from botocore.exceptions import ClientError

from capstone_pipeline import job, report
from capstone_pipeline.accept import deliveries
from capstone_pipeline.accept.site import ROOT, Site, put_up
from capstone_pipeline.answers import ask, partition_filter, read_queries, run_query
from capstone_pipeline.errors import PipelineError, QueryFailed, error_code, own_errors
from capstone_pipeline.stack import StackOutputs

GOLD = ("conversion_funnel", "hourly_revenue", "top_products", "category_performance", "user_activity")
NOTE = "_pending/run.json"
"""Stands in the lake from a run's first change to its last."""
_LOOK_SECONDS, _LOG_SECONDS, _NOTE_SECONDS = 0.5, 90, 600

Listing = dict[str, tuple[str, str]]
"""Key -> ETag and time of the last writing."""


class StepFailed(PipelineError):
    """A step could not be done."""


class StepMissing(Exception):
    """A step that failed before: what depends on it cannot be seen."""


@dataclass(frozen=True)
class Run:
    """A run of the job: what Glue says of it, what it printed, S3's requests by kind where counted."""

    status: dict[str, Any]
    lines: list[str]
    requests: dict[str, int] | None = None

    @property
    def id(self) -> str:
        return str(self.status["Id"])

    @property
    def state(self) -> str:
        return str(self.status["JobRunState"])

    @property
    def summary(self) -> dict[str, dict[str, Any]]:
        """The counters of each layer."""
        return job.parse_summary(self.lines)

    @property
    def files(self) -> int | None:
        """How many raw objects it took in; None where its log does not say."""
        return self.summary.get("bronze", {}).get("files")

    @property
    def has_told_all(self) -> bool:
        """Whether its log has all layers that it came to; one without new objects comes to bronze only."""
        return job.is_complete(self.summary)

    @property
    def reader_failure(self) -> str:
        """What it said of Glue's own reader, if that failed."""
        starts = [at for at, line in enumerate(self.lines) if line.startswith("Glue's reader failed")]
        return " ".join(self.lines[starts[0] : starts[0] + 3]) if starts else ""

    @property
    def seconds(self) -> int:
        """That Glue bills, before any minimum."""
        return int(self.status.get("ExecutionTime", 0))

    @property
    def dpu_seconds(self) -> float:
        """What Glue counts under auto scaling, else its capacity all the time (API reference, JobRun)."""
        counted = self.status.get("DPUSeconds")
        return float(counted if counted is not None else self.seconds * self.status.get("MaxCapacity", 0))


@dataclass(frozen=True)
class Answers:
    """The rows of each query, by its number, and the bytes that Athena scanned for it."""

    rows: deliveries.Answers
    scanned: dict[int, int]


@dataclass
class Watch:
    """What a reader of gold saw, table by table: (ETags, rows) of each look; and its looks that failed."""

    seen: dict[str, list[tuple[tuple[str, ...], int]]] = field(default_factory=lambda: {t: [] for t in GOLD})
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Idle:
    """A run with nothing new: the lake before and after; and what Glue said to a second start beside it."""

    run: Run
    before: Listing
    after: Listing
    second_start: str


@dataclass(frozen=True)
class Watched:
    """A run of the second delivery, with a reader beside it, and the gold objects before and after."""

    run: Run
    watch: Watch
    before: dict[str, tuple[str, ...]]
    after: dict[str, tuple[str, ...]]
    answers: Answers


@dataclass(frozen=True)
class Stopped:
    """A run of the third delivery that was stopped, whether it was at work then, and the run after it."""

    stopped: Run
    was_at_work: bool
    repeated: Run
    answers: Answers


Step = TypeVar("Step")


class once(Generic[Step]):
    """A step as a property: done when it is first asked for. Raises StepMissing after it has failed."""

    def __init__(self, step: Callable[[Any], Step]) -> None:
        self._step, self._name = step, step.__name__

    def __get__(self, scenario: Scenario, owner: type) -> Step:
        if self._name in scenario.failed:
            raise StepMissing(f"{self._name.replace('_', ' ')} failed, see above")
        if self._name not in scenario.seen:
            scenario.failed.add(self._name)
            scenario.seen[self._name] = self._step(scenario)
            scenario.failed.remove(self._name)
        return scenario.seen[self._name]


class Scenario:
    """An acceptance as it goes on. Notebooks as they ran come into `folder`.

    A step that asserts another one is not done where that failed.
    """

    def __init__(self, site: Site, folder: Path) -> None:
        self.site, self.aws, self.say, self.folder = site, site.aws, site.say, folder
        self.runs: list[tuple[str, Run]] = []
        self.seen: dict[str, Any] = {}
        """What each step that has been done saw."""
        self.failed: set[str] = set()

    # --- Steps, in this order -------------------------------------------------------------------------------

    @once
    def deployed(self) -> tuple[StackOutputs, int, float]:
        """The stack, how many resources it has, seconds."""
        self.say(f"creating {self.site.stack_name}")
        began = time.monotonic()
        stack, resources = put_up(self.site)
        return stack, resources, time.monotonic() - began

    @property
    def stack(self) -> StackOutputs:
        return self.deployed[0]

    @once
    def first_delivery(self) -> Listing:
        """The raw bucket with the first delivery in it."""
        self.say(
            f"delivering {len(deliveries.FIRST)} raw objects, and {len(deliveries.IGNORED)} that are none"
        )
        self._deliver(deliveries.FIRST | deliveries.IGNORED)
        return self._listing(self.stack.source_bucket_name)

    @once
    def notebook_run(self) -> tuple[list[str], Run]:
        """What the notebook's cells said in a line each, and the run that it made."""
        assert self.first_delivery
        said = self._execute(ROOT / "build_pipeline.ipynb")
        with own_errors(f"reading the runs of job {self.stack.glue_job_name}"):
            (status,) = self.aws.client("glue").get_job_runs(JobName=self.stack.glue_job_name)["JobRuns"]
        return said, self._kept("the notebook's run", status)

    @once
    def first_answers(self) -> Answers:
        """The five answers after it."""
        assert self.notebook_run
        return self._ask_five()

    @once
    def idle_run(self) -> Idle:
        """A run with nothing new, and a second start while it goes on."""
        assert self.notebook_run
        before, requests = self._lake(), self._requests()
        run_id = self._start("nothing new")
        try:
            self._start_job()
            refusal = ""
        except ClientError as error:
            refusal = error_code(error)
        run = self._wait("a run with nothing new", run_id, requests)
        return Idle(run, before, self._lake(), refusal)

    @once
    def reset_run(self) -> tuple[Run, Answers]:
        """A run after the bookmark was reset, and the answers then."""
        assert self.notebook_run
        with own_errors(f"resetting the bookmark of job {self.stack.glue_job_name}"):
            self.aws.client("glue").reset_job_bookmark(JobName=self.stack.glue_job_name)
        return self._run("the run after a reset bookmark", "everything again"), self._ask_five()

    @once
    def watched_run(self) -> Watched:
        """The second delivery, taken in while somebody reads gold."""
        assert self.notebook_run
        self._deliver(deliveries.SECOND)
        before = {table: self._gold(table)[0] for table in GOLD}
        with self._watching() as watch:
            # The reader's requests are not told apart from the run's.
            run = self._wait(
                "the second delivery", self._start("bad bytes, a correction, a copy, late events")
            )
        after = {table: self._gold(table)[0] for table in GOLD}
        return Watched(run, watch, before, after, self._ask_five())

    @once
    def second_lines(self) -> tuple[dict[str, tuple[int, int]], dict[str, int]]:
        """What bronze holds then: accepted and rejected lines by key, lines by the reason of rejection."""
        assert self.watched_run
        database = self.stack.bronze_database_name
        days = (date(2025, 11, 18), date(2025, 11, 19))
        accepted = (
            f"SELECT source_file, count(*) AS line_count FROM {database}.events "
            f"WHERE {partition_filter(days, injected=True)} AND hour IN (0, 14) GROUP BY source_file"
        )
        rejected = (
            f"SELECT source_file, reason, count(*) AS line_count FROM {database}.events_rejected "
            f"WHERE {partition_filter(days)} GROUP BY source_file, reason"
        )
        counts: dict[str, list[int]] = {}
        reasons = Counter[str]()
        bucket = f"s3://{self.stack.source_bucket_name}/"
        for row in ask(self.aws, self.stack, accepted, "accepted lines").itertuples():
            counts.setdefault(row.source_file.removeprefix(bucket), [0, 0])[0] += int(row.line_count)
        for row in ask(self.aws, self.stack, rejected, "rejected lines").itertuples():
            counts.setdefault(row.source_file.removeprefix(bucket), [0, 0])[1] += int(row.line_count)
            reasons[row.reason] += int(row.line_count)
        return {key: (one, other) for key, (one, other) in counts.items()}, dict(reasons)

    @once
    def stopped_run(self) -> Stopped:
        """The third delivery; its run is stopped as soon as it is at work, and another one started."""
        assert self.watched_run
        self._deliver(deliveries.THIRD)
        run_id = self._start("an object delivered again, to be stopped")
        deadline = time.monotonic() + _NOTE_SECONDS
        while not self._is_at_work() and self._status(run_id)["JobRunState"] in job.ACTIVE_STATES:
            if time.monotonic() > deadline:
                raise StepFailed(f"Run {run_id} did not begin to work.", "look into its log.")
            time.sleep(0.05)
        with own_errors(f"stopping run {run_id}"):
            self.aws.client("glue").batch_stop_job_run(JobName=self.stack.glue_job_name, JobRunIds=[run_id])
        stopped = self._wait("the stopped run", run_id)
        was_at_work = stopped.state == "STOPPED" and self._is_at_work()
        repeated = self._run("the run after it", "the stopped run's work")
        return Stopped(stopped, was_at_work, repeated, self._ask_five())

    @once
    def generated(self) -> tuple[dict[str, Any], Run]:
        """What the generator answered to an invocation, and the run that took its object in."""
        assert self.notebook_run
        name = self.stack.generator_function_name
        self.say(f"invoking {name}")
        with own_errors(f"invoking {name}"):
            answer = self.aws.client("lambda").invoke(FunctionName=name)
            told = json.loads(answer["Payload"].read())
        if "FunctionError" in answer:
            raise StepFailed(f"{name} failed: {told}", "look into its log.")
        return told, self._run("one ordinary object", "the generator's object")

    @once
    def validated(self) -> list[str]:
        """What the validation said at its end."""
        return self._execute(ROOT / "notebooks" / "validate_results.ipynb")

    @once
    def careless_query(self) -> str:
        """Why Athena refused a query on bronze that names a month only; empty where it answered.

        Should it answer, it has listed 44,640 minutes, for some 20 cents.
        """
        sql = (
            f"SELECT count(*) AS line_count FROM {self.stack.bronze_database_name}.events "
            "WHERE year = '2025' AND month = '11'"
        )
        try:
            ask(self.aws, self.stack, sql, "a careless question")
        except QueryFailed as error:
            return error.what
        return ""

    @once
    def raw_at_last(self) -> Listing:
        """The raw bucket after all runs."""
        return self._listing(self.stack.source_bucket_name)

    # --- Runs -----------------------------------------------------------------------------------------------

    def _start_job(self) -> str:
        """Past `start_job_run`, which would attach to a run that is active."""
        with self.site.interrupts.held():
            started = self.aws.client("glue").start_job_run(JobName=self.site.job_name)
        return str(started["JobRunId"])

    def _start(self, what: str) -> str:
        self.say(f"running the job: {what}")
        with own_errors(f"starting job {self.site.job_name}"):
            return self._start_job()

    def _run(self, name: str, what: str) -> Run:
        """A run from its start to its end, with its requests."""
        requests = self._requests()
        return self._wait(name, self._start(what), requests)

    def _wait(self, name: str, run_id: str, requests: dict[str, int] | None = None) -> Run:
        """A run that was started; with its requests, if those before it are given."""
        while (status := self._status(run_id))["JobRunState"] in job.ACTIVE_STATES:
            time.sleep(_LOOK_SECONDS)
        return self._kept(name, status, self._requests_since(requests))

    def _kept(self, name: str, status: dict[str, Any], requests: dict[str, int] | None = None) -> Run:
        run = Run(status, self._log(status), requests)
        self.runs.append((name, run))
        return run

    def _status(self, run_id: str) -> dict[str, Any]:
        with own_errors(f"waiting for run {run_id}"):
            answer = self.aws.client("glue").get_job_run(JobName=self.site.job_name, RunId=run_id)
        return dict(answer["JobRun"])

    def _log(self, status: dict[str, Any]) -> list[str]:
        """What a run printed; of one that succeeded all of it, for which CloudWatch may take a while."""
        log = job.RunLog(self.aws, self.stack, status["Id"])
        if status["JobRunState"] == "SUCCEEDED":
            log.complete_summary(_LOG_SECONDS)
        return log.lines()

    def _is_at_work(self) -> bool:
        with own_errors(f"looking for {NOTE}"):
            listed = self.aws.client("s3").list_objects_v2(
                Bucket=self.stack.analytics_bucket_name, Prefix=NOTE
            )
        return bool(listed["KeyCount"])

    # --- S3 -------------------------------------------------------------------------------------------------

    def _deliver(self, objects: dict[str, bytes]) -> None:
        s3, bucket = self.aws.client("s3"), self.stack.source_bucket_name
        for key, content in objects.items():
            with own_errors(f"uploading {key} to {bucket}"):
                s3.put_object(Bucket=bucket, Key=key, Body=content)

    def _lake(self) -> Listing:
        """Everything in the tables."""
        bucket = self.stack.analytics_bucket_name
        return {
            key: value
            for layer in ("bronze/", "silver/", "gold/")
            for key, value in self._listing(bucket, layer).items()
        }

    def _listing(self, bucket: str, prefix: str = "") -> Listing:
        with own_errors(f"listing s3://{bucket}/{prefix}"):
            pages = (
                self.aws.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            )
            return {
                one["Key"]: (one["ETag"], one["LastModified"].isoformat())
                for page in pages
                for one in page.get("Contents", [])
            }

    def _gold(self, table: str) -> tuple[tuple[str, ...], int]:
        """The ETags of a gold table's objects and its rows, as a reader finds them: listed, then read."""
        bucket, rows, etags = self.stack.analytics_bucket_name, 0, []
        for key in self._listing(bucket, f"gold/{table}/"):
            got = self.aws.client("s3").get_object(Bucket=bucket, Key=key)
            etags.append(got["ETag"])
            rows += pq.read_metadata(BytesIO(got["Body"].read())).num_rows
        return tuple(etags), rows

    @contextmanager
    def _watching(self) -> Iterator[Watch]:
        """Read all gold tables again and again, beside what the block does."""
        watch, is_over = Watch(), threading.Event()

        def look() -> None:
            while not is_over.is_set():
                for table in GOLD:
                    try:
                        watch.seen[table].append(self._gold(table))
                    except Exception as error:  # Whatever it is, a reader did not get an answer.
                        watch.failures.append(f"{table}: {error}")

        reader = threading.Thread(target=look, daemon=True)
        reader.start()
        try:
            yield watch
        finally:
            is_over.set()
            reader.join()

    def _requests(self) -> dict[str, int] | None:
        """S3's requests by kind so far, in this stack's buckets, where the endpoint counts them."""
        if not self.aws.endpoint_url:
            return None
        connection = http.client.HTTPConnection(urlsplit(self.aws.endpoint_url).netloc, timeout=10)
        try:
            connection.request("GET", "/_local_aws/requests")
            answer = connection.getresponse()
            folders = json.loads(answer.read()) if answer.status == 200 else None
        except (OSError, ValueError):
            folders = None
        finally:
            connection.close()
        if folders is None:
            return None
        total = Counter[str]()
        for folder, kinds in folders.items():
            if folder.split("/")[0] in self.site.buckets:
                total.update(kinds)
        return dict(total)

    def _requests_since(self, before: dict[str, int] | None) -> dict[str, int] | None:
        now = self._requests()
        if before is None or now is None:
            return None
        kinds = {kind: number - before.get(kind, 0) for kind, number in now.items()}
        return {kind: number for kind, number in kinds.items() if number and kind.isupper()}

    # --- Athena and notebooks -------------------------------------------------------------------------------

    def _ask_five(self) -> Answers:
        rows, scanned = {}, {}
        for query in read_queries(ROOT / "queries.sql"):
            answer = run_query(self.aws, self.stack, query)
            rows[query.number] = [
                tuple(None if value is None or value != value else value for value in row)
                for row in answer.frame.astype(object).itertuples(index=False, name=None)
            ]
            scanned[query.number] = answer.scanned_bytes
        return Answers(rows, scanned)

    def _execute(self, notebook: Path) -> list[str]:
        """Run and render a notebook in a process of its own: what its headline cells said, a line each."""
        self.say(f"running {notebook.name}")
        command = [sys.executable, "-m", "capstone_pipeline", "report", "--notebook", str(notebook)]
        command += ["--student-id", self.site.student_id, "--region", self.aws.region]
        command += ["--output-dir", str(self.folder.resolve())]
        with self.site.interrupts.held():  # Ctrl-C in a terminal goes to a session's foreground processes.
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )
            self.site.children.append(process)
        _, complaint = process.communicate()
        self.site.children.clear()
        if process.returncode:
            raise StepFailed(f"{notebook.name} failed:\n{complaint.strip()}", "see what it says.")
        return report.headlines(self.folder / notebook.name)
