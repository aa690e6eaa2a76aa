from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from recsys.errors import TooLittleData
from recsys.evaluation import protocol  # by module: pytest would collect test_cases and TestCases by name
from recsys.evaluation.settings import EvaluationConfig
from recsys.histories import Histories
from recsys.schema import CART, DAY, PURCHASE, UNKNOWN, VIEW

CUT, END = 10 * DAY, 12 * DAY
USERS = pa.array([3, 5, 8, 9])
# user position, item, event, time
EVENTS = [
    (0, 0, VIEW, DAY),
    (0, 0, PURCHASE, CUT + 1),
    (0, 2, PURCHASE, CUT + 2),
    (0, 2, PURCHASE, END),
    (0, 3, PURCHASE, CUT + 3),  # item 3 has no event before the cut
    (1, 2, CART, CUT + 4),  # no purchase in the window
    (2, 1, PURCHASE, END),  # cold
    (2, 0, PURCHASE, END + 1),  # after the window
    (3, 2, VIEW, CUT),  # the cut itself is history
]
KNOWN = np.array([True, True, True, False])


def histories_of(events):
    users, items, kinds, times = (np.array(column) for column in zip(*events, strict=True))
    return Histories.build(users, items, kinds, times, len(USERS))


def cases_of(histories, targets=(PURCHASE,), known=KNOWN):
    return protocol.test_cases(USERS, histories, CUT, END, targets=targets, known_items=known)


def many_cases(rng, n_users):
    """One purchase of each user after the cut, ids in random order, in partitions of sorted ids."""
    ids = rng.permutation(10 * n_users)[:n_users]
    parts = []
    for part in np.array_split(ids, 3):
        users = np.arange(len(part))
        items = np.sort(part) % 4
        history = Histories.build(users, items, users * 0, users * 0 + CUT + 1, len(part))
        known = np.ones(4, np.bool_)
        parts.append(
            protocol.test_cases(pa.array(np.sort(part)), history, CUT, END, targets=(VIEW,), known_items=known)
        )
    return np.sort(ids), parts


def test_users_truth_and_histories_of_a_window():
    cases = cases_of(histories_of(EVENTS))
    assert cases.users.to_pylist() == [3, 8]
    assert cases.truth.offsets.tolist() == [0, 2, 3]
    assert cases.truth.items.tolist() == [0, 2, 1]
    assert cases.truth.items.dtype == np.int32
    assert cases.has_history.tolist() == [True, False]
    assert cases.histories.lengths.tolist() == [1, 0]


def test_every_target_type_counts():
    cases = cases_of(histories_of(EVENTS), targets=(CART, PURCHASE))
    assert cases.users.to_pylist() == [3, 5, 8]
    assert cases.has_history.tolist() == [True, False, False]


def test_items_unknown_before_the_cut_are_no_truth():
    cases = cases_of(histories_of(EVENTS), known=np.array([True, False, True, False]))
    assert cases.users.to_pylist() == [3]


def test_cases_do_not_depend_on_the_order_of_events():
    expected = cases_of(histories_of(EVENTS))
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(EVENTS))
        cases = cases_of(histories_of([EVENTS[row] for row in order]))
        assert cases.users.equals(expected.users)
        for name in ("offsets", "items"):
            assert np.array_equal(getattr(cases.truth, name), getattr(expected.truth, name))
            assert np.array_equal(getattr(cases.histories, name), getattr(expected.histories, name))


def test_nothing_after_the_cut_enters_a_history():
    cases = cases_of(histories_of(EVENTS))
    assert (cases.histories.times <= CUT).all()


def test_sample_is_the_literal_expression_of_the_protocol():
    ids, parts = many_cases(np.random.default_rng(4), 500)
    drawn = protocol.sample(parts, 60)
    literal = np.random.default_rng(0).choice(ids, 60, replace=False)
    assert drawn.users.to_pylist() == sorted(literal.tolist())
    assert drawn.truth.items.tolist() == [user % 4 for user in drawn.users.to_pylist()]


def test_sample_of_few_is_everyone_by_id_however_they_are_partitioned():
    ids, parts = many_cases(np.random.default_rng(4), 50)
    for order in (parts, parts[::-1]):
        assert protocol.sample(order, 50).users.to_pylist() == ids.tolist()


def test_sample_sorts_string_ids():
    cases = cases_of(histories_of(EVENTS))
    parts = [replace(cases, users=pa.array(names)) for names in (["b", "d"], ["Z", "c"])]
    drawn = protocol.sample(parts, 10)
    assert drawn.users.to_pylist() == ["Z", "b", "c", "d"]
    assert drawn.has_history.tolist() == [True, True, False, False]


def test_a_window_without_test_users_is_an_error():
    cases = cases_of(histories_of(EVENTS), known=np.zeros(4, np.bool_))
    assert len(cases) == 0
    for nobody in ([], [cases, cases]):
        with pytest.raises(TooLittleData, match=r"no user has a target event.*evaluation\.test_days"):
            protocol.sample(nobody, 10)


def test_new_items_only_drops_bought_items_and_users_without_others():
    events = [*EVENTS, (3, 2, PURCHASE, CUT + 5)]
    cases = cases_of(histories_of(events))
    assert cases.users.to_pylist() == [3, 8, 9]
    new, stay = protocol.new_items_only(cases)
    assert stay.tolist() == [0, 1]
    assert new.users.to_pylist() == [3, 8]
    assert new.truth.offsets.tolist() == [0, 1, 2]
    assert new.truth.items.tolist() == [2, 1]


def test_without_seen_filters_lists():
    cases = cases_of(histories_of(EVENTS))
    ranked = np.array([[0, 1, 2], [0, 1, UNKNOWN]], np.int32)
    assert protocol.without_seen(ranked, cases.histories, 2).tolist() == [[1, 2], [0, 1]]
    assert protocol.without_seen(ranked, cases.histories, 3).tolist() == [[1, 2, UNKNOWN], [0, 1, UNKNOWN]]


def test_config_reports_every_cut_off_once_and_checks_its_ranges():
    assert EvaluationConfig().cutoffs == (1, 5, 10, 20)
    assert EvaluationConfig(k=3, ks=(5, 3)).cutoffs == (3, 5)
    for wrong in ({"test_days": 0}, {"ks": (0,)}, {"confidence": 1.0}, {"horizon": 3}):
        with pytest.raises(ValidationError):
            EvaluationConfig(**wrong)


def test_a_partition_without_users_or_events_has_no_cases():
    nothing = np.zeros(0, np.int64)
    for n_users in (0, 2):
        users = pa.array(range(n_users), pa.int64())
        empty = Histories.build(nothing, nothing, nothing, nothing, n_users)
        assert len(protocol.test_cases(users, empty, CUT, END, targets=(VIEW,), known_items=KNOWN)) == 0
