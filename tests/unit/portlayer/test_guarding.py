"""Connections that a client of the web may not make."""

import socket
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from portlayer.web.errors import AddressRefused, ServerUnavailable
from portlayer.web.proxies import Proxies
from portlayer.web.transport import Transport, _Resolver
from tests.unit.gateway.web_server import Page, web_server


def refuse_second(address: IPv4Address | IPv6Address) -> str:
    """A guard of one address."""
    return "not that one" if address == IPv4Address("127.0.0.2") else ""


async def get(transport: Transport, url: str) -> bytes:
    """What a URL sends."""
    try:
        async with transport.get(url, verify=True, headers={}, authorization=None) as response:
            return b"".join([piece async for piece in response.chunks()])
    finally:
        await transport.close()


async def test_of_several_addresses_those_are_used_that_may_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: list[int] = []

    async def resolve(_self: _Resolver, host: str, port: int, family: Any) -> list[dict[str, Any]]:
        return [
            {
                "hostname": host,
                "host": f"127.0.0.{last}",
                "port": port,
                "family": socket.AF_INET,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST,
            }
            for last in found
        ]

    monkeypatch.setattr(_Resolver, "resolve", resolve)
    async with web_server() as server:
        server.pages["/x"] = Page(b"said")
        url = server.url.replace("127.0.0.1", "name.test") + "/x"
        for order in ((2, 1), (1, 2)):
            found[:] = order
            assert await get(Transport(guard=refuse_second), url) == b"said"
        found[:] = [2]
        with pytest.raises(AddressRefused, match=r"dial tcp name\.test:\d+: not that one"):
            await get(Transport(guard=refuse_second), url)


@pytest.mark.parametrize(
    "host",
    [
        *("169.254.169.254", "127.1", "2130706433", "0x7f000001", "0251.0376.0251.0376"),
        *("127.0.0.1.", "127.1.", "a.localhost", "A.LocalHost.", "[::1]", "\uff11\uff12\uff17.1"),
    ],
)
async def test_a_proxy_is_asked_for_names_alone_and_may_be_anywhere(host: str) -> None:
    async with web_server() as proxy:
        proxy.pages["http://name.test/x"] = Page(b"by proxy")

        def refuse_all(_address: IPv4Address | IPv6Address) -> str:
            return "not anywhere"

        proxies = Proxies(http=proxy.url)
        transport = Transport(proxies=proxies, guard=refuse_all)
        assert await get(transport, "http://name.test/x") == b"by proxy"
        why = r"not anywhere|invalid URL"
        with pytest.raises((AddressRefused, ServerUnavailable), match=why):
            await get(Transport(proxies=proxies, guard=refuse_all), f"http://{host}/x")
        assert len(proxy.asked) == 1


@pytest.mark.parametrize("host", ["localhost", "LocalHost.", "127.0.0.1", "127.0.0.1.", "[::1]"])
def test_loopback_is_never_asked_through_a_proxy(host: str) -> None:
    proxies = Proxies("http://proxy.test", "http://proxy.test", ["near.test"])
    assert proxies.of(f"https://{host}/x") is None
    assert proxies.of("http://near.test./x") is None
    assert proxies.of("http://far.test./x") == "http://proxy.test"
