"""Batches that mix requests with and without a session.

The session model of the version answers the sessions, and the main path all other requests. A version without such a
model answers every request by the main path, where the events of a session are the newest of the history.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from recsys.arrays import belongs, offsets_of, rows_of
from recsys.errors import ModelError
from recsys.histories import Histories
from recsys.inference.explanations import Explanations, joined, largest_parts
from recsys.inference.options import BatchOptions
from recsys.inference.recommender import Recommendations, Recommender, ScoredPairs, StageScores, best_rows
from recsys.inference.sessions import SessionProposals, SessionStage, with_fill_up
from recsys.inference.watch import UNWATCHED, Watch
from recsys.retrieval.generator import Candidates
from recsys.schema import UNKNOWN
from recsys.sessions.origins import Pairs
from recsys.timeline import Present


@dataclass(frozen=True, slots=True)
class RequestBatch:
    """Requests that go through the stages together; histories: all events of each, those of its session included."""

    histories: Histories
    now: Present
    options: BatchOptions

    def take(self, requests: np.ndarray) -> "RequestBatch":
        """Some requests, in the order given; requests: int64 (n,)."""
        index, _ = rows_of(requests, self.histories.offsets)
        return RequestBatch(
            self.histories.take(requests),
            self.now[requests] if isinstance(self.now, np.ndarray) else self.now,
            self.options.take(requests, index),
        )

    @property
    def in_session(self) -> np.ndarray:
        """The events that belong to sessions, bool (n_events,)."""
        given = self.options.in_session
        return np.zeros(len(self.histories.times), bool) if given is None else given

    @property
    def without_session(self) -> np.ndarray:
        """The positions of the requests without a session, int64."""
        n_events = np.bincount(self.histories.rows[self.in_session], minlength=len(self.histories))
        return (n_events == 0).nonzero()[0]


@dataclass(frozen=True, slots=True)
class MixedProposals:
    """Candidates of a batch, and their rows for the rankers.

    requests: int64, the positions of the requests that the main path answers
    candidates, features: of these requests, see `Recommender.propose`; None and no rows where there are none
    sessions: of all other requests
    """

    requests: np.ndarray
    candidates: Candidates | None
    features: np.ndarray
    sessions: SessionProposals

    @property
    def for_discovery(self) -> np.ndarray:
        """See `Candidates.for_discovery`."""
        return np.zeros(0, bool) if self.candidates is None else self.candidates.for_discovery


def uses_sessions(recommender: Recommender, in_session: np.ndarray | None) -> bool:
    """Whether the session model has a part in a batch. Otherwise the main path answers all of it."""
    return recommender.sessions is not None and in_session is not None and bool(in_session.any())


def recommend(
    recommender: Recommender, histories: Histories, now: Present, options: BatchOptions, watch: Watch = UNWATCHED
) -> Recommendations:
    """The best items of each request, with all stages in this process; see `Recommender` and RequestBatch."""
    if not uses_sessions(recommender, options.in_session):
        others = options.objectives, options.repeat_caps, options.explained, options.rules
        return recommender(histories, now, options.n, *others, watch)
    batch = RequestBatch(histories, now, options)
    proposals = propose(recommender, batch)
    tell_proposed(watch, recommender, proposals)
    watch.ended("candidates")
    lgb, raw = rank(recommender, proposals.features, proposals.for_discovery, proposals.sessions.candidates.features)
    watch.ended("rank")
    main, candidates = None, proposals.candidates
    if candidates is not None:
        user_factors, warm = recommender.fold_in(histories.take(proposals.requests))
        mf = recommender.factors.score(user_factors, candidates.users, candidates.items)
        main = StageScores(lgb, mf, warm)
        watch.ended("factors")
    combined = combine(recommender, batch, proposals, main, raw)
    watch.ended("blend")
    return combined


def tell_proposed(watch: Watch, recommender: Recommender, proposals: MixedProposals) -> None:
    """Tell a watch about the candidates of the main path and those of the sessions."""
    main, of_sessions = proposals.candidates, proposals.sessions
    if main is not None:
        watch.proposed(recommender.main_sources, main.provenance, main.filtered)
    watch.proposed(_stage(recommender).model.source_names, of_sessions.candidates.provenance, of_sessions.filtered)


def propose(recommender: Recommender, batch: RequestBatch) -> MixedProposals:
    """Candidates of a batch; raises ModelError if the version has no session model, and as `RuleBook.programs`."""
    options = batch.options
    caps = recommender.repeat_caps(options.objectives, options.repeat_caps)
    sessions = _stage(recommender).propose(batch.histories, options, caps)
    by_main = np.ones(len(batch.histories), bool)
    by_main[sessions.requests] = False
    requests = by_main.nonzero()[0]
    if not len(requests):
        return MixedProposals(requests, None, np.zeros((0, 0), np.float32), sessions)
    rest = batch.take(requests)
    caps = None if caps is None else caps[requests]
    candidates, features = recommender.propose(
        rest.histories, rest.now, rest.options.objectives, caps, rest.options.rules
    )
    return MixedProposals(requests, candidates, features, sessions)


def propose_any(
    recommender: Recommender, histories: Histories, now: Present, options: BatchOptions
) -> tuple[Candidates, np.ndarray] | MixedProposals:
    """Candidates of a batch with or without sessions: see `propose`, and `Recommender.propose`."""
    if uses_sessions(recommender, options.in_session):
        return propose(recommender, RequestBatch(histories, now, options))
    caps = recommender.repeat_caps(options.objectives, options.repeat_caps)
    return recommender.propose(histories, now, options.objectives, caps, options.rules)


def rank(
    recommender: Recommender, features: np.ndarray, for_discovery: np.ndarray, session_features: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Raw scores of the candidates of the main path, and of those of the sessions; float64 (n_pairs,) each."""
    model = _stage(recommender).model
    return (
        recommender.rank(features, for_discovery) if len(features) else np.zeros(0),
        model.rank(session_features) if len(session_features) else np.zeros(0),
    )


def combine(
    recommender: Recommender,
    batch: RequestBatch,
    proposals: MixedProposals,
    main: StageScores | None,
    raw: np.ndarray,
) -> Recommendations:
    """The best items of each request of the batch.

    main: scores of the requests that the main path answers, None where there are none
    raw: float64 (n_pairs,), raw scores of the session ranker
    """
    requests = proposals.sessions.requests
    own = batch.take(requests)
    lists = _session_lists(recommender, own, proposals.sessions, raw)
    n_sources = len(recommender.source_names)
    lists = replace(lists, provenance=_widened(lists.provenance, n_sources, to_the_right=True))
    if own.options.explained is not None:
        lists = replace(lists, explanations=_explained_sessions(recommender, own, proposals.sessions, raw, lists))
    if main is None or proposals.candidates is None:
        return lists  # a request for each, so they are in order
    rest = batch.take(proposals.requests)
    options = rest.options
    caps = recommender.repeat_caps(options.objectives, options.repeat_caps)
    others = recommender.combine(rest.histories, proposals.candidates, main, options.n, caps, options.rules)
    others = replace(others, provenance=_widened(others.provenance, n_sources, to_the_right=False))
    if options.explained is not None:
        chosen = others.chosen(proposals.candidates, proposals.features, main.lgb, options.explained)
        others = replace(others, explanations=recommender.explainer(chosen, rest.histories, rest.now))
    together = _in_order([others, lists], np.concatenate((proposals.requests, requests)))
    if batch.options.rules is None:
        return together
    return replace(together, programs=recommender.rules.programs(batch.options.rules, batch.histories))


def _stage(recommender: Recommender) -> SessionStage:
    if recommender.sessions is None:
        raise ModelError("this version has no session model")
    return SessionStage(recommender.sessions, recommender.exclude_purchased, lambda: recommender.rules)


def _session_lists(
    recommender: Recommender, batch: RequestBatch, proposals: SessionProposals, raw: np.ndarray
) -> Recommendations:
    """The lists of the sessions; ties go to the smaller item code. A score is the session ranker's alone, calibrated;
    items that only fill a list up are below, see `with_fill_up`.

    batch: the requests of the proposals; raw: see `combine`
    """
    candidates, histories, options = proposals.candidates, batch.histories, batch.options
    users, items = candidates.users, candidates.items
    scores = with_fill_up(candidates, _stage(recommender).model.calibrate(raw))
    n_candidates = np.bincount(users[candidates.fill_place == 0], minlength=len(histories))
    caps, had = recommender.repeat_caps(options.objectives, options.repeat_caps), None
    if caps is not None:
        had = belongs(users, items, histories.offsets, histories.items)
    programs = None if options.rules is None else recommender.rules.programs(options.rules, histories)
    best, kept = best_rows(ScoredPairs(users, items, scores, had), options.n, caps, len(histories), programs)
    return Recommendations(
        offsets_of(kept),
        items[best],
        scores[best],
        scores[best],
        np.full(len(best), np.nan),
        candidates.provenance[best],
        recommender.factors.warm(histories),
        n_candidates,
        best,
        programs=programs,
    )


def _explained_sessions(
    recommender: Recommender, batch: RequestBatch, proposals: SessionProposals, raw: np.ndarray, lists: Recommendations
) -> Explanations:
    """Explanations of the lists of the sessions; batch: their requests; raw: see `combine`."""
    model, candidates = _stage(recommender).model, proposals.candidates
    explained = batch.options.explained
    wanted = np.zeros(len(batch.histories), np.int64) if explained is None else explained
    offsets, rows = lists.first(wanted)
    pairs = Pairs(candidates.users[rows], candidates.items[rows], candidates.provenance[rows])
    followed = model.origins(batch.histories.where(batch.in_session), batch.histories.where(~batch.in_session), pairs)
    n_sources = lists.provenance.shape[1] - len(model.source_names)
    features = candidates.features[rows]
    columns, *parts = largest_parts(features, model.contributions(features))
    n_features = len(recommender.rankers[0].feature_names)
    return Explanations(
        offsets,
        np.where(followed.sources == UNKNOWN, UNKNOWN, followed.sources + n_sources),
        followed.items,
        followed.events,
        np.full(len(rows), UNKNOWN),
        raw[rows],
        np.where(columns == UNKNOWN, UNKNOWN, columns + n_features),
        *parts,
    )


def _in_order(parts: Sequence[Recommendations], requests: np.ndarray) -> Recommendations:
    """The lists of all requests in the order of the batch; requests: the position of each, part after part, int64."""
    order = requests.argsort()
    explanations = [part.explanations for part in parts if part.explanations is not None]
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    rows, _ = rows_of(order, offsets_of(lengths))
    items, scores, lgb_scores, mf_scores = (
        np.concatenate([getattr(part, name) for part in parts])[rows]
        for name in ("items", "scores", "lgb_scores", "mf_scores")
    )
    return Recommendations(
        offsets_of(lengths[order]),
        items,
        scores,
        lgb_scores,
        mf_scores,
        np.concatenate([part.provenance for part in parts])[rows],
        np.concatenate([part.warm for part in parts])[order],
        np.concatenate([part.n_candidates for part in parts])[order],
        explanations=joined(explanations, requests) if len(explanations) == len(parts) else None,
    )


def _widened(provenance: np.ndarray, n_sources: int, *, to_the_right: bool) -> np.ndarray:
    """The provenance with a column for each source of the version: the main path's, then those of the sessions."""
    missing = np.zeros((len(provenance), n_sources - provenance.shape[1]), bool)
    return np.concatenate((missing, provenance) if to_the_right else (provenance, missing), axis=1)
