"""Which cuts a run makes: ages are whole days before the newest event."""

from dataclasses import dataclass
from typing import Final

from recsys.config import TrainConfig
from recsys.data.split import day
from recsys.errors import ModelError
from recsys.schema import DAY

LATEST_SECONDS: Final = 10_000_000_000
"""Seconds from 1970 to 2286; as milliseconds they end in April 1970."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Ages of the cuts.

    train: cuts whose label windows end at or before the validation cut, newest first
    valid: the cut whose label window ends at the test cut; choices are made there
    test: the cut of the test window; refit: cuts that the final refit adds
    """

    horizon: int
    train: tuple[int, ...]
    valid: int
    test: int
    refit: tuple[int, ...]

    @property
    def tables(self) -> tuple[int, ...]:
        """Every age at which tables are fitted, 0 (all events) for the published ones."""
        return tuple(sorted({0, self.test, self.valid, *self.train, *self.refit}))


def validation_age(config: TrainConfig) -> int:
    """Age of the validation cut; every training cut is older."""
    return config.evaluation.test_days + config.horizon


def make_plan(start: int, end: int, config: TrainConfig) -> Plan:
    """Cuts for a log from `start` to `end` (ms). Raises ModelError where it is too short for one training cut."""
    horizon, test, valid = config.horizon, config.evaluation.test_days, validation_age(config)
    step = config.examples.step_days or horizon
    span = (end - start) / DAY
    first = valid + horizon
    wanted = (first + step * i for i in range(config.examples.cuts))
    train = tuple(age for age in wanted if span - age >= config.examples.min_history_days)
    if not train:
        raise ModelError(
            f"the log spans {span:.1f} days; {test} test days, a validation and a training window of {horizon} days "
            f"and {config.examples.min_history_days} of history need {first + config.examples.min_history_days}: "
            f"lower evaluation.test_days, examples.horizon_days or examples.min_history_days{_hint(start, end)}"
        )
    refit = tuple(age for age in sorted({horizon, test}) if age >= horizon)
    return Plan(horizon, train, valid, test, refit)


def _hint(start: int, end: int) -> str:
    if end >= LATEST_SECONDS:
        return ""
    return (
        f"; it lies between {day(start)} and {day(end)}: are the timestamps seconds? Expected milliseconds since 1970"
    )
