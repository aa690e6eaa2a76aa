from typing import Any

import pytest
from pydantic import ValidationError

from recsys.serving.settings import ServeSettings


@pytest.mark.parametrize(("given", "meant"), [("2", (2, 2)), (3, (3, 3)), ("1-4", (1, 4)), ("2-2", (2, 2))])
def test_replicas_are_a_number_or_a_range(given: Any, meant: tuple[int, int]) -> None:
    assert ServeSettings(rank=given).rank == meant


@pytest.mark.parametrize("given", ["", "0", "-1", "4-1", "0-3", "1-", "many", "1.5", "1-2-3", None, True])
def test_other_replicas_are_refused(given: Any) -> None:
    with pytest.raises(ValidationError, match=r"replica|not accepted"):
        ServeSettings(candidates=given)


def test_every_value_may_be_a_text() -> None:
    texts = {"alpha": "0.5", "deadline_ms": "300", "poll_seconds": "0.5", "cpus": "0", "batches": "3", "ingress": "1-2"}
    settings = ServeSettings.model_validate(texts)
    assert (settings.alpha, settings.deadline_ms, settings.poll_seconds) == (0.5, 300, 0.5)
    assert (settings.cpus, settings.batches, settings.ingress) == (0.0, 3, (1, 2))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("alpha", 1.1),
        ("topology", "ring"),
        ("clock", "sun"),
        ("deadline_ms", 0),
        ("max_waiting", 0),
        ("max_batch", 0),
        ("versions_kept", 1),
        ("max_delay_ms", -1),
        ("max_delay_ms", "nan"),
        ("poll_seconds", 0),
        ("poll_seconds", "inf"),
        ("cpus", "inf"),
        ("log_every", 0),
        ("shards", 3),
    ],
)
def test_a_bad_value_and_an_unknown_name_are_named(name: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=name):
        ServeSettings.model_validate({name: value})


def test_version_and_alpha_come_from_the_environment_unless_given(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (ServeSettings().version, ServeSettings().alpha) == (None, None)
    monkeypatch.setenv("MODEL_VERSION", "v7")
    monkeypatch.setenv("MF_ALPHA", "0.35")
    assert (ServeSettings().version, ServeSettings().alpha) == ("v7", 0.35)
    assert (ServeSettings(version="v8").version, ServeSettings(alpha=0).alpha) == ("v8", 0)
    monkeypatch.setenv("MODEL_VERSION", "")
    monkeypatch.setenv("MF_ALPHA", "")
    assert (ServeSettings().version, ServeSettings().alpha) == (None, None)


@pytest.mark.parametrize("value", ["high", "1.5", "-0.1", "nan"])
def test_a_bad_alpha_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MF_ALPHA", value)
    with pytest.raises(ValidationError, match="alpha"):
        ServeSettings()
