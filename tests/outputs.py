"""What a notebook's outputs show, to compare the committed ones with those of a run today."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup, Tag
from nbformat import NotebookNode

CHANGING = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"  # when something was done
    r"|\d+ days?\b|\d+ h \d+ min|\d+ min \d+ s|\b[\d.]+ s\b"  # how long it took, how old something is
    r"|at http://[\w.:]+\d"  # where the embedded AWS listens
    r"|\bjr_[0-9a-f]+"  # which run it was
    r"|(?<=-GlueRole-)\w+"  # what CloudFormation adds to a name
    r"|(?<=scanned )[\d.]+ \w+"  # files are as many as cores
)
"""What differs from run to run and from machine to machine, and so is not compared."""

Words = list[str]


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(notebook: NotebookNode) -> dict[str, Words]:
    """What each cell shows: its text, the words of its HTML, its pictures. Without what is `CHANGING`.

    Cells tagged "scripts" show nothing, and neither does the cell that papermill adds.
    """
    cells = {
        cell.id: [CHANGING.sub("…", words) for output in cell.outputs for words in _words(output)]
        for cell in code_cells(notebook)
        if "scripts" not in cell.metadata.get("tags", [])
    }
    return {name: words for name, words in cells.items() if words}


def _words(output: NotebookNode) -> Words:
    if output.output_type not in ("execute_result", "display_data"):
        return [output.output_type]
    page = BeautifulSoup(output["data"].get("text/html", ""), "html.parser")
    return [
        output["data"]["text/plain"],
        page.get_text(" ", strip=True),
        *(_picture(image) for image in page.find_all("img")),
    ]


def _picture(image: Tag) -> str:
    """Its description, and the size that matplotlib gave it; Vega's sizes depend on the fonts."""
    kind, _, encoded = str(image["src"]).partition(";base64,")
    size = re.search(rb'width="[\d.]+pt" height="[\d.]+pt"', base64.b64decode(encoded))
    return f"{kind} {size[0].decode() if size else ''}: {image['alt']}"
