"""Pruning: old versions are removed, except those that something may still need."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from recsys.registry.decisions import forget_removed
from recsys.registry.leases import leased, remove_ended
from recsys.registry.lock import held
from recsys.registry.store import Store

LOCK_SECONDS: Final = 600.0
"""Time after which the lock of a pruning that has died may be taken over."""


@dataclass(frozen=True, slots=True)
class Prune:
    """What a pruning removes, oldest first, and why it keeps each of the other versions."""

    removed: tuple[str, ...]
    kept: Mapping[str, str]


def plan_prune(store: Store, keep: int) -> Prune:
    """The versions that a pruning would remove now: all but those with a reason to stay.

    These stay: the `keep` newest, the version in production, the one that a rollback puts back, versions with a lease
    of a service, and versions whose manifest cannot be read, since a disk or a network may be at fault.
    keep: at least 1, as a run may publish a version before it promotes it
    Raises RegistryError, BrokenPointer if the version in production is not known.
    """
    versions = store.versions()
    why_kept = {version.name: "its manifest cannot be read" for version in versions if "broken" in version.summary}
    readable = [version.name for version in versions if version.name not in why_kept]
    why_kept |= dict.fromkeys(readable[-keep:], f"one of the newest {keep}") | _needed(store)
    removed = tuple(name for name in readable if name not in why_kept)
    return Prune(removed, {version.name: why_kept[version.name] for version in versions if version.name in why_kept})


def _needed(store: Store) -> dict[str, str]:
    """Why versions are needed now, by version."""
    pointer = store.pointer()
    needed = {version: f"a service holds it: {owner}" for version, owner in leased(store).items()}
    if pointer is not None:
        if pointer.history:
            needed[pointer.history[-1]] = "a rollback puts it back"
        needed[pointer.version] = "in production"
    return needed


def prune(store: Store, keep: int) -> Prune:
    """Remove versions as `plan_prune` chooses them, and the rest of a pruning that was interrupted.

    A version that came to be needed meanwhile, by a rollback or a lease, stays. Who promotes an old version at this
    very moment gets an error, or the removal does.
    Raises RegistryError; LockTaken while a retraining runs, since it may need a version that is old by then.
    """
    with held(store, LOCK_SECONDS) as lock:
        plan = plan_prune(store, keep)
        store.remove_unfinished()
        remove_ended(store)
        why_kept = dict(plan.kept)
        for version in plan.removed:
            lock.renew()
            if reason := _needed(store).get(version):
                why_kept[version] = reason
            else:
                store.remove(version)
        forget_removed(store)
    return Prune(tuple(version for version in plan.removed if version not in why_kept), why_kept)
