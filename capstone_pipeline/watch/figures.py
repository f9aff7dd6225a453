"""What the page shows: the five answers of Athena, anew whenever the job has written gold, and their age.

How new gold is, the job's own lines say: reading them costs nothing, while silver would have to be scanned.
"""

from __future__ import annotations

import html
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pandas as pd

from capstone_pipeline.answers import Answer, read_queries
from capstone_pipeline.errors import PipelineError, own_errors
from capstone_pipeline.render import block, data_table, format_value
from capstone_pipeline.shop import Shop

ASK_SECONDS = 30.0
"""Athena is asked at least so often, also when nothing is new: whether it answers is news as well."""

_PAUSE_SECONDS = 2.0
"""Between two questions, at least."""
_FIRST_LOOK = timedelta(days=1)
_LOG_OVERLAP = timedelta(minutes=1)
"""Lines of a log may come late, and in another order."""
_START = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class Snapshot:
    """The figures at one moment. `version` counts the changes of `content`, which is HTML; None: not yet."""

    version: int = 0
    content: str = ""
    answered: datetime | None = None
    """When Athena answered last."""
    newest_event: datetime | None = None
    """The time of the newest event in gold."""
    trouble: str = ""
    """Why there is nothing newer; empty while all is well."""
    heard: str = ""
    """The log stream, named after its run, of what the job printed last."""


class Figures:
    """Renews `snapshot`, which may be read from any thread; all else is for one."""

    def __init__(self, shop: Shop) -> None:
        self._shop, self._logs = shop, shop.aws.client("logs")
        self._progress, self._shown_until = Progress(), _START
        self._read_from = datetime.now(UTC) - _FIRST_LOOK
        self._ask_again = self._ask_anyway = 0.0
        self.snapshot = Snapshot()

    def renew(self) -> None:
        """Read how far the job is, and ask Athena where that has changed; trouble goes into the snapshot."""
        now = time.monotonic()
        if now < self._ask_again:
            return
        try:
            self._progress.add(self._lines())
            self.snapshot = replace(self.snapshot, heard=self._progress.heard)
            written = self._progress.gold_written
            if written > self._shown_until or now >= self._ask_anyway:
                self._ask_again = time.monotonic() + _PAUSE_SECONDS
                answers = [self._shop.answer(query.number) for query in read_queries()]
                self._show(answers)
                self._shown_until, self._ask_anyway = written, time.monotonic() + ASK_SECONDS
        except PipelineError as error:
            self._ask_anyway = 0.0
            self.snapshot = replace(self.snapshot, trouble=error.what)

    def _show(self, answers: list[Answer]) -> None:
        before, content = self.snapshot, content_of(answers)
        self.snapshot = Snapshot(
            version=before.version + (content != before.content),
            content=content,
            answered=datetime.now(UTC),
            newest_event=self._progress.newest_event,
            heard=before.heard,
        )

    def _lines(self) -> Iterable[LogLine]:
        """What the job has printed lately, in order; some of it was read before."""
        group = self._shop.stack.output_log_group
        since = int(self._read_from.timestamp() * 1000)
        with own_errors(f"reading log group {group}"):
            pages = self._logs.get_paginator("filter_log_events").paginate(
                logGroupName=group, filterPattern='"layer"', startTime=since
            )
            try:
                events = [event for page in pages for event in page["events"]]
            except self._logs.exceptions.ResourceNotFoundException:
                return []
        lines = [line for event in events if (line := LogLine.of(event))]
        if lines:
            self._read_from = max(self._read_from, max(line.time for line in lines) - _LOG_OVERLAP)
        return sorted(lines, key=lambda line: line.time)


@dataclass(frozen=True)
class LogLine:
    """A line of JSON that the job printed for a layer, and when and in which run."""

    time: datetime
    run: str
    counters: dict[str, Any]

    @classmethod
    def of(cls, event: dict[str, Any]) -> LogLine | None:
        """The line in an event of CloudWatch Logs; None where it is another one."""
        try:
            counters = json.loads(event["message"])
        except ValueError:
            return None
        moment = datetime.fromtimestamp(event["timestamp"] / 1000, UTC)
        is_ours = isinstance(counters, dict) and "layer" in counters
        return cls(moment, event["logStreamName"], counters) if is_ours else None


@dataclass
class Progress:
    """How far gold is, by the job's lines; lines may be added more than once."""

    gold_written: datetime = _START
    newest_event: datetime | None = None
    heard: str = ""
    _of_round: dict[str, datetime] = field(default_factory=dict)

    def add(self, lines: Iterable[LogLine]) -> None:
        """Take in further lines, the oldest first."""
        for line in lines:
            self.heard = line.run
            layer, age = line.counters["layer"], line.counters.get("newest_event_age_seconds")
            if layer == "bronze" and age is not None:
                self._of_round[line.run] = line.time - timedelta(seconds=age)
            elif layer == "gold":
                self.gold_written = max(self.gold_written, line.time)
                found = [moment for moment in (self.newest_event, self._of_round.get(line.run)) if moment]
                self.newest_event = max(found, default=None)


# --- How it looks -------------------------------------------------------------------------------------------


def content_of(answers: list[Answer]) -> str:
    """The newest day's headline figures, and the answers as plots and tables; empty where gold is."""
    if all(answer.frame.empty for answer in answers):
        return ""
    return _headlines({answer.query.number: answer.frame for answer in answers}) + block(
        f'<div class="answers">{"".join(map(_panel, answers))}</div>'
    )


def _panel(answer: Answer) -> str:
    number, title = answer.query.number, html.escape(answer.query.title.capitalize())
    return (
        f'<section><h2>{title}</h2><div class="plot">{answer.plot}</div>'
        f'<details data-key="{number}"><summary>Table</summary>{data_table(answer.frame)}</details></section>'
    )


def _headlines(frames: dict[int, pd.DataFrame]) -> str:
    """Cards with what the newest day has come to."""
    day = max(frames[4]["event_date"], default=None) if len(frames[4]) else None
    of_day = {number: frames[number][frames[number]["event_date"] == day] for number in (2, 4, 5)}
    cards = (
        ("Events", of_day[4]["event_count"].sum(), "count"),
        ("Revenue, USD", sum(of_day[2]["total_revenue"], Decimal(0)), "money"),
        ("Purchases", of_day[2]["transaction_count"].sum(), "count"),
        ("Users", of_day[5]["unique_users"].sum(), "count"),
        ("Sessions", of_day[5]["unique_sessions"].sum(), "count"),
    )
    shown = "".join(
        f'<div class="card"><small>{label}</small><b>{format_value(value, kind)}</b></div>'
        for label, value, kind in cards
    )
    return block(
        f'<div class="note">{day}, the newest day with events, UTC</div><div class="cards">{shown}</div>'
    )
