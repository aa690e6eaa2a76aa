"""All settings of a training run, read from YAML and --set. Each component defines its own section."""

import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar

import yaml
from pydantic import Field, ValidationError, field_validator

from recsys.data.ingest import DataConfig
from recsys.errors import ConfigError
from recsys.evaluation.settings import EvaluationConfig
from recsys.features.statistics import StatisticsConfig
from recsys.gates.settings import RetrainConfig
from recsys.inference.settings import InferenceConfig
from recsys.models.blend import HybridConfig
from recsys.models.factorization import FactorizationConfig
from recsys.models.logistic import LogisticConfig
from recsys.models.rankers.registry import RankerConfig
from recsys.models.related import RelatedConfig
from recsys.schema import EVENT_TYPES, Config, EventType
from recsys.sessions.settings import SessionConfig

AnyConfig = TypeVar("AnyConfig", bound=Config)

USUAL_DAYS: Final = 14
"""Days of a window in a log of 49 days to two years, unless target events are rare."""
USUAL_HISTORY: Final = 7
"""Days of events before the oldest cut, unless the log is short."""
USUAL_TARGETS: Final[tuple[EventType, ...]] = ("transaction",)
"""The target event types, unless purchases are rare."""
NOT_YAML = (yaml.YAMLError, ValueError, RecursionError)
"""Errors of the YAML parser. ValueError comes from dates that do not exist and from bytes that are no text."""


class ExampleConfig(Config):
    """Settings of the ranker's training rows."""

    cuts: int = Field(4, ge=1)
    """Largest number of training cuts; a short log has fewer. One more cut serves to train the pre-ranker."""
    horizon_days: int | None = Field(None, ge=1)
    """Length of a label window in days. None: as the test window."""
    step_days: int | None = Field(None, ge=1)
    """Days between training cuts. None: the length of a label window."""
    min_history_days: int | None = Field(None, ge=1)
    """Days of events that must lie before a cut. None: half a label window, at most a week."""
    max_users: int = Field(4000, ge=1)
    """Largest number of users of a training cut. These users have events before the cut and a target event in the
    label window."""
    discover: bool = True
    """Train a second ranker for discovery: items that are new to the user."""
    negatives: int = Field(40, ge=1)
    """Largest number of candidates without a label that are kept of each user."""


class PhasesConfig(Config):
    """Settings of the study of phases, `recsys phases`."""

    logistic: LogisticConfig = LogisticConfig()
    train_events: int = Field(50_000, ge=1)
    """Event protocol: largest number of training events. Users are sampled with all their events."""
    test_events: int = Field(50_000, ge=1)
    """Event protocol: largest number of events of the validation window, and of the test window."""


class TrainConfig(Config):
    """Settings of a training run.

    Windows and targets that are None are chosen from the log, see `recsys.training.from_log`. Until then the
    properties below return the values for a usual log.
    """

    targets: tuple[EventType, ...] | None = None
    """Target event types: their events are the labels of training and the hits of the evaluation. None: the strongest
    type with enough users, of transaction, addtocart and view."""
    category_levels: int = Field(3, ge=1, le=8)
    """Levels of the category tree that the features use, from the root down."""
    seed: int = Field(0, ge=0)
    """Seed of every random choice."""
    data: DataConfig = DataConfig()
    statistics: StatisticsConfig = StatisticsConfig()
    factorization: FactorizationConfig = FactorizationConfig()
    inference: InferenceConfig = Field(default_factory=InferenceConfig)
    examples: ExampleConfig = ExampleConfig()
    ranker: RankerConfig = RankerConfig()
    sessions: SessionConfig = SessionConfig()
    hybrid: HybridConfig = HybridConfig()
    related: RelatedConfig = RelatedConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    phases: PhasesConfig = PhasesConfig()
    retrain: RetrainConfig = RetrainConfig()

    @field_validator("targets")
    @classmethod
    def _some(cls, targets: tuple[EventType, ...] | None) -> tuple[EventType, ...] | None:
        if targets is not None and (not targets or len(set(targets)) < len(targets)):
            raise ValueError(f"expected one or more different types of {', '.join(EVENT_TYPES)}")
        return targets

    @property
    def target_types(self) -> tuple[EventType, ...]:
        """The target event types."""
        return self.targets or USUAL_TARGETS

    @property
    def target_codes(self) -> tuple[int, ...]:
        """The codes of the target event types."""
        return tuple(EVENT_TYPES.index(name) for name in self.target_types)

    @property
    def test_days(self) -> int:
        """The length of the test window in days."""
        return self.evaluation.test_days or USUAL_DAYS

    @property
    def horizon(self) -> int:
        """The length of a label window in days."""
        return self.examples.horizon_days or self.test_days

    @property
    def step_days(self) -> int:
        """Days between training cuts."""
        return self.examples.step_days or self.horizon

    @property
    def history_days(self) -> int:
        """Days of events that must lie before a cut."""
        return self.examples.min_history_days or min(USUAL_HISTORY, (self.horizon + 1) // 2)


def load_config(
    path: Path | None, settings: Sequence[str] = (), between: Mapping[str, Any] = MappingProxyType({})
) -> TrainConfig:
    """The config of a training run. Later values replace earlier ones: defaults, file, `between`, `settings`.

    path: a YAML file of settings; between: values by `section.key`
    settings: texts `section.key=value` with values in YAML
    Raises ConfigError with the key and the expected value.
    """
    tree = read_yaml(path) if path else {}
    for key, value in between.items():
        put(tree, key, value)
    return parse_config(TrainConfig, with_settings(tree, settings))


def with_settings(tree: dict[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """`tree` with the values of settings `section.key=value`; raises ConfigError for a text of another form."""
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {setting!r}: expected section.key=value")
        if not value.strip():  # such as of a variable of the shell that is not set
            raise ConfigError(f"--set {setting!r}: there is no value; expected one, null for none")
        try:
            put(tree, key, yaml.safe_load(value))
        except NOT_YAML as error:
            raise ConfigError(f"--set {setting!r}: {value!r} is not a YAML value") from error
        except ConfigError as error:
            raise ConfigError(f"--set {setting!r}: {error}") from error
    return tree


def put(tree: dict[str, Any], key: str, value: Any) -> None:
    """Put a value into the tree at `section.key`; raises ConfigError if `section` holds a value instead of settings."""
    section = tree
    *parents, name = key.split(".")
    for parent in parents:
        inner = section.get(parent)
        if inner is None:  # an absent section, or one left empty in the file
            inner = section[parent] = {}
        if not isinstance(inner, dict):
            raise ConfigError(f"{parent} is a value; expected a section of settings")
        section = inner
    section[name] = value


def changed(config: TrainConfig, values: Mapping[str, Any]) -> TrainConfig:
    """A copy of the config with these values, given by `section.key`; raises ConfigError as `parse_config` does."""
    tree = config.model_dump(mode="json")
    for key, value in values.items():
        put(tree, key, value)
    return parse_config(TrainConfig, tree)


def parse_config(model: type[AnyConfig], tree: dict[str, Any]) -> AnyConfig:
    """A checked config from nested settings; raises ConfigError that lists every problem."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(model, problem) for problem in error.errors())) from error


def _explain(model: type[Config], problem: Any) -> str:
    """A sentence about one problem that pydantic reports."""
    key = ".".join(map(str, problem["loc"]))
    if not key:  # about several settings together
        return str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] != "extra_forbidden":
        return f"setting {key}: {problem['msg']}, found {reprlib.repr(problem['input'])}"
    section: Any = model
    for part in problem["loc"][:-1]:
        section = section.model_fields[part].annotation if hasattr(section, "model_fields") else None
    return f"setting {key} is unknown" + (f"; expected one of: {', '.join(section.model_fields)}" if section else "")


def read_yaml(path: Path) -> dict[str, Any]:
    """The sections of a YAML file, {} for an empty file; raises ConfigError if the file cannot be read."""
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
