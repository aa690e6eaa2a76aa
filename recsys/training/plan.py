"""The plan of a run: all its cuts."""

from dataclasses import dataclass
from typing import Any, Final

from recsys.config import TrainConfig
from recsys.errors import TooLittleData
from recsys.schema import DAY
from recsys.timeline import Cut, day

LATEST_SECONDS: Final = 10_000_000_000
"""Timestamps below this number are in seconds (up to the year 2286), or in milliseconds up to April 1970."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The cuts of a run. A run that trains no ranker has neither training cuts nor cuts that the refit adds.

    horizon: length of a label window in days
    train: cuts whose label windows end at or before the validation cut, newest first
    preranker: an older cut, whose label window the pre-rankers learn from; None if the log is too short
    validation: the cut whose label window ends at the test cut; settings are selected on this window
    test: the cut of the test window; its age is the length of this window
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

    @property
    def trains(self) -> bool:
        """Whether there is a training cut."""
        return bool(self.train)


def validation_age(config: TrainConfig) -> int:
    """Age of the validation cut; every training cut is older."""
    return config.test_days + config.horizon


def make_plan(start: int, end: int, config: TrainConfig) -> Plan:
    """Cuts for a log from `start` to `end` (ms). Raises TooLittleData if it is too short for one training cut."""
    horizon, test, valid, history = config.horizon, config.test_days, validation_age(config), config.history_days
    span = (end - start) / DAY
    first = valid + horizon
    oldest = span - history
    usable = tuple(age for age in (first + config.step_days * i for i in range(config.examples.cuts)) if age <= oldest)
    if not usable:
        shorter = (
            ""
            if test == horizon == 1
            else ("; lower evaluation.test_days, examples.horizon_days or examples.min_history_days")
        )
        raise TooLittleData(
            f"the log spans {span:.1f} days, expected {first + history} or more: {test} test, {horizon} validation and "
            f"{horizon} training days, and {history} day{'s' * (history != 1)} of history{shorter}{_hint(start, end)}"
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


def plan_without_training(end: int, config: TrainConfig) -> Plan:
    """The plan of a run that trains no ranker: tables as of the test cut and of the newest event; end: ms."""
    test = config.test_days
    return Plan(
        config.horizon,
        train=(),
        preranker=None,
        validation=Cut.at(end, validation_age(config)),
        test=Cut.at(end, test),
        refit=(),
        newest=Cut.at(end, 0),
    )


def _apart(usable: tuple[int, ...], horizon: int, oldest: float) -> tuple[tuple[int, ...], int | None]:
    """Ages of the training cuts, and of a cut whose label window ends before all of them (None if the log is short)."""
    preranker = usable[-1] + horizon if usable[-1] + horizon <= oldest else usable[-1]
    train = tuple(age for age in usable if age <= preranker - horizon)
    return (train, preranker) if train else (usable, None)


def _hint(start: int, end: int) -> str:
    if end >= LATEST_SECONDS:
        return ""
    return (
        f"; it lies between {day(start)} and {day(end)}: are the timestamps seconds? Expected milliseconds since 1970"
    )
