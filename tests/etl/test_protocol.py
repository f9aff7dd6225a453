"""The job's protocol as a model (see `protocol_model`): no crash harms it, and it needs all its rules."""

from __future__ import annotations

import pytest

from tests.etl.protocol_model import RULES, history

HISTORIES = 4_000


def test_whatever_happens_and_wherever_runs_are_killed_the_layers_end_the_same() -> None:
    told = [history(seed) for seed in range(HISTORIES)]
    assert [(seed, found) for seed, (_, found) in enumerate(told) if found] == []
    assert sum(crashes for crashes, _ in told) > HISTORIES


@pytest.mark.parametrize("rule", RULES)
def test_without_any_of_its_rules_the_protocol_fails(rule: str) -> None:
    assert any(history(seed, left_out=rule)[1] for seed in range(HISTORIES))
