"""A run that watches, round by round; and what it leaves behind where rounds are many."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import pytest

from glue_scripts import capstone_etl as etl
from tests.etl.events import VIEW, line, packed, uri
from tests.etl.s3 import MUTATING
from tests.etl.test_invariants import IS_LONG
from tests.etl.workbench import LAKE, Workbench

FIRST = {uri("2025-11-18T14:25"): packed(line(), line(VIEW), line(user_id="u_2"), b"broken")}
SECOND = {uri("2025-11-18T14:30"): packed(line(VIEW, user_id="u_3"), line())}
CORRECTING = {uri("2025-11-18T14:35"): packed(line(user_id="u_2", quantity=5))}


def printed(workbench: Workbench, layer: str) -> list[dict[str, Any]]:
    """What the run has printed for a layer, round by round."""
    lines = [json.loads(one) for one in workbench.printed.splitlines() if one.startswith("{")]
    return [one for one in lines if one["layer"] == layer]


def test_a_run_that_watches_takes_in_each_object_once_and_leaves_nothing_to_the_next(
    workbench: Workbench,
) -> None:
    workbench.upload(FIRST)
    workbench.watch([SECOND, {}, CORRECTING])
    assert [one["files"] for one in printed(workbench, "bronze")] == [1, 1, 1, 0]
    told = [(one["rounds"], one["idle_rounds"]) for one in printed(workbench, "watch")]
    assert told == [(1, 0), (2, 0), (3, 1), (4, 1), (5, 1)]
    workbench.assert_holds(FIRST | SECOND | CORRECTING)
    assert workbench.run()["bronze"]["files"] == 0


def test_after_a_reset_a_run_that_watches_takes_in_everything_again_in_its_last_round(
    workbench: Workbench,
) -> None:
    workbench.upload(FIRST)
    workbench.run()
    workbench.forget_bookmark()
    workbench.watch([SECOND])
    assert [one["files"] for one in printed(workbench, "bronze")] == [0, 1, 1]
    workbench.assert_holds(FIRST | SECOND)


def test_between_whole_listings_the_folders_of_today_and_yesterday_are_listed_alone(
    workbench: Workbench,
) -> None:
    elsewhere, today = SECOND, {uri(f"{datetime.now(UTC):%Y-%m-%dT%H:%M}"): packed(line(user_id="u_9"))}
    workbench.upload(FIRST)
    with mock.patch.object(etl, "WHOLE_LISTING_SECONDS", 10**9):
        workbench.watch([elsewhere | today], step_seconds=60)
    assert [one["files"] for one in printed(workbench, "bronze")] == [1, 1, 1]
    workbench.assert_holds(FIRST | elsewhere | today)


def test_a_bad_object_stops_no_watch_and_too_many_rejected_lines_do(workbench: Workbench) -> None:
    workbench.watch([{uri("2025-11-18T14:25"): b"\xff\xfe" * 999}, SECOND])
    assert [one["rejected"] for one in printed(workbench, "bronze")] == [0, 1, 0, 0]
    rejected = {uri("2025-11-18T14:40"): packed(b"broken")}
    unseen = iter([rejected, CORRECTING])
    with pytest.raises(etl.TooManyRejected, match="1 of 1 lines were rejected"):
        workbench.watch(unseen, max_rejected_percent=50)
    assert next(unseen) is CORRECTING


def test_visitors_of_many_runs_are_joined_and_a_run_killed_meanwhile_is_made_good(
    workbench: Workbench,
) -> None:
    day = f"{etl.DAILY_VISITORS.location}/year=2025/month=11/day=18/"
    objects = {uri(f"2025-11-18T14:{n}"): packed(line(user_id=f"u_{n}")) for n in (25, 26, 27)}
    with mock.patch.object(etl, "MOST_SMALL_FILES", 2):
        for source, content in objects.items():
            workbench.upload({source: content})
            before = workbench.state()
            workbench.store.gate.open()
            workbench.run()
        assert [key.split("/")[-2].endswith("-joined") for key in workbench.store.objects(LAKE, day)] == [
            True
        ]
        workbench.assert_holds(objects)
        changes = [one for one in workbench.store.gate.log if one.split()[0] in MUTATING]
        joined = next(nth for nth, change in enumerate(changes) if "-joined/" in change)
        for number in range(joined, joined + 3) if IS_LONG else (joined + 1,):
            workbench.put_back(before)  # Killed before it, the others' deletion, or the note's.
            assert workbench.run_in_the_dark_after(number, only_changes=True)
            workbench.run()
            workbench.assert_holds(objects)
