"""A real browser for the tests of pages: `make browser` installs one, CHROMIUM names another."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

# The shell of Chromium alone renders the same pages for two thirds of the CPU time.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)

in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome found: see `make browser`")


@contextmanager
def running_browser() -> Iterator[Browser]:
    """A Chromium without a window, for the length of a `with` block."""
    with sync_playwright() as playwright:
        # Root, as in a container, may not use Chromium's sandbox; the pages are our own.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()
