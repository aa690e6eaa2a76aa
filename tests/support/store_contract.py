"""The contract of every registry: publishing is atomic, the pointer moves as a whole, errors list what there is."""

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.errors import RegistryError
from recsys.registry import decisions
from recsys.registry.artifact import Artifact, write
from recsys.registry.bucket import S3Store
from recsys.registry.decisions import Decision, decision_about, last_decision, outcomes, record
from recsys.registry.leases import Lease
from recsys.registry.lock import LOCK, Lock, LockEntry, LockLost, LockTaken, held
from recsys.registry.pointer import HISTORY, BrokenPointer, Pointer
from recsys.registry.prune import plan_prune, prune
from recsys.registry.store import Store
from recsys.storage.filesystem import put
from recsys.storage.s3 import S3Folder
from tests.support.processes import wait_until


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
    """The folders that publishers left of versions that they did not publish."""
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

    def test_small_files_are_replaced_only_unchanged(self, store: Store) -> None:
        files = store.files
        assert files.read("notes/a.json") is None
        assert files.replace("notes/a.json", b"1", None)
        assert not files.replace("notes/a.json", b"2", None)
        content, etag = files.read("notes/a.json") or (b"", "")
        assert content == b"1"
        assert files.replace("notes/a.json", b"2", etag)
        assert not files.replace("notes/a.json", b"3", etag)
        files.write("notes/b.json", b"4")
        assert files.names("notes/") == ["notes/a.json", "notes/b.json"]
        assert files.names("notes/b") == ["notes/b.json"]
        assert files.names("absent/") == []
        files.remove("notes/a.json", "notes/absent.json")
        assert [name for name in ("notes/a.json", "notes/b.json") if files.read(name)] == ["notes/b.json"]
        assert names(store) == []

    def test_one_of_several_gets_the_lock(self, store: Store) -> None:
        start, texts = threading.Barrier(4), list[str]()
        over = threading.Event()

        def take() -> None:
            start.wait()
            try:
                with held(store, 60):
                    texts.append("held")
                    over.wait(60)
            except LockTaken as error:
                texts.append(str(error))
            if len(texts) == 4:
                over.set()

        threads = [threading.Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(texts) == 4)
        over.set()
        for thread in threads:
            thread.join()
        refusals = [text for text in texts if text != "held"]
        assert len(refusals) == 3
        assert all("another retraining" in text for text in refusals)
        with held(store, 60):  # it was released
            pass

    def test_an_expired_lock_is_taken_over_and_its_owner_notices(self, store: Store) -> None:
        with held(store, 60) as first:
            expire(store)
            with held(store, 60):
                with pytest.raises(LockLost, match="expired, and another process took it"):
                    first.renew()
                with pytest.raises(LockTaken, match=r"holds .*retraining\.lock since"), held(store, 60):
                    pass
            with pytest.raises(LockLost):  # also once the other run is over
                first.renew()
        with held(store, 60):
            pass

    def test_a_lock_outlives_a_failed_read(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        """The renewal before it was written, and its owner does not know."""
        with held(store, 60) as lock:
            with monkeypatch.context() as patch:
                patch.setattr(type(store.files), "read", unreachable)
                with pytest.raises(RegistryError, match="unreachable"):
                    lock.renew()
            lock.renew()
        assert lock_entry(store).released

    @pytest.mark.parametrize("name", ["acquired", "expires"])
    def test_a_lock_of_no_time_is_broken(self, store: Store, name: str) -> None:
        entry = {"owner": "a", "token": "b", "acquired": 0, "expires": 1 << 45, name: 10**25}
        store.files.write(LOCK, json.dumps(entry).encode())
        with pytest.raises(RegistryError, match="lock is broken"), held(store, 60):
            pass

    def test_a_lock_is_renewed_while_it_is_held(self, store: Store) -> None:
        with held(store, 0.6):
            first = lock_entry(store).expires
            wait_until(lambda: lock_entry(store).expires > first)
        assert lock_entry(store).released

    def test_a_broken_lock_is_named(self, store: Store) -> None:
        store.files.write(LOCK, b"{}")
        with pytest.raises(RegistryError, match=r"lock is broken, expected JSON with owner"), held(store, 60):
            pass

    def test_decisions_are_kept_beside_the_versions(self, store: Store) -> None:
        store.publish(fill, "v1")
        made = [decision(version) for version in ("v1", None)]
        for one in made:
            record(store, one)
        assert decision_about(store, "v1") == made[0]
        assert decision_about(store, "v2") is None
        assert outcomes(store) == {"v1": "kept"}
        assert names(store) == ["v1"]

    def test_the_newest_decisions_are_remembered(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(decisions, "KEPT_RETRAINS", 3)
        assert last_decision(store) is None
        for day in range(1, 6):
            record(store, decision(None, day))
        newest = last_decision(store)
        assert newest is not None
        assert newest.decided == "2026-11-05T00:00:00+00:00"
        assert len(store.files.names("retrains/")) == 3
        store.files.write("retrains/copy.json", b"not a decision")
        assert last_decision(store) == newest

    @pytest.mark.parametrize("decided", ["yesterday", "2026-11-01T00:00:00"])
    def test_a_decision_without_a_time_is_broken(self, store: Store, decided: str) -> None:
        content = decision("v1").model_dump() | {"decided": decided}
        store.files.write("decisions/v1.json", json.dumps(content).encode())
        with pytest.raises(RegistryError, match=r"v1\.json: expected a decision"):
            decision_about(store, "v1")
        assert outcomes(store) == {"v1": "broken"}

    def test_pruning_keeps_what_something_needs(self, store: Store) -> None:
        for number in range(8):
            publish_at(store, f"v{number}", number)
        for name in ("v0", "v1", "v2"):
            store.promote(name)
        Lease(store).renew(["v3"])
        record(store, decision("v4"))
        before = plan_prune(store, 2)
        assert names(store) == [f"v{number}" for number in range(8)]
        assert prune(store, 2) == before
        assert before.removed == ("v0", "v4", "v5")
        assert list(before.kept) == names(store) == ["v1", "v2", "v3", "v6", "v7"]
        assert before.kept["v1"] == "a rollback puts it back"
        assert before.kept["v2"] == "in production"
        assert before.kept["v3"].startswith("a service holds it: ")
        assert before.kept["v7"] == "one of the newest 2"
        assert decision_about(store, "v4") is None
        assert store.rollback() == "v1"
        assert prune(store, 2).removed == ("v2",)
        with pytest.raises(RegistryError, match="no version v4"):
            store.path("v4")
        store.publish(fill, "v4")  # the name is free again, and nothing is left of the old files
        assert Artifact.open(store.path("v4")).text("ranker.txt") == "tree"
        assert drafts(store) == []

    def test_a_lease_that_ended_keeps_nothing(self, store: Store) -> None:
        for number in range(2):
            publish_at(store, f"v{number}", number)
        Lease(store, seconds=-1).renew(["v0"])
        store.files.write("leases/other.json", b"nonsense")
        assert plan_prune(store, 1).removed == ("v0",)
        assert len(store.files.names("leases/")) == 2  # a look changes nothing
        assert prune(store, 1).removed == ("v0",)
        assert store.files.names("leases/") == ["leases/other.json"]

    def test_a_broken_version_is_not_pruned(self, store: Store) -> None:
        for number in range(3):
            publish_at(store, f"v{number}", number)
        put(b"{", f"{store}/versions/v0/manifest.json")
        done = prune(store, 1)
        assert (done.removed, done.kept["v0"]) == (("v1",), "its manifest cannot be read")

    def test_nothing_is_pruned_while_production_is_unknown(self, store: Store) -> None:
        for number in range(3):
            publish_at(store, f"v{number}", number)
        write_pointer(store, "{}")
        with pytest.raises(BrokenPointer):
            prune(store, 1)
        assert len(names(store)) == 3

    def test_nothing_is_pruned_while_a_retraining_runs(self, store: Store) -> None:
        for number in range(3):
            publish_at(store, f"v{number}", number)
        with held(store, 60), pytest.raises(LockTaken):
            prune(store, 1)
        assert len(names(store)) == 3

    def test_what_is_needed_only_now_is_not_pruned(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        """During the first removal a service takes a lease of the next version."""
        for number in range(4):
            publish_at(store, f"v{number}", number)
        renewals: list[Lock] = []

        def renew(lock: Lock) -> None:
            renewals.append(lock)
            if len(renewals) == 2:
                Lease(store).renew(["v1"])

        monkeypatch.setattr(Lock, "renew", renew)
        done = prune(store, 1)
        assert done.removed == ("v0", "v2")
        assert done.kept["v1"].startswith("a service holds it")
        assert names(store) == ["v1", "v3"]
        assert len(renewals) == 3  # before each removal

    def test_decisions_about_versions_that_are_gone_are_pruned(self, store: Store) -> None:
        store.publish(fill, "v1")
        for version in ("v1", "gone"):
            record(store, decision(version))
        prune(store, 1)
        assert outcomes(store) == {"v1": "kept"}

    def test_the_version_in_production_is_never_removed(self, store: Store) -> None:
        store.publish(fill, "v1")
        store.promote("v1")
        with pytest.raises(RegistryError, match=r"v1 is in production in .*; it is not removed"):
            store.remove("v1")
        assert names(store) == ["v1"]
        assert store.path() == store.path("v1")

    def test_a_version_removed_during_its_check_is_not_promoted(self, store: Store) -> None:
        for name in ("v1", "v2"):
            store.publish(fill, name)
        with pytest.raises(RegistryError, match="no version v1"):
            store.promote("v1", lambda folder: store.remove("v1"))
        assert store.production() is None

    def test_a_version_removed_during_its_check_is_not_rolled_back_to(self, store: Store) -> None:
        for name in ("v1", "v2"):
            store.publish(fill, name)
            store.promote(name)
        with pytest.raises(RegistryError, match="no version v1"):
            store.rollback(lambda folder: store.remove("v1"))
        assert store.production() == "v2"

    def test_a_promotion_sees_what_it_replaces(self, store: Store) -> None:
        for name in ("v1", "v2", "v3"):
            store.publish(fill, name)

        def confirm(pointer: Pointer | None) -> None:
            if pointer is not None:
                raise RegistryError(f"now {pointer.version}")

        store.promote("v1", confirm=confirm)
        # Another promotes during the check, after which nothing but `confirm` can notice it.
        with pytest.raises(RegistryError, match="now v2"):
            store.promote("v3", lambda folder: store.promote("v2"), confirm)
        assert store.production() == "v2"


def unreachable(*_: Any) -> Any:
    """Stands for a method of a place that cannot be reached."""
    raise RegistryError("unreachable")


def publish_at(store: Store, name: str, number: int) -> None:
    """Publish a version; those with higher numbers are younger."""
    created = {"created": f"2026-11-{number + 1:02}"}
    store.publish(lambda folder: write(folder, {}, {}, {"ranker.txt": name}, created), name)


def decision(version: str | None, day: int = 1) -> Decision:
    return Decision(
        outcome="kept", reason="worse", version=version, decided=f"2026-11-{day:02}T00:00:00+00:00", data="shop", end=0
    )


def lock_entry(store: Store) -> LockEntry:
    content, _ = store.files.read(LOCK) or (b"", "")
    return LockEntry.model_validate_json(content)


def expire(store: Store) -> None:
    """Let the lock expire, as if its owner had been suspended; the owner still has the tag of what it wrote."""
    entry = lock_entry(store)
    store.files.write(LOCK, entry.model_copy(update={"expires": 1}).dump())
