"""The Glue API's job actions, in place of MiniStack's, which reports Spark jobs as succeeded without a run.

`install` puts them, and those of `catalog`, into `ministack.services.glue` in this process. Everything else
of Glue stays MiniStack's.
"""

from __future__ import annotations

import http.client
import inspect
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from local_aws.glue.catalog import CatalogActions
from local_aws.glue.errors import ApiError
from local_aws.glue.logs import DEFAULT_PREFIX
from local_aws.glue.recording import start_recording
from local_aws.glue.runner import JobRunner, RunRequest
from local_aws.glue.runs import ACTIVE_STATES, JobKey, RunRecord, RunStore, TooManyRuns
from local_aws.runtime.awsglue.bookmarks import BookmarkNotFound, BookmarkStore

Answer = tuple[int, dict[str, str], bytes]
Action = Callable[[dict[str, Any]], Answer]

DEFAULT_TIMEOUT_MINUTES = 480
"""Glue 5's."""
SECONDS_PER_TIMEOUT_MINUTE = 60.0

_PAGE_SIZE = 200
_WORKER_UNITS = {"G.025X": 0.25, "G.1X": 1, "G.2X": 2, "G.4X": 4, "G.8X": 8, "Z.2X": 2}
"""Data processing units of a worker."""
_CALLED = (
    "_create_job",
    "_update_job",
    "_delete_job",
    "_get_table",
    "_get_tables",
    "_update_table",
    "_delete_table",
    "_batch_delete_table",
    "_get_partition",
    "_batch_get_partition",
    "_create_partition",
    "_batch_create_partition",
    "_delete_partition",
)
"""MiniStack's own actions that ours call."""
_REPLACED = ("_create_job", "_update_job", "_delete_job", "_start_job_run", "_get_job_run", "_get_job_runs")
_JOB_FIELDS = (
    "ExecutionProperty",
    "ExecutionClass",
    "JobMode",
    "JobRunQueuingEnabled",
    "LogUri",
    "MaintenanceWindow",
    "NotificationProperty",
)
"""Members of a job that MiniStack drops."""

logger = logging.getLogger("local_aws.glue")


class MiniStackChanged(Exception):
    """MiniStack no longer has the internals that we replace: an upgrade needs care here."""


def install() -> None:
    """Replace MiniStack's Glue job actions in this process, and end the runs that an earlier server left."""
    from ministack.services import glue
    from ministack.services.cloudformation import provisioners

    from local_aws.events import job_run_ended

    check_internals(glue, provisioners)
    folder = Path(os.environ["LOCAL_AWS_STATE_DIR"]) / "glue"
    endpoint_url = f"http://127.0.0.1:{os.environ['GATEWAY_PORT']}"
    runs = RunStore(folder / "runs.sqlite")
    runner = JobRunner(folder, runs, endpoint_url, job_run_ended)
    _JobActions(glue, runs, runner).install()
    # A template's ExecutionProperty reaches CreateJob, too.
    provisioners._GLUE_JOB_DEFAULTS["ExecutionProperty"] = {"MaxConcurrentRuns": 1}
    threading.Thread(
        target=_recover_when_serving,
        args=(runner, runs.active(), int(os.environ["GATEWAY_PORT"])),
        name="glue-recovery",
        daemon=True,
    ).start()
    start_recording()
    logger.info("Glue jobs run on Spark, state in %s", folder)


def check_internals(glue: Any, provisioners: Any) -> None:
    """Raise MiniStackChanged unless MiniStack's Glue looks as this module expects."""
    if "MaxRetries" not in getattr(provisioners, "_GLUE_JOB_DEFAULTS", {}):
        raise MiniStackChanged("CloudFormation no longer takes a Glue job's members from _GLUE_JOB_DEFAULTS")
    for name in {*_REPLACED, *_CALLED, "_batch_stop_job_run"}:
        function = getattr(glue, name, None)
        if function is None or list(inspect.signature(function).parameters) != ["data"]:
            raise MiniStackChanged(f"ministack.services.glue.{name}(data) is gone or has other parameters")
    dispatch = inspect.getsource(glue._handle_request_sync)
    for action in ("StartJobRun", "GetJobRun", "BatchStopJobRun"):
        if f'"{action}"' not in dispatch:
            raise MiniStackChanged(f"ministack.services.glue no longer dispatches {action} by name")
    for name in (
        "_ALL_STATE",
        "_jobs",
        "_partitions",
        "_tables",
        "reset",
        "json_response",
        "error_response_json",
        "get_account_id",
        "get_region",
    ):
        if not hasattr(glue, name):
            raise MiniStackChanged(f"ministack.services.glue.{name} is gone")


class _JobActions:
    """The actions, each with MiniStack's signature: request members in, HTTP answer out."""

    def __init__(self, glue: Any, runs: RunStore, runner: JobRunner) -> None:
        self._glue = glue
        self._runs = runs
        self._runner = runner
        self._original = {name: getattr(glue, name) for name in _CALLED}
        self._catalog = CatalogActions(glue, self._call_original)
        self._original_dispatch = glue._handle_request_sync
        self._original_reset = glue.reset

    def install(self) -> None:
        """Put the actions in the place of MiniStack's."""
        for name, action in (
            ("_create_job", self.create_job),
            ("_update_job", self.update_job),
            ("_delete_job", self.delete_job),
            ("_start_job_run", self.start_job_run),
            ("_get_job_run", self.get_job_run),
            ("_get_job_runs", self.get_job_runs),
            ("_batch_stop_job_run", self.batch_stop_job_run),
        ):
            setattr(self._glue, name, self._answering(action))
        for name, replacement in self._catalog.replacements().items():
            setattr(self._glue, name, self._answering(replacement))
        actions = {
            "GetJob": self.get_job,
            "GetJobs": self.get_jobs,
            "ListJobs": self.list_jobs,
            "BatchGetJobs": self.batch_get_jobs,
            "GetJobBookmark": self.get_job_bookmark,
            "ResetJobBookmark": self.reset_job_bookmark,
            **self._catalog.actions(),
        }
        added = {name: self._answering(act) for name, act in actions.items()}

        def dispatch(method: str, path: str, headers: dict[str, str], body: bytes, query: Any) -> Any:
            action = headers.get("x-amz-target", "").rpartition(".")[2]
            if action in added:
                return added[action](json.loads(body or b"{}"))
            return self._original_dispatch(method, path, headers, body, query)

        self._glue._handle_request_sync = dispatch
        self._glue.reset = self.reset

    def _answering(self, action: Callable[[dict[str, Any]], dict[str, Any]]) -> Action:
        """The action with its result, or its ApiError, turned into an HTTP answer."""

        def answer(data: dict[str, Any]) -> Answer:
            try:
                return self._glue.json_response(action(data))
            except ApiError as error:
                return self._glue.error_response_json(error.code, str(error), 400)

        return answer

    # Jobs

    def create_job(self, data: dict[str, Any]) -> dict[str, Any]:
        """CreateJob, keeping the members that MiniStack drops."""
        result = self._call_original("_create_job", data)
        self._keep_fields(data["Name"], data)
        return result

    def update_job(self, data: dict[str, Any]) -> dict[str, Any]:
        """UpdateJob: as in Glue, the definition is replaced, so a member left out takes its default."""
        name, update = data.get("JobName", ""), data.get("JobUpdate", {})
        before = self._job(name)
        del self._glue._jobs[name]
        try:
            self._call_original("_create_job", {**update, "Name": name})
        except ApiError:
            self._glue._jobs[name] = before
            raise
        self._glue._jobs[name]["CreatedOn"] = before["CreatedOn"]
        self._glue._jobs[name]["Tags"] = before.get("Tags", {})
        self._keep_fields(name, update)
        return {"JobName": name}

    def delete_job(self, data: dict[str, Any]) -> dict[str, Any]:
        """DeleteJob: its runs end, and are forgotten with its bookmark."""
        result = self._call_original("_delete_job", data)
        key = self._key(data["JobName"])
        for record in self._runs.active():
            if record.job == key:
                self._runner.stop(record.id)
        self._runs.delete(key)
        self._bookmarks().delete(key.name)
        return result

    def reset(self) -> None:
        """What /_ministack/reset asks for: no jobs, no runs, no bookmarks."""
        self._original_reset()
        self._catalog.reset()
        for record in self._runs.active():
            self._runner.stop(record.id)
        for account, region in self._runs.delete_all():
            self._runner.bookmarks_path(account, region).unlink(missing_ok=True)

    def get_job(self, data: dict[str, Any]) -> dict[str, Any]:
        """GetJob."""
        return {"Job": _shown_job(self._job(data.get("JobName")))}

    def get_jobs(self, data: dict[str, Any]) -> dict[str, Any]:
        """GetJobs."""
        return {"Jobs": [_shown_job(job) for _, job in sorted(self._glue._jobs.items())]}

    def list_jobs(self, data: dict[str, Any]) -> dict[str, Any]:
        """ListJobs: names, of the jobs that have all the given tags."""
        tags = (data.get("Tags") or {}).items()
        jobs = sorted(self._glue._jobs.items())
        return {"JobNames": [name for name, job in jobs if tags <= (job.get("Tags") or {}).items()]}

    def batch_get_jobs(self, data: dict[str, Any]) -> dict[str, Any]:
        """BatchGetJobs."""
        names, known = data.get("JobNames", []), self._glue._jobs
        return {
            "Jobs": [_shown_job(known[name]) for name in names if name in known],
            "JobsNotFound": [name for name in names if name not in known],
        }

    def _keep_fields(self, name: str, data: Mapping[str, Any]) -> None:
        job = self._glue._jobs[name]
        job.update({field: data[field] for field in _JOB_FIELDS if data.get(field) is not None})
        job.setdefault("ExecutionProperty", {"MaxConcurrentRuns": 1})

    def _call_original(self, name: str, data: dict[str, Any]) -> dict[str, Any]:
        status, _headers, body = self._original[name](data)
        answer = json.loads(body or b"{}")
        if status >= 400:
            code = str(answer.get("__type", "InvalidInputException")).rpartition("#")[2]
            raise ApiError(code, str(answer.get("message") or answer.get("Message") or answer))
        return dict(answer)

    # Runs

    def start_job_run(self, data: dict[str, Any]) -> dict[str, Any]:
        """StartJobRun for Spark jobs. Other kinds are refused, never reported as run."""
        name = data.get("JobName", "")
        job = self._job(name)
        kind = job.get("Command", {}).get("Name")
        if kind != "glueetl":
            message = f"Job {name} is of kind {kind!r}; the embedded AWS runs only Spark jobs (glueetl)"
            raise ApiError("InvalidInputException", message)
        key = self._key(name)
        overrides = data.get("Arguments") or {}
        document = _new_run(job, data, {**job.get("DefaultArguments", {}), **overrides})
        arguments = {
            **job.get("DefaultArguments", {}),
            "--JOB_NAME": name,
            "--JOB_ID": f"j_{key.name.encode().hex():0<64.64}",
            "--JOB_RUN_ID": document["Id"],
            **overrides,
            **job.get("NonOverridableArguments", {}),
        }
        limit = (job.get("ExecutionProperty") or {}).get("MaxConcurrentRuns", 1)
        try:
            record = self._runs.add(key, document, limit)
        except TooManyRuns:
            raise ApiError(
                "ConcurrentRunsExceededException", f"Concurrent runs exceeded for {name}"
            ) from None
        self._runner.start(
            RunRequest(
                record,
                job.get("Command", {}).get("ScriptLocation", ""),
                {argument: str(value) for argument, value in arguments.items()},
                document["Timeout"] * SECONDS_PER_TIMEOUT_MINUTE,
            )
        )
        return {"JobRunId": document["Id"]}

    def get_job_run(self, data: dict[str, Any]) -> dict[str, Any]:
        """GetJobRun."""
        name, run_id = data.get("JobName", ""), data.get("RunId", "")
        record = self._runs.get(self._key(name), run_id)
        if record is None:
            raise ApiError("EntityNotFoundException", f"Job run {run_id} of job {name} not found")
        return {"JobRun": _shown(record)}

    def get_job_runs(self, data: dict[str, Any]) -> dict[str, Any]:
        """GetJobRuns, newest first."""
        name = data.get("JobName", "")
        self._job(name)
        token = data.get("NextToken")
        limit = min(max(int(data.get("MaxResults") or _PAGE_SIZE), 1), _PAGE_SIZE)
        if token is not None and not str(token).isdigit():
            raise ApiError(
                "InvalidInputException", f"NextToken {token!r} is not one that GetJobRuns returned"
            )
        records, following = self._runs.page(self._key(name), int(token) if token else None, limit)
        answer: dict[str, Any] = {"JobRuns": [_shown(record) for record in records]}
        return {**answer, "NextToken": str(following)} if following is not None else answer

    def batch_stop_job_run(self, data: dict[str, Any]) -> dict[str, Any]:
        """BatchStopJobRun: active runs become STOPPING now, and STOPPED when their process is gone."""
        name = data.get("JobName", "")
        stopped, errors = [], []
        for run_id in data.get("JobRunIds", []):
            this = {"JobName": name, "JobRunId": run_id}
            record = self._runs.get(self._key(name), run_id)
            if record is None:
                detail = ("EntityNotFoundException", f"Job run {run_id} of job {name} not found")
            elif not record.is_active:
                state = record.document["JobRunState"]
                detail = ("InvalidInputException", f"Job run {run_id} cannot be stopped: it is {state}")
            else:
                self._runner.stop(run_id)
                stopped.append(this)
                continue
            errors.append({**this, "ErrorDetail": {"ErrorCode": detail[0], "ErrorMessage": detail[1]}})
        return {"SuccessfulSubmissions": stopped, "Errors": errors}

    # Bookmarks

    def get_job_bookmark(self, data: dict[str, Any]) -> dict[str, Any]:
        """GetJobBookmark, also as of a run."""
        return self._bookmark_entry(BookmarkStore.entry, data)

    def reset_job_bookmark(self, data: dict[str, Any]) -> dict[str, Any]:
        """ResetJobBookmark: to nothing, or to the state after a run."""
        return self._bookmark_entry(BookmarkStore.reset, data)

    def _bookmark_entry(self, action: Callable[..., dict[str, Any]], data: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"JobBookmarkEntry": action(self._bookmarks(), data.get("JobName", ""), data.get("RunId"))}
        except BookmarkNotFound as error:
            raise ApiError("EntityNotFoundException", str(error)) from error

    def _bookmarks(self) -> BookmarkStore:
        return BookmarkStore(
            self._runner.bookmarks_path(self._glue.get_account_id(), self._glue.get_region())
        )

    def _key(self, name: str) -> JobKey:
        return JobKey(self._glue.get_account_id(), self._glue.get_region(), name)

    def _job(self, name: str | None) -> dict[str, Any]:
        job = self._glue._jobs.get(name)
        if job is None:
            raise ApiError("EntityNotFoundException", f"Job {name} not found")
        return dict(job)


def _shown_job(job: Mapping[str, Any]) -> dict[str, Any]:
    """A job as the API shows it: with its capacity, without tags and without members that say nothing."""
    shown = {name: value for name, value in job.items() if name != "Tags" and value not in (None, "")}
    return {**shown, "MaxCapacity": _capacity(job), "AllocatedCapacity": int(_capacity(job))}


def _capacity(job: Mapping[str, Any]) -> float:
    """The job's data processing units: as given, else those of its workers."""
    if job.get("MaxCapacity") is not None:
        return float(job["MaxCapacity"])
    if job.get("Command", {}).get("Name") == "pythonshell":
        return 0.0625
    return float(job.get("NumberOfWorkers") or 2) * _WORKER_UNITS.get(job.get("WorkerType") or "G.1X", 1)


def _new_run(job: Mapping[str, Any], data: Mapping[str, Any], arguments: dict[str, str]) -> dict[str, Any]:
    """The document of a run that is about to start."""
    now = time.time()

    def chosen(name: str, default: Any) -> Any:
        return data.get(name) or job.get(name) or default

    workers = chosen("NumberOfWorkers", 2)
    return {
        "Id": f"jr_{secrets.token_hex(32)}",
        "Attempt": 0,
        "JobName": job["Name"],
        "JobMode": job.get("JobMode", "SCRIPT"),
        "StartedOn": now,
        "LastModifiedOn": now,
        "JobRunState": "STARTING",
        "Arguments": arguments,
        "PredecessorRuns": [],
        "AllocatedCapacity": workers,
        "ExecutionTime": 0,
        "Timeout": chosen("Timeout", DEFAULT_TIMEOUT_MINUTES),
        "MaxCapacity": float(chosen("MaxCapacity", workers)),
        "WorkerType": chosen("WorkerType", "G.1X"),
        "NumberOfWorkers": workers,
        "LogGroupName": arguments.get("--custom-logGroup-prefix") or DEFAULT_PREFIX,
        "GlueVersion": job.get("GlueVersion", "5.1"),
        "ExecutionClass": chosen("ExecutionClass", "STANDARD"),
    }


def _shown(record: RunRecord) -> dict[str, Any]:
    """A run as the API shows it: an active one has run until now."""
    document = dict(record.document)
    since = document.pop("RunningSince", None)
    if since and document["JobRunState"] in ACTIVE_STATES:
        document["ExecutionTime"] = round(time.time() - since)
    return document


def _recover_when_serving(runner: JobRunner, leftovers: list[RunRecord], port: int) -> None:
    """End the last server's runs, which needs S3, as soon as this server answers."""
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/_ministack/health")
            if connection.getresponse().status == 200:
                break
        except OSError:
            time.sleep(0.2)
        finally:
            connection.close()
    runner.recover(leftovers)
