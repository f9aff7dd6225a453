"""The job's run in watch mode: started, looked at, started again when it has ended, and stopped.

A run that dies leaves its note, and the next takes in what it had in hand: starting again is all that there
is to be done. Glue allows one run at a time and refuses another.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from capstone_pipeline.errors import JobBusy, JobNotFound, PipelineError, own_errors
from capstone_pipeline.interrupts import Interrupts
from capstone_pipeline.job import ACTIVE_STATES, stop_command
from capstone_pipeline.render import when
from capstone_pipeline.stack import Connection, StackOutputs

RUN_MINUTES = 60
"""A run ends by itself after so long, and another follows: where the watcher was killed, and so could stop
nothing, the run goes on for no longer."""

_GRACE_MINUTES = 15
"""Glue's own limit comes so much later: a round may be at work when the time is over."""
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 2.0, 60.0
_GOOD_RUN = timedelta(seconds=60)
"""A run that lasted so long was no false start."""
_STOP_TIMEOUT_SECONDS = 180.0


@dataclass(frozen=True)
class JobState:
    """What is known of the job. `down_since` is None while a run watches; `reason` says why none does."""

    run_id: str = ""
    started: datetime | None = None
    starts: int = 0
    down_since: datetime | None = field(default_factory=lambda: datetime.now(UTC))
    reason: str = ""
    next_start: datetime | None = None
    unknown_since: datetime | None = None
    """Since when AWS does not say how the run is; `trouble` is what it says instead."""
    trouble: str = ""

    @property
    def is_watching(self) -> bool:
        """Whether a run watches, as far as is known."""
        return self.down_since is None and self.unknown_since is None

    def __str__(self) -> str:
        if self.unknown_since:
            return f"Nothing is known of the job since {when(self.unknown_since)}. {self.trouble}"
        if self.down_since is None:
            return f"The job watches, in run {_short(self.run_id)}"
        if not self.reason:
            return "The job is starting."
        words = f"The job is down since {when(self.down_since)}. {self.reason}"
        if self.run_id:
            return f"{words} Another run is starting in its place: {_short(self.run_id)}"
        return words + (f" The next start is at {when(self.next_start)}." if self.next_start else "")


class JobKeeper:
    """Keeps one run of the job watching. `state` may be read from any thread, all else is for one."""

    def __init__(
        self,
        aws: Connection,
        stack: StackOutputs,
        look_seconds: int,
        say: Callable[[str], None],
        interrupts: Interrupts,
    ) -> None:
        self._glue, self._job, self._region = aws.client("glue"), stack.glue_job_name, aws.region
        self._arguments = {"--WATCH_SECONDS": str(look_seconds), "--WATCH_MINUTES": str(RUN_MINUTES)}
        self._say, self._interrupts = say, interrupts
        self._pause = _FIRST_PAUSE_SECONDS
        self.state = JobState()

    @property
    def stop_command(self) -> str:
        """How to stop the run from a shell."""
        return stop_command(self._job, self.state.run_id or "<run-id>", self._region)

    def refuse_if_busy(self) -> None:
        """Raises JobBusy when a run is active."""
        if active := self._active_run():
            does = "watches" if "--WATCH_SECONDS" in active.get("Arguments", {}) else "is active"
            raise JobBusy(
                f"Run {active['Id']} of job {self._job} {does}, since {when(active['StartedOn'])}, and Glue "
                "allows one run at a time.",
                "let it end, or stop it, and watch again. If EtlSchedule or the operations stack started it, "
                f"switch that off before:\n{stop_command(self._job, active['Id'], self._region)}",
            )

    def start(self) -> None:
        """Start the first run.

        Raises
        ------
        JobBusy, JobNotFound
        """
        with self._interrupts.held(), own_errors(f"starting a run of job {self._job}"):
            try:
                run_id = self._glue.start_job_run(
                    JobName=self._job, Arguments=self._arguments, Timeout=RUN_MINUTES + _GRACE_MINUTES
                )["JobRunId"]
            except self._glue.exceptions.ConcurrentRunsExceededException:
                self.refuse_if_busy()
                raise
            except self._glue.exceptions.EntityNotFoundException as error:
                raise JobNotFound(f"There is no Glue job {self._job}.", "create it again.") from error
            self.state = replace(
                self.state,
                run_id=run_id,
                started=datetime.now(UTC),
                starts=self.state.starts + 1,
                next_start=None,
            )
        self._say(
            f"Run {run_id} started, looking for new objects every {self._arguments['--WATCH_SECONDS']} s"
        )

    def look(self) -> None:
        """See how the run is; one that has ended is followed by another."""
        try:
            if self.state.run_id:
                self._look_at_run()
            elif self.state.next_start is None or datetime.now(UTC) >= self.state.next_start:
                self._start_again()
        except PipelineError as error:
            if self.state.unknown_since is None:
                self._say(f"Nothing is known of the job: {error.what}")
                self.state = replace(self.state, unknown_since=datetime.now(UTC), trouble=error.what)
        else:
            self.state = replace(self.state, unknown_since=None, trouble="")

    def stop(self) -> bool:
        """Stop the run and wait for its end; whether that has come."""
        if not self.state.run_id:
            return True
        with own_errors(f"stopping run {self.state.run_id} of job {self._job}"):
            self._glue.batch_stop_job_run(JobName=self._job, JobRunIds=[self.state.run_id])
        deadline = time.monotonic() + _STOP_TIMEOUT_SECONDS
        while (state := self._run()["JobRunState"]) in ACTIVE_STATES and time.monotonic() < deadline:
            time.sleep(0.5)
        if state in ACTIVE_STATES:
            self._say(f"Run {self.state.run_id} is still {state}. To stop it:\n{self.stop_command}")
            return False
        self._say(f"Run {self.state.run_id} ended as {state}")
        return True

    def _look_at_run(self) -> None:
        run, state = self._run(), self.state
        if run["JobRunState"] in ACTIVE_STATES:
            if state.down_since and run["JobRunState"] == "RUNNING":
                self._say("The job watches" + " again" * bool(state.reason))
                self.state = replace(state, down_since=None, reason="")
            return
        now = datetime.now(UTC)
        reason = _ending(run)
        self._say(reason)
        if state.started and now - state.started >= _GOOD_RUN:
            self._pause = _FIRST_PAUSE_SECONDS
        down_since = state.down_since or run.get("CompletedOn", now).astimezone(UTC)
        self.state = replace(state, run_id="", down_since=down_since, reason=reason)
        self._try_later()

    def _start_again(self) -> None:
        try:
            self.start()
        except PipelineError as error:
            if error.what != self.state.reason:
                self._say(f"No run can be started: {error.what}")
            self.state = replace(self.state, reason=error.what)
            self._try_later()

    def _try_later(self) -> None:
        self.state = replace(self.state, next_start=datetime.now(UTC) + timedelta(seconds=self._pause))
        self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)

    def _run(self) -> dict[str, Any]:
        with own_errors(f"looking at run {self.state.run_id} of job {self._job}"):
            return dict(self._glue.get_job_run(JobName=self._job, RunId=self.state.run_id)["JobRun"])

    def _active_run(self) -> dict[str, Any] | None:
        with own_errors(f"looking at the runs of job {self._job}"):
            try:
                runs = self._glue.get_job_runs(JobName=self._job, MaxResults=50)["JobRuns"]
            except self._glue.exceptions.EntityNotFoundException:
                return None
        return next((run for run in runs if run["JobRunState"] in ACTIVE_STATES), None)


def _short(run_id: str) -> str:
    return f"{run_id[:15]} …"


def _ending(run: dict[str, Any]) -> str:
    """How a run ended, as a sentence."""
    state, reason = run["JobRunState"], run.get("ErrorMessage", "").rstrip(".")
    words = {"STOPPED": "was stopped", "SUCCEEDED": "came to the end of its time"}.get(
        state, f"ended as {state}"
    )
    return f"Run {_short(run['Id'])} {words}{f': {reason}' * bool(reason)}."
