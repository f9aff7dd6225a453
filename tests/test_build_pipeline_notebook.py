"""build_pipeline.ipynb as it is committed, and as papermill runs it on the embedded AWS, first and again.

The tables that it shows are compared with the oracle, which knows nothing of the pipeline.
"""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from nbformat import NotebookNode

import capstone_pipeline as pipeline
from capstone_pipeline import Connection, Shop
from capstone_pipeline.render import COLUMNS, format_value
from capstone_pipeline.report import NotebookFailed, run_notebook
from local_aws import LocalAws
from tests.etl.workbench import assert_lake_holds
from tests.oracle import COLUMNS as ORACLE_COLUMNS
from tests.oracle import Expected
from tests.outputs import code_cells, read, shown
from tests.sample import ROOT, Site, embedded, make_site, run_command
from tools.embed import embed_script

NOTEBOOK = ROOT / "build_pipeline.ipynb"
NOTEBOOKS = (NOTEBOOK, *sorted((ROOT / "notebooks").glob("*.ipynb")))
NAMES_OF_FORMATS = ("vega.github.io", "www.w3.org")
"""Hosts in names that are not looked up: of the schema of a chart, of XML."""
TABLES = {
    1: "conversion_funnel",
    2: "hourly_revenue",
    3: "top_products",
    4: "category_performance",
    5: "user_activity",
}

# awswrangler calls pandas in a way that pandas 4 will not know.
pytestmark = pytest.mark.filterwarnings("ignore:The copy keyword is deprecated")


# --- As committed -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def committed() -> NotebookNode:
    return read(NOTEBOOK)


def test_the_script_in_the_notebook_is_the_script_that_glue_runs(committed: NotebookNode) -> None:
    (cell,) = [cell for cell in committed.cells if cell.id == "etl-script"]
    script = (ROOT / "glue_scripts" / "capstone_etl.py").read_text()
    assert cell.source.partition("\n")[2] == script.rstrip("\n"), "they differ: run `make notebook`"


def test_the_notebook_is_committed_with_the_outputs_of_one_run_from_top_to_bottom(
    committed: NotebookNode,
) -> None:
    cells = code_cells(committed)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert [cell.id for cell in cells if not cell.outputs] == ["parameters"]


def test_what_a_run_leaves_behind_beside_its_outputs_is_not_committed(committed: NotebookNode) -> None:
    assert set(committed.metadata) == {"kernelspec", "language_info", "title"}
    assert {key for cell in committed.cells for key in cell.metadata} <= {"jupyter", "tags"}
    assert "injected-parameters" not in str([cell.metadata for cell in committed.cells])


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_outputs_tell_nothing_of_the_machine_and_stay_small(notebook: Path) -> None:
    outputs = str([cell.outputs for cell in code_cells(read(notebook))])
    assert re.findall(r"(?<![\w.:/-])/(?:home|root|Users|tmp|var|private|work)/\S*", outputs) == []
    assert set(re.findall(r"https?://([\w.-]+)", outputs)) <= {"127.0.0.1", *NAMES_OF_FORMATS}
    assert notebook.stat().st_size < 1_000_000


def test_one_cell_holds_the_parameters(committed: NotebookNode) -> None:
    (cell,) = [cell for cell in committed.cells if "parameters" in cell.metadata.get("tags", [])]
    names = re.findall(r"^(\w+) = ", cell.source, re.MULTILINE)
    assert names[:5] == ["student_id", "stack_name", "region", "endpoint_url", "run_job"]


def test_cells_are_short_and_the_script_is_folded_away(committed: NotebookNode) -> None:
    long = [cell for cell in code_cells(committed) if len(cell.source.splitlines()) > 8]
    assert [cell.id for cell in long] == ["etl-script"]
    assert long[0].metadata.jupyter.source_hidden
    assert "collapsed" in long[0].metadata.tags


def test_every_step_has_a_heading_and_says_why(committed: NotebookNode) -> None:
    headings = [cell.source.splitlines()[0] for cell in committed.cells if re.match("## [1-7]", cell.source)]
    assert [heading[3] for heading in headings] == list("1234567")


def test_the_picture_in_the_notebook_is_the_one_in_the_docs(committed: NotebookNode) -> None:
    ((name, picture),) = committed.cells[0].attachments.items()
    assert base64.b64decode(picture["image/png"]) == (ROOT / "docs" / "images" / name).read_bytes()


# --- As papermill runs it -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def connection(aws: LocalAws) -> Iterator[Connection]:
    """The embedded AWS, also for every process that the tests start."""
    with embedded(aws) as connection:
        yield connection


@dataclass(frozen=True)
class Report:
    """What `make report` leaves: the executed notebook, its page, and what it said on the terminal."""

    executed: Path
    page: Path
    said: str


@pytest.fixture(scope="module")
def report(connection: Connection, site: Site, first: Path) -> Report:
    """The notebook executed again with nothing new, and rendered, by the project's own command."""
    done = run_command(site, "capstone_pipeline", "report", "--output-dir", "output")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    executed = site.folder / "output" / site.notebook.name
    return Report(executed, executed.with_suffix(".html"), done.stdout)


@pytest.fixture(scope="module")
def second(report: Report) -> Path:
    """The notebook executed for the second time."""
    return report.executed


def outputs(executed: Path, cell_id: str) -> list[NotebookNode]:
    cells = read(executed).cells
    return next(cell.outputs for cell in cells if cell.id == cell_id)


def text_of(executed: Path, cell_id: str) -> str:
    return "\n".join(output["data"]["text/plain"] for output in outputs(executed, cell_id))


def page_of(executed: Path, cell_id: str) -> BeautifulSoup:
    html = "".join(output["data"]["text/html"] for output in outputs(executed, cell_id))
    return BeautifulSoup(html, "html.parser")


def test_the_first_run_uploads_creates_and_takes_in_every_file(first: Path, oracle: Expected) -> None:
    assert text_of(first, "upload").count("uploaded") == 2
    assert "created" in text_of(first, "job")
    run = text_of(first, "run")
    rejected = len(oracle["bronze.events_rejected"])
    accepted = len(oracle["bronze.events"])
    assert "12 new files taken in" in run
    assert f"rows in: {accepted + rejected:,}, accepted: {accepted:,}, rejected: {rejected:,}" in run


def test_the_sample_data_gives_exactly_what_is_computed_independently(shop: Shop, oracle: Expected) -> None:
    s3, bucket = shop.aws.client("s3"), shop.stack.analytics_bucket_name
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    keys = [one["Key"] for page in pages for one in page["Contents"] if one["Key"].endswith(".parquet")]
    assert_lake_holds({key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}, oracle)


def test_a_first_run_today_shows_what_was_committed(committed: NotebookNode, first: Path) -> None:
    assert shown(read(first)) == shown(committed), "renew the outputs: `make notebooks`"


def test_the_second_run_says_unchanged_everywhere_and_finds_no_new_file(report: Report) -> None:
    assert text_of(report.executed, "etl-script").endswith("unchanged")
    assert text_of(report.executed, "upload").count("unchanged") == 2
    assert "unchanged" in text_of(report.executed, "job")
    assert "0 new files" in text_of(report.executed, "run")


def test_the_report_command_says_the_same_on_the_terminal(report: Report) -> None:
    assert report.said.count("unchanged") == 3
    assert "0 new files: nothing to do" in report.said
    assert str(report.page.relative_to(report.page.parent.parent)) in report.said


def plain(value: Any) -> Any:
    return None if pd.isna(value) else value


@pytest.mark.parametrize("number", sorted(TABLES))
def test_an_answer_equals_the_oracle_to_the_cent(
    number: int, second: Path, site: Site, connection: Connection, oracle: Expected
) -> None:
    query = pipeline.read_queries(ROOT / "queries.sql")[number]
    frame = pipeline.run_query(connection, site.stack, query).frame
    table = f"gold.{TABLES[number]}"
    assert tuple(frame.columns) == ORACLE_COLUMNS[table]
    rows = [tuple(plain(value) for value in row) for row in frame.itertuples(index=False, name=None)]
    assert sorted(rows, key=repr) == sorted(oracle[table], key=repr)


@pytest.mark.parametrize("number", sorted(TABLES))
def test_both_runs_show_the_same_rows_beside_a_plot(
    number: int, first: Path, second: Path, site: Site, connection: Connection
) -> None:
    query = pipeline.read_queries(ROOT / "queries.sql")[number]
    frame = pipeline.run_query(connection, site.stack, query).frame
    rows = [
        [format_value(value, COLUMNS[name].kind) for name, value in zip(frame.columns, row, strict=True)]
        for row in frame.head(12).itertuples(index=False, name=None)
    ]
    for executed in (first, second):
        page = page_of(executed, f"answer-{number}")
        shown = [[cell.get_text() for cell in row.find_all("td")] for row in page.select("tbody tr")]
        assert shown == rows
        assert len(page.find_all("img", alt=True)) == 1


def test_a_run_leaves_no_warnings_and_no_logs_in_the_notebook(first: Path, second: Path) -> None:
    for executed in (first, second):
        cells = code_cells(read(executed))
        kinds = {output.output_type for cell in cells for output in cell.outputs}
        assert kinds == {"execute_result", "display_data"}
        assert len(outputs(executed, "run")) == 2  # the finished progress bar, and the result


def test_the_report_is_one_file_that_loads_nothing(report: Report) -> None:
    page = BeautifulSoup(report.page.read_text(), "html.parser")
    assert page.title is not None
    assert page.title.get_text() == "From shop events to five answers"
    assert page.find_all(["script", "iframe", "object"]) == []
    loaded = [str(tag.get("src") or tag.get("href")) for tag in page.find_all(["img", "link"])]
    assert len(loaded) == 1 + 1 + 5  # icon, flow, five plots
    assert all(address.startswith("data:") for address in loaded)
    assert "url(" not in str(page.head)
    assert len(page.select("table thead")) == 5
    assert page.select("details pre"), "the script is folded into <details>"


def test_the_notebook_names_where_everything_is(second: Path, site: Site) -> None:
    summary = page_of(second, "summary").get_text()
    assert site.stack.analytics_data_location in summary
    assert site.stack.queries_location in summary
    assert f"aws glue start-job-run --job-name {site.stack.glue_job_name} --region us-west-2" in summary


def test_without_run_job_nothing_is_started(site: Site, second: Path, connection: Connection) -> None:
    def run_ids() -> list[str]:
        runs = connection.client("glue").get_job_runs(JobName=site.stack.glue_job_name)["JobRuns"]
        return [run["Id"] for run in runs]

    before = run_ids()
    executed = site.folder / "no-run.ipynb"
    run_notebook(site.notebook, executed, {"run_job": False})
    assert run_ids() == before
    assert outputs(executed, "run") == []
    assert page_of(executed, "answer-3").find("img") is not None


def test_the_shell_runs_the_job_and_waits_for_it(site: Site, second: Path) -> None:
    done = run_command(site, "capstone_pipeline", "run", "--poll-seconds", "0.5")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("glue_scripts/capstone_etl.py: unchanged")
    assert lines[2] == f"Glue job {site.stack.glue_job_name}: unchanged"
    assert any(line.startswith("SUCCEEDED, ") for line in lines)
    assert "0 new files: nothing to do" in done.stdout


def test_the_shell_shows_all_five_answers_as_tables(
    site: Site, second: Path, connection: Connection, oracle: Expected
) -> None:
    done = run_command(site, "capstone_pipeline", "ask")
    assert done.returncode == 0, done.stderr
    for query in pipeline.read_queries(ROOT / "queries.sql"):
        answer = pipeline.run_query(connection, site.stack, query)
        assert f"{answer}\n" in done.stdout
    rank, product, category, views = oracle["gold.top_products"][0]
    assert [str(rank), product, category, str(views)] in [line.split() for line in done.stdout.splitlines()]
    assert f"12 of {len(oracle['gold.conversion_funnel']):,} rows" in done.stdout


def test_nbval_finds_every_cell_of_the_committed_notebook_working(site: Site, second: Path) -> None:
    options = ("--nbval-lax", "--nbval-current-env", "-p", "no:cacheprovider")
    done = run_command(site, "pytest", *options, site.notebook.name)
    assert done.returncode == 0, done.stdout
    cells = len(code_cells(read(site.notebook)))
    assert f"{cells} passed" in done.stdout


# --- When something is wrong --------------------------------------------------------------------------------


def test_a_missing_stack_stops_the_notebook_with_the_command_that_creates_it(
    site: Site, tmp_path: Path
) -> None:
    executed = tmp_path / "failed.ipynb"
    with pytest.raises(NotebookFailed) as caught:
        run_notebook(site.notebook, executed, {"student_id": "nobody"})
    assert "StackNotFound: There is no stack capstone-nobody" in caught.value.what
    assert "aws cloudformation create-stack --stack-name capstone-nobody" in caught.value.next_step
    (shown,) = [output for output in outputs(executed, "connect") if output.output_type == "error"]
    assert not any("Traceback" in line or "botocore" in line for line in shown.traceback)


def test_an_empty_source_bucket_stops_the_notebook_before_a_run(
    connection: Connection, tmp_path_factory: pytest.TempPathFactory
) -> None:
    site = make_site(tmp_path_factory.mktemp("empty"), connection, "empty-bucket", samples=False)
    with pytest.raises(NotebookFailed, match="NoSourceData: There is no raw event file"):
        run_notebook(site.notebook, site.folder / "failed.ipynb", {"student_id": "empty-bucket"})
    # Set up only, it goes through, and says that there is nothing yet.
    executed = site.folder / "set-up.ipynb"
    run_notebook(site.notebook, executed, {"student_id": "empty-bucket", "run_job": False})
    assert "There is no raw event file" in text_of(executed, "source-data")
    assert "unchanged" in text_of(executed, "job")  # The run that failed had created it.
    assert all("no run of the job has filled it yet" in text_of(executed, f"answer-{n}") for n in TABLES)


def test_a_script_that_raises_stops_the_notebook_with_its_own_reason(
    connection: Connection, tmp_path_factory: pytest.TempPathFactory
) -> None:
    site = make_site(tmp_path_factory.mktemp("broken"), connection, "broken-script")
    site.script.write_text("raise RuntimeError('broken on purpose')\n")
    embed_script(site.notebook)
    with pytest.raises(NotebookFailed) as caught:
        run_notebook(
            site.notebook,
            site.folder / "failed.ipynb",
            {"student_id": "broken-script", "poll_seconds": 0.5},
        )
    assert "JobRunFailed: Run jr_" in caught.value.what
    assert "broken on purpose" in caught.value.what
    assert "/aws-glue/jobs/capstone-etl-broken-script/output" in caught.value.next_step
    assert site.script.read_text() == "raise RuntimeError('broken on purpose')\n"


def test_a_script_that_was_edited_in_its_file_alone_stops_the_notebook(
    site: Site, second: Path, tmp_path: Path
) -> None:
    script = site.script.read_text()
    site.script.write_text(f"{script}# edited\n")
    try:
        with pytest.raises(NotebookFailed, match=r"ScriptDiffers: .* differ in 1 line"):
            run_notebook(site.notebook, tmp_path / "failed.ipynb", {})
    finally:
        site.script.write_text(script)


def test_a_student_id_that_papermill_took_for_a_number_is_refused(site: Site, tmp_path: Path) -> None:
    output = tmp_path / "failed.ipynb"
    done = run_command(site, "papermill", str(site.notebook), str(output), "-p", "student_id", "0042")
    assert done.returncode != 0
    assert "InvalidSetting: student_id is 42, which is no text" in done.stderr
    assert "papermill -r student_id" in done.stderr


def test_runs_at_the_same_time_do_not_meet_and_leave_nothing_where_the_notebook_is(tmp_path: Path) -> None:
    together = "import os, time\nopen(marker, 'w').close()\nwhile not os.path.exists(other): time.sleep(0.05)"
    cells = [
        nbformat.v4.new_code_cell("marker = other = ''", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(f"{together}\nos.listdir('.')"),
    ]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    source = tmp_path / "source" / "both.ipynb"
    source.parent.mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), source)
    transport = tmp_path / "transport"
    transport.mkdir()
    code = (
        "import pathlib, sys; from capstone_pipeline.report import run_notebook; a, b, c, d = sys.argv[1:]; "
        "run_notebook(pathlib.Path(a), pathlib.Path(b), {'marker': c, 'other': d})"
    )
    markers = [str(tmp_path / "one"), str(tmp_path / "two")]
    copies = [tmp_path / name / "both.ipynb" for name in ("first", "second")]
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(source), str(copy), *given],
            env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(transport)},
        )
        for copy, given in zip(copies, (markers, markers[::-1]), strict=True)
    ]
    assert [run.wait(timeout=120) for run in runs] == [0, 0]
    for copy in copies:
        assert read(copy).cells[-1].outputs[0]["data"]["text/plain"] == "['both.ipynb']"
    assert list(transport.iterdir()) == []


def test_an_error_of_another_kind_is_shown_with_its_traceback(tmp_path: Path) -> None:
    cells = [nbformat.v4.new_code_cell("1 / 0")]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), tmp_path / "other.ipynb")
    with pytest.raises(NotebookFailed, match=r"Cell \[1\] of other.ipynb failed(.*\n)*.*ZeroDivisionError"):
        run_notebook(tmp_path / "other.ipynb", tmp_path / "out" / "other.ipynb", {})
