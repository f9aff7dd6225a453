"""Reads Spark's event log of one run: which statement ran when, what it wrote to, and how many bytes moved.

Bytes are those that Spark's tasks read from and wrote to S3 (input and output metrics); shuffles, which stay
on the workers' disks, are counted apart. What the driver reads itself (listings, notes) is not among them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SQL = "org.apache.spark.sql.execution.ui.SparkListenerSQLExecution"
_WRITES = re.compile(r"InsertIntoHadoopFsRelationCommand.*?Arguments: (s3://[^,\s]+)", re.DOTALL)


@dataclass(frozen=True)
class Statement:
    """One SQL execution: seconds since 1970, and the S3 folder that it wrote, if it wrote one."""

    began: float
    ended: float
    writes: str | None


@dataclass(frozen=True)
class EventLog:
    """One run as Spark saw it; statements are in the order of their start."""

    started: float
    statements: list[Statement]
    jobs: int
    tasks: int
    bytes_read: int
    bytes_written: int
    shuffle_bytes: int


def read_event_log(folder: Path) -> EventLog:
    """The event log of the one application that logged into `folder`."""
    (path,) = [path for path in folder.iterdir() if not path.name.startswith(".")]
    events = list(_events(path))
    started = next(event for event in events if event["Event"] == "SparkListenerApplicationStart")
    metrics = [
        event["Task Metrics"]
        for event in events
        if event["Event"] == "SparkListenerTaskEnd" and "Task Metrics" in event
    ]
    return EventLog(
        started=started["Timestamp"] / 1000,
        statements=_statements(events),
        jobs=sum(event["Event"] == "SparkListenerJobStart" for event in events),
        tasks=len(metrics),
        bytes_read=sum(task["Input Metrics"]["Bytes Read"] for task in metrics),
        bytes_written=sum(task["Output Metrics"]["Bytes Written"] for task in metrics),
        shuffle_bytes=sum(task["Shuffle Write Metrics"]["Shuffle Bytes Written"] for task in metrics),
    )


def _events(path: Path) -> Iterator[dict[str, Any]]:
    with path.open() as file:
        for line in file:
            yield json.loads(line)


def _statements(events: list[dict[str, Any]]) -> list[Statement]:
    ends = {event["executionId"]: event["time"] for event in events if event["Event"] == f"{_SQL}End"}
    found = []
    for event in events:
        if event["Event"] == f"{_SQL}Start" and event["executionId"] in ends:
            writes = _WRITES.search(event["physicalPlanDescription"])
            found.append(
                Statement(
                    began=event["time"] / 1000,
                    ended=ends[event["executionId"]] / 1000,
                    writes=writes[1] if writes else None,
                )
            )
    return sorted(found, key=lambda statement: statement.began)
