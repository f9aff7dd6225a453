"""`Job`: starts and commits a job run's bookmark."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .bookmarks import BookmarkStore, RunBookmark

if TYPE_CHECKING:
    from .context import GlueContext

BOOKMARKS_VARIABLE = "LOCAL_AWS_GLUE_BOOKMARKS"


class Job:
    """A job run. Only `commit` moves the bookmark; a run that ends without it leaves no trace there."""

    def __init__(self, glue_context: GlueContext) -> None:
        self._glue_context = glue_context
        self._initialized = False

    def init(self, job_name: str, args: Mapping[str, Any] | None = None) -> None:
        """Begin the run; `args` is what `getResolvedOptions` returned."""
        args = args or {}
        option = args.get("job_bookmark_option") or "job-bookmark-disable"
        self._glue_context._bookmark = None
        if option != "job-bookmark-disable":
            self._glue_context._bookmark = RunBookmark(
                store=BookmarkStore(_bookmarks_path(option)),
                job=job_name,
                run_id=args.get("JOB_RUN_ID") or f"jr_{uuid.uuid4().hex}",
                saves=option == "job-bookmark-enable",
                from_run=args.get("job_bookmark_from"),
                to_run=args.get("job_bookmark_to"),
            )
        self._initialized = True

    def isInitialized(self) -> bool:
        """Whether `init` was called."""
        return self._initialized

    def commit(self) -> None:
        """Save the bookmark: what this run read is not new to later ones. Raises RuntimeError before init."""
        if not self._initialized:
            raise RuntimeError("Job.commit() was called before Job.init()")
        if self._glue_context._bookmark is not None:
            self._glue_context._bookmark.commit()


def _bookmarks_path(option: str) -> Path:
    path = os.environ.get(BOOKMARKS_VARIABLE)
    if not path:
        raise RuntimeError(
            f"--job-bookmark-option {option} needs a place to keep bookmarks: set {BOOKMARKS_VARIABLE} "
            "to the path of a file (the embedded AWS does so for its job runs)."
        )
    return Path(path)
