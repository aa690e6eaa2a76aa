"""The address that a request comes from, behind a load balancer."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Network = IPv4Network | IPv6Network

MANY: Final = 4096
"""Addresses that are remembered in the form in which they are counted."""
LONGEST: Final = 64
"""Characters of an address in the header; a longer one is none."""
OTHERS: Final = "others"
"""Stands for requests without an address that can be read, which count as one."""
IPV6_PREFIX: Final = 64
"""A subscriber gets at least so large a network of IPv6, so its addresses count as one."""


def parse_network(text: str) -> Network:
    """The network or the single address that a text such as `10.0.0.0/16` spells; raises ValueError."""
    try:
        return ip_network(text)
    except ValueError as error:
        raise ValueError(f"expected an address or a network such as 10.0.0.0/16: {error}") from None


class ClientAddresses:
    """Finds the address of a client in X-Forwarded-For.

    Each proxy adds the address that it was asked from at the end. So entries are read from the end, and the first one
    that is not a trusted proxy's counts. What a client itself wrote stands before it.
    """

    def __init__(self, trusted: Sequence[Network]) -> None:
        self._trusted = tuple(trusted)
        self._counted = lru_cache(maxsize=MANY)(self._form)

    def client(self, forwarded: Sequence[str]) -> str | None:
        """The client's address; of IPv6 its network. None for a request that began at a trusted proxy.

        forwarded: the values of X-Forwarded-For, in their order
        """
        entries = [entry for value in forwarded for entry in value.split(",")]
        for entry in reversed(entries):
            text = entry.strip()
            counted = self._counted(text) if len(text) <= LONGEST else OTHERS
            if counted is not None:
                return counted
        return None if entries else OTHERS

    def _form(self, text: str) -> str | None:
        """The form in which an address is counted, None for a trusted proxy."""
        try:
            address = ip_address(_without_port(text))
        except ValueError:
            return OTHERS
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if any(address in network for network in self._trusted if network.version == address.version):
            return None
        if isinstance(address, IPv4Address):
            return str(address)
        return str(ip_network((int(address) >> IPV6_PREFIX << IPV6_PREFIX, IPV6_PREFIX)))


def _without_port(text: str) -> str:
    """The address of `1.2.3.4:5678` and of `[::1]:5678`, which some balancers write; other texts as they are."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
