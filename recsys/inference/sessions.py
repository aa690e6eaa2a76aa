"""The session model of a version over the requests of a batch: which of them it answers, and with which items."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from recsys.arrays import belongs, rows_of
from recsys.histories import Histories
from recsys.inference.options import BatchOptions
from recsys.retrieval.restrictions import Further, Pool
from recsys.rules.batch import BatchRules
from recsys.rules.book import RuleBook
from recsys.rules.programs import Programs
from recsys.schema import DISCOVER, PURCHASE, REPEAT, UNKNOWN
from recsys.sessions.candidates import Admit
from recsys.sessions.model import SessionCandidates, SessionModel


@dataclass(frozen=True, slots=True)
class SessionProposals:
    """Candidates of the requests that the session model answers.

    requests: int64 (n_sessions,), their positions in the batch, ascending; each has a candidate
    candidates: of these requests; `candidates.users` are positions in `requests`
    filtered: proposals that rules kept out
    """

    requests: np.ndarray
    candidates: SessionCandidates
    filtered: int = 0


class SessionStage:
    """The session model of a version over the requests of a batch that have a session."""

    def __init__(self, model: SessionModel, exclude_purchased: bool, book: Callable[[], RuleBook]) -> None:
        """exclude_purchased: whether items that the user has bought are left out; book: called if there are rules."""
        self.model = model
        self._exclude_purchased = exclude_purchased
        self._book = book

    def propose(self, histories: Histories, options: BatchOptions, repeat_caps: np.ndarray | None) -> SessionProposals:
        """Candidates of the sessions for which the model proposes any; the main path answers all other requests.

        histories: all events of each request
        repeat_caps: float64 (n_requests,), see `Recommender.repeat_caps`; None for no cap
        Raises RuleError or UnknownRules, see `RuleBook.programs`.
        """
        in_session = np.zeros(len(histories.times), bool) if options.in_session is None else options.in_session
        with_session = np.bincount(histories.rows[in_session], minlength=len(histories)).nonzero()[0]
        own = _Sessions.build(histories, in_session, options, repeat_caps, with_session)
        programs = self._programs(options.rules, with_session, own)
        admit = self._filter(own, programs)
        candidates = self.model.propose(own.sessions, own.known, admit, with_unavailable=programs is not None)
        filtered = 0 if programs is None else programs.kept_out
        answered = np.bincount(candidates.users, minlength=len(with_session)) > 0
        if not answered.all():
            users = (answered.cumsum() - 1)[candidates.users]
            candidates = replace(candidates, n_users=int(answered.sum()), users=users)
            with_session = with_session[answered]
            own = _Sessions.build(histories, in_session, options, repeat_caps, with_session)
            programs = self._programs(options.rules, with_session, own)
        if len(with_session):
            if programs is None:
                programs = self._book().programs(BatchRules.none(len(with_session), options.n), own.histories)
            candidates = self._extended(own, candidates, programs)
        return SessionProposals(with_session, candidates, filtered)

    def _programs(self, rules: BatchRules | None, requests: np.ndarray, own: "_Sessions") -> Programs | None:
        return None if rules is None else self._book().programs(rules.take(requests), own.histories)

    def _extended(self, own: "_Sessions", candidates: SessionCandidates, programs: Programs) -> SessionCandidates:
        """The candidates with pins, and with items that fill the lists up, also those without rules.

        A pin holds under a cap of 0 too, as it does under any other.
        """
        permitted = self._filter(replace(own, repeat_caps=None), programs)
        pool = Pool(
            candidates.users,
            candidates.items,
            cache(lambda: self._further(own)),
            programs.allows if permitted is None else permitted,
            None if own.repeat_caps is None else own.counts,
        )
        more = programs.additions(pool, of_all=True)
        if not len(more.items):
            return candidates
        order = np.lexsort((more.items, more.users))
        blank = self.model.blank(own.sessions, own.known, more.users[order], more.items[order])
        return candidates.joined(replace(blank, place=more.place[order]))

    def _further(self, own: "_Sessions") -> Further:
        """The items that fill a list up. Proposals that were cut off are left out: the order of popularity has them."""
        category, histories = self.model.facts.category, own.histories
        newest = np.full(len(histories), UNKNOWN, np.int32)
        known = category[histories.items] != UNKNOWN
        newest[histories.rows[known]] = category[histories.items[known]]  # of several events the last one stays
        own_items = [
            np.unique(histories.items[slice(*histories.offsets[row : row + 2].tolist())]) if repeat else None
            for row, repeat in enumerate((own.objectives == REPEAT).tolist())
        ]
        return Further(np.zeros(0, np.int64), np.zeros(0, np.int32), newest, own_items)

    def _filter(self, own: "_Sessions", programs: Programs | None) -> Admit | None:
        """Whether an item passes the rules and suits the objective of its request; None if all items do.

        Bought items may be left out, but not from repetitions.
        """
        only_new, only_had = own.objectives == DISCOVER, own.objectives == REPEAT
        if own.repeat_caps is not None:
            only_new |= own.repeat_caps <= 0
        by_objective = bool(only_new.any() or only_had.any())
        histories = own.histories
        bought = histories.where((histories.events == PURCHASE) & self._exclude_purchased)
        if not by_objective and not len(bought.items) and programs is None:
            return None

        def allowed(users: np.ndarray, items: np.ndarray) -> np.ndarray:
            suits = np.ones(len(users), bool) if programs is None else programs.allows(users, items)
            if by_objective:
                had = belongs(users, items, histories.offsets, histories.items)
                suits &= np.where(had, ~only_new[users], ~only_had[users])
            if len(bought.items):
                suits &= only_had[users] | ~belongs(users, items, bought.offsets, bought.items)
            return suits

        return allowed


def with_fill_up(candidates: SessionCandidates, scores: np.ndarray) -> np.ndarray:
    """The scores with those of items that fill a list up, float64 (n,): below all proposals of their session.

    The ranker has learned nothing about items that no source proposes. So the item at place p has 1 / (1 + p) of the
    smallest score of a proposal, which keeps the order of popularity.
    candidates: with a proposal for each session; scores: float64 (n,), above 0
    """
    filling = candidates.fill_place.nonzero()[0]
    if not len(filling):
        return scores
    proposed = candidates.provenance.any(axis=1)
    lowest = np.ones(candidates.n_users)
    np.minimum.at(lowest, candidates.users[proposed], scores[proposed])
    result = scores.copy()
    result[filling] = lowest[candidates.users[filling]] / (1.0 + candidates.fill_place[filling])
    return result


@dataclass(frozen=True, slots=True)
class _Sessions:
    """Some requests of a batch, each with a session.

    histories: all events of each
    sessions, known: the events of its session, and those before; known is None if nobody has any
    objectives: int8 (n,); repeat_caps: float64 (n,), None for no cap
    """

    histories: Histories
    sessions: Histories
    known: Histories | None
    objectives: np.ndarray
    repeat_caps: np.ndarray | None

    @classmethod
    def build(
        cls,
        histories: Histories,
        in_session: np.ndarray,
        options: BatchOptions,
        repeat_caps: np.ndarray | None,
        requests: np.ndarray,
    ) -> "_Sessions":
        """Some requests of a batch, int64 (n,)."""
        own, index = histories.take(requests), rows_of(requests, histories.offsets)[0]
        mask = in_session[index]
        return cls(
            own,
            own.where(mask),
            None if mask.all() else own.where(~mask),
            options.objectives[requests],
            None if repeat_caps is None else repeat_caps[requests],
        )

    def counts(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Whether an item counts for the length of a list in any case: a cap bounds items of the history."""
        new: np.ndarray = ~belongs(users, items, self.histories.offsets, self.histories.items)
        return new if self.repeat_caps is None else new | (self.repeat_caps[users] >= 1)
