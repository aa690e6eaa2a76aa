"""A load over several versions: each answer is compared with that of its version in this process."""

import asyncio
import json
import threading
from collections import Counter, defaultdict
from collections.abc import Sequence

import httpx
from faults_parts.checked_load import CheckedLoad

from recsys.registry.locate import open_store
from recsys.serving.api.create import create_api
from recsys.serving.histories import SnapshotHistories
from recsys.serving.loaded_versions import LoadedVersions
from recsys.serving.service import Service
from recsys.serving.settings import ServeSettings
from recsys.serving.stages import LocalStages


class VersionedLoad(CheckedLoad):
    """A checked load that keeps what each version answered, for `wrong_answers`."""

    def __init__(self, port: int, paths: Sequence[str], clients: int) -> None:
        super().__init__(port, dict.fromkeys(paths, b""), clients)
        self._seen: defaultdict[tuple[str, str], Counter[bytes]] = defaultdict(Counter)
        self._lock = threading.Lock()

    def is_right(self, path: str, body: bytes) -> bool:
        """Whether the body names its version; `wrong_answers` compares the rest."""
        version = json.loads(body).get("model_version")
        if not version:
            return False
        with self._lock:
            self._seen[version, path][body] += 1
        return True

    def versions(self) -> dict[str, int]:
        """The number of answers of each version."""
        counts: Counter[str] = Counter()
        for (version, _), bodies in self._seen.items():
            counts[version] += bodies.total()
        return dict(counts)

    def wrong_answers(self, registry: str) -> int:
        """Answers that are not, byte for byte, those of their version in one process without Ray."""
        wrong = 0
        for version in self.versions():
            paths = [path for seen, path in self._seen if seen == version]
            right = asyncio.run(answers_of(registry, version, paths))
            wrong += sum(
                count for path in paths for body, count in self._seen[version, path].items() if body != right[path]
            )
        return wrong


async def answers_of(registry: str, version: str, paths: Sequence[str]) -> dict[str, bytes]:
    """The bodies that a service of one version in this process answers."""
    settings = ServeSettings(registry=registry, version=version, deadline_ms=60_000, probe=False)
    versions = LoadedVersions(open_store(registry), settings)
    api = create_api(Service.build(versions, LocalStages(), SnapshotHistories(), settings), log_every=1_000_000)
    client = httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://shop")
    async with api.router.lifespan_context(api), client:
        return {path: (await client.get(path)).content for path in paths}
