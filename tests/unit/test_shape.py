"""The shape of the code: short modules, short functions, and tests that use public names alone."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.modules import MODULES, ROOT

MODULE_LINES, FUNCTION_LINES = 300, 50

RAY_SERVE_ONLY = {"_bound_deployment", "_deployment_config"}
"""Ray Serve shows in no other way which deployments an application has."""
NAMED_TUPLES = {"_asdict", "_fields", "_make", "_replace"}
"""Public in spite of their names."""

TESTS = {path.relative_to(ROOT).as_posix(): path for path in sorted((ROOT / "tests").rglob("*.py"))}


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def is_private(name: str) -> bool:
    return bool(re.match(r"_(?!_)", name)) and name not in NAMED_TUPLES | RAY_SERVE_ONLY


@pytest.mark.parametrize("name", MODULES)
def test_modules_and_functions_are_short(name: str) -> None:
    path = MODULES[name]
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MODULE_LINES
    functions = [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {f"{name}.{node.name}" for node in functions if node.end_lineno - node.lineno >= FUNCTION_LINES}
    assert long == set()


def private_uses(node: ast.AST) -> Iterator[str]:
    """Private names of others that a node imports, reads, or names to `setattr`."""
    if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "recsys":
        yield from (alias.name for alias in node.names if is_private(alias.name))
    if isinstance(node, ast.Attribute) and is_private(node.attr):
        own = isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}
        yield from () if own else (ast.unparse(node),)
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("setattr", "delattr", "getattr")):
        texts = [part.value for part in node.args if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        yield from (text for text in texts if is_private(text.rpartition(".")[2]))


@pytest.mark.parametrize("name", TESTS)
def test_tests_use_public_names_alone(name: str) -> None:
    """A private name in a test shows that the package lacks a seam."""
    assert {use for node in ast.walk(tree(TESTS[name])) for use in private_uses(node)} == set()


def test_test_files_lie_in_the_folder_of_what_they_start() -> None:
    assert {path.parent.name for path in TESTS.values() if path.name.startswith("test_")} == {"unit", "ray", "browser"}


def test_a_unit_test_cannot_start_a_process() -> None:
    with pytest.raises(RuntimeError, match="it belongs into tests/ray"):
        subprocess.run(["true"], check=False)
