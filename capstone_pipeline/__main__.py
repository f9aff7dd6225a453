"""Command line of the notebook's helpers.

python -m capstone_pipeline sync      bring the notebook's script cell and the script file together
python -m capstone_pipeline report    run a notebook and render it as output/<its name>.html
python -m capstone_pipeline check     say whether data has come through, or where it stops
python -m capstone_pipeline cost      what a month costs, from measured bytes and seconds
python -m capstone_pipeline docs      write the generated parts of the documents in docs/
python -m capstone_pipeline blog      render docs/BLOG_POST.md as output/blog_post.html
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
    from capstone_pipeline import checks, stack  # Late: `sync` needs none of their imports.

    aws = stack.connect(options.region)
    outputs = stack.read_stack(aws, f"capstone-{options.student_id}")
    print(f"Stack {outputs.stack_name} is {outputs.stack_status}")
    print(stack.check_source_data(aws, outputs))
    print(f"The gold tables account for {checks.check_gold_data(aws, outputs):,} events")
    return 0


def run_cost(options: argparse.Namespace) -> int:
    """Print what a month costs on AWS, and how that depends on how often the job runs."""
    from capstone_pipeline import cost

    print(cost.report(cost.read_measurements()))
    return 0


def run_docs(options: argparse.Namespace) -> int:
    """Write what the documents show of the costs, or (--answers-of) the sample answers."""
    from capstone_pipeline import documents

    if options.answers_of:
        contents = documents.answer_blocks(options.answers_of, options.region)
    else:
        contents = documents.computed_blocks()
    changed = documents.update_documents(contents)
    print("\n".join(f"{path.name}: updated" for path in changed) or "All documents are up to date.")
    return 0


def run_blog(options: argparse.Namespace) -> int:
    """Render the write-up as one web page."""
    from capstone_pipeline.blog import render_blog

    source = ROOT / "docs" / "BLOG_POST.md"
    print(f"Write-up: {render_blog(source, options.output_dir / 'blog_post.html')}")
    return 0


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
        "cost": run_cost,
        "docs": run_docs,
        "blog": run_blog,
    }.items():
        command = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        command.set_defaults(run=run)
        if run in (run_sync, run_report):
            command.add_argument("--notebook", type=Path, default=ROOT / "build_pipeline.ipynb")
        if run in (run_report, run_check, run_docs):
            command.add_argument("--region", default="us-west-2")
        if run is run_sync:
            command.add_argument("--keep", choices=["script", "notebook"], help="the side that wins")
            command.add_argument("--check", action="store_true", help="only say whether they are the same")
        if run in (run_report, run_check):
            command.add_argument("--student-id", default="demo")
        if run in (run_report, run_blog):
            command.add_argument("--output-dir", type=Path, default=Path("output"))
        if run is run_docs:
            command.add_argument(
                "--answers-of", metavar="ID", help="student id of a stack that holds sample-data"
            )
    return parser


if __name__ == "__main__":
    sys.exit(main())
