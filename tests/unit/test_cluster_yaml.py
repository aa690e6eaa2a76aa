"""The file for Ray's cluster launcher, as far as it can be checked without AWS."""

from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from ray.autoscaler._private.aws.config import _create_default_inbound_rules
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    return content


def test_the_launcher_accepts_it(cluster: dict[str, Any]) -> None:
    inputs = prepare_config(cluster)
    validate_config(inputs)
    assert set(inputs["available_node_types"]) == {"head", "on_demand", "spot"}


def test_nothing_is_open_but_ssh(cluster: dict[str, Any]) -> None:
    """The launcher's own rules are SSH, and all among the nodes of the group."""
    assert cluster["provider"]["security_group"] == {"GroupName": "recsys"}
    rules = _create_default_inbound_rules(["nodes"], [])
    assert [rule["FromPort"] for rule in rules if "IpRanges" in rule] == [22]
    [head] = [command for command in cluster["head_start_ray_commands"] if "ray start" in command]
    assert "--dashboard-host=127.0.0.1" in head


def test_every_node_has_the_profile_and_only_workers_are_spot(cluster: dict[str, Any]) -> None:
    types = cluster["available_node_types"]
    assert all(kind["node_config"]["IamInstanceProfile"] == {"Name": "recsys"} for kind in types.values())
    spot = [name for name, kind in types.items() if "InstanceMarketOptions" in kind["node_config"]]
    assert spot == ["spot"]


def test_the_image_has_the_versions_of_the_requirements(cluster: dict[str, Any]) -> None:
    assert cluster["docker"]["image"] == f"rayproject/ray:{ray.__version__}-py311"
    assert f"=={ray.__version__} " in (ROOT / "requirements.txt").read_text()
