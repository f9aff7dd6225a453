"""`make bench`: measure parts, write their results, and print them; `make docs` shows them."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.harness import (
    Bench,
    BenchmarkError,
    Scale,
    benchmark,
    machine,
    wait_for_class_archive,
)
from benchmarks.parts import PARTS
from benchmarks.results import RESULTS, Result, save
from capstone_pipeline import PipelineError


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    defaults = Scale()
    scale = replace(
        defaults,
        events=options.events,
        repeats=options.repeats,
        batches=options.batches,
        warm_ups=options.warm_ups,
        backlog=options.backlog,
        generated=options.generated,
        watch_small=options.watch_small,
        watch_large=options.watch_large,
        watch_rounds=options.watch_rounds,
        watch_runs=options.watch_runs,
    )
    parts = options.parts or list(PARTS)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=options.work_dir))
    try:
        with benchmark(scale, folder) as bench:
            if parts != ["generator"]:  # which does without Spark
                wait_for_class_archive(bench.server)
            for name in parts:
                report(measure(bench, name, options.results))
    except (BenchmarkError, PipelineError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def measure(bench: Bench, name: str, folder: Path = RESULTS) -> Result:
    """Measure one part and write its result file."""
    part, conditions = PARTS[name], machine()
    began = time.monotonic()
    measured, details = part.measure(bench)
    details["took_seconds"] = round(time.monotonic() - began)
    result = Result(name, part.TITLE, f"{datetime.now(UTC):%Y-%m-%d}", conditions, measured, details)
    save(result, folder)
    return result


def report(result: Result) -> None:
    """Print a part's figures."""
    print(f"{result.title} (took {result.details['took_seconds']} s)")
    for name, figure in result.figures.items():
        print(f"  {result.part}.{name}: {figure.with_spread}, {figure.what}", flush=True)


def _parser() -> argparse.ArgumentParser:
    scale = Scale()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add(
        "parts",
        nargs="*",
        choices=[*PARTS, []],
        metavar="PART",
        help=f"any of {', '.join(PARTS)}; all if none",
    )
    add("--events", type=int, default=scale.events, help="lines of a batch")
    add("--repeats", type=int, default=scale.repeats, help="repetitions of each measurement")
    add("--batches", type=int, default=scale.batches, help="batches of the history")
    add("--warm-ups", type=int, default=scale.warm_ups, help="untimed runs of each script before warm ones")
    add("--backlog", type=int, default=scale.backlog, help="objects of the backlog, 288 at most")
    add("--generated", type=int, default=scale.generated, help="events that the generators make")
    add("--watch-small", type=int, default=scale.watch_small, help="small objects that a watch is timed with")
    add("--watch-large", type=int, default=scale.watch_large, help="large ones")
    add("--watch-rounds", type=int, default=scale.watch_rounds, help="rounds between the looks at its memory")
    add("--watch-runs", type=int, default=scale.watch_runs, help="separate runs to compare a watch with")
    add("--results", type=Path, default=RESULTS, help="where result files go")
    add("--work-dir", type=Path, default=None, help="where data and state lie meanwhile")
    return parser


if __name__ == "__main__":
    sys.exit(main())
