"""The source of items that nobody has met."""

import numpy as np
import pyarrow as pa

from recsys.inference.stages import CandidateStage, objectives
from recsys.models.tables import Tables
from recsys.retrieval.preranker import KNOTS, NO_PRERANKERS, PreRankerModel, PreRankerModels, by_source_weights
from recsys.retrieval.sources.base import Batch, Scored
from recsys.retrieval.sources.fresh import Fresh, FreshConfig
from tests.support.attributed import UNMET, attributed_config, attributed_world, leaf_of
from tests.support.shop_data import END, ITEMS, LEAVES, USERS, user_id
from tests.support.world import NOBODY_DID_ANYTHING, tables_of


def fitted(age: int = 0, *settings: str) -> Tables:
    return tables_of(attributed_world(), age, attributed_config(*settings))


def unmet() -> list[int]:
    """The codes of the items without an event, by their number."""
    ids = pa.array([501 + 6 * number for number in range(UNMET)])
    codes: list[int] = attributed_world().items.encode(ids).tolist()
    return codes


def proposed(tables: Tables, settings: FreshConfig) -> Scored:
    stage = CandidateStage(tables, NO_PRERANKERS, attributed_config().inference)
    profiles = stage.profile(attributed_world().partition.histories, END)
    return Fresh().propose(tables.retrieval.sources["fresh"], Batch(profiles, 30), settings)


def test_its_items_are_available_known_and_unmet() -> None:
    """The last one is sold out."""
    assert set(fitted().retrieval.sources["fresh"]["items"].tolist()) == set(unmet()[:-1])


def test_an_item_whose_attributes_come_after_the_cut_is_not_known() -> None:
    """The second half of them has attributes from day 60 of 90 on; the last one is sold out."""
    late = set(unmet()[UNMET // 2 : -1])
    assert not late & set(fitted(31).retrieval.sources["fresh"]["items"].tolist())
    assert late <= set(fitted(29).retrieval.sources["fresh"]["items"].tolist())


def test_the_first_item_is_of_the_users_own_category_and_brand() -> None:
    """Four of five visits of user u are to leaf u % LEAVES."""
    rows = proposed(fitted(), FreshConfig())
    numbers = {code: number for number, code in enumerate(unmet(), ITEMS)}
    first = rows.items[np.unique(rows.users, return_index=True)[1]]
    users = attributed_world().partition.users.to_pylist()
    preferred = {user_id(user): user % LEAVES for user in range(USERS)}
    hits = [leaf_of(numbers[code]) == preferred[user] for user, code in zip(users, first.tolist(), strict=True)]
    assert np.mean(hits) > 0.8


def test_newer_items_come_first_among_equals() -> None:
    """In each leaf one unmet item is from before the log, and one from day 60; both have the same brand."""
    few = fitted(0, "inference.candidates.sources.fresh.per_label=1")
    items = set(few.retrieval.sources["fresh"]["items"].tolist())
    late = set(unmet()[UNMET // 2 : -1])
    assert items < set(unmet()[:-1])
    assert late <= items


def test_its_part_of_the_candidates_is_capped() -> None:
    config = attributed_config("inference.candidates.sources.fresh.size=2")
    stage = CandidateStage(fitted(), NO_PRERANKERS, config.inference)
    profiles = stage.profile(attributed_world().partition.histories, END)
    candidates = stage(profiles)
    by_it = candidates.provenance[:, config.inference.candidates.source_names.index("fresh")]
    counts = np.bincount(candidates.users[by_it])
    assert counts.max() == 2
    assert not candidates.in_history[by_it].any()


def test_its_best_items_have_a_reserved_part_of_the_candidates() -> None:
    """A pre-ranker that rates them below all others leaves them out, but for their part: ceil(0.05 * 20) = 1.

    They have it among items new to the user, not in lists of all items.
    """
    config = attributed_config()
    names = config.inference.candidates.source_names
    against = by_source_weights(names).model_dump() | {"ranks": dict.fromkeys(names, (0.0,) * len(KNOTS))}
    against["ranks"]["fresh"] = (-1000.0,) * len(KNOTS)
    model = PreRankerModel.model_validate(against)
    for objective, reserved, expected in (
        ("discover", 0.05, 1),
        ("discover", 0.2, 4),
        ("discover", 0.0, 0),
        ("all", 0.2, 0),
    ):
        config = attributed_config(f"inference.candidates.sources.fresh.reserved={reserved}")
        stage = CandidateStage(fitted(), PreRankerModels(all=model, discovery=model), config.inference)
        profiles = stage.profile(attributed_world().partition.histories, END)
        candidates = stage(profiles, objectives(objective, len(profiles)))
        by_it = candidates.provenance[:, names.index("fresh")]
        counts = np.bincount(candidates.users[by_it], minlength=candidates.n_users)
        assert np.bincount(candidates.users).max() == 20
        full = np.bincount(candidates.users) == 20
        assert set(counts[full].tolist()) == {expected}


def test_items_that_few_users_met_count_if_asked_for() -> None:
    plain = fitted().retrieval.sources["fresh"]["items"]
    more = fitted(0, "inference.candidates.sources.fresh.max_users=40").retrieval.sources["fresh"]["items"]
    assert set(plain.tolist()) < set(more.tolist())


def test_a_user_without_events_gets_none() -> None:
    tables = fitted()
    stage = CandidateStage(tables, NO_PRERANKERS, attributed_config().inference)
    batch = Batch(stage.profile(NOBODY_DID_ANYTHING, END), 30)
    assert len(Fresh().propose(tables.retrieval.sources["fresh"], batch, FreshConfig()).items) == 0
