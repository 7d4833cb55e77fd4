"""Where bridge networks publish ports that name no address of the host."""

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address

from portlayer.errors import FailedPrecondition, Reason
from services.network.drivers import Driver
from services.network.model import Network
from services.network.options import ANY_ADDRESS, parse_options


class Publishing:
    """The default for publishing, which an external network can be."""

    def __init__(self, networks: Callable[[], Iterable[Network]], driver: Driver, mtu: int) -> None:
        self._networks = networks
        self._driver = driver
        self._mtu = mtu

    async def host_address(self, network: Network) -> IPv4Address:
        """Return where a bridge network publishes ports that name no address of the host.

        That is what its options say, else the host's address on the external network that is the
        default for publishing, else all of the host's. Raises FailedPrecondition (WRONG_STATE)
        where the host has no address there any more.
        """
        if not network.predefined:
            own = parse_options(network.options, self._mtu).host_address
            if own != ANY_ADDRESS:
                return own
        publishing = self.network()
        return ANY_ADDRESS if publishing is None else await self._address_on(publishing)

    def network(self) -> Network | None:
        """Return the external network that is the default for publishing."""
        return next((n for n in self._networks() if n.external and n.external.publishes), None)

    async def _address_on(self, network: Network) -> IPv4Address:
        """Return the host's own address in an external network's subnet."""
        assert network.pool is not None
        addresses = await self._driver.addresses_within(network.pool.subnet)
        if not addresses:
            raise FailedPrecondition(
                f"this host has no address in {network.pool.subnet}, the subnet of external "
                f"network {network.name}, at which ports could be published",
                Reason.WRONG_STATE,
            )
        return addresses[0]

    async def check(self, network: Network) -> None:
        """Return when a network can be it. Raises FailedPrecondition (WRONG_STATE)."""
        other = self.network()
        if other is not None:
            raise FailedPrecondition(
                f"external network {other.name} is the default for publishing already",
                Reason.WRONG_STATE,
            )
        await self._address_on(network)
