"""What a run asks of S3, by kind, and how long it waits: on an empty lake, late in a day, after a month.

How many requests there are depends on objects, not on events, so batches are small here. A lake that runs of
weeks would have left is laid out instead of being run: the files of one real run, copied under the names that
others would have given them. Each run is that of a new server, so its JVM is cold, as on Glue.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks import drawing
from benchmarks.harness import (
    FIRST_PERIOD,
    OURS,
    PRODUCTS,
    Bench,
    BenchmarkError,
    Pipeline,
    Run,
    deploy,
    progress,
)
from benchmarks.results import Figure, Result
from capstone_pipeline import connect
from generate_sample_data import FileSummary, Settings, generate
from local_aws import DEFAULT_REGION, running_server

TITLE = "Requests to S3"

DELAY_MS = 30
"""Added to each request: about what S3's first byte takes."""
EVENTS, LATE = 2_000, 0.2
"""Lines of a batch, and so many late visits that its events lie in as many hours as a large batch's."""
BATCHES, DAYS = 288, 30
MODEL = BATCHES // 2
"""The batch, at noon, whose files stand for those of the others."""
MIDNIGHT = FIRST_PERIOD.replace(hour=0)

PLACES = {
    "batch_1": "one object, into an empty lake",
    "batch_2": "one more",
    "idle": "nothing new",
    "batch_288": f"the last of {BATCHES} objects of a day, each taken in by a run of its own",
    "day_30": f"the same with {DAYS - 1} such days before it",
}
KINDS = ("LIST", "PUT", "GET", "HEAD", "DELETE")
PRICED_AS = {"COPY": "PUT", "MULTIPART": "PUT", "DELETE MANY": "DELETE"}
_UNREAD = b"x"
"""Content of raw objects that no run reads again. Glue's reader would fail of it."""
_AT_ONCE = 16


def measure(bench: Bench) -> tuple[dict[str, Figure], dict[str, Any]]:
    """Each run twice, without and with the delay: the difference is what it waits for."""
    batches = day_of_batches(bench.folder / "requests-batches")
    state, saved, runs = bench.folder / "requests", bench.folder / "requests-saved", dict[str, list[Run]]()
    with progress(TITLE, 2 * len(PLACES) + 3) as bar:
        with _server(bench, state) as quiet:
            stack = deploy(quiet, "requests", OURS).stack
        shutil.copytree(state, saved)

        def twice(place: str, *files: FileSummary, keep: bool = False) -> None:
            """Runs from the saved state on; afterwards it is the state, or (`keep`) what the runs left."""
            for delay in (0, DELAY_MS):
                shutil.rmtree(state)
                shutil.copytree(saved, state)
                with _server(bench, state, delay) as server:
                    pipeline = Pipeline(server, stack)
                    pipeline.deliver(*files)
                    run = pipeline.run()
                    _check(run, len(files))
                    runs.setdefault(place, []).append(run)
                    bar.update()
            if keep:
                shutil.rmtree(saved)
                shutil.copytree(state, saved)

        def lay_out(days: int) -> None:
            shutil.rmtree(state)
            shutil.copytree(saved, state)
            with _server(bench, state) as quiet:
                if days == 1:
                    lay_out_day(Pipeline(quiet, stack), batches[MODEL - 1])
                else:
                    lay_out_days_before(Pipeline(quiet, stack), days - 1)
                bar.update()
            shutil.rmtree(saved)
            shutil.copytree(state, saved)

        twice("batch_1", batches[0], keep=True)
        twice("batch_2", batches[1], keep=True)
        twice("idle")
        lay_out(1)
        twice("batch_288", batches[-1])
        lay_out(DAYS)
        twice("day_30", batches[-1])
    listed = dict(zip(PLACES, (1, 2, 2, BATCHES, BATCHES * DAYS), strict=True))
    told = {
        place: {
            "raw_objects": listed[place],
            "requests": dict(sorted(slow.requests.items())),
            "seconds": slow.seconds,
            "seconds_without_delay": quick.seconds,
        }
        for place, (quick, slow) in runs.items()
    }
    return figures_of(told), {"delay_ms": DELAY_MS, "runs": told}


def day_of_batches(folder: Path) -> list[FileSummary]:
    """Raw files that arrive every five minutes from midnight on; copies, of small files, go too far back."""
    settings = Settings(
        num_files=BATCHES,
        events_per_file=EVENTS,
        start=MIDNIGHT - timedelta(minutes=5),
        interval_minutes=5,
        products=PRODUCTS,
        duplicate_rate=0,
        late_rate=LATE,
        malformed_rate=0,
    )
    return list(generate(settings, folder))


def figures_of(runs: dict[str, dict[str, Any]]) -> dict[str, Figure]:
    """Of each place the requests by the kinds that have a price, and the seconds of waiting."""
    figures = {}
    for place, run in runs.items():
        what, counts = PLACES[place], Counter[str]()
        for kind, number in run["requests"].items():
            counts[PRICED_AS.get(kind, kind)] += number
        figures[f"{place}_requests"] = Figure(counts.total(), "count", f"requests: {what}")
        for kind in KINDS:
            figures[f"{place}_{kind.lower()}"] = Figure(counts[kind], "count", f"{kind}: {what}")
        waited = max(run["seconds"] - run["seconds_without_delay"], 0)
        figures[f"{place}_waiting_seconds"] = Figure(
            waited, "s", f"by which {DELAY_MS} ms a request make it longer: {what}"
        )
    return figures


@contextlib.contextmanager
def _server(bench: Bench, state: Path, delay_ms: int = 0) -> Iterator[Bench]:
    """The benchmark on another embedded AWS, whose S3 waits so long before each answer."""
    variable = "LOCAL_AWS_S3_DELAY_MS"
    os.environ[variable] = str(delay_ms)
    try:
        with running_server(state) as server:
            del os.environ[variable]
            yield replace(bench, server=server, aws=connect(DEFAULT_REGION, server.endpoint_url))
    finally:
        os.environ.pop(variable, None)


def _check(run: Run, files: int) -> None:
    """Raises BenchmarkError unless the run took in so many objects."""
    if run.new_files != files:
        raise BenchmarkError(f"the run should have taken in {files} files, not {run.new_files}")


# --- Lakes that runs of weeks would have left ---------------------------------------------------------------


def lay_out_day(pipeline: Pipeline, model: FileSummary) -> None:
    """All batches of the day between the second and the last, as a run each would have left them."""
    pipeline.deliver(model)
    run = pipeline.run()
    _check(run, 1)
    bucket = pipeline.stack.analytics_bucket_name
    s3 = pipeline.bench.aws.client("s3")
    index = _index_key(MIDNIGHT)
    lines = s3.get_object(Bucket=bucket, Key=index)["Body"].read().splitlines()
    (entry,) = [one for one in map(json.loads, lines) if one["uri"].endswith(model.path.name)]
    contents = {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in own(run.written)}
    objects: dict[str, bytes] = {}
    for number in set(range(3, BATCHES)) - {MODEL}:
        arrival = MIDNIGHT + timedelta(minutes=5 * (number - 1))
        key, line = raw_object(entry, arrival)
        objects |= {key: _UNREAD}
        lines.append(json.dumps(line).encode())
        for name, content in contents.items():
            objects[renamed(name, entry, line, arrival)] = content
    _put(pipeline, objects | {index: b"".join(line + b"\n" for line in lines)})
    _move_bookmark(pipeline)


def lay_out_days_before(pipeline: Pipeline, days: int) -> None:
    """Raw objects and index of so many days before: no run over a later day looks at more of them."""
    s3, bucket = pipeline.bench.aws.client("s3"), pipeline.stack.analytics_bucket_name
    index = _index_key(MIDNIGHT)
    entry = json.loads(s3.get_object(Bucket=bucket, Key=index)["Body"].read().splitlines()[-1])
    objects: dict[str, bytes] = {}
    for back in range(1, days + 1):
        day, lines = MIDNIGHT - timedelta(days=back), []
        for number in range(BATCHES):
            key, line = raw_object(entry, day + timedelta(minutes=5 * number))
            objects[key] = _UNREAD
            lines.append(json.dumps(line).encode() + b"\n")
        objects[_index_key(day)] = b"".join(lines)
    _put(pipeline, objects)
    _move_bookmark(pipeline)


def own(keys: Iterable[str]) -> list[str]:
    """Of the objects that a run wrote, those that the model of a day has for each run, or each hour."""
    return [key for key in keys if re.search(r"/run=|bronze/events|event_cube/", key)]


def raw_object(entry: dict[str, Any], arrival: datetime) -> tuple[str, dict[str, Any]]:
    """The key of a raw object that arrived then, and its line in the index, after that of another one."""
    bucket = entry["uri"].split("/")[2]
    key = (
        f"events/year={arrival:%Y}/month={arrival:%m}/day={arrival:%d}/hour={arrival:%H}/"
        f"minute={arrival:%M}/events-{arrival:%Y%m%d-%H%M%S}.jsonl.gz"
    )
    shift = arrival.hour - _arrival_of(entry).hour
    hours = [hour + shift for of_day in entry["days"].values() for hour in of_day if hour + shift >= 0]
    changed = {
        "uri": f"s3://{bucket}/{key}",
        "version": hashlib.md5(_UNREAD).hexdigest(),
        "arrival": f"{arrival:%Y-%m-%dT%H:%M}",
        "days": {f"{arrival:%Y-%m-%d}": hours},
    }
    return key, entry | changed


def renamed(name: str, entry: dict[str, Any], line: dict[str, Any], arrival: datetime) -> str:
    """A file of the model's run, named as the run over another object would have named it."""
    old, new = (_bronze_name(one) for one in (entry, line))
    name = re.sub(r"/run=[0-9a-f]+/", f"/run={new}/", name.replace(old, new))
    if name.startswith("bronze/"):
        return re.sub(r"hour=\d+/minute=\d+", f"hour={arrival:%H}/minute={arrival:%M}", name)
    shift = arrival.hour - _arrival_of(entry).hour
    return re.sub(r"hour=(\d+)", lambda hour: f"hour={max(int(hour[1]) + shift, 0):02d}", name)


def _index_key(day: datetime) -> str:
    """The object of the index that tells of this day of arrival."""
    return f"bronze/versions/{day:%Y-%m-%d}.jsonl"


def _bronze_name(entry: dict[str, Any]) -> str:
    """What the names of an object's files in bronze begin with."""
    return hashlib.sha256(f"{entry['uri']} {entry['version']}".encode()).hexdigest()[:16]


def _arrival_of(entry: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(entry["arrival"])


def _put(pipeline: Pipeline, objects: dict[str, bytes]) -> None:
    s3 = pipeline.bench.aws.client("s3")
    buckets = {True: pipeline.stack.source_bucket_name, False: pipeline.stack.analytics_bucket_name}

    def put(key: str) -> None:
        s3.put_object(Bucket=buckets[key.startswith("events/")], Key=key, Body=objects[key])

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        list(threads.map(put, objects))


def _move_bookmark(pipeline: Pipeline) -> None:
    """Let a run move the bookmark past what was laid out: Glue's reader fails of it, and nothing is new."""
    _check(pipeline.run(), 0)


# --- Shown --------------------------------------------------------------------------------------------------


def table(result: Result) -> str:
    """Requests by kind and seconds of waiting, a column for each place."""
    runs = result.details["runs"]
    kinds = sorted({kind for run in runs.values() for kind in run["requests"]})
    rows = [("raw objects listed", *(f"{run['raw_objects']:,}" for run in runs.values()))]
    rows += [(kind, *(f"{run['requests'].get(kind, 0):,}" for run in runs.values())) for kind in kinds]
    rows.append(("**all**", *(f"{sum(run['requests'].values()):,}" for run in runs.values())))
    waited = [str(result.figures[f"{place}_waiting_seconds"]) for place in runs]
    rows.append((f"longer by, with {result.details['delay_ms']} ms a request", *waited))
    heads = {"batch_1": "first batch", "batch_2": "second", "idle": "nothing new"}
    heads |= {"batch_288": f"batch {BATCHES} of a day", "day_30": f"and on day {DAYS}"}
    return drawing.table(("Requests of a run", *(heads[place] for place in runs)), rows)
