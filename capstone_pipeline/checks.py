"""Is there data at the end of the pipeline, and if not, where does it stop? Read only.

python -m capstone_pipeline check --student-id demo
"""

from __future__ import annotations

from typing import Any

from capstone_pipeline.answers import Query, run_query
from capstone_pipeline.errors import JobNotFound, NoGoldData, own_errors
from capstone_pipeline.job import ACTIVE_STATES
from capstone_pipeline.raw_objects import check_source_data
from capstone_pipeline.stack import Connection, StackOutputs

_EVENTS = Query(
    0, "Events in gold", "", "SELECT coalesce(sum(event_count), 0) AS events FROM category_performance"
)


def check_gold_data(aws: Connection, stack: StackOutputs) -> int:
    """The number of events that the gold tables account for; at least 1.

    Raises
    ------
    NoSourceData, SourceBucketNotFound, JobNotFound, NoGoldData
        Where there is none: the first step of the pipeline that is missing, with the command that takes it.
    """
    events = int(run_query(aws, stack, _EVENTS).frame["events"].iloc[0])
    if events:
        return events
    check_source_data(aws, stack)
    raise _no_gold_data(aws, stack, _job_runs(aws, stack))


def _job_runs(aws: Connection, stack: StackOutputs) -> list[dict[str, Any]]:
    """The job's latest runs, newest first. Raises JobNotFound."""
    name = stack.glue_job_name
    with own_errors(f"looking at the runs of job {name}"):
        glue = aws.client("glue")
        try:
            return list(glue.get_job_runs(JobName=name, MaxResults=20)["JobRuns"])
        except glue.exceptions.EntityNotFoundException as error:
            raise JobNotFound(
                f"The gold tables are empty: there is no Glue job {name} in {aws.region} yet.",
                "create and run it with build_pipeline.ipynb.",
            ) from error


def _no_gold_data(aws: Connection, stack: StackOutputs, runs: list[dict[str, Any]]) -> NoGoldData:
    name, region = stack.glue_job_name, aws.region
    start = f"aws glue start-job-run --job-name {name} --region {region}"
    if not runs:
        return NoGoldData(f"The gold tables are empty: job {name} has not run yet.", f"run it:\n  {start}")
    latest = runs[0]
    if latest["JobRunState"] in ACTIVE_STATES:
        return NoGoldData(
            f"The gold tables are empty: run {latest['Id']} of job {name} is still {latest['JobRunState']}.",
            f"wait for its end:\n  aws glue get-job-run --job-name {name} --run-id {latest['Id']} "
            f"--region {region} --query JobRun.JobRunState",
        )
    if not any(run["JobRunState"] == "SUCCEEDED" for run in runs):
        return NoGoldData(
            f"The gold tables are empty: no run of job {name} has succeeded. The latest ended as "
            f"{latest['JobRunState']}: {latest.get('ErrorMessage') or 'Glue gave no reason'}",
            f"correct the cause and run it again; its log:\n"
            f"  aws logs filter-log-events --log-group-name {stack.output_log_group} \\\n"
            f"    --log-stream-name-prefix {latest['Id']} --region {region} \\\n"
            "    --query 'events[].message' --output text\n"
            f"  {start}",
        )
    return NoGoldData(
        f"The gold tables are empty although runs of job {name} succeeded: none of the lines that they read "
        "was accepted.",
        "see why, in Athena:\n"
        f"  SELECT reason, count(*) AS lines\n  FROM {stack.bronze_database_name}.events_rejected\n"
        "  GROUP BY reason",
    )
