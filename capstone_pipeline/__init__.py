"""What `build_pipeline.ipynb` does its steps with: one verb a step, safe to repeat, with errors that help.

Load it in a notebook with `%load_ext capstone_pipeline`, which adds the `%%etl_script` cell. Knows AWS only
through boto3 and awswrangler: which AWS is meant is a matter of AWS_ENDPOINT_URL and the credentials.
Not for the transformation itself, which is `glue_scripts/capstone_etl.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from capstone_pipeline.answers import Answer, Queries, Query, read_queries, run_query
from capstone_pipeline.checks import check_gold_data
from capstone_pipeline.errors import (
    AccessDenied,
    AwsCallFailed,
    EndpointUnreachable,
    InvalidQueryFile,
    InvalidSetting,
    JobNotFound,
    JobRunFailed,
    JobRunTimedOut,
    NoCredentials,
    NoGoldData,
    NoSourceData,
    NotRunYet,
    PipelineError,
    QueryFailed,
    ScriptConflict,
    SourceBucketNotFound,
    StackNotFound,
    StackNotReady,
    StackOutdated,
)
from capstone_pipeline.job import (
    JobChange,
    JobRun,
    RunResult,
    Upload,
    create_or_update_job,
    job_definition,
    start_job_run,
    upload_files,
    upload_if_changed,
    wait_for_job_run,
)
from capstone_pipeline.raw_objects import SourceData, check_source_data
from capstone_pipeline.script_cell import MAGIC, ScriptStatus, write_script
from capstone_pipeline.stack import (
    Connection,
    StackOutputs,
    connect,
    read_stack,
)
from capstone_pipeline.summary import infrastructure_summary

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = [
    "AccessDenied",
    "Answer",
    "AwsCallFailed",
    "Connection",
    "EndpointUnreachable",
    "InvalidQueryFile",
    "InvalidSetting",
    "JobChange",
    "JobNotFound",
    "JobRun",
    "JobRunFailed",
    "JobRunTimedOut",
    "NoCredentials",
    "NoGoldData",
    "NoSourceData",
    "NotRunYet",
    "PipelineError",
    "Queries",
    "Query",
    "QueryFailed",
    "RunResult",
    "ScriptConflict",
    "ScriptStatus",
    "SourceBucketNotFound",
    "SourceData",
    "StackNotFound",
    "StackNotReady",
    "StackOutdated",
    "StackOutputs",
    "Upload",
    "check_gold_data",
    "check_source_data",
    "connect",
    "create_or_update_job",
    "infrastructure_summary",
    "job_definition",
    "read_queries",
    "read_stack",
    "run_query",
    "start_job_run",
    "upload_files",
    "upload_if_changed",
    "wait_for_job_run",
    "write_script",
]


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register `%%etl_script PATH`: IPython calls this for `%load_ext capstone_pipeline`."""

    def etl_script(line: str, cell: str) -> ScriptStatus:
        return write_script(line.strip(), cell)

    shell.magics_manager.register_function(etl_script, magic_kind="cell", magic_name=MAGIC)
