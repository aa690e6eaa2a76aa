"""All metrics of the service: names, units, labels and buckets. Nothing else in the code names a metric.

A label has few values, all known to the code or to a version: never an id of a user, an item or a request.
"""

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["counter", "gauge", "histogram"]
PREFIX: Final = "ray_"
"""Ray's exporter puts this before every name."""
OTHER_ROUTE: Final = "other"
"""The label of requests for a path that no route has."""
PARTS: Final[dict[Kind, tuple[str, ...]]] = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
}
"""The ends of the names of a metric's series, as Prometheus has them."""
LE: Final = "le"
"""The label of a bucket: its upper bound, included."""

LATENCY: Final = (
    *(0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.0, 3.0),
)
"""Seconds; from a stage of a small shop up to beyond the usual deadline."""
SIZES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One metric; labels: names of its own labels, beside those of Ray; bounds: of the buckets of a histogram."""

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    meaning: str
    bounds: tuple[float, ...] = ()

    @property
    def series(self) -> tuple[str, ...]:
        """The names under which Prometheus finds the metric."""
        return tuple(f"{PREFIX}{self.name}{part}" for part in PARTS[self.kind])


REQUESTS: Final = Metric(
    "recsys_requests",
    "counter",
    "requests",
    ("route", "status"),
    "Requests that a replica has answered, by the template of the route and the status code.",
)
REQUEST_SECONDS: Final = Metric(
    "recsys_request_seconds",
    "histogram",
    "seconds",
    ("route",),
    "Time from the arrival of a request at a replica to the end of its response.",
    LATENCY,
)
STAGE_SECONDS: Final = Metric(
    "recsys_stage_seconds",
    "histogram",
    "seconds",
    ("stage", "topology"),
    "Time of a batch in each stage as the ingress sees it; with `graph`, calls of other replicas are included. "
    "`queue` is the wait of a request for its batch.",
    LATENCY,
)
COMPUTE_SECONDS: Final = Metric(
    "recsys_compute_seconds",
    "histogram",
    "seconds",
    ("stage",),
    "With `graph`: time that a replica of a stage computes for a batch.",
    LATENCY,
)
STAGE_FAILURES: Final = Metric(
    "recsys_stage_failures",
    "counter",
    "calls",
    ("stage",),
    "With `graph`: calls that found no living replica, and calls in which a replica failed.",
)
BATCH_REQUESTS: Final = Metric(
    "recsys_batch_requests", "histogram", "requests", (), "Requests that went through the stages together.", SIZES
)
WAITING: Final = Metric(
    "recsys_waiting_requests",
    "gauge",
    "requests",
    (),
    "Requests that waited for a batch at the same time; the most since the last second.",
)
REFUSALS: Final = Metric(
    "recsys_refusals",
    "counter",
    "requests",
    ("reason",),
    "Requests that a replica answered with 503: `overloaded`, `deadline`, `not_ready` or `unavailable`.",
)
CANDIDATES: Final = Metric(
    "recsys_candidates", "counter", "items", ("source",), "Candidates that each source proposed to the ranker."
)
LISTED_ITEMS: Final = Metric(
    "recsys_listed_items",
    "counter",
    "items",
    ("source",),
    "Recommended items that each source proposed; an item may have several sources.",
)
LISTS: Final = Metric(
    "recsys_lists",
    "counter",
    "lists",
    ("visitor", "filled"),
    "Lists by visitor (`warm`, `cold`, `session`; `none` for lists that need no user) and by length: `full` has the "
    "number that was asked for, `short` has fewer, `empty` has none.",
)
FILTERED_ITEMS: Final = Metric(
    "recsys_filtered_items",
    "counter",
    "items",
    (),
    "Items that filters, rules or missing availability kept out of a ruled list, counted while candidates are made.",
)
VERSION_HELD: Final = Metric(
    "recsys_version_held",
    "gauge",
    "1 or 0",
    ("version",),
    "1 for a version that the replica has loaded, 0 for one that it dropped.",
)
VERSION_SERVED: Final = Metric(
    "recsys_version_served", "gauge", "1 or 0", ("version",), "1 for the version that new requests get."
)
VERSION_AGE: Final = Metric(
    "recsys_version_age_seconds", "gauge", "seconds", (), "Time since the version that is served was made."
)
VERSION_REFUSED: Final = Metric(
    "recsys_version_refused",
    "gauge",
    "1 or 0",
    (),
    "1 while the version in production cannot be served and an older one is.",
)
REGISTRY_UNREADABLE: Final = Metric(
    "recsys_registry_unreadable_seconds",
    "gauge",
    "seconds",
    (),
    "Time since the registry cannot be read; 0 while it can.",
)
RULES_UNUSABLE: Final = Metric(
    "recsys_rules_unusable_seconds",
    "gauge",
    "seconds",
    (),
    "Time since the rules file as it is cannot be used; 0 while it can, or without one.",
)
KEYS_UNUSABLE: Final = Metric(
    "recsys_keys_unusable_seconds",
    "gauge",
    "seconds",
    (),
    "Time since the file of keys as it is cannot be used; 0 while it can, or without one.",
)
RETRAIN_AGE: Final = Metric(
    "recsys_retrain_age_seconds",
    "gauge",
    "seconds",
    (),
    "Time since the last decision of `recsys retrain` about this registry; absent where there was none.",
)
RETRAIN_OUTCOME: Final = Metric(
    "recsys_retrain_outcome",
    "gauge",
    "1 or 0",
    ("outcome",),
    "1 for the outcome of that decision: `promoted`, `kept` or `refused`; absent where there was none.",
)
REPLICA: Final = Metric("recsys_replica", "gauge", "1", (), "1 for each living replica; count them by `deployment`.")
REPLICAS_WANTED: Final = Metric(
    "recsys_replicas_wanted", "gauge", "replicas", ("of",), "Fewest replicas of each deployment by the settings."
)

METRICS: Final = (
    *(REQUESTS, REQUEST_SECONDS, STAGE_SECONDS, COMPUTE_SECONDS, STAGE_FAILURES, BATCH_REQUESTS, WAITING, REFUSALS),
    *(CANDIDATES, LISTED_ITEMS, LISTS, FILTERED_ITEMS),
    *(VERSION_HELD, VERSION_SERVED, VERSION_AGE, VERSION_REFUSED, REGISTRY_UNREADABLE, RULES_UNUSABLE, KEYS_UNUSABLE),
    *(RETRAIN_AGE, RETRAIN_OUTCOME, REPLICA, REPLICAS_WANTED),
)
"""All of them, in the order of the reference."""
