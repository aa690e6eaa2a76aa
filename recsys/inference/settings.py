"""Settings that training fixes and every stage must share."""

from pydantic import Field

from recsys.features.interactions import InteractionConfig
from recsys.models.snapshot import HistoryConfig
from recsys.retrieval.generator import CandidateConfig
from recsys.schema import Config


class InferenceConfig(Config):
    """Settings that training fixes and every stage must share; they travel in the bundle."""

    history: HistoryConfig = HistoryConfig()
    interactions: InteractionConfig = InteractionConfig()
    candidates: CandidateConfig = CandidateConfig()
    repeat_share: float = Field(1.0, ge=0, le=1)
    """Share of a list that may be items the user had before, unless a request asks for another; the evaluation judges
    the ranking without it."""
