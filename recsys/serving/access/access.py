"""Who may ask the service, how often, and from which other sites."""

from dataclasses import dataclass

from recsys.errors import ConfigError
from recsys.serving.access.addresses import ClientAddresses, parse_network
from recsys.serving.access.environment import address_from_environment
from recsys.serving.access.keys import FollowedKeys
from recsys.serving.access.limits import RequestLimits, parse_limit
from recsys.serving.settings import ServeSettings


@dataclass(frozen=True, slots=True)
class Access:
    """The rules of access of a replica.

    keys: None for a service without keys; addresses: None where no limit is by address
    origins: sites whose pages may ask the service in a browser
    """

    keys: FollowedKeys | None
    limits: RequestLimits
    addresses: ClientAddresses | None
    origins: tuple[str, ...]

    async def run(self) -> None:
        """Follow the file of keys, until cancelled."""
        if self.keys is not None:
            await self.keys.run()

    @classmethod
    def build(cls, settings: ServeSettings) -> "Access":
        """The access that the settings ask for. Raises ConfigError or DataError where the keys cannot be read.

        Keys in this process's own environment are needed too where the settings were made elsewhere.
        """
        address = settings.keys if settings.keys is not None else address_from_environment()
        per_key, per_address = (
            parse_limit(text) if text is not None else None for text in (settings.key_limit, settings.address_limit)
        )
        if per_key is not None and address is None:
            raise ConfigError("key_limit needs keys: without them nobody can be told from another")
        networks = [parse_network(text) for text in settings.trusted_proxies]
        return cls(
            keys=FollowedKeys(address) if address is not None else None,
            limits=RequestLimits(per_key, per_address),
            addresses=ClientAddresses(networks) if per_address is not None else None,
            origins=settings.cors_origins,
        )
