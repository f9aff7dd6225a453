"""README.md: its commands work as they stand, and what it names exists."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import capstone_pipeline
from local_aws.server import LocalAws

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
USED_FILES = ("build_pipeline.ipynb", "capstone_pipeline", "glue_scripts", "queries.sql")


def section(title: str) -> str:
    """The text below a heading, up to the next one of the same level."""
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def commands(text: str) -> str:
    """The code blocks of a text, as one script."""
    return "\n".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the commands of the README need of the repository."""
    for name in (*USED_FILES, "capstone-starter.cfn.yaml"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_the_aws_commands_work_in_their_order_with_the_stock_cli(aws: LocalAws, checkout: Path) -> None:
    student = '"ParameterKey=StudentId,ParameterValue=$STUDENT_ID"'
    few_events = " ".join(
        f"ParameterKey={name},ParameterValue={value}"
        for name, value in {
            "EventsPerRunMin": 2000,
            "EventsPerRunMax": 2500,
            "GeneratorState": "DISABLED",
        }.items()
    )
    script = commands(section("On AWS"))
    for written, run in {
        "make venv\n": "",
        "$PWD/.venv/bin": str(Path(sys.executable).parent),
        student: f"{student} {few_events}",  # A full batch is tried elsewhere.
        "jupyter notebook build_pipeline.ipynb\n": "",  # Waits for a person.
        "make report\n": 'python -m capstone_pipeline report --student-id "$STUDENT_ID"\n',
        "do sleep 10; done": "do sleep 1; done",
    }.items():
        assert script.count(written) == 1, written
        script = script.replace(written, run)

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=checkout,
        env={**os.environ, **aws.environment, "AWS_PAGER": ""},
        capture_output=True,
        text=True,
        timeout=900,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r'"event_count": 2\d{3}', done.stdout)
    assert "1 new file taken in" in done.stdout
    assert "SUCCEEDED" in done.stderr
    assert '{"layer": "bronze", "files": 0' in done.stdout  # the log of the second run
    assert re.search(r"^\d{4}-\d\d-\d\d\t\d+\t\d+\.\d\d\t\d+$", done.stdout, re.MULTILINE)  # hourly revenue
    assert (checkout / "output" / "build_pipeline.html").exists()
    stacks = aws.client("cloudformation").list_stacks(StackStatusFilter=["CREATE_COMPLETE"])
    assert "capstone-alice" not in {stack["StackName"] for stack in stacks["StackSummaries"]}


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = re.sub(r"\bmake (?:-s|[A-Z_]+=\S+) ", "make ", README)
    named = set(re.findall(r"`make ([a-z]+)`|^make ([a-z]+)$", text, re.MULTILINE))
    assert {first or second for first, second in named} <= targets


def test_every_path_that_is_named_exists() -> None:
    first_cells = re.findall(r"^\| (`[^|]+) \|", section("What is where"), re.MULTILINE)
    paths = {path for cell in first_cells for path in re.findall(r"`([^`]+)`", cell)}
    paths |= set(re.findall(r"\]\(([^)]+)\)", README))
    assert len(paths) > 8
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_error_that_is_explained_exists() -> None:
    named = re.findall(r"^\| `([A-Z]\w+)` \|", section("When something goes wrong"), re.MULTILINE)
    assert len(named) >= 8
    assert [name for name in named if not hasattr(capstone_pipeline, name)] == []


def test_every_setting_of_notebook_and_stack_exists() -> None:
    notebook = (ROOT / "build_pipeline.ipynb").read_text()
    template = (ROOT / "capstone-starter.cfn.yaml").read_text()
    for where, names in re.findall(r"^\| (notebook|stack) \| ([^|]+) \|", section("Settings"), re.MULTILINE):
        for name in re.findall(r"`(\w+)`", names):
            declared = f'"{name} = ' in notebook if where == "notebook" else f"\n  {name}:\n" in template
            assert declared, f"{where} has no {name}"
