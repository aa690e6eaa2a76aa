"""A run with a further feature, source and ranker, beside a version from before them; see test_extension.

python -m tests.support.extended DATA REGISTRY OUT
"""

import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from recsys import cli
from recsys.inference.probe import check_here
from recsys.registry.bundle import read
from recsys.registry.folder import FolderStore
from tests.support.formats import EXPECTED, FORMATS, answers
from tests.support.services import recommend, service_of, until_served
from tests.support.shop_data import train_arguments

FORMAT = FORMATS / "2"


def command(*arguments: str) -> None:
    if cli.main(list(arguments)):
        raise RuntimeError(f"recsys {arguments[0]} failed; its error is on stderr")


def publish_older(store: FolderStore, registry: Path) -> str:
    """Put the kept version of format 2 into production; returns its name."""
    name = str(json.loads((FORMAT / "version" / "manifest.json").read_text())["version"])
    shutil.copytree(FORMAT / "version", registry / "versions" / name)
    store.promote(name, check_here)
    return name


async def served(store: FolderStore, user: int) -> dict[str, Any]:
    """Items for a user from the version in production, then from the one before it, by the same service."""
    service = service_of(store, poll_seconds=0.005)
    following = asyncio.create_task(service.following.run())
    items = {}
    for _ in range(2):
        version = store.path().name
        await until_served(service, version)
        message = await recommend(service, user, 10)
        items[version] = [entry["itemid"] for entry in message["recommendations"]]
        if len(items) == 1:
            store.rollback(check_here)
    following.cancel()
    return items


def main(data: Path, registry: Path, out: Path) -> None:
    store = FolderStore(registry)
    store.check_writable()
    older = publish_older(store, registry)
    command("train", *train_arguments(data, registry, "ranker.backend=means"))
    command("report", "--registry", str(registry), "--out", str(out.parent / "report"))
    newer, before = read(store.path()), read(store.path(older))
    expected = json.loads((FORMAT / EXPECTED).read_text())
    user = int(next(iter(expected["all"])))
    summary = {
        "older": older,
        "newer": newer.version,
        "features": newer.manifest.features,
        "sources": newer.manifest.sources,
        "backend": newer.manifest.backend,
        "weights": list(newer.manifest.prerankers.all.ranks) if newer.manifest.prerankers.all else [],
        "expected": expected,
        "answers": answers(before),
        "user": user,
        "served": asyncio.run(served(store, user)),
    }
    out.write_text(json.dumps(summary), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
