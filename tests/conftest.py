"""What every test module may use: one embedded AWS for the whole test session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from local_aws import LocalAws, running_server

# Nothing is timed: a machine may be busy with other things.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    """A running embedded AWS with empty state, shared by all tests: name your resources apart."""
    with running_server(tmp_path_factory.mktemp("local-aws")) as running:
        yield running
