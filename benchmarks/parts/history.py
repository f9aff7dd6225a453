"""Batch after batch into one lake: does a run cost more as history grows?

Ours takes every batch in a run of its own. The baseline costs more with every batch, and all of its runs
would take hours; but what one costs depends only on what bronze holds by then. So it is timed at some batches
(`Scale.baseline_batches`), directly after ours, and takes the batches between them in one untimed run.

At the end, ours takes two batches of the next day: all of the day before is history for them.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, TypeVar

from matplotlib.figure import Figure as Plot
from matplotlib.ticker import MaxNLocator

from benchmarks import drawing
from benchmarks.harness import (
    BASELINE,
    FIRST_PERIOD,
    OURS,
    Bench,
    BenchmarkError,
    Pipeline,
    Run,
    deploy,
    progress,
    warm_up,
)
from benchmarks.phases import phases
from benchmarks.results import Figure, Result

TITLE = "History"

T = TypeVar("T")


@dataclass(frozen=True)
class Point:
    """What one run of a batch cost. Files are the objects that it wrote."""

    batch: int
    seconds: float
    bytes_read: int
    bytes_written: int
    files_written: int
    jobs: int
    requests: dict[str, int]
    phases: dict[str, float]


def measure(bench: Bench) -> tuple[dict[str, Figure], dict[str, Any]]:
    """Both pipelines get the same files in the same order."""
    pipelines = deploy(bench, "history-ours", OURS), deploy(bench, "history-base", BASELINE)
    with progress(TITLE, bench.scale.batches + 2 * len(_timed(bench)) + 2) as bar:
        warm_up(bench, bench.batches(bench.scale.events)[1], OURS, BASELINE)
        ours, baseline = take_in_day(bench, pipelines, bar)
        next_day = take_in_next_day(bench, pipelines[0], bar)
    figures = {
        "batches": Figure(bench.scale.batches, "count", "batches in a row, all within one day of arrival"),
        "events": Figure(bench.scale.events, "count", "lines of each batch"),
        **_times(ours, baseline),
        **_amounts(ours, baseline),
        **_requests(ours),
        **_next_day(ours, next_day),
    }
    return figures, {
        "ours": [asdict(p) for p in ours],
        "baseline": [asdict(p) for p in baseline],
        "next_day": asdict(next_day),
    }


def take_in_day(
    bench: Bench, pipelines: tuple[Pipeline, Pipeline], bar: Any
) -> tuple[list[Point], list[Point]]:
    """All batches into our pipeline and the baseline's: the runs of ours, and the timed ones of the other."""
    batches, timed = bench.batches(bench.scale.events), _timed(bench)
    ours: list[Point] = []
    baseline: list[Point] = []
    for number in range(1, bench.scale.batches + 1):
        ours.append(_take_in(pipelines[0], number, batches[number]))
        bar.update()
        if number in timed:
            done = baseline[-1].batch if baseline else 0
            if number - done > 1:
                pipelines[1].deliver(*[batches[between] for between in range(done + 1, number)])
                pipelines[1].run()
            bar.update()
            baseline.append(_take_in(pipelines[1], number, batches[number]))
            bar.update()
    return ours, baseline


def take_in_next_day(bench: Bench, pipeline: Pipeline, bar: Any) -> Point:
    """Two batches of the next day into our pipeline: the run of the second."""
    batches = bench.batches(bench.scale.events, start=FIRST_PERIOD + timedelta(days=1))
    for number in (1, 2):
        point = _take_in(pipeline, bench.scale.batches + number, batches[number])
        bar.update()
    return point


def _timed(bench: Bench) -> list[int]:
    """The batches at which the baseline is timed."""
    last = bench.scale.batches
    return sorted({number for number in bench.scale.baseline_batches if number < last} | {last})


def _take_in(pipeline: Pipeline, number: int, batch: Any) -> Point:
    pipeline.deliver(batch)
    run = pipeline.run(with_events=True)
    assert run.events is not None
    _check_new_files(run)
    return Point(
        batch=number,
        seconds=run.seconds,
        bytes_read=run.bytes_read,
        bytes_written=sum(run.written.values()),
        files_written=len(run.written),
        jobs=run.events.jobs,
        requests=run.requests,
        phases=phases(run),
    )


def _check_new_files(run: Run) -> None:
    """A run that took in nothing would be fast for the wrong reason."""
    if run.new_files not in (1, None):
        raise BenchmarkError(f"the run should have taken in one file, not {run.new_files}")


def _times(ours: list[Point], baseline: list[Point]) -> dict[str, Figure]:
    """Seconds of the runs, their ratios and how they grow. The first run is left out where there are more."""
    warm = ours[1:] or ours
    second, last, base = _second(ours), ours[-1], baseline[-1]
    third = max(len(warm) // 3, 1)
    late_over_early = _median_seconds(warm[-third:]) / _median_seconds(warm[:third])
    return {
        "ours_last_over_second": Figure(
            last.seconds / second.seconds,
            "ratio",
            f"our time at batch {last.batch} / at batch {second.batch}",
        ),
        "ours_late_over_early": Figure(
            late_over_early, "ratio", f"median time of our last {third} batches / of {third} from batch 2 on"
        ),
        "baseline_over_ours_last": Figure(
            base.seconds / last.seconds, "ratio", f"baseline / ours at batch {last.batch}"
        ),
        "ours_seconds_second": Figure(second.seconds, "s", f"our run of batch {second.batch}"),
        "ours_seconds_last": Figure(last.seconds, "s", f"our run of batch {last.batch}"),
        "baseline_seconds_last": Figure(base.seconds, "s", f"the baseline's run of batch {last.batch}"),
        "ours_slope_seconds": Figure(
            _slope(warm), "s", "by which our time grows a batch, least squares from batch 2 on"
        ),
        "baseline_slope_seconds": Figure(
            _slope(baseline[1:]), "s", "by which the baseline's time grows a batch"
        ),
    }


def _amounts(ours: list[Point], baseline: list[Point]) -> dict[str, Figure]:
    """Bytes and objects of the second and the last runs."""
    second, last, base = _second(ours), ours[-1], baseline[-1]
    ours_last, base_last = f"our run of batch {last.batch}", f"the baseline's run of batch {base.batch}"
    return {
        "ours_bytes_read_last_over_second": Figure(
            last.bytes_read / second.bytes_read,
            "ratio",
            f"bytes that we read at batch {last.batch} / at batch {second.batch}",
        ),
        "ours_bytes_read_second": Figure(
            second.bytes_read, "B", f"read from S3 by our run of batch {second.batch}"
        ),
        "ours_bytes_read_last": Figure(last.bytes_read, "B", f"read from S3 by {ours_last}"),
        "baseline_bytes_read_last": Figure(base.bytes_read, "B", f"read from S3 by {base_last}"),
        "ours_bytes_written_last": Figure(last.bytes_written, "B", f"written by {ours_last}"),
        "baseline_bytes_written_last": Figure(base.bytes_written, "B", f"written by {base_last}"),
        "ours_files_written_last": Figure(last.files_written, "count", f"objects written by {ours_last}"),
        "baseline_files_written_last": Figure(base.files_written, "count", f"objects written by {base_last}"),
    }


def _requests(ours: list[Point]) -> dict[str, Figure]:
    """Spark's jobs and S3's requests, of the first run and of the last."""
    figures = {}
    for which, point in (("first", ours[0]), ("last", ours[-1])):
        text = f"our run of batch {point.batch}"
        figures[f"ours_jobs_{which}"] = Figure(point.jobs, "count", f"Spark jobs of {text}")
        total = sum(point.requests.values())
        figures[f"ours_requests_{which}"] = Figure(total, "count", f"requests to S3 of {text}")
    return figures


def _next_day(ours: list[Point], after_a_day: Point) -> dict[str, Figure]:
    """The second run of the next day beside that of the first: what the day between them costs."""
    second = _second(ours)
    return {
        "next_day_over_second": Figure(
            after_a_day.seconds / second.seconds, "ratio", "our time at batch 2 of the next day / of this day"
        ),
        "next_day_bytes_read_over_second": Figure(
            after_a_day.bytes_read / second.bytes_read, "ratio", "bytes read there / at batch 2 of this day"
        ),
        "ours_seconds_next_day": Figure(after_a_day.seconds, "s", "our run of batch 2 of the next day"),
        "ours_bytes_read_next_day": Figure(after_a_day.bytes_read, "B", "read from S3 by it"),
    }


def _second(runs: Sequence[T]) -> T:
    """The second run, or the only one."""
    return (runs[1:] or runs)[0]


def _median_seconds(points: list[Point]) -> float:
    return statistics.median(point.seconds for point in points)


def _slope(points: list[Point]) -> float:
    """Seconds of growth a batch; 0 where there are too few points to tell."""
    if len(points) < 2:
        return 0.0
    return statistics.linear_regression([p.batch for p in points], [p.seconds for p in points]).slope


COLUMNS = ("ours_{}_second", "ours_{}_last", "ours_{}_next_day", "baseline_{}_last")
ROWS = {
    "time": "seconds",
    "read from S3": "bytes_read",
    "written to S3": "bytes_written",
    "objects written": "files_written",
    "requests to S3": "requests",
}


def table(result: Result) -> str:
    """What a run costs at the beginning of a day, at its end, and on the next; every run is in the plot."""
    last = result.figures["batches"]
    rows = []
    for label, name in ROWS.items():
        figures = [result.figures.get(column.format(name)) for column in COLUMNS]
        if any(figures):
            rows.append((label, *(str(figure or "") for figure in figures)))
    heads = ("batch 2", f"batch {last}", "batch 2 of the next day", f"baseline, batch {last}")
    return drawing.table(("", *heads), rows)


def plots(result: Result) -> dict[str, Plot]:
    """Time, bytes read and bytes written over the batches."""
    plot, all_axes = drawing.canvases(3, height=3.0)
    panels = (
        ("seconds", "Seconds", 1.0),
        ("bytes_read", "MB read", 1e6),
        ("bytes_written", "MB written", 1e6),
    )
    for axes, (name, label, scale) in zip(all_axes, panels, strict=True):
        for contender, colour, marker in (("ours", drawing.BLUE, "o"), ("baseline", drawing.ORANGE, "s")):
            points = result.details[contender]
            x, y = [p["batch"] for p in points], [p[name] / scale for p in points]
            axes.plot(x, y, color=colour, marker=marker, markersize=3.5, linewidth=1.4, label=contender)
        axes.set_title(label, loc="left", fontsize=10)
        axes.set_xlabel("Batch")
        axes.set_ylim(bottom=0, top=1.15 * axes.get_ylim()[1])
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    all_axes[-1].legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))
    return {"history": plot}
