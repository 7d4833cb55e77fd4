"""Which subnet a network gets: one that nobody has, of ours or on the host."""

from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, IPv6Network

from portlayer.management import MANAGEMENT_RANGE
from services.network import pools
from services.network.drivers import Driver
from services.network.model import Network, Pool, Pool6
from services.network.plans import Plan


class Subnets:
    """The subnets of all networks, and which are free; asked by one caller at a time."""

    def __init__(
        self, networks: Callable[[], Iterable[Network]], driver: Driver, prefix6: IPv6Network
    ) -> None:
        """`prefix6` is where IPv6 subnets are from that nobody named."""
        self._networks = networks
        self._driver = driver
        self._prefix6 = prefix6

    async def choose(self, plan: Plan) -> Pool:
        """Return the addresses of a network that is to be made, in a free subnet.

        Raises InvalidArgument (POOL_OVERLAPS) and ResourceExhausted (POOLS_EXHAUSTED).
        """
        # The host itself may well be on an external network.
        routed = [] if plan.external is not None else await self._driver.taken_subnets()
        taken = [*routed, *self.own()]
        if plan.subnet is None:
            subnet = pools.choose(taken)
            return Pool(subnet, subnet[1])
        pools.check(plan.subnet, taken)
        usual = pools.usual_gateway(plan.subnet, plan.ip_range)
        return Pool(plan.subnet, plan.gateway or usual, plan.ip_range, dict(plan.auxiliary))

    async def choose6(self, plan: Plan) -> Pool6:
        """Return the same of IPv6."""
        own = [n.pool6.subnet for n in self._networks() if n.pool6 is not None]
        routed = [] if plan.external is not None else await self._driver.taken_subnets6()
        taken = [*routed, *own]
        if plan.subnet6 is None:
            subnet = pools.choose6(self._prefix6, taken)
            return Pool6(subnet, subnet[1])
        pools.check(plan.subnet6, taken)
        usual = pools.usual_gateway(plan.subnet6, plan.ip_range6)
        return Pool6(
            *(plan.subnet6, plan.gateway6 or usual, plan.ip_range6, dict(plan.auxiliary6)),
            own_subnet=True,
        )

    def own(self, but: Network | None = None) -> list[IPv4Network]:
        """Return the subnets that networks of ours have or may get."""
        own = [
            network.pool.subnet
            for network in self._networks()
            if network.pool is not None and (but is None or network.id != but.id)
        ]
        return [*own, MANAGEMENT_RANGE]
