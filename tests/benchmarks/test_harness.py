"""The benchmark measures what it says, tried with few events."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import duckdb_limit
from benchmarks.__main__ import main
from benchmarks.harness import (
    BASELINE,
    Bench,
    BenchmarkError,
    LogLine,
    Pipeline,
    Run,
    Scale,
    benchmark,
    deploy,
)
from benchmarks.parts import backlog, compaction, history, requests
from benchmarks.parts.queries import scanned_bytes
from benchmarks.phases import IN_ORDER, effort, phases
from benchmarks.results import Figure, Result, load
from benchmarks.spark_events import Observation

FEW = Scale(events=2_000, repeats=1, batches=1, backlog=3, backlog_events=1_000, generated=1_000, warm_ups=0)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with benchmark(FEW, tmp_path_factory.mktemp("bench")) as running:
        yield running


def rows(pipeline: Pipeline, table: str, folder: Path) -> int:
    paths = [str(path) for path in pipeline.fetch(table, folder)]
    (count,) = duckdb.execute(f"SELECT count(*) FROM read_parquet({paths!r})").fetchone() or (0,)
    return int(count)


Lake = dict[str, dict[str, int]]


@dataclass(frozen=True)
class Measured:
    """One history of both scripts; of ours also the lake and the events of silver before the next day."""

    figures: dict[str, Figure]
    details: dict[str, Any]
    our_lake: Lake
    our_events: int


def lake_of(pipeline: Pipeline) -> Lake:
    return {layer: pipeline.objects(f"{layer}/") for layer in ("bronze", "silver", "gold")}


@pytest.fixture(scope="module")
def measured(bench: Bench) -> Measured:
    before, take_in_next_day = list[tuple[Lake, int]](), history.take_in_next_day

    def with_a_look_before(bench: Bench, pipeline: Pipeline, bar: Any) -> history.Point:
        before.append((lake_of(pipeline), rows(pipeline, "silver/", bench.folder / "before")))
        return take_in_next_day(bench, pipeline, bar)

    with mock.patch.object(history, "take_in_next_day", with_a_look_before):
        return Measured(*history.measure(bench), *before[0])


@pytest.mark.long
def test_the_three_contenders_do_the_same_work_and_its_bytes_are_counted(
    bench: Bench, measured: Measured, tmp_path: Path
) -> None:
    baseline, raw = deploy(bench, "history-base", BASELINE), bench.batches(FEW.events)[1].path
    assert 0.95 * FEW.events < measured.our_events < FEW.events
    assert measured.our_events == rows(baseline, "silver/", tmp_path / "baseline")
    assert measured.our_events == duckdb_limit.do_the_work(raw, tmp_path / "duckdb")

    (our_run,), (baseline_run,) = measured.details["ours"], measured.details["baseline"]
    for run, lake in ((our_run, measured.our_lake), (baseline_run, lake_of(baseline))):
        # The first run has written every object of the lake, and has read the raw file at least.
        stored = sum(sum(sizes.values()) for sizes in lake.values())
        assert run["bytes_written"] == stored
        assert run["files_written"] == sum(len(sizes) for sizes in lake.values())
        assert run["requests"]["PUT"] >= run["files_written"]
        assert run["jobs"] > 0
        assert raw.stat().st_size <= run["bytes_read"] < 50 * raw.stat().st_size


@pytest.mark.long
def test_the_history_goes_on_into_the_next_day(bench: Bench, measured: Measured, tmp_path: Path) -> None:
    figures, details = measured.figures, measured.details
    (our_run,), (baseline_run,), next_day = details["ours"], details["baseline"], details["next_day"]
    assert figures["baseline_over_ours_last"].value == baseline_run["seconds"] / our_run["seconds"]
    assert figures["next_day_over_second"].value == next_day["seconds"] / our_run["seconds"]
    assert figures["next_day_bytes_read_over_second"].value == next_day["bytes_read"] / our_run["bytes_read"]
    assert figures["ours_requests_last"].value == sum(our_run["requests"].values())
    files = deploy(bench, "history-ours").fetch("silver/", tmp_path)
    assert {part for path in files for part in path.parts if part.startswith("day=")} == {"day=18", "day=19"}


@pytest.mark.long
def test_a_backlog_is_taken_in_by_one_run_whose_memory_is_watched(bench: Bench) -> None:
    figures, details = backlog.measure(bench)
    assert figures["events"].value == 3 * 1_000
    for name in ("batch", "backlog"):
        kinds = [figures[f"{name}_{kind}_bytes"].value for kind in ("jvm", "workers", "driver")]
        assert min(kinds) > 10 * 2**20
        assert figures[f"{name}_peak_bytes"].value == sum(kinds)
    assert backlog.table(Result("backlog", backlog.TITLE, "2026-11-24", {}, figures, details))


@pytest.mark.long
def test_compaction_joins_the_files_of_a_day_keeps_its_rows_and_then_leaves_them_alone(
    bench: Bench, tmp_path: Path
) -> None:
    figures, details = compaction.measure(replace(bench, scale=replace(FEW, events=20_000, batches=2)))
    lakes = {"before": deploy(bench, "compaction-before"), "after": deploy(bench, "compaction")}
    for when, lake in lakes.items():
        sizes = lake.objects("silver/")
        assert figures[f"files_{when}"].value == len(sizes)
        assert figures[f"bytes_{when}"].value == sum(sizes.values())
        assert figures["rows"].value == rows(lake, "silver/", tmp_path / when)

    # Every run leaves a file an hour at least; compacted, an hour has one.
    hours = {key.rsplit("/", 2)[0] for key in lakes["after"].objects("silver/")}
    assert figures["files_before"].value > figures["files_after"].value == len(hours)
    delivered = 2 * 20_000 / compaction.SHARE
    assert 0.95 * delivered < figures["rows"].value < delivered
    assert figures["bytes_read"].value >= figures["bytes_before"].value
    assert figures["bytes_written"].value >= figures["bytes_after"].value
    assert figures["again_files_written"].value == 0
    for name in compaction.QUESTIONS:
        ((before,), (after,)) = details["seconds"][name]
        assert figures[f"{name}_seconds_before_over_after"].value == pytest.approx(before / after)

    shown = compaction.table(Result("compaction", compaction.TITLE, "2026-11-24", {}, figures, details))
    assert f"| files of silver | {figures['files_before_over_after']} | {figures['files_before']} |" in shown


@pytest.mark.parametrize(
    ("after", "written_again", "reason"),
    [
        ([[1, 2, 3, 3]], 0, "other rows"),
        ([[1, 2], [3, 4]], 0, "left 2 files of 2"),
        ([[4, 3, 2, 1]], 3, "second compaction wrote 3 objects"),
    ],
)
def test_a_compaction_that_did_not_do_its_work_is_not_measured(
    tmp_path: Path, after: list[list[int]], written_again: int, reason: str
) -> None:
    def files(name: str, contents: list[list[int]]) -> list[Path]:
        paths = [tmp_path / f"{name}-{number}.parquet" for number in range(len(contents))]
        for path, values in zip(paths, contents, strict=True):
            pq.write_table(pa.table({"a": values, "source_file": [path.name] * len(values)}), path)
        return paths

    before = files("before", [[1, 2], [3, 4]])
    assert compaction.check_compacted([before, files("right", [[4, 3, 2, 1]])], 0) == 4
    with pytest.raises(BenchmarkError, match=reason):
        compaction.check_compacted([before, files("after", after)], written_again)


def test_one_part_runs_alone_and_leaves_its_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--repeats", "2", "--generated", "1000", "--work-dir", str(tmp_path)]
    assert main(["generator", *options, "--results", str(tmp_path / "results")]) == 0

    (result,) = load(tmp_path / "results").values()
    assert result.part == "generator"
    assert result.figures["events"].value == 1_000
    assert result.figures["seconds"].spread is not None
    assert result.machine["cpus"] >= 1
    assert f"generator.seconds: {result.figures['seconds']}" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("bench-")] == []


def layer(name: str, time: float) -> LogLine:
    return LogLine(time, json.dumps({"layer": name, "files": 1}))


def run() -> Run:
    """From second 100 to 120; its first statement begins at 103, its layers end at 108, 112 and 116."""
    return Run(
        began=100.0,
        seconds=20.0,
        output=[layer("bronze", 108), LogLine(109, "a line"), layer("silver", 112), layer("gold", 116)],
        system=[
            LogLine(119, "Spark's JVM used 9.5 s of CPU; it spent 2.5 s on compiling code and 0.5 s on X"),
        ],
        written={},
        requests={},
        bytes_read=0,
        memory={},
        events=Observation(began=103.0, jobs=0, tasks=0, task_cpu_seconds=4.0),
    )


def test_phases_end_where_the_logs_say() -> None:
    seconds = {"spark_start": 3.0, "bronze": 5.0, "silver": 4.0, "gold": 4.0, "shutdown": 4.0}
    assert phases(run()) == seconds
    assert list(seconds) == list(IN_ORDER)


def test_the_effort_of_a_run_is_what_its_logs_say() -> None:
    assert effort(run()) == {"cpu": 9.5, "tasks": 4.0, "compiling": 2.5, "collecting": 0.5}


def test_bytes_scanned_are_those_of_the_columns_that_a_query_names(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    pq.write_table(pa.table({"a": list(range(1000)), "b": ["x"] * 1000, "c": [0.5] * 1000}), path)
    chunks = {
        name: pq.read_metadata(path).row_group(0).column(index).total_compressed_size
        for index, name in enumerate("abc")
    }
    sql = "SELECT a, count(*) FROM events WHERE c > 0 GROUP BY a"
    assert scanned_bytes(sql, [path, path]) == 2 * (chunks["a"] + chunks["c"])


@pytest.mark.long
def test_a_lake_that_is_laid_out_has_the_files_that_a_run_would_have_left(bench: Bench) -> None:
    pipeline, s3 = deploy(bench, "laid-out"), bench.aws.client("s3")
    model, other = (bench.batches(FEW.events)[number] for number in (20, 40))
    written, entries = [], []
    for file in (model, other):
        pipeline.deliver(file)
        written.append(set(pipeline.run().written))
        (key,) = pipeline.objects("bronze/versions/")
        index = s3.get_object(Bucket=pipeline.stack.analytics_bucket_name, Key=key)["Body"].read()
        lines = [json.loads(line) for line in index.splitlines()]
        entries += [line for line in lines if line["uri"].endswith(file.path.name)]
    arrival = datetime.fromisoformat(entries[1]["arrival"])
    key, line = requests.raw_object(entries[0], arrival)
    assert key == f"events/{'/'.join(other.path.parts[-6:])}"
    same = ("uri", "arrival")
    assert [line[name] for name in same] == [entries[1][name] for name in same]
    assert line.keys() == entries[1].keys() and line["days"].keys() == entries[1]["days"].keys()
    line["version"] = entries[1]["version"]  # What is laid out has other bytes, which nobody reads.
    laid_out = {requests.renamed(key, entries[0], line, arrival) for key in requests.own(written[0])}
    assert {folder_of(key) for key in laid_out} == {folder_of(key) for key in requests.own(written[1])}


def folder_of(key: str) -> str:
    """A key without what is another for each run; of silver's hours, any."""
    return re.sub(r"(run|hour)=[0-9a-f]+/(?!minute)|[0-9a-f]{8}-\d+\.parquet", "", key)
