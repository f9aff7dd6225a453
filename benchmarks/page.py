"""Writes docs/BENCHMARKS.md and its plots from `benchmarks/results/`: `make bench`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks import drawing
from benchmarks.parts import PARTS
from benchmarks.results import ROOT, Result, format_value, load

PAGE = ROOT / "docs" / "BENCHMARKS.md"

TARGETS = (
    ("one_batch", "ours_over_old_cold", "new / old script, S3A, cold JVM", "at most", 0.75),
    ("one_batch", "baseline_over_ours_cold", "baseline / ours, first batch, cold JVM", "at least", 1.0),
    ("history", "baseline_over_ours_last", "baseline / ours, last batch", "at least", 7.0),
    ("history", "ours_last_over_second", "our time, last batch / batch 2", "at most", 1.15),
    ("history", "ours_bytes_read_last_over_second", "bytes read, last batch / batch 2", "at most", 1.0),
    ("history", "next_day_bytes_read_over_second", "bytes read, next day / this day", "at most", 1.0),
    ("backlog", "per_event_over_batch", "time per event, backlog / one batch", "at most", 1.0),
    ("storage", "bronze_per_json_byte", "bronze, bytes a byte of raw JSON", "at most", 0.06),
    ("storage", "silver_per_json_byte", "silver, bytes a byte of raw JSON", "at most", 0.07),
    ("generator", "seconds", "generate_sample_data.py", "at most", 10.0),
    ("generator", "lambda_seconds", "the Lambda function's generator", "at most", 10.0),
    ("generator", "peak_mib", "memory of generate_sample_data.py", "at most", 512.0),
)


def write_page(results: Mapping[str, Result] | None = None, page: Path = PAGE) -> list[Path]:
    """Write the page and the plots beside it; returns the files."""
    results = load() if results is None else results
    written = [page]
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(render(results))
    for name, part in PARTS.items():
        if name in results and hasattr(part, "plots"):
            for image, plot in part.plots(results[name]).items():
                path = page.parent / drawing.IMAGES / f"{image}.svg"
                drawing.save_svg(plot, path)
                written.append(path)
    return written


def render(results: Mapping[str, Result]) -> str:
    """The page as Markdown."""
    sections = [
        f"## {part.TITLE}\n\n{part.section(results[name]).strip()}\n\n{_measured_on(results[name])}"
        for name, part in PARTS.items()
        if name in results
    ]
    return "\n\n".join([_INTRODUCTION, f"## Targets\n\n{_targets(results)}", *sections]) + "\n"


_INTRODUCTION = drawing.paragraphs(
    "# Benchmarks",
    "Written by `make bench`, which generates its data, starts an embedded AWS of its own, deploys the "
    'stack, runs the real job through the API, and measures; `make bench PARTS="one_batch queries"` measures '
    "some parts again. Figures are medians, beside the least and the greatest of the repetitions. Seconds "
    "belong to the machine; ratios, measured in turns on one machine, carry over, so they come first. Other "
    "documents take their figures from the same [results](../benchmarks/results).",
    "**Not yet measured again:** the parts below show the job as it was at d072dc4, before it was rewritten, "
    "except where a part says that it runs the old script beside the new one.",
)


def _targets(results: Mapping[str, Result]) -> str:
    rows = []
    for part, name, label, bound, target in _all_targets(results):
        figure = results[part].figures[name]
        is_met = figure.value <= target if bound == "at most" else figure.value >= target
        limit = f"{bound} {format_value(target, figure.unit)}"
        rows.append((label, limit, str(figure), "met" if is_met else "**missed**"))
    return drawing.table(("What", "Target", "Measured", ""), rows)


def _all_targets(results: Mapping[str, Result]) -> list[tuple[str, str, str, str, float]]:
    """Those whose figures are there: the fixed ones and two for each query."""
    targets = list(TARGETS)
    for name in results["queries"].figures if "queries" in results else ():
        if name.endswith("_seconds"):
            query = name.removesuffix("_seconds")
            label = query.replace("_", " ")
            targets.append(("queries", name, f"query {label}, time", "at most", 1.0))
            scanned = f"{query}_scanned_bytes"
            targets.append(("queries", scanned, f"query {label}, bytes read", "at most", 1e5))
    return [target for target in targets if target[0] in results and target[1] in results[target[0]].figures]


def _measured_on(result: Result) -> str:
    machine = result.machine
    return (
        f"<sub>Measured {result.measured} on {machine['cpus']} × {machine['processor']}, "
        f"{machine['memory_gib']} GiB, {machine['system']}; Python {machine['python']}, "
        f"Spark {machine['spark']}, DuckDB {machine['duckdb']}; load before: {machine['load_before']}.</sub>"
    )
