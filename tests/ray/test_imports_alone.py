"""Importing the package in a process of its own: without effects, and without libraries that a part has no use for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.modules import MODULES, ROOT, libraries_reached

SLOW = {"ray", "cmfrec", "lightgbm", "xgboost", "sklearn", "optuna", "matplotlib"}
IMPORT_ALL = f"""
import importlib, sys, threading
SLOW = {SLOW!r}
for name in sys.argv[1:]:
    importlib.import_module(name)
print(sorted(SLOW & sys.modules.keys()), threading.active_count())
"""

SERVES_OWN = "ignore:Using extra keyword arguments on `Field`"
"""A warning that importing Ray Serve gives."""


def in_a_process(names: list[str], folder: Path) -> str:
    """Import modules in a fresh process whose working and home folder is `folder`; what it prints."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-W", SERVES_OWN, "-c", IMPORT_ALL, *names],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stderr == ""
    assert not list(folder.iterdir())
    return result.stdout


def test_pure_modules_load_no_framework(tmp_path: Path) -> None:
    names = [name for name, libraries in libraries_reached(SLOW).items() if not libraries]
    assert {"recsys.schema", "recsys.ids", "recsys.histories", "recsys.registry.locate"} <= set(names)
    assert in_a_process(names, tmp_path) == "[] 1\n"


def test_tasks_that_fit_nothing_load_no_library_that_fits(tmp_path: Path) -> None:
    """A worker is started for every few tasks, and these libraries take seconds."""
    names = [f"recsys.training.{name}" for name in ("tables", "preranker", "examples", "scoring")]
    names += [name for name in MODULES if name.startswith("recsys.report.sections.")]  # which draw their figures
    assert in_a_process(names, tmp_path) == "['ray'] 1\n"


def test_importing_has_no_effects(tmp_path: Path) -> None:
    names = [name for name in MODULES if not name.endswith("__main__")]
    assert in_a_process(names, tmp_path).endswith(" 1\n")  # no thread, file, output or warning


LOADED = """
import sys
from recsys.cli import main
code = main(sys.argv[1:])
slow = {"ray", "cmfrec", "lightgbm", "xgboost", "sklearn", "optuna", "matplotlib", "pandas"}
print(code, sorted(slow & sys.modules.keys()))
"""


@pytest.mark.parametrize("arguments", ["--help", "train --help", "--version", "models list --registry empty"])
def test_light_commands_load_no_framework(arguments: str, tmp_path: Path) -> None:
    (tmp_path / "empty" / "versions").mkdir(parents=True)
    command = [sys.executable, "-c", LOADED, *arguments.split()]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
