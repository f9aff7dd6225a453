"""cfn-lint and checkov have nothing to say about the templates, and would say something if there were."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cfnlint.api import lint_file
from cfnlint.config import ManualArgs

ROOT = Path(__file__).parent.parent.parent
CHECKOV = ROOT / ".venv-linters" / "bin" / "checkov"
TEMPLATES = sorted(ROOT.glob("*.cfn.yaml"))
SKIP = re.compile(r"^ *# checkov:skip=(CKV_AWS_\d+):(.+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What checkov says of the templates, and of the main one without its suppressions: "bare.cfn.yaml".

    It runs in the linters' environment (`make linters`).
    """
    bare = tmp_path_factory.mktemp("bare") / "bare.cfn.yaml"
    bare.write_text(SKIP.sub("", (ROOT / "capstone-starter.cfn.yaml").read_text()))
    files = [argument for path in [*TEMPLATES, bare] for argument in ("--file", path)]
    options = ["--framework", "cloudformation", "--skip-download", "--compact", "--output", "json"]
    done = subprocess.run([CHECKOV, *files, *options], capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["results"]["parsing_errors"] == []
    return found


def checks(report: dict[str, Any], kind: str, name: str) -> list[tuple[str, str]]:
    """The rules that passed, failed or were skipped in the file of this name, each with its resource."""
    results = report["results"][f"{kind}_checks"]
    return [(one["check_id"], one["resource"]) for one in results if Path(one["file_path"]).name == name]


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_cfn_lint_finds_nothing_to_say(template: Path) -> None:
    assert lint_file(template, ManualArgs(include_checks=["W", "E", "I"])) == []


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_checkov_finds_nothing_but_what_is_suppressed_with_a_reason(
    template: Path, report: dict[str, Any]
) -> None:
    assert checks(report, "failed", template.name) == []
    assert checks(report, "passed", template.name)
    suppressions = SKIP.findall(template.read_text())
    assert all(len(reason.split()) >= 5 for _, reason in suppressions)
    skipped = checks(report, "skipped", template.name)
    assert len(skipped) == len(suppressions), "a suppression that suppresses nothing"


def test_checkov_would_find_what_is_suppressed(report: dict[str, Any]) -> None:
    failed = sorted(rule for rule, _ in checks(report, "failed", "bare.cfn.yaml"))
    suppressed = sorted(rule for rule, _ in SKIP.findall((ROOT / "capstone-starter.cfn.yaml").read_text()))
    assert failed == suppressed != []
