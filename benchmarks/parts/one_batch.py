"""One batch into an empty lake: our job, the baseline and DuckDB in turns, and where our time goes.

A run finds a cold JVM, as the first run after `make up` does, or a warm one, as each further run every five
minutes does (`local_aws/glue/jvms.py`). Both are measured, for the baseline too.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure as Plot

from benchmarks import drawing
from benchmarks.harness import BASELINE, OURS, Bench, Run, deploy, median_figure, progress, warm_up
from benchmarks.phases import EFFORT, IN_ORDER, WHAT, effort, phases
from benchmarks.results import ROOT, Figure, Result, format_value
from generate_sample_data import FileSummary

TITLE = "One batch"


def measure(bench: Bench) -> tuple[dict[str, Figure], dict[str, Any]]:
    """Each repetition runs all three on the same file, one after the other, so that load hits them alike."""
    file = bench.batches(bench.scale.events)[1]
    repeats = bench.scale.repeats
    seconds: dict[str, list[float]] = {
        name: [] for name in ("ours_cold", "baseline_cold", "ours", "baseline", "duckdb")
    }
    observed: dict[str, list[Run]] = {"cold": [], "warm": []}
    with progress(TITLE, 7 * repeats) as bar:

        def run(script: Path, **how: Any) -> Run:
            pipeline = deploy(bench, f"batch-{bar.n}", script)
            pipeline.deliver(file)
            done = pipeline.run(**how)
            bar.update()
            return done

        for _ in range(repeats):
            seconds["ours_cold"].append(run(OURS, cold=True).seconds)
            seconds["baseline_cold"].append(run(BASELINE, cold=True).seconds)
            observed["cold"].append(run(OURS, cold=True, with_events=True))
        warm_up(bench, file)
        for _ in range(repeats):
            seconds["ours"].append(run(OURS).seconds)
            seconds["baseline"].append(run(BASELINE).seconds)
            seconds["duckdb"].append(run_duckdb(bench, file))
            bar.update()
            observed["warm"].append(run(OURS, with_events=True))
    what = {
        "ours": "our job, start_job_run to SUCCEEDED, warm JVM",
        "baseline": "the baseline, start_job_run to SUCCEEDED, warm JVM",
        "ours_cold": "our job in a cold JVM",
        "baseline_cold": "the baseline in a cold JVM",
        "duckdb": "DuckDB in one process",
    }
    ratios = {
        "baseline_over_ours": ("baseline", "ours", "baseline / ours in pairs, warm JVM"),
        "baseline_over_ours_cold": ("baseline_cold", "ours_cold", "baseline / ours in pairs, cold JVM"),
        "ours_over_duckdb": ("ours", "duckdb", "ours / DuckDB in pairs, warm JVM"),
        "cold_over_warm": ("ours_cold", "ours", "our job, cold JVM / warm JVM"),
    }
    figures = {
        "events": Figure(file.lines, "count", "lines of the batch"),
        **{f"{name}_seconds": median_figure(seconds[name], "s", text) for name, text in what.items()},
        **{
            name: median_figure(_ratios(seconds[longer], seconds[shorter]), "ratio", text)
            for name, (longer, shorter, text) in ratios.items()
        },
        **_medians(_phase, [phases(run) for run in observed["warm"]], WHAT, ""),
        **_medians(_phase, [phases(run) for run in observed["cold"]], WHAT, "_cold"),
        **_medians(_effort, [effort(run) for run in observed["warm"]], EFFORT, ""),
        **_medians(_effort, [effort(run) for run in observed["cold"]], EFFORT, "_cold"),
    }
    return figures, {**seconds, "gzip_bytes": file.path.stat().st_size}


def run_duckdb(bench: Bench, file: FileSummary) -> float:
    """Seconds that DuckDB takes for the same work in a fresh process, Python's start not counted."""
    command = [sys.executable, "-m", "benchmarks.duckdb_limit", str(file.path), str(bench.folder / "duckdb")]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[0])


def section(result: Result) -> str:
    """Markdown: the comparison, then the phases."""
    figures = result.figures
    names = (
        *("baseline_over_ours", "baseline_over_ours_cold", "ours_over_duckdb", "cold_over_warm"),
        *("ours_seconds", "ours_cold_seconds", "baseline_seconds", "baseline_cold_seconds", "duckdb_seconds"),
    )
    told = _told(result)
    untold = ", ".join(name for name in IN_ORDER if name not in told)
    total = sum(figures[_phase(name)].value for name in told)
    phases_table = [
        (
            name,
            str(figures[_phase(name)]),
            f"{figures[_phase(name)].value / total:.0%}",
            str(figures[_phase(name, "_cold")]),
            WHAT[name],
        )
        for name in told
    ]
    return drawing.paragraphs(
        f"One raw file of {figures['events']} lines ({format_value(result.details['gzip_bytes'], 'B')} "
        "compressed) is taken into an empty lake, from start_job_run to SUCCEEDED on the embedded AWS. Every "
        "repetition runs our job, the baseline "
        "([benchmarks/baseline_etl.py](../benchmarks/baseline_etl.py)) and DuckDB one after the other. "
        "The baseline is what one would write at first: append to bronze, read all of bronze, remove copies "
        "by a window, overwrite silver and five aggregates, log a count after each write. DuckDB "
        "reads the same file and writes the same tables in one process, without increments and guarantees: "
        "it shows the limit.",
        "The embedded AWS keeps the JVM of a run that succeeded for the next one. The first run after "
        "`make up` finds a cold JVM, in which Java loads, interprets and compiles all code anew; the runs "
        "after it find a warm one. Warm runs were timed after several others. Both scripts are run both "
        "ways.",
        drawing.figure_table(figures[name] for name in names),
        "Where our time goes, in runs of their own with Spark's event log on. A layer ends with its summary "
        "line in the job's log." + (f" Not to be told apart from what follows: {untold}." if untold else ""),
        drawing.image(
            "one_batch", "Seconds of each phase of our run, warm and cold, as bars above baseline and DuckDB."
        ),
        drawing.table(("Phase", "Warm", "Share", "Cold", "What it is"), phases_table),
        f"Beside Spark's start, stage-in takes {figures[_phase('stage_in')]}: {WHAT['stage_in']}.",
        "What the time is made of, in the same runs:",
        drawing.table(
            ("Seconds", "Warm", "Cold"),
            [
                (what, str(figures[_effort(name)]), str(figures[_effort(name, "_cold")]))
                for name, what in EFFORT.items()
            ],
        ),
        _explanation(figures),
    )


def _explanation(figures: Mapping[str, Figure]) -> str:
    """What stands between these times and the targets, and what would have to change."""
    floor = figures[_phase("spark_start")].value + figures[_phase("bronze")].value
    best = figures["baseline_seconds"].value / floor
    return drawing.paragraphs(
        "**Cold and warm.** A cold JVM loads Spark's classes, interprets them, and compiles what runs often, "
        "Spark's own code as well as what Spark generates for each plan, on the cores that the rows need. "
        "In a warm one all that is there: the embedded AWS keeps the JVM, and lets a run find the code that "
        "was generated before (`local_aws/glue/compiled_code.py`). Less hesitant, more hesitant and simpler "
        "compilation were tried, and made cold runs no faster. What would: fewer plans, or a JVM that starts "
        "with compiled code, which Java 17 has not.",
        "**Baseline / ours.** On the first batch the baseline has no history to read again, and does less "
        "with the lines: it gives no reason for a rejected one, sorts nothing, and does not survive being "
        f"killed. To start, and to read, judge and write every line once, takes {format_value(floor, 's')} "
        f"of our warm run; were all that follows for nothing, the ratio would be {best:.1f}x. A larger one "
        "needs cheaper lines: rules that stop at the first difference from JSON as expected, or a reader "
        "that is compiled ahead, as DuckDB's is. What the incremental job saves is history, and shows below.",
    )


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
    for contender in ("baseline", "baseline_cold", "duckdb"):
        label = {"baseline": "baseline, warm", "baseline_cold": "baseline, cold", "duckdb": "DuckDB"}[
            contender
        ]
        value = result.figures[f"{contender}_seconds"].value
        bars = axes.barh(label, value, color=drawing.GREY, height=0.6)
        axes.bar_label(bars, fmt="{:.1f} s", padding=4, fontsize=9)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel("Seconds")
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1.05))
    return {"one_batch": plot}


def _ratios(longer: list[float], shorter: list[float]) -> list[float]:
    return [one / other for one, other in zip(longer, shorter, strict=True)]


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
