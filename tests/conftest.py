"""What every test module may use: one embedded AWS for the whole test session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local_aws import LocalAws, running_server


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    """A running embedded AWS with empty state, shared by all tests: name your resources apart."""
    with running_server(tmp_path_factory.mktemp("local-aws")) as running:
        yield running
