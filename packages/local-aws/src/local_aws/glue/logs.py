"""Follows a run's log files and sends what is new in them to CloudWatch Logs, while the run goes on.

A file becomes one log stream. Lines become events, stamped with the time at which they were seen.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import IO, Any

DEFAULT_PREFIX = "/aws-glue/jobs"

_MAX_EVENT_BYTES = 256 * 1024 - 26
"""CloudWatch's limit of an event's message."""
_MAX_BATCH_BYTES = 1_048_576
_MAX_BATCH_EVENTS = 10_000
_EVENT_OVERHEAD_BYTES = 26
_READ_BYTES = 1 << 20


class LogFollower:
    """One file that a process appends to, and the log stream that it becomes."""

    def __init__(self, logs: Any, file: Path, group: str, stream: str) -> None:
        self._logs = logs
        self._group = group
        self._stream = stream
        self._rest = b""
        file.touch()
        self._file: IO[bytes] = file.open("rb")
        self._create()

    def send(self) -> None:
        """Send the complete lines that were added since the last call."""
        while chunk := self._file.read(_READ_BYTES):
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            self._put(lines)

    def close(self) -> None:
        """Send everything, with a last line that has no end, and stop following."""
        self.send()
        self._put([self._rest])
        self._rest = b""
        self._file.close()

    def _create(self) -> None:
        """Make sure that group and stream exist."""
        for create, names in (
            (self._logs.create_log_group, {"logGroupName": self._group}),
            (self._logs.create_log_stream, {"logGroupName": self._group, "logStreamName": self._stream}),
        ):
            with contextlib.suppress(self._logs.exceptions.ResourceAlreadyExistsException):
                create(**names)

    def _put(self, lines: list[bytes]) -> None:
        now = int(time.time() * 1000)
        batch: list[dict[str, Any]] = []
        size = 0
        for line in lines:
            for start in range(0, len(line), _MAX_EVENT_BYTES):  # An empty line is no event in CloudWatch.
                piece = line[start : start + _MAX_EVENT_BYTES]
                cost = len(piece) + _EVENT_OVERHEAD_BYTES
                if batch and (size + cost > _MAX_BATCH_BYTES or len(batch) == _MAX_BATCH_EVENTS):
                    self._send_batch(batch)
                    batch, size = [], 0
                batch.append({"timestamp": now, "message": piece.decode(errors="replace")})
                size += cost
        if batch:
            self._send_batch(batch)

    def _send_batch(self, batch: list[dict[str, Any]]) -> None:
        names = {"logGroupName": self._group, "logStreamName": self._stream}
        try:
            self._logs.put_log_events(**names, logEvents=batch)
        except self._logs.exceptions.ResourceNotFoundException:  # Somebody deleted the group during the run.
            self._create()
            self._logs.put_log_events(**names, logEvents=batch)
