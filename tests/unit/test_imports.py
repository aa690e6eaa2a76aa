"""The shape of the package: imports go upwards only, and libraries stay where they belong.

Every import statement counts, those inside functions and under TYPE_CHECKING too.
"""

import fnmatch
from graphlib import TopologicalSorter

import pytest

from tests.support.modules import IMPORTS, MODULES, libraries_reached

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
    "sessions",
    "rules",
    "registry",
    "inference",
    "evaluation",
    "gates",
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
        "recsys.inference.related_batch",
        "recsys.inference.session_batch",
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


@pytest.mark.parametrize(
    "part", ["features", "retrieval", "models", "sessions", "rules", "registry", "inference", "evaluation"]
)
def test_numerics_do_not_reach_ray(part: str) -> None:
    """One user's features and scores are computed where no cluster is, so not even indirectly."""
    reaching = {name for name, libraries in libraries_reached(OWNERS).items() if "ray" in libraries}
    inside = {name for name in reaching if name.split(".")[1] == part}
    assert not {name for name in inside if not any(fnmatch.fnmatch(name, owner) for owner in OWNERS["ray"])}
