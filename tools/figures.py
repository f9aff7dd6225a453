"""Puts measured figures into the documents: `make figures`.

Between `<!-- figure: part.name -->` and `<!-- end -->` a Markdown document shows the figure of that id, as
`benchmarks/results/` has it. Not for measuring: that is `make bench`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.results import ROOT, Figure, ResultsError, load

_OPENING = re.compile(r"<!-- figure: (\S+) -->")
_FIGURE = re.compile(_OPENING.pattern + r"((?:(?!<!--).)*)<!-- end -->")


def documents(root: Path = ROOT) -> list[Path]:
    """The Markdown documents of the project that may show figures."""
    return sorted({*root.glob("*.md"), *root.glob("docs/**/*.md"), *root.glob("[a-z]*/README.md")})


def all_figures(folder: Path | None = None) -> dict[str, Figure]:
    """Every figure that was measured, by its id `part.name`. Raises ResultsError for a broken result file."""
    results = load(folder) if folder else load()
    return {
        f"{part}.{name}": figure
        for part, result in results.items()
        for name, figure in result.figures.items()
    }


def with_figures(text: str, figures: Mapping[str, Figure]) -> str:
    """The text with every figure as it was last measured.

    Raises ResultsError for an id that is not among `figures`, and for a marker without its `<!-- end -->` in
    the same line.
    """
    names = _OPENING.findall(text)
    unknown = [name for name in names if name not in figures]
    if unknown:
        raise ResultsError(f"unknown figure {', '.join(unknown)}: `make figures` lists those that there are")
    closed = [match[1] for match in _FIGURE.finditer(text)]
    if closed != names:
        raise ResultsError("a figure's marker has no <!-- end --> in its line: add it behind the figure")
    return _FIGURE.sub(lambda match: f"<!-- figure: {match[1]} -->{figures[match[1]]}<!-- end -->", text)


def update(check: bool = False) -> int:
    """Update all documents, or with `check` only say which are not up to date; returns the exit code.

    Raises ResultsError, with the document's name, where a document is wrong.
    """
    figures = all_figures()
    width = max(map(len, figures), default=0)
    for name, figure in figures.items():
        print(f"{name:{width}}  {figure!s:>16}  {figure.what}")
    outdated = False
    for path in documents():
        text = path.read_text()
        try:
            current = with_figures(text, figures)
        except ResultsError as error:
            raise ResultsError(f"{path.relative_to(ROOT)}: {error}") from error
        if current != text:
            outdated = True
            print(f"{path.relative_to(ROOT)}: {'not up to date' if check else 'updated'}", file=sys.stderr)
            if not check:
                path.write_text(current)
    return int(check and outdated)
