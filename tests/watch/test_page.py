"""The live page without a job: who may read it, what it says and when, what hostile names can do to it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from http.client import HTTPConnection, HTTPResponse
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from capstone_pipeline import Answer, PortTaken, Query
from capstone_pipeline.watch.figures import LogLine, Progress, Snapshot, content_of
from capstone_pipeline.watch.keeper import JobState
from capstone_pipeline.watch.page import OLD_AFTER_SECONDS, Delivered, LivePage, is_old, status
from tests.browser import in_a_browser, running_browser
from tests.names import AWKWARD_NAMES, SCRIPT

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
WATCHES = JobState(run_id="jr_1", starts=1, down_since=None)
SHOWN = Snapshot(1, "<p>figures</p>", NOW, NOW - timedelta(seconds=9), heard="jr_1")


@contextmanager
def served(job: JobState, figures: Snapshot, title: str = "capstone-x") -> Iterator[LivePage]:
    keeper: Any = SimpleNamespace(state=job)
    shown: Any = SimpleNamespace(snapshot=figures)
    with LivePage(0, title, keeper, shown, Delivered()) as page:
        yield page


def get(page: LivePage, path: str, host: str | None = None, method: str = "GET") -> HTTPResponse:
    port = int(page.url.rsplit(":", 1)[1].strip("/"))
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(
        method, path, headers={"Host": host.format(port=port) if host else f"localhost:{port}"}
    )
    return connection.getresponse()


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("127.0.0.1:{port}", 200),
        ("localhost:{port}", 200),
        ("rebound.example:{port}", 403),
        ("127.0.0.1", 403),
        ("localhost.example:{port}", 403),
        ("169.254.1.1:{port}", 403),
    ],
)
@pytest.mark.parametrize("path", ["/", "/state"])
def test_only_who_asks_for_this_host_gets_an_answer(host: str, code: int, path: str) -> None:
    with served(WATCHES, SHOWN) as page:
        answer = get(page, path, host)
        assert answer.status == code
        assert (b"figures" in answer.read()) == (code == 200)


def test_the_page_is_on_loopback_alone_allows_no_other_origin_and_loads_nothing_from_elsewhere() -> None:
    with served(WATCHES, SHOWN) as page:
        assert page.url.startswith("http://127.0.0.1:")
        answer = get(page, "/")
        assert answer.headers["Access-Control-Allow-Origin"] is None
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        text = answer.read().decode()
        assert "http://" not in text and "https://" not in text
        assert get(page, "/../etc/passwd").status == 404
        assert get(page, "/", method="POST").status == 501


def test_a_port_that_is_taken_is_refused_by_its_number() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        nobody: Any = None
        with pytest.raises(PortTaken, match=f"port {port} ") as refused:
            LivePage(port, "", nobody, nobody, Delivered())
        assert "--port" in refused.value.next_step


def test_figures_are_sent_only_where_they_differ_from_what_the_page_has() -> None:
    with served(WATCHES, SHOWN) as page:
        first = json.loads(get(page, "/state").read())
        assert first["figures"] == SHOWN.content
        again = json.loads(get(page, f"/state?have={first['version']}").read())
        assert again["figures"] is None and again["version"] == first["version"]


@pytest.mark.parametrize(
    ("job", "figures", "old"),
    [
        (WATCHES, SHOWN, False),
        (replace(WATCHES, down_since=NOW), SHOWN, True),
        (replace(WATCHES, unknown_since=NOW), SHOWN, True),
        (replace(WATCHES, starts=2, run_id="jr_2"), SHOWN, True),
        (replace(WATCHES, starts=2, run_id="jr_2"), replace(SHOWN, heard="jr_2-driver"), False),
        (WATCHES, replace(SHOWN, trouble="Athena is away"), True),
        (WATCHES, replace(SHOWN, answered=NOW - timedelta(seconds=OLD_AFTER_SECONDS + 1)), True),
        (replace(WATCHES, down_since=NOW), Snapshot(), False),
    ],
)
def test_figures_are_old_when_job_or_athena_stand_still(job: JobState, figures: Snapshot, old: bool) -> None:
    assert is_old(job, figures, NOW) == old
    assert ("These figures are old" in status(job, figures, Delivered(), NOW)) == old


def test_the_status_says_how_old_and_why_and_what_comes_next_with_nothing_that_a_page_would_obey() -> None:
    down = JobState(
        starts=1, down_since=NOW - timedelta(seconds=5), reason=SCRIPT, next_start=NOW + timedelta(seconds=4)
    )
    delivered = Delivered()
    delivered.add("events-1.jsonl.gz")
    delivered.trouble = SCRIPT
    text = status(down, replace(SHOWN, trouble=SCRIPT), delivered, NOW)
    assert "The job is down since 2026-11-27 11:59:55 UTC." in text
    assert "The next start is at 2026-11-27 12:00:04 UTC." in text
    assert "The newest event in these figures is 9 s old" in text
    assert "events-1.jsonl.gz" in text
    assert SCRIPT not in text and text.count("&lt;script&gt;") == 3


def line(seconds: int, layer: str, run: str = "jr_1", **counters: Any) -> LogLine:
    return LogLine(NOW + timedelta(seconds=seconds), run, {"layer": layer, **counters})


def test_an_event_counts_as_shown_when_gold_is_written_not_before() -> None:
    progress, bronze = Progress(), line(0, "bronze", newest_event_age_seconds=10)
    progress.add([bronze, line(1, "silver")])
    assert progress.newest_event is None
    progress.add([bronze, line(1, "silver"), line(2, "gold")])  # Lines may be read again.
    assert progress.newest_event == NOW - timedelta(seconds=10)
    assert progress.gold_written == NOW + timedelta(seconds=2)
    late = [line(5, "bronze", newest_event_age_seconds=3600), line(6, "gold")]
    progress.add(late)
    assert progress.newest_event == NOW - timedelta(seconds=10)
    assert progress.gold_written == NOW + timedelta(seconds=6)


def test_other_lines_of_a_log_are_no_progress() -> None:
    event = {"timestamp": 0, "logStreamName": "jr_1"}
    for message in ("a line", "[1]", '{"a": 1}', '{"layer'):
        assert LogLine.of({**event, "message": message}) is None


def answers(names: list[str]) -> list[Answer]:
    """The five answers with these names in all places where names stand."""
    days, numbers = [date(2026, 11, 27)] * len(names), list(range(100, 100 + len(names)))
    funnel = pd.DataFrame({"product_id": names, "category": names, "views": numbers, "add_to_carts": 1})
    frames = {
        1: funnel.assign(purchases=1, view_to_purchase_conversion=Decimal("0.01")),
        2: pd.DataFrame(
            {"event_date": days, "event_hour": 1, "total_revenue": Decimal("98765432109.50")}
        ).assign(transaction_count=2),
        3: pd.DataFrame({"rank": numbers, "product_id": names, "category": names, "view_count": numbers}),
        4: pd.DataFrame({"event_date": days, "category": names, "event_count": numbers}),
        5: pd.DataFrame({"event_date": days[:1], "unique_users": 3, "unique_sessions": 4}),
    }
    if names:
        frames[2] = frames[2].head(1)
    return [Answer(Query(number, SCRIPT, "", ""), frame, 0, 0.0) for number, frame in frames.items()]


def test_an_empty_gold_has_no_figures() -> None:
    assert content_of(answers([])) == ""


@in_a_browser
@pytest.mark.parametrize("width", [390, 1280])
def test_no_name_or_figure_can_run_a_script_or_widen_the_page(width: int) -> None:
    figures = replace(SHOWN, content=content_of(answers(list(AWKWARD_NAMES))), trouble=SCRIPT)
    wrong: list[str] = []
    with served(WATCHES, figures, title=SCRIPT) as live, running_browser() as browser:
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(live.url)
        page.wait_for_timeout(1500)  # It has renewed itself by then.
        for details in page.locator("summary").all():
            details.click()
        assert page.evaluate("window.hit") is None
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        cards = "[...document.querySelectorAll('.card b')]"
        assert page.evaluate(f"{cards}.filter(one => one.scrollWidth > one.clientWidth).length") == 0
        assert page.evaluate("[...document.images].filter(image => !image.naturalWidth).length") == 0
        assert page.locator("td", has_text="$a$ and $b$").count() >= 3
        assert page.locator("#figures.old").count() == 1
        browser.close()
    assert wrong == []
