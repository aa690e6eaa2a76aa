"""Real faults of a running service, each of which one alert is for."""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import psutil
from faults_parts.services import Service, stop

from monitoring_parts.load import KEY, load
from recsys.errors import RecsysError
from recsys.registry import bundle
from recsys.registry.decisions import Decision, Outcome, record
from recsys.registry.locate import open_store

FLOOD: Final = 400
"""Connections, many more than may wait."""
FLOOD_SECONDS: Final = 300
OLD: Final = timedelta(days=30)
NO_RULES: Final = "rules: []\n"
NOTHING: Final = "rules:\n  - name: only what nobody sells\n    filter: only\n    where: {items: [-1]}\n"
BROKEN: Final = "rules:\n  - name: half a ru"
KEYS: Final = json.dumps(
    {"keys": [{"name": "load", "sha256": hashlib.sha256(KEY.encode()).hexdigest(), "scopes": ["read"]}]}
)
BROKEN_KEYS: Final = KEYS[:-20]


@dataclass(frozen=True, slots=True)
class Shop:
    """The service under test and what it reads."""

    service: Service
    registry: Path
    rules: Path
    keys: Path
    script: Path


@contextmanager
def repeated(action: Callable[[], None], seconds: float) -> Iterator[None]:
    """Do something again and again."""
    ended = threading.Event()

    def run() -> None:
        while not ended.is_set():
            action()
            ended.wait(seconds)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def replicas_that_die(shop: Shop) -> Iterator[None]:
    """The ranker's replica dies whenever it has started."""

    def kill() -> None:
        with suppress(RecsysError, psutil.NoSuchProcess):
            shop.service.kill("rank")

    with repeated(kill, 0.1):
        yield


@contextmanager
def slow_ranker(shop: Shop) -> Iterator[None]:
    """The ranker's replica stands still for most of the time, as on a machine that is out of CPU."""

    def pause() -> None:
        with suppress(psutil.NoSuchProcess):
            for process in shop.service.part("rank"):
                process.suspend()
                time.sleep(0.5)
                process.resume()

    with repeated(pause, 0.05):
        yield


@contextmanager
def flood(shop: Shop) -> Iterator[None]:
    """More requests at a time than may wait."""
    with load(shop.script, shop.service.port, FLOOD, FLOOD_SECONDS):
        yield


@contextmanager
def registry_gone(shop: Shop) -> Iterator[None]:
    """The folder of the registry is away."""
    away = shop.registry.with_name("away")
    shop.registry.rename(away)
    try:
        yield
    finally:
        away.rename(shop.registry)


@contextmanager
def old_version(shop: Shop) -> Iterator[None]:
    """A version that was made long ago goes into production."""
    store = open_store(str(shop.registry))
    opened = bundle.read(store.path())
    store.publish(lambda folder: bundle.write(replace(opened, version="old"), folder, {}), "old")
    manifest = store.path("old") / "manifest.json"
    content = json.loads(manifest.read_bytes()) | {"created": (datetime.now(UTC) - OLD).isoformat()}
    manifest.write_text(json.dumps(content), encoding="utf-8")
    store.promote("old")
    try:
        yield
    finally:
        store.rollback()


@contextmanager
def broken_version(shop: Shop) -> Iterator[None]:
    """A version loses a file after it went into production, before the service has read it."""
    store = open_store(str(shop.registry))
    opened = bundle.read(store.path())
    store.publish(lambda folder: bundle.write(replace(opened, version="broken"), folder, {}), "broken")
    files = [file for file in store.path("broken").rglob("*.npy") if file.is_file()]
    store.promote("broken")
    max(files, key=lambda file: file.stat().st_size).unlink()
    try:
        yield
    finally:
        store.rollback()


@contextmanager
def rules_for_nothing(shop: Shop) -> Iterator[None]:
    """A mistake in the rules file: it allows only an item that nobody sells."""
    with _rules(shop, NOTHING):
        yield


@contextmanager
def broken_rules(shop: Shop) -> Iterator[None]:
    """Somebody saves half a rules file."""
    with _rules(shop, BROKEN):
        yield


@contextmanager
def _rules(shop: Shop, content: str) -> Iterator[None]:
    shop.rules.write_text(content, encoding="utf-8")
    try:
        yield
    finally:
        shop.rules.write_text(NO_RULES, encoding="utf-8")


@contextmanager
def broken_keys(shop: Shop) -> Iterator[None]:
    """Somebody saves half a file of keys."""
    shop.keys.write_text(BROKEN_KEYS, encoding="utf-8")
    try:
        yield
    finally:
        shop.keys.write_text(KEYS, encoding="utf-8")


@contextmanager
def refused_retraining(shop: Shop) -> Iterator[None]:
    """A run of retraining that a gate on the data refuses."""
    decide(shop.registry, "refused", datetime.now(UTC))
    yield
    decide(shop.registry, "promoted", datetime.now(UTC))


@contextmanager
def no_retraining(shop: Shop) -> Iterator[None]:
    """The last run of retraining was long ago."""
    for one in (shop.registry / "retrains").iterdir():
        one.unlink()
    decide(shop.registry, "promoted", datetime.now(UTC) - OLD)
    yield
    decide(shop.registry, "promoted", datetime.now(UTC))


def decide(registry: Path, outcome: Outcome, decided: datetime) -> None:
    """Leave a decision of retraining in a registry, as `recsys retrain` does."""
    text = decided.isoformat()
    record(
        open_store(str(registry)),
        Decision(outcome=outcome, reason="made by a benchmark", decided=text, data="synthetic", end=0),
    )


@contextmanager
def stopped(shop: Shop) -> Iterator[None]:
    """The service ends."""
    stop(shop.service)
    yield


FAULTS: Final[dict[str, Callable[[Shop], AbstractContextManager[None]]]] = {
    "RecsysSlow": slow_ranker,
    "RecsysRefusing": flood,
    "RecsysReplicaMissing": replicas_that_die,
    "RecsysErrors": replicas_that_die,
    "RecsysRegistryUnreadable": registry_gone,
    "RecsysVersionOld": old_version,
    "RecsysVersionRefused": broken_version,
    "RecsysRetrainRefused": refused_retraining,
    "RecsysRetrainMissing": no_retraining,
    "RecsysEmptyLists": rules_for_nothing,
    "RecsysRulesUnusable": broken_rules,
    "RecsysKeysUnusable": broken_keys,
    "RecsysDown": stopped,
}
"""A fault for each alert; the last one ends the service."""


def described(name: str) -> str:
    """The fault of an alert, in words."""
    return (FAULTS[name].__doc__ or "").removesuffix(".")
