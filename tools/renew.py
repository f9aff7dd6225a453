"""Run all notebooks on an embedded AWS of their own and keep their outputs in them, as they are committed.

`make notebooks` does this. They show the first run over sample-data/, as `make demo` does on a fresh clone;
no other embedded AWS is touched. Not for other data: `make report` and its like run notebooks on any stack.
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat

from capstone_pipeline import connect
from capstone_pipeline.report import headlines, run_notebook
from demo import ROOT, TEMPLATE, deploy_stack, upload_sample_data
from local_aws import DEFAULT_REGION, running_server

NOTEBOOKS = tuple(
    ROOT / name
    for name in (
        "build_pipeline.ipynb",  # Before the others: they read what its run leaves.
        "notebooks/explore_events.ipynb",
        "notebooks/validate_results.ipynb",
        "notebooks/dashboard.ipynb",
        "notebooks/data_quality.ipynb",
        "notebooks/more_answers.ipynb",
    )
)
PARAMETERS = {"StudentId": "demo", "GeneratorState": "DISABLED"}


def renew_notebooks() -> None:
    """Renew all of them, or none where one fails: PipelineError, LocalAwsError."""
    with TemporaryDirectory() as folder, running_server(Path(folder) / "aws") as server:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            del os.environ[name]
        os.environ.update(server.environment)
        aws = connect(DEFAULT_REGION)
        _, stack = deploy_stack(aws, "capstone-demo", TEMPLATE.read_text(encoding="utf-8"), PARAMETERS)
        upload_sample_data(aws, stack, ROOT / "sample-data")
        executed = {notebook: Path(folder) / notebook.name for notebook in NOTEBOOKS}
        for notebook, copy in executed.items():
            print(f"Running {notebook.name} ...", flush=True)
            run_notebook(notebook, copy, {})
            print("".join(f"  {line}\n" for line in headlines(copy)), end="")
        for notebook, copy in executed.items():
            keep_outputs(copy, notebook)


def keep_outputs(executed: Path, notebook: Path) -> None:
    """Put what an executed copy shows into the notebook itself, as it is then committed.

    Left out: the cell that papermill adds, times and the tags of the run, and the outputs of cells tagged
    "scripts", which are large and the same everywhere.
    """
    source, shown = (nbformat.read(path, as_version=4) for path in (notebook, executed))
    by_id = {cell["id"]: cell for cell in shown.cells}
    for cell in source.cells:
        if cell["cell_type"] == "code":
            ran = by_id[cell["id"]]
            is_script = "scripts" in cell["metadata"].get("tags", [])
            cell["outputs"] = [] if is_script else ran["outputs"]
    code_cells = [cell for cell in source.cells if cell["cell_type"] == "code"]
    for number, cell in enumerate(code_cells, start=1):
        cell["execution_count"] = number
        for output in cell["outputs"]:
            if output["output_type"] == "execute_result":
                output["execution_count"] = number
    nbformat.write(source, notebook)
