"""Command line: `python -m capstone_pipeline sync` brings script cell and script file together."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from capstone_pipeline.errors import PipelineError
from capstone_pipeline.script_cell import embed_pictures, is_synced, sync

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: list[str] | None = None) -> int:
    """Run the command; exit code 1 says that the two sides differ or are in conflict."""
    parser = argparse.ArgumentParser(prog="python -m capstone_pipeline", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    command = commands.add_parser("sync", help="take the edited side over to the other")
    command.add_argument("--notebook", type=Path, default=ROOT / "build_pipeline.ipynb")
    command.add_argument("--keep", choices=["script", "notebook"], help="the side that wins")
    command.add_argument("--check", action="store_true", help="only say whether the two are the same")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.check:
            return _check(chosen.notebook)
        print(sync(chosen.notebook, chosen.keep))
        for name in embed_pictures(chosen.notebook, ROOT / "docs" / "images"):
            print(f"{chosen.notebook.name} took in the picture {name}.")
    except PipelineError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def _check(notebook: Path) -> int:
    if is_synced(notebook):
        print(f"{notebook.name} and its script are the same.")
        return 0
    print(f"{notebook.name} and its script differ. Bring them together with: make notebook", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
