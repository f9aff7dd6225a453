"""Glue jobs of the embedded AWS, over HTTP: runs, their logs, their bookmarks, and what they leave in S3."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

from local_aws.glue import api
from local_aws.glue.runner import JobRunner, RunRequest
from local_aws.glue.runs import JobKey, RunStore
from local_aws.server import LocalAws, running_server
from local_aws.testing import GlueBench, spark_jvms

Json = dict[str, Any]

BOOKMARKED = {"--job-bookmark-option": "job-bookmark-enable"}

PREAMBLE = """
import sys
from awsglue.context import GlueContext
from awsglue.job import Job
from awsglue.utils import getResolvedOptions
from pyspark.context import SparkContext

args = getResolvedOptions(sys.argv, ["JOB_NAME", "SOURCE_BUCKET", "TARGET_BUCKET"])
glue_context = GlueContext(SparkContext.getOrCreate())
spark = glue_context.spark_session
job = Job(glue_context)
job.init(args["JOB_NAME"], args)
source, target = f"s3://{args['SOURCE_BUCKET']}", f"s3://{args['TARGET_BUCKET']}"
frame = glue_context.create_dynamic_frame.from_options(
    connection_type="s3",
    connection_options={"paths": [f"{source}/events/"], "recurse": True},
    format="csv",
    format_options={
        "separator": "\\x01", "quoteChar": -1, "withHeader": False, "attachFilename": "source_file"
    },
    transformation_ctx="raw_events",
)
lines = frame.toDF()
"""
"""The beginning of a script that reads new lines under a bookmark."""

PIPELINE = (
    PREAMBLE
    + """
import json, time
from pyspark.sql import functions as F

step = getResolvedOptions(sys.argv, ["STEP"])["STEP"]
new = []
if lines.columns:
    sources = lines.select("source_file").distinct().collect()
    new = sorted(row.source_file.rpartition("/")[2] for row in sources)
    spark.conf.set("spark.sql.sources.partitionOverwriteMode", "dynamic")
    rows = lines.select("col0", F.regexp_extract("source_file", "day=(..)", 1).alias("day"))
    rows.coalesce(1).write.mode("overwrite").partitionBy("day").text(f"{target}/lines")
print("NEW", json.dumps(new))

if step == "first":
    for count in range(10):
        print("tick", count)
        time.sleep(0.2)
if step == "second":
    hadoop = spark._jvm.org.apache.hadoop.fs
    files = hadoop.Path(target).getFileSystem(spark._jsc.hadoopConfiguration())
    assert files.rename(hadoop.Path(f"{target}/moved/from.txt"), hadoop.Path(f"{target}/moved/to.txt"))
    assert files.delete(hadoop.Path(f"{target}/doomed"), True)
    import boto3
    boto3.client("s3").put_object(Bucket=args["SOURCE_BUCKET"], Key="events/day=09/during.jsonl.gz", Body=b"")
    raise ValueError("no such day: 31")
job.commit()
"""
)


def _gzip(*lines: str) -> bytes:
    return gzip.compress("".join(f"{line}\n" for line in lines).encode())


@pytest.fixture(scope="module")
def bench(aws: LocalAws) -> GlueBench:
    return GlueBench(aws, "glue-jobs")


# One job whose runs build on each other: a run costs seconds, so each is looked at from many sides.


@pytest.fixture(scope="module")
def first(bench: GlueBench) -> Json:
    """Two new objects, read and written by partition, while we watch."""
    bench.s3.put_object(Bucket=bench.source, Key="events/day=01/a.jsonl.gz", Body=_gzip("one", "two"))
    bench.s3.put_object(Bucket=bench.source, Key="events/day=02/b.jsonl.gz", Body=_gzip("three"))
    bench.s3.put_object(Bucket=bench.source, Key="events/day=02/_ignored", Body=_gzip("hidden"))
    bench.s3.put_object(Bucket=bench.source, Key="events/folder/", Body=b"")
    bench.s3.put_object(Bucket=bench.target, Key="moved/from.txt", Body=b"moved")
    bench.s3.put_object(Bucket=bench.target, Key="doomed/x", Body=b"x")
    bench.s3.put_object(Bucket=bench.target, Key="other/kept", Body=b"kept")
    bench.create_job("pipeline", PIPELINE, BOOKMARKED)
    run_id = bench.start("pipeline", STEP="first")
    starting = bench.get("pipeline", run_id)
    bench.wait("pipeline", run_id, "RUNNING")
    with pytest.raises(ClientError) as refused:
        bench.start("pipeline", STEP="first")
    early = _output_while_running(bench, run_id)
    return {
        "starting": starting["JobRunState"],
        "refused": refused.value.response["Error"]["Code"],
        "early": early,
        "run": bench.wait("pipeline", run_id),
    }


def _output_while_running(bench: GlueBench, run_id: str) -> list[str]:
    while bench.get("pipeline", run_id)["JobRunState"] == "RUNNING":
        lines = bench.output("pipeline", run_id)
        if "tick 1" in lines:
            return lines
        time.sleep(0.05)
    return []


@pytest.fixture(scope="module")
def second(bench: GlueBench, first: Json) -> Json:
    """One object replaced, one new; the script changes the target, then fails."""
    bench.s3.put_object(Bucket=bench.source, Key="events/day=02/b.jsonl.gz", Body=_gzip("drei"))
    bench.s3.put_object(Bucket=bench.source, Key="events/day=03/c.jsonl.gz", Body=_gzip("four"))
    return bench.run("pipeline", STEP="second")


@pytest.fixture(scope="module")
def third(bench: GlueBench, second: Json) -> Json:
    """Nothing was committed, so the same objects are new again, beside the one that came meanwhile."""
    return bench.run("pipeline", STEP="third")


def test_a_run_goes_from_starting_over_running_to_succeeded(first: Json) -> None:
    run = first["run"]
    assert (first["starting"], run["JobRunState"]) == ("STARTING", "SUCCEEDED")
    assert "ErrorMessage" not in run
    assert run["StartedOn"] < run["CompletedOn"]
    assert 1 <= run["ExecutionTime"] <= (run["CompletedOn"] - run["StartedOn"]).total_seconds() + 1


def test_a_second_run_at_the_same_time_is_refused(first: Json) -> None:
    assert first["refused"] == "ConcurrentRunsExceededException"


def test_output_is_in_the_log_while_the_run_goes_on(first: Json) -> None:
    assert first["early"][0] == 'NEW ["a.jsonl.gz", "b.jsonl.gz"]'


def test_what_was_written_is_in_s3_without_hadoops_own_files(
    bench: GlueBench, first: Json, third: Json
) -> None:
    keys = bench.keys(bench.target)
    assert not [key for key in keys if key.endswith((".crc", "_SUCCESS", "/")) or "_temporary" in key]
    written = {key.split("/")[1]: bench.read(bench.target, key) for key in keys if key.startswith("lines/")}
    assert written == {"day=01": b"one\ntwo\n", "day=02": b"drei\n", "day=03": b"four\n"}


def test_a_failed_run_says_what_the_script_raised(bench: GlueBench, second: Json) -> None:
    assert (second["JobRunState"], second["ErrorMessage"]) == ("FAILED", "ValueError: no such day: 31")
    output = bench.output("pipeline", second["Id"])
    assert output[0] == 'NEW ["b.jsonl.gz", "c.jsonl.gz"]'
    assert output[1] == "Traceback (most recent call last):"
    assert not [line for line in output if "driver.py" in line]


def test_what_a_failed_run_changed_stays_changed(bench: GlueBench, second: Json) -> None:
    keys = bench.keys(bench.target)
    assert "moved/to.txt" in keys and "moved/from.txt" not in keys
    assert "doomed/x" not in keys
    assert "other/kept" in keys


def test_objects_that_others_write_during_a_run_stay(bench: GlueBench, second: Json) -> None:
    assert "events/day=09/during.jsonl.gz" in bench.keys(bench.source)


def test_a_run_without_commit_leaves_the_bookmark_alone(bench: GlueBench, third: Json) -> None:
    assert third["JobRunState"] == "SUCCEEDED"
    assert bench.output("pipeline", third["Id"]) == ['NEW ["b.jsonl.gz", "c.jsonl.gz"]']


def test_the_bookmark_tells_its_runs(bench: GlueBench, first: Json, third: Json) -> None:
    entry = bench.glue.get_job_bookmark(JobName="pipeline")["JobBookmarkEntry"]
    assert (entry["JobName"], entry["Version"], entry["Run"]) == ("pipeline", 2, 2)
    assert (entry["PreviousRunId"], entry["RunId"]) == (first["run"]["Id"], third["Id"])
    assert json.loads(entry["JobBookmark"])["raw_events"]["files"] == 4
    as_of_first = bench.glue.get_job_bookmark(JobName="pipeline", RunId=first["run"]["Id"])
    assert as_of_first["JobBookmarkEntry"]["Run"] == 1


def test_the_bookmark_can_be_rewound_and_reset(bench: GlueBench, first: Json, third: Json) -> None:
    rewound = bench.glue.reset_job_bookmark(JobName="pipeline", RunId=first["run"]["Id"])["JobBookmarkEntry"]
    assert (rewound["Run"], rewound["RunId"]) == (1, first["run"]["Id"])
    assert json.loads(rewound["JobBookmark"])["raw_events"]["files"] == 2
    run = bench.succeed("pipeline", STEP="after rewinding")
    assert bench.output("pipeline", run["Id"]) == ['NEW ["b.jsonl.gz", "c.jsonl.gz"]']
    reset = bench.glue.reset_job_bookmark(JobName="pipeline")["JobBookmarkEntry"]
    assert (reset["Run"], json.loads(reset["JobBookmark"])) == (0, {})


def test_runs_are_listed_newest_first_in_pages(bench: GlueBench, first: Json, third: Json) -> None:
    page = bench.glue.get_job_runs(JobName="pipeline", MaxResults=2)
    rest = bench.glue.get_job_runs(JobName="pipeline", MaxResults=200, NextToken=page["NextToken"])
    runs = [*page["JobRuns"], *rest["JobRuns"]]
    assert len(page["JobRuns"]) == 2 and "NextToken" not in rest
    assert runs == sorted(runs, key=lambda run: run["StartedOn"], reverse=True)
    assert runs[-1]["Id"] == first["run"]["Id"]


def test_system_logs_are_apart_from_output(bench: GlueBench, third: Json) -> None:
    system = bench.output("pipeline", third["Id"], kind="error")
    assert any("Spark's JVM used" in line for line in system)
    assert len(system) < 20, "\n".join(system)


def test_arguments_are_merged_as_glue_merges_them(bench: GlueBench) -> None:
    bench.s3.put_object(Bucket=bench.target, Key="lib/helper.py", Body=b"NAME = 'helper'")
    bench.create_job(
        "arguments",
        """
        import json, os, sys, time
        import helper
        from awsglue.utils import getResolvedOptions
        from pyspark.sql import SparkSession
        spark = SparkSession.builder.getOrCreate()
        conf = [spark.conf.get("spark.sql.shuffle.partitions"), spark.conf.get("spark.sql.ansi.enabled")]
        names = ["JOB_NAME", "DEFAULT", "BOTH", "RUN", "FIXED"]
        args = getResolvedOptions(sys.argv, names)
        importable = [name for name in ("packages", "src", "tests") if any(
            os.path.isdir(os.path.join(folder, name)) for folder in sys.path
        )]
        print(json.dumps({
            **{name: args[name] for name in names},
            "id": args["JOB_RUN_ID"],
            "conf": conf,
            "zone": time.tzname[0],
            "helper": helper.NAME,
            "project": importable,
        }))
        sys.exit(0)
        """,
        {
            "--DEFAULT": "default",
            "--BOTH": "default",
            "--conf": "spark.sql.shuffle.partitions=3 --conf spark.sql.ansi.enabled=true",
            "--extra-py-files": f"s3://{bench.target}/lib/helper.py",
            "--custom-logGroup-prefix": "",
        },
        NonOverridableArguments={"--FIXED": "fixed"},
    )
    run = bench.succeed("arguments", BOTH="run", RUN="run", FIXED="run")
    said = json.loads(bench.output("arguments", run["Id"], prefix="/aws-glue/jobs")[0])
    assert said == {
        "JOB_NAME": "arguments",
        "DEFAULT": "default",
        "BOTH": "run",
        "RUN": "run",
        "FIXED": "fixed",
        "id": run["Id"],
        "conf": ["3", "true"],
        "zone": "UTC",
        "helper": "helper",
        "project": [],
    }


def test_boto3_and_spark_see_what_the_other_wrote_in_the_script_and_in_sparks_workers(
    bench: GlueBench,
) -> None:
    bench.create_job(
        "both",
        """
        import json, sys
        import boto3
        import pyarrow as pa
        from pyspark.sql import SparkSession

        bucket = sys.argv[sys.argv.index("--TARGET_BUCKET") + 1]
        spark = SparkSession.builder.getOrCreate()
        s3 = boto3.client("s3")

        def read(client, prefix):
            listed = client.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]
            keys = [item["Key"] for item in listed if not item["Key"].endswith("/")]
            return [client.get_object(Bucket=bucket, Key=key)["Body"].read().decode() for key in keys]

        def in_worker(batches):
            client = boto3.client("s3")
            archives = [one for one in sys.path if one.endswith((".jar", "spark.zip"))]
            for batch in batches:
                client.put_object(Bucket=bucket, Key="both/worker/x.txt", Body=b"by boto3 in a worker")
                columns = {"read": read(client, "both/spark/"), "archives": [json.dumps(archives)]}
                yield pa.RecordBatch.from_pydict(columns)

        rows = spark.createDataFrame([("by spark",)], "value string").coalesce(1)
        rows.write.text(f"s3://{bucket}/both/spark")
        s3.put_object(Bucket=bucket, Key="both/driver/x.txt", Body=b"by boto3 in the driver")
        (worker,) = rows.mapInArrow(in_worker, "read string, archives string").collect()
        print(json.dumps({
            "driver reads": read(s3, "both/spark/"),
            "worker reads": [worker.read],
            "worker's archives of Spark": worker.archives,
            "spark reads": [
                spark.read.text(f"s3://{bucket}/both/{name}").first().value for name in ("driver", "worker")
            ],
            "region": s3.meta.region_name,
        }))
        """,
    )
    run = bench.succeed("both")
    assert json.loads(bench.output("both", run["Id"])[0]) == {
        "driver reads": ["by spark\n"],
        "worker reads": ["by spark\n"],
        "worker's archives of Spark": "[]",
        "spark reads": ["by boto3 in the driver", "by boto3 in a worker"],
        "region": "us-west-2",
    }


def test_a_stopped_run_ends_with_its_processes_and_keeps_what_it_wrote(
    aws: LocalAws, bench: GlueBench
) -> None:
    bench.create_job(
        "endless",
        """
        import os, sys, time
        from pyspark.sql import SparkSession
        spark = SparkSession.builder.getOrCreate()
        target = sys.argv[sys.argv.index("--TARGET_BUCKET") + 1]
        spark.createDataFrame([("kept",)], "value string").coalesce(1).write.text(f"s3://{target}/partial")
        print("PID", os.getpid(), flush=True)
        time.sleep(600)
        """,
    )
    run_id = bench.start("endless")
    bench.wait("endless", run_id, "RUNNING")
    while not (output := bench.output("endless", run_id)):
        time.sleep(0.1)
    driver = psutil.Process(int(output[0].split()[1]))
    jvms = spark_jvms(aws)
    assert len(jvms) == 1
    family = [driver, *driver.children(recursive=True), *jvms]
    answer = bench.glue.batch_stop_job_run(JobName="endless", JobRunIds=[run_id, "jr_unknown"])
    assert [stopped["JobRunId"] for stopped in answer["SuccessfulSubmissions"]] == [run_id]
    assert [error["ErrorDetail"]["ErrorCode"] for error in answer["Errors"]] == ["EntityNotFoundException"]
    run = bench.wait("endless", run_id)
    assert run["JobRunState"] == "STOPPED"
    assert not [process for process in family if process.is_running()]
    (part,) = bench.keys(bench.target, "partial/")
    assert bench.read(bench.target, part) == b"kept\n"
    early = bench.start("endless")
    bench.glue.batch_stop_job_run(JobName="endless", JobRunIds=[early])
    assert bench.get("endless", early)["JobRunState"] in ("STOPPING", "STOPPED")
    assert bench.wait("endless", early)["JobRunState"] == "STOPPED"
    assert bench.keys(bench.target, "partial/") == [part]
    again = bench.glue.batch_stop_job_run(JobName="endless", JobRunIds=[run_id])
    assert again["Errors"][0]["ErrorDetail"]["ErrorCode"] == "InvalidInputException"


def test_a_log_group_deleted_during_the_run_comes_back(bench: GlueBench) -> None:
    bench.create_job("logs", "import time\nprint('one')\ntime.sleep(2)\nprint('two')")
    run_id = bench.start("logs")
    bench.wait("logs", run_id, "RUNNING")
    while bench.output("logs", run_id) != ["one"]:
        time.sleep(0.05)
    bench.logs.delete_log_group(logGroupName="/aws-glue/jobs/logs/output")
    assert bench.wait("logs", run_id)["JobRunState"] == "SUCCEEDED"
    assert bench.output("logs", run_id) == ["two"]


def test_a_missing_script_fails_the_run_and_is_named(bench: GlueBench) -> None:
    bench.create_job("scriptless", "")
    bench.s3.delete_object(Bucket=bench.target, Key="scripts/scriptless.py")
    run = bench.run("scriptless")
    assert run["JobRunState"] == "FAILED"
    assert f"s3://{bench.target}/scripts/scriptless.py cannot be read" in run["ErrorMessage"]


def test_a_script_that_exits_with_an_error_fails_the_run(bench: GlueBench) -> None:
    bench.create_job(
        "exits", "import os, sys\nsys.exit('nothing to do') if '--GENTLY' in sys.argv else os._exit(3)"
    )
    assert bench.run("exits", GENTLY="yes")["ErrorMessage"] == "SystemExit: nothing to do"
    assert "ended with exit code 3" in bench.run("exits")["ErrorMessage"]


def test_other_kinds_of_jobs_are_refused_instead_of_reported_as_run(bench: GlueBench) -> None:
    bench.glue.create_job(
        Name="shell", Role="r", Command={"Name": "pythonshell", "ScriptLocation": f"s3://{bench.target}/x.py"}
    )
    with pytest.raises(ClientError, match=r"InvalidInputException.*pythonshell"):
        bench.start("shell")
    assert bench.glue.get_job_runs(JobName="shell")["JobRuns"] == []


def test_an_unknown_job_or_run_is_not_found(bench: GlueBench) -> None:
    with pytest.raises(ClientError, match="EntityNotFoundException"):
        bench.start("unknown")
    with pytest.raises(ClientError, match="EntityNotFoundException"):
        bench.glue.get_job_run(JobName="unknown", RunId="jr_0")
    with pytest.raises(ClientError, match=r"EntityNotFoundException.*Continuation for job unknown not found"):
        bench.glue.get_job_bookmark(JobName="unknown")
    with pytest.raises(ClientError, match="EntityNotFoundException"):
        bench.glue.reset_job_bookmark(JobName="unknown")


def test_a_job_keeps_how_many_runs_it_allows_and_an_update_replaces_its_definition(bench: GlueBench) -> None:
    bench.create_job("defined", "", Timeout=5, ExecutionProperty={"MaxConcurrentRuns": 3}, MaxRetries=1)
    job = bench.glue.get_job(JobName="defined")["Job"]
    assert (job["ExecutionProperty"], job["Timeout"]) == ({"MaxConcurrentRuns": 3}, 5)
    with pytest.raises(ClientError, match="AlreadyExistsException"):
        bench.create_job("defined", "")
    bench.glue.update_job(JobName="defined", JobUpdate={"Role": "r", "Command": job["Command"], "Timeout": 7})
    updated = bench.glue.get_job(JobName="defined")["Job"]
    assert (updated["Timeout"], updated["MaxRetries"], updated["DefaultArguments"]) == (7, 0, {})
    assert updated["ExecutionProperty"] == {"MaxConcurrentRuns": 1}
    assert updated["CreatedOn"] == job["CreatedOn"]


def test_a_run_that_takes_too_long_times_out(aws: LocalAws, bench: GlueBench, tmp_path: Path) -> None:
    """Through the runner itself: the API knows whole minutes only."""
    bench.upload_script("slow", "import time\nprint('began', flush=True)\ntime.sleep(600)")
    runs = RunStore(tmp_path / "runs.sqlite")
    key = JobKey("000000000000", "us-west-2", "slow")
    document = {"Id": "jr_slow", "JobName": "slow", "JobRunState": "STARTING", "Timeout": 1}
    record = runs.add(key, document, max_active=1)
    arguments = {"--custom-logGroup-prefix": "/aws-glue/jobs/slow", "--TARGET_BUCKET": bench.target}
    runner = JobRunner(tmp_path, runs, aws.endpoint_url)
    runner.execute(RunRequest(record, f"s3://{bench.target}/scripts/slow.py", arguments, timeout_seconds=0.5))
    ended = runs.get(key, "jr_slow")
    assert ended is not None
    assert ended.document["JobRunState"] == "TIMEOUT"
    assert "more than 1 minute" in ended.document["ErrorMessage"]
    assert bench.output("slow", "jr_slow") == ["began"]


def test_a_run_does_not_outlive_its_server_and_its_end_is_told_by_the_next(tmp_path: Path) -> None:
    with running_server(tmp_path) as aws:
        bench = GlueBench(aws, "restart")
        bench.create_job(
            "orphan",
            PREAMBLE
            + """
import os, time
if lines.columns:
    job.commit()
    lines.select("col0").write.text(f"{target}/copy")
    print("PID", os.getpid(), flush=True)
    time.sleep(600)
print("nothing new")
""",
            BOOKMARKED,
        )
        bench.s3.put_object(Bucket=bench.source, Key="events/a.jsonl.gz", Body=_gzip("one"))
        run_id = bench.start("orphan")
        bench.wait("orphan", run_id, "RUNNING")
        while not (output := bench.output("orphan", run_id)):
            time.sleep(0.1)
        driver = psutil.Process(int(output[0].split()[1]))
        server = driver.parent()
        assert server is not None
        family = server.children(recursive=True)
        assert driver in family and spark_jvms(aws)[0] in family
        time.sleep(4)  # The server writes its state every few seconds.
        server.kill()
        psutil.wait_procs(family, timeout=10)
        assert not [process for process in family if process.is_running()]
    with running_server(tmp_path) as aws:
        bench.__dict__.update(glue=aws.client("glue"), s3=aws.client("s3"), logs=aws.client("logs"))
        run = bench.wait("orphan", run_id, timeout=20)
        assert run["JobRunState"] == "FAILED"
        assert "ended while the run was active" in run["ErrorMessage"]
        (part,) = bench.keys(bench.target, "copy/")
        assert bench.read(bench.target, part) == b"one\n"
        assert bench.glue.get_job_bookmark(JobName="orphan")["JobBookmarkEntry"]["RunId"] == run_id
        again = bench.succeed("orphan")
        assert bench.output("orphan", again["Id"]) == ["nothing new"]
        assert len(bench.glue.get_job_runs(JobName="orphan")["JobRuns"]) == 2


def test_an_upgrade_of_ministack_that_moves_its_glue_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    from ministack.services import glue
    from ministack.services.cloudformation import provisioners

    api.check_internals(glue, provisioners)
    monkeypatch.delattr(glue, "_start_job_run")
    with pytest.raises(api.MiniStackChanged, match="_start_job_run"):
        api.check_internals(glue, provisioners)
