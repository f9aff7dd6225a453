"""Every notebook in JupyterLab, in a real browser: opened as committed, then run from top to bottom.

Pictures of all of them are left in pytest's temporary folder, to be looked at.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page

from capstone_pipeline import Shop
from tests.browser import in_a_browser, running_browser
from tests.notebooks.conftest import ROOT
from tests.outputs import code_cells, read

NAMES = (
    "build_pipeline.ipynb",
    "notebooks/explore_events.ipynb",
    "notebooks/validate_results.ipynb",
    "notebooks/dashboard.ipynb",
    "notebooks/data_quality.ipynb",
    "notebooks/more_answers.ipynb",
)
SECONDS_TO_START, SECONDS_TO_RUN = 60, 120
# No news and no question about them; the application's commands for the test; all cells in the page at once;
# no look at whether JupyterLab's own assets should be built anew, with Node, at each page.
OPTIONS = (
    "--no-browser",
    "--allow-root",
    "--IdentityProvider.token=",
    "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    "--LabApp.expose_app_in_browser=True",
)
SETTINGS = {
    "settings/@jupyterlab/notebook-extension/tracker.jupyterlab-settings": {"windowingMode": "none"},
    "config/labconfig/page_config.json": {"buildCheck": False},
}
BROKEN = "[...document.querySelectorAll('.jp-Notebook img')].filter(i => !i.naturalWidth).map(i => i.alt)"
# Asked before there is a kernel, JupyterLab clears all cells, runs none, and says that it did.
HAS_KERNEL = "window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"

pytestmark = in_a_browser


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The notebooks as committed."""
    for name in NAMES:
        copy = tmp_path / "lab" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy)
    return tmp_path / "lab"


@contextmanager
def running_lab(folder: Path) -> Iterator[str]:
    """A JupyterLab over the folder, with settings of its own; its address."""
    home = folder.parent / "jupyter"
    for name, content in SETTINGS.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = {name: str(home / name) for name in ("config", "data", "runtime")}
    environment = {
        **os.environ,
        **{f"JUPYTER_{name.upper()}_DIR": place for name, place in places.items()},
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
    }
    command = [sys.executable, "-m", "jupyterlab", *OPTIONS, f"--ServerApp.port={port}"]
    address = f"http://127.0.0.1:{port}"
    with (home / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + SECONDS_TO_START
            while not answers(address):
                assert server.poll() is None and time.monotonic() < deadline, (home / "log").read_text()
                time.sleep(0.2)
            yield address
        finally:
            server.terminate()
            server.wait(timeout=30)


def answers(address: str) -> bool:
    try:
        return requests.get(f"{address}/api/status", timeout=5).ok
    except requests.ConnectionError:
        return False


def photograph(page: Page, path: Path) -> None:
    """The whole notebook in one picture, from its first cell: the last one that ran is in view."""
    height = page.evaluate("document.querySelector('.jp-Notebook .jp-WindowedPanel-inner').scrollHeight")
    page.set_viewport_size({"width": 1280, "height": min(int(height) + 200, 12_000)})
    page.evaluate("document.querySelector('.jp-Notebook .jp-WindowedPanel-outer').scrollTo(0, 0)")
    page.screenshot(path=path)
    page.set_viewport_size({"width": 1280, "height": 900})


def test_every_notebook_opens_and_runs_in_jupyterlab(shop: Shop, folder: Path) -> None:
    with running_lab(folder) as address, running_browser() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(SECONDS_TO_RUN * 1000)
        for name in NAMES:
            page.goto(f"{address}/lab/tree/{name}?reset")
            page.wait_for_selector(".jp-Notebook .jp-MarkdownOutput h1")
            page.wait_for_function(HAS_KERNEL)
            assert page.evaluate(BROKEN) == [], f"{name} as committed"
            page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
            page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
            photograph(page, folder / f"{Path(name).stem}.png")
            assert page.evaluate(BROKEN) == [], f"{name} after a run"
            cells = code_cells(read(folder / name))
            assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), name
            kinds = {output.output_type for cell in cells for output in cell.outputs}
            assert kinds <= {"execute_result", "display_data"}, name
