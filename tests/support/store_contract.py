"""The contract of every registry: publishing is atomic, the pointer moves as a whole, errors list what there is."""

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.errors import RegistryError
from recsys.registry.artifact import Artifact, write
from recsys.registry.bucket import S3Store
from recsys.registry.store import HISTORY, BrokenPointer, Store
from recsys.storage.filesystem import put
from recsys.storage.s3 import S3Folder


def fill(folder: Path) -> None:
    write(folder, {"factors": np.ones(3)}, {}, {"ranker.txt": "tree"}, {"alpha": 0.1})


def names(store: Store) -> list[str]:
    return [version.name for version in store.versions()]


def read_pointer(store: Store) -> dict[str, Any]:
    if isinstance(store, S3Store):
        content, _ = S3Folder(str(store), RegistryError).read("production")
        return json.loads(content)
    return json.loads((store.root / "production").read_text())


def write_pointer(store: Store, content: str) -> None:
    put(content.encode(), f"{store}/production")


def drafts(store: Store) -> list[Path]:
    """What publishers left of versions that they did not publish."""
    return [] if isinstance(store, S3Store) else list((store.root / "staging").iterdir())


class StoreContract:
    """Tests of a store; a subclass has the fixture `store`, an empty registry."""

    def test_publish_then_promote(self, store: Store) -> None:
        version = store.publish(fill)
        assert names(store) == [version]
        assert store.production() is None
        store.promote(version)
        assert store.production() == version
        assert store.path() == store.path(version)
        assert Artifact.open(store.path()).text("ranker.txt") == "tree"
        assert drafts(store) == []

    def test_versions_carry_their_manifest(self, store: Store) -> None:
        store.publish(fill, "first")
        (found,) = store.versions()
        assert (found.name, found.summary["alpha"]) == ("first", 0.1)
        assert found.created == found.summary["created"]
        assert "files" not in found.summary

    def test_versions_are_ordered_by_age(self, store: Store) -> None:
        for name, created in (("b", "2015-01-02"), ("c", "2015-01-01"), ("a", "2015-01-02")):
            store.publish(lambda folder, created=created: write(folder, {}, {}, {}, {"created": created}), name)
        assert names(store) == ["c", "a", "b"]

    def test_the_folder_being_filled_is_named_after_the_version(self, store: Store) -> None:
        seen: list[str] = []

        def note(folder: Path) -> None:
            seen.append(folder.name)
            fill(folder)

        assert [store.publish(note), store.publish(note, "mine")] == seen

    def test_a_version_is_never_overwritten(self, store: Store) -> None:
        store.publish(fill, "v1")
        with pytest.raises(RegistryError, match="version v1 exists already"):
            store.publish(lambda folder: write(folder, {}, {}, {}, {"alpha": 9}), "v1")
        assert store.versions()[0].summary["alpha"] == 0.1

    def test_the_second_of_two_publishers_of_a_name_fails(self, store: Store) -> None:
        def race(folder: Path) -> None:
            fill(folder)
            store.publish(fill, "v1")

        with pytest.raises(RegistryError, match="version v1 cannot be published"):
            store.publish(race, "v1")
        assert names(store) == ["v1"]
        assert drafts(store) == []

    @pytest.mark.parametrize("bad", ["", "..", ".hidden", "a/b", "a b", "x" * 101, "v1\n"])
    def test_bad_version_names(self, store: Store, bad: str) -> None:
        with pytest.raises(RegistryError, match="bad version"):
            store.publish(fill, bad)
        with pytest.raises(RegistryError, match="bad version"):
            store.path(bad)

    def test_a_failing_fill_publishes_nothing(self, store: Store) -> None:
        store.publish(fill, "v1")

        def fail(folder: Path) -> None:
            fill(folder)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            store.publish(fail)
        with pytest.raises(RegistryError, match=r"has no manifest\.json"):
            store.publish(lambda folder: None)
        assert names(store) == ["v1"]
        assert drafts(store) == []

    @pytest.mark.soak(20)
    def test_readers_never_see_a_torn_pointer(self, store: Store) -> None:
        for name in ("a", "b"):
            store.publish(fill, name)
        store.promote("a")
        stop, seen = threading.Event(), set[str | None]()

        def read() -> None:
            while not stop.is_set():
                seen.add(store.production())

        reader = threading.Thread(target=read)
        reader.start()
        for name in ("b", "a") * 20:
            store.promote(name)
        stop.set()
        reader.join()
        assert seen <= {"a", "b"}
        assert store.production() == "a"

    def test_rollback_walks_back_through_promotions(self, store: Store) -> None:
        for name in ("a", "b", "c"):
            store.publish(fill, name)
        for name in ("a", "b", "b", "c", "a"):
            store.promote(name)
        assert [store.rollback() for _ in range(3)] == ["c", "b", "a"]
        with pytest.raises(RegistryError, match=r"nothing to roll back to .* before a; versions: a, b, c"):
            store.rollback()
        assert store.production() == "a"
        store.promote("c")
        assert store.rollback() == "a"

    def test_errors_list_versions(self, store: Store) -> None:
        with pytest.raises(RegistryError, match=r"nothing to roll back to in .*; it holds no versions"):
            store.rollback()
        for n in range(7):
            store.publish(fill, f"v{n}")
        with pytest.raises(RegistryError, match=r"no version is in production in .*; versions: v2, v3"):
            store.path()
        with pytest.raises(RegistryError, match=r"no version v9 in .*; versions: v2, v3, v4, v5, v6 and 2 older"):
            store.path("v9")
        with pytest.raises(RegistryError, match="no version v9"):
            store.promote("v9")
        with pytest.raises(RegistryError, match="nothing to roll back to"):
            store.rollback()

    @pytest.mark.parametrize("content", ["", "{}", '{"version": 3}', "v1", "\0" * 40])
    def test_a_broken_pointer_is_named_and_repaired_by_a_promotion(self, store: Store, content: str) -> None:
        for name in ("v1", "v2"):
            store.publish(fill, name)
        write_pointer(store, content)
        for read in (store.production, store.path, store.rollback):
            with pytest.raises(BrokenPointer, match="production is broken, expected JSON with a version"):
                read()
        store.promote("v1")
        store.promote("v2")
        assert (store.production(), store.rollback()) == ("v2", "v1")

    def test_a_pointer_keeps_so_many_promotions(self, store: Store) -> None:
        store.publish(fill, "v1")
        history = [f"old{n}" for n in range(HISTORY + 5)]
        write_pointer(store, json.dumps({"version": "v0", "history": history}))
        store.promote("v1")
        assert read_pointer(store)["history"] == [*history, "v0"][-HISTORY:]

    def test_a_check_holds_nobody_up(self, store: Store) -> None:
        """Another process promotes while a version is checked; nothing waits, and nothing is lost."""
        for name in ("a", "b", "c"):
            store.publish(fill, name)
        for name in ("a", "b"):
            store.promote(name)

        def slow(folder: Path) -> str:
            store.promote("c")
            return "checked"

        with pytest.raises(
            RegistryError, match=r"not rolled back: .* version in production of .* became c instead of b"
        ):
            store.rollback(slow)
        assert (store.production(), read_pointer(store)["history"]) == ("c", ["a", "b"])
        store.promote("a", slow)
        assert read_pointer(store) == {"version": "a", "history": ["a", "b", "c"], "checked": "checked"}

    def test_a_registry_exists_once_it_has_a_version(self, store: Store) -> None:
        for check in (store.check_exists, store.path, lambda: store.promote("v1")):
            with pytest.raises(RegistryError, match="no registry at ") as caught:
                check()
            assert str(store) in str(caught.value)
        store.check_writable()
        with pytest.raises(RegistryError, match="no registry at "):
            store.check_exists()
        store.publish(fill, "v1")
        store.check_exists()
