"""Our small `awsglue`, on a plain Spark session and folders that stand for buckets: no server, no job."""

from __future__ import annotations

import bz2
import gzip
import json
import os
import uuid
from pathlib import Path
from typing import Any

import pytest
from awsglue.context import GlueContext
from awsglue.dynamicframe import NotReproduced
from awsglue.job import Job
from awsglue.utils import GlueArgumentError, getResolvedOptions
from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from buckets import map_buckets

RAW_LINES = {"separator": "\x01", "quoteChar": -1, "withHeader": False, "attachFilename": "source_file"}


class Bench:
    """A bucket, and runs of a job that reads it."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.spark = spark
        self.bucket = f"b-{uuid.uuid4().hex[:12]}"
        self.folder = folder / self.bucket
        self._clock = 1_700_000_000_000_000_000
        map_buckets(spark, {self.bucket: self.folder})

    def put(self, key: str, content: bytes = b"line\n") -> None:
        """Write an object, with a later time than any before."""
        path = self.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self._clock += 1_000_000_000
        os.utime(path, ns=(self._clock, self._clock))

    def begin(self, option: str = "job-bookmark-disable", run_id: str | None = None, **range_: str) -> Job:
        """Start a run, as `context` sees it from then on."""
        self.context = GlueContext(self.spark.sparkContext)
        job = Job(self.context)
        job.init("job", {"job_bookmark_option": option, "JOB_RUN_ID": run_id, **range_})
        return job

    def frame(
        self,
        ctx: str = "ctx",
        path: str = "events/",
        recurse: bool = True,
        exclusions: str = "[]",
        **options: Any,
    ) -> Any:
        return self.context.create_dynamic_frame.from_options(
            connection_type="s3",
            connection_options={
                "paths": [f"s3://{self.bucket}/{path}"],
                "recurse": recurse,
                "exclusions": exclusions,
            },
            format="csv",
            format_options={**RAW_LINES, **options},
            transformation_ctx=ctx,
        ).toDF()

    def names(self, **options: Any) -> list[str]:
        """Names of the objects that a frame reads, without the prefix."""
        frame = self.frame(**options)
        if not frame.columns:
            return []
        prefix = f"s3://{self.bucket}/events/"
        return sorted(
            row.source_file.removeprefix(prefix) for row in frame.select("source_file").distinct().collect()
        )

    def run(self, option: str, run_id: str | None = None, commit: bool = True, **range_: str) -> list[str]:
        """A whole run: the objects that it read."""
        job = self.begin(option, run_id, **range_)
        names = self.names()
        if commit:
            job.commit()
        return names


ENABLE, PAUSE, DISABLE = "job-bookmark-enable", "job-bookmark-pause", "job-bookmark-disable"


@pytest.fixture
def bench(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("LOCAL_AWS_GLUE_BOOKMARKS", str(tmp_path / "bookmarks.sqlite"))
    return Bench(spark, tmp_path)


def _lines(frame: Any) -> list[bytes]:
    return [bytes(row[0]) for row in frame.select(frame.col0.cast("binary")).collect()]


# Reading


def test_lines_come_as_they_are_and_end_at_any_line_break(bench: Bench) -> None:
    lines = [b'{"a": 1}', b"", b"nul \x00 here", "ünï �".encode(), b'"quoted', b"last"]
    bench.put("events/a.jsonl.gz", gzip.compress(b"\n".join(lines)))
    bench.put("events/b.jsonl", b"one\rtwo\r\nthree")
    bench.begin()
    assert sorted(_lines(bench.frame())) == sorted([*lines, b"one", b"two", b"three"])


def test_a_line_may_be_ten_megabytes_long(bench: Bench) -> None:
    bench.put("events/a.jsonl.gz", gzip.compress(b"x" * 10_000_000 + b"\nshort\n", compresslevel=1))
    bench.begin()
    assert [len(line) for line in _lines(bench.frame())] == [10_000_000, 5]


@pytest.mark.parametrize(
    "key", ["year=2025/a b.txt", "100%25.txt", "ü+ö.txt", "[x]*{y}?.txt", "a%20b.txt", "#1=😀.txt"]
)
def test_source_files_are_named_as_in_s3(bench: Bench, key: str) -> None:
    bench.put(f"events/{key}")
    bench.begin()
    assert bench.names() == [key]


def test_hidden_objects_are_left_out_and_folders_only_entered_on_request(bench: Bench) -> None:
    for key in ("a", "sub/b", "_tmp/c", ".d", "sub/_e"):
        bench.put(f"events/{key}")
    bench.begin()
    assert bench.names() == ["a", "sub/b"]
    assert bench.names(recurse=False) == ["a"]


def test_a_frame_without_objects_has_no_columns(bench: Bench) -> None:
    bench.begin()
    frame = bench.frame()
    assert (frame.columns, frame.count()) == ([], 0)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("latin.jsonl", "ü".encode("latin-1")),
        ("latin.jsonl.gz", gzip.compress(b"fine\n" * 1000 + b"\xff\n", mtime=0)),  # In the test's name.
        ("cut.gz", gzip.compress(os.urandom(100_000))[:50_000]),
        ("plain.gz", b"no gzip"),
        ("cut.bz2", bz2.compress(os.urandom(1000))[:500]),
        ("plain.zst", b"no zstd"),
    ],
)
def test_one_object_that_cannot_be_read_fails_the_frame_and_is_named(
    bench: Bench, spark: SparkSession, name: str, content: bytes
) -> None:
    for other in ("a", "m.gz", "z"):
        bench.put(f"events/{other}", gzip.compress(b"line") if other.endswith(".gz") else b"line")
    bench.put(f"events/{name}", content)
    job = bench.begin(ENABLE)
    spark.conf.set("spark.sql.files.ignoreCorruptFiles", "true")
    try:
        with pytest.raises(Py4JJavaError, match=f"Unable to parse file: {name}"):
            bench.frame()
    finally:
        spark.conf.unset("spark.sql.files.ignoreCorruptFiles")
    job.commit()
    assert bench.run(ENABLE) == [], "the bookmark moves past what was listed, read or not"


@pytest.mark.parametrize(
    ("pattern", "excluded"),
    [
        ("**.pdf", ["a.pdf", "sub/b.pdf"]),
        ("s3://*/events/*.pdf", ["a.pdf"]),
        ("**/events/sub/**", ["sub/b.pdf", "sub/c.txt"]),
        ("**/?.{txt,pdf}", ["a.pdf", "sub/b.pdf", "sub/c.txt"]),
        ("**/[!a-b].*", ["sub/c.txt", "x.tmp"]),
        ("a.pdf", []),
    ],
)
def test_objects_can_be_excluded_by_patterns(bench: Bench, pattern: str, excluded: list[str]) -> None:
    keys = ["a.pdf", "sub/b.pdf", "sub/c.txt", "x.tmp"]
    for key in keys:
        bench.put(f"events/{key}")
    bench.begin()
    read = bench.names(exclusions=json.dumps([pattern, "**nothing"]))
    assert read == [key for key in keys if key not in excluded]


@pytest.mark.parametrize("option", ['["{a,{b}}"]', '["{a"]', '["a}"]', '"**"', "**"])
def test_what_is_no_list_of_patterns_is_refused(bench: Bench, option: str) -> None:
    bench.begin()
    with pytest.raises(ValueError):
        bench.frame(exclusions=option)


@pytest.mark.parametrize(
    "options",
    [{"optimizePerformance": True}, {"strictCheckForQuoting": True}, {"withSchema": "{}"}],
)
def test_what_would_be_read_differently_on_glue_is_refused(bench: Bench, options: dict[str, Any]) -> None:
    bench.begin()
    with pytest.raises(NotReproduced, match=next(iter(options))):
        bench.frame(**options)


def test_other_sources_and_formats_are_refused(bench: Bench) -> None:
    bench.begin()
    read = bench.context.create_dynamic_frame.from_options
    for connection, format in (("jdbc", "csv"), ("s3", "avro"), ("s3", "xml"), ("s3", None)):
        with pytest.raises(NotReproduced, match="jdbc" if connection == "jdbc" else "format="):
            read(connection, {"paths": [f"s3://{bench.bucket}/"]}, format)
    with pytest.raises(NotReproduced, match="jsonPath"):
        read("s3", {"paths": [f"s3://{bench.bucket}/"]}, "json", {"jsonPath": "$.records[*]"})
    with pytest.raises(NotReproduced, match="s3://"):
        read("s3", {"paths": ["/tmp"]}, "csv", RAW_LINES)


def test_a_bucket_that_is_not_there_is_an_error(bench: Bench) -> None:
    bench.begin()
    bench.bucket = "elsewhere"
    with pytest.raises(Py4JJavaError, match="elsewhere"):
        bench.frame()


# Bookmarks


def test_an_enabled_bookmark_reads_what_is_new_or_modified(bench: Bench) -> None:
    bench.put("events/a")
    bench.put("events/b")
    assert bench.run(ENABLE) == ["a", "b"]
    assert bench.run(ENABLE) == []
    bench.put("events/b")
    bench.put("events/c")
    assert bench.run(ENABLE) == ["b", "c"]
    assert bench.run(ENABLE) == []


def test_only_commit_moves_the_bookmark(bench: Bench) -> None:
    bench.put("events/a")
    assert bench.run(ENABLE, commit=False) == ["a"]
    assert bench.run(ENABLE) == ["a"]


def test_a_paused_bookmark_is_read_but_not_moved(bench: Bench) -> None:
    bench.put("events/a")
    bench.run(ENABLE)
    bench.put("events/b")
    assert bench.run(PAUSE) == ["b"]
    assert bench.run(PAUSE) == ["b"]
    assert bench.run(ENABLE) == ["b"]


def test_a_paused_run_can_be_given_a_range_of_runs(bench: Bench) -> None:
    for name in "abcd":
        bench.put(f"events/{name}")
        bench.run(ENABLE, run_id=name)
    assert bench.run(PAUSE, job_bookmark_from="a", job_bookmark_to="c") == ["b", "c"]


def test_a_disabled_bookmark_reads_everything_and_is_not_moved(bench: Bench) -> None:
    bench.put("events/a")
    bench.run(ENABLE)
    bench.put("events/b")
    assert bench.run(DISABLE) == ["a", "b"]
    assert bench.run(ENABLE) == ["b"]


def test_each_transformation_ctx_has_its_own_bookmark_and_none_has_none(bench: Bench) -> None:
    bench.put("events/a")
    job = bench.begin(ENABLE)
    assert bench.names(ctx="one") == ["a"]
    job.commit()
    bench.begin(ENABLE)
    assert bench.names(ctx="one") == []
    assert bench.names(ctx="two") == ["a"]
    assert bench.names(ctx="") == ["a"]


def test_another_path_or_format_invalidates_the_bookmark(bench: Bench) -> None:
    bench.put("events/a")
    bench.run(ENABLE)
    job = bench.begin(ENABLE)
    assert bench.names(path="events") == ["a"]
    job.commit()
    bench.begin(ENABLE)
    assert bench.names(path="events") == []


def test_a_bookmark_of_many_objects_stays_quick(bench: Bench, tmp_path: Path) -> None:
    import time

    from awsglue.bookmarks import BookmarkStore, Source
    from awsglue.objects import SourceObject

    store = BookmarkStore(tmp_path / "many.sqlite")
    source = Source("ctx", "{}")
    objects = [SourceObject(f"s3://bucket/events/{n:06}.jsonl.gz", n, 0) for n in range(50_000)]
    began = time.process_time()
    store.commit("job", "jr_1", {source: objects})
    store.commit("job", "jr_2", {source: objects[:12]})
    assert len(store.processed("job", source)) == 50_000
    assert len(store.entry("job")["JobBookmark"]) < 1_000
    assert time.process_time() - began < 5


def test_a_bookmark_needs_a_place_and_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_AWS_GLUE_BOOKMARKS")
    with pytest.raises(RuntimeError, match="LOCAL_AWS_GLUE_BOOKMARKS"):
        bench.begin(ENABLE)


def test_commit_before_init_is_an_error(spark: SparkSession) -> None:
    with pytest.raises(RuntimeError, match="init"):
        Job(GlueContext(spark.sparkContext)).commit()


# Arguments


def test_arguments_are_read_in_both_spellings_and_unknown_ones_ignored() -> None:
    argv = ["script.py", "--JOB_NAME", "job", "--A=1=2", "--B", "x y", "--enable-metrics", "true", "stray"]
    args = getResolvedOptions(argv, ["JOB_NAME", "A", "B"])
    assert (args["JOB_NAME"], args["A"], args["B"]) == ("job", "1=2", "x y")
    assert args["job_bookmark_option"] == DISABLE


def test_a_missing_argument_is_named() -> None:
    with pytest.raises(GlueArgumentError, match="--A"):
        getResolvedOptions(["script.py", "--B", "1"], ["A", "B"])


def test_a_bookmark_option_must_be_one_of_glues() -> None:
    with pytest.raises(GlueArgumentError, match="job-bookmark-option"):
        getResolvedOptions(["script.py", "--job-bookmark-option", "yes"], [])


def test_reserved_names_cannot_be_asked_for() -> None:
    with pytest.raises(RuntimeError, match="JOB_RUN_ID"):
        getResolvedOptions(["script.py"], ["JOB_RUN_ID"])


def test_a_bookmark_range_is_complete_and_belongs_to_pause() -> None:
    range_ = ["--job-bookmark-from", "a", "--job-bookmark-to", "b"]
    pause = ["--job-bookmark-option", PAUSE]
    assert getResolvedOptions(["s", *pause, *range_], [])["job_bookmark_to"] == "b"
    with pytest.raises(RuntimeError, match="job-bookmark-to"):
        getResolvedOptions(["s", *pause, *range_[:2]], [])
    with pytest.raises(RuntimeError, match="Invalid option"):
        getResolvedOptions(["s", *range_], [])
