"""Settings of the service: arguments of `serve run serve_app:app …`, of a Serve config file, and of `--set`."""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from recsys.errors import ConfigError
from recsys.inference.sentences import DEFAULT, load_sentences
from recsys.registry.locate import default_registry
from recsys.schema import Config
from recsys.serving.access.addresses import parse_network
from recsys.serving.access.environment import address_from_environment
from recsys.serving.access.limits import parse_limit

ORIGIN: Final = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?")
"""An origin as a browser writes it: no path, no upper case."""
SHOWN: Final = 80
"""Characters of a value in a message."""


def _replicas(value: Any) -> Any:
    """The bounds of a number of replicas: of `2` two and two, of `1-4` one and four."""
    low, dash, high = str(value).partition("-")
    try:
        return (int(low), int(high if dash else low))
    except ValueError:
        raise ValueError("expected a number of replicas such as 2, or a range such as 1-4") from None


Replicas = Annotated[tuple[int, int], BeforeValidator(_replicas)]
"""Fewest and most replicas; between them the load decides."""


class ServeSettings(Config):
    """One service. Strings are accepted for every value, since `serve run` passes strings."""

    registry: str = Field(default_factory=default_registry)
    """A folder (an absolute path where the replicas run elsewhere) or s3://bucket/prefix."""
    version: str | None = Field(default_factory=lambda: _variable("MODEL_VERSION"))
    """Serve this version alone; null serves the one in production. Default: MODEL_VERSION."""
    versions_kept: int = Field(2, ge=2)
    """Largest number of versions that each replica keeps loaded: the version in production and those served before."""
    alpha: float | None = Field(default_factory=lambda: _variable("MF_ALPHA"), ge=0, le=1, validate_default=True)
    """Weight of the factorization instead of the version's own. Default: MF_ALPHA."""
    topology: Literal["graph", "fused"] = "graph"
    """`graph`: each stage is a deployment; `fused`: all stages in one deployment, for a small machine."""
    ingress: Replicas = (1, 1)
    """Replicas of the ingress; with `fused`, of the whole service."""
    candidates: Replicas = (1, 1)
    """Replicas of candidate generation, which also makes the ranker's rows."""
    factors: Replicas = (1, 1)
    """Replicas that fold users into the factorization, for batches of several users."""
    rank: Replicas = (1, 1)
    """Replicas of the ranker."""
    cpus: float = Field(0.2, ge=0, allow_inf_nan=False)
    """CPUs that Ray reserves for a replica."""
    clock: Literal["data", "wall"] = "data"
    """The present, as of which features are computed: `data` is the end of the data, `wall` the time of day. With
    `wall`, users of old data look as if they had been away since."""
    rules: str | None = None
    """A rules file: its path (absolute where the replicas run elsewhere) or s3://bucket/key. It is read again twice a
    second. Null: no rules but those of requests."""
    keys: str | None = Field(default_factory=address_from_environment)
    """The file of API keys: its path (absolute where the replicas run elsewhere) or s3://bucket/key. It is read again
    twice a second. Default: API_KEYS_FILE; `env:API_KEYS` if API_KEYS has the keys themselves, which each replica then
    reads from its environment; else null, no keys. See [](../how-to/secure.md)."""
    key_limit: str | None = None
    """Requests of one key that a replica of the ingress takes in a time, such as 100/second; further ones get 429. An
    entry of the file of keys may have a limit of its own."""
    address_limit: str | None = None
    """Requests of one client address that a replica of the ingress takes in a time. It needs `trusted_proxies`."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks of the load balancers, such as 10.0.0.0/16, with commas in between. The client address is
    the last one in X-Forwarded-For that is not theirs."""
    cors_origins: tuple[str, ...] = ()
    """Sites whose pages may ask the service in a browser, such as https://shop.example, with commas in between. Without
    any, no answer has headers of CORS."""
    deadline_ms: int = Field(2000, ge=10)
    """Milliseconds after which a request without a response ends with 503."""
    max_waiting: int = Field(256, ge=1)
    """Requests of one ingress replica that may wait; further ones get 503 at once."""
    max_batch: int = Field(32, ge=1)
    """Requests that go through the stages together at most."""
    batches: int = Field(2, ge=1)
    """Batches of one ingress replica under way at a time."""
    max_delay_ms: float = Field(2.0, ge=0, le=1000)
    """Milliseconds for which the next batch waits for further requests while a batch is under way."""
    poll_seconds: float = Field(1.0, gt=0, allow_inf_nan=False)
    """Seconds between two readings of the registry for another version in production."""
    probe: bool = True
    """Try a version in a subprocess before it is loaded: a library that is given a bad file may end its process."""
    probe_seconds: float = Field(30.0, ge=1, allow_inf_nan=False)
    """Seconds after which the trial of a version ends, and 20 more for each full gigabyte of the version. The old
    version is served meanwhile. A slow machine may need more."""
    sentences: Path | None = None
    """A YAML file with a shop's own sentences of explanations by language, see [](../how-to/explain.md)."""
    language: str = DEFAULT
    """The language of these sentences where a request asks for none of the languages there are."""
    log_every: int = Field(100, ge=1)
    """Number n: one of n requests goes to the access log; responses of 500 and above always do."""

    @field_validator("ingress", "candidates", "factors", "rank")
    @classmethod
    def _ascending(cls, replicas: tuple[int, int]) -> tuple[int, int]:
        if not 1 <= replicas[0] <= replicas[1]:
            raise ValueError("expected at least one replica, and a range that ascends")
        return replicas

    @field_validator("trusted_proxies", "cors_origins", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        """A list of a text with commas."""
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("registry", "rules", "keys")
    @classmethod
    def _not_empty(cls, address: str | None) -> str | None:
        """An address that was left empty by mistake must not mean none."""
        if address is not None and not address.strip():
            raise ValueError("expected an address, null for none; found an empty text")
        return address

    @field_validator("key_limit", "address_limit")
    @classmethod
    def _limit(cls, limit: str | None) -> str | None:
        if limit is not None:
            parse_limit(limit)
        return limit

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            parse_network(network)
        return networks

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if not ORIGIN.fullmatch(origin):
                raise ValueError(f"expected sites such as https://shop.example, and no *, found {origin[:SHOWN]!r}")
        return origins

    @model_validator(mode="after")
    def _has_proxies(self) -> "ServeSettings":
        """Without a load balancer a client writes X-Forwarded-For itself."""
        if self.address_limit is not None and not self.trusted_proxies:
            raise ValueError("address_limit needs trusted_proxies, the addresses of the load balancers")
        return self

    @model_validator(mode="after")
    def _has_sentences(self) -> "ServeSettings":
        """A wrong file of sentences is an error before anything starts."""
        try:
            load_sentences(self.sentences, self.language)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self


def _variable(name: str) -> Any:
    """The text of an environment variable, None where it is not set or empty; pydantic checks the text."""
    return os.environ.get(name) or None
