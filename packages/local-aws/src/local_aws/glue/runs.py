"""Remembers job runs, in one SQLite file: they survive a restart, and a crash, of the server.

A run is kept as the document that GetJobRun answers with, beside what only the runner needs.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ACTIVE_STATES = ("STARTING", "RUNNING", "STOPPING")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS run (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    job TEXT NOT NULL,
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    document TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS run_by_job ON run (account, region, job);
CREATE INDEX IF NOT EXISTS run_by_state ON run (state);
"""


class TooManyRuns(Exception):
    """The job already has as many active runs as it allows."""


@dataclass(frozen=True)
class JobKey:
    """A job, and where it lives."""

    account: str
    region: str
    name: str


@dataclass(frozen=True)
class RunRecord:
    """A run as it is stored."""

    job: JobKey
    document: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.document["Id"])

    @property
    def is_active(self) -> bool:
        return self.document["JobRunState"] in ACTIVE_STATES


class RunStore:
    """All runs of all jobs. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_SCHEMA)
        if "workspace" in {column[1] for column in self._db.execute("PRAGMA table_info(run)")}:
            self._db.execute("ALTER TABLE run DROP COLUMN workspace")  # Of servers before 0.1.

    def add(self, job: JobKey, document: dict[str, Any], max_active: int) -> RunRecord:
        """Store a new run. Raises TooManyRuns."""
        with self._lock, self._db:
            (active,) = self._db.execute(
                f"SELECT count(*) FROM run WHERE account = ? AND region = ? AND job = ? AND {_ACTIVE}",
                _key(job),
            ).fetchone()
            if active >= max_active:
                raise TooManyRuns(job.name)
            self._db.execute(
                "INSERT INTO run (account, region, job, id, state, document) VALUES (?, ?, ?, ?, ?, ?)",
                (*_key(job), document["Id"], document["JobRunState"], json.dumps(document)),
            )
        return RunRecord(job, document)

    def update(self, run_id: str, **changes: Any) -> None:
        """Change members of a run's document. A run that was deleted with its job is left alone."""
        with self._lock, self._db:
            row = self._db.execute("SELECT document FROM run WHERE id = ?", (run_id,)).fetchone()
            if row is None:
                return
            document = {**json.loads(row[0]), **changes, "LastModifiedOn": time.time()}
            self._db.execute(
                "UPDATE run SET state = ?, document = ? WHERE id = ?",
                (document["JobRunState"], json.dumps(document), run_id),
            )

    def get(self, job: JobKey, run_id: str) -> RunRecord | None:
        """One run of a job."""
        return next(
            self._select("account = ? AND region = ? AND job = ? AND id = ?", (*_key(job), run_id)), None
        )

    def page(self, job: JobKey, before: int | None, limit: int) -> tuple[list[RunRecord], int | None]:
        """Runs of a job, newest first, from below sequence number `before`; and the next `before`, if any."""
        with self._lock:
            rows = self._db.execute(
                "SELECT sequence, account, region, job, document FROM run"
                " WHERE account = ? AND region = ? AND job = ? AND sequence < ?"
                " ORDER BY sequence DESC LIMIT ?",
                (*_key(job), 2**62 if before is None else before, limit + 1),
            ).fetchall()
        more = len(rows) > limit
        rows = rows[:limit]
        return [_record(row[1:]) for row in rows], rows[-1][0] if more else None

    def active(self) -> list[RunRecord]:
        """Every run that has not ended."""
        return list(self._select(_ACTIVE, ()))

    def delete(self, job: JobKey) -> None:
        """Forget all runs of a job."""
        with self._lock, self._db:
            self._db.execute("DELETE FROM run WHERE account = ? AND region = ? AND job = ?", _key(job))

    def delete_all(self) -> list[tuple[str, str]]:
        """Forget all runs; returns the accounts and regions that had any."""
        with self._lock, self._db:
            places = self._db.execute("SELECT DISTINCT account, region FROM run").fetchall()
            self._db.execute("DELETE FROM run")
        return places

    def _select(self, condition: str, parameters: tuple[Any, ...]) -> Iterator[RunRecord]:
        with self._lock:
            rows = self._db.execute(
                f"SELECT account, region, job, document FROM run WHERE {condition} ORDER BY sequence",
                parameters,
            ).fetchall()
        return map(_record, rows)


_ACTIVE = f"state IN ({', '.join(repr(state) for state in ACTIVE_STATES)})"


def _key(job: JobKey) -> tuple[str, str, str]:
    return job.account, job.region, job.name


def _record(row: tuple[Any, ...]) -> RunRecord:
    account, region, job, document = row
    return RunRecord(JobKey(account, region, job), json.loads(document))
