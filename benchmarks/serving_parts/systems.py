"""The systems that benchmarks/serving.py compares, each in its own processes: `python -m serving_parts.systems`.

Prints UP once imports are done and Ray runs, so that only the service is left to wait for.
"""

import sys
import threading
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
import uvicorn
from ray import serve

from recsys import console
from recsys.cluster import start_ray
from recsys.errors import RegistryError
from recsys.histories import Histories
from recsys.inference.servable import Servable
from recsys.inference.stages import objectives
from recsys.registry.locate import open_store
from recsys.retrieval.generator import Candidates
from recsys.serving.api.create import create_api
from recsys.serving.app import QUIET, STAGES, assemble
from recsys.serving.deployments import Ingress, StageReplica
from recsys.serving.errors import HttpError, Unavailable
from recsys.serving.histories import SnapshotHistories
from recsys.serving.loaded_versions import LoadedVersions
from recsys.serving.recommendations import BatchedRecommender, Request, Response
from recsys.serving.service import Service
from recsys.serving.settings import ServeSettings
from recsys.serving.stages import LocalStages
from serving_parts.timings import TIMED_STAGES, TimedIngress

UP: Final = "up"
SAMPLE: Final = 64
"""Users of which the one with the median number of candidates stands for all."""
NEVER: Final = 1_000_000_000


class Canned(NamedTuple):
    """Results of the stages for a batch that is one usual user, repeated."""

    candidates: Candidates
    features: np.ndarray
    folded_in: tuple[np.ndarray, np.ndarray]
    lgb_raw: np.ndarray


class CannedReplica(StageReplica):
    """Computes nothing: for each size of a batch it has a ready result."""

    def __init__(self, settings: ServeSettings) -> None:
        super().__init__(settings)
        servable = next(iter(self._versions.newest_first()), None)
        if servable is None:
            raise RegistryError(f"{settings.registry} has no version to take ready results from")
        batches = [canned(servable, n_users) for n_users in range(1, settings.max_batch + 1)]
        self._results, self._rows = [self._result(batch) for batch in batches], len(batches[0].lgb_raw)

    async def __call__(self, version: str, users: Histories | np.ndarray, *_: Any, **__: Any) -> Any:
        """A ready result; users: their histories, or the features of their candidates"""
        n_users = len(users) if isinstance(users, Histories) else len(users) // self._rows
        return self.compute(version, lambda _: self._results[n_users - 1])

    def _result(self, batch: Canned) -> Any:
        raise NotImplementedError


class CannedCandidates(CannedReplica):
    def _result(self, batch: Canned) -> Any:
        return batch.candidates, batch.features


class CannedFactors(CannedReplica):
    def _result(self, batch: Canned) -> Any:
        return batch.folded_in


class CannedRank(CannedReplica):
    def _result(self, batch: Canned) -> Any:
        return batch.lgb_raw


def canned(servable: Servable, n_users: int) -> Canned:
    """Results that were computed as one batch, so that the arrays lie in memory as real ones do."""
    opened, recommender = servable.bundle, servable.recommender
    now = opened.manifest.live_watermark
    rows = np.random.default_rng(0).integers(len(opened.snapshot.users), size=SAMPLE)
    many = recommender.candidates(recommender.candidates.profile(opened.snapshot.take(rows), now))
    usual = rows[np.argsort(np.diff(many.offsets))[SAMPLE // 2]]
    histories = opened.snapshot.take(np.full(n_users, usual))
    candidates, features = recommender.propose(histories, now, objectives("all", n_users), None)
    lgb_raw = recommender.rank(features, candidates.for_discovery)
    return Canned(candidates, features, recommender.fold_in(histories), lgb_raw)


class PlainRecommender(BatchedRecommender):
    """Answers each request as it comes, alone: no queue, no batches, no deadline."""

    async def recommend(self, request: Request) -> Response:
        responses = await self.recommend_from(self._following.ready(), [request])
        if responses is None:
            raise Unavailable("the version is not loaded")
        [response] = responses
        if isinstance(response, HttpError):
            raise response
        return response


def run_plain(settings: ServeSettings, port: int) -> None:
    """One process: the same routes and classes under uvicorn, without an access log."""
    versions, stages, histories = (
        LoadedVersions(open_store(settings.registry), settings),
        LocalStages(),
        SnapshotHistories(),
    )
    service = Service.build(versions, stages, histories, settings)
    plain = replace(service, recommender=PlainRecommender(service.following, stages, histories, settings))
    console.line(UP)
    uvicorn.run(create_api(plain, NEVER), port=port, access_log=False, log_level="warning")


GRAPHS: Final[dict[str, tuple[str, tuple[type[StageReplica], ...], type[Ingress]]]] = {
    "graph": ("graph", STAGES, Ingress),
    "fused": ("fused", STAGES, Ingress),
    "empty": ("graph", (CannedCandidates, CannedFactors, CannedRank), Ingress),
    "timed": ("graph", TIMED_STAGES, TimedIngress),
}
"""Topology and classes of the systems on Ray Serve."""


def run_serve(name: str, settings: ServeSettings, port: int) -> None:
    """A Serve application on a Ray cluster of its own."""
    topology, stages, ingress = GRAPHS[name]
    settings = settings.model_copy(update={"topology": topology})
    start_ray()
    console.line(UP)
    serve.start(http_options={"host": "127.0.0.1", "port": port}, logging_config=QUIET)
    serve.run(assemble(settings, stages, ingress), name="recsys")
    threading.Event().wait()


def main() -> None:
    name, registry, port, *rules = sys.argv[1:]
    settings = ServeSettings(registry=registry, rules=rules[0] if rules else None)
    if name == "plain":
        run_plain(settings.model_copy(update={"probe": False}), int(port))
    else:
        run_serve(name, settings, int(port))


if __name__ == "__main__":
    main()
