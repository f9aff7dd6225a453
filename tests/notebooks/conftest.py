"""One stack with the sample data taken in, and each notebook executed once, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import capstone_pipeline as pipeline
from capstone_pipeline import Connection, StackOutputs, report
from demo import deploy_stack, upload_sample_data
from local_aws import LocalAws
from notebooks import recompute
from notebooks.recompute import Recomputed
from tests.oracle import Expected, expected_tables

ROOT = Path(__file__).parent.parent.parent
NOTEBOOKS = ROOT / "notebooks"
STUDENT_ID = "notebooks"


@dataclass(frozen=True)
class Shop:
    """A stack whose job has taken in the sample data."""

    aws: Connection
    stack: StackOutputs
    environment: dict[str, str]


@pytest.fixture(scope="session")
def shop(aws: LocalAws) -> Shop:
    """The sample data, taken through all layers by one run of the job."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in aws.environment.items():
            patch.setenv(name, value)
        connection = pipeline.connect("us-west-2")
        template = (ROOT / "capstone-starter.cfn.yaml").read_text()
        parameters = {"StudentId": STUDENT_ID, "GeneratorState": "DISABLED"}
        _, stack = deploy_stack(connection, f"capstone-{STUDENT_ID}", template, parameters)
        upload_sample_data(connection, stack, ROOT / "sample-data")
        script = ROOT / "glue_scripts" / "capstone_etl.py"
        pipeline.upload_if_changed(connection, script, stack.script_location)
        pipeline.create_or_update_job(connection, stack)
        run = pipeline.start_job_run(connection, stack)
        pipeline.wait_for_job_run(connection, stack, run, poll_seconds=0.5)
        return Shop(connection, stack, _environment(aws))


@pytest.fixture(autouse=True)
def environment(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded AWS, for the tests and for the kernels that they start."""
    for name, value in _environment(aws).items():
        monkeypatch.setenv(name, value)


def _environment(aws: LocalAws) -> dict[str, str]:
    """Kernels import this checkout, whichever one is installed."""
    return {**aws.environment, "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="session")
def executed(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that executes a notebook, the first time that it is asked for, and renders it beside."""
    folder, done = tmp_path_factory.mktemp("executed"), dict[str, Path]()

    def execute(name: str) -> Path:
        if name not in done:
            source = NOTEBOOKS / f"{name}.ipynb"
            parameters: dict[str, Any] = {"student_id": STUDENT_ID}
            given = {key: parameters[key] for key in parameters.keys() & report.parameters_of(source)}
            with pytest.MonkeyPatch.context() as patch:
                for variable, value in shop.environment.items():
                    patch.setenv(variable, value)
                report.run_notebook(source, folder / source.name, given)
            report.render_html(folder / source.name)
            done[name] = folder / source.name
        return done[name]

    return execute


@pytest.fixture(scope="session")
def recomputed(shop: Shop) -> Iterator[Recomputed]:
    """What the raw objects give by the rules of recompute.sql."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in shop.environment.items():
            patch.setenv(name, value)
        result = recompute.recompute(shop.aws, shop.stack)
    yield result
    result.database.close()


@pytest.fixture(scope="session")
def oracle(shop: Shop) -> Expected:
    """What the raw objects give by the tests' own computation."""
    folder = ROOT / "sample-data"
    return expected_tables(
        {
            f"{shop.stack.raw_events_location}{file.relative_to(folder).as_posix()}": file.read_bytes()
            for file in folder.rglob("*.jsonl.gz")
        }
    )
