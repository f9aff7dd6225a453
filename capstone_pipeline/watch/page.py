"""The page: served on loopback, and to nobody else; it renews itself and says how old its figures are.

A page elsewhere cannot read it: a request must name this host, or a name of loopback, as its Host (DNS
rebinding), and no answer allows another origin. It asks for nothing but itself, and holds no secret.
"""

from __future__ import annotations

import contextlib
import errno
import html
import json
import secrets
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from string import Template
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

from capstone_pipeline.errors import PortTaken
from capstone_pipeline.render import duration, plural, when
from capstone_pipeline.watch.figures import ASK_SECONDS, Figures, Snapshot
from capstone_pipeline.watch.keeper import JobKeeper, JobState

HOST = "127.0.0.1"
OLD_AFTER_SECONDS = 3 * ASK_SECONDS
"""Figures that Athena has not confirmed for so long are old."""

_PAGE = Path(__file__).resolve().parents[1] / "templates" / "watch" / "page.html"
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'nonce-{nonce}'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass
class Delivered:
    """What was delivered so far; `trouble` is why the last attempt failed."""

    objects: int = 0
    newest: str = ""
    at: datetime | None = None
    trouble: str = ""

    def add(self, name: str) -> None:
        """Count one more object."""
        self.objects, self.newest, self.at, self.trouble = self.objects + 1, name, datetime.now(UTC), ""


class LivePage:
    """The server of the page, for the length of a `with` block. Raises PortTaken."""

    def __init__(
        self, port: int, title: str, keeper: JobKeeper, figures: Figures, delivered: Delivered
    ) -> None:
        self.title, self._keeper, self._figures, self._delivered = title, keeper, figures, delivered
        self._life = secrets.token_hex(4)  # Another watcher on the same port has other versions.
        try:
            self._server = _Server((HOST, port), _Handler, self)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            raise PortTaken(
                f"The page cannot be served on port {port} of {HOST}: {error.strerror}.",
                "choose another with --port, or leave it out and take a free one:\n"
                "  make watch OPTIONS='--port 0'",
            ) from error

    def __enter__(self) -> LivePage:
        threading.Thread(target=self._server.serve_forever, args=(0.2,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: Any, traceback: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self._server.server_address[1]}/"

    def state(self, have: str) -> dict[str, Any]:
        """What the page shows now; the figures only where the page does not `have` this version."""
        job, figures, now = self._keeper.state, self._figures.snapshot, datetime.now(UTC)
        version = f"{self._life}-{figures.version}"
        return {
            "status": status(job, figures, self._delivered, now),
            "is_old": is_old(job, figures, now),
            "version": version,
            "figures": None if have == version else figures.content or _NOTHING_YET,
        }

    def document(self, nonce: str) -> str:
        """The whole page, complete without its script, too."""
        state = self.state("")
        return Template(_PAGE.read_text(encoding="utf-8")).substitute(
            title=html.escape(self.title),
            nonce=nonce,
            status=state["status"],
            figures=state["figures"],
            version=state["version"],
            old="old" if state["is_old"] else "",
        )


_NOTHING_YET = "<p>No figures yet: they appear when the job has taken in the first object.</p>"


def is_old(job: JobState, figures: Snapshot, now: datetime) -> bool:
    """Whether the figures may be behind: the job does not watch, or Athena does not answer."""
    if figures.answered is None or not figures.content:
        return False
    unanswered = (now - figures.answered).total_seconds()
    is_behind = job.starts > 1 and not _is_heard(job, figures)
    return not job.is_watching or is_behind or bool(figures.trouble) or unanswered > OLD_AFTER_SECONDS


def _is_heard(job: JobState, figures: Snapshot) -> bool:
    """Whether the run has come through its first round, or as far as bronze."""
    return bool(job.run_id) and figures.heard.startswith(job.run_id)


def status(job: JobState, figures: Snapshot, delivered: Delivered, now: datetime) -> str:
    """How old the figures are, how the job is, and what was delivered, as HTML."""
    tone = "good" if job.is_watching else "bad" if job.reason or job.unknown_since else "busy"
    words = str(job)
    if job.is_watching and not _is_heard(job, figures):
        tone, words = "busy", f"{words}; its first round is under way."
    lines = [(tone, words)]
    if figures.newest_event:
        age = duration((now - figures.newest_event).total_seconds())
        lines.append(
            ("", f"The newest event in these figures is {age} old, of {when(figures.newest_event)}.")
        )
    if figures.answered:
        age = duration((now - figures.answered).total_seconds())
        lines.append(("", f"Athena answered {age} ago."))
    if figures.trouble:
        lines.append(("bad", f"There are no newer figures: {figures.trouble}"))
    if is_old(job, figures, now) and figures.answered:
        lines.append(("bad", f"These figures are old: they are as of {when(figures.answered)}."))
    if delivered.at:
        age = duration((now - delivered.at).total_seconds())
        count = plural(delivered.objects, "object")
        lines.append(("", f"Delivered: {count}, the newest, {delivered.newest}, {age} ago."))
    if delivered.trouble:
        lines.append(("bad", f"Nothing is delivered: {delivered.trouble}"))
    return "".join(f'<p class="{tone}">{html.escape(text)}</p>' for tone, text in lines)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = False  # Else two watchers could share a port on some systems.

    def __init__(
        self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], page: LivePage
    ) -> None:
        self.page = page
        super().__init__(address, handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that went away."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """Answers GET for the page and its state, and nothing else."""

    server: _Server
    server_version, sys_version = "capstone", ""
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        port = self.server.server_address[1]
        if self.headers.get_all("Host", []) not in ([f"{HOST}:{port}"], [f"localhost:{port}"]):
            self._answer(403, "text/plain", "This page is served under 127.0.0.1 only.\n")
            return
        url = urlsplit(self.path)
        if url.path == "/":
            nonce = secrets.token_urlsafe(16)
            self._answer(200, "text/html", self.server.page.document(nonce), nonce)
        elif url.path == "/state":
            have = parse_qs(url.query).get("have", [""])[0]
            self._answer(200, "application/json", json.dumps(self.server.page.state(have)))
        else:
            self._answer(404, "text/plain", "There is nothing here but / \n")

    def _answer(self, code: int, kind: str, text: str, nonce: str = "none") -> None:
        body = text.encode("utf-8", "replace")
        self.send_response(code)
        headers = {
            **_HEADERS,
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Length": str(len(body)),
            "Content-Security-Policy": _POLICY.format(nonce=nonce),
        }
        for name, value in headers.items():
            self.send_header(name, value)
        with contextlib.suppress(ConnectionError, TimeoutError):  # Who asked may be gone.
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not worth a line each."""
