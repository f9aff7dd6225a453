"""Splits a run of the job into phases, from what its logs say: a layer ends when its summary line appears."""

from __future__ import annotations

import json
import re
from itertools import pairwise

from benchmarks.harness import Run

IN_ORDER = ("spark_start", "bronze", "silver", "gold", "shutdown")
"""The phases that add up to the whole run."""

WHAT = {
    "spark_start": "from start_job_run to the first statement: JVM, Python, Spark's context, listing",
    "bronze": "reading and judging the lines, writing events and rejected lines; meanwhile Glue's reader",
    "silver": "cleaning, removing copies, comparing with silver's hours, writing",
    "gold": "cube, visitors, and the five gold tables",
    "shutdown": "committing the bookmark, ending Spark",
}
EFFORT = {
    "cpu": "CPU time of Spark's JVM, all of what follows",
    "tasks": "CPU time of the tasks: the rows",
    "compiling": "of Java's compiler, the sum of its threads",
    "collecting": "for which the garbage collector stopped all else",
}
_LAYER = '{"layer": '
_EFFORT = re.compile(
    r"Spark's JVM used ([0-9.]+) s of CPU; it spent ([0-9.]+) s on compiling code and ([0-9.]+) s on"
)


def phases(run: Run) -> dict[str, float]:
    """Seconds of each phase; a script that tells of no layers has two. The run must have read new files."""
    assert run.events is not None and run.events.began is not None, "the run was not observed"
    ends = {json.loads(line.text)["layer"]: line.time for line in run.output if line.text.startswith(_LAYER)}
    ends = {"spark_start": run.events.began, **ends, "shutdown": run.began + run.seconds}
    times = pairwise([run.began, *ends.values()])
    return {name: end - start for name, (start, end) in zip(ends, times, strict=True)}


def effort(run: Run) -> dict[str, float]:
    """Seconds of each kind of EFFORT. The run must have an event log."""
    assert run.events is not None, "the run was not observed"
    cpu, compiling, collecting = map(float, run.told(_EFFORT).groups())
    return {
        "cpu": cpu,
        "tasks": run.events.task_cpu_seconds,
        "compiling": compiling,
        "collecting": collecting,
    }
