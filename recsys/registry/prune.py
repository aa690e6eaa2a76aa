"""Pruning: old versions are removed, except those that something may still need."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from recsys.registry.decisions import forget
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
    why_kept: dict[str, str] = {}
    pointer = store.pointer()
    versions = store.versions()
    for version in versions:
        if "broken" in version.summary:
            why_kept[version.name] = "its manifest cannot be read"
    readable = [version.name for version in versions if version.name not in why_kept]
    why_kept |= {version: f"a service holds it: {owner}" for version, owner in leased(store).items()}
    why_kept |= dict.fromkeys(readable[-keep:], f"one of the newest {keep}")
    if pointer is not None:
        if pointer.history:
            why_kept[pointer.history[-1]] = "a rollback puts it back"
        why_kept[pointer.version] = "in production"
    removed = tuple(name for name in readable if name not in why_kept)
    return Prune(removed, {version.name: why_kept[version.name] for version in versions if version.name in why_kept})


def prune(store: Store, keep: int) -> Prune:
    """Remove versions as `plan_prune` chooses them, and the rest of a pruning that was interrupted.

    Raises RegistryError; LockTaken while a retraining runs, since it may need a version that is old by then.
    """
    with held(store, LOCK_SECONDS) as lock:
        plan = plan_prune(store, keep)
        store.remove_unfinished()
        remove_ended(store)
        for version in plan.removed:
            lock.renew()
            store.remove(version)
            forget(store, version)
    return plan
