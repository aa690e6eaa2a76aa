"""Settings of the evaluation."""

from typing import Annotated, Final

from pydantic import Field

from recsys.evaluation.metrics import Resampling
from recsys.schema import Config

BOOTSTRAP_SEED: Final = 0
"""Seed of the intervals' resamples."""


MAX_CUTOFF: Final = 1000
"""Largest k of a metric at k."""


CutOff = Annotated[int, Field(ge=1, le=MAX_CUTOFF)]


class EvaluationConfig(Config):
    """How a trained recommender is evaluated on the newest events."""

    test_days: int = Field(14, ge=1, description="Length of the test window at the end of the data, in days.")
    k: CutOff = Field(10, description="Cut-off of the headline metrics.")
    ks: tuple[CutOff, ...] = Field((1, 5, 10, 20), description="Further cut-offs to report.")
    max_users: int = Field(5000, ge=1, description="Test users to draw where there are more.")
    bootstrap_samples: int = Field(1000, ge=100, description="Resamples of users for an interval.")
    confidence: float = Field(0.95, gt=0, lt=1, description="Confidence level of the intervals.")
    seeds: int = Field(3, ge=1, description="Training runs with different seeds whose spread is reported.")
    page: bool = Field(True, description="Draw the report's page; its numbers are written in any case.")

    @property
    def resampling(self) -> Resampling:
        """The resampling behind every interval."""
        return Resampling(BOOTSTRAP_SEED, self.bootstrap_samples, self.confidence)

    @property
    def cutoffs(self) -> tuple[int, ...]:
        """Every k reported, ascending; the last is the depth that lists need."""
        return tuple(sorted({self.k, *self.ks}))
