"""One batch into an empty lake: our job, the baseline and DuckDB in turns, and where our time goes."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from matplotlib.figure import Figure as Plot

from benchmarks import drawing
from benchmarks.harness import BASELINE, OURS, Bench, deploy, median_figure, progress
from benchmarks.phases import IN_ORDER, WHAT, phases
from benchmarks.results import ROOT, Figure, Result, format_value
from generate_sample_data import FileSummary

TITLE = "One batch"


def measure(bench: Bench) -> tuple[dict[str, Figure], dict[str, Any]]:
    """Each repetition runs all three on the same file, one after the other, so that load hits them alike."""
    file = bench.batches(bench.scale.events)[1]
    ours, baseline, limit, splits = [], [], [], []
    with progress(TITLE, 4 * bench.scale.repeats) as bar:
        for number in range(1, bench.scale.repeats + 1):
            pipeline = deploy(bench, f"batch-ours-{number}", OURS)
            pipeline.deliver(file)
            ours.append(pipeline.run().seconds)
            bar.update()
            pipeline = deploy(bench, f"batch-base-{number}", BASELINE)
            pipeline.deliver(file)
            baseline.append(pipeline.run().seconds)
            bar.update()
            limit.append(run_duckdb(bench, file))
            bar.update()
            pipeline = deploy(bench, f"batch-split-{number}", OURS)
            pipeline.deliver(file)
            splits.append(phases(pipeline.run(with_events=True)))
            bar.update()
    figures = {
        "events": Figure(file.lines, "count", "lines of the batch"),
        "ours_seconds": median_figure(ours, "s", "our job, start_job_run to SUCCEEDED"),
        "baseline_seconds": median_figure(baseline, "s", "the baseline, start_job_run to SUCCEEDED"),
        "duckdb_seconds": median_figure(limit, "s", "DuckDB in one process"),
        "baseline_over_ours": median_figure(_ratios(baseline, ours), "ratio", "baseline / ours, in pairs"),
        "ours_over_duckdb": median_figure(_ratios(ours, limit), "ratio", "ours / DuckDB, in pairs"),
        **_phase_figures(splits),
    }
    details = {"ours": ours, "baseline": baseline, "duckdb": limit, "gzip_bytes": file.path.stat().st_size}
    return figures, details


def run_duckdb(bench: Bench, file: FileSummary) -> float:
    """Seconds that DuckDB takes for the same work in a fresh process, Python's start not counted."""
    command = [sys.executable, "-m", "benchmarks.duckdb_limit", str(file.path), str(bench.folder / "duckdb")]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[0])


def section(result: Result) -> str:
    """Markdown: the comparison, then the phases."""
    figures = result.figures
    names = ("baseline_over_ours", "ours_over_duckdb", "ours_seconds", "baseline_seconds", "duckdb_seconds")
    split = {name: figures[_phase(name)] for name in IN_ORDER if _phase(name) in figures}
    untold = ", ".join(name for name in IN_ORDER if name not in split)
    total = sum(figure.value for figure in split.values())
    phases_table = [(name, str(f), f"{f.value / total:.0%}", WHAT[name]) for name, f in split.items()]
    return drawing.paragraphs(
        f"One raw file of {figures['events']} lines ({format_value(result.details['gzip_bytes'], 'B')} "
        "compressed) is taken into an empty lake, from start_job_run to SUCCEEDED on the embedded AWS. Every "
        "repetition runs our job, the baseline "
        "([benchmarks/baseline_etl.py](../benchmarks/baseline_etl.py)) and DuckDB one after the other. "
        "The baseline is what one would write at first: append to bronze, read all of bronze, remove copies "
        "by a window, overwrite silver and five aggregates, log a count after each write. DuckDB "
        "reads the same file and writes the same tables in one process, without increments and guarantees: "
        "it shows the limit.",
        drawing.figure_table(figures[name] for name in names),
        "Where our time goes, in runs of their own with Spark's event log on. A layer ends with its summary "
        "line in the job's log." + (f" Not to be told apart from what follows: {untold}." if untold else ""),
        drawing.image("one_batch", "Seconds of each phase of our run as one bar, above baseline and DuckDB."),
        drawing.table(("Phase", "Median", "Share", "What it is"), phases_table),
        f"Beside Spark's start, stage-in takes {figures[_phase('stage_in')]}: {WHAT['stage_in']}.",
    )


def _phase(name: str) -> str:
    return f"phase_{name}_seconds"


def plots(result: Result) -> dict[str, Plot]:
    """One bar a contender, ours split into its phases."""
    plot, axes = drawing.canvas(height=2.4)
    left = 0.0
    names = [name for name in IN_ORDER if f"phase_{name}_seconds" in result.figures]
    for colour, name in zip(drawing.COLOURS, names, strict=False):
        seconds = result.figures[f"phase_{name}_seconds"].value
        bars = axes.barh("ours", seconds, left=left, color=colour, label=name.replace("_", " "), height=0.6)
        left += seconds
    axes.bar_label(bars, [f"{left:.1f} s"], padding=4, fontsize=9)
    for label, name in (("baseline", "baseline_seconds"), ("DuckDB", "duckdb_seconds")):
        bars = axes.barh(label, result.figures[name].value, color=drawing.GREY, height=0.6)
        axes.bar_label(bars, fmt="{:.1f} s", padding=4, fontsize=9)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel("Seconds")
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1.05))
    return {"one_batch": plot}


def _ratios(longer: list[float], shorter: list[float]) -> list[float]:
    return [one / other for one, other in zip(longer, shorter, strict=True)]


def _phase_figures(splits: list[dict[str, float]]) -> dict[str, Figure]:
    names = [name for name in ("stage_in", *IN_ORDER) if all(name in split for split in splits)]
    return {
        _phase(name): median_figure([split[name] for split in splits], "s", f"{name}: {WHAT[name]}")
        for name in names
    }
