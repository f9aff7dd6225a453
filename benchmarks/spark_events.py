"""Observes one Spark run from outside, by its event log: when it began to work, and what tasks took."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SQL_START = "org.apache.spark.sql.execution.ui.SparkListenerSQLExecutionStart"


@dataclass(frozen=True)
class Observation:
    """One run as Spark saw it. `began`: its first statement, seconds since 1970, None if it had none."""

    began: float | None
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
        began=min((event["time"] / 1000 for event in events if event["Event"] == _SQL_START), default=None),
        jobs=sum(event["Event"] == "SparkListenerJobStart" for event in events),
        tasks=len(tasks),
        task_cpu_seconds=nanoseconds / 1e9,
    )


def _events(path: Path) -> Iterator[dict[str, Any]]:
    with path.open() as file:
        for line in file:
            yield json.loads(line)
