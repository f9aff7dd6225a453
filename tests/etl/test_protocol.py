"""The job's protocol as a model: it stands any crash, and none of its rules can be left out."""

from __future__ import annotations

import pytest

from tests.etl.protocol_model import RULES, tell

HISTORIES = 3_000


def test_the_layers_end_right_whatever_happens_and_wherever_runs_are_killed() -> None:
    crashes = sum(tell(seed) for seed in range(HISTORIES))
    assert crashes > HISTORIES


@pytest.mark.parametrize("rule", RULES)
def test_no_rule_of_the_protocol_can_be_left_out(rule: str) -> None:
    with pytest.raises(AssertionError):
        for seed in range(4 * HISTORIES):  # One of them is missed in one history of some thousands.
            tell(seed, without=rule)
