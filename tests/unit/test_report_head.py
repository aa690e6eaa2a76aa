"""The head of a report, with and without metrics."""

from recsys.report.head import Head, tiles
from recsys.report.numbers import Estimate
from tests.support.shop_data import END, START

DATA = {"created": END, "start": START, "end": END, "targets": ("view",), "events": 10, "users": 3, "items": 2}
REASON = "the log spans 1.0 days"


def test_tiles_of_a_learned_version() -> None:
    ndcg = Estimate(mean=0.25, low=0.2, high=0.3)
    head = Head(
        **DATA, k=10, confidence=0.95, ndcg=ndcg, baseline="popularity", lead=0.1, hit=0.5, candidates=120, recall=0.4
    )
    assert [tile.value for tile in tiles(head)] == ["0.250", "+0.100", "50%", "40%", "10"]


def test_tiles_without_metrics() -> None:
    head = Head(**DATA, k=10, confidence=0.95, not_learned=REASON)
    assert [(tile.value, tile.name) for tile in tiles(head)] == [("10", "events")]
