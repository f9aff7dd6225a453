"""The memory of job runs."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from local_aws.glue.runner import CONF_VARIABLE, JobCannotRun, spark_settings
from local_aws.glue.runs import JobKey, RunStore, TooManyRuns

JOB = JobKey("000000000000", "us-west-2", "job")


@pytest.fixture
def runs(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "runs.sqlite")


def _start(runs: RunStore, run_id: str, job: JobKey = JOB, max_active: int = 1) -> None:
    runs.add(job, {"Id": run_id, "JobRunState": "STARTING"}, max_active)


def test_a_job_has_as_many_runs_at_once_as_it_allows(runs: RunStore) -> None:
    for run_id in ("a", "b"):
        _start(runs, run_id, max_active=2)
    with pytest.raises(TooManyRuns):
        _start(runs, "c", max_active=2)
    runs.update("a", JobRunState="SUCCEEDED")
    _start(runs, "c", max_active=2)
    assert [record.id for record in runs.active()] == ["b", "c"]


def test_jobs_of_other_names_accounts_and_regions_do_not_count(runs: RunStore) -> None:
    _start(runs, "a")
    others = (
        JobKey("000000000000", "us-west-2", "other"),
        JobKey("111111111111", "us-west-2", "job"),
        JobKey("000000000000", "eu-west-1", "job"),
    )
    for number, job in enumerate(others):
        _start(runs, f"other {number}", job)
    assert len(runs.active()) == 4


def test_runs_are_remembered_by_another_process(runs: RunStore, tmp_path: Path) -> None:
    _start(runs, "a")
    runs.update("a", JobRunState="RUNNING", Extra=1)
    again = RunStore(tmp_path / "runs.sqlite")
    (record,) = again.active()
    assert (record.job, record.document["JobRunState"], record.document["Extra"]) == (JOB, "RUNNING", 1)


def test_runs_that_an_earlier_version_stored_are_kept(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "runs.sqlite")) as old, old:
        old.execute(
            "CREATE TABLE run (sequence INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL,"
            " region TEXT NOT NULL, job TEXT NOT NULL, id TEXT NOT NULL UNIQUE, state TEXT NOT NULL,"
            " workspace INTEGER NOT NULL, document TEXT NOT NULL)"
        )
        old.execute(
            "INSERT INTO run VALUES (1, '000000000000', 'us-west-2', 'job', 'a', 'SUCCEEDED', 0, ?)",
            ('{"Id": "a", "JobRunState": "SUCCEEDED"}',),
        )
    runs = RunStore(tmp_path / "runs.sqlite")
    _start(runs, "b")
    assert [record.id for record in runs.page(JOB, None, 9)[0]] == ["b", "a"]


def test_pages_go_from_newest_to_oldest(runs: RunStore) -> None:
    for number in range(5):
        _start(runs, str(number))
        runs.update(str(number), JobRunState="FAILED")
    first, following = runs.page(JOB, None, 3)
    rest, end = runs.page(JOB, following, 3)
    assert [record.id for record in (*first, *rest)] == ["4", "3", "2", "1", "0"]
    assert end is None


def test_deleted_runs_are_gone_and_later_changes_to_them_ignored(runs: RunStore) -> None:
    _start(runs, "a")
    runs.delete(JOB)
    runs.update("a", JobRunState="STOPPED")
    assert runs.get(JOB, "a") is None


def test_the_conf_argument_may_hold_several_settings() -> None:
    assert spark_settings("--conf", "a=1 --conf b=x y --conf c=k=v") == {"a": "1", "b": "x y", "c": "k=v"}
    assert spark_settings("--conf", "--conf a=1") == {"a": "1"}
    assert spark_settings("--conf", "") == {}
    for name in ("--conf", CONF_VARIABLE):
        with pytest.raises(JobCannotRun, match=f"{name} 'nonsense' is not of the form name=value"):
            spark_settings(name, "a=1 --conf nonsense")
