"""What every part of the benchmark stands on: batches, a deployed pipeline, its runs and their times.

Everything goes over HTTP as with AWS: the stack is deployed from the template, the job is created by
`capstone_pipeline`, objects are put by boto3, and a run is timed from start_job_run to SUCCEEDED.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import psutil
import pyspark
from tqdm import tqdm

from benchmarks.memory import peak_memory
from benchmarks.results import ROOT, Figure
from benchmarks.spark_events import Observation, observation_settings, read_observation
from capstone_pipeline import Connection, StackOutputs, connect, create_or_update_job, upload_if_changed
from capstone_pipeline.job import ACTIVE_STATES, parse_summary
from demo import deploy_stack
from generate_sample_data import FileSummary, Settings, generate
from local_aws import BYTES_READ, DEFAULT_REGION, LocalAws, running_server

TEMPLATE = ROOT / "capstone-starter.cfn.yaml"
OURS = ROOT / "glue_scripts" / "capstone_etl.py"
BASELINE = ROOT / "benchmarks" / "baseline_etl.py"
_OLD = "d072dc4:glue_scripts/capstone_etl.py"
"""The last script that staged its files and moved them into place."""

FIRST_PERIOD = datetime(2025, 11, 18, 8, tzinfo=UTC)
"""All batches of the history lie within this day: the day that grows is the hardest case."""

PRODUCTS = 1_000
"""As many as the generator Lambda's shop has."""

_POLL_SECONDS = 0.25
_ARCHIVE_TIMEOUT_SECONDS = 300


class BenchmarkError(Exception):
    """A measurement could not be taken; the message says why."""


@dataclass(frozen=True)
class Scale:
    """How much is measured. The defaults are what the committed results were measured with."""

    events: int = 590_000
    """Lines of one batch: what the generator delivers in five minutes, on average."""
    repeats: int = 5
    batches: int = 24
    baseline_batches: tuple[int, ...] = (1, 2, 12, 24)
    """The batches of the history at which the baseline is timed; the others it takes in several at once."""
    backlog: int = 288
    """Objects of a backlog, all of one day."""
    backlog_events: int = 20_000
    """Lines of each of them."""
    generated: int = 750_000
    """Events that the generators are measured with."""
    warm_ups: int = 5
    """Untimed runs of each script in one JVM, after which more get it hardly faster."""
    watch_small: int = 50
    watch_large: int = 20
    """Small and large objects that a run in watch mode is timed with."""
    watch_rounds: int = 500
    """Rounds after which its memory is looked at again."""
    watch_runs: int = 5
    """Separate runs that it is compared with."""


@dataclass
class Bench:
    """A running benchmark: its scale, the embedded AWS that it uses, a folder for what it generates."""

    scale: Scale
    server: LocalAws
    aws: Connection
    folder: Path
    _batches: dict[tuple[int, int, datetime], Batches] = field(default_factory=dict)

    def batches(self, events: int, interval_minutes: int = 5, start: datetime = FIRST_PERIOD) -> Batches:
        """The sequence of batches of this size, each generated when it is first asked for."""
        key = events, interval_minutes, start
        if key not in self._batches:
            folder = self.folder / f"batches-{events}-{interval_minutes}-{start:%Y%m%d%H%M}"
            self._batches[key] = Batches(events, interval_minutes, start, folder)
        return self._batches[key]


@contextlib.contextmanager
def benchmark(scale: Scale, folder: Path) -> Iterator[Bench]:
    """An embedded AWS of its own, on a free loopback port, for the length of a `with` block."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    try:
        with running_server(folder / "aws") as server:
            os.environ.update(server.environment)
            yield Bench(scale, server, connect(DEFAULT_REGION, server.endpoint_url), folder)
    finally:
        os.environ.clear()
        os.environ.update(before)


def wait_for_class_archive(server: LocalAws) -> None:
    """Wait while the embedded AWS records Spark's class archive, once per environment.

    It does so in the background, which would disturb what is measured; and Spark starts faster with it.
    """
    deadline = time.monotonic() + _ARCHIVE_TIMEOUT_SECONDS
    while not server.has_class_archive() and time.monotonic() < deadline:
        time.sleep(0.5)


def old_script(folder: Path) -> Path:
    """The old script, from git. Raises BenchmarkError where there is no history."""
    path = folder / "old_etl.py"
    done = subprocess.run(["git", "show", _OLD], cwd=ROOT, capture_output=True)
    if done.returncode:
        raise BenchmarkError(f"git show {_OLD}: {done.stderr.decode().strip()}. It needs a full clone.")
    path.write_bytes(done.stdout)
    return path


class Batches:
    """Raw files of up to 288 consecutive periods, written as they are needed.

    None of their lines is malformed: of bytes that are no UTF-8 the old script and the baseline fail.
    """

    def __init__(self, events: int, interval_minutes: int, start: datetime, folder: Path) -> None:
        settings = Settings(
            num_files=288,
            events_per_file=events,
            start=start,
            interval_minutes=interval_minutes,
            products=PRODUCTS,
            malformed_rate=0,
        )
        self._generator = generate(settings, folder)
        self._files: list[FileSummary] = []

    def __getitem__(self, number: int) -> FileSummary:
        """Batch `number`, from 1 on."""
        while len(self._files) < number:
            self._files.append(next(self._generator))
        return self._files[number - 1]


# --- A pipeline and its runs --------------------------------------------------------------------------------


@dataclass(frozen=True)
class LogLine:
    """A line of a run's log, and when CloudWatch got it (seconds since 1970)."""

    time: float
    text: str


@dataclass(frozen=True)
class Run:
    """A job run that succeeded. `events` is what Spark says of it, where that was asked for."""

    began: float
    seconds: float
    output: list[LogLine]
    system: list[LogLine]
    written: dict[str, int]
    """The objects that it left in the analytics bucket: key and size in bytes."""
    requests: dict[str, int]
    """To S3, by kind."""
    bytes_read: int
    """Of objects, from S3."""
    memory: dict[str, int]
    """Bytes of its processes when they had most, by kind, where that was asked for."""
    events: Observation | None

    @property
    def new_files(self) -> int | None:
        """How many it took in; None where its script does not tell, as the baseline's."""
        return parse_summary([line.text for line in self.output]).get("bronze", {}).get("files")

    def told(self, pattern: re.Pattern[str]) -> re.Match[str]:
        """The one match in its system log."""
        (match,) = [match for line in self.system if (match := pattern.search(line.text))]
        return match


@dataclass(frozen=True)
class Pipeline:
    """A deployed stack with its job."""

    bench: Bench
    stack: StackOutputs

    def deliver(self, *files: FileSummary) -> None:
        """Put raw files into the source bucket, as the generator would."""
        s3 = self.bench.aws.client("s3")
        for file in files:
            key = "events/" + "/".join(file.path.parts[-6:])
            s3.put_object(Bucket=self.stack.source_bucket_name, Key=key, Body=file.path.read_bytes())

    def run(
        self,
        *,
        with_events: bool = False,
        with_memory: bool = False,
        cold: bool = False,
        conf: str = "",
        options: Mapping[str, str] | None = None,
    ) -> Run:
        """Run the job to its end. Raises BenchmarkError when it fails.

        A `cold` run gets a new JVM, which no other run gets; `with_memory` is for such runs. `conf` is
        Glue's --conf argument, `options` are the script's own arguments.
        """
        glue, job = self.bench.aws.client("glue"), self.stack.glue_job_name
        observed = self.bench.folder / "observed"
        shutil.rmtree(observed, ignore_errors=True)
        settings = [conf] if conf else []
        if cold:  # A run with Java options of its own has a JVM of its own.
            settings.append(f"spark.driver.extraJavaOptions=-Dbenchmark.run={time.time_ns()}")
        if with_events:
            settings += observation_settings(observed)
        arguments = dict(options or {})
        if settings:
            arguments["--conf"] = " --conf ".join(settings)
        before = self._versions()
        self.bench.server.requests(reset=True)
        began = time.time()
        memory: dict[str, int] = {}
        with peak_memory(self.bench.server, memory) if with_memory else contextlib.nullcontext():
            run_id = glue.start_job_run(JobName=job, Arguments=arguments)["JobRunId"]
            asked = {"JobName": job, "RunId": run_id}
            while (run := glue.get_job_run(**asked)["JobRun"])["JobRunState"] in ACTIVE_STATES:
                time.sleep(_POLL_SECONDS)
        requests = Counter[str]()
        for kinds in self.bench.server.requests().values():
            requests.update(kinds)
        output = self._log(self.stack.output_log_group, run_id)
        if run["JobRunState"] != "SUCCEEDED":
            lines = "\n".join(line.text for line in output[-15:])
            raise BenchmarkError(f"{job} {run['JobRunState']}: {run.get('ErrorMessage')}\n{lines}")
        return Run(
            began=began,
            seconds=run["CompletedOn"].timestamp() - began,
            written={key: size for key, (size, *_) in (self._versions().items() - before.items())},
            bytes_read=requests.pop(BYTES_READ, 0),
            requests=dict(requests),
            memory=memory,
            output=output,
            system=self._log(self.stack.error_log_group, run_id),
            events=read_observation(observed) if with_events else None,
        )

    def ask(self, sql: str, database: str) -> tuple[float, list[list[str | None]]]:
        """Seconds from start_query_execution to the first page of results, and its rows."""
        athena = self.bench.aws.client("athena")
        began = time.perf_counter()
        query_id = athena.start_query_execution(
            QueryString=sql,
            WorkGroup=self.stack.athena_workgroup_name,
            QueryExecutionContext={"Database": database},
        )["QueryExecutionId"]
        while True:
            status = athena.get_query_execution(QueryExecutionId=query_id)["QueryExecution"]["Status"]
            if status["State"] in ("SUCCEEDED", "FAILED", "CANCELLED"):
                break
            time.sleep(0.01)
        if status["State"] != "SUCCEEDED":
            raise BenchmarkError(f"{status.get('StateChangeReason')}\n{sql}")
        rows = athena.get_query_results(QueryExecutionId=query_id)["ResultSet"]["Rows"]
        seconds = time.perf_counter() - began
        return seconds, [[value.get("VarCharValue") for value in row["Data"]] for row in rows[1:]]

    def objects(self, prefix: str) -> dict[str, int]:
        """Key and size in bytes of the objects of the analytics bucket below a prefix, without markers."""
        return {key: size for key, (size, *_) in self._versions(prefix).items()}

    def _versions(self, prefix: str = "") -> dict[str, tuple[int, str, datetime]]:
        pages = self.bench.aws.client("s3").get_paginator("list_objects_v2")
        return {
            item["Key"]: (item["Size"], item["ETag"], item["LastModified"])
            for page in pages.paginate(Bucket=self.stack.analytics_bucket_name, Prefix=prefix)
            for item in page.get("Contents", [])
            if not item["Key"].endswith("/")
        }

    def fetch(self, prefix: str, folder: Path) -> list[Path]:
        """Download the objects below a prefix and return their files."""
        s3 = self.bench.aws.client("s3")
        paths = []
        for key in self.objects(prefix):
            path = folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            s3.download_file(self.stack.analytics_bucket_name, key, str(path))
            paths.append(path)
        return paths

    def _log(self, group: str, stream: str) -> list[LogLine]:
        pages = self.bench.aws.client("logs").get_paginator("filter_log_events")
        return [
            LogLine(event["timestamp"] / 1000, event["message"])
            for page in pages.paginate(logGroupName=group, logStreamNames=[stream])
            for event in page["events"]
        ]


def deploy(bench: Bench, name: str, script: Path = OURS) -> Pipeline:
    """A new stack with an empty lake, whose job runs `script`."""
    parameters = {"StudentId": name, "GeneratorState": "DISABLED"}
    _, stack = deploy_stack(bench.aws, f"capstone-{name}", TEMPLATE.read_text(encoding="utf-8"), parameters)
    upload_if_changed(bench.aws, script, stack.script_location)
    create_or_update_job(bench.aws, stack)
    return Pipeline(bench, stack)


def run_once(bench: Bench, script: Path, *files: FileSummary, **how: Any) -> Run:
    """A run of the script that takes these files into an empty lake."""
    pipeline = deploy(bench, f"once-{uuid4().hex[:8]}", script)
    pipeline.deliver(*files)
    return pipeline.run(**how)


def warm_up(bench: Bench, file: FileSummary, *scripts: Path) -> None:
    """Runs of these scripts, after which runs of them find a warm JVM."""
    for _ in range(bench.scale.warm_ups):
        for script in scripts:
            run_once(bench, script, file)


# --- Figures, progress, the machine -------------------------------------------------------------------------


def median_figure(values: Sequence[float], unit: str, what: str) -> Figure:
    """The median of repetitions, with their least and greatest."""
    text = f"{what}, median of {len(values)}" if len(values) > 1 else what
    spread = (min(values), max(values)) if len(values) > 1 else None
    return Figure(statistics.median(values), unit, text, spread)


def progress(title: str, steps: int) -> tqdm[Any]:
    """A progress bar; on a terminal it moves, in a file it adds a line now and then."""
    every = 0.2 if sys.stderr.isatty() else 30.0
    return tqdm(total=steps, desc=title, unit="step", mininterval=every, dynamic_ncols=True)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "processor": _processor(),
        "cpus": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "spark": pyspark.__version__,
        "duckdb": duckdb.__version__,
        "load_before": round(os.getloadavg()[0], 1),
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
