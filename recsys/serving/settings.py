"""How the service runs: the arguments of `serve run serve_app:app …`, of a Serve config file and of serve_app.py."""

import os
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, field_validator

from recsys.registry.locate import default_registry
from recsys.schema import Config

FAST: Final = {
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    # Every route is a GET that changes nothing, so a request whose replica died is safe to send to another.
    "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
    "RAY_SERVE_HAPROXY_RETRIES": "3",
    # A replica that is stopped finishes its requests for so long; Serve's 30 seconds outlast any deadline of ours.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
}
"""What every node has to have in its environment before Ray starts there."""


def _replicas(value: Any) -> Any:
    """`2` is two replicas, `1-4` one to four by load."""
    low, dash, high = str(value).partition("-")
    try:
        return (int(low), int(high if dash else low))
    except ValueError:
        raise ValueError("expected a number of replicas such as 2, or a range such as 1-4") from None


Replicas = Annotated[tuple[int, int], BeforeValidator(_replicas)]


class ServeSettings(Config):
    """One service. Strings are accepted for every value, since `serve run` passes strings."""

    registry: str = Field(default_factory=default_registry)
    """A folder (an absolute path where the replicas run elsewhere) or s3://bucket/prefix."""
    version: str | None = Field(default_factory=lambda: _variable("MODEL_VERSION"))
    """Serve this version alone; None follows the one in production. Default: MODEL_VERSION."""
    alpha: float | None = Field(default_factory=lambda: _variable("MF_ALPHA"), ge=0, le=1, validate_default=True)
    """Weight of the factorization instead of the version's own. Default: MF_ALPHA."""
    topology: Literal["graph", "fused"] = "graph"
    """`graph`: each stage is a deployment; `fused`: all stages in one, for a small machine."""
    ingress: Replicas = (1, 1)
    """Replicas of the ingress, or of the whole service where it is fused."""
    candidates: Replicas = (1, 1)
    """Replicas of candidate generation, which also makes the ranker's rows."""
    factors: Replicas = (1, 1)
    """Replicas of what folds users into the factorization, where several ask together."""
    rank: Replicas = (1, 1)
    """Replicas of the ranker."""
    cpus: float = Field(0.2, ge=0, allow_inf_nan=False)
    """CPUs that Ray reserves for a replica."""
    clock: Literal["data", "wall"] = "data"
    """What `now` is: the end of the data, so that old data is not judged by today's date, or the time of day."""
    deadline_ms: int = Field(2000, ge=10)
    """A request unanswered for so long ends with 503."""
    max_waiting: int = Field(256, ge=1)
    """Requests of one ingress replica that may wait; further ones get 503 at once."""
    max_batch: int = Field(32, ge=1)
    """Requests that go through the stages together at most."""
    batches: int = Field(2, ge=1)
    """Batches of one ingress replica under way at a time."""
    linger_ms: float = Field(2.0, ge=0, le=1000)
    """What a batch waits for company before it leaves while another one is under way."""
    poll_seconds: float = Field(1.0, gt=0, allow_inf_nan=False)
    """Between two looks at the registry for another version in production."""
    try_apart: bool = True
    """Open a version in a process of its own first: a library that is given a bad file may end the process."""
    log_every: int = Field(100, ge=1)
    """One of so many requests goes to the access log; failures always do."""

    @field_validator("ingress", "candidates", "factors", "rank")
    @classmethod
    def _ascending(cls, replicas: tuple[int, int]) -> tuple[int, int]:
        if not 1 <= replicas[0] <= replicas[1]:
            raise ValueError("expected at least one replica, and a range that ascends")
        return replicas


def _variable(name: str) -> Any:
    """An environment variable as it stands, for pydantic to judge; an empty one counts as absent."""
    return os.environ.get(name) or None
