"""How the service is deployed: its Serve application, the config file, and the script that starts it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from pydantic import ValidationError
from ray.serve.config import AutoscalingContext
from ray.serve.schema import ServeDeploySchema

from recsys.serving.app import build_app
from recsys.serving.deployments import TARGET_BUSY, by_busy_fraction
from recsys.serving.settings import ServeSettings

ROOT = Path(__file__).resolve().parents[2]


def deployments(app: Any) -> dict[str, Any]:
    """The deployments of an application by name, from the ingress down."""
    found = {app._bound_deployment.name: app._bound_deployment}
    for argument in app._bound_deployment.init_args:
        if hasattr(argument, "_bound_deployment"):
            found |= deployments(argument)
    return found


def test_a_graph_has_a_deployment_for_each_stage_and_fused_has_one() -> None:
    graph = deployments(build_app(ServeSettings()))
    assert list(graph) == ["Ingress", "Candidates", "Factors", "Rank"]
    assert list(deployments(build_app(ServeSettings(topology="fused")))) == ["Ingress"]


def test_each_stage_scales_on_its_own() -> None:
    found = deployments(build_app(ServeSettings.model_validate({"candidates": "2", "rank": "1-4", "cpus": "0.5"})))
    assert found["Candidates"].num_replicas == 2
    assert found["Candidates"]._deployment_config.autoscaling_config is None
    bounds = found["Rank"]._deployment_config.autoscaling_config
    assert (bounds.min_replicas, bounds.max_replicas) == (1, 4)
    assert bounds.policy.get_policy().__qualname__ == by_busy_fraction.__qualname__
    assert {deployment.ray_actor_options["num_cpus"] for deployment in found.values()} == {0.5}


@pytest.mark.parametrize(("fractions", "wanted"), [((0.3,), 0.5), ((0.9, 0.9, 0.6), 4.0), ((), 2)])
def test_replicas_follow_the_fraction_of_time_they_are_busy(fractions: tuple[float, ...], wanted: float) -> None:
    metrics = {"busy": dict(enumerate(fractions))} if fractions else None
    context = cast(AutoscalingContext, SimpleNamespace(aggregated_metrics=metrics, target_num_replicas=2))
    assert TARGET_BUSY == 0.6
    assert by_busy_fraction(context)[0] == pytest.approx(wanted)


def test_the_config_file_fits_the_application() -> None:
    config = yaml.safe_load((ROOT / "serve.yaml").read_text())
    [application] = ServeDeploySchema.model_validate(config).applications
    assert application.import_path == "serve_app:app"
    settings = ServeSettings.model_validate(application.args)
    named = {deployment.name for deployment in application.deployments}
    assert named == set(deployments(build_app(settings)))


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ({"topology": "star"}, "topology"),
        ({"rank": "0"}, "rank"),
        ({"rank": "4-1"}, "rank"),
        ({"ranks": "1"}, "ranks"),
        ({"alpha": "1.5"}, "alpha"),
    ],
)
def test_a_wrong_setting_is_named(setting: dict[str, str], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        ServeSettings.model_validate(setting)
