"""Observes one Spark run from outside, by its event log: which statement ran when, and what tasks took."""

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
    """One SQL execution: seconds since 1970, the S3 folder that it wrote, if it did, and if it ran Python."""

    began: float
    ended: float
    writes: str | None
    runs_python: bool = False


@dataclass(frozen=True)
class Observation:
    """One run as Spark saw it; statements are in the order of their start."""

    statements: list[Statement]
    jobs: int
    tasks: int
    task_cpu_seconds: float


def observation_settings(folder: Path) -> list[str]:
    """Spark settings under which a run leaves in `folder` what `read_observation` reads. Creates it."""
    (folder / "events").mkdir(parents=True)
    return [
        "spark.eventLog.enabled=true",
        f"spark.eventLog.dir={(folder / 'events').as_uri()}",
    ]


def read_observation(folder: Path) -> Observation:
    """What the one run with `observation_settings(folder)` left; it must have ended."""
    (path,) = [path for path in (folder / "events").iterdir() if not path.name.startswith(".")]
    events = list(_events(path))
    tasks = [event["Task Metrics"] for event in events if event["Event"] == "SparkListenerTaskEnd"]
    nanoseconds = sum(task["Executor CPU Time"] + task["Executor Deserialize CPU Time"] for task in tasks)
    return Observation(
        statements=_statements(events),
        jobs=sum(event["Event"] == "SparkListenerJobStart" for event in events),
        tasks=len(tasks),
        task_cpu_seconds=nanoseconds / 1e9,
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
                    runs_python="MapInArrow" in event["physicalPlanDescription"],
                )
            )
    return sorted(found, key=lambda statement: statement.began)
