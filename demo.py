"""Prepare what `build_pipeline.ipynb` works on: deploy the stack and put sample data into its source bucket.

`make demo` runs this against the embedded AWS; it works the same on AWS, and a repetition changes nothing.
Not for the pipeline's own steps: those are the notebook's.

    python demo.py --student-id demo --sample-data sample-data
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from botocore.exceptions import ClientError, WaiterError

from capstone_pipeline import (
    Connection,
    PipelineError,
    StackNotFound,
    StackOutputs,
    connect,
    read_stack,
    upload_if_changed,
)
from capstone_pipeline.errors import error_message, own_errors

ROOT = Path(__file__).resolve().parent
TEMPLATE = ROOT / "capstone-starter.cfn.yaml"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    parameters = {"StudentId": options.student_id, "GeneratorState": options.generator_state}
    try:
        aws = connect(options.region)
        stack_name = options.stack_name or f"capstone-{options.student_id}"
        status, stack = deploy_stack(aws, stack_name, TEMPLATE.read_text(encoding="utf-8"), parameters)
        print(f"Stack {stack_name}: {status}")
        uploaded, unchanged = upload_sample_data(aws, stack, options.sample_data)
        print(f"Sample data: {uploaded} files uploaded to {stack.raw_events_location}, {unchanged} unchanged")
    except PipelineError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def deploy_stack(
    aws: Connection, stack_name: str, template: str, parameters: dict[str, str]
) -> tuple[str, StackOutputs]:
    """Create the stack, or update it where template or parameters changed, and wait until it is complete.

    Returns "created", "updated" or "unchanged", and the stack's outputs.

    Raises
    ------
    StackNotReady
        When it fails, or is changing or broken already.
    """
    cloudformation = aws.client("cloudformation")
    wanted = {
        "StackName": stack_name,
        "TemplateBody": template,
        "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        "Capabilities": ["CAPABILITY_IAM"],
    }
    with own_errors(f"deploying stack {stack_name}"):
        try:
            read_stack(aws, stack_name)
        except StackNotFound:
            cloudformation.create_stack(**wanted)
            status, waiter = "created", cloudformation.get_waiter("stack_create_complete")
        else:
            try:
                cloudformation.update_stack(**wanted)
            except ClientError as error:
                if "No updates are to be performed" not in error_message(error):
                    raise
                return "unchanged", read_stack(aws, stack_name)
            status, waiter = "updated", cloudformation.get_waiter("stack_update_complete")
        try:
            waiter.wait(StackName=stack_name, WaiterConfig={"Delay": 1, "MaxAttempts": 900})
        except WaiterError:
            read_stack(aws, stack_name)  # says why
            raise
    return status, read_stack(aws, stack_name)


def upload_sample_data(aws: Connection, stack: StackOutputs, folder: Path) -> tuple[int, int]:
    """Copy the folder's event files into the source bucket, keeping their Hive paths.

    Returns how many files were uploaded and how many were there already.

    Raises
    ------
    PipelineError
        When the folder holds no event file.
    """
    files = sorted(folder.rglob("*.jsonl.gz"))
    if not files:
        raise PipelineError(
            f"{folder} holds no event file (*.jsonl.gz).",
            "generate some:\n  python generate_sample_data.py --num-files 12 --events-per-file 5000",
        )
    statuses = [
        upload_if_changed(
            aws, file, f"{stack.raw_events_location}{file.relative_to(folder).as_posix()}"
        ).status
        for file in files
    ]
    return statuses.count("uploaded"), statuses.count("unchanged")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Deploy the stack and put sample data into its source bucket."
    )
    parser.add_argument("--student-id", default="demo")
    parser.add_argument("--stack-name", help="default: capstone-<student id>")
    parser.add_argument("--region", default="us-west-2")
    parser.add_argument("--sample-data", type=Path, default=ROOT / "sample-data")
    parser.add_argument(
        "--generator-state",
        choices=["ENABLED", "DISABLED"],
        default="DISABLED",
        help="whether the generator runs every five minutes (default: DISABLED)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
