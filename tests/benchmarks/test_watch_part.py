"""The benchmark of a job that watches, tried with few events."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.harness import Bench, BenchmarkError, Scale, benchmark, deploy
from benchmarks.parts import watch
from benchmarks.results import Result

pytestmark = pytest.mark.long
FEW = Scale(events=2_000, warm_ups=0, watch_small=2, watch_large=1, watch_rounds=1, watch_runs=1)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with benchmark(FEW, tmp_path_factory.mktemp("bench")) as running:
        yield running


def test_each_object_is_timed_until_the_answer_holds_it(bench: Bench) -> None:
    figures, details = watch.measure(bench)
    assert [len(details[name]) for name in ("small", "large", "separate")] == [2, 1, 1]
    assert all(seconds > 0.1 for seconds in details["small"] + details["large"])
    assert min(details["small"]) <= figures["small_median_seconds"].value <= max(details["small"])
    assert (
        figures["small_median_seconds"].value <= figures["small_p95_seconds"].value <= max(details["small"])
    )
    assert figures["small_all_seconds"].value == pytest.approx(sum(details["small"]))
    assert figures["separate_all_seconds"].value == pytest.approx(2 * details["separate"][0])
    assert figures["rounds"].value >= 1
    assert figures["late_memory_bytes"].value > 100 * 2**20
    assert figures["late_over_early_memory"].value == pytest.approx(1, abs=0.5)
    assert "5,000 events, 2 objects" in watch.table(
        Result("watch", watch.TITLE, "2026-11-27", {}, figures, details)
    )

    glue = bench.aws.client("glue")
    runs = glue.get_job_runs(JobName="capstone-etl-watch")["JobRuns"]
    assert [run["JobRunState"] for run in runs] == ["STOPPED"]


def test_an_object_that_never_comes_into_the_answer_is_no_measurement(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(watch, "_PATIENCE_SECONDS", 1.0)
    pipeline = deploy(bench, "watch-nobody")
    with pytest.raises(BenchmarkError, match="was in no answer after 1 s"):
        watch.latency(pipeline, bench.batches(2_000)[1])
