"""The pipeline from a shell.

python -m capstone_pipeline run       upload the script, set up the job, run it and wait for its end
python -m capstone_pipeline ask       ask the five queries, or some (ask 1 3), or your own (ask "SELECT ...")
python -m capstone_pipeline check     say whether data has come through, or where it stops
python -m capstone_pipeline report    run a notebook and render it as output/<its name>.html
python -m capstone_pipeline watch     keep the job watching for new objects, and show the answers live
python -m capstone_pipeline accept    prove on an account that all of it works: deploys, examines, removes
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from capstone_pipeline import checks, raw_objects, shop
from capstone_pipeline.answers import read_queries
from capstone_pipeline.errors import PipelineError
from capstone_pipeline.render import Progress
from capstone_pipeline.stack import PROJECT
from capstone_pipeline.watch import LOOK_SECONDS, watch


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code, 1 after an error that the user has to see to."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except PipelineError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def run_run(options: argparse.Namespace) -> int:
    """Upload the script and the queries, set up the job, run it and wait for its end."""
    pipeline = _open(options)
    print(pipeline.upload())
    print(pipeline.set_up_job(), flush=True)
    print(pipeline.run(options.timeout_minutes, options.poll_seconds, _progress_lines()))
    return 0


def run_ask(options: argparse.Namespace) -> int:
    """Ask queries of queries.sql (all, where none is named), or an SQL statement, and show tables."""
    pipeline = _open(options)
    for question in options.questions or [str(query.number) for query in read_queries()]:
        print(f"{pipeline.answer(int(question) if question.isdecimal() else question)}\n", flush=True)
    return 0


def run_check(options: argparse.Namespace) -> int:
    """Say how far the data of a stack has come: raw files, and events in the gold tables."""
    pipeline = _open(options)
    print(f"Stack {pipeline.stack.stack_name} is {pipeline.stack.stack_status}")
    print(raw_objects.check_source_data(pipeline.aws, pipeline.stack))
    events = checks.check_gold_data(pipeline.aws, pipeline.stack)
    print(f"The gold tables account for {events:,} events")
    return 0


def run_report(options: argparse.Namespace) -> int:
    """Run a notebook on the AWS that the environment points to, and render it."""
    from capstone_pipeline import report  # Late: Jupyter takes a second to import.

    executed = options.output_dir / options.notebook.name
    executed.with_suffix(".html").unlink(missing_ok=True)  # No old report remains when this run fails.
    print(f"Running {options.notebook.name} for {options.student_id} ...", flush=True)
    declared = report.parameters_of(options.notebook)
    given = {name: getattr(options, name) for name in ("student_id", "region", "stack_name")}
    parameters = {name: value for name, value in given.items() if name in declared}
    report.run_notebook(options.notebook, executed, parameters)
    for line in report.headlines(executed):
        print(f"  {line}")
    print(f"Report: {report.render_html(executed)}")
    return 0


def run_watch(options: argparse.Namespace) -> int:
    """Keep the job running in watch mode, and serve a page with the answers on loopback, until Ctrl-C."""
    return watch(
        _open(options), port=options.port, look_seconds=options.look_every, open_browser=options.open
    )


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


def _open(options: argparse.Namespace) -> shop.Shop:
    return shop.open(options.student_id, options.region, options.stack_name)


def _progress_lines() -> Callable[[Progress], None]:
    """Progress on one line of a terminal; elsewhere, a line where state or step has changed."""
    seen: tuple[str, int] | None = None

    def show(progress: Progress) -> None:
        nonlocal seen
        if sys.stdout.isatty():
            print(f"\r\033[K{progress}", end="" if progress.is_active else "\n", flush=True)
        elif seen != (seen := (progress.state, progress.steps_done)):
            print(progress, flush=True)

    return show


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m capstone_pipeline",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    for run in (run_run, run_ask, run_check, run_report, run_watch, run_accept):
        name = run.__name__.removeprefix("run_")
        command = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        command.set_defaults(run=run)
        command.add_argument("--student-id", default=os.environ.get("STUDENT_ID") or "demo")
        command.add_argument("--region", default=os.environ.get("AWS_DEFAULT_REGION") or "us-west-2")
        if run is not run_accept:
            command.add_argument("--stack-name", help="default: capstone-<student id>")
        if run is run_run:
            command.add_argument("--timeout-minutes", type=float, default=60, help="how long to wait at most")
            command.add_argument("--poll-seconds", type=float, default=5, help="how often to look")
        if run is run_ask:
            command.add_argument("questions", nargs="*", metavar="NUMBER or SQL")
        if run is run_report:
            command.add_argument("--notebook", type=Path, default=PROJECT / "build_pipeline.ipynb")
        if run is run_watch:
            command.add_argument(
                "--look-every",
                type=int,
                default=LOOK_SECONDS,
                metavar="SECONDS",
                help="how often the job looks",
            )
            command.add_argument(
                "--port", type=int, default=0, help="of the page on 127.0.0.1; 0 takes a free one"
            )
            command.add_argument("--open", action="store_true", help="open the page in a browser")
        if run in (run_report, run_accept):
            command.add_argument("--output-dir", type=Path, default=Path("output"))
        if run is run_accept:
            command.add_argument("--yes", action="store_true", help="agree to the cost without being asked")
            command.add_argument("--lab-role-arn", default="", help="where roles may not be created")
    return parser


if __name__ == "__main__":
    sys.exit(main())
