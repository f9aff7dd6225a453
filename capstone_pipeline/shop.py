"""A deployed pipeline as the notebooks speak of it: `shop = pipeline.open(student_id)`, then one verb a cell.

Nothing is decided here: each verb is a function of the module that it is about.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from capstone_pipeline import answers, job, raw_objects, summary
from capstone_pipeline.errors import InvalidSetting
from capstone_pipeline.render import Progress, Shown
from capstone_pipeline.stack import PROJECT, Connection, StackOutputs, connect, read_stack


@dataclass(frozen=True, repr=False)
class Shop(Shown):
    """One student's pipeline: the connection, and what the stack says of itself."""

    aws: Connection
    stack: StackOutputs

    def __str__(self) -> str:
        return f"{self.aws}, stack {self.stack.stack_name}"

    def _repr_html_(self) -> str:
        return self.aws._repr_html_()

    def raw_files(self) -> raw_objects.SourceData:
        """What the source bucket holds; there may be nothing yet."""
        return raw_objects.read_source_data(self.aws, self.stack)

    def upload(self) -> job.Uploads:
        """Bring the ETL script and the queries of this checkout to S3, where they differ."""
        places = {"glue_scripts/capstone_etl.py": self.stack.script_location}
        places["queries.sql"] = self.stack.queries_location
        return job.upload_files(self.aws, places, PROJECT)

    def set_up_job(
        self, max_rejected_percent: float | None = None, workers: int = job.WORKERS
    ) -> job.JobChange:
        """Create the Glue job, or update it: `job.create_or_update_job`."""
        return job.create_or_update_job(self.aws, self.stack, max_rejected_percent, workers)

    def run(
        self,
        wait_timeout_minutes: float = job.TIMEOUT_MINUTES,
        poll_seconds: float = 5.0,
        show: Callable[[Progress], None] | None = None,
    ) -> job.RunResult:
        """Start a run of the job, or find the active one, and wait for its end: `job.wait_for_job_run`.

        Raises
        ------
        NoSourceData
            When there is nothing to take in. Then no run is started.
        JobNotFound, JobRunFailed, JobRunTimedOut
        """
        raw_objects.check_source_data(self.aws, self.stack)
        started = job.start_job_run(self.aws, self.stack)
        return job.wait_for_job_run(self.aws, self.stack, started, wait_timeout_minutes, poll_seconds, show)

    def answer(self, question: int | str) -> answers.Answer:
        """Ask a query of queries.sql by its number, or a statement of your own."""
        query = (
            answers.read_queries()[question]
            if isinstance(question, int)
            else answers.Query(0, "Your question", "", question)
        )
        return answers.run_query(self.aws, self.stack, query)

    def ask(self, sql: str, title: str) -> pd.DataFrame:
        """Ask Athena one statement of your own: `answers.ask`."""
        return answers.ask(self.aws, self.stack, sql, title)

    def summary(self, result: job.RunResult | None = None) -> summary.Infrastructure:
        """Where everything is, and the commands that do without a notebook."""
        return summary.infrastructure_summary(self.aws, self.stack, result.run_id if result else None)


def open(
    student_id: str,
    region: str = "us-west-2",
    stack_name: str | None = None,
    endpoint_url: str | None = None,
) -> Shop:
    """Connect to AWS and find the stack.

    Parameters
    ----------
    student_id
        The stack's parameter StudentId, as text.
    stack_name
        By default capstone-<student_id>.
    endpoint_url
        As for `connect`.

    Raises
    ------
    InvalidSetting
        When student_id is no text: `papermill -p student_id 0042` makes 42 of it, another student's id.
    NoCredentials, EndpointUnreachable, StackNotFound, StackNotReady, StackOutdated
    """
    if not isinstance(student_id, str):
        raise InvalidSetting(
            f"student_id is {student_id!r}, which is no text: digits may have got lost on the way.",
            'write it in quotes, student_id = "0042". With papermill use -r, which keeps text as it is:\n'
            "  papermill -r student_id 0042 …",
        )
    aws = connect(region, endpoint_url)
    return Shop(aws, read_stack(aws, stack_name or f"capstone-{student_id}"))
