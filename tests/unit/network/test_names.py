"""Names of containers, and what the name server says of them."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Network, ip_address
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portlayer.errors import AlreadyExists, InvalidArgument, NotFound
from services.network.model import Network, Wish
from services.network.names.answers import ASK, Answers, most_udp_bytes
from services.network.names.askers import Askers
from services.network.names.server import NameServer
from services.network.names.upstream import Upstream, answers
from services.network.plans import Plan
from services.network.resolvers import Resolvers, of_host
from tests.unit.network.conftest import Facet, Runs

BOUND_SECONDS = 60.0
LOOPBACK = IPv4Network("127.0.0.0/8")
ID = "c0ffee" + "0" * 58


async def run(facet: Facet, container_id: str, name: str, *wishes: Wish, hostname: str = "") -> str:
    """Run a container; returns its address in its first network."""
    reservation = await facet.endpoints.reserve(container_id, name, hostname, wishes)
    await facet.endpoints.bind(container_id)
    return str(reservation.endpoints[1].ipv4)


def asked(
    facet: Facet, network: str, asker: str, name: str, kind: str = "A", *, edns: int = 0
) -> tuple[str, list[str]] | None:
    """Ask as a container would; returns code and sorted answers, or None for "ask elsewhere"."""
    askers = Askers(facet.networks, facet.endpoints)
    directory = facet.endpoints.directory
    rules = Answers(directory, askers.networks_of, links_of=askers.links_of)
    return questioned(rules, facet.networks.find(network), asker, name, kind, edns=edns)


def questioned(
    rules: Answers, network: Network, asker: str, name: str, kind: str = "A", *, edns: int = 0
) -> tuple[str, list[str]] | None:
    """Ask somebody who answers; returns code and sorted answers, or None for "ask elsewhere"."""
    query = dns.message.make_query(name, kind, use_edns=edns)
    answer = rules.answer(query, network, IPv4Address(asker))
    if answer is ASK:
        return None
    texts = sorted(item.to_text() for rrset in answer.answer for item in rrset)
    return dns.rcode.to_text(answer.rcode()), texts


@pytest.fixture
async def app(facet: Facet) -> Facet:
    """A service with two networks that users made."""
    await facet.networks.create(Plan("app", subnet=IPv4Network("10.1.0.0/16")))
    await facet.networks.create(Plan("other", subnet=IPv4Network("10.2.0.0/16")))
    return facet


async def test_a_container_has_its_name_id_host_name_and_aliases(app: Facet) -> None:
    address = await run(app, ID, "web", Wish("app", aliases=("www", "Site")), hostname="box")
    for name in ("web", "WEB", "c0ffee000000", "box", "www", "site", "web.app"):
        assert asked(app, "app", "10.1.0.9", name) == ("NOERROR", [address]), name
    # Such names have no other data, which is not the same as not to be.
    assert asked(app, "app", "10.1.0.9", "web", "AAAA") == ("NOERROR", [])
    assert asked(app, "app", "10.1.0.9", "web", "MX") == ("NOERROR", [])
    assert asked(app, "app", "10.1.0.9", "web.other") is None
    assert asked(app, "app", "10.1.0.9", "example.com") is None


async def test_one_alias_of_several_has_all_their_addresses(app: Facet) -> None:
    addresses = [await run(app, f"c{n}", "", Wish("app", aliases=("db",))) for n in range(3)]
    assert asked(app, "app", "10.1.0.9", "db") == ("NOERROR", sorted(addresses))
    await app.endpoints.release("c1")
    assert asked(app, "app", "10.1.0.9", "db") == ("NOERROR", [addresses[0], addresses[2]])


async def test_who_does_not_run_is_not_found(app: Facet) -> None:
    await run(app, "c1", "web", Wish("app"))
    await app.endpoints.unbind("c1")
    assert asked(app, "app", "10.1.0.9", "web") is None
    await app.endpoints.bind("c1")
    assert asked(app, "app", "10.1.0.9", "web") is not None


async def test_names_do_not_leak_into_other_networks(app: Facet) -> None:
    address = await run(app, "c1", "web", Wish("app"))
    stranger = await run(app, "c2", "spy", Wish("other"))
    backwards = ".".join(reversed(address.split("."))) + ".in-addr.arpa"
    assert asked(app, "other", stranger, "web") is None
    assert asked(app, "other", stranger, backwards, "PTR") is None


async def test_who_is_in_two_networks_finds_the_names_of_both(app: Facet) -> None:
    one = await run(app, "c1", "one", Wish("app"))
    two = await run(app, "c2", "two", Wish("other"))
    both = await run(app, "c3", "both", Wish("app"), Wish("other"))
    assert asked(app, "app", both, "one") == ("NOERROR", [one])
    assert asked(app, "app", both, "two") == ("NOERROR", [two])
    assert asked(app, "app", one, "two") is None


async def test_an_address_has_the_name_of_its_container(app: Facet) -> None:
    await run(app, "c1", "web", Wish("app", ipv4="10.1.0.7", aliases=("www",)))
    name = "7.0.1.10.in-addr.arpa"
    assert asked(app, "app", "10.1.0.9", name, "PTR") == ("NOERROR", ["web.app."])
    assert asked(app, "app", "10.1.0.9", "8.0.1.10.in-addr.arpa", "PTR") == ("NXDOMAIN", [])
    assert asked(app, "app", "10.1.0.9", "8.8.8.8.in-addr.arpa", "PTR") is None
    assert asked(app, "app", "10.1.0.9", "in-addr.arpa", "PTR") is None


async def test_a_new_name_counts_at_once_and_after_a_restart(runs: Runs) -> None:
    first = await runs.start()
    await first.networks.create(Plan("app"))
    address = await run(first, "c1", "old", Wish("app", aliases=("a",)))
    await first.endpoints.rename("c1", "new")
    await first.endpoints.rename("c1", "new")
    assert asked(first, "app", address, "old") is None
    assert asked(first, "app", address, "new") == ("NOERROR", [address])
    second = await runs.start()
    for name in ("new", "a"):
        assert asked(second, "app", address, name) == ("NOERROR", [address])
    with pytest.raises(NotFound):
        await second.endpoints.rename("nobody", "x")


async def test_an_internal_network_asks_nobody_outside(facet: Facet) -> None:
    await facet.networks.create(Plan("inner", internal=True))
    address = await run(facet, "c1", "web", Wish("inner"))
    assert asked(facet, "inner", address, "web") == ("NOERROR", [address])
    assert asked(facet, "inner", address, "example.com") == ("NXDOMAIN", [])


async def test_questions_that_are_none_are_refused(app: Facet) -> None:
    assert asked(app, "app", "10.1.0.9", "web", "AXFR") == ("REFUSED", [])
    assert asked(app, "app", "10.1.0.9", "web", edns=1) == ("BADVERS", [])
    rules = Answers(app.endpoints.directory, Askers(app.networks, app.endpoints).networks_of)
    update = dns.message.from_wire(struct.pack("!6H", 1, 5 << 11, 0, 0, 0, 0))
    answer = rules.answer(update, app.networks.find("app"), IPv4Address("10.1.0.9"))
    assert answer is not ASK
    assert answer.rcode() == dns.rcode.NOTIMP


def test_how_long_an_answer_may_be() -> None:
    query = dns.message.make_query("a.", "A", use_edns=False)
    assert most_udp_bytes(query) == 512
    for payload, most in ((100, 512), (600, 600), (4096, 1232)):
        assert most_udp_bytes(dns.message.make_query("a.", "A", payload=payload)) == most


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_any_bytes_are_looked_at_in_peace(query: bytes, answer: bytes) -> None:
    assert answers(query[:12].ljust(12, b"\0") + query, answer) in (True, False)


def test_an_answer_has_the_number_and_the_question_of_its_query() -> None:
    query = dns.message.make_query("a.example.", "A", id=7, use_edns=False).to_wire()
    right = dns.message.make_response(dns.message.from_wire(query)).to_wire()
    assert answers(query, right)
    assert not answers(query, query)
    assert not answers(query, b"\0\x08" + right[2:])
    other = dns.message.make_query("b.example.", "A", id=7, use_edns=False)
    assert not answers(query, dns.message.make_response(other).to_wire())


def test_the_host_s_servers_are_asked_but_for_our_own() -> None:
    found = of_host(["10.9.0.1", "127.0.0.53", "fe80::1", "junk", "0.0.0.0"], [])
    assert [str(server) for server in found] == ["10.9.0.1", "127.0.0.53", "fe80::1"]
    own = [IPv4Network("100.112.0.0/12")]
    assert [str(s) for s in of_host(["100.112.0.1", "9.9.9.9"], own)] == ["9.9.9.9"]
    assert [str(s) for s in of_host(["100.112.0.1"], own)] == ["8.8.8.8", "8.8.4.4"]


def test_what_a_container_behind_a_name_server_has_in_its_resolv_conf() -> None:
    host = Resolvers(("9.9.9.9",), ("lan",), ("ndots:2", "rotate"))
    assert host.behind(IPv4Address("10.1.0.1")) == Resolvers(
        ("10.1.0.1",), ("lan",), ("rotate", "ndots:0")
    )


class FarServer(asyncio.DatagramProtocol):
    """A name server elsewhere: the address of every name is 192.0.2.1."""

    def __init__(self) -> None:
        self.asked: list[dns.message.Message] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The event loop's own is no subclass of what it is documented to be.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        # Somebody else's answer comes first, and is not believed.
        reply = self.reply(data)
        self._transport.sendto(struct.pack("!H", (reply[0] << 8 | reply[1]) ^ 1) + reply[2:], addr)
        self._transport.sendto(reply, addr)

    def reply(self, data: bytes) -> bytes:
        """Return the answer to a query."""
        query = dns.message.from_wire(data)
        self.asked.append(query)
        response = dns.message.make_response(query)
        name = query.question[0].name
        response.answer.append(dns.rrset.from_text(name, 60, "IN", "A", "192.0.2.1"))
        return response.to_wire()

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one question by TCP."""
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        reply = self.reply(await reader.readexactly(length))
        writer.write(struct.pack("!H", len(reply)) + reply)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def far_server() -> AsyncIterator[tuple[FarServer, int]]:
    """Serve elsewhere, by UDP and TCP on one port of loopback."""
    loop = asyncio.get_running_loop()
    server = FarServer()
    tcp = await asyncio.start_server(server.converse, "127.0.0.1", 0)
    port = tcp.sockets[0].getsockname()[1]
    udp, _ = await loop.create_datagram_endpoint(lambda: server, local_addr=("127.0.0.1", port))
    try:
        yield server, port
    finally:
        udp.close()
        tcp.close()


def free_port() -> int:
    """Return a port of loopback that is free for UDP and TCP, as far as one can tell."""
    with socket.socket() as tcp:
        tcp.bind(("127.0.0.1", 0))
        return int(tcp.getsockname()[1])


async def ask_udp(gateway: str, port: int, query: bytes) -> bytes:
    """Ask by UDP and return the answer."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.setblocking(False)
        asking.bind(("127.0.0.1", 0))
        await loop.sock_connect(asking, (gateway, port))
        await loop.sock_sendall(asking, query)
        async with asyncio.timeout(BOUND_SECONDS):
            return await loop.sock_recv(asking, 65_535)


async def ask_tcp(gateway: str, port: int, *queries: bytes) -> list[bytes]:
    """Ask on one connection by TCP and return the answers."""
    async with asyncio.timeout(BOUND_SECONDS):
        reader, writer = await asyncio.open_connection(gateway, port)
        found = []
        for query in queries:
            writer.write(struct.pack("!H", len(query)) + query)
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            found.append(await reader.readexactly(length))
        writer.close()
    return found


@pytest.fixture
async def on_loopback(facet: Facet) -> Facet:
    """A service whose network has addresses of loopback, which is all that a test can bind."""
    network = await facet.networks.create(Plan("app"))
    assert network.pool is not None
    moved = network.pool.__class__(LOOPBACK, IPv4Address("127.0.0.1"))
    await facet.networks._move(network, moved)
    return facet


async def test_the_name_server_answers_by_udp_and_tcp_and_asks_elsewhere(
    on_loopback: Facet,
) -> None:
    rules = Answers(
        on_loopback.endpoints.directory,
        Askers(on_loopback.networks, on_loopback.endpoints).networks_of,
    )
    many = [
        await run(on_loopback, f"c{n}", f"n{n}", Wish("app", aliases=("all",))) for n in range(120)
    ]
    port = free_port()
    async with far_server() as (far, far_port):
        upstream = Upstream(lambda: [IPv4Address("127.0.0.1")], far_port)
        server = NameServer(on_loopback.networks.all, rules, upstream, port)
        await server.ensure()
        try:
            assert server.listens(on_loopback.networks.find("app"))
            assert not server.listens(on_loopback.networks.find("bridge"))
            near = dns.message.make_query("n3", "A")
            outside = dns.message.make_query("example.com", "A", use_edns=False)
            big = dns.message.make_query("all", "A")
            for query, wanted in ((near, many[3]), (outside, "192.0.2.1")):
                by_udp = await ask_udp("127.0.0.1", port, query.to_wire())
                (by_tcp,) = await ask_tcp("127.0.0.1", port, query.to_wire())
                for reply in (by_udp, by_tcp):
                    answer = dns.message.from_wire(reply)
                    assert answer.id == query.id
                    assert answer.answer[0][0].to_text() == wanted
            # What is too long for a datagram says so, and comes whole by TCP.
            cut = dns.message.from_wire(await ask_udp("127.0.0.1", port, big.to_wire()))
            assert cut.flags & dns.flags.TC
            replies = await ask_tcp("127.0.0.1", port, big.to_wire(), near.to_wire())
            assert len(dns.message.from_wire(replies[0]).answer[0]) == 120
            # Nobody elsewhere was told of our names, nor of the numbers of our questions.
            names = {str(query.question[0].name) for query in far.asked}
            assert names == {"example.com."}
        finally:
            await server.close()


async def test_a_containers_own_servers_are_asked_in_place_of_the_hosts(
    on_loopback: Facet,
) -> None:
    rules = Answers(
        on_loopback.endpoints.directory,
        Askers(on_loopback.networks, on_loopback.endpoints).networks_of,
    )
    port = free_port()
    asker = IPv4Address("127.0.0.1")
    async with far_server() as (far, far_port):
        # The host has none.
        server = NameServer(
            on_loopback.networks.all,
            rules,
            Upstream(list, far_port),
            port,
            lambda network, member: [asker] if member == asker else [],
        )
        await server.ensure()
        try:
            query = dns.message.make_query("example.com", "A")
            reply = dns.message.from_wire(await ask_udp("127.0.0.1", port, query.to_wire()))
            assert reply.answer[0][0].to_text() == "192.0.2.1"
            assert len(far.asked) == 1
        finally:
            await server.close()


async def test_whose_servers_are_asked_goes_by_the_asker_and_survives_a_restart(
    app: Facet, runs: Runs
) -> None:
    own = [ip_address("192.0.2.53"), ip_address("2001:db8::53")]
    wishes = [Wish("app")]
    reservation = await app.endpoints.reserve("c1", "web", "", wishes, own)
    address = reservation.endpoints[1].ipv4
    assert address is not None
    await runs.stop()
    facet = await runs.start()
    network = facet.networks.find("app")
    assert list(Askers(facet.networks, facet.endpoints).resolvers_of(network, address)) == own
    assert list(Askers(facet.networks, facet.endpoints).resolvers_of(network, address + 1)) == []
    assert await facet.endpoints.reserve("c1", "web", "", wishes, own) == reservation
    with pytest.raises(AlreadyExists):
        await facet.endpoints.reserve("c1", "web", "", wishes)


async def test_a_containers_loopback_is_no_server_for_the_hosts_to_ask(app: Facet) -> None:
    own = [ip_address("127.0.0.1")]
    with pytest.raises(InvalidArgument, match=r"127\.0\.0\.1"):
        await app.endpoints.reserve("c1", "web", "", [Wish("app")], own)
    # On the default network it is the container that asks.
    await app.endpoints.reserve("c1", "web", "", [Wish("bridge")], own)


async def test_when_nobody_elsewhere_answers_the_asker_is_told(on_loopback: Facet) -> None:
    rules = Answers(
        on_loopback.endpoints.directory,
        Askers(on_loopback.networks, on_loopback.endpoints).networks_of,
    )
    port = free_port()
    server = NameServer(on_loopback.networks.all, rules, Upstream(list), port)
    await server.ensure()
    try:
        query = dns.message.make_query("example.com", "A").to_wire()
        answer = dns.message.from_wire(await ask_udp("127.0.0.1", port, query))
        assert answer.rcode() == dns.rcode.SERVFAIL
    finally:
        await server.close()


async def test_garbage_gets_no_answer_and_does_no_harm(on_loopback: Facet) -> None:
    rules = Answers(
        on_loopback.endpoints.directory,
        Askers(on_loopback.networks, on_loopback.endpoints).networks_of,
    )
    port = free_port()
    server = NameServer(on_loopback.networks.all, rules, Upstream(list), port)
    await server.ensure()
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for garbage in (b"", b"x", b"\0" * 11, b"\xff" * 300, b"\0\0\x80" + b"\0" * 20):
                sender.sendto(garbage, ("127.0.0.1", port))
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(struct.pack("!H", 300) + b"\xff" * 300)
        address = await run(on_loopback, "c1", "web", Wish("app"))
        query = dns.message.make_query("web", "A").to_wire()
        answer = dns.message.from_wire(await ask_udp("127.0.0.1", port, query))
        assert answer.answer[0][0].to_text() == address
    finally:
        await server.close()


async def test_it_listens_where_networks_come_and_not_where_they_went(on_loopback: Facet) -> None:
    rules = Answers(
        on_loopback.endpoints.directory,
        Askers(on_loopback.networks, on_loopback.endpoints).networks_of,
    )
    port = free_port()
    server = NameServer(on_loopback.networks.all, rules, Upstream(list), port)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        app = on_loopback.networks.find("app")
        await server.ensure()
        assert not server.listens(app)
    on_loopback.networks.followers.append(server.ensure)
    await server.ensure()
    assert server.listens(app)
    await on_loopback.networks.remove("app")
    assert not server.listens(app)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind(("127.0.0.1", port))
    await server.close()
