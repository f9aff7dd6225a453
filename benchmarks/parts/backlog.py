"""A day's backlog in one run: what an event costs there and in one batch, and how much memory that takes."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks import drawing
from benchmarks.harness import OURS, Bench, Run, median_figure, progress, run_once
from benchmarks.results import Figure, Result

TITLE = "Backlog"

_KINDS = {"jvm": "Spark's JVM", "workers": "Python workers", "driver": "the script"}


def measure(bench: Bench) -> tuple[dict[str, Figure], dict[str, Any]]:
    """One batch and the backlog in turns, each into an empty lake and in a cold JVM."""
    scale = bench.scale
    small = bench.batches(scale.backlog_events)
    delivered = {
        "batch": [bench.batches(scale.events)[1]],
        "backlog": [small[number] for number in range(1, scale.backlog + 1)],
    }
    runs: dict[str, list[Run]] = {name: [] for name in delivered}
    with progress(TITLE, scale.repeats * len(runs)) as bar:
        for _ in range(scale.repeats):
            for name, files in delivered.items():
                runs[name].append(run_once(bench, OURS, *files, cold=True, with_memory=True))
                bar.update()
    lines = {name: sum(file.lines for file in files) for name, files in delivered.items()}
    microseconds = {name: [run.seconds / lines[name] * 1e6 for run in runs[name]] for name in runs}
    ratios = [one / other for one, other in zip(microseconds["backlog"], microseconds["batch"], strict=True)]
    figures = {
        "objects": Figure(scale.backlog, "count", "objects of the backlog"),
        "events": Figure(lines["backlog"], "count", "lines of the backlog"),
        "batch_events": Figure(lines["batch"], "count", "lines of the batch"),
        "per_event_over_batch": median_figure(ratios, "ratio", "time per event, backlog / one batch"),
    }
    for name, text in (("batch", "one batch"), ("backlog", "the backlog")):
        times, memory = [run.seconds for run in runs[name]], [run.memory for run in runs[name]]
        figures |= {
            f"{name}_seconds": median_figure(times, "s", f"{text}, start_job_run to SUCCEEDED, cold JVM"),
            f"{name}_event_microseconds": median_figure(microseconds[name], "us", f"{text}, an event"),
            f"{name}_peak_bytes": median_figure(
                [sum(kinds.values()) for kinds in memory], "B", f"{text}, most memory (RSS) at a time"
            ),
            **{
                f"{name}_{kind}_bytes": Figure(
                    statistics.median(kinds.get(kind, 0) for kinds in memory), "B", f"of it {what}"
                )
                for kind, what in _KINDS.items()
            },
        }
    return figures, {}


def table(result: Result) -> str:
    """The backlog beside one batch."""
    kinds = ("seconds", "event_microseconds", "peak_bytes")
    names = ("per_event_over_batch", *(f"{which}_{kind}" for kind in kinds for which in ("batch", "backlog")))
    return drawing.figure_table(result.figures[name] for name in names)
