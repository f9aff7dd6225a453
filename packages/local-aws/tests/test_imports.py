"""No module imports itself by way of others, wherever the import stands, and each can be imported first."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

import local_aws

ROOT = Path(local_aws.__file__).parent
RUNTIME = ROOT / "runtime"


def _modules() -> dict[str, Path]:
    """Every module by its name; those of the runtime as a job's script names them."""
    modules = {}
    for path in ROOT.rglob("*.py"):
        base = RUNTIME if path.is_relative_to(RUNTIME) and path.parent != RUNTIME else ROOT.parent
        parts = path.relative_to(base).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


def _imported(node: ast.AST, package: str) -> Iterator[str]:
    """What a piece of code imports, but for types only."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            module = resolve_name("." * child.level + (child.module or ""), package)
            yield module
            yield from (f"{module}.{alias.name}" for alias in child.names)
        else:
            yield from _imported(child, package)


def _imports() -> dict[str, set[str]]:
    """What each module imports, by the names of modules and of what is in them."""
    imports = {}
    for name, path in _modules().items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        found = set(_imported(ast.parse(path.read_text()), package))
        imports[name] = {target.removeprefix("local_aws.runtime.") for target in found}
    return imports


def _graph() -> dict[str, set[str]]:
    modules, graph = _modules(), {}
    for name, found in _imports().items():
        # `from package import module` is an import of the module: the package itself has run by then.
        narrower = {target.rpartition(".")[0] for target in found if target in modules}
        graph[name] = {target for target in found - narrower if target in modules} - {name}
    return graph


def test_no_module_imports_itself_by_way_of_others() -> None:
    try:
        TopologicalSorter(_graph()).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_each_module_can_be_imported_first() -> None:
    names = sorted(name for name in _modules() if not name.endswith("__main__"))
    ours = {name.split(".")[0] for name in names}
    others = sorted(one for one in set().union(*_imports().values()) if one.split(".")[0] not in ours)
    program = (
        "import contextlib, importlib, os, sys\n"
        f"sys.path.insert(0, {str(RUNTIME)!r})\n"
        f"for other in {others}:\n"  # Once for all, as they take a second. Of some, it is a name in a module.
        "    with contextlib.suppress(ImportError):\n"
        "        importlib.import_module(other)\n"
        "for name in sys.argv[1:]:\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        try:\n"
        "            importlib.import_module(name)\n"
        "        except Exception as error:\n"
        "            if type(error).__name__ != 'NotReproduced': raise\n"  # What it says on import.
        "        os._exit(0)\n"
        "    if os.waitpid(child, 0)[1]:\n"
        "        sys.exit(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, *names], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
