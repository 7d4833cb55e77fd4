"""The name server: one listener for UDP and TCP on the gateway of each network that users made."""

import asyncio
import logging
import socket
import struct
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any, cast

import dns.rcode

from services.network.model import Network
from services.network.names import questions
from services.network.names.answers import (
    ASK,
    Answers,
    most_udp_bytes,
    refused,
    serves,
    wire,
)
from services.network.names.upstream import DNS_PORT, MOST_BYTES, Server, Upstream

log = logging.getLogger("vic.network.names")

IP_FREEBIND = 15
"""linux/in.h: an address may be bound that is not there, for a bridge that is yet to be made."""

MOST_QUESTIONS = 512
"""In hand at once, of all networks; more are not heard, and their resolvers ask again."""

MOST_QUESTIONS_OF_ONE = 64
"""Of these, of one container: it can keep itself waiting, but nobody else."""

MOST_CONNECTIONS = 64
"""By TCP, of one network."""

MOST_CONNECTIONS_OF_ONE = 8
"""Of these, of one container. Resolvers have one open at a time; a program has several threads."""

IDLE_SECONDS = 10.0

_LENGTH = struct.Struct("!H")

ResolversOf = Callable[[Network, IPv4Address], Sequence[Server]]


@dataclass
class _Listener:
    """The sockets of one network."""

    network: Network
    udp: asyncio.DatagramTransport
    tcp: asyncio.Server
    connections: set[asyncio.StreamWriter] = field(default_factory=set)

    def close(self) -> None:
        self.udp.close()
        self.tcp.close()
        for writer in list(self.connections):
            writer.close()


class NameServer:
    """Listens where networks are, and answers who is in them."""

    def __init__(
        self,
        networks: Callable[[], Iterable[Network]],
        answers: Answers,
        upstream: Upstream,
        port: int = DNS_PORT,
        resolvers_of: ResolversOf = lambda network, asker: (),
    ) -> None:
        """`resolvers_of` tells whom to ask for a member, where not those that `upstream` has."""
        self._networks = networks
        self._answers = answers
        self._upstream = upstream
        self._port = port
        self._resolvers_of = resolvers_of
        self._listeners: dict[str, _Listener] = {}
        self._ensuring = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._askers: dict[IPv4Address, int] = {}
        self._in_hand = 0

    def listens(self, network: Network) -> bool:
        """Tell whether a network's members find a name server at their gateway."""
        return network.id in self._listeners

    async def ensure(self) -> None:
        """Listen for each network that is there, and for no other.

        Where the address can't be had (another program listens on port 53 of all addresses), that
        is logged; the network goes without, and the next call tries again.
        """
        async with self._ensuring:
            wanted = {network.id: network for network in self._networks() if serves(network)}
            for network_id in self._listeners.keys() - wanted.keys():
                self._listeners.pop(network_id).close()
            for network_id in wanted.keys() - self._listeners.keys():
                try:
                    self._listeners[network_id] = await self._listen(wanted[network_id])
                except OSError as error:
                    log.error("no name server for network %s: %s", wanted[network_id].name, error)

    async def close(self) -> None:
        """Stop listening."""
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _listen(self, network: Network) -> _Listener:
        assert network.pool is not None
        gateway = str(network.pool.gateway)
        udp = _socket(socket.SOCK_DGRAM, gateway, self._port)
        try:
            tcp = _socket(socket.SOCK_STREAM, gateway, self._port)
        except OSError:
            udp.close()
            raise
        connections: set[asyncio.StreamWriter] = set()

        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if _may_connect(network, writer, connections):
                # Not asyncio's own task, which nobody can cancel without a traceback.
                self._start(converse(reader, writer))
            else:
                writer.close()

        async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await self._converse(network, reader, writer)
            finally:
                connections.discard(writer)
                writer.close()

        server = await asyncio.start_server(accepted, sock=tcp)
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Datagrams(self, network), sock=udp
        )
        return _Listener(network, transport, server, connections)

    def datagram(
        self, network: Network, data: bytes, peer: tuple[Any, ...], udp: asyncio.DatagramTransport
    ) -> None:
        """Answer a datagram, when the answer is there."""

        async def answer() -> None:
            reply = await self._reply(network, data, peer[0], tcp=False)
            if reply is not None and not udp.is_closing():
                udp.sendto(reply, peer)

        self._start(answer())

    async def _converse(
        self, network: Network, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer the questions of a connection, one after the other."""
        peer = writer.get_extra_info("peername")
        try:
            while True:
                async with asyncio.timeout(IDLE_SECONDS):
                    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
                    if length > questions.MOST_BYTES:
                        return
                    data = await reader.readexactly(length)
                reply = await self._reply(network, data, peer[0], tcp=True)
                if reply is None:
                    return
                writer.write(_LENGTH.pack(len(reply)) + reply)
                async with asyncio.timeout(IDLE_SECONDS):
                    await writer.drain()
                # What has come already is read and answered without a pause: others have a turn.
                await asyncio.sleep(0)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return

    async def _reply(self, network: Network, data: bytes, peer: str, *, tcp: bool) -> bytes | None:
        """Return the reply to a message, or None for what gets none."""
        asker = IPv4Address(peer)
        assert network.pool is not None
        # The rules let a container send from its own address alone, so this tells where it is. Who
        # asks from elsewhere (another network's container, or the outside) is told nothing.
        if asker not in network.pool.subnet:
            return None
        query = questions.parsed(data, questions.MOST_BYTES if tcp else questions.MOST_UDP_BYTES)
        if query is None or isinstance(query, bytes):
            return query
        most = MOST_BYTES if tcp else most_udp_bytes(query)
        answer = self._answers.answer(query, network, asker)
        if answer is not ASK:
            return wire(answer, most)
        mine = self._askers.get(asker, 0)
        if mine >= MOST_QUESTIONS_OF_ONE or self._in_hand >= MOST_QUESTIONS:
            return None
        self._askers[asker] = mine + 1
        self._in_hand += 1
        try:
            reply = await self._upstream.ask(
                data, tcp=tcp, servers=self._resolvers_of(network, asker)
            )
        finally:
            self._in_hand -= 1
            self._askers[asker] -= 1
            if not self._askers[asker]:
                del self._askers[asker]
        return wire(refused(query, dns.rcode.SERVFAIL), most) if reply is None else reply

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _may_connect(
    network: Network, writer: asyncio.StreamWriter, connections: set[asyncio.StreamWriter]
) -> bool:
    """Take a connection in, if its peer is of the network and neither has too many of them."""
    peer = _peer(writer)
    assert network.pool is not None
    if peer is None or peer not in network.pool.subnet or len(connections) >= MOST_CONNECTIONS:
        return False
    if sum(_peer(other) == peer for other in connections) >= MOST_CONNECTIONS_OF_ONE:
        return False
    connections.add(writer)
    return True


def _peer(writer: asyncio.StreamWriter) -> IPv4Address | None:
    """Return who is at the other end of a connection; None where it ended while it began."""
    peer = writer.get_extra_info("peername")
    return None if peer is None else IPv4Address(peer[0])


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: NameServer, network: Network) -> None:
        self._server = server
        self._network = network
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The event loop's own is no subclass of what it is documented to be.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        if self._transport is not None:
            self._server.datagram(self._network, data, addr, self._transport)


def _socket(kind: socket.SocketKind, address: str, port: int) -> socket.socket:
    """Return a bound socket, whether its address is there by now or not. Raises OSError."""
    made = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK)
    try:
        made.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        # A container may be published at that port of all other addresses (`holds.py`).
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if kind is socket.SOCK_STREAM:
            # Connections of a former run may linger.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
    except OSError:
        made.close()
        raise
    return made
