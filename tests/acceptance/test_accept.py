"""`python -m capstone_pipeline accept` on the embedded AWS: what it finds, and that nothing is left."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup

from capstone_pipeline.accept import bounds
from local_aws import LocalAws
from tools.embed import embed_script

ROOT = Path(__file__).parent.parent.parent
PROJECT = (
    "build_pipeline.ipynb",
    "capstone-starter.cfn.yaml",
    "capstone_pipeline",
    "glue_scripts",
    "notebooks",
    "queries.sql",
)


@dataclass(frozen=True)
class Acceptance:
    """A command that has ended: what it said, and what it left."""

    code: int
    said: str
    complaint: str
    folder: Path

    @property
    def findings(self) -> list[dict[str, Any]]:
        return list(self.document["findings"])

    @property
    def document(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "accept.json").read_text()))


@contextmanager
def begun(
    aws: LocalAws, student_id: str, folder: Path, *options: str, project: Path = ROOT
) -> Iterator[subprocess.Popen[str]]:
    """The command, started as from a shell in the project's folder."""
    command = [sys.executable, "-u", "-m", "capstone_pipeline", "accept", "--student-id", student_id]
    process = subprocess.Popen(
        [*command, "--output-dir", str(folder), *options],
        cwd=project,
        env=os.environ | aws.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str], folder: Path) -> Acceptance:
    said, complaint = process.communicate(timeout=600)
    return Acceptance(process.returncode, said, complaint, folder)


def wait_for(process: subprocess.Popen[str], words: str) -> None:
    """Read what the command says up to a line with these words."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if words in line:
            return
    pytest.fail(f"it never said {words!r}:\n{''.join(lines)}{process.communicate()[1]}")


def things_of(aws: LocalAws, student_id: str) -> list[str]:
    """Whatever the account has under this id, looked up by each service's own listing."""
    stacks = aws.client("cloudformation").describe_stacks()["Stacks"]
    names = [one["StackName"] for one in stacks if one["StackStatus"] != "DELETE_COMPLETE"]
    names += [one["Name"] for one in aws.client("s3").list_buckets()["Buckets"]]
    glue = aws.client("glue")
    names += [one["Name"] for one in [*glue.get_jobs()["Jobs"], *glue.get_databases()["DatabaseList"]]]
    names += [one["FunctionName"] for one in aws.client("lambda").list_functions()["Functions"]]
    names += [one["Name"] for one in aws.client("athena").list_work_groups()["WorkGroups"]]
    names += [one["logGroupName"] for one in aws.client("logs").describe_log_groups()["logGroups"]]
    names += [one["Name"] for one in aws.client("events").list_rules()["Rules"]]
    names += [one["RoleName"] for one in aws.client("iam").list_roles()["Roles"]]
    return [name for name in names if f"{student_id}-accept" in name.replace("_", "-")]


# --- From beginning to end ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def full(aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Acceptance:
    folder = tmp_path_factory.mktemp("full")
    with begun(aws, "full", folder, "--yes") as process:
        return ended(process, folder)


def test_every_promise_is_kept_that_can_be_seen_here(full: Acceptance) -> None:
    assert full.code == 0, full.said + full.complaint
    states = {finding["promise"]: finding["state"] for finding in full.findings}
    assert [promise for promise, state in states.items() if state != "kept"] == [
        "A run over one object takes no more DPU seconds than docs/BENCHMARKS_AND_COSTS.md reckons with."
    ]
    assert set(states.values()) == {"kept", "not checked here"}
    assert all(finding["evidence"] for finding in full.findings)


def test_nothing_is_left_behind(aws: LocalAws, full: Acceptance) -> None:
    assert things_of(aws, "full") == []


def test_the_page_says_what_the_json_says_and_whose_seconds_these_are(
    aws: LocalAws, full: Acceptance
) -> None:
    page = BeautifulSoup((full.folder / "accept.html").read_text(), "html.parser")
    rows = [[cell.get_text() for cell in row.find_all("td")] for row in page.find_all("tr")]
    for finding in full.findings:
        assert [finding["state"], finding["promise"] + finding["evidence"]] in rows
    assert f"{aws.endpoint_url}, which is not AWS" in page.get_text()
    runs = [row[:2] for row in rows if len(row) == 7]
    assert runs == [[run["run"], run["state"]] for run in full.document["runs"]]
    assert ["the stopped run", "STOPPED"] in runs


def test_the_notebook_is_kept_as_it_ran(full: Acceptance) -> None:
    assert "7 new files taken in" in (full.folder / "accept" / "build_pipeline.html").read_text()


@pytest.mark.parametrize(
    "name, bound",
    [
        ("one ordinary object", bounds.REQUESTS_OF_A_RUN),
        ("a run with nothing new", bounds.REQUESTS_OF_AN_IDLE_RUN),
    ],
)
def test_a_change_that_doubles_what_s3_is_asked_would_break_the_bounds(
    full: Acceptance, name: str, bound: dict[str, int]
) -> None:
    (requests,) = [run["requests"] for run in full.document["runs"] if run["run"] == name]
    assert {kind: number for kind, number in requests.items() if number > bound.get(kind, 0)} == {}
    many = [kind for kind, number in requests.items() if number >= 10]
    assert {kind: requests[kind] for kind in many if 2 * requests[kind] <= bound[kind]} == {}


# --- Ctrl-C, and a broken promise ---------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0, pytest.param(1, marks=pytest.mark.long)])
def test_ctrl_c_while_the_stack_is_created_leaves_nothing(
    aws: LocalAws, tmp_path: Path, seconds: float
) -> None:
    with begun(aws, "early", tmp_path, "--yes") as process:
        wait_for(process, "creating capstone-early-accept")
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        acceptance = ended(process, tmp_path)
    assert acceptance.code == 130, acceptance.complaint
    assert things_of(aws, "early") == []
    assert {finding["state"] for finding in acceptance.findings[:-1]} <= {"kept", "not checked here"}
    assert acceptance.findings[1]["evidence"] == "interrupted before"
    assert acceptance.findings[-1]["state"] == "kept"


@pytest.mark.long
def test_ctrl_c_while_the_notebook_waits_for_its_run_leaves_nothing_and_a_second_one_is_explained(
    aws: LocalAws, tmp_path: Path
) -> None:
    glue = aws.client("glue")

    def runs() -> list[dict[str, Any]]:
        try:
            return list(glue.get_job_runs(JobName="capstone-etl-middle-accept")["JobRuns"])
        except glue.exceptions.EntityNotFoundException:
            return []

    with begun(aws, "middle", tmp_path, "--yes") as process:
        wait_for(process, "running build_pipeline.ipynb")
        while not any(run["JobRunState"] == "RUNNING" for run in runs()):
            assert process.poll() is None
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        wait_for(process, "taking capstone-middle-accept down")
        process.send_signal(signal.SIGINT)
        acceptance = ended(process, tmp_path)
    assert acceptance.code == 130, acceptance.complaint
    assert "Still taking capstone-middle-accept down. One more Ctrl-C leaves it there" in acceptance.complaint
    assert "aws cloudformation delete-stack --stack-name capstone-middle-accept" in acceptance.complaint
    assert things_of(aws, "middle") == []


def test_a_script_that_loses_lines_breaks_promises_and_ctrl_c_in_a_later_run_leaves_nothing(
    aws: LocalAws, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    for name in PROJECT:
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        project.mkdir(exist_ok=True)
        copy(source, project / name)
    script = project / "glue_scripts" / "capstone_etl.py"
    losing = re.sub(
        r'(def judge\(.*?\n    """.*?"""\n)',
        r'\1    if b"P2" in line:\n        return "malformed_json"\n',
        script.read_text(),
        count=1,
        flags=re.DOTALL,
    )
    assert losing != script.read_text()
    script.write_text(losing)
    assert embed_script(project / "build_pipeline.ipynb")
    folder = tmp_path / "output"
    with begun(aws, "late", folder, "--yes", project=project) as process:
        wait_for(process, "broken: The five queries answer what was worked out by hand")
        wait_for(process, "running the job: nothing new")
        process.send_signal(signal.SIGINT)
        acceptance = ended(process, folder)
    assert acceptance.code == 1, acceptance.complaint
    (broken,) = [finding for finding in acceptance.findings if finding["state"] == "broken"]
    assert "query 1: missing [('P2', 'home', 3, 1, 1" in broken["evidence"]
    assert things_of(aws, "late") == []


# --- Before it begins ---------------------------------------------------------------------------------------


def test_it_asks_before_it_spends(aws: LocalAws, tmp_path: Path) -> None:
    with begun(aws, "asked", tmp_path) as process:
        acceptance = ended(process, tmp_path)
    assert acceptance.code == 1
    assert "about twenty minutes and costs about a dollar" in acceptance.said
    assert "--yes" in acceptance.complaint
    assert things_of(aws, "asked") == [] and list(tmp_path.iterdir()) == []


def test_what_is_there_already_is_not_touched(aws: LocalAws, tmp_path: Path) -> None:
    s3, bucket = aws.client("s3"), "capstone-events-taken-accept-000000000000"
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    with begun(aws, "taken", tmp_path, "--yes") as process:
        acceptance = ended(process, tmp_path)
    assert acceptance.code == 1
    assert f"StackExists: There is something under the id taken-accept already: bucket {bucket}." in (
        acceptance.complaint
    )
    assert "aws cloudformation delete-stack --stack-name capstone-taken-accept" in acceptance.complaint
    s3.delete_bucket(Bucket=bucket)
    assert things_of(aws, "taken") == []
