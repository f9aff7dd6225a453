"""What is installed: the checkout itself, so that notebooks and commands find it from any folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_product_and_notebooks_are_found_from_another_folder(tmp_path: Path) -> None:
    code = "import capstone_pipeline, notebooks.recompute; print(len(capstone_pipeline.read_queries()))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "5\n", f"install the checkout, `make venv`:\n{done.stderr}"
