"""How fast the two generators make events, and how much memory they need.

Each repetition is a process of its own. The Lambda function is the code in the template; it stores into a
stand-in for S3, so that nothing but the function is measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from cfnlint.decode import decode

from benchmarks import drawing
from benchmarks.harness import TEMPLATE, Bench, median_figure, progress
from benchmarks.results import ROOT, Figure, Result

TITLE = "Generators"

_REPORT = """
import json, re, resource, time
from pathlib import Path
seconds = time.perf_counter() - began
# On Linux ru_maxrss would count the process that this one was forked from.
status = Path("/proc/self/status")
peak = re.search(r"VmHWM:\\s*(\\d+) kB", status.read_text()) if status.exists() else None
kib = int(peak[1]) if peak else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"seconds": seconds, "peak_mib": kib / 1024}))
"""
SAMPLE_DATA = f"""
import sys, time
began = time.perf_counter()
import generate_sample_data
assert generate_sample_data.main(sys.argv[1:]) == 0
{_REPORT}
"""
LAMBDA = f"""
import os, sys, time
import boto3
code, events = sys.stdin.read(), sys.argv[1]
class Upload:
    def put_object(self, **request):
        while request["Body"].read(1 << 20):
            pass
boto3.client = lambda service: Upload()
os.environ.update(SOURCE_BUCKET="raw", EVENTS_PER_RUN_MIN=events, EVENTS_PER_RUN_MAX=events)
began = time.perf_counter()
function = {{}}
exec(code, function)
assert function["handler"]({{}}, None)["event_count"] == int(events)
{_REPORT}
"""


def measure(bench: Bench) -> tuple[dict[str, Figure], dict[str, Any]]:
    """Both generators in turns."""
    events = bench.scale.generated
    code = inline_code("GeneratorFunction")
    options = ["--num-files", "1", "--events-per-file", str(events), "--interval-minutes", "5"]
    files, functions = [], []
    with progress(TITLE, 2 * bench.scale.repeats) as bar:
        for _ in range(bench.scale.repeats):
            files.append(_run(SAMPLE_DATA, [*options, "--output-dir", str(bench.folder / "generated")]))
            bar.update()
            functions.append(_run(LAMBDA, [str(events)], code))
            bar.update()
    seconds = [run["seconds"] for run in files]
    lambda_seconds = [run["seconds"] for run in functions]
    script, function = "generate_sample_data.py", "the Lambda function"
    figures = {
        "events": Figure(events, "count", "events generated"),
        "seconds": median_figure(seconds, "s", f"{script}, compressing and writing"),
        "events_per_second": median_figure([events / s for s in seconds], "events/s", script),
        "peak_mib": median_figure([run["peak_mib"] for run in files], "MiB", f"peak memory of {script}"),
        "lambda_seconds": median_figure(lambda_seconds, "s", f"{function}, compressing, without upload"),
        "lambda_events_per_second": median_figure([events / s for s in lambda_seconds], "events/s", function),
        "lambda_peak_mib": median_figure(
            [run["peak_mib"] for run in functions],
            "MiB",
            f"peak memory of {function}, boto3 included",
        ),
    }
    return figures, {"files": files, "functions": functions}


def inline_code(function: str) -> str:
    """The Python source of a Lambda function of the template."""
    template, _ = decode(str(TEMPLATE))
    return str(template["Resources"][function]["Properties"]["Code"]["ZipFile"])


def _run(program: str, arguments: list[str], text: str = "") -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        input=text,
        check=True,
        capture_output=True,
        text=True,
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def table(result: Result) -> str:
    """The script beside the Lambda function."""
    contenders = {
        "`generate_sample_data.py`": ("events_per_second", "seconds", "peak_mib"),
        "Lambda function": ("lambda_events_per_second", "lambda_seconds", "lambda_peak_mib"),
    }
    rows = [(label, *(str(result.figures[name]) for name in names)) for label, names in contenders.items()]
    return drawing.table(("", "Rate", "Time", "Peak memory"), rows)
