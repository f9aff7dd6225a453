"""The notebook's steps against the embedded AWS: what they do, that repeating them is safe, and their errors.

The whole notebook is run in `test_build_pipeline_notebook.py`; answers and plots without AWS are in
`test_render.py`, the script's cell in `test_script_cell.py`.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

import capstone_pipeline as pipeline
from capstone_pipeline import Connection, JobRun, RunResult, StackOutputs
from capstone_pipeline.__main__ import main
from capstone_pipeline.job import parse_summary
from capstone_pipeline.render import Progress
from capstone_pipeline.stack import output_key
from demo import deploy_stack, upload_sample_data
from local_aws import LocalAws
from tests.sample import embedded

ROOT = Path(__file__).parent.parent
TEMPLATE = (ROOT / "capstone-starter.cfn.yaml").read_text()
REGION = "us-west-2"

# awswrangler calls pandas in a way that pandas 4 will not know.
pytestmark = pytest.mark.filterwarnings("ignore:The copy keyword is deprecated")


def quiet(_: Progress) -> None:
    """Takes the progress of a run where no notebook shows it."""


@pytest.fixture(scope="module")
def connection(aws: LocalAws) -> Iterator[Connection]:
    with embedded(aws) as connection:
        yield connection


@pytest.fixture(scope="module")
def stack(connection: Connection) -> StackOutputs:
    parameters = {"StudentId": "helpers", "GeneratorState": "DISABLED"}
    return deploy_stack(connection, "capstone-helpers", TEMPLATE, parameters)[1]


def with_script(
    connection: Connection, stack: StackOutputs, tmp_path: Path, name: str, script: str
) -> StackOutputs:
    """The stack's outputs with a job of another name, which runs the script that is given."""
    path = tmp_path / f"{name}.py"
    path.write_text(script)
    outputs = dataclasses.replace(
        stack,
        glue_job_name=f"capstone-etl-helpers-{name}",
        script_location=f"{stack.analytics_data_location}scripts/{name}.py",
        job_log_group_prefix=f"{stack.job_log_group_prefix}-{name}",
    )
    pipeline.upload_if_changed(connection, path, outputs.script_location)
    pipeline.create_or_update_job(connection, outputs)
    return outputs


class StubbedSession:
    """A session with one stubbed client, for answers that the embedded AWS cannot be made to give."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def client(self, service_name: str) -> Any:
        assert service_name == self._client.meta.service_model.service_name
        return self._client


def stubbed(service: str) -> tuple[Connection, Stubber]:
    client = boto3.client(
        service, region_name=REGION, aws_access_key_id="test", aws_secret_access_key="test", endpoint_url=None
    )
    session: Any = StubbedSession(client)
    return Connection(session, "123456789012", REGION, None), Stubber(client)


# --- Connection ---------------------------------------------------------------------------------------------


def test_connecting_tells_account_region_and_endpoint(connection: Connection, aws: LocalAws) -> None:
    assert str(connection) == f"Account 000000000000 in us-west-2 at {aws.endpoint_url}"
    assert "000000000000" in connection._repr_html_()


def test_a_given_endpoint_wins_over_the_environment(
    aws: LocalAws, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert pipeline.connect(REGION, aws.endpoint_url).account == "000000000000"


def test_without_credentials_the_error_says_how_to_get_some(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(pipeline.NoCredentials, match="aws configure"):
        pipeline.connect(REGION, "http://127.0.0.1:9")


def test_an_endpoint_where_nothing_answers_is_named(connection: Connection) -> None:
    with pytest.raises(pipeline.EndpointUnreachable, match=r"http://127.0.0.1:9.*(\n.*)*make up"):
        pipeline.connect(REGION, "http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("ExpiredToken", pipeline.NoCredentials),
        ("InvalidClientTokenId", pipeline.NoCredentials),
        ("AccessDenied", pipeline.AccessDenied),
        ("Throttling", pipeline.AwsCallFailed),
    ],
)
def test_what_aws_refuses_becomes_an_error_of_ours(code: str, error: type[pipeline.PipelineError]) -> None:
    aws, stub = stubbed("cloudformation")
    stub.add_client_error("describe_stacks", service_error_code=code, service_message="no, because")
    with stub, pytest.raises(error, match=f"reading stack capstone-x: .*{code}: no, because"):
        pipeline.read_stack(aws, "capstone-x")


# --- Stack --------------------------------------------------------------------------------------------------


def test_the_outputs_of_the_stack_name_everything(stack: StackOutputs) -> None:
    assert stack.stack_status == "CREATE_COMPLETE"
    assert stack.student_id == "helpers"
    assert stack.source_bucket_name == "capstone-events-helpers-000000000000"
    assert stack.glue_job_name == "capstone-etl-helpers"
    assert stack.output_log_group == "/aws-glue/jobs/capstone-etl-helpers/output"
    assert stack.raw_events_location in stack._repr_html_()


def test_every_output_of_the_template_is_read_and_no_other() -> None:
    section = TEMPLATE[TEMPLATE.index("\nOutputs:") :]
    names = {field.name for field in dataclasses.fields(StackOutputs)} - {"stack_name", "stack_status"}
    outputs = set(re.findall(r"^  (\w+):", section, re.MULTILINE)) - {"GraderRoleArn"}  # for people only
    assert {output_key(name) for name in names} == outputs


def test_a_missing_stack_is_met_with_the_command_that_creates_it(connection: Connection) -> None:
    with pytest.raises(pipeline.StackNotFound) as caught:
        pipeline.read_stack(connection, "capstone-nobody")
    assert "no stack capstone-nobody in account 000000000000, region us-west-2" in caught.value.what
    assert "create-stack --stack-name capstone-nobody" in caught.value.next_step
    assert "ParameterKey=StudentId,ParameterValue=nobody" in caught.value.next_step


def stack_answer(status: str, **more: Any) -> dict[str, Any]:
    return {"Stacks": [{"StackName": "s", "CreationTime": datetime.now(UTC), "StackStatus": status, **more}]}


@pytest.mark.parametrize(
    ("status", "command"),
    [
        ("CREATE_IN_PROGRESS", "wait stack-create-complete"),
        ("UPDATE_IN_PROGRESS", "wait stack-update-complete"),
        ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "wait stack-update-complete"),
    ],
)
def test_a_stack_that_changes_is_to_be_waited_for(status: str, command: str) -> None:
    aws, stub = stubbed("cloudformation")
    stub.add_response("describe_stacks", stack_answer(status))
    with stub, pytest.raises(pipeline.StackNotReady, match=command):
        pipeline.read_stack(aws, "capstone-x")


def test_a_failed_stack_is_met_with_the_first_failure() -> None:
    def event(second: int, resource: str, status: str, reason: str) -> dict[str, Any]:
        moment = datetime(2025, 11, 18, 12, 0, second, tzinfo=UTC)
        return {
            "StackId": "i",
            "EventId": str(second),
            "StackName": "s",
            "Timestamp": moment,
            "LogicalResourceId": resource,
            "ResourceStatus": status,
            "ResourceStatusReason": reason,
        }

    events = [
        event(3, "s", "ROLLBACK_COMPLETE", ""),
        event(2, "GlueRole", "CREATE_FAILED", "Resource creation cancelled"),
        event(1, "SourceBucket", "CREATE_FAILED", "bucket already exists"),
    ]
    aws, stub = stubbed("cloudformation")
    stub.add_response("describe_stacks", stack_answer("ROLLBACK_COMPLETE"))
    stub.add_response("describe_stack_events", {"StackEvents": events})
    with stub, pytest.raises(pipeline.StackNotReady) as caught:
        pipeline.read_stack(aws, "capstone-x")
    assert "First failure: SourceBucket: bucket already exists." in caught.value.what
    assert "delete-stack --stack-name capstone-x" in caught.value.next_step


def test_a_stack_of_another_template_is_met_with_what_it_lacks() -> None:
    aws, stub = stubbed("cloudformation")
    outputs = [{"OutputKey": "StudentId", "OutputValue": "x"}]
    stub.add_response("describe_stacks", stack_answer("CREATE_COMPLETE", Outputs=outputs))
    with (
        stub,
        pytest.raises(
            pipeline.StackOutdated, match=r"no output SourceBucketName, .*(\n.*)*cloudformation deploy"
        ),
    ):
        pipeline.read_stack(aws, "capstone-x")


# --- Source data --------------------------------------------------------------------------------------------


def test_an_empty_source_bucket_is_met_with_the_ways_to_fill_it(
    connection: Connection, stack: StackOutputs
) -> None:
    with pytest.raises(pipeline.NoSourceData) as caught:
        pipeline.check_source_data(connection, stack)
    assert stack.raw_events_location in caught.value.what
    assert f"aws lambda invoke --function-name {stack.generator_function_name}" in caught.value.next_step


def test_source_data_is_counted_without_folder_markers(connection: Connection, stack: StackOutputs) -> None:
    s3 = connection.client("s3")
    keys = ["events/", "events/year=2025/events-20251118-000000.jsonl.gz", "other/file"]
    try:
        for key in keys:
            s3.put_object(
                Bucket=stack.source_bucket_name, Key=key, Body=b"" if key.endswith("/") else b"data"
            )
        data = pipeline.check_source_data(connection, stack)
    finally:
        for key in keys:
            s3.delete_object(Bucket=stack.source_bucket_name, Key=key)
    assert (data.files, data.size_bytes) == (1, 4)
    assert "1 raw file, 4 bytes" in str(data)
    assert "events-20251118-000000.jsonl.gz" in data._repr_html_()


def test_hidden_objects_are_no_raw_files(connection: Connection, stack: StackOutputs) -> None:
    s3 = connection.client("s3")
    keys = ["events/_temporary/part", "events/.DS_Store"]
    try:
        for key in keys:
            s3.put_object(Bucket=stack.source_bucket_name, Key=key, Body=b"data")
        with pytest.raises(pipeline.NoSourceData):
            pipeline.check_source_data(connection, stack)
    finally:
        for key in keys:
            s3.delete_object(Bucket=stack.source_bucket_name, Key=key)


# --- Uploads ------------------------------------------------------------------------------------------------


def test_a_file_is_uploaded_only_when_its_content_changes(
    connection: Connection, stack: StackOutputs, tmp_path: Path
) -> None:
    path, uri = tmp_path / "queries.sql", f"{stack.analytics_data_location}test/queries.sql"
    statuses = []
    for content in ("SELECT 1;", "SELECT 1;", "SELECT 2;", "SELECT 2;"):
        path.write_text(content)
        statuses.append(pipeline.upload_if_changed(connection, path, uri).status)
    assert statuses == ["uploaded", "unchanged", "uploaded", "unchanged"]
    body = connection.client("s3").get_object(Bucket=stack.analytics_bucket_name, Key="test/queries.sql")[
        "Body"
    ]
    assert body.read() == b"SELECT 2;"


def test_an_object_that_another_program_replaced_is_uploaded_again(
    connection: Connection, stack: StackOutputs, tmp_path: Path
) -> None:
    path, uri = tmp_path / "file.sql", f"{stack.analytics_data_location}test/file.sql"
    path.write_text("SELECT 1;")
    pipeline.upload_if_changed(connection, path, uri)
    connection.client("s3").put_object(Bucket=stack.analytics_bucket_name, Key="test/file.sql", Body=b"other")
    assert pipeline.upload_if_changed(connection, path, uri).status == "uploaded"


def test_a_missing_bucket_is_named(connection: Connection, tmp_path: Path) -> None:
    path = tmp_path / "file.sql"
    path.write_text("SELECT 1;")
    with pytest.raises(pipeline.AwsCallFailed, match="s3://no-such-bucket/key"):
        pipeline.upload_if_changed(connection, path, "s3://no-such-bucket/key")


# --- Job ----------------------------------------------------------------------------------------------------


def test_the_job_is_created_once_and_then_unchanged(connection: Connection, stack: StackOutputs) -> None:
    stack = dataclasses.replace(stack, glue_job_name="capstone-etl-helpers-created")
    assert pipeline.create_or_update_job(connection, stack).status == "created"
    assert pipeline.create_or_update_job(connection, stack).status == "unchanged"


def test_a_changed_job_is_updated_with_old_and_new_values(
    connection: Connection, stack: StackOutputs
) -> None:
    stack = dataclasses.replace(stack, glue_job_name="capstone-etl-helpers-updated")
    definition = pipeline.job_definition(stack)
    definition["Timeout"] = 5
    definition["DefaultArguments"]["--by-hand"] = "yes"
    del definition["DefaultArguments"]["--enable-auto-scaling"]
    connection.client("glue").create_job(Name=stack.glue_job_name, **definition)

    change = pipeline.create_or_update_job(connection, stack)

    assert change.status == "updated"
    assert set(change.changes) == {
        ("Timeout", "5", "60"),
        ("--enable-auto-scaling", "–", "true"),
        ("--by-hand", "yes", "–"),
    }
    assert "5 → 60" in change._repr_html_()
    assert pipeline.create_or_update_job(connection, stack).status == "unchanged"


def test_a_job_without_a_worker_beside_the_drivers_is_refused(stack: StackOutputs) -> None:
    assert pipeline.job_definition(stack)["NumberOfWorkers"] == 3
    assert pipeline.job_definition(stack, workers=10)["NumberOfWorkers"] == 10
    with pytest.raises(pipeline.InvalidSetting, match="workers is 1"):
        pipeline.job_definition(stack, workers=1)


def test_the_job_is_what_the_pipeline_needs(stack: StackOutputs) -> None:
    definition = pipeline.job_definition(stack)
    assert (definition["GlueVersion"], definition["WorkerType"]) == ("5.1", "G.1X")
    assert definition["ExecutionProperty"] == {"MaxConcurrentRuns": 1}
    arguments = definition["DefaultArguments"]
    assert arguments["--job-bookmark-option"] == "job-bookmark-enable"
    assert arguments["--enable-auto-scaling"] == "true"
    assert arguments["--custom-logGroup-prefix"] == stack.job_log_group_prefix
    assert arguments["--SOURCE_BUCKET"] == stack.source_bucket_name


# --- Runs ---------------------------------------------------------------------------------------------------

ALL_STEPS = """
import json
print("Not a summary")
print(json.dumps({"layer": "bronze", "files": 2, "rows_in": 1200, "accepted": 1199,
                  "newest_event_age_seconds": 90000}))
print(json.dumps({"layer": "silver", "inserted": 1000, "days_rebuilt": []}))
print(json.dumps({"layer": "gold", "days": ["2025-11-17", "2025-11-18"], "seconds": 1.26}))
"""
RAISES = "raise ValueError('the disk of the moon is full')\n"
SLEEPS = "import time\nprint('sleeping', flush=True)\ntime.sleep(120)\n"


def test_a_run_that_succeeds_brings_its_counters(
    connection: Connection, stack: StackOutputs, tmp_path: Path
) -> None:
    outputs = with_script(connection, stack, tmp_path, "succeeds", ALL_STEPS)
    shown: list[Progress] = []
    run = pipeline.start_job_run(connection, outputs)
    result = pipeline.wait_for_job_run(connection, outputs, run, 2, 0.2, show=shown.append)
    assert not run.attached
    assert shown[-1].state == "SUCCEEDED"
    assert result.new_files == 2
    assert result.summary["silver"] == {"inserted": 1000, "days_rebuilt": []}
    assert "2 new files taken in" in str(result)
    assert "rows in: 1,200" in result._repr_html_()
    assert "newest event age: 1 day" in str(result)
    assert "days: 2025-11-17, 2025-11-18, took: 1.3 s\n" in str(result)
    assert shown[-1].steps_done == 3


def test_a_script_that_raises_fails_the_run_with_its_reason_and_the_place_of_its_log(
    connection: Connection, stack: StackOutputs, tmp_path: Path
) -> None:
    outputs = with_script(connection, stack, tmp_path, "raises", RAISES)
    run = pipeline.start_job_run(connection, outputs)
    with pytest.raises(pipeline.JobRunFailed) as caught:
        pipeline.wait_for_job_run(connection, outputs, run, 2, 0.2, show=quiet)
    assert "ended as FAILED" in caught.value.what
    assert "the disk of the moon is full" in caught.value.what
    assert f"aws logs filter-log-events --log-group-name {outputs.output_log_group}" in caught.value.next_step
    assert run.run_id in caught.value.next_step


def test_a_run_that_is_active_is_waited_for_instead_of_starting_another(
    connection: Connection, stack: StackOutputs, tmp_path: Path
) -> None:
    outputs = with_script(connection, stack, tmp_path, "sleeps", SLEEPS)
    first = pipeline.start_job_run(connection, outputs)
    try:
        second = pipeline.start_job_run(connection, outputs)
        assert second == JobRun(first.run_id, attached=True)
        with pytest.raises(pipeline.JobRunTimedOut, match=r"it goes on(.*\n)*.*batch-stop-job-run"):
            pipeline.wait_for_job_run(connection, outputs, second, 0, 0.1, show=quiet)
    finally:
        glue = connection.client("glue")
        glue.batch_stop_job_run(JobName=outputs.glue_job_name, JobRunIds=[first.run_id])
    with pytest.raises(pipeline.JobRunFailed, match="ended as STOPPED"):
        pipeline.wait_for_job_run(connection, outputs, first, 1, 0.2, show=quiet)


def test_a_run_that_somebody_else_started_in_the_same_moment_is_waited_for(stack: StackOutputs) -> None:
    aws, stub = stubbed("glue")
    stub.add_response("get_job_runs", {"JobRuns": [{"Id": "jr_old", "JobRunState": "SUCCEEDED"}]})
    stub.add_client_error("start_job_run", service_error_code="ConcurrentRunsExceededException")
    stub.add_response("get_job_runs", {"JobRuns": [{"Id": "jr_other", "JobRunState": "STARTING"}]})
    with stub:
        assert pipeline.start_job_run(aws, stack) == JobRun("jr_other", attached=True)


def test_a_job_that_does_not_exist_is_named(connection: Connection, stack: StackOutputs) -> None:
    stack = dataclasses.replace(stack, glue_job_name="capstone-etl-nobody")
    with pytest.raises(pipeline.JobNotFound, match="no Glue job capstone-etl-nobody"):
        pipeline.start_job_run(connection, stack)


def test_summary_lines_are_found_among_other_output() -> None:
    lines = ["starting", '{"layer": "bronze", "files": 3}\n', '{"other": 1}', 'a {"layer": "x"}']
    assert parse_summary(lines) == {"bronze": {"files": 3}}


@pytest.mark.parametrize(
    ("summary", "headline"),
    [
        ({"bronze": {"files": 0}}, "0 new files: nothing to do"),
        ({"bronze": {"files": 0}, "gold": {}}, "0 new files; what the tables lacked was computed."),
        ({"bronze": {"files": 1}}, "1 new file taken in, in 1 min 05 s."),
        ({}, "The log of this run holds no summary yet; look into log group g, stream s"),
    ],
)
def test_the_headline_of_a_run_says_what_it_did(summary: dict[str, Any], headline: str) -> None:
    result = RunResult("jr_1", datetime(2025, 11, 18, tzinfo=UTC), 65.0, summary, "log group g, stream s")
    assert result.headline.startswith(headline)


def test_a_counter_without_a_value_is_left_out() -> None:
    summary = {"silver": {"rows": 0, "newest_event_age_seconds": None, "seconds": 1.25}}
    result = RunResult("jr_1", datetime(2025, 11, 18, tzinfo=UTC), 65.0, summary, "")
    assert "silver: rows: 0, took: 1.2 s" in str(result)
    assert "None" not in result._repr_html_()


def test_a_log_that_arrives_late_is_waited_for_only_so_long(
    connection: Connection, stack: StackOutputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("capstone_pipeline.job._LOG_DELAY_SECONDS", 0.5)
    outputs = with_script(connection, stack, tmp_path, "silent", "print('nothing of note')\n")
    began = time.monotonic()
    run = pipeline.start_job_run(connection, outputs)
    result = pipeline.wait_for_job_run(connection, outputs, run, 2, 0.2, show=quiet)
    assert result.new_files is None
    assert time.monotonic() - began < 60


# --- Queries ------------------------------------------------------------------------------------------------


def test_the_five_queries_run_on_empty_gold_tables(connection: Connection, stack: StackOutputs) -> None:
    for query in pipeline.read_queries(ROOT / "queries.sql"):
        answer = pipeline.run_query(connection, stack, query)
        assert len(answer.frame) == 0
        assert "no run of the job has filled it yet" in answer._repr_html_()


@pytest.mark.parametrize("sql", ["SELECT nothing FROM hourly_revenue", "SELEKT 1", "SELECT 1 FROM no_table"])
def test_a_query_that_athena_refuses_is_met_with_its_reason(
    connection: Connection, stack: StackOutputs, sql: str
) -> None:
    with pytest.raises(pipeline.QueryFailed) as caught:
        pipeline.run_query(connection, stack, pipeline.Query(9, "wrong", "", sql))
    assert "query 9, wrong (workgroup capstone-helpers, database gold_helpers)" in caught.value.what
    assert "Reason: " in caught.value.what
    assert sql in caught.value.next_step


# --- Errors and summary -------------------------------------------------------------------------------------


def test_an_error_is_shown_in_a_notebook_without_a_traceback() -> None:
    error = pipeline.StackNotFound("There is no stack s.", "create it.")
    assert error._render_traceback_() == ["StackNotFound: There is no stack s.\n\nWhat to do: create it."]


def test_the_infrastructure_summary_names_the_deliverables_and_the_commands(
    connection: Connection, stack: StackOutputs
) -> None:
    page = pipeline.infrastructure_summary(connection, stack, "jr_1")
    for text in (
        stack.analytics_data_location,
        stack.queries_location,
        "aws glue start-job-run --job-name capstone-etl-helpers --region us-west-2",
        "--run-id jr_1",
        "aws logs tail /aws-glue/jobs/capstone-etl-helpers/output --follow",
        "aws glue reset-job-bookmark",
    ):
        assert text in str(page)
        assert text in page._repr_html_()


# --- The demo's preparation ---------------------------------------------------------------------------------


def test_deploying_again_reports_what_changed(connection: Connection) -> None:
    parameters = {"StudentId": "redeployed", "GeneratorState": "DISABLED"}

    def deploy(template: str) -> str:
        return deploy_stack(connection, "capstone-redeployed", template, parameters)[0]

    assert deploy(TEMPLATE) == "created"
    assert deploy(TEMPLATE) == "unchanged"
    parameters["RawRetentionDays"] = "7"
    assert deploy(TEMPLATE) == "updated"


def test_parameters_that_the_template_refuses_are_reported(connection: Connection) -> None:
    with pytest.raises(pipeline.AwsCallFailed, match=r"deploying stack capstone-invalid: .*StudentId"):
        deploy_stack(connection, "capstone-invalid", TEMPLATE, {"StudentId": "Not Allowed"})


def test_sample_data_keeps_its_paths_and_is_uploaded_once(
    connection: Connection, stack: StackOutputs, tmp_path: Path
) -> None:
    stack = dataclasses.replace(stack, raw_events_location=f"s3://{stack.source_bucket_name}/copied/")
    file = tmp_path / "year=2025" / "minute=05" / "events-20251118-000500.jsonl.gz"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"data")
    assert upload_sample_data(connection, stack, tmp_path) == (1, 0)
    assert upload_sample_data(connection, stack, tmp_path) == (0, 1)
    found = connection.client("s3").list_objects_v2(Bucket=stack.source_bucket_name, Prefix="copied/")
    assert [item["Key"] for item in found["Contents"]] == [f"copied/{file.relative_to(tmp_path).as_posix()}"]


def test_a_folder_without_sample_data_is_named(
    connection: Connection, stack: StackOutputs, tmp_path: Path
) -> None:
    with pytest.raises(pipeline.PipelineError, match=r"generate_sample_data\.py"):
        upload_sample_data(connection, stack, tmp_path)


# --- The shop, and the commands -----------------------------------------------------------------------------


@pytest.mark.parametrize("student_id", [42, 4.2, None, ["a"]])
def test_a_student_id_that_is_no_text_is_refused(student_id: Any) -> None:
    with pytest.raises(pipeline.InvalidSetting, match=r"no text(.*\n)*.*papermill -r student_id"):
        pipeline.open(student_id)


@pytest.fixture(scope="module")
def shop(connection: Connection, stack: StackOutputs) -> pipeline.Shop:
    return pipeline.open("helpers", REGION)


def test_a_shop_without_raw_files_says_so_and_is_not_run(
    shop: pipeline.Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    assert str(shop.raw_files()) == f"There is no raw event file in {shop.stack.raw_events_location} yet."
    assert main(["run", "--student-id", "helpers"]) == 1
    said = capsys.readouterr()
    assert "glue_scripts/capstone_etl.py: uploaded" in said.out
    assert f"Glue job {shop.stack.glue_job_name}: " in said.out
    assert "NoSourceData: There is no raw event file" in said.err


def test_asking_before_any_run_says_that_the_tables_are_empty(
    shop: pipeline.Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ask", "3", "--student-id", "helpers"]) == 0
    said = capsys.readouterr().out.strip()
    assert said == str(shop.answer(3))
    assert said.endswith("The gold table is empty: no run of the job has filled it yet.")


def test_a_question_of_ones_own_is_asked_of_the_gold_tables(
    shop: pipeline.Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDENT_ID", "helpers")
    assert main(["ask", "SELECT count(*) AS hours, 'x' AS text FROM hourly_revenue"]) == 0
    assert capsys.readouterr().out.split() == ["Your", "question", "hours", "text", "0", "x"]
    assert main(["ask", "SELECT * FROM top_products"]) == 0
    assert capsys.readouterr().out == "Your question\nNo rows.\n\n"
    assert main(["ask", "SELECT no_such FROM hourly_revenue"]) == 1
    assert "QueryFailed: Athena could not run the query for Your question" in capsys.readouterr().err


def test_a_query_that_does_not_exist_is_named(
    shop: pipeline.Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ask", "7", "--student-id", "helpers"]) == 1
    assert "has no query 7, only 1, 2, 3, 4, 5" in capsys.readouterr().err
