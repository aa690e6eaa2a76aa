"""Tables and candidates of the smallest shops, without Ray and without a factorization."""

import numpy as np
import pyarrow as pa
import pytest

from recsys.data.catalog import Records, build_catalog
from recsys.data.partition import count_days
from recsys.data.shop import UserPartition
from recsys.histories import Histories
from recsys.inference.stages import CandidateStage
from recsys.models.rankers.untrained import UntrainedRanker
from recsys.models.tables import Tables
from recsys.retrieval.preranker import NO_PRERANKERS
from recsys.schema import DAY, PURCHASE, VIEW
from recsys.timeline import Cut
from recsys.training.tables import count_partition, fit_cut
from tests.support.shop_data import END
from tests.support.world import NOBODY_DID_ANYTHING, small_config

CUT = Cut.at(END, 0)


def tables_and_stage(histories: Histories, n_items: int) -> tuple[Tables, CandidateStage]:
    nothing, no_rows = pa.array([], pa.int64()), np.zeros(0, np.int64)
    no_records = Records(no_rows, no_rows, nothing), Records(no_rows, no_rows, pa.array([], pa.bool_()))
    catalog, _ = build_catalog(n_items, *no_records, nothing, nothing)
    partition = UserPartition(pa.array(np.arange(len(histories))), histories)
    config = small_config("inference.candidates.exclude_purchased=null")
    counts = count_partition(partition, n_items, CUT, config)
    tables = fit_cut(count_days(partition, END), catalog, CUT, config, config.factorization, 1, counts)
    return tables, CandidateStage(tables, NO_PRERANKERS, config.inference, UntrainedRanker().feature_names)


def history(*events: tuple[int, int, int, int], n_users: int) -> Histories:
    """events: user, item, type, age in days"""
    users, items, kinds, ages = (np.array(column) for column in zip(*events, strict=True))
    return Histories.build(users, items, kinds, END - ages * DAY, n_users)


@pytest.mark.parametrize("kind", [VIEW, PURCHASE])
def test_one_event(kind: int) -> None:
    histories = history((0, 0, kind, 0), n_users=1)
    tables, stage = tables_and_stage(histories, 1)
    assert not tables.factors.known.any()
    profiles = stage.profile(histories, END)
    candidates = stage(profiles)
    assert candidates.items.tolist() == ([0] if kind == VIEW else [])  # nothing is bought again here
    assert stage.features(profiles, candidates).shape == (len(candidates.items), 1)
    cold_start = stage(stage.profile(NOBODY_DID_ANYTHING, END))
    assert cold_start.items.tolist() == [0]


def test_the_weights_of_the_sources_rank() -> None:
    """Users 0 to 2 view items 0 and 1 in one visit, so user 3 of item 0 gets item 1 before the popular item 2."""
    together = [(user, item, VIEW, 5) for user in range(3) for item in (0, 1)]
    histories = history(*together, (3, 0, VIEW, 0), *((4, 2, VIEW, age) for age in range(4)), n_users=5)
    tables, stage = tables_and_stage(histories, 3)
    profiles = stage.profile(histories, END)
    candidates = stage(profiles)
    scores = UntrainedRanker().predict(stage.features(profiles, candidates))
    of_user = candidates.users == 3
    ranked = candidates.items[of_user][np.argsort(-scores[of_user])]
    assert ranked.tolist() == [0, 1, 2]
    user_factors, warm = tables.factors.fold_in(histories)
    assert not warm.any()
    assert np.isnan(tables.factors.score(user_factors, candidates.users, candidates.items)).all()
