"""The sample data taken through all layers by the notebook's first run, which several files of tests share.

The stack is called as the notebook's parameters have it by default. No test may change it beyond its own end.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import capstone_pipeline as pipeline
from capstone_pipeline import Connection, StackOutputs
from demo import TEMPLATE, deploy_stack, upload_sample_data
from local_aws import LocalAws
from tests.oracle import Expected, expected_tables

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "sample-data"
STUDENT_ID = "demo"
FOR_FEW_ROWS = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.shuffle.partitions": "2",  # until the script sets it
    "spark.sql.ui.explainMode": "simple",  # of what nobody looks at
}
"""Spark settings under which a run over a few rows costs a sixth less: no plan is compiled or adapted."""
AS_USUAL = {
    "spark.sql.codegen.wholeStage": "true",
    "spark.sql.codegen.factoryMode": "FALLBACK",
    "spark.sql.adaptive.enabled": "true",
    "spark.sql.shuffle.partitions": "200",
    "spark.sql.ui.explainMode": "formatted",
}
"""Spark's own."""
PROJECT_FILES = ("build_pipeline.ipynb", "capstone_pipeline", "glue_scripts", "queries.sql")


def conf(settings: Mapping[str, str]) -> str:
    """Settings in the form of Glue's --conf argument."""
    return " --conf ".join(f"{name}={value}" for name, value in settings.items())


@contextmanager
def environment_of(aws: LocalAws, **more: str) -> Iterator[None]:
    """The environment of the embedded AWS, and more, for all processes that are started."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**aws.environment, **more}.items():
            patch.setenv(name, value)
        yield


@contextmanager
def embedded(aws: LocalAws) -> Iterator[Connection]:
    """A connection to the embedded AWS, in its environment."""
    with environment_of(aws):
        yield pipeline.connect("us-west-2")


@dataclass(frozen=True)
class Site:
    """A copy of the project's files to run the notebook in, and the stack that it works on."""

    folder: Path
    stack: StackOutputs

    @property
    def notebook(self) -> Path:
        return self.folder / "build_pipeline.ipynb"

    @property
    def script(self) -> Path:
        return self.folder / "glue_scripts" / "capstone_etl.py"


def make_site(folder: Path, connection: Connection, student_id: str, samples: bool = True) -> Site:
    for name in PROJECT_FILES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    parameters = {"StudentId": student_id, "GeneratorState": "DISABLED"}
    _, stack = deploy_stack(connection, f"capstone-{student_id}", TEMPLATE.read_text(), parameters)
    if samples:
        upload_sample_data(connection, stack, SAMPLES)
    return Site(folder, stack)


def run_command(
    site: Site, module: str, *arguments: str, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a module as a command in the folder of the copy, or in another where the copy is installed."""
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(
        command,
        cwd=folder or site.folder,
        env={**os.environ, "PYTHONPATH": str(site.folder)},
        capture_output=True,
        text=True,
        timeout=600,
    )


def expected_of(stack: StackOutputs) -> Expected:
    """What the sample data gives by the tests' own computation."""
    return expected_tables(
        {
            f"{stack.raw_events_location}{file.relative_to(SAMPLES).as_posix()}": file.read_bytes()
            for file in SAMPLES.rglob("*.jsonl.gz")
        }
    )
