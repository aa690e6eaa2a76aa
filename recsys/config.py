"""All settings of a training run: composed of the configs beside their components, read from YAML and --set."""

import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import yaml
from pydantic import Field, ValidationError, field_validator

from recsys.data.ingest import DataConfig
from recsys.errors import ConfigError
from recsys.evaluation.settings import EvaluationConfig
from recsys.features.statistics import StatisticsConfig
from recsys.inference.settings import InferenceConfig
from recsys.models.blend import HybridConfig
from recsys.models.factorization import FactorizationConfig
from recsys.models.logistic import LogisticConfig
from recsys.models.rankers.base import RankerConfig
from recsys.schema import EVENT_TYPES, Config, EventType

AnyConfig = TypeVar("AnyConfig", bound=Config)

NOT_YAML = (yaml.YAMLError, ValueError, RecursionError)
"""What the parser raises; ValueError where a date does not exist or bytes are no text."""


class ExampleConfig(Config):
    """How label windows become the ranker's rows."""

    cuts: int = Field(4, ge=1)
    """Training cuts at most; fewer where the log is short. One more is for the selection of candidates."""
    horizon_days: int | None = Field(None, ge=1)
    """Length of a label window; None takes evaluation.test_days."""
    step_days: int | None = Field(None, ge=1)
    """Days between training cuts; None takes the horizon."""
    min_history_days: int = Field(7, ge=1)
    """Days of history that a cut needs."""
    max_users: int = Field(4000, ge=1)
    """Users of a training cut: those with a history and a target event in the label window."""
    discover: bool = True
    """Whether a ranker of its own is trained for items that are new to the user."""
    negatives: int = Field(40, ge=1)
    """Candidates without a label that a user keeps."""


class PhasesConfig(Config):
    """What `python -m recsys phases` does beside a training run."""

    logistic: LogisticConfig = LogisticConfig()
    train_events: int = Field(50_000, ge=1)
    """Event protocol: events to learn from at most, whole users by hash."""
    test_events: int = Field(50_000, ge=1)
    """Event protocol: events of the validation and of the test window at most."""


class TrainConfig(Config):
    """One training run."""

    targets: tuple[EventType, ...] = ("transaction",)
    """Event types that count as success, for labels and evaluation."""
    category_levels: int = Field(3, ge=1, le=8)
    """Levels of the category tree that the features see, from the root down."""
    seed: int = Field(0, ge=0)
    """Of every random choice."""
    data: DataConfig = DataConfig()
    statistics: StatisticsConfig = StatisticsConfig()
    factorization: FactorizationConfig = FactorizationConfig()
    inference: InferenceConfig = Field(default_factory=InferenceConfig)
    examples: ExampleConfig = ExampleConfig()
    ranker: RankerConfig = RankerConfig()
    hybrid: HybridConfig = HybridConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    phases: PhasesConfig = PhasesConfig()

    @field_validator("targets")
    @classmethod
    def _some(cls, targets: tuple[EventType, ...]) -> tuple[EventType, ...]:
        if not targets or len(set(targets)) < len(targets):
            raise ValueError(f"expected one or more different types of {', '.join(EVENT_TYPES)}")
        return targets

    @property
    def target_codes(self) -> tuple[int, ...]:
        return tuple(EVENT_TYPES.index(name) for name in self.targets)

    @property
    def horizon(self) -> int:
        """Days of a label window."""
        return self.examples.horizon_days or self.evaluation.test_days


def load_config(
    path: Path | None, settings: Sequence[str] = (), between: Mapping[str, Any] = MappingProxyType({})
) -> TrainConfig:
    """The defaults, overlaid by a YAML file, then by `between` (values by `section.key`), then by settings
    `section.key=value`, whose values are YAML.

    Raises ConfigError that names the key and what was expected.
    """
    tree = read_yaml(path) if path else {}
    for key, value in between.items():
        put(tree, key, value)
    return parse_config(TrainConfig, with_settings(tree, settings))


def with_settings(tree: dict[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """`tree` with `section.key=value` settings put in; raises ConfigError for what is no such setting."""
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {setting!r}: expected section.key=value")
        try:
            put(tree, key, yaml.safe_load(value))
        except NOT_YAML as error:
            raise ConfigError(f"--set {setting!r}: {value!r} is not a YAML value") from error
        except ConfigError as error:
            raise ConfigError(f"--set {setting!r}: {error}") from error
    return tree


def put(tree: dict[str, Any], key: str, value: Any) -> None:
    """Put a value at `section.key`; raises ConfigError where a part of the key before the last is no section."""
    branch = tree
    *parents, leaf = key.split(".")
    for parent in parents:
        below = branch.get(parent)
        if below is None:  # a section left empty in the file
            below = branch[parent] = {}
        if not isinstance(below, dict):
            raise ConfigError(f"{parent} is a value, not a section")
        branch = below
    branch[leaf] = value


def changed(config: TrainConfig, values: Mapping[str, Any]) -> TrainConfig:
    """The config with other values at `section.key`; raises ConfigError as `parse_config` does."""
    tree = config.model_dump(mode="json")
    for key, value in values.items():
        put(tree, key, value)
    return parse_config(TrainConfig, tree)


def parse_config(model: type[AnyConfig], tree: dict[str, Any]) -> AnyConfig:
    """A checked config from nested settings; raises ConfigError with one line for each problem."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(model, problem) for problem in error.errors())) from error


def _explain(model: type[Config], problem: Any) -> str:
    key = ".".join(map(str, problem["loc"]))
    if problem["type"] != "extra_forbidden":
        return f"setting {key}: {problem['msg']}, found {reprlib.repr(problem['input'])}"
    known: Any = model
    for part in problem["loc"][:-1]:
        known = known.model_fields[part].annotation if hasattr(known, "model_fields") else None
    return f"setting {key} is unknown" + (f"; there are: {', '.join(known.model_fields)}" if known else "")


def read_yaml(path: Path) -> dict[str, Any]:
    """The sections of a YAML file; raises ConfigError where it is none."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"config {path}: {error.strerror}") from error
    except NOT_YAML as error:
        raise ConfigError(f"config {path}: not YAML: {error}".replace("\n", " ")) from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"config {path}: expected sections of settings, found {type(tree).__name__}")
    return tree
