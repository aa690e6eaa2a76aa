"""The shape of the package: imports go upwards only, and libraries stay where they belong.

Every import statement counts, those inside functions and under TYPE_CHECKING too.
"""

import ast
import fnmatch
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

LAYERS = [
    "schema",
    "errors",
    "plugins",
    "specs",
    "arrays",
    "timeline",
    "ids",
    "histories",
    "storage",
    "console",
    "logs",
    "cluster",
    "data",
    "features",
    "retrieval",
    "models",
    "registry",
    "inference",
    "evaluation",
    "config",
    "training",
    "report",
    "studies",
    "jobs",
    "serving",
    "cli",
    "__main__",
]
"""A module may import from its own layer and from those before it."""

OWNERS = {
    "ray": [
        "recsys.cluster",
        "recsys.data.*",
        "recsys.features.statistics",
        "recsys.inference.batch",
        "recsys.training.*",
        "recsys.report.*",
        "recsys.studies.*",
        "recsys.jobs.*",
        "recsys.serving.*",
    ],
    "cmfrec": ["recsys.models.factorization"],
    "lightgbm": ["recsys.models.rankers.lightgbm"],
    "xgboost": ["recsys.models.rankers.xgboost"],
    "xgboost_ray": ["recsys.training.distributed.xgboost"],
    "pickle": [],
    "cloudpickle": [],
    "joblib": [],
    "dill": [],
    "shelve": [],
}
"""The only modules that may import a library."""


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted((ROOT / "recsys").rglob("*.py"))}


def imports_of(name: str) -> set[str]:
    """Full names of what a module imports; of `from a import b` both a.b, where that is a module, and a."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}, line {node.lineno}: write imports in full"
            assert node.module is not None
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            found |= inner or {node.module}
    return found


IMPORTS = {name: imports_of(name) for name in MODULES}


def layer(name: str) -> int:
    """Position of a module's layer; the package itself, which imports nothing, comes before all."""
    parts = name.split(".")
    return LAYERS.index(parts[1]) if len(parts) > 1 else -1


def test_every_module_has_a_layer() -> None:
    assert {name.split(".")[1] for name in MODULES if "." in name} <= set(LAYERS)


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_upwards(name: str) -> None:
    inside = {other for other in IMPORTS[name] if other.split(".")[0] == "recsys"}
    assert inside <= MODULES.keys()
    assert not {other for other in inside if layer(other) > layer(name)}


def test_no_cycles() -> None:
    TopologicalSorter({name: IMPORTS[name] & MODULES.keys() for name in MODULES}).prepare()


def test_training_and_serving_do_not_know_each_other() -> None:
    for name, imports in IMPORTS.items():
        if name.startswith("recsys.serving"):
            assert not {other for other in imports if other.startswith("recsys.training")}, name


@pytest.mark.parametrize("library", OWNERS)
def test_libraries_stay_with_their_owners(library: str) -> None:
    users = {name for name in MODULES if library in {other.split(".")[0] for other in IMPORTS[name]}}
    assert not {user for user in users if not any(fnmatch.fnmatch(user, owner) for owner in OWNERS[library])}


IMPORT_ALL = """
import importlib, sys, threading
for name in sys.argv[1:]:
    importlib.import_module(name)
slow = {"ray", "cmfrec", "lightgbm", "xgboost", "sklearn", "optuna", "matplotlib"}
print(sorted(slow & sys.modules.keys()), threading.active_count())
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


def libraries_reached() -> dict[str, set[str]]:
    """Module to the owned libraries that importing it loads, through any chain of imports."""
    inner = {name: IMPORTS[name] & MODULES.keys() for name in MODULES}
    reached: dict[str, set[str]] = {}
    for name in TopologicalSorter(inner).static_order():
        own = {other.split(".")[0] for other in IMPORTS[name]} & OWNERS.keys()
        reached[name] = own.union(*(reached[other] for other in inner[name]))
    return reached


@pytest.mark.parametrize("part", ["features", "retrieval", "models", "registry", "inference", "evaluation"])
def test_numerics_do_not_reach_ray(part: str) -> None:
    """One user's features and scores are computed where no cluster is, so not even indirectly."""
    reaching = {name for name, libraries in libraries_reached().items() if "ray" in libraries}
    inside = {name for name in reaching if name.split(".")[1] == part}
    assert not {name for name in inside if not any(fnmatch.fnmatch(name, owner) for owner in OWNERS["ray"])}


def test_pure_modules_load_no_framework(tmp_path: Path) -> None:
    names = [name for name, libraries in libraries_reached().items() if not libraries]
    assert {"recsys.schema", "recsys.ids", "recsys.histories", "recsys.registry.locate"} <= set(names)
    assert in_a_process(names, tmp_path) == "[] 1\n"


def test_tasks_that_fit_nothing_load_no_library_that_fits(tmp_path: Path) -> None:
    """A worker is started for every few tasks, and these libraries take seconds."""
    names = [f"recsys.training.{name}" for name in ("tables", "preranker", "examples", "scoring")]
    assert in_a_process(names, tmp_path) == "['ray'] 1\n"


def test_importing_has_no_effects(tmp_path: Path) -> None:
    names = [name for name in MODULES if not name.endswith("__main__")]
    assert in_a_process(names, tmp_path).endswith(" 1\n")  # no thread, file, output or warning
