"""Each notebook executed once over the sample data, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from capstone_pipeline import Shop, report
from local_aws import LocalAws
from notebooks import recompute
from notebooks.recompute import Recomputed
from tests.sample import ROOT, STUDENT_ID, environment_of

NOTEBOOKS = ROOT / "notebooks"


@pytest.fixture(autouse=True)
def environment(aws: LocalAws) -> Iterator[None]:
    """With this checkout, whichever one is installed, for kernels."""
    with environment_of(aws, PYTHONPATH=str(ROOT)):
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
            with environment_of(aws, PYTHONPATH=str(ROOT)):
                report.run_notebook(source, folder / source.name, given)
            report.render_html(folder / source.name)
            done[name] = folder / source.name
        return done[name]

    return execute


@pytest.fixture(scope="session")
def recomputed(shop: Shop, aws: LocalAws) -> Iterator[Recomputed]:
    """What the raw objects give by the rules of recompute.sql."""
    with environment_of(aws):
        result = recompute.recompute(shop)
    yield result
    result.database.close()
