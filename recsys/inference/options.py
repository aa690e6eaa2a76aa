"""The options of a batch of requests, as they travel through the stages."""

from dataclasses import dataclass, replace

import numpy as np

from recsys.rules.batch import BatchRules


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """Options of a batch of requests.

    n: items of each request at most
    objectives: int8 (n_requests,), positions in OBJECTIVES
    repeat_caps: float64 (n_requests,), NaN for the version's own, see `Recommender.repeat_caps`; None if each is
    explained: int64 (n_requests,), items of each list that get explanations, see `Recommender`; None for none
    in_session: bool (n_events,), the events of the histories that belong to sessions; None if no request has one
    rules: filters and rules; None where no request has any
    """

    n: int
    objectives: np.ndarray
    repeat_caps: np.ndarray | None = None
    explained: np.ndarray | None = None
    in_session: np.ndarray | None = None
    rules: BatchRules | None = None

    def take(self, requests: np.ndarray, events: np.ndarray) -> "BatchOptions":
        """The options of some requests, in the order given; requests: int64 (n,); events: positions of their events."""
        return BatchOptions(
            self.n,
            self.objectives[requests],
            None if self.repeat_caps is None else self.repeat_caps[requests],
            None if self.explained is None else self.explained[requests],
            None if self.in_session is None else self.in_session[events],
            None if self.rules is None else self.rules.take(requests),
        )

    def without_file(self) -> "BatchOptions":
        """The same without the rules file, see `BatchRules.without_file`."""
        return self if self.rules is None else replace(self, rules=self.rules.without_file())
