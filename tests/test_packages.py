"""What is installed: the checkout itself, found from any folder, and what each command needs."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
RUNS = re.compile(r"\$\(BIN\)/python (?:-m )?(?P<module>\w+)(?:\.py)?(?: (?P<command>[a-z]+))?")
TOOLS = {
    "embed": "tools.embed",
    "diagram": "tools.architecture",
    "blog": "tools.blog",
    "figures": "tools.figures",
}


def test_product_and_notebooks_are_found_from_another_folder(tmp_path: Path) -> None:
    code = "import capstone_pipeline, notebooks.recompute; print(len(capstone_pipeline.read_queries()))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "5\n", f"install the checkout, `make venv`:\n{done.stderr}"


def test_commands_of_a_shell_load_no_plots() -> None:
    code = "import capstone_pipeline.__main__, sys; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)


def installed_with(requirements: Iterable[str]) -> set[str]:
    """The names of the distributions that these bring, themselves included."""
    names, waiting = set[str](), [Requirement(one) for one in requirements]
    while waiting:
        one = waiting.pop()
        names.add(name := canonicalize_name(one.name))
        extras = [{"extra": extra} for extra in (*one.extras, "")]
        for each in map(Requirement, importlib.metadata.requires(name) or ()):
            is_needed = each.marker is None or any(map(each.marker.evaluate, extras))
            if is_needed and (each.extras or canonicalize_name(each.name) not in names):
                waiting.append(each)
    return names


def only_for_development() -> set[str]:
    """The modules that `make dev` brings and `make venv` does not."""
    without_paths = re.findall(r"^\w[^#\n]*", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    needed = installed_with([*without_paths, "local-aws", "capstone-pipeline", "pip", "setuptools"])
    owners = importlib.metadata.packages_distributions()
    return {
        module for module, names in owners.items() if not {canonicalize_name(name) for name in names} & needed
    }


def test_targets_that_make_the_smaller_environment_need_no_more() -> None:
    refused = only_for_development()
    assert {"pytest", "cfnlint", "mypy"} <= refused and not {"boto3", "psutil", "pip"} & refused
    modules = set()
    for rule in re.findall(r"^[a-z-]+: venv .*\n(?:\t.*\n)+", (ROOT / "Makefile").read_text(), re.MULTILINE):
        for run in RUNS.finditer(rule.replace("$(RUN)", "$(BIN)/python -m capstone_pipeline")):
            modules.add(TOOLS[run["command"]] if run["module"] == "tools" else run["module"])
    assert {"demo", "watch_demo", "capstone_pipeline", *TOOLS.values()} == modules
    modules |= {f"{one}.__main__" for one in modules if (ROOT / one / "__main__.py").exists()}
    code = f"""
import importlib, sys
sys.modules |= dict.fromkeys({sorted(refused)})
for module in {sorted(modules)}:
    importlib.import_module(module)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"needs what only `make dev` installs:\n{done.stderr}"
