"""The errors that users of the pipeline meet most, each brought about and each met with what to do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import pandas as pd
import pytest
from awswrangler import s3 as wr_s3
from botocore.exceptions import ClientError

import capstone_pipeline as pipeline
from capstone_pipeline import Connection, PipelineError, StackOutputs
from capstone_pipeline.__main__ import main
from demo import deploy_stack
from local_aws import LocalAws
from tests import template
from tests.infrastructure.stacks import client, deployed
from tests.sample import embedded

SAMPLE = sorted((template.PATH.parent / "sample-data").rglob("*.jsonl.gz"))[0]
ID = "trouble-1"
LONG_ENOUGH_SECONDS = 60
OUTPUTS = StackOutputs(**{field.name: field.name for field in fields(StackOutputs)})

# awswrangler calls pandas in a way that pandas 4 will not know.
pytestmark = pytest.mark.filterwarnings("ignore:The copy keyword is deprecated")


@dataclass(frozen=True)
class Pipeline:
    """A deployed stack without anything in it, and the steps that a user takes with it."""

    aws: Connection
    stack: StackOutputs
    folder: Path

    def trouble(self) -> PipelineError:
        """What the check for gold data says."""
        with pytest.raises(PipelineError) as error:
            pipeline.check_gold_data(self.aws, self.stack)
        return error.value

    def land_a_file(self) -> None:
        pipeline.upload_if_changed(self.aws, SAMPLE, f"{self.stack.raw_events_location}{SAMPLE.name}")

    def script(self, text: str) -> None:
        path = self.folder / "job.py"
        path.write_text(text)
        pipeline.upload_if_changed(self.aws, path, self.stack.script_location)

    def run(self) -> str:
        """Start a run; its id."""
        return pipeline.start_job_run(self.aws, self.stack).run_id

    def wait(self, run_id: str) -> None:
        glue, deadline = self.aws.client("glue"), time.monotonic() + LONG_ENOUGH_SECONDS
        while (
            glue.get_job_run(JobName=self.stack.glue_job_name, RunId=run_id)["JobRun"]["JobRunState"]
            in pipeline.job.ACTIVE_STATES
        ):
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.fixture(scope="module")
def connection(aws: LocalAws) -> Iterator[Connection]:
    with embedded(aws) as connection:
        yield connection


@pytest.fixture
def empty(aws: LocalAws, connection: Connection, tmp_path: Path) -> Iterator[Pipeline]:
    with deployed(aws, ID):
        yield Pipeline(connection, pipeline.read_stack(connection, f"capstone-{ID}"), tmp_path)


def test_gold_without_data_is_traced_to_the_first_step_that_is_missing(
    empty: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    job = f"capstone-etl-{ID}"
    trouble = empty.trouble()
    assert isinstance(trouble, pipeline.NoSourceData)
    assert f"aws lambda invoke --function-name capstone-event-generator-{ID}" in trouble.next_step

    empty.land_a_file()
    trouble = empty.trouble()
    assert isinstance(trouble, pipeline.JobNotFound)
    assert job in trouble.what and "build_pipeline.ipynb" in trouble.next_step

    empty.script("import time; time.sleep(2); raise ValueError('no such column: prise')")
    pipeline.create_or_update_job(empty.aws, empty.stack)
    trouble = empty.trouble()
    assert isinstance(trouble, pipeline.NoGoldData)
    assert "has not run yet" in trouble.what
    assert f"aws glue start-job-run --job-name {job}" in trouble.next_step

    run = empty.run()
    trouble = empty.trouble()
    assert run in trouble.what and "is still" in trouble.what
    assert f"aws glue get-job-run --job-name {job} --run-id {run}" in trouble.next_step

    empty.wait(run)
    trouble = empty.trouble()
    assert "ended as FAILED: ValueError: no such column: prise" in trouble.what
    assert f"--log-group-name /aws-glue/jobs/{job}/output" in trouble.next_step
    assert f"--log-stream-name-prefix {run}" in trouble.next_step

    empty.script("print('nothing accepted')")
    empty.wait(empty.run())
    trouble = empty.trouble()
    assert "none of the lines that they read was accepted" in trouble.what
    assert "bronze_trouble_1.events_rejected" in trouble.next_step

    assert main(["check", "--student-id", ID]) == 1
    assert "NoGoldData: The gold tables are empty" in capsys.readouterr().err

    rows = pd.DataFrame({"event_date": [pd.Timestamp("2025-11-18").date()], "category": ["toys"]})
    location = f"{empty.stack.analytics_data_location}gold/category_performance/part-0.parquet"
    wr_s3.to_parquet(rows.assign(event_count=1234), location, index=False, boto3_session=empty.aws.session)
    assert pipeline.check_gold_data(empty.aws, empty.stack) == 1234
    assert main(["check", "--student-id", ID]) == 0
    assert "The gold tables account for 1,234 events" in capsys.readouterr().out


def test_a_source_bucket_that_is_gone_is_named_with_the_way_to_bring_it_back(empty: Pipeline) -> None:
    bucket = empty.stack.source_bucket_name
    empty.aws.client("s3").delete_bucket(Bucket=bucket)
    with pytest.raises(pipeline.SourceBucketNotFound) as error:
        pipeline.check_source_data(empty.aws, empty.stack)
    assert bucket in error.value.what
    assert f"aws s3 mb s3://{bucket} --region us-west-2" in error.value.next_step


def test_a_query_that_reads_too_much_is_met_with_the_way_to_read_less(empty: Pipeline) -> None:
    """Athena ends a query that passes its workgroup's limit, as it ends one that takes 30 minutes."""
    empty.aws.client("athena").update_work_group(
        WorkGroup=empty.stack.athena_workgroup_name,
        ConfigurationUpdates={"BytesScannedCutoffPerQuery": 10_000_000},
    )
    rows = pd.DataFrame({"category": [f"category {number:012}" for number in range(600_000)]})
    location = f"{empty.stack.analytics_data_location}gold/category_performance/part-0.parquet"
    wr_s3.to_parquet(
        rows, location, index=False, compression=None, boto3_session=empty.aws.session, use_threads=False
    )
    query = pipeline.Query(9, "Everything", "", "SELECT category FROM category_performance")
    with pytest.raises(pipeline.QueryFailed) as error:
        pipeline.run_query(empty.aws, empty.stack, query)
    assert "Bytes scanned limit was exceeded" in error.value.what
    assert "year = 2025 AND month = 11 AND day = 18" in error.value.next_step


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("Query timeout", "read less"),
        ("Query exhausted resources at this scale factor", "read less"),
        ("COLUMN_NOT_FOUND: line 1:8: Column 'x' cannot be resolved", "correct the query"),
    ],
)
def test_what_to_do_about_a_query_depends_on_its_reason(reason: str, word: str) -> None:
    assert word in pipeline.answers._advice(reason)


def test_a_stack_that_cannot_be_created_is_met_with_the_resource_and_the_reason(
    aws: LocalAws, connection: Connection
) -> None:
    """Here a bucket of that name exists already."""
    bucket = "capstone-events-trouble-2-000000000000"
    client(aws, "s3").create_bucket(
        Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "us-west-2"}
    )
    with pytest.raises(pipeline.StackNotReady) as error:
        deploy_stack(connection, "capstone-trouble-2", template.body(), {"StudentId": "trouble-2"})
    assert "Stack capstone-trouble-2 is ROLLBACK_COMPLETE. Refused: SourceBucket: " in error.value.what
    assert bucket in error.value.what
    assert "aws cloudformation delete-stack --stack-name capstone-trouble-2" in error.value.next_step
    client(aws, "s3").head_bucket(Bucket=bucket)


def test_a_template_that_is_wrong_is_refused_before_anything_is_created(connection: Connection) -> None:
    wrong = template.body().replace("AWS::S3::BucketPolicy", "AWS::S3::BucketPolice", 1)
    with pytest.raises(PipelineError):
        deploy_stack(connection, "capstone-trouble-3", wrong, {"StudentId": "trouble-3"})
    with pytest.raises(ClientError, match="does not exist"):
        connection.client("cloudformation").describe_stacks(StackName="capstone-trouble-3")


@pytest.mark.parametrize(("given", "passed"), [(None, None), (5, "5"), (0.5, "0.5"), (0, "0")])
def test_the_threshold_of_rejected_lines_is_passed_only_when_it_is_given(
    given: float | None, passed: str | None
) -> None:
    arguments = pipeline.job_definition(OUTPUTS, given)["DefaultArguments"]
    assert arguments.get("--MAX_REJECTED_PERCENT") == passed


@pytest.mark.parametrize("given", [-1, 100.5])
def test_a_threshold_that_is_no_percentage_is_refused(given: float) -> None:
    with pytest.raises(pipeline.InvalidSetting, match="no percentage"):
        pipeline.job_definition(OUTPUTS, given)
