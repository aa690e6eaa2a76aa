"""Candidates: the filtered proposals of all sources, of which the pre-ranker keeps the best for each user."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field, SerializeAsAny, ValidationError, ValidationInfo, field_validator

from recsys.arrays import offsets_of, rank_within
from recsys.errors import ConfigError, ModelError
from recsys.features.profiles import Profiles
from recsys.features.statistics import Statistics
from recsys.retrieval.filters import Proposed, in_stock, not_bought, suits_objective
from recsys.retrieval.merging import Listed, merged
from recsys.retrieval.preranker import PreRanker, Proposals
from recsys.retrieval.restrictions import Extension, Ranked, Restrictions
from recsys.retrieval.sources.base import Batch, Scored, SourceConfig
from recsys.retrieval.sources.registry import SOURCES
from recsys.schema import DISCOVER, UNKNOWN, Config
from recsys.specs import Arrays


def every_source() -> dict[str, SourceConfig]:
    """All registered sources with their default settings, except those that need attributes of items."""
    return {name: SOURCES[name].settings() for name in SOURCES.names if not SOURCES[name].needs_attributes}


class CandidateConfig(Config):
    """Settings of the candidates that the ranker scores."""

    size: int = Field(120, ge=1)
    """Number of candidates of a user, at most."""
    seeds: int = Field(30, ge=1)
    """Number of a user's newest items whose neighbours are proposed."""
    sources: dict[str, SerializeAsAny[SourceConfig]] = Field(default_factory=every_source)
    """The settings of each candidate source, by its name."""
    exclude_purchased: bool | None = None
    """Whether items that the user has bought are left out; None decides by `repeat_rate_threshold`."""
    repeat_rate_threshold: float = Field(0.02, ge=0, le=1)
    """If exclude_purchased is None, bought items are proposed again only in shops with enough repeat purchases: of all
    pairs of a buyer and a bought item, at least this fraction must have purchases on several days."""

    @field_validator("sources", mode="before")
    @classmethod
    def _by_name(cls, value: Any, info: ValidationInfo) -> dict[str, SourceConfig]:
        """Settings of every registered source, or of the sources that a version declares (`declared_sources`).

        A source that needs attributes of items is left out unless it is given: see `for_attributes`.
        """
        given = {} if value is None else value
        if not isinstance(given, Mapping):
            raise ValueError(f"expected the settings of sources by name; the sources are: {', '.join(SOURCES.names)}")
        declared = (info.context or {}).get("declared_sources")
        names = SOURCES.names if declared is None else declared
        if unknown := sorted(map(str, given.keys() - set(names))):
            raise ValueError(f"there is no source {', '.join(unknown)}; the sources are: {', '.join(names)}")
        return {
            name: _source_settings(name, given.get(name))
            for name in names
            if declared is not None or name in given or not SOURCES[name].needs_attributes
        }

    def for_attributes(self, given: bool) -> "CandidateConfig":
        """The settings with or without the sources that need attributes; given: whether the shop has any."""
        sources = {
            name: self.sources.get(name) or SOURCES[name].settings()
            for name in SOURCES.names
            if name in self.sources or SOURCES[name].needs_attributes
        }
        kept = {name: one for name, one in sources.items() if given or not SOURCES[name].needs_attributes}
        return self.model_copy(update={"sources": kept})

    @property
    def source_names(self) -> tuple[str, ...]:
        """The sources in the order of their columns."""
        return tuple(self.sources)

    @property
    def source_weights(self) -> tuple[float, ...]:
        """The weights of the sources, in the same order."""
        return tuple(settings.weight for settings in self.sources.values())


def _source_settings(name: str, value: Any) -> SourceConfig:
    """The checked settings of a source; raises ValueError with the name of the wrong key."""
    try:
        kind = SOURCES[name].settings
    except ConfigError as error:
        raise ValueError(str(error)) from error
    if isinstance(value, kind):
        return value
    try:
        return kind.model_validate({} if value is None else value)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, (name, *problem["loc"])))
        if problem["type"] == "extra_forbidden":
            raise ValueError(f"{key} is unknown; there are: {', '.join(kind.model_fields)}") from None
        raise ValueError(f"{key}: {problem['msg']}") from None


@dataclass(frozen=True, slots=True)
class RetrievalTables:
    """The tables of the sources, fitted at a cut.

    sources: the table of each source by its name, in the order of their columns
    exclude_purchased: whether items that the user has bought are left out
    """

    sources: Mapping[str, Arrays]
    exclude_purchased: bool


@dataclass(frozen=True, slots=True)
class Candidates:
    """Candidates of a batch of users, ascending by (user, item).

    users: int64 (n,), positions in the batch; items: int32 (n,)
    source_scores: float32 (n, n_sources), each source's score, NaN where it did not propose the item
    in_history: bool (n,), whether the user has an event on the item
    preranker_score: float32 (n,), the pre-ranker's log-odds up to an additive constant
    objectives: int8 (n_users,), positions in OBJECTIVES
    place: int32 (n,), place in the order of popularity, from 1, of items that fill a list up; 0 for other items; None
        without rules
    filtered: proposals and items to fill lists up that rules kept out
    """

    n_users: int
    users: np.ndarray
    items: np.ndarray
    source_scores: np.ndarray
    in_history: np.ndarray
    preranker_score: np.ndarray
    objectives: np.ndarray
    place: np.ndarray | None = None
    filtered: int = 0

    @classmethod
    def given(cls, n_users: int, users: np.ndarray, items: np.ndarray, source_scores: np.ndarray) -> "Candidates":
        """Candidates from given pairs: with objective ALL, without a history, and with the pre-ranker score 0."""
        zeros = np.zeros(len(users), np.float32)
        return cls(n_users, users, items, source_scores, zeros > 0, zeros, np.zeros(n_users, np.int8))

    @property
    def offsets(self) -> np.ndarray:
        """Borders of the users' candidates; int64 (n_users + 1,)."""
        return offsets_of(np.bincount(self.users, minlength=self.n_users))

    @property
    def provenance(self) -> np.ndarray:
        """Which sources proposed each item, bool (n, n_sources)."""
        return ~np.isnan(self.source_scores)

    @property
    def for_discovery(self) -> np.ndarray:
        """Whether the user's objective is DISCOVER, which has models of its own; bool (n,)."""
        return (self.objectives == DISCOVER)[self.users]

    def take(self, rows: np.ndarray) -> "Candidates":
        """The candidates in `rows` (int64 positions or a bool mask); the users stay the same."""
        return Candidates(
            self.n_users,
            self.users[rows],
            self.items[rows],
            self.source_scores[rows],
            self.in_history[rows],
            self.preranker_score[rows],
            self.objectives,
            None if self.place is None else self.place[rows],
        )


def generate(
    profiles: Profiles,
    tables: RetrievalTables,
    statistics: Statistics,
    config: CandidateConfig,
    preranker: PreRanker,
    objectives: np.ndarray,
    repeat_caps: np.ndarray | None = None,
    restrictions: Restrictions | None = None,
) -> Candidates:
    """The `config.size` proposals of each user with the highest pre-ranker scores; ties go to the smaller item code.

    A user with fewer proposals gets all of them. A source may have a reserved part of the candidates for DISCOVER.
    objectives: int8 (n_users,), positions in OBJECTIVES
    repeat_caps: float64 (n_users,), at most ⌈size · cap⌉ candidates are items of the user's history; None for no cap
    restrictions: the rules of the requests: filters of proposals, and further candidates; None for no rules
    """
    proposals = propose(profiles, tables, statistics, config, objectives, restrictions)
    scores = preranker(profiles, statistics, proposals, objectives)
    uncapped = scores if restrictions is None else scores.copy()
    if repeat_caps is not None:
        known, limit = proposals.history_rows != UNKNOWN, np.ceil(config.size * repeat_caps)[proposals.users]
        # Ranks are counted in two groups for each user: 2 * user has the new items, 2 * user + 1 those of the history.
        scores[known & (rank_within(2 * proposals.users + known, scores) >= limit)] = -np.inf
    order = scores
    for column, (name, settings) in enumerate(config.sources.items()):
        if reserved := SOURCES[name].reserved(settings):
            first = (proposals.ranks[:, column] < np.ceil(config.size * reserved)) & (scores > -np.inf)
            order = np.where(first & (objectives == DISCOVER)[proposals.users], np.inf, order)
    best = ((rank_within(proposals.users, order) < config.size) & (order > -np.inf)).nonzero()[0]
    place = None
    if restrictions is not None:

        def permitted(users: np.ndarray, items: np.ndarray) -> np.ndarray:
            rows = Proposed(users, items, profiles.by_item.find(users, items), objectives[users])
            return _allowed(rows, profiles, tables, statistics, restrictions)

        extension = Extension(restrictions, permitted, profiles, statistics, preranker, objectives, repeat_caps)
        ranked, place = extension(Ranked(proposals, uncapped, best))
        proposals, scores, best = ranked.proposals, ranked.scores, ranked.best
    return Candidates(
        len(profiles),
        proposals.users[best],
        proposals.items[best],
        proposals.scores.take(best, axis=0),
        proposals.history_rows[best] != UNKNOWN,
        scores[best],
        objectives,
        place,
    )


def propose(
    profiles: Profiles,
    tables: RetrievalTables,
    statistics: Statistics,
    config: CandidateConfig,
    objectives: np.ndarray,
    restrictions: Restrictions | None = None,
) -> Proposals:
    """The filtered proposals of all sources; objectives: int8 (n_users,), positions in OBJECTIVES."""
    batch, by_item, n_items = Batch(profiles, config.seeds), profiles.by_item, max(statistics.n_items, 1)
    active = [column for column, weight in enumerate(config.source_weights) if weight]
    names = [config.source_names[column] for column in active]
    parts = [SOURCES[name].propose(tables.sources[name], batch, config.sources[name]) for name in names]
    source = np.repeat(active, [len(part.users) for part in parts]) if parts else np.zeros(0, np.int64)
    users = np.concatenate([np.zeros(0, np.int64), *(part.users for part in parts)])
    items = np.concatenate([np.zeros(0, np.int32), *(part.items for part in parts)])
    scores = np.concatenate([np.zeros(0), *(part.scores for part in parts)])
    even = all(len(part.users) == len(part.items) == len(part.scores) for part in parts)
    if not (even and _within(users, len(profiles)) and _within(items, n_items)):
        for name, part in zip(names, parts, strict=True):
            _check(name, part, len(profiles), n_items)
    row_objectives = objectives[users]
    if tables.exclude_purchased or row_objectives.any() or not any(part.history_rows is not None for part in parts):
        history_rows = by_item.find(users, items)
    else:
        # The source `own` proposes every item of the histories and gives its row.
        history_rows = np.concatenate([_history_rows(part) for part in parts])
    proposed = Proposed(users, items, history_rows, row_objectives)
    allowed = _allowed(proposed, profiles, tables, statistics, restrictions)
    listed = Listed(source, users * n_items + items, scores, history_rows)
    if not allowed.all():
        listed = listed.take(allowed)
    return merged(listed, len(profiles), n_items, len(config.sources))


def _allowed(
    proposed: Proposed,
    profiles: Profiles,
    tables: RetrievalTables,
    statistics: Statistics,
    restrictions: Restrictions | None,
) -> np.ndarray:
    """Whether each row passes all filters, bool (n,)."""
    if restrictions is None:
        allowed = in_stock(proposed, statistics.available)
    else:
        allowed = restrictions.allows(proposed.users, proposed.items)
    if proposed.objectives.any():
        allowed &= suits_objective(proposed)
    if tables.exclude_purchased:
        allowed &= not_bought(proposed, profiles.by_item)
    return allowed


def _check(name: str, part: Scored, n_users: int, n_items: int) -> None:
    """Raises ModelError for proposals that are no users of the batch or no items: they would go to another user."""
    if not len(part.users) == len(part.items) == len(part.scores):
        lengths = len(part.users), len(part.items), len(part.scores)
        raise ModelError(f"candidate source {name}: users, items and scores have lengths {lengths}, expected the same")
    for kind, values, size in (("user", part.users, n_users), ("item", part.items, n_items)):
        if not _within(values, size):
            raise ModelError(f"candidate source {name}: its {kind}s are not all integers from 0 to {size - 1}")


def _within(values: np.ndarray, size: int) -> bool:
    """Whether all values are integers from 0 to size - 1."""
    return values.dtype.kind == "i" and (not len(values) or 0 <= values.min() <= values.max() < size)


def _history_rows(part: Scored) -> np.ndarray:
    return np.full(len(part.users), UNKNOWN) if part.history_rows is None else part.history_rows
