"""One batch into an empty lake: our job, the old script, the baseline and DuckDB, and where our time goes.

A run finds a cold JVM, as the first run after `make up` does, or a warm one, as each further run every five
minutes does (`packages/local-aws/src/local_aws/glue/jvms.py`). Both are measured of all scripts, on S3A, as
on Glue.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure as Plot

from benchmarks import drawing
from benchmarks.harness import (
    BASELINE,
    OURS,
    Bench,
    Run,
    median_figure,
    old_script,
    progress,
    run_once,
    warm_up,
)
from benchmarks.phases import EFFORT, IN_ORDER, WHAT, effort, phases
from benchmarks.results import ROOT, Figure, Result
from generate_sample_data import FileSummary

TITLE = "One batch"


RATIOS = {
    "ours_over_old_cold": ("ours_cold", "old_cold", "ours / old, cold JVM"),
    "ours_over_old": ("ours", "old", "ours / old, warm JVM"),
    "baseline_over_ours_cold": ("baseline_cold", "ours_cold", "baseline / ours, cold JVM"),
    "baseline_over_ours": ("baseline", "ours", "baseline / ours, warm JVM"),
    "ours_over_duckdb": ("ours", "duckdb", "ours / DuckDB, warm JVM"),
    "cold_over_warm": ("ours_cold", "ours", "ours, cold JVM / warm JVM"),
}
TIMES = {
    "ours": "our job, start_job_run to SUCCEEDED, warm JVM",
    "ours_cold": "our job, cold JVM",
    "old": "the old script, warm JVM",
    "old_cold": "the old script, cold JVM",
    "baseline": "the baseline, warm JVM",
    "baseline_cold": "the baseline, cold JVM",
    "duckdb": "DuckDB in one process",
}


def measure(bench: Bench) -> tuple[dict[str, Figure], dict[str, Any]]:
    """Each repetition runs all on the same file, one after the other, so that load hits them alike."""
    file, repeats = bench.batches(bench.scale.events)[1], bench.scale.repeats
    scripts = {"ours": OURS, "old": old_script(bench.folder), "baseline": BASELINE}
    with progress(TITLE, 9 * repeats) as bar:

        def observe(**how: Any) -> Run:
            run = run_once(bench, OURS, file, with_events=True, **how)
            bar.update()
            return run

        seconds = _in_turns(bench, file, scripts, bar, cold=True)
        cold_runs = [observe(cold=True) for _ in range(repeats)]
        warm_up(bench, file, *scripts.values())
        seconds |= _in_turns(bench, file, scripts, bar)
        warm_runs = [observe() for _ in range(repeats)]
        seconds["duckdb"] = [run_duckdb(bench, file) for _ in range(repeats)]
        bar.update(repeats)
    figures = {
        "events": Figure(file.lines, "count", "lines of the batch"),
        **{name: _ratio(seconds[over], seconds[under], text) for name, (over, under, text) in RATIOS.items()},
        **{f"{name}_seconds": median_figure(seconds[name], "s", text) for name, text in TIMES.items()},
        **_medians(_phase, [phases(run) for run in warm_runs], WHAT, ""),
        **_medians(_phase, [phases(run) for run in cold_runs], WHAT, "_cold"),
        **_medians(_effort, [effort(run) for run in warm_runs], EFFORT, ""),
        **_medians(_effort, [effort(run) for run in cold_runs], EFFORT, "_cold"),
    }
    return figures, {**seconds, "gzip_bytes": file.path.stat().st_size}


def _in_turns(
    bench: Bench, file: FileSummary, scripts: Mapping[str, Path], bar: Any, *, cold: bool = False
) -> dict[str, list[float]]:
    """Seconds of runs of each script."""
    seconds: dict[str, list[float]] = {f"{name}_cold" if cold else name: [] for name in scripts}
    for _ in range(bench.scale.repeats):
        for times, script in zip(seconds.values(), scripts.values(), strict=True):
            times.append(run_once(bench, script, file, cold=cold).seconds)
            bar.update()
    return seconds


def run_duckdb(bench: Bench, file: FileSummary) -> float:
    """Seconds that DuckDB takes for the same work in a fresh process, Python's start not counted."""
    command = [sys.executable, "-m", "benchmarks.duckdb_limit", str(file.path), str(bench.folder / "duckdb")]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[0])


ROWS = {
    "our job": ("ours_cold_seconds", "ours_seconds"),
    "the script that it replaced": ("old_cold_seconds", "old_seconds"),
    "the baseline": ("baseline_cold_seconds", "baseline_seconds"),
    "DuckDB in one process": ("", "duckdb_seconds"),
    "ours / replaced, in pairs": ("ours_over_old_cold", "ours_over_old"),
    "baseline / ours, in pairs": ("baseline_over_ours_cold", "baseline_over_ours"),
}


def table(result: Result) -> str:
    """Seconds and ratios of cold runs and of warm ones."""
    rows = [
        (label, *(result.figures[name].with_spread if name else "" for name in names))
        for label, names in ROWS.items()
        if names[-1] in result.figures
    ]
    return drawing.table(("", "cold JVM", "warm JVM"), rows)


def _told(result: Result) -> list[str]:
    """The phases that could be told apart in all runs."""
    figures = result.figures
    return [name for name in IN_ORDER if _phase(name) in figures and _phase(name, "_cold") in figures]


def _phase(name: str, suffix: str = "") -> str:
    return f"phase_{name}{suffix}_seconds"


def plots(result: Result) -> dict[str, Plot]:
    """A bar a contender, ours split into its phases."""
    plot, axes = drawing.canvas(height=3.2)
    names = _told(result)
    for contender, suffix in (("ours, warm", ""), ("ours, cold", "_cold")):
        left = 0.0
        for colour, name in zip(drawing.COLOURS, names, strict=False):
            seconds = result.figures[_phase(name, suffix)].value
            label = name.replace("_", " ") if not suffix else None
            bars = axes.barh(contender, seconds, left=left, color=colour, label=label, height=0.6)
            left += seconds
        axes.bar_label(bars, [f"{left:.1f} s"], padding=4, fontsize=9)
    others = {"old": "old, warm", "old_cold": "old, cold"} if "old_seconds" in result.figures else {}
    others |= {"baseline": "baseline, warm", "baseline_cold": "baseline, cold", "duckdb": "DuckDB"}
    for contender, label in others.items():
        value = result.figures[f"{contender}_seconds"].value
        bars = axes.barh(label, value, color=drawing.GREY, height=0.6)
        axes.bar_label(bars, fmt="{:.1f} s", padding=4, fontsize=9)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel("Seconds")
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1.05))
    return {"one_batch": plot}


def _ratio(over: list[float], under: list[float], what: str) -> Figure:
    ratios = [one / other for one, other in zip(over, under, strict=True)]
    return median_figure(ratios, "ratio", f"{what}, in pairs")


def _effort(name: str, suffix: str = "") -> str:
    return f"effort_{name}{suffix}_seconds"


def _medians(
    figure_id: Callable[[str, str], str],
    splits: list[dict[str, float]],
    what: Mapping[str, str],
    suffix: str,
) -> dict[str, Figure]:
    """The figures of what all splits have."""
    return {
        figure_id(name, suffix): median_figure([split[name] for split in splits], "s", f"{name}: {text}")
        for name, text in what.items()
        if all(name in split for split in splits)
    }
