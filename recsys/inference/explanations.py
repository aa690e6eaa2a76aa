"""Explanations of recommendations: the item of the history that each follows from, and the parts of its raw score."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np

from recsys.arrays import offsets_of, rows_of
from recsys.histories import Histories
from recsys.inference.settings import InferenceConfig
from recsys.inference.stages import CandidateStage, cold_start_positions, rows_by_ranker
from recsys.models.rankers.registry import Ranker, path_contributions_of
from recsys.models.tables import Tables
from recsys.retrieval.generator import Candidates
from recsys.retrieval.sources.base import Batch
from recsys.retrieval.sources.registry import SOURCES
from recsys.schema import EVENT_TYPES, UNKNOWN
from recsys.timeline import Present

SHOWN: Final = 3
"""Features of an explanation."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Items that get explanations, user after user, each user's in the order of the list.

    offsets: int64 (n_users + 1,), borders of the users; candidates: n of them, in the order of the items
    features: float32 (n, n_features); raw_scores: float64 (n,), of the ranker
    """

    offsets: np.ndarray
    candidates: Candidates
    features: np.ndarray
    raw_scores: np.ndarray


@dataclass(frozen=True, slots=True)
class Explanations:
    """Explanations of the first items of each user's list; a user without explanations has no rows.

    offsets: int64 (n_users + 1,), borders of the users
    sources: int64 (n,), column of the source that explains the item, UNKNOWN if no source proposed it
    origins: int32 (n,), code of the item of the history that the source followed, UNKNOWN if it followed none
    events: int64 (n,), strongest type of the user's events on that item, a position in EVENT_TYPES, or UNKNOWN
    positions: int64 (n,), for users without events the position in the lists of popular items, from 1; UNKNOWN for an
        item in none of the lists, and for other users
    raw_scores: float64 (n,), the ranker's, NaN for users without events, for whom it does not rank
    features: int64 (n, SHOWN), columns of the features with the largest contributions, the largest first; UNKNOWN where
        a ranker has fewer features
    values, contributions: float64 (n, SHOWN), of these features
    others: float64 (n,), the sum of the contributions of all other features
    biases: float64 (n,), raw scores before any feature counts, see `Ranker.path_contributions`
    """

    offsets: np.ndarray
    sources: np.ndarray
    origins: np.ndarray
    events: np.ndarray
    positions: np.ndarray
    raw_scores: np.ndarray
    features: np.ndarray
    values: np.ndarray
    contributions: np.ndarray
    others: np.ndarray
    biases: np.ndarray


def largest_parts(features: np.ndarray, contributions: np.ndarray) -> tuple[np.ndarray, ...]:
    """The fields of Explanations from `features` to `biases`.

    features: float32 (n, n_features); contributions: float64 (n, n_features + 1), see `Ranker.path_contributions`
    """
    added = contributions[:, :-1]
    columns = np.argsort(-np.abs(added), axis=1, kind="stable")[:, :SHOWN]
    largest = np.take_along_axis(added, columns, axis=1)
    values = np.take_along_axis(features, columns, axis=1).astype(np.float64)
    others = added.sum(axis=1) - largest.sum(axis=1)
    missing = ((0, 0), (0, SHOWN - columns.shape[1]))
    columns = np.pad(columns, missing, constant_values=UNKNOWN)
    return columns, np.pad(values, missing), np.pad(largest, missing), others, contributions[:, -1]


def joined(parts: Sequence[Explanations], requests: np.ndarray) -> Explanations:
    """The explanations of several groups of requests, in the order of the requests.

    requests: int64 (n_requests,), the position of each request in the order wanted, part after part
    """
    order = requests.argsort()
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    rows, _ = rows_of(order, offsets_of(lengths))
    columns = [
        np.concatenate([getattr(part, field.name) for part in parts])[rows] for field in fields(Explanations)[1:]
    ]
    return Explanations(offsets_of(lengths[order]), *columns)


class Explainer:
    """Explains the items of lists that are known already, so the time does not grow with the candidates."""

    def __init__(
        self, tables: Tables, stage: CandidateStage, rankers: Sequence[Ranker], config: InferenceConfig
    ) -> None:
        """rankers: of all items, and of items that are new to the user."""
        self._tables, self._stage, self._rankers, self._config = tables, stage, rankers, config

    def __call__(self, chosen: Chosen, histories: Histories, now: Present) -> Explanations:
        """Explanations of the chosen items; histories, now: of the batch that they were chosen from."""
        sources, origins, events = self._origins(chosen.candidates, histories, now)
        cold = histories.lengths[chosen.candidates.users] == 0
        in_lists, _ = cold_start_positions(chosen.candidates.source_scores, self._config)
        return Explanations(
            chosen.offsets,
            sources,
            origins,
            events,
            np.where(cold & ~np.isnan(in_lists), np.rint(np.nan_to_num(in_lists)), UNKNOWN).astype(np.int64),
            np.where(cold, np.nan, chosen.raw_scores),
            *largest_parts(chosen.features, self._contributions(chosen)),
        )

    def _contributions(self, chosen: Chosen) -> np.ndarray:
        """Contributions to the raw scores, each by its ranker, float64 (n, n_features + 1)."""
        added = np.empty((len(chosen.features), chosen.features.shape[1] + 1))
        for ranker, rows in rows_by_ranker(chosen.candidates.for_discovery):
            added[rows] = path_contributions_of(self._rankers[ranker], chosen.features[rows])
        return added

    def _origins(
        self, candidates: Candidates, histories: Histories, now: Present
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sources, origins and events, see Explanations.

        The first source in the order of the version that proposed the item and followed an item of the history
        explains it; without such a source the first one that proposed it.
        """
        active, users = np.unique(candidates.users, return_inverse=True)
        as_of = now[active] if isinstance(now, np.ndarray) else now
        profiles = self._stage.profile(histories.take(active), as_of)
        batch, by_item = Batch(profiles, self._config.candidates.seeds), profiles.by_item
        provenance = candidates.provenance
        sources = np.where(provenance.any(axis=1), provenance.argmax(axis=1), UNKNOWN)
        rows = np.full(len(users), UNKNOWN)
        for column, name in enumerate(self._config.candidates.source_names):
            left = (provenance[:, column] & (rows == UNKNOWN)).nonzero()[0]
            if len(left):
                table, items = self._tables.retrieval.sources[name], candidates.items[left]
                rows[left] = SOURCES[name].origins(table, batch, self._tables.statistics, users[left], items)
                sources[left[rows[left] != UNKNOWN]] = column
        strongest = len(EVENT_TYPES) - 1 - (by_item.counts[:, ::-1] > 0).argmax(axis=1)
        origins = np.append(by_item.things, UNKNOWN)[rows]  # UNKNOWN is -1, so it reads the last entry
        return sources, origins.astype(np.int32), np.append(strongest, UNKNOWN)[rows]
