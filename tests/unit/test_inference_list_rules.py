"""Rules of the batch commands, over blocks of requests; Ray Data runs these functions."""

from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from recsys.errors import RuleError
from recsys.inference.batch import recommend_to
from recsys.inference.list_rules import ListRules
from recsys.inference.recommender import Recommender, items_of
from recsys.inference.related import RelatedItems
from recsys.inference.related_batch import CART, CODES, SIMILAR, lists_of
from recsys.inference.session_batch import recommend_to_sessions
from recsys.registry.bundle import Bundle
from recsys.rules.book import RuleBook
from recsys.schema import ITEM
from tests.support.bundles import attributed_bundle, with_sessions

N = 5


@cache
def bundle() -> Bundle:
    return with_sessions(attributed_bundle())


def listed(command: str, rules: ListRules | None) -> list[list[int]]:
    """The items of two lists."""
    opened = bundle()
    recommender = Recommender.from_bundle(opened)
    if command == "recommend":
        table = recommend_to(opened.snapshot.users.values[:2], opened, recommender, N, rules=rules)
        name = ITEM
    elif command == "sessions":
        items = pa.array([[3, 8], [4]], pa.list_(pa.int32()))
        events, times = pa.array([[0, 0], [1]], pa.list_(pa.int8())), pa.array([[-1, -1], [-1]], pa.list_(pa.int64()))
        sessions = pa.table({"session": ["a", "b"], "items": items, "events": events, "times": times})
        table, name = recommend_to_sessions(sessions, opened, recommender, N, rules=rules), ITEM
    else:
        key, name = (ITEM, SIMILAR) if command == "similar" else (CART, ITEM)
        block = pa.table({key: pa.array(["a", "b"]), CODES: pa.array([[3], [8]], pa.list_(pa.int32()))})
        table = lists_of(block, key, opened, RelatedItems.from_bundle(opened), N, rules)
    assert table["rank"].to_pylist() == list(range(1, N + 1)) * 2
    return np.array(table[name].to_pylist()).reshape(2, N).tolist()


@pytest.mark.parametrize("command", ["recommend", "sessions", "similar", "basket"])
def test_every_command_keeps_its_filters_and_its_rules_file(command: str, tmp_path: Path) -> None:
    first, second = listed(command, None)
    filters, file = tmp_path / "filters.yaml", tmp_path / "rules.yaml"
    filters.write_text(f"exclude: [{first[0]}]\n")
    file.write_text(f"rules:\n- {{name: hero, pin: 2, where: {{items: [{second[-1]}]}}}}\n")
    rules = ListRules.read(filters, file, 0)
    assert rules is not None
    rules.check(RuleBook(items_of(bundle())))
    for items in listed(command, rules):
        assert first[0] not in items
        assert items[1] == second[-1]


def test_a_rule_that_the_version_cannot_apply_is_named(tmp_path: Path) -> None:
    path, book = tmp_path / "rules.yaml", RuleBook(items_of(bundle()))
    path.write_text("only: [{attribute: colour, values: [red]}]\n")
    with pytest.raises(RuleError, match="no attribute 'colour'"):
        ListRules.read(path, None, 0).check(book)  # type: ignore[union-attr]
    path.write_text("rules: [{name: red, boost: 2, where: {attribute: colour, values: [red]}}]\n")
    with pytest.raises(RuleError, match="line 1: rule 'red': this version has no attribute 'colour'"):
        ListRules.read(None, path, 0).check(book)  # type: ignore[union-attr]
    with pytest.raises(RuleError, match="line 1"):
        ListRules.read(path, None, 0)
