"""Which cuts a run makes: ages are whole days before the newest event."""

from dataclasses import dataclass
from typing import Final

from recsys.config import TrainConfig
from recsys.errors import ModelError
from recsys.schema import DAY
from recsys.timeline import day

LATEST_SECONDS: Final = 10_000_000_000
"""Seconds from 1970 to 2286; as milliseconds they end in April 1970."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Ages of the cuts.

    train: cuts whose label windows end at or before the validation cut, newest first
    select: the cut before those, whose label window the selection of candidates is learned from; None where the log is
    too short for one
    valid: the cut whose label window ends at the test cut; choices are made there
    test: the cut of the test window; refit: cuts that the final refit adds
    """

    horizon: int
    train: tuple[int, ...]
    select: int | None
    valid: int
    test: int
    refit: tuple[int, ...]

    @property
    def examples(self) -> tuple[int, ...]:
        """Every age at which the rankers' rows are made."""
        return *self.refit, self.valid, *self.train

    @property
    def tables(self) -> tuple[int, ...]:
        """Every age at which tables are fitted, 0 (all events) for the published ones."""
        select = () if self.select is None else (self.select,)
        return tuple(sorted({0, self.test, *self.examples, *select}))


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
    refit = tuple(age for age in sorted({horizon, test}) if age >= horizon)
    return Plan(horizon, *_apart(usable, horizon, oldest), valid, test, refit)


def _apart(usable: tuple[int, ...], horizon: int, oldest: float) -> tuple[tuple[int, ...], int | None]:
    """Cuts to train at, and one whose label window ends before all of them, if the log is long enough."""
    select = usable[-1] + horizon if usable[-1] + horizon <= oldest else usable[-1]
    train = tuple(age for age in usable if age <= select - horizon)
    return (train, select) if train else (usable, None)


def _hint(start: int, end: int) -> str:
    if end >= LATEST_SECONDS:
        return ""
    return (
        f"; it lies between {day(start)} and {day(end)}: are the timestamps seconds? Expected milliseconds since 1970"
    )
