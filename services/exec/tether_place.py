"""Where tethers find interaction."""

from vic.network.v1 import network_pb2

from services.exec.peers import Peers


class TetherPlace:
    """Address and name of interaction's server on the management network."""

    def __init__(self, peers: Peers, server_name: str) -> None:
        self._peers = peers
        self._info: network_pb2.InfoResponse | None = None
        self.server_name = server_name

    async def endpoint(self) -> str:
        """Return its address and port. Raises what network raises."""
        if self._info is None:
            self._info = await self._peers.network.Info(network_pb2.InfoRequest())
        return f"{self._info.management_address}:{self._info.tether_port}"
