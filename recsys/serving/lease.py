"""The lease on the versions that a service process holds, kept beside requests."""

import asyncio
import logging

from recsys.errors import RegistryError
from recsys.registry.leases import Lease
from recsys.serving.loaded_versions import LoadedVersions
from recsys.serving.settings import ServeSettings

logger = logging.getLogger(__name__)


class KeptLease:
    """Renews the lease in a thread, so that requests go on meanwhile. A failure changes nothing but the log."""

    def __init__(self, versions: LoadedVersions, settings: ServeSettings) -> None:
        self._versions, self._settings = versions, settings
        self._lease = Lease(versions.store)
        self._failed = False

    async def run(self) -> None:
        """Keep the lease, until cancelled."""
        while True:
            await self.update()
            await asyncio.sleep(self._settings.poll_seconds)

    async def update(self) -> None:
        """Renew the lease if it is due."""
        held = sorted({*self._versions.names(), *([self._settings.version] if self._settings.version else [])})
        if not self._versions.names() or not self._lease.is_due(held):
            return
        try:
            await asyncio.to_thread(self._lease.renew, held)
            self._failed = False
        except RegistryError as error:
            if not self._failed:
                advice = "`recsys models prune` does not see what this service serves"
                logger.warning("no lease written", extra={"reason": str(error), "effect": advice})
            self._failed = True
