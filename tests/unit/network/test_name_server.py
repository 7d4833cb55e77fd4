"""The name server: what it answers by UDP and TCP, and whom it asks itself."""

import asyncio
import socket
import struct
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.network.drivers import Transport
from services.network.holds import Holds
from services.network.model import Wish
from services.network.names.answers import Answers, most_udp_bytes
from services.network.names.askers import Askers
from services.network.names.questions import MOST_BYTES
from services.network.names.server import MOST_CONNECTIONS_OF_ONE, NameServer
from services.network.names.upstream import Upstream, answers
from services.network.plans import Plan
from tests.ports import free_port
from tests.unit.network.conftest import Facet
from tests.unit.network.far import BOUND_SECONDS, ask_tcp, ask_udp, far_server
from tests.unit.network.naming import run

LOOPBACK = IPv4Network("127.0.0.0/8")


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


async def test_what_is_no_question_is_refused_by_udp_and_tcp(on_loopback: Facet) -> None:
    rules = Answers(
        on_loopback.endpoints.directory,
        Askers(on_loopback.networks, on_loopback.endpoints).networks_of,
    )
    port = free_port()
    server = NameServer(on_loopback.networks.all, rules, Upstream(list), port)
    await server.ensure()
    record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 5, 4) + b"\x0a\0\0\1"
    more = struct.pack("!6H", 7, 0, 1, 0, 0, 1) + b"\3web\0\0\1\0\1" + record
    try:
        (by_tcp,) = await ask_tcp("127.0.0.1", port, more)
        for reply in (await ask_udp("127.0.0.1", port, more), by_tcp):
            assert dns.message.from_wire(reply).rcode() == dns.rcode.FORMERR
        with pytest.raises(asyncio.IncompleteReadError):
            await ask_tcp("127.0.0.1", port, more.ljust(MOST_BYTES + 1, b"\0"))
    finally:
        await server.close()


async def test_who_asks_much_at_once_by_tcp_leaves_others_their_turn(on_loopback: Facet) -> None:
    rules = Answers(
        on_loopback.endpoints.directory,
        Askers(on_loopback.networks, on_loopback.endpoints).networks_of,
    )
    await run(on_loopback, "c1", "web", Wish("app"))
    port = free_port()
    server = NameServer(on_loopback.networks.all, rules, Upstream(list), port)
    await server.ensure()
    query = dns.message.make_query("web", "A").to_wire()
    count = 500
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(BOUND_SECONDS), asyncio.TaskGroup() as group:
            turning = group.create_task(others())
            writer.write(count * (struct.pack("!H", len(query)) + query))
            before = turns
            for _ in range(count):
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                await reader.readexactly(length)
            turning.cancel()
        writer.close()
        assert turns - before >= count
    finally:
        await server.close()


async def test_one_container_leaves_connections_to_the_others(on_loopback: Facet) -> None:
    rules = Answers(
        on_loopback.endpoints.directory,
        Askers(on_loopback.networks, on_loopback.endpoints).networks_of,
    )
    network = on_loopback.networks.find("app")
    assert network.pool is not None
    await on_loopback.networks._move(
        network, replace(network.pool, subnet=IPv4Network("127.0.0.0/24"))
    )
    port = free_port()
    server = NameServer(on_loopback.networks.all, rules, Upstream(list), port)
    await server.ensure()
    query = dns.message.make_query("web.app", "A").to_wire()

    async def asked(address: str) -> tuple[asyncio.StreamWriter, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
        writer.write(struct.pack("!H", len(query)) + query)
        async with asyncio.timeout(BOUND_SECONDS):
            try:
                return writer, await reader.read(2)
            except ConnectionResetError:
                return writer, b""

    try:
        found = [await asked("127.0.0.2") for _ in range(MOST_CONNECTIONS_OF_ONE + 2)]
        answered = [bool(reply) for _, reply in found]
        assert answered == [True] * MOST_CONNECTIONS_OF_ONE + [False] * 2
        for address, reached in (("127.0.0.3", True), ("127.0.1.2", False)):
            found.append(await asked(address))
            assert bool(found[-1][1]) == reached
        for writer, _ in found:
            writer.close()
    finally:
        await server.close()


async def test_no_conversation_is_left_when_it_is_closed(on_loopback: Facet) -> None:
    rules = Answers(
        on_loopback.endpoints.directory,
        Askers(on_loopback.networks, on_loopback.endpoints).networks_of,
    )
    port = free_port()
    before = asyncio.all_tasks()
    server = NameServer(on_loopback.networks.all, rules, Upstream(list), port)
    await server.ensure()
    query = dns.message.make_query("web.app", "A").to_wire()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(struct.pack("!H", len(query)) + query)
    async with asyncio.timeout(BOUND_SECONDS):
        await reader.readexactly(2)
    await server.close()
    assert asyncio.all_tasks() == before
    writer.close()


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


async def test_a_port_may_be_published_beside_a_name_server_but_not_at_its_address(
    on_loopback: Facet,
) -> None:
    rules = Answers(
        on_loopback.endpoints.directory,
        Askers(on_loopback.networks, on_loopback.endpoints).networks_of,
    )
    port = free_port()
    address = await run(on_loopback, "c1", "web", Wish("app"))
    query = dns.message.make_query("web", "A").to_wire()
    everywhere, own = IPv4Address(0), IPv4Address("127.0.0.1")
    # Whichever was there first.
    for held_first in (True, False):
        server = NameServer(on_loopback.networks.all, rules, Upstream(list), port)
        holds = Holds(shared=port)
        try:
            for step in range(2):
                if bool(step) == held_first:
                    await server.ensure()
                else:
                    for transport in Transport:
                        holds.take((transport, everywhere, port))
            assert server.listens(on_loopback.networks.find("app"))
            for reply in (
                await ask_udp("127.0.0.1", port, query),
                *await ask_tcp("127.0.0.1", port, query),
            ):
                assert dns.message.from_wire(reply).answer[0][0].to_text() == address
            for transport in Transport:
                with pytest.raises(OSError, match="in use"):
                    holds.take((transport, own, port))
        finally:
            holds.close()
            await server.close()
