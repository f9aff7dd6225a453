"""`make watch` as a user has it: real runs of the job, the page in a browser, kills, Ctrl-C, a second time.

One story, told once; each test looks at one moment of it. On an embedded AWS of its own: its JVMs are killed.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil
import pytest
from playwright.sync_api import Page

from local_aws import LocalAws, running_server
from local_aws.testing import spark_jvms
from tests.browser import CHROMIUM, in_a_browser, running_browser

ROOT = Path(__file__).parent.parent.parent
ID = "watch-1"
JOB = f"capstone-etl-{ID}"
LONG_ENOUGH_SECONDS = 240
WIDTHS = (1280, 390)


@dataclass
class Watch:
    """A `watch_demo.py` that runs, what it has said, and its AWS."""

    aws: LocalAws
    process: subprocess.Popen[str]
    said: Path
    url: str = ""

    def state(self) -> dict[str, Any]:
        """What the page shows now, with its figures."""
        with urlopen(f"{self.url}state", timeout=10) as answer:
            return json.load(answer)

    def runs(self) -> list[dict[str, Any]]:
        return runs(self.aws)

    def wait_until(self, holds: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Look at the page's state until something holds."""
        return wait_for(lambda: state if holds(state := self.state()) else None, self.said)


def wait_for(look: Callable[[], Any], said: Path) -> Any:
    deadline = time.monotonic() + LONG_ENOUGH_SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, said.read_text()
        time.sleep(0.2)
    return found


def runs(aws: LocalAws) -> list[dict[str, Any]]:
    """The job's runs, newest first."""
    glue = aws.client("glue")
    try:
        return glue.get_job_runs(JobName=JOB)["JobRuns"]
    except glue.exceptions.EntityNotFoundException:
        return []


def environment(aws: LocalAws) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {**kept, **aws.environment, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def command(*options: str) -> list[str]:
    return [sys.executable, "watch_demo.py", "--student-id", ID, *options]


def start(aws: LocalAws, said: Path) -> Watch:
    with said.open("w") as output:
        process = subprocess.Popen(
            command("--events", "500", "--every", "4", "--look-every", "1"),
            cwd=ROOT,
            env=environment(aws),
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    watch = Watch(aws, process, said)
    watch.url = wait_for(lambda: re.search(r"http://127\.0\.0\.1:\d+/", said.read_text()), said)[0]
    return watch


@pytest.fixture(scope="module")
def own_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    with running_server(tmp_path_factory.mktemp("watch-aws")) as running:
        yield running


@pytest.fixture(scope="module")
def story(own_aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What was seen at each moment, from the start to after Ctrl-C."""
    seen: dict[str, Any] = {}
    watch = start(own_aws, tmp_path_factory.mktemp("watch") / "said.txt")
    try:
        with browser_pages(watch.url) as look:
            seen["start_look"] = look()
            seen["first"] = watch.wait_until(lambda state: "newest event" in state["status"])
            seen["middle_look"] = look()
            seen["newer"] = watch.wait_until(lambda state: state["version"] != seen["first"]["version"])

            (jvm,) = spark_jvms(own_aws)
            jvm.kill()
            seen["killed"] = watch.wait_until(lambda state: "is down" in state["status"])
            seen["killed_look"] = look()
            seen["back"] = watch.wait_until(lambda state: not state["is_old"])
            seen["back_look"] = look()
            seen["after"] = watch.wait_until(lambda state: state["version"] != seen["killed"]["version"])

            active = watch.runs()[0]["Id"]
            own_aws.client("glue").batch_stop_job_run(JobName=JOB, JobRunIds=[active])
            seen["stopped"] = watch.wait_until(lambda state: "was stopped" in state["status"])
            wait_for(lambda: watch.runs()[0]["Id"] != active, watch.said)
            seen["busy"] = subprocess.run(
                command(), cwd=ROOT, env=environment(own_aws), capture_output=True, text=True, timeout=120
            )

            children = psutil.Process(watch.process.pid).children(recursive=True)
            began = time.monotonic()
            watch.process.send_signal(signal.SIGINT)
            seen["code"] = watch.process.wait(60)
            seen["seconds"] = time.monotonic() - began
            seen["left"] = [child for child in children if child.is_running()]
            seen["gone_look"] = look()
        seen["runs"], seen["said"] = watch.runs(), watch.said.read_text()
        yield seen
    finally:
        if watch.process.poll() is None:
            watch.process.kill()


@contextmanager
def browser_pages(url: str) -> Iterator[Callable[[], dict[str, Any]]]:
    """The page in a browser, wide and narrow: a function that says how it looks now, {} without a browser."""
    if CHROMIUM is None:
        yield dict
        return
    with running_browser() as browser:
        wrong, pages = list[str](), dict[int, Page]()
        for width in WIDTHS:
            pages[width] = browser.new_page(viewport={"width": width, "height": 900})
            pages[width].on("pageerror", lambda error: wrong.append(str(error)))
            pages[width].goto(url)

        def look() -> dict[str, Any]:
            page = pages[WIDTHS[0]]
            page.wait_for_timeout(2500)  # It renews itself every second.
            return {
                "status": page.inner_text("#status"),
                "figures": page.inner_text("#figures"),
                "is_marked": page.locator("#figures.old").count() == 1,
                "plots": page.locator("#figures img").count(),
                "widths": [one.evaluate("document.documentElement.scrollWidth") for one in pages.values()],
                "wrong": list(wrong),
            }

        yield look


RUN = "Run (jr_[0-9a-f]+) started"


def test_the_figures_become_newer_as_objects_land(story: dict[str, Any]) -> None:
    def events(state: dict[str, Any]) -> int:
        (shown,) = re.findall(r"<small>Events</small><b>([\d,]+)</b>", state["figures"])
        return int(shown.replace(",", ""))

    assert 0 < events(story["first"]) < events(story["newer"]) < events(story["after"])
    assert "Athena answered" in story["newer"]["status"]
    assert "events-20" in story["newer"]["status"]


def test_a_killed_job_is_told_with_its_reason_its_figures_are_kept_and_marked_and_it_comes_back(
    story: dict[str, Any],
) -> None:
    killed, back = story["killed"], story["back"]
    assert re.search(r"The job is down since \d{4}-\d\d-\d\d .* SIGKILL", killed["status"])
    assert killed["is_old"] and "These figures are old" in killed["status"]
    assert "<small>Events</small>" in killed["figures"]
    assert "The job watches, in run" in back["status"]
    assert "SIGKILL" in story["said"] and "The job watches again" in story["said"]


def test_a_run_that_somebody_stopped_is_followed_by_another(story: dict[str, Any]) -> None:
    assert "was stopped" in story["stopped"]["status"]
    started = re.findall(RUN, story["said"])
    assert [run["Id"] for run in story["runs"]] == started[::-1]
    assert [run["JobRunState"] for run in story["runs"]] == ["STOPPED", "STOPPED", "FAILED"]


def test_a_second_watch_is_refused_with_the_command_that_ends_the_first(story: dict[str, Any]) -> None:
    refused, active = story["busy"], story["runs"][0]["Id"]
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"JobBusy: Run {active} of job {JOB} watches, since ")
    assert f"aws glue batch-stop-job-run --job-name {JOB} --job-run-ids {active}" in refused.stderr


def test_ctrl_c_ends_everything_soon_and_leaves_nothing_running(
    story: dict[str, Any], own_aws: LocalAws
) -> None:
    assert (story["code"], story["left"]) == (0, [])
    assert story["seconds"] < 30
    assert story["said"].splitlines()[-1].endswith("ended as STOPPED")
    assert [run for run in story["runs"] if run["JobRunState"] in ("STARTING", "RUNNING", "STOPPING")] == []
    assert spark_jvms(own_aws) == []


@in_a_browser
def test_the_page_shows_each_of_these_moments_by_itself_wide_and_narrow(story: dict[str, Any]) -> None:
    looks = {name: story[f"{name}_look"] for name in ("start", "middle", "killed", "back", "gone")}
    for look in looks.values():
        assert look["wrong"] == []
        assert [width for width, most in zip(look["widths"], WIDTHS, strict=True) if width > most] == []
    assert "No figures yet" in looks["start"]["figures"]
    assert "The job" in looks["start"]["status"] and not looks["start"]["is_marked"]
    assert looks["middle"]["plots"] == 5 and not looks["middle"]["is_marked"]
    assert looks["killed"]["plots"] == 5 and looks["killed"]["is_marked"]
    assert not looks["back"]["is_marked"]
    assert "has ended, or does not answer since" in looks["gone"]["status"]
    assert looks["gone"]["plots"] == 5 and looks["gone"]["is_marked"]


def test_it_can_be_started_again_and_sigterm_ends_it_as_well(
    story: dict[str, Any], own_aws: LocalAws, tmp_path: Path
) -> None:
    watch = start(own_aws, tmp_path / "said.txt")
    watch.process.terminate()
    assert watch.process.wait(60) == 0
    assert watch.runs()[0]["JobRunState"] == "STOPPED"
    assert len(watch.runs()) == len(story["runs"]) + 1


def test_without_an_aws_the_error_says_how_to_start_one(own_aws: LocalAws) -> None:
    nowhere = {**environment(own_aws), "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    done = subprocess.run(command(), cwd=ROOT, env=nowhere, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.startswith("EndpointUnreachable: ") and "make up" in done.stderr


def test_a_port_that_is_taken_starts_no_run(story: dict[str, Any], own_aws: LocalAws) -> None:
    before = len(runs(own_aws))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            command("--port", port),
            cwd=ROOT,
            env=environment(own_aws),
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 1 and done.stderr.startswith(
        f"PortTaken: The page cannot be served on port {port}"
    )
    assert len(runs(own_aws)) == before


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [("--every", "0.1", "from 1 to 3,600 seconds"), ("--events", "0", "--events-per-file must be")],
)
def test_a_pace_that_cannot_be_is_refused(own_aws: LocalAws, option: str, value: str, why: str) -> None:
    asked = command(option, value)
    done = subprocess.run(
        asked, cwd=ROOT, env=environment(own_aws), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2 and why in done.stderr
