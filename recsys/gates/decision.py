"""The decision on figures: whether a challenger is not worse than production."""

from dataclasses import dataclass

import numpy as np

from recsys.evaluation.metrics import Difference, Resampling, paired_difference
from recsys.registry.decisions import Outcome


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision about a challenger; reason: in words."""

    outcome: Outcome
    reason: str


@dataclass(frozen=True, slots=True)
class Figures:
    """The metric of challenger and production over the same users.

    challenger, production: means; difference: challenger minus production, paired by user
    bound: -margin * production
    """

    challenger: float
    production: float
    difference: Difference
    bound: float

    @classmethod
    def create(cls, challenger: np.ndarray, production: np.ndarray, margin: float, resampling: Resampling) -> "Figures":
        """The figures of one metric; challenger, production: float64 (n_users,), at least one user.

        Raises DataError if the numbers of users differ.
        """
        difference = paired_difference(challenger, production, resampling)
        mean = float(production.mean())
        return cls(float(challenger.mean()), mean, difference, -margin * mean)

    def verdict_of(self, users: int, enough: int) -> Verdict:
        """The verdict of so many users: kept where an interval tells nothing; enough: users that it needs."""
        if users < enough:
            return Verdict("kept", f"{users} users are too few for a comparison; expected {enough} (retrain.min_users)")
        if not self.challenger and not self.production:
            return Verdict("kept", "neither it nor production recommends anything that users went on to choose")
        return self.verdict

    @property
    def verdict(self) -> Verdict:
        """Promoted if the low end of the interval is at or above the bound."""
        shown = (
            f"{self.difference.mean:+.4f} ({self.difference.low:+.4f} to {self.difference.high:+.4f}) "
            f"beside production's {self.production:.4f}; the bound is {self.bound:+.4f}"
        )
        if self.difference.low >= self.bound:
            return Verdict("promoted", f"not worse than production by more than the margin: {shown}")
        return Verdict("kept", f"it may be worse than production by more than the margin: {shown}")


def without_figures(challenger_learned: bool, production_learned: bool | None) -> Verdict | None:
    """The decision where no comparison is needed; None if one is.

    production_learned: None without a version in production
    """
    if production_learned is None:
        return Verdict("promoted", "there is no version in production")
    if challenger_learned:
        return None
    if production_learned:
        return Verdict("kept", "it is not learned, and production is")
    return Verdict("promoted", "neither is learned, and it has the newer data")
