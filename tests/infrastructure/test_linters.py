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
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What checkov says, by file name; "bare" is the main template without its suppressions."""
    bare = tmp_path_factory.mktemp("bare") / "bare.cfn.yaml"
    bare.write_text(SKIP.sub("", (ROOT / "capstone-starter.cfn.yaml").read_text()))
    return {path.name: checkov(path) for path in [*TEMPLATES, bare]}


def checkov(template: Path) -> dict[str, Any]:
    """The report of checkov, which runs in the linters' environment (`make linters`)."""
    options = ["--framework", "cloudformation", "--skip-download", "--compact", "--output", "json"]
    done = subprocess.run([CHECKOV, "--file", template, *options], capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_cfn_lint_finds_nothing_to_say(template: Path) -> None:
    assert lint_file(template, ManualArgs(include_checks=["W", "E", "I"])) == []


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_checkov_finds_nothing_but_what_is_suppressed_with_a_reason(
    template: Path, reports: dict[str, dict[str, Any]]
) -> None:
    report = reports[template.name]
    failed = [(check["check_id"], check["resource"]) for check in report["results"]["failed_checks"]]
    assert failed == []
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] > 0
    suppressions = SKIP.findall(template.read_text())
    assert all(len(reason.split()) >= 5 for _, reason in suppressions)
    assert report["summary"]["skipped"] == len(suppressions), "a suppression that suppresses nothing"


def test_checkov_would_find_what_is_suppressed(reports: dict[str, dict[str, Any]]) -> None:
    failed = sorted(check["check_id"] for check in reports["bare.cfn.yaml"]["results"]["failed_checks"])
    suppressed = sorted(rule for rule, _ in SKIP.findall((ROOT / "capstone-starter.cfn.yaml").read_text()))
    assert failed == suppressed != []
