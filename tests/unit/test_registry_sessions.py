"""A session model survives in a version, and a version without one has none."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsys.errors import RegistryError
from recsys.histories import Histories
from recsys.inference.recommender import Recommender
from recsys.registry.bundle import SESSIONS, Bundle, check_numbers, read, write
from recsys.sessions.entry import SessionEntry
from tests.support.bundles import attributed_bundle, session_bundle, small_bundle, with_sessions
from tests.support.shop_data import END


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sessions") / "v1"
    write(session_bundle(), path, {})
    return path


def scores(bundle: Bundle) -> tuple[bytes, ...]:
    """What the session model answers to a few sessions of known users, in bytes."""
    model = bundle.sessions
    if model is None:
        return ()
    items = np.array([3, 5, 7, 9, 11, 2], np.int32)
    sessions = Histories(np.array([0, 2, 3, 6]), items, np.zeros(6, np.int8), END + np.arange(6))
    candidates = model.propose(sessions, bundle.snapshot.take(np.array([0, -1, 4])))
    raw = model.rank(candidates.features)
    arrays = candidates.users, candidates.items, candidates.features, raw, model.calibrate(raw)
    return tuple(array.tobytes() for array in arrays)


def test_a_session_model_survives_to_the_bit(folder: Path) -> None:
    opened = read(folder)
    check_numbers(folder)
    assert scores(opened) == scores(session_bundle()) != ()
    assert Recommender.from_bundle(opened).sessions is opened.sessions
    assert (folder / SESSIONS).is_file()


def test_features_of_attributes_survive(tmp_path: Path) -> None:
    bundle = with_sessions(attributed_bundle())
    assert bundle.sessions is not None
    own = [name for name in bundle.sessions.feature_names if name.startswith(("number_", "attribute_"))]
    assert len(own) > 2
    write(bundle, tmp_path / "v1", {})
    assert scores(read(tmp_path / "v1")) == scores(bundle) != ()


def test_a_version_without_a_session_model_has_none(tmp_path: Path) -> None:
    write(small_bundle(), tmp_path / "v1", {})
    opened = read(tmp_path / "v1")
    assert opened.sessions is opened.manifest.sessions is None
    assert Recommender.from_bundle(opened).sessions is None


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"sources": ["neighbours"]}, "sessions.sources"),
        ({"features": ["unheard"]}, "trained on other features"),
        ({"backend": "unheard"}, "unheard"),
    ],
)
def test_an_entry_that_does_not_fit_is_refused(
    folder: Path, tmp_path: Path, entry: dict[str, object], message: str
) -> None:
    copy = tmp_path / "v1"
    write(session_bundle(), copy, {})
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["sessions"] |= entry
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RegistryError, match=message):
        read(copy)


def test_a_missing_array_is_named(tmp_path: Path) -> None:
    bundle = small_bundle()
    model = session_bundle().sessions
    if model is None:
        raise ValueError("the bundle of sessions has no session model")
    declared = bundle.manifest.model_copy(update={"sessions": SessionEntry.create(model)})
    write(replace(bundle, manifest=declared), tmp_path / "v1", {})
    with pytest.raises(RegistryError, match="array session_index_listed_offsets is missing"):
        read(tmp_path / "v1")
