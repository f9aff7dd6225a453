"""The commands of README.md and docs/ do what the documents say, in the order in which a reader meets them.

One stack goes through the whole deployment checklist, with the README's steps where the checklist names them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from local_aws import LocalAws
from tests.docs.commands import CHECKLIST, ROOT, Block, blocks, outputs, readme_steps, script, walk_phases

USED_FILES = ("build_pipeline.ipynb", "capstone_pipeline", "glue_scripts", "queries.sql")
FEW_EVENTS = {"EventsPerRunMin": "2000", "EventsPerRunMax": "2500", "GeneratorState": "DISABLED"}
STUDENT = '"ParameterKey=StudentId,ParameterValue=$STUDENT_ID"'
CHANGES = {
    "make venv\n": "",
    "$PWD/.venv/bin": str(Path(sys.executable).parent),
    # A full batch is tried elsewhere.
    STUDENT: " ".join([STUDENT, *(f"ParameterKey={k},ParameterValue={v}" for k, v in FEW_EVENTS.items())]),
    "jupyter notebook build_pipeline.ipynb\n": "",  # Waits for a person.
    "make report\n": 'python -m capstone_pipeline report --student-id "$STUDENT_ID"\n',
}


@dataclass(frozen=True)
class Walked:
    """What the commands of the checklist printed, by the position of their block."""

    blocks: list[Block]
    printed: dict[int, str]
    errors: dict[int, str]
    folder: Path

    def said(self, place: str, *, on_stderr: bool = False) -> str:
        """What the blocks printed whose place begins so."""
        texts = self.errors if on_stderr else self.printed
        return "\n".join(texts[i] for i, block in enumerate(self.blocks) if block.place.startswith(place))


@pytest.fixture(scope="module")
def walked(aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Walked:
    folder = tmp_path_factory.mktemp("checkout")
    for name in (*USED_FILES, "capstone-starter.cfn.yaml"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    commands = walk_phases()
    text = script(commands)
    for written, run in CHANGES.items():
        assert text.count(written) == 1, written
        text = text.replace(written, run)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=folder,
        env={**os.environ, **aws.environment, "AWS_PAGER": ""},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Walked(commands, outputs(done.stdout), outputs(done.stderr), folder)


def test_the_checklist_comes_by_every_step_of_the_readme_once_and_in_order() -> None:
    steps = [block for number in sorted(readme_steps()) for block in readme_steps()[number]]
    assert sorted(readme_steps()) == [0, 1, 2, 3, 4, 5]
    assert [block for block in walk_phases() if block.place.startswith("README")] == steps


VERIFICATIONS = [position for position, block in enumerate(walk_phases()) if block.expected]


@pytest.mark.parametrize("position", VERIFICATIONS, ids=lambda i: walk_phases()[i].place.split(", ")[1])
def test_a_verification_command_shows_what_the_checklist_expects(walked: Walked, position: int) -> None:
    expected = set(walked.blocks[position].expected) - {"UPDATE_COMPLETE"}  # that is after an update
    assert expected
    assert sorted(text for text in expected if text not in walked.printed[position]) == []


def test_the_readme_commands_generate_run_and_query(walked: Walked) -> None:
    assert re.search(r'"event_count": 2\d{3}', (walked.folder / "response.json").read_text())
    assert "1 new file taken in" in walked.said("README.md, step 3")
    assert (walked.folder / "output" / "build_pipeline.html").exists()
    assert "0 new files" in walked.said("README.md, step 4")
    revenue = walked.said("README.md, step 4")
    assert re.search(r"\d{4}-\d\d-\d\d\W+\d+\W+\d+\.\d\d\W+\d+", revenue)


def test_the_readme_takes_its_stack_down(walked: Walked, aws: LocalAws) -> None:
    stacks = aws.client("cloudformation").list_stacks(StackStatusFilter=["CREATE_COMPLETE"])
    assert "capstone-alice" not in {stack["StackName"] for stack in stacks["StackSummaries"]}


def test_no_document_has_commands_that_no_test_runs() -> None:
    """A new document with commands has to be given to one of the tests that run them."""
    run = {CHECKLIST, "README.md"}  # what stands behind the phases by test_operations_document.py
    with_commands = {
        name
        for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
        if blocks(name := str(path.relative_to(ROOT)), "bash")
    }
    assert with_commands <= run
