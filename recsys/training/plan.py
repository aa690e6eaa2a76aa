"""Which cuts a run makes."""

from dataclasses import dataclass
from typing import Any, Final

from recsys.config import TrainConfig
from recsys.errors import ModelError
from recsys.schema import DAY
from recsys.timeline import Cut, day

LATEST_SECONDS: Final = 10_000_000_000
"""Seconds from 1970 to 2286; as milliseconds they end in April 1970."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The cuts of a run.

    horizon: length of a label window in days
    train: cuts whose label windows end at or before the validation cut, newest first
    preranker: the cut before those, whose label window the pre-rankers learn from; None where the log is too short
    validation: the cut whose label window ends at the test cut; choices are made there
    test: the cut of the test window
    refit: cuts that the final refit adds
    newest: the cut of the published tables, the newest event itself
    """

    horizon: int
    train: tuple[Cut, ...]
    preranker: Cut | None
    validation: Cut
    test: Cut
    refit: tuple[Cut, ...]
    newest: Cut

    @property
    def examples(self) -> tuple[Cut, ...]:
        """Every cut at which the rankers' rows are made."""
        return *self.refit, self.validation, *self.train

    @property
    def tables(self) -> tuple[Cut, ...]:
        """Every cut at which tables are fitted, newest first."""
        preranker = () if self.preranker is None else (self.preranker,)
        return tuple(sorted({self.newest, self.test, *self.examples, *preranker}))

    def to_json(self) -> dict[str, Any]:
        """The cuts by their age, days before the newest event."""
        return {
            "horizon": self.horizon,
            "train": [cut.age for cut in self.train],
            "preranker": self.preranker and self.preranker.age,
            "validation": self.validation.age,
            "test": self.test.age,
            "refit": [cut.age for cut in self.refit],
        }


def validation_age(config: TrainConfig) -> int:
    """Age of the validation cut; every training cut is older."""
    return config.evaluation.test_days + config.horizon


def make_plan(start: int, end: int, config: TrainConfig) -> Plan:
    """Cuts for a log from `start` to `end` (ms). Raises ModelError where it is too short for one training cut."""
    horizon, test, valid = config.horizon, config.evaluation.test_days, validation_age(config)
    step = config.examples.step_days or horizon
    span = (end - start) / DAY
    first = valid + horizon
    oldest = span - config.examples.min_history_days
    usable = tuple(age for age in (first + step * i for i in range(config.examples.cuts)) if age <= oldest)
    if not usable:
        raise ModelError(
            f"the log spans {span:.1f} days; {test} test days, a validation and a training window of {horizon} days "
            f"and {config.examples.min_history_days} of history need {first + config.examples.min_history_days}: "
            f"lower evaluation.test_days, examples.horizon_days or examples.min_history_days{_hint(start, end)}"
        )
    train, preranker = _apart(usable, horizon, oldest)
    return Plan(
        horizon,
        train=tuple(Cut.at(end, age) for age in train),
        preranker=None if preranker is None else Cut.at(end, preranker),
        validation=Cut.at(end, valid),
        test=Cut.at(end, test),
        refit=tuple(Cut.at(end, age) for age in sorted({horizon, test}) if age >= horizon),
        newest=Cut.at(end, 0),
    )


def _apart(usable: tuple[int, ...], horizon: int, oldest: float) -> tuple[tuple[int, ...], int | None]:
    """Ages of cuts to train at, and of one whose label window ends before all of them, if the log is long enough."""
    preranker = usable[-1] + horizon if usable[-1] + horizon <= oldest else usable[-1]
    train = tuple(age for age in usable if age <= preranker - horizon)
    return (train, preranker) if train else (usable, None)


def _hint(start: int, end: int) -> str:
    if end >= LATEST_SECONDS:
        return ""
    return (
        f"; it lies between {day(start)} and {day(end)}: are the timestamps seconds? Expected milliseconds since 1970"
    )
