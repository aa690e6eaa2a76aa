"""The Serve application: its deployments, and how each of them scales."""

from collections.abc import Sequence
from typing import Any, Final

from ray import serve
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy
from ray.serve.schema import LoggingConfig

from recsys.serving.deployments import CandidateReplica, FactorReplica, Ingress, RankReplica, by_busy_fraction
from recsys.serving.settings import ServeSettings

QUIET: Final = LoggingConfig(enable_access_log=False, log_level="WARNING")
"""Serve's own log. The ingress keeps the access log: a line for each stage would cost more than the stage."""
UNBOUNDED: Final = 100_000
"""Calls that Serve lets wait. The service bounds its own queue, and answers 503 beyond it."""
TARGET_REQUESTS: Final = 16
"""Requests under way in a replica of the ingress, above which another replica is started."""
HEALTH_SECONDS: Final = 1.0
"""Serve looks so often whether a replica lives. It starts another one for a dead one."""
STAGES: Final = (CandidateReplica, FactorReplica, RankReplica)


def build_app(settings: ServeSettings) -> serve.Application:
    """The deployment graph for these settings."""
    return assemble(settings, STAGES, Ingress)


def assemble(settings: ServeSettings, stages: Sequence[type[Any]], ingress: type[Any]) -> serve.Application:
    """The deployment graph of these classes; stages: in the order of STAGES. A benchmark passes classes of its own."""
    by_busy = {"policy": AutoscalingPolicy(policy_function=by_busy_fraction)}  # type: ignore[no-untyped-call]
    replicas = {"Candidates": settings.candidates, "Factors": settings.factors, "Rank": settings.rank}
    handles = [
        _deploy(stage, name, _scaling(replicas[name], by_busy), settings).bind(settings)
        for stage, name in (zip(stages, replicas, strict=True) if settings.topology == "graph" else ())
    ]
    scaling = _scaling(settings.ingress, {"target_ongoing_requests": TARGET_REQUESTS})
    return _deploy(serve.ingress()(ingress), "Ingress", scaling, settings).bind(settings, *handles)


def _deploy(replica: type[Any], name: str, scaling: dict[str, Any], settings: ServeSettings) -> serve.Deployment:
    return serve.deployment(
        name=name,
        ray_actor_options={"num_cpus": settings.cpus},
        max_ongoing_requests=UNBOUNDED,
        health_check_period_s=HEALTH_SECONDS,
        logging_config=QUIET,
        graceful_shutdown_timeout_s=settings.deadline_ms / 1000 + 1,
        **scaling,
    )(replica)


def _scaling(replicas: tuple[int, int], policy: dict[str, Any]) -> dict[str, Any]:
    """Serve's arguments for a number of replicas; policy: arguments of AutoscalingConfig beside the bounds."""
    low, high = replicas
    if low == high:
        return {"num_replicas": low}
    return {"autoscaling_config": AutoscalingConfig(min_replicas=low, max_replicas=high, **policy)}
