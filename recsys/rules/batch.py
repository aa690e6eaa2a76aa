"""The rules of a batch of requests, as they travel from stage to stage."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from recsys.rules.file import RulesFile
from recsys.rules.request import NO_RULES, RequestRules


@dataclass(frozen=True, slots=True)
class BatchRules:
    """The rules of a batch.

    requests: the different requests; which: int64 (n_users,), the position of each user's request there
    n: int64 (n_users,), items of each user at most
    digest: of the rules file, "" without one; file: None where it stays behind, see `without_file`
    active: bool (n_users, n_rules), the rules of the file that hold for each user
    """

    requests: tuple[RequestRules, ...]
    which: np.ndarray
    n: np.ndarray
    digest: str
    file: RulesFile | None
    active: np.ndarray

    @classmethod
    def build(
        cls,
        requests: Sequence[RequestRules | None],
        n: Sequence[int],
        users: Sequence[int | str | None],
        file: RulesFile | None,
        now: int,
    ) -> "BatchRules | None":
        """The rules of these requests at `now` (ms); None if there are none, so that nothing has to be done.

        n: items of each request at most; users: their ids, None for requests without a user
        """
        active = np.zeros((len(users), 0), bool) if file is None else file.active(users, now)
        own = [_own_rules(one) for one in requests]
        active &= np.array([one is None or one.rules_file for one in requests], bool)[:, None]
        if not active.any():
            if all(one == NO_RULES for one in own):
                return None
            file, active = None, active[:, :0]
        distinct: dict[RequestRules, int] = {}
        which = [distinct.setdefault(one, len(distinct)) for one in own]
        return cls(
            tuple(distinct),
            np.array(which, np.int64),
            np.array(n, np.int64),
            "" if file is None else file.digest,
            file,
            active,
        )

    @classmethod
    def none(cls, n_users: int, n: int) -> "BatchRules":
        """No rules, for lists of at most `n` items: what rules do besides, such as to fill up, is then done alike."""
        requests, lengths = np.zeros(n_users, np.int64), np.full(n_users, n, np.int64)
        return cls((NO_RULES,), requests, lengths, "", None, np.zeros((n_users, 0), bool))

    def without_file(self) -> "BatchRules":
        """The same without the rules file, for a stage that has it already."""
        return replace(self, file=None)

    def take(self, users: np.ndarray) -> "BatchRules":
        """The rules of some users, in the order given; users: int (n,)."""
        return replace(self, which=self.which[users], n=self.n[users], active=self.active[users])


def _own_rules(request: RequestRules | None) -> RequestRules:
    """The rules of a request beside those of the file."""
    if request is None:
        return NO_RULES
    return request if request.rules_file else request.model_copy(update={"rules_file": True})
