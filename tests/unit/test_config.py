from pathlib import Path

import pytest
import yaml

from recsys.config import TrainConfig, load_config, parse_config
from recsys.errors import ConfigError
from recsys.schema import CART, EVENT_TYPES, PURCHASE


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "train.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_defaults() -> None:
    assert load_config(None) == TrainConfig()
    assert TrainConfig().target_codes == (PURCHASE,)
    assert (TrainConfig().test_days, TrainConfig().horizon, TrainConfig().history_days) == (14, 14, 7)


def test_settings_go_before_the_file_and_the_file_before_defaults(tmp_path: Path) -> None:
    path = written(tmp_path, "seed: 5\nranker: {num_leaves: 15, max_trees: 40}\n")
    config = load_config(path, ["ranker.max_trees=7", "targets=[addtocart, transaction]"])
    assert (config.seed, config.ranker.num_leaves, config.ranker.max_trees) == (5, 15, 7)
    assert config.ranker.learning_rate == TrainConfig().ranker.learning_rate
    assert config.target_codes == (CART, PURCHASE)


def test_the_last_setting_wins() -> None:
    assert load_config(None, ["seed=1", "seed=2"]).seed == 2


def test_deep_settings() -> None:
    config = load_config(
        None, ["inference.candidates.sources.own.weight=1.5", "inference.candidates.exclude_purchased=null"]
    )
    assert config.inference.candidates.sources["own"].weight == 1.5
    assert config.inference.candidates.source_weights[1:] == TrainConfig().inference.candidates.source_weights[1:]
    assert config.inference.candidates.exclude_purchased is None


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_an_empty_file_means_defaults(tmp_path: Path, text: str) -> None:
    assert load_config(written(tmp_path, text)) == TrainConfig()


def test_a_config_survives_yaml() -> None:
    config = load_config(None, ["seed=3", "targets=[view]", "hybrid.alpha=0.25"])
    assert parse_config(TrainConfig, yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json")))) == config


@pytest.mark.parametrize(
    ("setting", "options"),
    [
        ("leaves=3", ["targets", "ranker"]),
        ("ranker.leaves=3", ["num_leaves", "max_trees"]),
    ],
)
def test_an_unknown_key_is_named_with_the_options(setting: str, options: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, [setting])
    message = str(caught.value)
    assert f"setting {setting.partition('=')[0]} is unknown" in message
    assert all(option in message for option in options)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("own_items.weight=3", "there is no source own_items; the sources are: own, covisitation, mf_neighbours"),
        ("own.wait=3", "own.wait is unknown; there are: weight"),
        ("recent.size=0", "recent.size: Input should be greater than or equal to 1"),
        ("recent=3", "recent: Input should be a valid dictionary"),
        ("recent.size=true", "recent.size: Value error, true and false are not accepted here"),
    ],
)
def test_a_wrong_setting_of_a_source_is_named(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(None, [f"inference.candidates.sources.{setting}"])


@pytest.mark.parametrize(
    "setting",
    [
        "hybrid.alpha=-0.1",
        "hybrid.alpha=1.01",
        "hybrid.alpha=.nan",
        "data.max_bad_fraction=0.9",
        "data.partitions=0",
        "ranker.num_leaves=1",
        "ranker.objective=best",
        "evaluation.test_days=0",
        "examples.negatives=0",
        "factorization.factors=many",
        "inference.candidates.size=0",
        "inference.interactions.half_lives_days=[0, 14, 60]",
        "inference.interactions.half_lives_days=[3, 14]",
        "statistics.half_life_days=0",
        "seed=-1",
        "seed=1.5",
        "seed=true",
        "evaluation.ks=[5, true]",
        "hybrid.grid=[0, .nan]",
        "ranker.lambda_l2=.inf",
        "ranker.label_gain=[0, -1]",
        "factorization.confidence_grid=[.nan]",
        "factorization.confidence_grid=[0]",
        "factorization.event_weights.view=-1",
        "factorization.event_weights={view: 0, addtocart: 0, transaction: 0}",
        "statistics.weights.view=.inf",
        "targets=[]",
        "targets=[view, view]",
        "targets=[click]",
        "ranker=3",
    ],
)
def test_a_bad_value_is_named(setting: str) -> None:
    key = setting.partition("=")[0]
    with pytest.raises(ConfigError, match=key.replace(".", r"\.")):
        load_config(None, [setting])


@pytest.mark.parametrize("alpha", [0, 0.3, 1])
def test_alpha_may_be_anything_between_0_and_1(alpha: float) -> None:
    assert load_config(None, [f"hybrid.alpha={alpha}"]).hybrid.alpha == alpha


def test_the_grid_of_alphas_is_checked() -> None:
    with pytest.raises(ConfigError, match=r"hybrid\.grid.*between 0 and 1"):
        load_config(None, ["hybrid.grid=[0, 1.5]"])


def test_event_types_are_listed() -> None:
    with pytest.raises(ConfigError, match="click") as caught:
        load_config(None, ["targets=[click]"])
    assert all(name in str(caught.value) for name in EVENT_TYPES)


def test_every_problem_is_named() -> None:
    with pytest.raises(ConfigError, match=r"seed.*num_leaves|num_leaves.*seed"):
        load_config(None, ["seed=-1", "ranker.num_leaves=0"])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("seed", r"section\.key=value"),
        ("=3", r"section\.key=value"),
        ("seed=[1", "not a YAML value"),
        ("seed=2015-01-32", "not a YAML value"),
        ("seed=" + "[" * 5000, "not a YAML value"),
        ("seed.deep=3", "seed"),
        ("ranker..x=3", "ranker"),
    ],
)
def test_a_setting_that_is_none(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(None, [setting])


def test_a_value_of_the_file_is_no_section(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="seed is a value"):
        load_config(written(tmp_path, "seed: 3"), ["seed.deep=3"])


def test_a_section_left_empty_in_the_file_can_be_set(tmp_path: Path) -> None:
    path = written(tmp_path, "ranker:\n")
    assert load_config(path, ["ranker.max_trees=7"]).ranker.max_trees == 7
    assert load_config(path) == TrainConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ranker: [", "not YAML"),
        ("a: b: c", "not YAML"),
        ("- seed", "expected sections of settings, found list"),
        ("just words", "found str"),
        (b"\xff\xfe\x00", "not YAML"),
        ("seed: 2015-01-32", "not YAML"),
        ("seed: " + "[" * 5000, "not YAML"),
        ("3: 4", "3"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml: No such file"):
        load_config(tmp_path / "absent.yaml")


def test_the_horizon_follows_the_test_window() -> None:
    assert load_config(None, ["evaluation.test_days=9"]).horizon == 9
    assert load_config(None, ["evaluation.test_days=9", "examples.horizon_days=4"]).horizon == 4


def test_configs_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        TrainConfig().seed = 3
