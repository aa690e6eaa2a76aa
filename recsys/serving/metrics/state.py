"""The gauges of a replica, read from its parts before each export."""

import logging
import threading
import time
from contextlib import suppress
from datetime import datetime
from typing import Final, get_args

from recsys.errors import RegistryError
from recsys.registry.decisions import Decision, Outcome, last_decision
from recsys.registry.store import Store
from recsys.serving.following import Problem
from recsys.serving.loaded_versions import LoadedVersions
from recsys.serving.metrics import definitions as named
from recsys.serving.metrics.recorder import Recorder
from recsys.serving.service import Service
from recsys.serving.settings import ServeSettings

logger = logging.getLogger(__name__)

DECISION_SECONDS: Final = 30.0
"""Seconds between two looks at the decisions of retraining."""
DEPLOYMENTS: Final = {"Candidates": "candidates", "Factors": "factors", "Rank": "rank"}
"""The deployments of the stages, and their settings."""


class ReplicaState:
    """That a replica lives, and which versions it holds."""

    def __init__(self, versions: LoadedVersions) -> None:
        self._versions = versions
        self._seen: set[str] = set()

    def __call__(self, recorder: Recorder) -> None:
        """Set the gauges."""
        recorder.set(named.REPLICA, 1)
        held = set(self._versions.names())
        self._seen |= held
        for version in self._seen:  # a gauge cannot be taken back
            recorder.set(named.VERSION_HELD, float(version in held), version)


class ServiceState:
    """What a replica of the ingress serves, and what keeps it from following the registry, the rules and the keys."""

    def __init__(self, service: Service, settings: ServeSettings) -> None:
        self._service, self._settings = service, settings
        self._served: set[str] = set()

    def __call__(self, recorder: Recorder) -> None:
        """Set the gauges."""
        following, now = self._service.following, time.time()
        recorder.set(named.WAITING, self._service.recommender.take_most_waiting())
        recorder.set(named.REGISTRY_UNREADABLE, _seconds(following.registry_problem, now))
        recorder.set(named.RULES_UNUSABLE, _seconds(self._service.rules.problem, now))
        keys = self._service.access.keys
        recorder.set(named.KEYS_UNUSABLE, _seconds(None if keys is None else keys.problem, now))
        recorder.set(named.VERSION_REFUSED, float(following.rejection is not None))
        if (bundle := following.served) is not None:
            with suppress(ValueError):  # a version of another maker may have no time
                recorder.set(named.VERSION_AGE, now - datetime.fromisoformat(bundle.manifest.created).timestamp())
            self._served.add(bundle.version)
            for version in self._served:
                recorder.set(named.VERSION_SERVED, float(version == bundle.version), version)
        recorder.set(named.REPLICAS_WANTED, self._settings.ingress[0], "Ingress")
        if self._settings.topology == "graph":
            for deployment, setting in DEPLOYMENTS.items():
                recorder.set(named.REPLICAS_WANTED, getattr(self._settings, setting)[0], deployment)


class RetrainState:
    """The last decision of retraining. The registry is read in a thread of its own, since it may not respond."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._decision: Decision | None = None
        self._reading: threading.Thread | None = None
        self._next = 0.0

    def __call__(self, recorder: Recorder) -> None:
        """Set the gauges, and look for a newer decision where it is time."""
        if time.monotonic() >= self._next and (self._reading is None or not self._reading.is_alive()):
            self._next = time.monotonic() + DECISION_SECONDS
            self._reading = threading.Thread(target=self.read, name="decisions", daemon=True)
            self._reading.start()
        if (decision := self._decision) is not None:
            decided = datetime.fromisoformat(decision.decided).timestamp()
            recorder.set(named.RETRAIN_AGE, max(time.time() - decided, 0.0))
            for outcome in get_args(Outcome):
                recorder.set(named.RETRAIN_OUTCOME, float(outcome == decision.outcome), outcome)

    def read(self) -> None:
        """Read the newest decision; where it cannot be read, the one before it stays."""
        try:
            self._decision = last_decision(self._store)
        except RegistryError as error:
            logger.warning("the last decision of retraining cannot be read", extra={"reason": str(error)})


def _seconds(problem: Problem | None, now: float) -> float:
    """Seconds since a problem began; 0 without one."""
    return 0.0 if problem is None else max(now - problem.since / 1000, 0.0)
