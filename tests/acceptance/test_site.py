"""The id of an acceptance, and what it says of costs."""

from __future__ import annotations

import pytest

from capstone_pipeline import InvalidSetting
from capstone_pipeline.accept import bounds
from capstone_pipeline.accept.site import LONGEST_ID, own_id
from tests import template
from tools import cost


@pytest.mark.parametrize(
    "student_id, own",
    [
        ("alice", "alice-accept"),
        ("a" * 31, "a" * 24 + "-accept"),
        ("abcdefghijklmnopqrstuvw-x-yz", "abcdefghijklmnopqrstuvw-accept"),
    ],
)
def test_its_id_is_the_students_with_an_ending_and_never_too_long(student_id: str, own: str) -> None:
    assert own_id(student_id) == own
    assert len(own) <= LONGEST_ID


def test_the_longest_id_is_the_templates() -> None:
    assert template.content()["Parameters"]["StudentId"]["MaxLength"] == LONGEST_ID


@pytest.mark.parametrize("student_id", ["", "Alice", "a_b", "a" * 32])
def test_what_can_be_no_id_is_refused(student_id: str) -> None:
    with pytest.raises(InvalidSetting, match="is no student id"):
        own_id(student_id)


def test_prices_are_those_of_the_costs() -> None:
    assert cost.PRICES["dpu_hour"].amount == bounds.DOLLARS_PER_DPU_HOUR
    assert cost.ATHENA_MINIMUM_BYTES == bounds.ATHENA_MINIMUM_BYTES


def test_a_run_may_take_what_the_costs_reckon_with_at_their_high_end() -> None:
    reckoned = cost.run_of(cost.read_measurements(), cost.HIGH, 1).dpu_seconds
    assert reckoned <= bounds.DPU_SECONDS_OF_A_RUN < 1.5 * float(reckoned)
