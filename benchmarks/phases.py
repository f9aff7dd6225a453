"""Splits a run of the job into phases, from what its logs say.

A layer ends when its summary line appears. Within bronze, reading and parsing end where the first statement
begins that writes; within gold, the cube ends with the statement that writes it. Where the job does two of
these in one statement, they cannot be told apart, and the phase that would come first is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from benchmarks.harness import LogLine, Run
from benchmarks.spark_events import Statement

LAYERS = ("bronze", "silver", "gold")
IN_ORDER = ("spark_start", "read_parse", "bronze", "silver", "cube", "gold", "shutdown", "stage_out")
"""The phases that add up to the whole run. Stage-in is not among them: it runs while Spark starts."""

WHAT = {
    "spark_start": "from start_job_run to the first statement: JVM, Python, Spark's context, listing",
    "stage_in": "copying new objects to where Spark reads them; runs while Spark starts",
    "read_parse": "reading the new lines, parsing and judging them",
    "bronze": "writing events and rejected lines",
    "silver": "cleaning, removing copies, anti-join, writing",
    "cube": "adding to the cube and to the distinct visitors of the day",
    "gold": "writing the five gold tables",
    "shutdown": "moving the staged files into place, committing the bookmark, ending Spark",
    "stage_out": "copying what was written to S3",
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
_TRANSFER = re.compile(r"Staged (in|out) s3://.* in ([0-9.]+) s")


def phases(run: Run) -> dict[str, float]:
    """Seconds of each phase that can be told apart. The run must have an event log and new files."""
    assert run.events is not None, "the run was not observed"
    statements = run.events.statements
    ended = run.began + run.seconds
    staged_out = _transfer_seconds(run.system, "out")
    times = {"spark_start": statements[0].began}
    writing = [statement.began for statement in statements if statement.writes]
    if writing and writing[0] > statements[0].began:
        times["read_parse"] = writing[0]
    layers = _layer_ends(run.output)
    cube = _cube_end(statements)
    for layer in LAYERS:
        if layer == "gold" and cube is not None and "gold" in layers and cube < layers["gold"]:
            times["cube"] = cube
        if layer in layers:
            times[layer] = layers[layer]
    times["shutdown"] = ended - staged_out
    times["stage_out"] = ended
    return {"stage_in": _transfer_seconds(run.system, "in"), **_differences(run.began, times)}


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
    cubes = [statement.ended for statement in statements if statement.writes and "cube" in statement.writes]
    return max(cubes, default=None)


def _transfer_seconds(system: Iterable[LogLine], direction: str) -> float:
    found = (_TRANSFER.search(line.text) for line in system)
    return sum(float(match[2]) for match in found if match and match[1] == direction)
