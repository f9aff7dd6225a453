"""The job in watch mode: from the moment an object is there to the moment that Athena's answer holds it.

One run watches all the time. Small objects come one by one, then now and then until it has done many
rounds, then large ones one by one; all arrive on one day, each later than those before. Separate runs, each
in a cold JVM as on Glue, take in a few of the small ones for comparison.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks import drawing
from benchmarks.harness import OURS, Batches, Bench, BenchmarkError, Pipeline, deploy, progress
from benchmarks.memory import memory_now
from benchmarks.results import Figure, Result
from capstone_pipeline.job import ACTIVE_STATES, RunLog, parse_summary
from generate_sample_data import FileSummary

TITLE = "Watching"

SMALL_EVENTS = 5_000
EARLY_ROUNDS = 50
"""After so many rounds, memory is looked at for the first time."""
PACE_SECONDS = 30.0
_HOURS_OF_SMALL = 12
"""Small objects are less than twelve a hour; the large ones come after them."""
_LOOK_SECONDS = 1
_GLANCE_SECONDS = 0.1
"""Between looks at what a run writes last. Athena, which takes a core as well, is asked when that is new."""
_PATIENCE_SECONDS = 300.0

_HELD = """
SELECT (SELECT sum(event_count) FROM category_performance), (SELECT sum(unique_sessions) FROM user_activity),
    (SELECT sum(views) FROM conversion_funnel)
"""
"""All three change with every object."""
_WRITTEN_LAST = "gold/conversion_funnel/"


def measure(bench: Bench) -> tuple[dict[str, Figure], dict[str, Any]]:
    """Latencies, memory, and separate runs."""
    scale = bench.scale
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    small = bench.batches(SMALL_EVENTS, start=midnight)
    large = bench.batches(scale.events, start=midnight + timedelta(hours=_HOURS_OF_SMALL))
    pipeline = deploy(bench, "watch", OURS)
    steps = scale.warm_ups + scale.watch_small + scale.watch_rounds + scale.watch_large + scale.watch_runs
    with progress(TITLE, steps) as bar, watching(pipeline) as log:
        latencies(pipeline, small, range(1, scale.warm_ups + 1), bar)
        next_small = scale.warm_ups + 1
        of_small = latencies(pipeline, small, range(next_small, next_small + scale.watch_small), bar)
        next_small += scale.watch_small
        memory, rounds = many_rounds(pipeline, small, next_small, large, log, bar)
        of_large = latencies(pipeline, large, range(1, scale.watch_large + 1), bar)
    separate = separate_runs(bench, small, bar)
    early, late = memory
    figures = {
        "small_events": Figure(SMALL_EVENTS, "count", "lines of a small object"),
        "large_events": Figure(scale.events, "count", "lines of a large object"),
        **_latency_figures("small", of_small),
        **_latency_figures("large", of_large),
        "rounds": Figure(rounds, "count", "rounds of the run when its memory was looked at last"),
        "early_memory_bytes": Figure(early, "B", f"memory of the run (RSS) after {EARLY_ROUNDS} rounds"),
        "late_memory_bytes": Figure(late, "B", "memory of the run after all of these rounds"),
        "late_over_early_memory": Figure(late / early, "ratio", "memory, late / early"),
        "separate_runs": Figure(len(separate), "count", "separate runs that were measured"),
        "separate_seconds": Figure(
            statistics.median(separate),
            "s",
            "a small object by a run of its own, cold JVM, median",
            _ends(separate),
        ),
        "small_all_seconds": Figure(sum(of_small), "s", "all small objects, one by one, while a run watches"),
        "separate_all_seconds": Figure(
            statistics.mean(separate) * len(of_small), "s", "the same by separate runs, extrapolated"
        ),
    }
    return figures, {"small": of_small, "large": of_large, "separate": separate}


@contextmanager
def watching(pipeline: Pipeline) -> Iterator[RunLog]:
    """A run in watch mode for the length of a `with` block; its log."""
    glue, job = pipeline.bench.aws.client("glue"), pipeline.stack.glue_job_name
    run_id = glue.start_job_run(JobName=job, Arguments={"--WATCH_SECONDS": str(_LOOK_SECONDS)})["JobRunId"]
    try:
        yield RunLog(pipeline.bench.aws, pipeline.stack, run_id)
    finally:
        glue.batch_stop_job_run(JobName=job, JobRunIds=[run_id])
        asked = {"JobName": job, "RunId": run_id}
        while glue.get_job_run(**asked)["JobRun"]["JobRunState"] in ACTIVE_STATES:
            time.sleep(0.1)


def latencies(pipeline: Pipeline, batches: Batches, numbers: Sequence[int], bar: Any) -> list[float]:
    """Seconds of each object, the next one delivered when the one before is in the answer."""
    seconds = []
    for number in numbers:
        file = batches[number]
        time.sleep(number * 0.37 % _LOOK_SECONDS)  # Not always at the same moment of a round.
        seconds.append(latency(pipeline, file))
        bar.update()
    return seconds


def latency(pipeline: Pipeline, file: FileSummary) -> float:
    """Seconds from the moment that the object is there to the answer that holds it.

    Raises BenchmarkError when none does within minutes.
    """
    s3, bucket = pipeline.bench.aws.client("s3"), pipeline.stack.analytics_bucket_name
    before, written = _held(pipeline), _last_written(s3, bucket)
    pipeline.deliver(file)
    there = time.perf_counter()
    while time.perf_counter() < there + _PATIENCE_SECONDS:
        if (newly := _last_written(s3, bucket)) != written:
            written, now = newly, _held(pipeline)
            if all(one != other for one, other in zip(now, before, strict=True)):
                return time.perf_counter() - there
        time.sleep(_GLANCE_SECONDS)
    raise BenchmarkError(f"{file.path.name} was in no answer after {_PATIENCE_SECONDS:.0f} s")


def many_rounds(
    pipeline: Pipeline, small: Batches, number: int, large: Batches, log: RunLog, bar: Any
) -> tuple[tuple[int, int], int]:
    """Deliver small objects until the run has done enough rounds: memory early and late, and rounds.

    The large files are made meanwhile.
    """
    scale, early, shown, made, due = pipeline.bench.scale, 0, 0, 0, 0.0
    while True:
        rounds = parse_summary(log.lines('"watch"')).get("watch", {}).get("rounds", 0)
        bar.update(min(rounds, scale.watch_rounds) - shown)
        shown = min(rounds, scale.watch_rounds)
        if not early and rounds >= min(EARLY_ROUNDS, scale.watch_rounds):
            early = memory_now(pipeline.bench.server)
        if rounds >= scale.watch_rounds:
            return (early, memory_now(pipeline.bench.server)), rounds
        if time.monotonic() >= due:
            pipeline.deliver(small[number])
            number, due = number + 1, time.monotonic() + PACE_SECONDS
        if made < scale.watch_large:
            made += 1
            large[made]
        else:
            time.sleep(5)


def separate_runs(bench: Bench, batches: Batches, bar: Any) -> list[float]:
    """Seconds of runs that each take in one small object, into a lake of their own."""
    pipeline, seconds = deploy(bench, "watch-separate", OURS), []
    for number in range(1, bench.scale.watch_runs + 1):
        pipeline.deliver(batches[number])
        run = pipeline.run(cold=True)
        if run.new_files != 1:
            raise BenchmarkError(f"the run should have taken in one file, not {run.new_files}")
        seconds.append(run.seconds)
        bar.update()
    return seconds


def table(result: Result) -> str:
    """Latencies of small and large objects, and separate runs."""
    figures = result.figures
    rows = [
        (
            f"{figures[f'{size}_events']} events, {figures[f'{size}_objects']} objects",
            str(figures[f"{size}_median_seconds"]),
            str(figures[f"{size}_p95_seconds"]),
        )
        for size in ("small", "large")
    ]
    rows.append(
        (f"{figures['small_events']} events, separate runs", figures["separate_seconds"].with_spread, "")
    )
    return drawing.table(("From the object to the answer", "median", "95th percentile"), rows)


def _latency_figures(size: str, seconds: list[float]) -> dict[str, Figure]:
    what = f"from a {size} object to Athena's answer"
    percentile = (
        statistics.quantiles(seconds, n=20, method="inclusive")[-1] if len(seconds) > 1 else seconds[0]
    )
    return {
        f"{size}_objects": Figure(len(seconds), "count", f"{size} objects"),
        f"{size}_median_seconds": Figure(statistics.median(seconds), "s", f"{what}, median", _ends(seconds)),
        f"{size}_p95_seconds": Figure(percentile, "s", f"{what}, 95th percentile"),
    }


def _ends(values: list[float]) -> tuple[float, float]:
    return min(values), max(values)


def _last_written(s3: Any, bucket: str) -> dict[str, str]:
    """Key and ETag of the objects that a run writes last."""
    listed = s3.list_objects_v2(Bucket=bucket, Prefix=_WRITTEN_LAST)
    return {item["Key"]: item["ETag"] for item in listed.get("Contents", [])}


def _held(pipeline: Pipeline) -> list[str | None]:
    """What Athena's answer holds, as three sums."""
    _, (row,) = pipeline.ask(_HELD, pipeline.stack.gold_database_name)
    return row
