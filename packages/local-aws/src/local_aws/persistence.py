"""Keep MiniStack's state on disk while it runs; by itself it saves only when it ends in good order.

Objects in S3 are on disk as soon as a request returns. Everything else (buckets' settings, stacks, functions,
the Glue catalog, query executions, log events) is saved a moment after a request changed it. So a server that
is killed loses the last FLUSH_SECONDS of what requests did, and the last BACKGROUND_SECONDS of what happened
by itself (a schedule fired, a function logged); more only when saving takes long.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from ministack import app as ministack_app
from ministack.core import persistence as ministack_persistence

FLUSH_SECONDS = 3.0
"""How often state is saved after requests that may have changed it."""
BACKGROUND_SECONDS = 20.0
"""How often it is saved otherwise."""
SHARE_OF_TIME = 0.1
"""How much of the time saving may take: with much state (long logs) it is saved less often."""

_READING_ACTIONS = ("BatchGet", "Describe", "Filter", "Get", "List", "Query", "Scan", "Search")

ASGIApp = Callable[[dict[str, Any], Any, Any], Awaitable[None]]

logger = logging.getLogger("local_aws.persistence")

_stopped = threading.Event()
_changed = threading.Event()
_flusher: threading.Thread | None = None
_digests: dict[str, str] = {}


def install() -> None:
    """Silence MiniStack's line per saved service: it would be most of the log."""
    ministack_persistence.logger.setLevel(logging.WARNING)


def watching(app: ASGIApp) -> ASGIApp:
    """The application, with requests that may change state noted, so that idle servers save nothing."""

    async def watched(scope: dict[str, Any], receive: Any, send: Any) -> None:
        try:
            await app(scope, receive, send)
        finally:
            if scope["type"] == "http" and _may_change_state(scope):
                _changed.set()

    return watched


def start_flushing() -> None:
    """Save changed state now and then, in a thread, until `stop_flushing`."""
    global _flusher
    _stopped.clear()
    _flusher = threading.Thread(target=_flush_until_stopped, name="local-aws-flush", daemon=True)
    _flusher.start()


def stop_flushing() -> None:
    """Stop the thread and wait for it, so that it does not write beside MiniStack's own last save."""
    _stopped.set()
    if _flusher is not None:
        _flusher.join()


def flush() -> list[str]:
    """Save the services whose state changed since the last call; returns their names."""
    saved = []
    for service, get_state in ministack_app._build_persistence_save_dict().items():
        try:
            state = get_state()
            digest = _digest(state)
        except RuntimeError as error:
            # "dictionary changed size during iteration": a request is changing it right now.
            logger.debug("State of %s is being changed (%s); saved next time", service, error)
            _changed.set()
            continue
        if state is not None and _digests.get(service) != digest:
            ministack_persistence.save_state(service, state)
            _digests[service] = digest
            saved.append(service)
    return saved


def _may_change_state(scope: dict[str, Any]) -> bool:
    if scope["method"] in ("GET", "HEAD", "OPTIONS"):
        return False
    target = dict(scope["headers"]).get(b"x-amz-target", b"").decode("latin-1")
    return not target.rpartition(".")[2].startswith(_READING_ACTIONS)


def _flush_until_stopped() -> None:
    pause, last = FLUSH_SECONDS, time.monotonic()
    while not _stopped.wait(pause):
        if not _changed.is_set() and time.monotonic() - last < BACKGROUND_SECONDS:
            continue
        _changed.clear()
        last = time.monotonic()
        try:
            flush()
        except Exception:
            logger.exception("State could not be saved; it is tried again")
            _changed.set()
        pause = max(FLUSH_SECONDS, (time.monotonic() - last) / SHARE_OF_TIME)


def _digest(state: Any) -> str:
    encoded = json.dumps(state, default=ministack_persistence._json_default)
    return hashlib.sha256(encoded.encode()).hexdigest()
