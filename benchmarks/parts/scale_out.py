"""The same job on one and on two worker processes, each with one core."""

from __future__ import annotations

from typing import Any

from benchmarks import drawing
from benchmarks.harness import OURS, Bench, deploy, median_figure, progress
from benchmarks.results import Figure, Result

TITLE = "Scale out"

_MASTER = "spark.master=local-cluster[{workers},1,2048]"


def measure(bench: Bench) -> tuple[dict[str, Figure], dict[str, Any]]:
    """One batch into an empty lake, with one and two workers in turns."""
    file = bench.batches(bench.scale.events)[1]
    seconds: dict[int, list[float]] = {1: [], 2: []}
    with progress(TITLE, 2 * bench.scale.repeats) as bar:
        for number in range(1, bench.scale.repeats + 1):
            for workers, times in seconds.items():
                pipeline = deploy(bench, f"workers-{workers}-{number}", OURS)
                pipeline.deliver(file)
                times.append(pipeline.run(cold=True, conf=_MASTER.format(workers=workers)).seconds)
                bar.update()
    speedups = [one / two for one, two in zip(seconds[1], seconds[2], strict=True)]
    figures = {
        "events": Figure(file.lines, "count", "lines of the batch"),
        "one_worker_seconds": median_figure(seconds[1], "s", "one worker process of one core"),
        "two_workers_seconds": median_figure(seconds[2], "s", "two worker processes of one core each"),
        "speedup": median_figure(speedups, "ratio", "one worker / two workers, in pairs"),
    }
    return figures, {"one_worker": seconds[1], "two_workers": seconds[2]}


def table(result: Result) -> str:
    """One worker beside two."""
    names = ("speedup", "one_worker_seconds", "two_workers_seconds")
    return drawing.figure_table(result.figures[name] for name in names)
