"""What `build_pipeline.ipynb` does its steps with: `shop = pipeline.open(student_id)`, then one verb a step.

Everything is safe to repeat, and errors say what to do.
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
    JobBusy,
    JobNotFound,
    JobRunFailed,
    JobRunTimedOut,
    NoCredentials,
    NoGoldData,
    NoSourceData,
    NotRunYet,
    PipelineError,
    PortTaken,
    QueryFailed,
    ScriptDiffers,
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
from capstone_pipeline.script_cell import MAGIC, ScriptCell, ScriptStatus
from capstone_pipeline.shop import Shop, open
from capstone_pipeline.stack import (
    Connection,
    StackOutputs,
    connect,
    read_stack,
)
from capstone_pipeline.summary import infrastructure_summary

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register `%%etl_script PATH`: IPython calls this for `%load_ext capstone_pipeline`."""
    shell.magics_manager.register_function(ScriptCell(), magic_kind="line_cell", magic_name=MAGIC)
