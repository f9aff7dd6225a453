"""What writes the generated parts of this project.

python -m tools docs         write the computed tables and plots of the documents in docs/
python -m tools figures      bring the measured figures of benchmarks/results/ into all documents
python -m tools cost         print what a month costs, from measured bytes and seconds
python -m tools blog         render docs/BLOG_POST.md as output/blog_post.html
python -m tools diagram      draw docs/images/architecture.svg and .png anew
python -m tools embed        put the ETL script and the pictures into build_pipeline.ipynb
python -m tools notebooks    run all notebooks on an embedded AWS of their own and keep their outputs in them
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.results import ROOT, ResultsError
from capstone_pipeline import PipelineError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code, 1 after an error that the user has to see to."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except (PipelineError, ResultsError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


def run_docs(options: argparse.Namespace) -> int:
    """Write what the documents show of measurements and costs, or (--answers-of) the sample answers."""
    from benchmarks.page import draw_plots
    from benchmarks.results import load
    from tools import documents

    if options.answers_of:
        contents = documents.answer_blocks(options.answers_of, options.region)
    else:
        contents = documents.computed_blocks()
        draw_plots(load())
    changed = documents.update_documents(contents)
    print("\n".join(f"{path.name}: updated" for path in changed) or "All documents are up to date.")
    return 0


def run_figures(options: argparse.Namespace) -> int:
    """Update the figures of all documents, or (--check) only say which are not up to date."""
    from tools import figures

    return figures.update(check=options.check)


def run_cost(options: argparse.Namespace) -> int:
    """Print what a month costs on AWS, and how that depends on how often the job runs."""
    from tools import cost

    print(cost.report(cost.read_measurements()))
    return 0


def run_blog(options: argparse.Namespace) -> int:
    """Render the write-up as one web page."""
    from tools.blog import render_blog

    source = ROOT / "docs" / "BLOG_POST.md"
    print(f"Write-up: {render_blog(source, options.output_dir / 'blog_post.html')}")
    return 0


def run_diagram(options: argparse.Namespace) -> int:
    """Draw the picture of the architecture."""
    from tools import architecture

    print(f"Drawn: {', '.join(str(path.relative_to(ROOT)) for path in architecture.write())}")
    return 0


def run_embed(options: argparse.Namespace) -> int:
    """Put the ETL script and the pictures into build_pipeline.ipynb."""
    from tools.embed import embed_pictures, embed_script

    notebook = options.notebook
    print(f"{notebook.name} {'took in' if embed_script(notebook) else 'holds'} the script of its file.")
    for name in embed_pictures(notebook, ROOT / "docs" / "images"):
        print(f"{notebook.name} took in the picture {name}.")
    return 0


def run_notebooks(options: argparse.Namespace) -> int:
    """Run all notebooks, or none where one fails, and keep their outputs in them."""
    from tools import renew

    renew.renew_notebooks()
    print("The notebooks hold the outputs of this run.")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    for run in (run_docs, run_figures, run_cost, run_blog, run_diagram, run_embed, run_notebooks):
        name = run.__name__.removeprefix("run_")
        command = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        command.set_defaults(run=run)
        if run is run_docs:
            command.add_argument("--answers-of", metavar="ID", help="a stack that holds sample-data")
            command.add_argument("--region", default="us-west-2")
        if run is run_figures:
            command.add_argument("--check", action="store_true", help="change nothing")
        if run is run_embed:
            command.add_argument("--notebook", type=Path, default=ROOT / "build_pipeline.ipynb")
        if run is run_blog:
            command.add_argument("--output-dir", type=Path, default=Path("output"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
