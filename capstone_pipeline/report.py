"""Run a notebook without Jupyter and render it as a report: one HTML file that loads nothing from elsewhere.

Not needed for working in Jupyter; `make report` and the tests go this way.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbconvert import HTMLExporter
from nbconvert.filters import strip_ansi
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from capstone_pipeline.errors import NEXT_STEP, PipelineError

TEMPLATES = Path(__file__).resolve().parent / "templates"

LONGEST_SOCKET_PATH = 100
"""Characters; systems allow 104 or 108."""


class NotebookFailed(PipelineError):
    """A cell of the notebook raised an error."""


def run_notebook(notebook: Path, output: Path, parameters: Mapping[str, Any]) -> None:
    """Execute a notebook with papermill, in the folder that it stands in.

    Parameters
    ----------
    output
        The executed copy. It is written after each cell, so after an error it shows how far the run came.
    parameters
        Values for the cell tagged "parameters".

    Raises
    ------
    NotebookFailed
        With the cell's own error.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with _private_kernel() as config:
        try:
            papermill.execute_notebook(
                str(notebook),
                str(output),
                parameters=dict(parameters),
                cwd=str(notebook.parent),
                progress_bar=sys.stderr.isatty(),
                config=config,
            )
        except PapermillExecutionError as error:
            raise _failure(notebook, output, error) from error


@contextmanager
def _private_kernel() -> Iterator[Config]:
    """Settings for a kernel that is reached through socket files in a folder of its own, not through TCP.

    Only this user can open them, no other run uses them, and the notebook's folder may be read-only.
    """
    short = len(tempfile.gettempdir()) < LONGEST_SOCKET_PATH - 30
    with tempfile.TemporaryDirectory(prefix="kernel-", dir=None if short else "/tmp") as folder:
        where = {"transport": "ipc", "ip": f"{folder}/s", "connection_file": f"{folder}/connection.json"}
        # Ended at once: asked to end, it is interrupted first, and may write to the terminal that it was.
        yield Config(KernelManager=where, NotebookClient={"shutdown_kernel": "immediate"})


def parameters_of(notebook: Path) -> set[str]:
    """The names that the notebook's cell tagged "parameters" sets.

    Raises
    ------
    NotebookFailed
        When there is no such notebook.
    """
    if not notebook.exists():
        raise NotebookFailed(f"There is no notebook {notebook}.", "name one that exists.")
    return set(papermill.inspect_notebook(str(notebook)))


def headlines(executed: Path) -> list[str]:
    """What the cells tagged "headline" said, without the details: one line a result."""
    notebook = nbformat.read(executed, as_version=4)
    texts = [
        output["data"].get("text/plain", "")
        for cell in notebook.cells
        if "headline" in cell["metadata"].get("tags", [])
        for output in cell["outputs"]
        if output["output_type"] == "execute_result"
    ]
    return [line for text in texts for line in text.splitlines() if not line.startswith(" ")]


def render_html(executed: Path) -> Path:
    """Render an executed notebook as `<name>.html` beside it; returns the HTML file's path.

    A notebook whose metadata say `hide_code` is for readers who want results: its code is left out.
    """
    notebook = nbformat.read(executed, as_version=4)
    exporter = HTMLExporter(
        template_name="report",
        extra_template_basedirs=[str(TEMPLATES)],
        exclude_input=bool(notebook.metadata.get("hide_code", False)),
    )
    body, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": executed.stem}})
    page = executed.with_suffix(".html")
    page.write_text(body, encoding="utf-8")
    return page


def _failure(notebook: Path, output: Path, error: PapermillExecutionError) -> NotebookFailed:
    """The cell's error once more: ours say themselves what to do, others need their traceback."""
    cell = f"Cell [{error.exec_count}] of {notebook.name} failed."
    what, separator, next_step = str(error.evalue).partition(NEXT_STEP)
    if separator:
        return NotebookFailed(f"{cell}\n{error.ename}: {what}", next_step)
    traceback = strip_ansi("\n".join(error.traceback))
    return NotebookFailed(
        f"{cell}\n{traceback}", f"correct that; {output} shows the notebook up to the error."
    )
