"""Questions of containers for names, as packets."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from ipaddress import IPv4Address

import dns.message
import dns.rcode
import pytest

from services.network.names.answers import Answers
from services.network.names.askers import Askers
from services.network.names.server import NameServer
from services.network.names.upstream import Upstream
from services.network.plans import Plan
from tests.integration.network import frames
from tests.integration.network.conftest import Facet
from tests.integration.network.guest import BOUND_SECONDS, Guest
from tests.integration.network.namespaces import Outside, run


@pytest.fixture
async def names(facet: Facet, outside: Outside) -> AsyncIterator[NameServer]:
    """The facet's name server, which asks the machine outside."""
    rules = Answers(facet.endpoints.directory, Askers(facet.networks, facet.endpoints).networks_of)
    upstream = Upstream(lambda: [IPv4Address(outside.address)])
    server = NameServer(facet.networks.all, rules, upstream)
    facet.networks.followers.append(server.ensure)
    yield server
    await server.close()


async def ask(guest: Guest, gateway: str, name: str, number: int) -> None:
    """Send a question for a name's address."""
    query = dns.message.make_query(name, "A", id=number).to_wire()
    guest.send_udp(gateway, 53, query)


async def answered(guest: Guest, number: int) -> tuple[str, list[str]]:
    """Return code and addresses of the answer to a question. The loop goes on meanwhile."""

    def fits(frame: frames.Seen) -> bool:
        return frame.protocol == frames.UDP and frame.data[:2] == struct.pack("!H", number)

    frame = await asyncio.to_thread(guest.receive, fits)
    answer = dns.message.from_wire(frame.data)
    found = [item.to_text() for rrset in answer.answer for item in rrset]
    return dns.rcode.to_text(answer.rcode()), found


async def test_containers_find_one_another_and_nobody_of_another_network(
    facet: Facet, names: NameServer
) -> None:
    await facet.networks.create(Plan("app"))
    await facet.networks.create(Plan("other"))
    _, one = await facet.container("aaaaaaaaaaaa1", "app")
    _, two = await facet.container("bbbbbbbbbbbb2", "app")
    _, spy = await facet.container("cccccccccccc3", "other", name="spy")
    await ask(one, one.gateway, "bbbbbbbbbbbb", 1)
    assert await answered(one, 1) == ("NOERROR", [two.address])
    # At the other network's gateway, which the host has as well, a stranger is told nothing.
    await ask(spy, one.gateway, "bbbbbbbbbbbb", 2)
    await ask(spy, spy.gateway, "spy", 3)
    assert await answered(spy, 3) == ("NOERROR", [spy.address])
    assert all(frame.data[:2] != b"\0\2" for frame in spy.seen)


async def test_what_nobody_here_is_called_is_asked_outside(
    facet: Facet, names: NameServer, outside: Outside
) -> None:
    await facet.networks.create(Plan("app"))
    await facet.networks.create(Plan("inner", internal=True))
    _, card = await facet.container("aaaaaaaaaaaa1", "app")
    _, inner = await facet.container("bbbbbbbbbbbb2", "inner")
    with outside.socket() as resolver:
        resolver.settimeout(BOUND_SECONDS)
        resolver.bind((outside.address, 53))
        # From an internal network no question gets out.
        await ask(inner, inner.gateway, "secret.example", 1)
        assert await answered(inner, 1) == ("NXDOMAIN", [])
        await ask(card, card.gateway, "example.com", 2)
        data, sender = await asyncio.to_thread(resolver.recvfrom, 1000)
        query = dns.message.from_wire(data)
        assert str(query.question[0].name) == "example.com."
        response = dns.message.make_response(query)
        response.answer.append(dns.rrset.from_text("example.com.", 5, "IN", "A", "192.0.2.5"))
        resolver.sendto(response.to_wire(), sender)
        assert await answered(card, 2) == ("NOERROR", ["192.0.2.5"])


async def test_names_are_told_on_a_host_that_drops_input_by_default(
    facet: Facet, names: NameServer
) -> None:
    run("nft", "add table ip strict")
    for hook in ("input", "output"):
        chain = f"{{ type filter hook {hook} priority 0; policy drop; }}"
        run("nft", f"add chain ip strict {hook} {chain}")
    await facet.networks.create(Plan("app"))
    _, card = await facet.container("aaaaaaaaaaaa1", "app")
    await ask(card, card.gateway, "aaaaaaaaaaaa", 1)
    assert await answered(card, 1) == ("NOERROR", [card.address])


async def test_nobody_outside_is_told_names(
    facet: Facet, names: NameServer, outside: Outside
) -> None:
    await facet.networks.create(Plan("app"))
    _, card = await facet.container("aaaaaaaaaaaa1", "app")
    outside.run("ip", "route", "add", "default", "via", "198.51.100.1")
    with outside.socket() as asking, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as echo:
        asking.settimeout(BOUND_SECONDS)
        echo.bind((card.gateway, 9000))
        query = dns.message.make_query("aaaaaaaaaaaa", "A", id=1).to_wire()
        asking.sendto(query, (card.gateway, 53))
        # The host itself is reached on that address; only the name server is silent.
        asking.sendto(b"knock", (card.gateway, 9000))
        echo.settimeout(BOUND_SECONDS)
        _, sender = await asyncio.to_thread(echo.recvfrom, 100)
        # Twice through the loop, so that the name server has had its turn.
        await ask(card, card.gateway, "aaaaaaaaaaaa", 2)
        assert (await answered(card, 2))[1] == [card.address]
        echo.sendto(b"last", sender)
        assert (await asyncio.to_thread(asking.recvfrom, 1000))[0] == b"last"
