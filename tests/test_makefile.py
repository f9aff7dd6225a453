"""The Makefile: what it offers, and what it says on a machine that cannot run the project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAKEFILE = ROOT / "Makefile"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """An empty checkout under a path with spaces."""
    folder = tmp_path / "my capstone"
    folder.mkdir()
    for name in ("Makefile", "requirements.txt", "pyproject.toml", "packages/local-aws/pyproject.toml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make as from a shell, also when these tests were started by make."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))
    }
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


def executable(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_make_alone_lists_every_target() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE.read_text(), re.MULTILINE)
    assert phony is not None
    listed = [line.split()[0] for line in make(ROOT).stdout.splitlines()]
    assert sorted(listed) == sorted(phony[1].split())


def test_a_python_that_is_too_old_is_refused_by_name(checkout: Path, tmp_path: Path) -> None:
    pretend = "import sys; sys.version_info = (3, 9, 0); sys.version = '3.9.0 old'; exec(sys.argv[1])"
    old = executable(tmp_path / "python3.9", f'exec "{sys.executable}" -c "{pretend}" "$2"')
    done = make(checkout, "venv", f"PYTHON={old}")
    assert done.returncode != 0
    assert "is Python 3.9.0, but 3.11 or later is needed" in done.stderr
    assert not (checkout / ".venv").exists()


def test_without_any_python_the_error_says_what_to_install(checkout: Path) -> None:
    done = make(checkout, "venv", "PYTHON=")
    assert done.returncode != 0
    assert "No python3 found. Install Python 3.11" in done.stderr


def test_the_environment_is_made_once_also_under_a_path_with_spaces(checkout: Path, tmp_path: Path) -> None:
    # Stands for a Python whose `-m venv` and pip do nothing but say so.
    calls = tmp_path / "calls"
    fake = (
        f'case "$1" in -c) exec "{sys.executable}" "$@";; esac\n'
        f'echo "$@" >> "{calls}"\n'
        'if [ "$2" = venv ]; then mkdir -p .venv/bin && cp "$0" .venv/bin/python; fi'
    )
    python = executable(tmp_path / "python3.11", fake)
    for _ in range(2):
        done = make(checkout, "venv", f"PYTHON={python}")
        assert done.returncode == 0, done.stderr
    made, installed, connector = calls.read_text().splitlines()
    assert made == "-m venv .venv"
    assert installed.endswith("--requirement requirements.txt")
    assert connector == "-m local_aws.glue.s3a"
