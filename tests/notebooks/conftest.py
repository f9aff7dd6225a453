"""One stack with the sample data taken in, and each notebook executed once, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import capstone_pipeline as pipeline
from capstone_pipeline import Shop, report
from demo import deploy_stack, upload_sample_data
from local_aws import LocalAws
from notebooks import recompute
from notebooks.recompute import Recomputed
from tests.oracle import Expected, expected_tables

ROOT = Path(__file__).parent.parent.parent
NOTEBOOKS = ROOT / "notebooks"
STUDENT_ID = "notebooks"


@pytest.fixture(scope="session")
def shop(aws: LocalAws) -> Shop:
    """The sample data, taken through all layers by one run of the job."""
    with embedded(aws):
        connection = pipeline.connect("us-west-2")
        template = (ROOT / "capstone-starter.cfn.yaml").read_text()
        parameters = {"StudentId": STUDENT_ID, "GeneratorState": "DISABLED"}
        _, stack = deploy_stack(connection, f"capstone-{STUDENT_ID}", template, parameters)
        upload_sample_data(connection, stack, ROOT / "sample-data")
        shop = Shop(connection, stack)
        shop.upload()
        shop.set_up_job()
        shop.run(poll_seconds=0.5, show=lambda _: None)
        return shop


@contextmanager
def embedded(aws: LocalAws) -> Iterator[None]:
    """The embedded AWS, and this checkout, whichever one is installed, for kernels that are started."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**aws.environment, "PYTHONPATH": str(ROOT)}.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(autouse=True)
def environment(aws: LocalAws) -> Iterator[None]:
    with embedded(aws):
        yield


@pytest.fixture(scope="session")
def executed(shop: Shop, aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that executes a notebook, the first time that it is asked for, and renders it beside."""
    folder, done = tmp_path_factory.mktemp("executed"), dict[str, Path]()

    def execute(name: str) -> Path:
        if name not in done:
            source = NOTEBOOKS / f"{name}.ipynb"
            parameters: dict[str, Any] = {"student_id": STUDENT_ID}
            given = {key: parameters[key] for key in parameters.keys() & report.parameters_of(source)}
            with embedded(aws):
                report.run_notebook(source, folder / source.name, given)
            report.render_html(folder / source.name)
            done[name] = folder / source.name
        return done[name]

    return execute


@pytest.fixture(scope="session")
def recomputed(shop: Shop, aws: LocalAws) -> Iterator[Recomputed]:
    """What the raw objects give by the rules of recompute.sql."""
    with embedded(aws):
        result = recompute.recompute(shop)
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
