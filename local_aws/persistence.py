"""Keep MiniStack's state on disk while it runs; by itself it saves only when it ends in good order.

Objects in S3 are on disk as soon as a request returns. Everything else (buckets' settings, stacks, functions,
the Glue catalog, job runs, log events) is saved a moment after it changed, so a killed server loses at most
the last FLUSH_SECONDS of it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from typing import Any

from ministack import app as ministack_app
from ministack.core import persistence as ministack_persistence

FLUSH_SECONDS = 3.0
"""How often changed state is written."""

logger = logging.getLogger("local_aws.persistence")

_stopped = threading.Event()
_flusher: threading.Thread | None = None
_digests: dict[str, str] = {}


def install() -> None:
    """Silence MiniStack's line per saved service: it would be most of the log."""
    ministack_persistence.logger.setLevel(logging.WARNING)


def start_flushing() -> None:
    """Save changed state every FLUSH_SECONDS, in a thread, until `stop_flushing`."""
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
            continue
        if state is not None and _digests.get(service) != digest:
            ministack_persistence.save_state(service, state)
            _digests[service] = digest
            saved.append(service)
    return saved


def _flush_until_stopped() -> None:
    while not _stopped.wait(FLUSH_SECONDS):
        try:
            flush()
        except Exception:
            logger.exception("State could not be saved; the next attempt is in %s s", FLUSH_SECONDS)


def _digest(state: Any) -> str:
    encoded = json.dumps(state, default=ministack_persistence._json_default)
    return hashlib.sha256(encoded.encode()).hexdigest()
