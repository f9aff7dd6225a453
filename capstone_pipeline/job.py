"""The Glue job: its script in S3, its definition, its runs.

Everything here may be repeated at any time: what is as it should be stays untouched and is reported as
"unchanged". What the job does is in `glue_scripts/capstone_etl.py`.
"""

from __future__ import annotations

import hashlib
import html
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from IPython.display import display

from capstone_pipeline.errors import (
    InvalidSetting,
    JobNotFound,
    JobRunFailed,
    JobRunTimedOut,
    NotRunYet,
    error_code,
    own_errors,
)
from capstone_pipeline.render import (
    Progress,
    Shown,
    age,
    badge,
    duration,
    facts_table,
    plural,
    status_table,
    text_line,
    when,
)
from capstone_pipeline.stack import Connection, StackOutputs

GLUE_VERSION = "5.1"
WORKER_TYPE = "G.1X"
WORKERS = 3
"""The driver's and two more: a run over one or two new files has no use for others."""
TIMEOUT_MINUTES = 60
RUN_STEPS = ("bronze", "silver", "gold")
"""What a run goes through, as its summary lines name it."""
ACTIVE_STATES = {"STARTING", "RUNNING", "STOPPING", "WAITING"}

_SUMMARY_START = '{"layer": '
_LOG_DELAY_SECONDS = 30
_CONTENT_TYPES = {".py": "text/x-python", ".sql": "text/plain"}


# --- Files of the job ---------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Upload(Shown):
    """What became of one file: status is "uploaded" or "unchanged"."""

    status: str
    path: Path
    uri: str

    def __str__(self) -> str:
        return f"{self.path}: {self.status}, {self.uri}"


@dataclass(frozen=True, repr=False)
class Uploads(Shown):
    """Several uploads, to be shown together."""

    uploads: tuple[Upload, ...]

    def __iter__(self) -> Iterator[Upload]:
        return iter(self.uploads)

    def __str__(self) -> str:
        return "\n".join(str(upload) for upload in self.uploads)

    def _repr_html_(self) -> str:
        return status_table((upload.status, str(upload.path), upload.uri) for upload in self.uploads)


def upload_if_changed(aws: Connection, path: Path | str, uri: str) -> Upload:
    """Put a file into S3 unless the object already has its content.

    The content's SHA-256 is kept in the object's metadata, so that nothing has to be downloaded to compare.

    Parameters
    ----------
    path
        The local file.
    uri
        The object, as "s3://bucket/key".
    """
    path = Path(path)
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    with own_errors(f"uploading {path} to {uri}"):
        s3 = aws.client("s3")
        try:
            existing = s3.head_object(Bucket=bucket, Key=key)["Metadata"].get("sha256")
        except ClientError as error:
            if error_code(error) not in {"404", "NoSuchKey", "NotFound"}:
                raise
            existing = None
        if existing == digest:
            return Upload("unchanged", path, uri)
        s3.put_object(
            Bucket=bucket,
            Key=key,
            Body=content,
            Metadata={"sha256": digest},
            ContentType=_CONTENT_TYPES.get(path.suffix, "application/octet-stream"),
        )
    return Upload("uploaded", path, uri)


def upload_files(aws: Connection, targets: dict[str, str], folder: Path) -> Uploads:
    """`upload_if_changed` for each path below the folder and its URI."""
    uploads = (upload_if_changed(aws, folder / path, uri) for path, uri in targets.items())
    return Uploads(
        tuple(replace(upload, path=Path(path)) for path, upload in zip(targets, uploads, strict=True))
    )


# --- Definition of the job ----------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class JobChange(Shown):
    """What became of the job's definition.

    status is "created", "updated" or "unchanged"; changes holds (setting, old, new) for an update, with "–"
    for what was or is now absent; settings is the definition as it now stands.
    """

    status: str
    job_name: str
    settings: dict[str, str]
    changes: tuple[tuple[str, str, str], ...] = ()

    def __str__(self) -> str:
        changes = "".join(f"\n  {name}: {old} → {new}" for name, old, new in self.changes)
        return f"Glue job {self.job_name}: {self.status}{changes}"

    def _repr_html_(self) -> str:
        line = f"{badge(self.status)} &ensp;Glue job <b>{html.escape(self.job_name)}</b>"
        if self.changes:
            changed = facts_table((name, f"{old} → {new}") for name, old, new in self.changes)
            return text_line(line) + changed
        return text_line(line) + facts_table(self.settings.items())


def job_definition(
    stack: StackOutputs, max_rejected_percent: float | None = None, workers: int = WORKERS
) -> dict[str, Any]:
    """The job as Glue's CreateJob takes it, without its name.

    Auto scaling takes as many workers as a run can use, up to `workers`; one run at a time, because two
    runs would read the same new files; a bookmark, so that a run reads only files that no run has read. No
    job metrics (`--enable-metrics`): nothing here reads them, and CloudWatch may bill them as custom ones.

    Parameters
    ----------
    workers
        At most so many, the driver's among them; Glue asks for two at least.
    max_rejected_percent
        A run fails when more than this share of its lines is rejected: they are in quarantine by then, and
        nothing is committed. None: no run fails for that.

    Raises
    ------
    InvalidSetting
        When that is not a percentage, or there are fewer than two workers.
    """
    if workers < 2:
        raise InvalidSetting(
            f"workers is {workers}, but Glue needs one for the driver and one for the work.",
            "give 2 or more; 3 are enough for a run every five minutes.",
        )
    if max_rejected_percent is not None and not 0 <= max_rejected_percent <= 100:
        raise InvalidSetting(
            f"max_rejected_percent is {max_rejected_percent}, which is no percentage.",
            "give a number from 0 to 100, or None to let no run fail for its rejected lines.",
        )
    threshold = (
        {} if max_rejected_percent is None else {"--MAX_REJECTED_PERCENT": f"{max_rejected_percent:g}"}
    )
    return {
        "Description": "Raw events to bronze, silver and gold tables, incrementally",
        "Role": stack.glue_role_arn,
        "Command": {"Name": "glueetl", "ScriptLocation": stack.script_location, "PythonVersion": "3"},
        "GlueVersion": GLUE_VERSION,
        "WorkerType": WORKER_TYPE,
        "NumberOfWorkers": workers,
        "Timeout": TIMEOUT_MINUTES,
        "MaxRetries": 0,
        "ExecutionProperty": {"MaxConcurrentRuns": 1},
        "DefaultArguments": {
            "--job-language": "python",
            "--job-bookmark-option": "job-bookmark-enable",
            "--enable-auto-scaling": "true",
            "--custom-logGroup-prefix": stack.job_log_group_prefix,
            "--SOURCE_BUCKET": stack.source_bucket_name,
            "--ANALYTICS_BUCKET": stack.analytics_bucket_name,
            **threshold,
        },
    }


def create_or_update_job(
    aws: Connection,
    stack: StackOutputs,
    max_rejected_percent: float | None = None,
    workers: int = WORKERS,
) -> JobChange:
    """Make the Glue job what `job_definition` says, and tell what had to be done for it.

    The definition belongs to the pipeline as a whole: an argument that somebody added by hand is taken away
    again, and the change is reported. The other parameters are those of `job_definition`.
    """
    name, wanted = stack.glue_job_name, job_definition(stack, max_rejected_percent, workers)
    settings = _flat(wanted)
    with own_errors(f"creating or updating job {name}"):
        glue = aws.client("glue")
        try:
            existing = glue.get_job(JobName=name)["Job"]
        except glue.exceptions.EntityNotFoundException:
            glue.create_job(Name=name, **wanted)
            return JobChange("created", name, settings)
        current = _flat({key: existing[key] for key in wanted if key in existing})
        if current == settings:
            return JobChange("unchanged", name, settings)
        glue.update_job(JobName=name, JobUpdate=wanted)
    keys = [*settings, *(key for key in current if key not in settings)]
    changes = tuple(
        (key, current.get(key, "–"), settings.get(key, "–"))
        for key in keys
        if current.get(key) != settings.get(key)
    )
    return JobChange("updated", name, settings, changes)


def _flat(definition: dict[str, Any]) -> dict[str, str]:
    """The definition as one level of names and texts; an argument (`--NAME`) goes by its own name."""
    flat: dict[str, str] = {}
    for key, value in definition.items():
        if isinstance(value, dict):
            flat.update(
                {inner if inner.startswith("--") else f"{key} {inner}": str(value[inner]) for inner in value}
            )
        else:
            flat[key] = str(value)
    return flat


# --- Runs ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class JobRun(Shown):
    """A run that was started, or (attached) was found to be active already."""

    run_id: str
    attached: bool = False

    def __str__(self) -> str:
        return (
            f"Run {self.run_id} {'was active already, no other was started' if self.attached else 'started'}."
        )


@dataclass(frozen=True, repr=False)
class RunResult(Shown):
    """A run that succeeded, with the counters that the script printed for each step that it came to."""

    run_id: str
    started: datetime
    seconds: float
    summary: dict[str, dict[str, Any]]
    log_location: str

    @property
    def new_files(self) -> int | None:
        """How many raw files the run took in; None when its log does not say."""
        return self.summary.get("bronze", {}).get("files")

    @property
    def headline(self) -> str:
        """What the run did, in one sentence."""
        if self.new_files is None:
            return f"The log of this run holds no summary yet; look into {self.log_location}."
        if self.new_files == 0 and "gold" in self.summary:
            return "0 new files; what the tables lacked was computed."
        if self.new_files == 0:
            return "0 new files: nothing to do, every table is as the run before left it."
        return f"{plural(self.new_files, 'new file')} taken in, in {duration(self.seconds)}."

    def __str__(self) -> str:
        return "\n".join([self.headline, *(f"  {name}: {text}" for name, text in self._facts())])

    def _repr_html_(self) -> str:
        return text_line(f"<b>{html.escape(self.headline)}</b>") + facts_table(self._facts())

    def _facts(self) -> list[tuple[str, str]]:
        layers = [
            (layer, ", ".join(_counter(name, value) for name, value in counters.items() if value is not None))
            for layer, counters in self.summary.items()
        ]
        return [*layers, ("run", f"{self.run_id}, started {when(self.started)}")]


def start_job_run(aws: Connection, stack: StackOutputs) -> JobRun:
    """Start a run; where one is active already, return that one instead (the job allows one at a time).

    Raises
    ------
    JobNotFound
    """
    name = stack.glue_job_name
    with own_errors(f"starting a run of job {name}"):
        glue = aws.client("glue")
        try:
            active = _active_run(glue, name)
            if active:
                return JobRun(active, attached=True)
            return JobRun(glue.start_job_run(JobName=name)["JobRunId"])
        except glue.exceptions.ConcurrentRunsExceededException:
            active = _active_run(glue, name)
            if active:
                return JobRun(active, attached=True)
            raise
        except glue.exceptions.EntityNotFoundException as error:
            raise JobNotFound(
                f"There is no Glue job {name} in {aws.region}.",
                "run the cell that creates it, then this one.",
            ) from error


def wait_for_job_run(
    aws: Connection,
    stack: StackOutputs,
    run: JobRun,
    timeout_minutes: float = TIMEOUT_MINUTES,
    poll_seconds: float = 5.0,
    show: Callable[[Progress], None] | None = None,
) -> RunResult:
    """Wait until a run has ended, showing its state, the elapsed time and the step it is at.

    Parameters
    ----------
    timeout_minutes
        How long to wait at most. The run itself goes on when this is over.
    poll_seconds
        How often to ask; at first more often, so that the end of a short run is seen soon.
    show
        Takes each step; by default one output of the notebook cell, updated in place.

    Raises
    ------
    JobRunFailed
        With the script's own reason and the place of its log.
    JobRunTimedOut
    """
    show = show or _cell_output()
    glue, log = aws.client("glue"), RunLog(aws, stack, run.run_id)
    began = time.monotonic()
    deadline = began + timeout_minutes * 60
    while True:
        with own_errors(f"waiting for run {run.run_id} of job {stack.glue_job_name}"):
            status = glue.get_job_run(JobName=stack.glue_job_name, RunId=run.run_id)["JobRun"]
        state, elapsed = status["JobRunState"], _elapsed_seconds(status)
        summary = log.summary()
        steps_done = sum(step in summary for step in RUN_STEPS)
        show(Progress(state, elapsed, RUN_STEPS, steps_done, str(run) if run.attached else ""))
        if state not in ACTIVE_STATES:
            break
        if time.monotonic() >= deadline:
            raise JobRunTimedOut(
                f"Run {run.run_id} of job {stack.glue_job_name} is still {state} after "
                f"{duration(timeout_minutes * 60)} of waiting; it goes on.",
                "raise wait_timeout_minutes, or run this cell again: it waits for the same run. To stop it:\n"
                + stop_command(stack.glue_job_name, run.run_id, aws.region),
            )
        time.sleep(min(poll_seconds, 0.5 + (time.monotonic() - began) / 10))
    if state != "SUCCEEDED":
        raise _run_failed(aws, stack, run, status)
    return RunResult(
        run_id=run.run_id,
        started=status["StartedOn"],
        seconds=elapsed,
        summary=log.complete_summary(_LOG_DELAY_SECONDS),
        log_location=f"log group {stack.output_log_group}, the streams that begin with {run.run_id}",
    )


def last_successful_run(aws: Connection, stack: StackOutputs) -> datetime:
    """When the newest successful run of the job started: what was written later, it may not have seen.

    Raises
    ------
    NotRunYet
    """
    with own_errors(f"reading the runs of job {stack.glue_job_name}"):
        glue = aws.client("glue")
        try:
            pages = glue.get_paginator("get_job_runs").paginate(JobName=stack.glue_job_name)
            runs = [run for page in pages for run in page["JobRuns"]]
        except glue.exceptions.EntityNotFoundException:
            runs = []
    started = [run["StartedOn"] for run in runs if run["JobRunState"] == "SUCCEEDED"]
    if not started:
        raise NotRunYet(
            f"No run of Glue job {stack.glue_job_name} has succeeded, so its tables hold nothing to look at.",
            "run build_pipeline.ipynb first (`make report`, or `make demo` on the embedded AWS).",
        )
    return max(started).astimezone(UTC)


def stop_command(job_name: str, run_id: str, region: str) -> str:
    """How to stop a run from a shell."""
    return f"  aws glue batch-stop-job-run --job-name {job_name} --job-run-ids {run_id} --region {region}"


def is_complete(summary: dict[str, dict[str, Any]]) -> bool:
    """Whether a summary has all steps that its run came to: one without new files comes to bronze only."""
    return RUN_STEPS[-1] in summary or summary.get("bronze", {}).get("files") == 0


def parse_summary(lines: list[str]) -> dict[str, dict[str, Any]]:
    """The counters of each step: the JSON lines that the script prints, among all lines of a run's log."""
    counters = [json.loads(line) for line in lines if line.startswith(_SUMMARY_START)]
    return {counter.pop("layer"): counter for counter in counters}


class RunLog:
    """What one run has printed so far.

    Its streams are found by how their names begin: Glue names them after the run, but not all just so.
    """

    def __init__(self, aws: Connection, stack: StackOutputs, run_id: str) -> None:
        self._logs = aws.client("logs")
        self._group, self._run_id = stack.output_log_group, run_id

    def lines(self, pattern: str = "") -> list[str]:
        """What CloudWatch's filter pattern lets through, else all; empty while there is no log."""
        with own_errors(f"reading log group {self._group}, the streams of {self._run_id}"):
            pages = self._logs.get_paginator("filter_log_events").paginate(
                logGroupName=self._group, logStreamNamePrefix=self._run_id, filterPattern=pattern
            )
            try:
                return [event["message"].rstrip("\n") for page in pages for event in page["events"]]
            except self._logs.exceptions.ResourceNotFoundException:
                return []

    def summary(self) -> dict[str, dict[str, Any]]:
        """The summary lines printed so far, parsed."""
        return parse_summary(self.lines('"layer"'))

    def complete_summary(self, patience_seconds: float) -> dict[str, dict[str, Any]]:
        """The summary of a run that has ended; CloudWatch may show its last lines a little later."""
        deadline = time.monotonic() + patience_seconds
        while True:
            summary = self.summary()
            if is_complete(summary) or time.monotonic() >= deadline:
                return summary
            time.sleep(1)


def _active_run(glue: Any, job_name: str) -> str | None:
    for page in glue.get_paginator("get_job_runs").paginate(JobName=job_name):
        for run in page["JobRuns"]:
            if run["JobRunState"] in ACTIVE_STATES:
                return str(run["Id"])
    return None


def _elapsed_seconds(run: dict[str, Any]) -> float:
    """From start to end; to now while the run is active."""
    end = run.get("CompletedOn") or datetime.now(UTC)
    return max(0.0, (end - run["StartedOn"]).total_seconds())


def _cell_output() -> Callable[[Progress], None]:
    """An output of the cell that each call replaces, so that a saved notebook keeps the last state only."""
    handle: Any = None

    def show(progress: Progress) -> None:
        nonlocal handle
        if handle is None:
            handle = display(progress, display_id=True)
        else:
            handle.update(progress)

    return show


def _run_failed(aws: Connection, stack: StackOutputs, run: JobRun, status: dict[str, Any]) -> JobRunFailed:
    reason = status.get("ErrorMessage") or "Glue gave no reason"
    return JobRunFailed(
        f"Run {run.run_id} of job {stack.glue_job_name} ended as {status['JobRunState']} after "
        f"{duration(_elapsed_seconds(status))}.\nReason: {reason}",
        "read what the script printed, correct the cause and run again; a failed run leaves its files to the "
        "next one.\n"
        f"  aws logs filter-log-events --log-group-name {stack.output_log_group} \\\n"
        f"    --log-stream-name-prefix {run.run_id} --region {aws.region} --query 'events[].message' "
        "--output text\n"
        f"Spark's own log is in {stack.error_log_group}, in streams of the same names.",
    )


def _counter(name: str, value: Any) -> str:
    """One counter of a step as words: "rows in: 60,000", "days: 2025-11-18", "took: 1.3 s"."""
    if name == "seconds":
        return f"took: {value:.1f} s"
    if name.endswith("_seconds") and isinstance(value, int):
        name, value = name.removesuffix("_seconds"), age(value)
    name = name.replace("_", " ")
    if isinstance(value, list):
        return f"{name}: {', '.join(str(item) for item in value) or 'none'}"
    return f"{name}: {value:,}" if isinstance(value, int) else f"{name}: {value}"
