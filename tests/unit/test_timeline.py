from recsys.schema import DAY
from recsys.timeline import cut


def test_cut_is_whole_days_before() -> None:
    assert cut(10 * DAY + 5, 3) == 7 * DAY + 5
