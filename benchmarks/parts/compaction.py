"""Small files of silver: what they cost a reader of the day, and what the job's --COMPACT_DAYS does about it.

The same rows lie in two lakes, in one as the runs left them and in the other compacted, and both are asked in
turns. Not for what a run costs where files are many: that is `history`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from benchmarks import drawing
from benchmarks.harness import (
    FIRST_PERIOD,
    OURS,
    Bench,
    BenchmarkError,
    Pipeline,
    deploy,
    median_figure,
    progress,
)
from benchmarks.parts.queries import scanned_bytes, silver_question
from benchmarks.results import Figure, Result

TITLE = "Compaction"

SHARE = 10
"""A batch has one of so many parts of a full batch's events: files come from the number of runs."""

OPTIONS = {"--COMPACT_DAYS": "2"}
"""Yesterday, where the batches lie, and the day before it: midnight may pass meanwhile."""

QUESTIONS = ("category_performance", "user_activity")
"""Of the five: one that reads little, and one that reads and computes most."""

_CONTENT = """
SELECT count(*), sum(hash(silver)::hugeint)::varchar
FROM (SELECT * EXCLUDE (source_file) FROM read_parquet(?, hive_partitioning = false)) AS silver"""
"""Of several objects that deliver an event, source_file may name any."""


def measure(bench: Bench) -> tuple[dict[str, Figure], dict[str, Any]]:
    """Every batch is taken in by a run of its own. Raises BenchmarkError where compaction changes a row."""
    start = datetime.combine(datetime.now(UTC).date() - timedelta(days=1), FIRST_PERIOD.timetz())
    batches, runs = bench.batches(max(bench.scale.events // SHARE, 1), start=start), bench.scale.batches
    lakes = small, compacted = deploy(bench, "compaction-before", OURS), deploy(bench, "compaction", OURS)
    with progress(TITLE, runs + 2 + bench.scale.repeats) as bar:
        for number in range(1, runs + 1):
            compacted.deliver(batches[number])
            compacted.run()
            bar.update()
        _copy_silver(compacted, small)
        run = compacted.run(with_events=True, options=OPTIONS)
        bar.update()
        again = compacted.run(with_events=True, options=OPTIONS)
        bar.update()
        files = [lake.fetch("silver/", bench.folder / lake.stack.stack_name) for lake in lakes]
        rows = check_compacted(files, len(again.written))
        seconds = _ask_in_turns(lakes, bench.scale.repeats, bar)
    assert run.events is not None
    sizes = [[sum(path.stat().st_size for path in paths)] for paths in files]
    figures = {
        "runs": Figure(runs, "count", "runs that took in a batch each, all of one closed day"),
        "events": Figure(batches[1].lines, "count", "lines of each batch"),
        "rows": Figure(rows, "count", "rows of silver, before as after"),
        **_compared("files", [[len(paths)] for paths in files], "count", "files of silver"),
        **_compared("bytes", sizes, "B", "bytes of silver"),
        **_questions(files, seconds),
        "seconds": Figure(run.seconds, "s", "a run without new objects that compacts, warm JVM"),
        "bytes_read": Figure(run.bytes_read, "B", "read from S3 by it"),
        "bytes_written": Figure(sum(run.written.values()), "B", "written to S3 by it"),
        "again_seconds": Figure(again.seconds, "s", "another such run, which finds nothing to compact"),
        "again_files_written": Figure(len(again.written), "count", "objects written by that one"),
    }
    return figures, {"seconds": seconds}


def check_compacted(files: Sequence[Sequence[Path]], written_again: int) -> int:
    """The rows of silver, from its files before and after. Raises BenchmarkError if it is not compacted."""
    before, after = files
    content = _content(before)
    if _content(after) != content:
        raise BenchmarkError("silver has other rows after compaction than before")
    if len(after) >= len(before) > 1:
        raise BenchmarkError(f"compaction left {len(after)} files of {len(before)}")
    if written_again:
        raise BenchmarkError(f"a second compaction wrote {written_again} objects and should write none")
    return content[0]


def _content(files: Sequence[Path]) -> tuple[int, str]:
    """How many rows there are, and a sum of their hashes that knows no order."""
    rows, checksum = duckdb.execute(_CONTENT, [list(map(str, files))]).fetchone() or (0, "")
    return int(rows), str(checksum)


def _copy_silver(source: Pipeline, target: Pipeline) -> None:
    s3, bucket = source.bench.aws.client("s3"), source.stack.analytics_bucket_name
    for key in source.objects("silver/"):
        copied = {"Bucket": bucket, "Key": key}
        s3.copy_object(Bucket=target.stack.analytics_bucket_name, Key=key, CopySource=copied)


def _ask_in_turns(lakes: Sequence[Pipeline], repeats: int, bar: Any) -> dict[str, list[list[float]]]:
    """Seconds of each question before and after compaction. The first round only fetches: it is not timed."""
    seconds: dict[str, list[list[float]]] = {name: [[], []] for name in QUESTIONS}
    for number in range(repeats + 1):
        for name, times in seconds.items():
            sql = silver_question(name)
            before, after = [lake.ask(sql, lake.stack.silver_database_name) for lake in lakes]
            if before[1] != after[1]:
                raise BenchmarkError(f"{name}: silver does not answer as it did before compaction")
            if number:
                times[0].append(before[0])
                times[1].append(after[0])
        bar.update(min(number, 1))
    return seconds


def _questions(files: Sequence[Sequence[Path]], seconds: dict[str, list[list[float]]]) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    for name, times in seconds.items():
        figures |= _compared(f"{name}_seconds", times, "s", f"{name} from silver, start to answer")
        scanned = [[scanned_bytes(silver_question(name), paths)] for paths in files]
        figures |= _compared(f"{name}_scanned_bytes", scanned, "B", f"{name}, bytes of the columns read")
    return figures


def _compared(name: str, values: Sequence[Sequence[float]], unit: str, what: str) -> dict[str, Figure]:
    """Before / after, before and after, from the measurements before and after, which are pairs."""
    before, after = values
    ratios = [one / other for one, other in zip(before, after, strict=True)]
    return {
        f"{name}_before_over_after": median_figure(ratios, "ratio", f"{what}, before / after"),
        f"{name}_before": median_figure(before, unit, f"{what}, before"),
        f"{name}_after": median_figure(after, unit, f"{what}, after"),
    }


def table(result: Result) -> str:
    """The day before and after."""
    compared = {"files": "files of silver", "bytes": "bytes of silver"}
    for name in QUESTIONS:
        compared[f"{name}_seconds"] = f"{name.replace('_', ' ')} asked of silver"
    rows = [
        (
            label,
            *(str(result.figures[f"{name}_{which}"]) for which in ("before_over_after", "before", "after")),
        )
        for name, label in compared.items()
    ]
    return drawing.table(("", "before / after", "before", "after"), rows)
