"""The systems that benchmarks/serving.py compares, each in processes of its own: `python -m serving_parts.systems`.

Prints UP once there is nothing left to wait for but the service itself (imports are done, Ray runs).
"""

import sys
import threading
from typing import Any, Final, NamedTuple

import numpy as np
import uvicorn
from ray import serve

from recsys import console
from recsys.cluster import start_ray
from recsys.errors import RegistryError
from recsys.histories import Histories
from recsys.inference.servable import Loaded
from recsys.inference.stages import objectives
from recsys.registry.locate import open_store
from recsys.retrieval.generator import Candidates
from recsys.serving.answers import Answer, Question
from recsys.serving.api import create_api
from recsys.serving.app import QUIET, STAGES, assemble
from recsys.serving.deployments import Ingress, StageReplica
from recsys.serving.histories import SnapshotEvents
from recsys.serving.messages import HttpError
from recsys.serving.service import Service
from recsys.serving.settings import ServeSettings
from recsys.serving.stages import LocalEngine
from recsys.serving.versions import Versions
from serving_parts.timings import TIMED_STAGES, TimedIngress

UP: Final = "up"
LOOKED_AT: Final = 64
"""Users of which the one with the median number of candidates stands for all."""
NEVER: Final = 1_000_000_000


class Canned(NamedTuple):
    """What the stages find for a user of usual size, so many times."""

    candidates: Candidates
    features: np.ndarray
    folded_in: tuple[np.ndarray, np.ndarray]
    lgb_raw: np.ndarray


class CannedReplica(StageReplica):
    """Does nothing: for a batch of so many users it has a ready answer, the same user's so many times."""

    def __init__(self, settings: ServeSettings) -> None:
        super().__init__(settings)
        loaded = self._versions.get("".join(self._versions.held()[-1:]))
        if loaded is None:
            raise RegistryError(f"{settings.registry} has no version to take ready answers from")
        found = [canned(loaded, n_users) for n_users in range(1, settings.max_batch + 1)]
        self._answers, self._rows = [self._answer(one) for one in found], len(found[0].lgb_raw)

    async def __call__(self, version: str, asked: Histories | np.ndarray, *_: Any) -> Any:
        """asked: histories of users, or features of candidates"""
        n_users = len(asked) if isinstance(asked, Histories) else len(asked) // self._rows
        return self._compute(version, lambda _: self._answers[n_users - 1])

    def _answer(self, found: Canned) -> Any:
        raise NotImplementedError


class CannedCandidates(CannedReplica):
    def _answer(self, found: Canned) -> Any:
        return found.candidates, found.features


class CannedFactors(CannedReplica):
    def _answer(self, found: Canned) -> Any:
        return found.folded_in


class CannedRank(CannedReplica):
    def _answer(self, found: Canned) -> Any:
        return found.lgb_raw


def canned(loaded: Loaded, n_users: int) -> Canned:
    """Computed as one batch, so that the arrays lie in memory as real ones do."""
    opened, recommender = loaded.bundle, loaded.recommender
    now = opened.manifest.live_watermark
    rows = np.random.default_rng(0).integers(len(opened.snapshot.users), size=LOOKED_AT)
    many = recommender.candidates(recommender.candidates.profile(opened.snapshot.take(rows), now))
    usual = rows[np.argsort(np.diff(many.offsets))[LOOKED_AT // 2]]
    histories = opened.snapshot.take(np.full(n_users, usual))
    candidates, features = recommender.propose(histories, now, objectives("all", n_users), None)
    lgb_raw = recommender.rank(features, candidates.for_discovery)
    return Canned(candidates, features, recommender.fold_in(histories), lgb_raw)


class PlainService(Service):
    """Answers each request as it comes, alone: no queue, no batches, no deadline."""

    async def recommend(self, question: Question) -> Answer:
        answers = await self._answer_from(self._ready(), [question])
        if answers is None:
            raise HttpError(503, "the version is not held")
        [answer] = answers
        if isinstance(answer, BaseException):
            raise answer
        return answer


def run_plain(settings: ServeSettings, port: int) -> None:
    """One process: the same routes and classes under uvicorn, without an access log."""
    versions = Versions(open_store(settings.registry), settings.alpha)
    service = PlainService(versions, LocalEngine(versions), SnapshotEvents(), settings)
    console.line(UP)
    uvicorn.run(create_api(service, NEVER), port=port, access_log=False, log_level="warning")


GRAPHS: Final[dict[str, tuple[str, tuple[type[StageReplica], ...], type[Ingress]]]] = {
    "graph": ("graph", STAGES, Ingress),
    "fused": ("fused", STAGES, Ingress),
    "empty": ("graph", (CannedCandidates, CannedFactors, CannedRank), Ingress),
    "timed": ("graph", TIMED_STAGES, TimedIngress),
}
"""Topology and classes of the systems on Ray Serve."""


def run_serve(name: str, registry: str, port: int) -> None:
    """A Serve application on a Ray cluster of its own."""
    topology, stages, ingress = GRAPHS[name]
    settings = ServeSettings.model_validate({"registry": registry, "topology": topology})
    start_ray()
    console.line(UP)
    serve.start(http_options={"host": "127.0.0.1", "port": port}, logging_config=QUIET)
    serve.run(assemble(settings, stages, ingress), name="recsys")
    threading.Event().wait()


def main() -> None:
    name, registry, port = sys.argv[1:]
    if name == "plain":
        run_plain(ServeSettings(registry=registry), int(port))
    else:
        run_serve(name, registry, int(port))


if __name__ == "__main__":
    main()
