"""Whether a new version goes into production."""

from dataclasses import replace
from pathlib import Path

import pytest

from recsys.data.layout.mapping import DataMapping
from recsys.ids import IdKind
from recsys.registry.folder import FolderStore
from recsys.registry.summary import Promotion, changed_ids, withheld
from tests.support.bundles import publish, small_bundle

REASON = "the log spans 3.0 days"


def store_with(folder: Path, production: str | None) -> FolderStore:
    """A registry with a version in production: learned, not learned, or none."""
    store = FolderStore(folder)
    if production is not None:
        bundle = small_bundle()
        entry = {"not_learned": None if production == "learned" else REASON}
        publish(store, replace(bundle, manifest=bundle.manifest.model_copy(update=entry)), "v1")
    return store


@pytest.mark.parametrize("production", ["learned", "not learned", None])
@pytest.mark.parametrize("not_learned", [None, REASON])
@pytest.mark.parametrize("promotion", ["auto", "always", "never"])
def test_only_auto_keeps_a_learned_version(
    promotion: Promotion, not_learned: str | None, production: str | None, tmp_path: Path
) -> None:
    reason = withheld(promotion, store_with(tmp_path, production), not_learned)
    if promotion == "never":
        assert reason == "--promote never"
    elif (promotion, not_learned, production) == ("auto", REASON, "learned"):
        assert reason == "it is not learned, and v1 in production is"
    else:
        assert reason is None


def test_a_version_that_cannot_be_read_may_be_replaced(tmp_path: Path) -> None:
    store = store_with(tmp_path, "learned")
    (tmp_path / "versions" / "v1" / "manifest.json").write_text("{")
    assert withheld("auto", store, REASON) is None
    (tmp_path / "production").write_text("nonsense")
    assert withheld("auto", store, REASON) is None


def mapping(users: IdKind) -> DataMapping:
    return DataMapping(columns={}, types="view", times="", ids={"user": users, "item": "int64"})


def test_a_change_of_the_type_of_ids_is_named(tmp_path: Path) -> None:
    assert changed_ids(FolderStore(tmp_path / "none"), mapping("int64")) is None
    store = FolderStore(tmp_path)
    bundle = small_bundle()
    manifest = bundle.manifest.model_copy(update={"mapping": mapping("int64")})
    publish(store, replace(bundle, manifest=manifest), "v1")
    assert changed_ids(store, mapping("int64")) is None
    change = changed_ids(store, mapping("string"))
    assert change is not None
    assert change.startswith("the ids of users are string, in the version in production they are int64")
    publish(store, bundle, "v2")  # a version from before the entry
    assert changed_ids(store, mapping("string")) is None
