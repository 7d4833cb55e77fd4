"""Outside hosts that have a name in a network: a database, say, that is in no container.

Source: "mapped entities" of the documents of vSphere Integrated Containers
"""

import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address

from portlayer.errors import FailedPrecondition, InvalidArgument, NotFound, Reason
from portlayer.turns import Turns
from services.network.finish import finish
from services.network.model import Network
from services.network.names.answers import serves
from services.network.networks import Networks
from services.network.store import NetworkStore

Address = IPv4Address | IPv6Address

# A label of a host name (RFC 1123), with the underscore that services' names have.
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
MOST_CHARACTERS = 253
BROADCAST = IPv4Address("255.255.255.255")


class OutsideHosts:
    """All outside aliases. The database is the record; what is here is read from it at start."""

    def __init__(self, store: NetworkStore, networks: Networks) -> None:
        self._store = store
        self._networks = networks
        self._aliases: dict[str, dict[str, Address]] = {}
        self._turns = Turns()

    async def load(self) -> None:
        """Read all aliases from the database; the networks must have been read before."""
        self._aliases = await self._store.outside_aliases()

    async def drop_gone(self) -> None:
        """Forget what was named in networks that are gone."""
        known = {network.id for network in self._networks.all()}
        for network_id in self._aliases.keys() - known:
            del self._aliases[network_id]

    def of(self, network: Network) -> Mapping[str, Address]:
        """Return a network's aliases by name."""
        return dict(sorted(self._aliases.get(network.id, {}).items()))

    def address(self, network_id: str, name: str) -> Address | None:
        """Return the address behind a name in lower case, or None where nobody outside has it."""
        return self._aliases.get(network_id, {}).get(name)

    def name(self, network_id: str, address: Address) -> str | None:
        """Return the first name that an address has in a network."""
        aliases = self._aliases.get(network_id, {})
        return next((name for name, known in aliases.items() if known == address), None)

    async def set(self, reference: str, name: str, address: str) -> None:
        """Give an outside host a name in a network, in the place of who had it. Idempotent.

        Raises NotFound (NETWORK_NOT_FOUND), InvalidArgument (INVALID_NETWORK for the name,
        INVALID_ADDRESS), FailedPrecondition (WRONG_STATE) for a network without a name server.
        """
        network = self._networks.find(reference)
        alias, host = _name(name), _address(address)
        if not serves(network):
            raise FailedPrecondition(
                f"network {network.name} has no name server of its own, which alone could tell "
                f"of {alias}: aliases are for bridge networks that users made",
                Reason.WRONG_STATE,
            )
        async with self._turns.of(network.id):
            if self.address(network.id, alias) != host:
                await finish(self._record(network, alias, host))

    async def remove(self, reference: str, name: str) -> None:
        """Take a name away. Raises NotFound (NETWORK_NOT_FOUND, ALIAS_NOT_FOUND)."""
        network = self._networks.find(reference)
        alias = name.lower().rstrip(".")
        async with self._turns.of(network.id):
            if self.address(network.id, alias) is None:
                raise NotFound(
                    f"network {network.name} has no outside alias {name}", Reason.ALIAS_NOT_FOUND
                )
            await finish(self._erase(network, alias))

    async def _record(self, network: Network, alias: str, host: Address) -> None:
        await self._store.set_outside_alias(network.id, alias, host)
        self._aliases.setdefault(network.id, {})[alias] = host

    async def _erase(self, network: Network, alias: str) -> None:
        await self._store.remove_outside_alias(network.id, alias)
        del self._aliases[network.id][alias]


def _name(text: str) -> str:
    name = text.lower().rstrip(".")
    last = name.rpartition(".")[2]
    # Nobody asks a name server for what reads as an address, or for itself (RFC 3696, RFC 6761).
    asked = not last.isdecimal() and last != "localhost"
    if len(name) > MOST_CHARACTERS or _NAME.fullmatch(name) is None or not asked:
        raise InvalidArgument(f"invalid alias {text!r}: not a host name", Reason.INVALID_NETWORK)
    return name


def _address(text: str) -> Address:
    try:
        address = ip_address(text)
    except ValueError:
        raise InvalidArgument(
            f"invalid address {text!r}: not an IP address", Reason.INVALID_ADDRESS
        ) from None
    if (
        address.is_unspecified
        or address.is_multicast
        or address.is_loopback
        or address == BROADCAST
        # A link's own addresses mean nothing without the link.
        or (address.version == 6 and address.is_link_local)
    ):
        raise InvalidArgument(
            f"invalid address {text}: no host that containers could reach", Reason.INVALID_ADDRESS
        )
    return address
