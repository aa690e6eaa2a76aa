"""RecTools' two-stage model: fits and recommendations, in a process of its own whose packages `rectools.py` installs.

    python rectools_fits.py JOBS.json

JOBS is a list of objects with the fields of Job. Tables are Parquet: events (user_id, item_id, datetime, linear,
decayed, target), users (user_id), and as a result lists (user_id, item_id, rank).
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import CosineRecommender
from lightgbm import LGBMRanker
from rectools import Columns
from rectools.dataset import Dataset
from rectools.model_selection import TimeRangeSplitter
from rectools.models import ImplicitALSWrapperModel, ImplicitItemKNNWrapperModel, PopularModel
from rectools.models.ranking import (
    CandidateFeatureCollector,
    CandidateGenerator,
    CandidateRankingModel,
    PerUserNegativeSampler,
    Reranker,
)
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

POPULAR_DAYS = 30
DAY = pd.Timedelta(1, unit="D")


@dataclass(frozen=True, slots=True)
class Job:
    """events, users, lists: files; values: the column of `events` that weighs; depth: items of a list

    filter_seen: rank what the user has no event on; days: of the window whose events are the ranker's labels
    features: whether the ranker sees counts and ages beside the first stage's scores and ranks
    als, cosine: settings of the first stage
    """

    events: str
    users: str
    lists: str
    values: str
    filter_seen: bool
    days: int
    depth: int
    candidates: int
    negatives: int
    features: bool
    als: dict[str, Any]
    cosine: dict[str, Any]
    seed: int


class GroupedReranker(Reranker):  # type: ignore[misc]
    """Gives LightGBM the rows of a user as one query."""

    def prepare_fit_kwargs(self, candidates_with_target: pd.DataFrame) -> dict[str, Any]:
        rows = candidates_with_target.sort_values(Columns.User, kind="stable")
        sizes = rows.groupby(Columns.User, sort=True).size().to_numpy()
        columns = rows.drop(columns=[*Columns.UserItem, Columns.Target])
        return {"X": columns, "y": rows[Columns.Target], "group": sizes}


class Counts(CandidateFeatureCollector):  # type: ignore[misc]
    """Events and age of what a user did with an item, of the user and of the item."""

    def collect_features(self, useritem: pd.DataFrame, dataset: Dataset, fold_info: Any) -> pd.DataFrame:
        events = dataset.get_raw_interactions(include_extra_cols=False)
        now, rows = events[Columns.Datetime].max(), useritem
        for name, keys in (("pair", Columns.UserItem), ("user", [Columns.User]), ("item", [Columns.Item])):
            groups = events.groupby(keys)
            found = groups[Columns.Weight].agg(["size", "sum"]).add_prefix(f"{name}_")
            found[f"{name}_age"] = (now - groups[Columns.Datetime].max()) / DAY
            rows = rows.merge(found.reset_index(), on=keys, how="left")
        return rows


class TwoStage(CandidateRankingModel):  # type: ignore[misc]
    """With the target events of the last window, once each, as labels."""

    def split_to_history_dataset_and_train_targets(
        self, dataset: Dataset, splitter: TimeRangeSplitter
    ) -> tuple[Dataset, pd.DataFrame, dict[str, Any]]:
        history, labels, fold = super().split_to_history_dataset_and_train_targets(dataset, splitter)
        return history, labels[labels["is_target"]].drop_duplicates(Columns.UserItem), fold


def two_stage(job: Job) -> TwoStage:
    models = (
        PopularModel(period=POPULAR_DAYS * DAY),
        ImplicitItemKNNWrapperModel(CosineRecommender(**job.cosine)),
        ImplicitALSWrapperModel(AlternatingLeastSquares(**job.als, random_state=job.seed)),
    )
    return TwoStage(
        [CandidateGenerator(model, job.candidates, keep_ranks=True, keep_scores=True) for model in models],
        TimeRangeSplitter(f"{job.days}D", filter_already_seen=job.filter_seen),
        GroupedReranker(LGBMRanker(random_state=job.seed, verbose=-1)),
        PerUserNegativeSampler(job.negatives, random_state=job.seed),
        Counts() if job.features else None,
    )


def run(job: Job) -> None:
    events = pd.read_parquet(job.events).rename(columns={job.values: Columns.Weight, "target": "is_target"})
    columns = [Columns.User, Columns.Item, Columns.Datetime, Columns.Weight, "is_target"]
    dataset = Dataset.construct(events[columns], keep_extra_cols=True)
    users = pd.read_parquet(job.users)[Columns.User].to_numpy()
    with threadpool_limits(1, "blas"):  # implicit runs threads of its own
        model = two_stage(job)
        model.fit(dataset)
        lists = model.recommend(users, dataset, k=job.depth, filter_viewed=job.filter_seen)
    lists[[Columns.User, Columns.Item, Columns.Rank]].astype(np.int64).to_parquet(job.lists, index=False)


def main() -> None:
    for fields in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        run(Job(**fields))


if __name__ == "__main__":
    main()
