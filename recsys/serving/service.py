"""The service behind its HTTP routes, without Ray: its four parts."""

from dataclasses import dataclass

from recsys.serving.following import Following
from recsys.serving.health import HealthCheck
from recsys.serving.histories import HistorySource
from recsys.serving.loaded_versions import LoadedVersions
from recsys.serving.recommendations import BatchedRecommender
from recsys.serving.settings import ServeSettings
from recsys.serving.stages import StageRunner
from recsys.serving.users import Users


@dataclass(frozen=True, slots=True)
class Service:
    """A replica of the ingress: the version it serves, and what it serves from it."""

    following: Following
    recommender: BatchedRecommender
    users: Users
    health: HealthCheck

    @classmethod
    def build(
        cls, versions: LoadedVersions, stages: StageRunner, histories: HistorySource, settings: ServeSettings
    ) -> "Service":
        """A service that has served nothing yet; `following` loads its first version."""
        following = Following(versions, stages, settings)
        return cls(
            following,
            BatchedRecommender(following, stages, histories, settings),
            Users(following, histories, settings),
            HealthCheck(following, versions, stages, settings),
        )
