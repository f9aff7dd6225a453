"""The notebooks of notebooks/: how they are written, and that a run today shows what was committed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from capstone_pipeline import Shop
from capstone_pipeline.report import NotebookFailed, run_notebook
from notebooks import quality
from tests.notebooks.conftest import NOTEBOOKS, ROOT, STUDENT_ID
from tests.oracle import Expected
from tests.outputs import code_cells, read, shown

NAMES = ("explore_events", "validate_results", "dashboard", "data_quality", "more_answers")


def test_every_notebook_is_tested_here() -> None:
    assert sorted(NAMES) == sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))


@pytest.mark.parametrize("name", NAMES)
def test_a_run_shows_what_was_committed(name: str, executed: Callable[[str], Path]) -> None:
    committed = shown(read(NOTEBOOKS / f"{name}.ipynb"))
    assert len(committed) >= 5
    assert shown(read(executed(name))) == committed, "renew them: `make notebooks`"


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_outputs_hold_no_warnings_and_no_errors(name: str) -> None:
    notebook = read(NOTEBOOKS / f"{name}.ipynb")
    kinds = {output.output_type for cell in code_cells(notebook) for output in cell.outputs}
    assert kinds == {"execute_result"}
    assert [cell.execution_count for cell in code_cells(notebook)] == list(
        range(1, 1 + len(code_cells(notebook)))
    )


@pytest.mark.parametrize("name", NAMES)
def test_cells_are_short_and_the_parameters_are_marked(name: str) -> None:
    notebook = read(NOTEBOOKS / f"{name}.ipynb")
    assert [cell.id for cell in code_cells(notebook) if len(cell.source.splitlines()) > 11] == []
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in notebook.cells) == 1
    assert notebook.cells[0].source.startswith(f"# {notebook.metadata.title}")


@pytest.mark.parametrize("name", NAMES)
def test_a_rendered_notebook_names_nothing_that_lies_elsewhere(
    name: str, executed: Callable[[str], Path]
) -> None:
    page = BeautifulSoup(executed(name).with_suffix(".html").read_text(), "html.parser")
    named = [str(tag.get("src") or tag.get("href") or "data:") for tag in page(["script", "img", "link"])]
    assert named
    assert all(address.startswith("data:") for address in named)
    assert page("iframe") == []


@pytest.mark.long  # nbval over build_pipeline.ipynb, and other executions of this notebook elsewhere, are not
def test_nbval_finds_the_exploration_working_from_another_folder() -> None:
    notebook = NOTEBOOKS / "explore_events.ipynb"
    options = ("--nbval-lax", "--nbval-current-env", "-p", "no:cacheprovider", "-q")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(notebook)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    assert f"{len(code_cells(read(notebook)))} passed" in done.stdout


# --- data_quality.ipynb -------------------------------------------------------------------------------------


def test_the_quality_counts_are_the_oracles(executed: Callable[[str], Path], oracle: Expected) -> None:
    (text, *_) = shown(read(executed("data_quality")))["measures"]
    rejected, accepted = len(oracle["bronze.events_rejected"]), len(oracle["bronze.events"])
    events = len(oracle["silver.events_cleaned"])
    assert f"({rejected:,} of {accepted + rejected:,})" in text
    assert f"({accepted - events:,} of {accepted:,})" in text


def test_a_limit_that_is_passed_is_red_and_stops_the_notebook_where_that_is_wanted(
    shop: Shop, tmp_path: Path
) -> None:
    with pytest.raises(NotebookFailed, match=r"QualityLimitPassed: Rejected lines: 0\.18 %") as caught:
        run_notebook(
            NOTEBOOKS / "data_quality.ipynb",
            tmp_path / "red.ipynb",
            {
                "student_id": STUDENT_ID,
                "max_rejected_percent": 0.1,
                "as_of": "2025-11-18T01:05:00+00:00",
                "fail_on_red": True,
            },
        )
    assert "Age of the newest event" not in caught.value.what
    cell = next(cell for cell in read(tmp_path / "red.ipynb").cells if cell.id == "measures")
    page = cell.outputs[0]["data"]["text/html"]
    assert page.count("class=red") == 1


def test_a_measure_at_its_limit_is_within_it() -> None:
    states = [quality.Measure("m", value, 2.0, "", "").state for value in (1.9, 2.0, 2.1)]
    assert states == ["within", "within", "above"]
