"""The service behind its HTTP routes, without Ray: its parts."""

from dataclasses import dataclass

from recsys.inference.sentences import Sentences, load_sentences
from recsys.serving.access.access import Access
from recsys.serving.following import Following
from recsys.serving.health import HealthCheck
from recsys.serving.histories import HistorySource
from recsys.serving.lease import KeptLease
from recsys.serving.loaded_versions import LoadedVersions
from recsys.serving.metrics.stages import StageMetrics
from recsys.serving.recommendations import BatchedRecommender
from recsys.serving.related import Related
from recsys.serving.rules import FollowedRules
from recsys.serving.settings import ServeSettings
from recsys.serving.stages import StageRunner
from recsys.serving.users import Users


@dataclass(frozen=True, slots=True)
class Service:
    """A replica of the ingress: the version it serves, and what it serves from it."""

    following: Following
    rules: FollowedRules
    recommender: BatchedRecommender
    users: Users
    health: HealthCheck
    sentences: Sentences
    related: Related
    access: Access
    lease: KeptLease

    @classmethod
    def build(
        cls,
        versions: LoadedVersions,
        stages: StageRunner,
        histories: HistorySource,
        settings: ServeSettings,
        metrics: StageMetrics | None = None,
    ) -> "Service":
        """A service that has served nothing yet; `following` loads its first version.

        metrics: count what the service does; None for counts that nobody reads
        """
        following = Following(versions, stages, settings)
        rules = FollowedRules(settings.rules, versions, stages)
        return cls(
            following,
            rules,
            BatchedRecommender(following, stages, histories, settings, rules, metrics),
            Users(following, histories, settings),
            HealthCheck(following, versions, stages, settings, rules),
            load_sentences(settings.sentences, settings.language),
            Related(following, rules, metrics),
            Access.build(settings),
            KeptLease(versions, settings),
        )
