"""What docs/BENCHMARKS_AND_COSTS.md shows of `benchmarks/results/`: tables, by name, and plots.

`make docs` puts them into the document, whose prose stands there and not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks import drawing
from benchmarks.parts import PARTS
from benchmarks.results import ROOT, Result, format_value

IMAGES = ROOT / "docs" / "images" / "benchmarks"

TARGETS = (
    ("one_batch", "ours_over_old_cold", "ours / the script that it replaced, cold JVM", "at most", 0.75),
    ("one_batch", "baseline_over_ours_cold", "baseline / ours, first batch, cold JVM", "at least", 1.0),
    ("history", "baseline_over_ours_last", "baseline / ours, last batch of a day", "at least", 7.0),
    ("history", "ours_last_over_second", "our time, last batch / batch 2", "at most", 1.15),
    ("history", "ours_bytes_read_last_over_second", "bytes read, last batch / batch 2", "at most", 1.0),
    ("history", "next_day_bytes_read_over_second", "bytes read, next day / this day", "at most", 1.0),
    ("backlog", "per_event_over_batch", "time per event, backlog / one batch", "at most", 1.0),
    (
        "watch",
        "small_p95_seconds",
        "from an object of 5,000 events to the answer, 95th percentile",
        "at most",
        6.0,
    ),
    ("watch", "large_p95_seconds", "from an object of 590,000 events, 95th percentile", "at most", 15.0),
    ("watch", "late_over_early_memory", "memory of a watching run, after 500 rounds / 50", "at most", 1.1),
    ("storage", "bronze_per_json_byte", "bronze, bytes a byte of raw JSON", "at most", 0.06),
    ("storage", "silver_per_json_byte", "silver, bytes a byte of raw JSON", "at most", 0.07),
    ("generator", "lambda_seconds", "the Lambda function's generator", "at most", 10.0),
    ("queries", "conversion_funnel_seconds", "the largest answer, conversion funnel", "at most", 1.0),
    ("queries", "conversion_funnel_scanned_bytes", "bytes that it reads", "at most", 1e5),
)


def blocks(results: Mapping[str, Result]) -> dict[str, str]:
    """A table for each part by its name, `targets`, and `conditions`: where and when all was measured."""
    tables = {
        name: part.table(results[name]) if name in results else "Not measured yet."
        for name, part in PARTS.items()
    }
    return {"targets": _targets(results), **tables, "conditions": _conditions(results)}


def draw_plots(results: Mapping[str, Result], folder: Path = IMAGES) -> list[Path]:
    """Write the plots; returns the files."""
    plots = {
        image: plot
        for name, part in PARTS.items()
        if name in results and hasattr(part, "plots")
        for image, plot in part.plots(results[name]).items()
    }
    for image, plot in plots.items():
        drawing.save_svg(plot, folder / f"{image}.svg")
    return [folder / f"{image}.svg" for image in plots]


def _targets(results: Mapping[str, Result]) -> str:
    rows = []
    for part, name, label, bound, target in TARGETS:
        if part in results and name in results[part].figures:
            figure = results[part].figures[name]
            is_met = figure.value <= target if bound == "at most" else figure.value >= target
            limit = f"{bound} {format_value(target, figure.unit)}"
            rows.append((label, limit, str(figure), "met" if is_met else "**missed**"))
    return drawing.table(("What", "Target", "Measured", ""), rows)


def _conditions(results: Mapping[str, Result]) -> str:
    """One line for each machine that something was measured on."""
    machines: dict[str, list[str]] = {}
    for name in PARTS:
        if name in results:
            result, machine = results[name], results[name].machine
            text = (
                f"{machine['cpus']} × {machine['processor']}, {machine['memory_gib']} GiB, "
                f"{machine['system']}; Python {machine['python']}, Spark {machine['spark']}, "
                f"DuckDB {machine['duckdb']}"
            )
            machines.setdefault(text, []).append(f"{result.title.lower()} {result.measured}")
    return "\n".join(f"- {machine}: {', '.join(measured)}." for machine, measured in machines.items())
