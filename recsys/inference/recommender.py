"""All stages of a recommendation in one process, and the last stage: blend scores and keep the best items."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from recsys.arrays import offsets_of, order_within, ragged_indices
from recsys.errors import ModelError, RegistryError, RuleError
from recsys.histories import Histories
from recsys.inference.explanations import Chosen, Explainer, Explanations
from recsys.inference.repeat_cap import cap_repeats
from recsys.inference.settings import InferenceConfig, settings_of
from recsys.inference.stages import CandidateStage, rows_by_ranker, score_cold_start
from recsys.inference.watch import UNWATCHED, Watch
from recsys.models.blend import Blend
from recsys.models.rankers.registry import Ranker
from recsys.models.tables import Tables
from recsys.registry.bundle import Bundle
from recsys.retrieval.generator import Candidates
from recsys.rules.batch import BatchRules
from recsys.rules.book import RuleBook
from recsys.rules.items import RuleItems
from recsys.rules.programs import Programs
from recsys.schema import ALL
from recsys.sessions.model import SessionModel
from recsys.timeline import Present


@dataclass(frozen=True, slots=True)
class Recommendations:
    """Ranked items of a batch of users, user after user, best first.

    offsets: int64 (n_users + 1,); items: int32 (n,)
    scores, lgb_scores: float64 (n,), on [0, 1]; mf_scores: float64 (n,), NaN for items without a factor
    provenance: bool (n, n_sources), the sources that proposed the item, columns as `Recommender.source_names`; a batch
        without sessions may lack the columns of the session sources
    warm: bool (n_users,); n_candidates: int64 (n_users,)
    rows: int64 (n,), positions of the items among the candidates; empty for lists that cannot be explained
    explanations: of the first items of some users; None where no user gets any
    programs: the compiled rules of the batch; None without rules
    """

    offsets: np.ndarray
    items: np.ndarray
    scores: np.ndarray
    lgb_scores: np.ndarray
    mf_scores: np.ndarray
    provenance: np.ndarray
    warm: np.ndarray
    n_candidates: np.ndarray
    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    explanations: Explanations | None = None
    programs: Programs | None = None

    def chosen(self, candidates: Candidates, features: np.ndarray, lgb: np.ndarray, n: np.ndarray) -> Chosen:
        """The first `n` (int64 (n_users,)) items of each user with what the stages returned for them.

        candidates, features, lgb: of the whole batch, see `Recommender.propose` and `Recommender.rank`
        """
        offsets, rows = self.first(n)
        return Chosen(offsets, candidates.take(rows), features[rows], lgb[rows])

    def first(self, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The first `n` (int64 (n_users,)) items of each user: borders of the users, and positions among candidates."""
        counts = np.minimum(n, np.diff(self.offsets)) if len(self.rows) else np.zeros_like(n)
        return offsets_of(counts), self.rows[ragged_indices(self.offsets[:-1], counts)]


@dataclass(frozen=True, slots=True)
class StageScores:
    """Raw scores of the candidates of a batch, before the blend.

    lgb: float64 (n_pairs,), raw scores of the ranker
    mf: float32 (n_pairs,), raw scores of the factorization, NaN where there is none
    warm: bool (n_users,), users with an event on an item with a factor
    """

    lgb: np.ndarray
    mf: np.ndarray
    warm: np.ndarray


class Recommender:
    """All stages in one process."""

    def __init__(
        self,
        tables: Tables,
        stage: CandidateStage,
        rankers: Sequence[Ranker],
        blends: Sequence[Blend],
        config: InferenceConfig,
        sessions: SessionModel | None = None,
        rules: RuleBook | None = None,
    ) -> None:
        """rankers, blends: of all items, and of items that are new to the user

        sessions: None for a version without a session model; `recsys.inference.mixed` uses it
        rules: None if no request has any
        """
        self.candidates = stage
        self.factors = tables.factors
        self.rankers = rankers
        self.blends = blends
        self.explainer = Explainer(tables, stage, rankers, config)
        self.sessions = sessions
        self.exclude_purchased = tables.retrieval.exclude_purchased
        self._config = config
        self._rules = rules

    @classmethod
    def from_bundle(cls, opened: Bundle) -> "Recommender":
        """The stages of a version, with its own settings, features and blends; raises RegistryError."""
        manifest = opened.manifest
        config = settings_of(opened)
        try:
            stage = CandidateStage(opened.tables, manifest.prerankers, config, manifest.features)
        except ModelError as error:
            raise RegistryError(f"version {opened.version}: {error}") from error
        rules = RuleBook(items_of(opened))
        return cls(opened.tables, stage, opened.rankers, manifest.blends, config, opened.sessions, rules)

    @property
    def main_sources(self) -> tuple[str, ...]:
        """The candidate sources of the main path."""
        return self._config.candidates.source_names

    @property
    def source_names(self) -> tuple[str, ...]:
        """The candidate sources of the main path, then those of sessions."""
        of_sessions = () if self.sessions is None else self.sessions.source_names
        return (*self.main_sources, *of_sessions)

    @property
    def rules(self) -> RuleBook:
        """The rule book of the version; raises RuleError for a recommender that was made without one."""
        if self._rules is None:
            raise RuleError("this recommender has no facts about its items, so it cannot apply rules")
        return self._rules

    def __call__(
        self,
        histories: Histories,
        now: Present,
        n: int,
        objectives: np.ndarray | None = None,
        repeat_caps: np.ndarray | None = None,
        explained: np.ndarray | None = None,
        rules: BatchRules | None = None,
        watch: Watch = UNWATCHED,
    ) -> Recommendations:
        """The `n` best items of each user, fewer if there are fewer candidates; ties go to the smaller item code.

        objectives: int8 (n_users,), positions in OBJECTIVES; by default ALL for every user
        repeat_caps: float64 (n_users,), caps of the requests, NaN for the version's setting
        explained: int64 (n_users,), number of items of each list, from the first, that get explanations; None for none
        rules: filters and rules of the requests; a list then has at most the n of its own request. Raises RuleError
        watch: is told when each stage ends
        """
        codes = np.zeros(len(histories), np.int8) if objectives is None else objectives
        caps = self.repeat_caps(codes, repeat_caps)
        candidates, features = self.propose(histories, now, codes, caps, rules)
        watch.proposed(self.main_sources, candidates.provenance, candidates.filtered)
        watch.ended("candidates")
        user_factors, warm = self.fold_in(histories)
        mf = self.factors.score(user_factors, candidates.users, candidates.items)
        watch.ended("factors")
        lgb = self.rank(features, candidates.for_discovery)
        watch.ended("rank")
        best = self.combine(histories, candidates, StageScores(lgb, mf, warm), n, caps, rules)
        watch.ended("blend")
        if explained is None or not explained.any():
            return best
        chosen = best.chosen(candidates, features, lgb, explained)
        best = replace(best, explanations=self.explainer(chosen, histories, now))
        watch.ended("explanations")
        return best

    def propose(
        self,
        histories: Histories,
        now: Present,
        objectives: np.ndarray,
        repeat_caps: np.ndarray | None,
        rules: BatchRules | None = None,
    ) -> tuple[Candidates, np.ndarray]:
        """Candidates and their rows for the ranker, float32 (n_pairs, n_features).

        One stage computes both, because both need the users' profiles. Sending the rows to the ranker takes less time
        than computing the profiles again there.
        """
        profiles = self.candidates.profile(histories, now)
        programs = None if rules is None else self.rules.programs(rules, histories)
        candidates = self.candidates(profiles, objectives, repeat_caps, programs)
        if programs is not None:
            candidates = replace(candidates, filtered=programs.kept_out)
        return candidates, self.candidates.features(profiles, candidates)

    def rank(self, features: np.ndarray, for_discovery: np.ndarray) -> np.ndarray:
        """Raw scores of candidates, each by its ranker, float64 (n_pairs,); for_discovery: bool (n_pairs,)."""
        raw = np.empty(len(features))
        for ranker, rows in rows_by_ranker(for_discovery):
            raw[rows] = self.rankers[ranker].predict(features[rows])
        return raw

    def fold_in(self, histories: Histories) -> tuple[np.ndarray, np.ndarray]:
        """User factors, and whether each user is warm, see `ItemFactors.fold_in`; candidates play no part in them."""
        return self.factors.fold_in(histories.latest(self._config.history.max_events))

    def repeat_caps(self, objectives: np.ndarray, requested: np.ndarray | None) -> np.ndarray | None:
        """The largest fraction of each user's list for items of the history, float64 (n_users,); None for no cap.

        Only lists with objective ALL have a cap.
        objectives: int8 (n_users,), positions in OBJECTIVES
        requested: float64 (n_users,), caps of the requests, NaN for the version's setting; None if no request has a cap
        """
        caps = np.full(len(objectives), self._config.repeat_cap)
        if requested is not None:
            caps = np.where(np.isnan(requested), caps, requested)
        caps = np.where(objectives == ALL, caps, 1.0)
        return caps if (caps < 1).any() else None

    def combine(
        self,
        histories: Histories,
        candidates: Candidates,
        raw: StageScores,
        n: int,
        repeat_caps: np.ndarray | None,
        rules: BatchRules | None = None,
    ) -> Recommendations:
        """Blend the stages' scores and keep the `n` best items of each user, under the caps of `cap_repeats`.

        With rules, they order the lists, see `Programs.arrange`; the scores stay as they are.
        """
        lgb = score_cold_start(raw.lgb, histories, candidates, self._config)
        scores, lgb_scores, mf_scores = np.empty((3, len(lgb)))
        for blend, rows in rows_by_ranker(candidates.for_discovery):
            scores[rows], lgb_scores[rows], mf_scores[rows] = self.blends[blend](lgb[rows], raw.mf[rows])
        n_candidates = np.bincount(candidates.users, minlength=candidates.n_users)
        programs = None if rules is None else self.rules.programs(rules, histories)
        pool = ScoredPairs(candidates.users, candidates.items, scores, candidates.in_history)
        best, kept = best_rows(pool, n, repeat_caps, candidates.n_users, programs)
        return Recommendations(
            offsets_of(kept),
            candidates.items[best],
            scores[best],
            lgb_scores[best],
            mf_scores[best],
            candidates.provenance[best],
            raw.warm,
            n_candidates,
            best,
            programs=programs,
        )


@dataclass(frozen=True, slots=True)
class ScoredPairs:
    """Scored candidates: users, items, scores (n,) each; in_history: bool (n,), read if there are repeat caps."""

    users: np.ndarray
    items: np.ndarray
    scores: np.ndarray
    in_history: np.ndarray | None


def best_rows(
    pairs: ScoredPairs, n: int, repeat_caps: np.ndarray | None, n_users: int, programs: Programs | None
) -> tuple[np.ndarray, np.ndarray]:
    """The rows of the `n` best items of each user, user after user and best first, and their number for each user.

    Ties go to the smaller item code. With rules, these order the lists, and each has its own n.
    """
    if programs is not None:
        arranged = programs.arrange(pairs.users, pairs.items, pairs.scores, pairs.in_history, repeat_caps)
        return arranged.rows, arranged.lengths
    order = order_within(pairs.users, pairs.scores, pairs.items)
    if repeat_caps is not None and pairs.in_history is not None:
        order = cap_repeats(order, pairs.users, pairs.in_history, repeat_caps)
    listed = np.bincount(pairs.users[order], minlength=n_users)
    kept = np.minimum(listed, n)
    return order[ragged_indices(np.cumsum(listed) - listed, kept)], kept


def items_of(opened: Bundle) -> RuleItems:
    """The facts about a version's items that rules may use."""
    specs = opened.manifest.attributes or ()
    return RuleItems(
        opened.items,
        opened.categories,
        opened.parents,
        opened.tables.statistics,
        opened.tables.factors,
        tuple(spec.name for spec in specs if spec.kind == "number"),
        opened.words,
    )
