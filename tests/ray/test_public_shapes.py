"""Files in the shapes of public logs: `recsys inspect` writes settings, and training with them publishes a version."""

from pathlib import Path

import pytest
import yaml

from recsys import cli
from recsys.config import TrainConfig, parse_config
from recsys.data.ingest import ingest
from recsys.data.sources import resolve
from recsys.inference.batch import recommend_to
from recsys.inference.servable import open_servable
from recsys.registry.folder import FolderStore
from recsys.schema import ITEM, USER
from tests.support.public_shapes import SHAPES
from tests.support.random_shops import FAST
from tests.support.soak import scaled

pytestmark = pytest.mark.usefixtures("ray_session")

NOW = 1_800_000_000_000


@pytest.mark.parametrize("seed", range(scaled(1, 5)))
@pytest.mark.parametrize("name", SHAPES)
def test_the_raw_files_train_with_the_settings_that_inspect_writes(
    name: str, seed: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shape, data, file = SHAPES[name], tmp_path / name, tmp_path / "shop.yaml"
    data.mkdir()
    expected = shape.write(data, seed)
    given = []
    if not shape.unaided:
        (tmp_path / "given.yaml").write_text(shape.settings)
        given = ["--config", str(tmp_path / "given.yaml")]
    assert cli.main(["inspect", "--data", str(data), "--write", str(file), *given]) == 0
    assert "a ranker would be trained" in " ".join(capfd.readouterr().out.split())
    settings = [part for setting in FAST for part in ("--set", setting)]
    registry = tmp_path / "registry"
    assert cli.main(["train", "--data", str(data), "--registry", str(registry), "--config", str(file), *settings]) == 0
    out = " ".join(capfd.readouterr().out.split())
    store = FolderStore(registry)
    opened = open_servable(store.path())
    bundle, manifest = opened.bundle, opened.bundle.manifest
    by_hand = parse_config(TrainConfig, yaml.safe_load(shape.settings) or {}).data
    by_hand_shop = ingest(resolve(str(data), tmp_path), by_hand, NOW, tmp_path / "quarantine.parquet")
    assert manifest.fingerprint == by_hand_shop.fingerprint
    assert manifest.not_learned is None
    assert bundle.ranker.n_trees > 0
    assert (manifest.counts.users, manifest.counts.items) == (expected.users, expected.items)
    assert manifest.counts.events == expected.counts
    left_out = f"left out by data.events.where: {expected.left_out:,} event rows"
    assert (left_out in out) == (expected.left_out > 0)
    assert f"{expected.repeated:,} repeated rows dropped, no row set aside" in out
    assert f"{expected.categories:,} categories" in out
    for attribute, kind in expected.attributes.items():
        assert f"{attribute} ({kind})" in out
    user = bundle.snapshot.users.values.slice(0, 1)
    answer = recommend_to(user, bundle, opened.recommender, 5, "all")
    assert len(answer[ITEM].unique()) == 5
    assert answer[USER].unique().to_pylist() == user.to_pylist()
