"""Settings of the evaluation."""

from typing import Annotated, Final

from pydantic import Field

from recsys.evaluation.metrics import Resampling
from recsys.schema import Config

BOOTSTRAP_SEED: Final = 0
"""Seed of the resamples behind every interval."""

MAX_CUTOFF: Final = 1000
"""The largest k of a metric at k."""

CutOff = Annotated[int, Field(ge=1, le=MAX_CUTOFF)]


class EvaluationConfig(Config):
    """Settings of the evaluation on the newest events."""

    test_days: int | None = Field(
        None, ge=1, description="Length of the test window at the end of the data, in days. None: chosen from the log."
    )
    k: CutOff = Field(10, description="Cut-off of the headline metrics.")
    ks: tuple[CutOff, ...] = Field((1, 5, 10, 20), description="Further cut-offs to report.")
    max_users: int = Field(5000, ge=1, description="Largest number of test users; if there are more, a random sample.")
    bootstrap_samples: int = Field(1000, ge=100, description="Resamples of users for each interval.")
    confidence: float = Field(0.95, gt=0, lt=1, description="Confidence level of the intervals.")
    seeds: int = Field(3, ge=1, description="Training runs with different seeds; the report shows their spread.")
    page: bool = Field(True, description="Draw the page of the report; its numbers are written in any case.")

    @property
    def resampling(self) -> Resampling:
        """The resampling behind every interval."""
        return Resampling(BOOTSTRAP_SEED, self.bootstrap_samples, self.confidence)

    @property
    def cutoffs(self) -> tuple[int, ...]:
        """Every reported k, ascending. The last one is the depth that ranked lists must have."""
        return tuple(sorted({self.k, *self.ks}))
