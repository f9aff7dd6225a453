"""Job bookmarks: which objects a job has processed, in one SQLite file per account and region.

A bookmark belongs to a job and a transformation_ctx. An object is new when its path is unseen, or when it was
modified since it was processed. When the properties of the source change (its paths, its format), everything
is new. Every commit keeps its own rows, so a bookmark can be rewound to the state
after any committed run, and a paused run can be given a range of runs.

Used from two processes: the driver reads and commits, the server answers GetJobBookmark and
ResetJobBookmark. SQLite's locking keeps the two apart.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from .objects import SourceObject

_SCHEMA = """
CREATE TABLE IF NOT EXISTS bookmark (
    job TEXT PRIMARY KEY,
    version INTEGER NOT NULL,           -- grows with every commit and every reset
    run INTEGER NOT NULL,               -- committed runs since the last reset
    run_id TEXT,
    previous_run_id TEXT
);
CREATE TABLE IF NOT EXISTS committed_run (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL,
    run INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    previous_run_id TEXT,
    UNIQUE (job, run_id)
);
CREATE TABLE IF NOT EXISTS source (
    id INTEGER PRIMARY KEY,
    job TEXT NOT NULL,
    transformation_ctx TEXT NOT NULL,
    properties TEXT NOT NULL,
    UNIQUE (job, transformation_ctx, properties)
);
CREATE TABLE IF NOT EXISTS processed (
    source_id INTEGER NOT NULL,
    uri TEXT NOT NULL,
    commit_id INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL,
    PRIMARY KEY (source_id, uri, commit_id)
) WITHOUT ROWID;
"""

_LATEST = 2**62
"""A commit id beyond any: the bookmark as it stands now."""


class BookmarkNotFound(Exception):
    """The job, or the run of it that was named, has no bookmark."""


class Source(NamedTuple):
    """What a job reads under a bookmark: a transformation_ctx, and the source's properties as text."""

    transformation_ctx: str
    properties: str


class BookmarkStore:
    """The bookmarks of all jobs of one account and region."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._transaction() as db:
            db.executescript(_SCHEMA)

    def processed(self, job: str, source: Source, up_to_run: str | None = None) -> dict[str, int]:
        """URI -> modification time (ns) of every processed object; with `up_to_run` as of that run.

        Raises BookmarkNotFound when the job never committed a run `up_to_run`.
        """
        with self._transaction() as db:
            last = _LATEST if up_to_run is None else _commit(db, job, up_to_run)["id"]
            rows = db.execute(
                "SELECT uri, modified_ns FROM processed WHERE source_id = ("
                "SELECT id FROM source WHERE job = ? AND transformation_ctx = ? AND properties = ?"
                ") AND commit_id <= ? ORDER BY uri, commit_id",
                (job, *source, last),
            )
            return dict(rows.fetchall())

    def commit(self, job: str, run_id: str, processed: Mapping[Source, Iterable[SourceObject]]) -> None:
        """Add what a run processed of each source, all or nothing."""
        with self._transaction() as db:
            commit_id = self._begin_commit(db, job, run_id)
            for source, objects in processed.items():
                source_id = _source_id(db, job, source)
                db.executemany(
                    "INSERT OR REPLACE INTO processed VALUES (?, ?, ?, ?)",
                    [(source_id, item.uri, commit_id, item.modified_ns) for item in objects],
                )

    def entry(self, job: str, run_id: str | None = None) -> dict[str, Any]:
        """The JobBookmarkEntry of GetJobBookmark. Raises BookmarkNotFound."""
        with self._transaction() as db:
            return _entry(db, job, run_id)

    def reset(self, job: str, run_id: str | None = None) -> dict[str, Any]:
        """Forget everything, or all since the run `run_id`; returns the entry. Raises BookmarkNotFound."""
        with self._transaction() as db:
            _row(db, job)
            kept = {"id": 0, "run": 0, "run_id": None, "previous_run_id": None}
            if run_id is not None:
                kept = dict(_commit(db, job, run_id))
            db.execute(
                "DELETE FROM processed"
                " WHERE source_id IN (SELECT id FROM source WHERE job = ?) AND commit_id > ?",
                (job, kept["id"]),
            )
            db.execute("DELETE FROM committed_run WHERE job = ? AND id > ?", (job, kept["id"]))
            db.execute(
                "UPDATE bookmark SET version = version + 1, run = ?, run_id = ?, previous_run_id = ?"
                " WHERE job = ?",
                (kept["run"], kept["run_id"], kept["previous_run_id"], job),
            )
            return _entry(db, job, None)

    def delete(self, job: str) -> None:
        """Remove every trace of a job that is deleted itself."""
        with self._transaction() as db:
            db.execute(
                "DELETE FROM processed WHERE source_id IN (SELECT id FROM source WHERE job = ?)", (job,)
            )
            for table in ("source", "committed_run", "bookmark"):
                db.execute(f"DELETE FROM {table} WHERE job = ?", (job,))

    def _begin_commit(self, db: sqlite3.Connection, job: str, run_id: str) -> int:
        """The commit of this run: a second commit in one run adds to its first."""
        known = db.execute(
            "SELECT id FROM committed_run WHERE job = ? AND run_id = ?", (job, run_id)
        ).fetchone()
        if known:
            return int(known["id"])
        current = db.execute("SELECT * FROM bookmark WHERE job = ?", (job,)).fetchone()
        run = current["run"] + 1 if current else 1
        version = current["version"] + 1 if current else 1
        previous = current["run_id"] if current else None
        db.execute(
            "INSERT OR REPLACE INTO bookmark VALUES (?, ?, ?, ?, ?)", (job, version, run, run_id, previous)
        )
        cursor = db.execute(
            "INSERT INTO committed_run (job, run, run_id, previous_run_id) VALUES (?, ?, ?, ?)",
            (job, run, run_id, previous),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self._path, timeout=30)) as db, db:
            db.row_factory = sqlite3.Row
            yield db


@dataclass
class RunBookmark:
    """The bookmark as one job run sees it: what is new to it, and what it will commit."""

    store: BookmarkStore
    job: str
    run_id: str
    saves: bool
    """False for job-bookmark-pause: the run starts from the bookmark but does not move it."""
    from_run: str | None = None
    to_run: str | None = None
    _read: dict[Source, list[SourceObject]] = field(default_factory=dict)

    def unprocessed(self, source: Source, objects: Iterable[SourceObject]) -> list[SourceObject]:
        """Those of `objects` that this run has to read; remembers them for `commit`."""
        known = self.store.processed(self.job, source, self.from_run)
        new = [item for item in objects if known.get(item.uri) != item.modified_ns]
        if self.to_run is not None:
            within = self.store.processed(self.job, source, self.to_run)
            new = [item for item in new if within.get(item.uri) == item.modified_ns]
        self._read.setdefault(source, []).extend(new)
        return new

    def commit(self) -> None:
        """Save what was read, so that later runs leave it out."""
        if self.saves:
            self.store.commit(self.job, self.run_id, self._read)
        self._read = {}


def _source_id(db: sqlite3.Connection, job: str, source: Source) -> int:
    """The row of a source. One with other properties is forgotten: its bookmark is no longer valid."""
    stale = db.execute(
        "SELECT id FROM source WHERE job = ? AND transformation_ctx = ? AND properties != ?", (job, *source)
    ).fetchall()
    for (source_id,) in stale:
        db.execute("DELETE FROM processed WHERE source_id = ?", (source_id,))
        db.execute("DELETE FROM source WHERE id = ?", (source_id,))
    db.execute(
        "INSERT OR IGNORE INTO source (job, transformation_ctx, properties) VALUES (?, ?, ?)", (job, *source)
    )
    row = db.execute(
        "SELECT id FROM source WHERE job = ? AND transformation_ctx = ? AND properties = ?", (job, *source)
    ).fetchone()
    return int(row["id"])


def _row(db: sqlite3.Connection, job: str) -> sqlite3.Row:
    row: sqlite3.Row | None = db.execute("SELECT * FROM bookmark WHERE job = ?", (job,)).fetchone()
    if row is None:
        raise BookmarkNotFound(f"Continuation for job {job} not found")
    return row


def _commit(db: sqlite3.Connection, job: str, run_id: str) -> sqlite3.Row:
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM committed_run WHERE job = ? AND run_id = ?", (job, run_id)
    ).fetchone()
    if row is None:
        raise BookmarkNotFound(f"Continuation for job {job} and run {run_id} not found")
    return row


def _entry(db: sqlite3.Connection, job: str, run_id: str | None) -> dict[str, Any]:
    row = _row(db, job)
    point = row if run_id is None else _commit(db, job, run_id)
    last = _LATEST if run_id is None else point["id"]
    sources = db.execute(
        "SELECT transformation_ctx, count(DISTINCT uri) AS files, max(modified_ns) AS modified_ns"
        " FROM source JOIN processed ON source.id = source_id WHERE job = ? AND commit_id <= ?"
        " GROUP BY transformation_ctx",
        (job, last),
    )
    state = {
        source["transformation_ctx"]: {
            "files": source["files"],
            "latestModification": source["modified_ns"] // 1_000_000,
        }
        for source in sources
    }
    entry = {
        "JobName": job,
        "Version": row["version"],
        "Run": point["run"],
        "Attempt": 0,
        "PreviousRunId": point["previous_run_id"],
        "RunId": point["run_id"],
        "JobBookmark": json.dumps(state, sort_keys=True),
    }
    return {name: value for name, value in entry.items() if value is not None}
