"""Keep web pages out: a browser on this machine reaches loopback for whatever page it shows.

AWS tells callers apart by their signatures; MiniStack does not verify them, and its Lambda API runs code. So
what a page of another origin makes a browser send is refused before anything looks at it. AWS clients send
neither an Origin nor fetch metadata, and only a browser that was led here by a foreign name (DNS rebinding)
sends a foreign Host.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

ASGIApp = Callable[[dict[str, Any], Any, Any], Awaitable[None]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_PERMISSIONS = b"access-control-"

_LOOPBACK_HOST = re.compile(r"(127\.0\.0\.1|\[::1\]|([a-z0-9_-]+\.)*localhost)(:\d+)?", re.IGNORECASE)
"""Names that lead here and nowhere else. `<bucket>.localhost` is how AWS clients spell a bucket's host; names
below localhost are loopback's everywhere (RFC 6761, section 6.3)."""

_OWN_FETCH_SITES = {"same-origin", "none"}
"""Values of Sec-Fetch-Site (W3C, Fetch Metadata): a page of ours, or the user at the address bar. Another
port of localhost is another origin and yet the same site, so `same-site` is foreign too."""


def refusing_web_pages(app: ASGIApp) -> ASGIApp:
    """The application, but 403 for requests of any service and path that a foreign web page may have sent."""

    async def guarded(scope: dict[str, Any], receive: Any, send: Any) -> None:
        refusal = None if scope["type"] == "lifespan" else _refusal(scope["headers"])
        if refusal is None:
            await app(scope, receive, _without_permissions(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # Before it is accepted: a 403.
        else:
            content = f"The embedded AWS refused this request: {refusal}\n".encode()
            headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(content)).encode())]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": content})

    return guarded


def _without_permissions(send: Send) -> Send:
    """Send answers without the headers that let other origins read them, which MiniStack gives to all.

    A browser keeps what its user has opened, and would hand it to a foreign page without asking here.
    """

    async def sent(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            kept = [pair for pair in message["headers"] if not pair[0].lower().startswith(_PERMISSIONS)]
            message = {**message, "headers": kept}
        await send(message)

    return sent


def _refusal(headers: list[tuple[bytes, bytes]]) -> str | None:
    """Why a request with these headers is refused, None for one that is not. A header may come repeatedly."""
    fields: dict[str, list[str]] = {"host": [], "origin": [], "sec-fetch-site": []}
    for name, value in headers:
        fields.get(name.decode("latin-1").lower(), []).append(value.decode("latin-1").strip())
    hosts, origins = fields["host"], {origin.lower() for origin in fields["origin"]}
    if len(hosts) != 1 or not _LOOPBACK_HOST.fullmatch(hosts[0]):
        named = ", ".join(hosts) or "none"
        return f"its Host is {named}. Address it as 127.0.0.1, localhost or a name below localhost."
    if origins - {f"http://{hosts[0].lower()}"}:
        return f"it comes from a web page of {', '.join(sorted(origins))}. Call AWS from a program instead."
    if foreign := set(fields["sec-fetch-site"]) - _OWN_FETCH_SITES:
        return (
            f"it comes from another web page (Sec-Fetch-Site: {', '.join(sorted(foreign))}). "
            "Paste a link's address into the address bar, or call AWS from a program."
        )
    return None
