"""Sections of the report whose text depends on their numbers."""

from recsys.models.blend import AlphaCurves
from recsys.report.numbers import Estimate
from recsys.report.sections import blend, input_quality, sessions

CURVES = AlphaCurves({0.0: 0.30, 0.1: 0.2999}, {0.0: 0.02, 0.1: 0.03})


def blend_numbers(curves: AlphaCurves = CURVES, drift: float = 0.02) -> blend.Numbers:
    return blend.Numbers(k=10, alpha=0.1, discovery_alpha=0.3, drift=drift, max_drift=0.1, curve=blend.points(curves))


def test_alpha_is_shown_for_both_objectives() -> None:
    section = blend.section(blend_numbers())
    assert "With alpha 0.1 the blend has NDCG@10 0.2999" in section.text
    assert "For items new to the user, with objective discover, alpha is 0.3." in section.text
    assert "hybrid.max_drift" not in section.text
    [table] = section.tables
    assert table.columns == ("alpha", "NDCG@10", "NDCG@10, items new to the user")
    assert table.rows == [(0.0, 0.30, 0.02), (0.1, 0.2999, 0.03)]


def test_a_metric_that_was_not_measured_has_no_column() -> None:
    [table] = blend.section(blend_numbers(AlphaCurves({0.1: 0.3}))).tables
    assert (table.columns, table.rows) == (("alpha", "NDCG@10"), [(0.1, 0.3)])


def test_a_report_from_before_these_numbers_can_be_read() -> None:
    old = blend.Numbers.model_validate({"k": 10, "alpha": 0.1, "drift": 0.2, "curve": [{"alpha": 0.1, "metric": 0.3}]})
    text = blend.section(old).text
    assert "objective discover" not in text
    assert "hybrid.max_drift" not in text


def test_a_drift_above_the_limit_is_explained() -> None:
    assert "This is more than hybrid.max_drift = 0.1" in blend.section(blend_numbers(drift=0.2)).text


def test_property_rows_of_items_without_events_are_counted() -> None:
    numbers = input_quality.Numbers(quarantined=0, repeated=0, unknown_item=1200, rows={})
    assert "1.2k item property rows belonged to items without an event" in input_quality.section(numbers).text
    none = numbers.model_copy(update={"unknown_item": 0})
    assert "property" not in input_quality.section(none).text


def test_sessions_are_compared_with_the_main_path() -> None:
    rows = [
        sessions.SystemQuality(system=system, group="all sessions", prefixes=9, hit_rate=0.5, mrr=0.2, ndcg=ndcg)
        for system, ndcg in (("session model", 0.3), ("main path", 0.2))
    ]
    lead = Estimate(mean=0.1, low=0.05, high=0.15)
    section = sessions.section(sessions.Numbers(left_out=None, lead=lead, table=rows))
    assert "The version has a session model" in section.text
    assert "is 0.1000 (0.0500 to 0.1500)" in section.text
    assert [row[0] for row in section.tables[0].rows] == ["session model", "main path"]


def test_a_version_without_a_session_model_says_why() -> None:
    section = sessions.section(sessions.Numbers(left_out="it does not pay", lead=None, table=()))
    assert "has no session model" in section.text
    assert "it does not pay" in section.text
    assert not section.tables
