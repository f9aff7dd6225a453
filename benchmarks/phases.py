"""Splits a run of the job into phases, from what its logs say.

A layer ends when its summary line appears. Before bronze, Glue's reader has ended where the first statement
begins that writes, or runs Python, as the job's bronze does; within gold, cube and visitors have ended with
the last statement that writes one of them. Where the job does two of these in one statement, they cannot be
told apart, and the first is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from benchmarks.harness import LogLine, Run
from benchmarks.spark_events import Statement

LAYERS = ("bronze", "silver", "gold")
IN_ORDER = ("spark_start", "reader", "bronze", "silver", "cube", "gold", "shutdown")
"""The phases that add up to the whole run."""

WHAT = {
    "spark_start": "from start_job_run to the first statement: JVM, Python, Spark's context, listing",
    "reader": "Glue's reader: which objects are new for the bookmark",
    "bronze": "reading and judging the lines, writing events and rejected lines, counting",
    "silver": "cleaning, removing copies, comparing with silver's hours, writing",
    "cube": "the run's part of cube and visitors",
    "gold": "the five gold tables",
    "shutdown": "committing the bookmark, ending Spark",
}
EFFORT = {
    "cpu": "CPU time of Spark's JVM, all of what follows",
    "tasks": "CPU time of the tasks: the rows",
    "compiling": "of Java's compiler, the sum of its threads",
    "collecting": "for which the garbage collector stopped all else",
}
_EFFORT = re.compile(
    r"Spark's JVM used ([0-9.]+) s of CPU; it spent ([0-9.]+) s on compiling code and ([0-9.]+) s on"
)


def phases(run: Run) -> dict[str, float]:
    """Seconds of each phase that can be told apart. The run must have an event log and new files."""
    assert run.events is not None, "the run was not observed"
    statements = run.events.statements
    times = {"spark_start": statements[0].began}
    writing = [statement.began for statement in statements if statement.writes or statement.runs_python]
    if writing and writing[0] > statements[0].began:
        times["reader"] = writing[0]
    layers = _layer_ends(run.output)
    cube = _cube_end(statements)
    for layer in LAYERS:
        if layer == "gold" and cube is not None and "gold" in layers and cube < layers["gold"]:
            times["cube"] = cube
        if layer in layers:
            times[layer] = layers[layer]
    times["shutdown"] = run.began + run.seconds
    return _differences(run.began, times)


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


def _differences(began: float, times: dict[str, float]) -> dict[str, float]:
    """The time from each mark to the next; a mark that lies before an earlier one takes no time."""
    seconds = {}
    for name, moment in times.items():
        seconds[name] = max(moment - began, 0.0)
        began = max(moment, began)
    return seconds


def _layer_ends(output: Iterable[LogLine]) -> dict[str, float]:
    ends = {}
    for line in output:
        if line.text.startswith('{"layer": '):
            ends[json.loads(line.text)["layer"]] = line.time
    return ends


def _cube_end(statements: Iterable[Statement]) -> float | None:
    """When cube and visitors were there. (The tables after them are no statements that write.)"""
    ends = [one.ended for one in statements if one.writes and "/gold/" in one.writes]
    return max(ends, default=None)
