"""Command line of the notebook's helpers.

python -m capstone_pipeline sync      bring the notebook's script cell and the script file together
python -m capstone_pipeline report    run a notebook and render it as output/<its name>.html
python -m capstone_pipeline check     say whether data has come through, or where it stops
python -m capstone_pipeline accept    prove on an account that all of it works: deploys, examines, removes
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from capstone_pipeline.errors import PipelineError
from capstone_pipeline.script_cell import embed_pictures, is_synced, sync

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "images"


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code, 1 after an error that the user has to see to."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except PipelineError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


def run_sync(options: argparse.Namespace) -> int:
    """Take the edited side over to the other, or (--check) only say whether the two differ."""
    notebook = options.notebook
    if options.check:
        same = is_synced(notebook)
        print(f"{notebook.name} and its script {'are the same.' if same else 'differ: run `make notebook`.'}")
        return 0 if same else 1
    print(sync(notebook, options.keep))
    for name in embed_pictures(notebook, PICTURES):
        print(f"{notebook.name} took in the picture {name}.")
    return 0


def run_report(options: argparse.Namespace) -> int:
    """Run a notebook on the AWS that the environment points to, and render it."""
    from capstone_pipeline import report  # Late: `sync` needs none of its imports.

    executed = options.output_dir / options.notebook.name
    executed.with_suffix(".html").unlink(missing_ok=True)  # No old report remains when this run fails.
    print(f"Running {options.notebook.name} for {options.student_id} ...", flush=True)
    declared = report.parameters_of(options.notebook)
    given = {"student_id": options.student_id, "region": options.region}
    parameters = {name: value for name, value in given.items() if name in declared}
    report.run_notebook(options.notebook, executed, parameters)
    for line in report.headlines(executed):
        print(f"  {line}")
    print(f"Report: {report.render_html(executed)}")
    return 0


def run_check(options: argparse.Namespace) -> int:
    """Say how far the data of a stack has come: raw files, and events in the gold tables."""
    from capstone_pipeline import checks, raw_objects, stack  # Late: `sync` needs none of their imports.

    aws = stack.connect(options.region)
    outputs = stack.read_stack(aws, f"capstone-{options.student_id}")
    print(f"Stack {outputs.stack_name} is {outputs.stack_status}")
    print(raw_objects.check_source_data(aws, outputs))
    print(f"The gold tables account for {checks.check_gold_data(aws, outputs):,} events")
    return 0


def run_accept(options: argparse.Namespace) -> int:
    """Deploy a stack of its own, hold all promises against it, remove it, and write output/accept.html."""
    from capstone_pipeline.accept import accept

    return accept(
        options.student_id,
        options.region,
        options.output_dir,
        is_agreed=options.yes,
        lab_role_arn=options.lab_role_arn,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m capstone_pipeline",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, run in {
        "sync": run_sync,
        "report": run_report,
        "check": run_check,
        "accept": run_accept,
    }.items():
        command = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        command.set_defaults(run=run)
        if run in (run_sync, run_report):
            command.add_argument("--notebook", type=Path, default=ROOT / "build_pipeline.ipynb")
        if run in (run_report, run_check, run_accept):
            command.add_argument("--region", default="us-west-2")
        if run is run_sync:
            command.add_argument("--keep", choices=["script", "notebook"], help="the side that wins")
            command.add_argument("--check", action="store_true", help="only say whether they are the same")
        if run in (run_report, run_check, run_accept):
            command.add_argument("--student-id", default="demo")
        if run in (run_report, run_accept):
            command.add_argument("--output-dir", type=Path, default=Path("output"))
        if run is run_accept:
            command.add_argument("--yes", action="store_true", help="agree to the cost without being asked")
            command.add_argument("--lab-role-arn", default="", help="where roles may not be created")
    return parser


if __name__ == "__main__":
    sys.exit(main())
