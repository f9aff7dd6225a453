"""The last cell: what stands where, and the commands to run, watch and reset it without the notebook."""

from __future__ import annotations

import html
from dataclasses import dataclass

from capstone_pipeline.render import Shown, block, facts_table
from capstone_pipeline.stack import Connection, StackOutputs


@dataclass(frozen=True, repr=False)
class Infrastructure(Shown):
    """Names, locations and commands, to be shown."""

    facts: tuple[tuple[str, str], ...]
    commands: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        facts = "\n".join(f"{name}: {value}" for name, value in self.facts)
        return facts + "".join(f"\n\n{purpose}:\n  {command}" for purpose, command in self.commands)

    def _repr_html_(self) -> str:
        commands = "".join(
            f"<div class='note'>{html.escape(purpose)}</div><pre>{html.escape(command)}</pre>"
            for purpose, command in self.commands
        )
        return facts_table(self.facts) + block(commands)


def infrastructure_summary(aws: Connection, stack: StackOutputs, run_id: str | None = None) -> Infrastructure:
    """What a reader needs to find the results and to go on from a shell.

    Parameters
    ----------
    run_id
        The run that the command for watching a run names.
    """
    region, job = f"--region {aws.region}", stack.glue_job_name
    facts = (
        ("Analytical dataset", stack.analytics_data_location),
        ("Queries", stack.queries_location),
        ("Raw events", stack.raw_events_location),
        ("ETL script", stack.script_location),
        ("Glue job", job),
        ("Databases", ", ".join(stack.database_names)),
        ("Athena workgroup", stack.athena_workgroup_name),
        ("Query results", stack.athena_results_location),
        ("Job log", f"{stack.output_log_group} (what the script prints), {stack.error_log_group} (Spark)"),
        ("Event generator", stack.generator_function_name),
    )
    commands = (
        ("Start a run", f"aws glue start-job-run --job-name {job} {region}"),
        (
            "State of a run",
            f"aws glue get-job-run --job-name {job} {region} \\\n  --run-id {run_id or '<run-id>'}",
        ),
        (
            "Follow the job's log (needs version 2 of the AWS CLI)",
            f"aws logs tail {stack.output_log_group} --follow {region}",
        ),
        (
            "Process all raw files again at the next run",
            f"aws glue reset-job-bookmark --job-name {job} {region}",
        ),
        (
            "Let the generator write one more file",
            f"aws lambda invoke --function-name {stack.generator_function_name} {region} response.json",
        ),
        (
            "Ask Athena (get-query-results shows the answer)",
            f"aws athena start-query-execution --work-group {stack.athena_workgroup_name} {region} \\\n"
            f"  --query-execution-context Database={stack.gold_database_name} \\\n"
            '  --query-string "SELECT * FROM top_products ORDER BY rank"',
        ),
    )
    return Infrastructure(facts, commands)
