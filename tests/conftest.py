"""What every test module may use: one embedded AWS for the whole test session, and the sample data in it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from capstone_pipeline import Shop
from local_aws import LocalAws, running_server
from local_aws.glue.runner import CONF_VARIABLE
from tests import sample
from tests.oracle import Expected

# Nothing is timed: a machine may be busy with other things.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# Files whose tests share a costly fixture are run by one process, and the longest are begun first.
# Not by marks and `--dist loadgroup`: pytest-xdist 3.8 names groups in a way that pytest 9.2 does not see.
GROUPS = {
    "runs of the script": re.compile(r"tests/etl/test_invariants\.py"),
    "the sample data": re.compile(r"tests/(notebooks/|test_build_pipeline|docs/test_queries_reference)"),
    "more runs of the script": re.compile(r"tests/etl/test_(any_history|repair|s3|watch)\.py"),
    "acceptance": re.compile(r"tests/acceptance/"),
    "a schedule": re.compile(r"tests/watch/test_operations\.py"),
    "commands": re.compile(r"tests/docs/test_documented_commands\.py"),
    "processes": re.compile(r"tests/etl/test_processes\.py"),
    "live answers": re.compile(r"tests/watch/test_watch\.py"),
}


def group_of(nodeid: str) -> str:
    return next((name for name, files in GROUPS.items() if files.match(nodeid)), nodeid.split("::")[0])


class GroupScheduling(LoadScopeScheduling):
    """Gives whole groups to processes."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling:
    return GroupScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    names = list(GROUPS)
    items.sort(
        key=lambda item: names.index(group) if (group := group_of(item.nodeid)) in names else len(names)
    )


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    """A running embedded AWS with empty state, shared by all tests: name your resources apart.

    Spark is set up for few rows in its runs, and as usual in those of other servers in these tests.
    """
    with ExitStack() as stack:
        with mock.patch.dict(os.environ, {CONF_VARIABLE: sample.conf(sample.FOR_FEW_ROWS)}):
            running = stack.enter_context(running_server(tmp_path_factory.mktemp("local-aws")))
        yield running


@pytest.fixture(scope="session")
def site(aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> sample.Site:
    """A stack with the sample data, before any run."""
    with sample.embedded(aws) as connection:
        return sample.make_site(tmp_path_factory.mktemp("project"), connection, sample.STUDENT_ID)


@pytest.fixture(scope="session")
def first(aws: LocalAws, site: sample.Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The notebook executed for the first time, by papermill's own command and from another folder."""
    output = site.folder / "first.ipynb"
    arguments = (str(site.notebook), str(output), "-p", "poll_seconds", "0.5", "-r", "student_id", "demo")
    with sample.environment_of(aws):
        elsewhere = tmp_path_factory.mktemp("elsewhere")
        done = sample.run_command(site, "papermill", *arguments, folder=elsewhere)
    assert done.returncode == 0, done.stderr
    return output


@pytest.fixture(scope="session")
def shop(aws: LocalAws, site: sample.Site, first: Path) -> Shop:
    """The stack after the notebook's first run."""
    with sample.embedded(aws) as connection:
        return Shop(connection, site.stack)


@pytest.fixture(scope="session")
def oracle(site: sample.Site) -> Expected:
    """What the sample data gives by the tests' own computation."""
    return sample.expected_of(site.stack)
