"""Names that an event may carry and that a page, a plot or a terminal could obey instead of show."""

from __future__ import annotations

SCRIPT = "<img src=x onerror=window.hit=1><script>window.hit=1</script>"

AWKWARD_NAMES = (
    "$a$ and $b$",
    "$\\frac$",
    "_hidden",
    SCRIPT,
    "</script><script>window.hit=1</script>",
    '\'" onmouseover="window.hit=1',
    "{{constructor.constructor('window.hit=1')()}}",
    "\x00\x1b[31m\x0b",
    "two\nlines\r\ttab",
    "\u2028\u2029\u202eright to left",
    "\ufffe\ue000",
    "-->]]>&amp;%s{x}",
    "日本語 😀 n\u0303",
    "2025-01-01",
    "1e5",
    "x" * 5_000,
)
