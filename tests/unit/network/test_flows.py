"""Which conversations by UDP are to be decided anew when ports come and go."""

from ipaddress import ip_address

import pytest

from services.network.drivers import Forward, Transport
from services.network.drivers.linux.flows import Flow, outdated

LOCAL = frozenset(map(ip_address, ("192.0.2.1", "127.0.0.1", "2001:db8::1")))
HOST, CONTAINER, FORMER = "192.0.2.1", "172.17.0.2", "172.17.0.3"


def forward(at: str, to: str, port: int = 53) -> Forward:
    return Forward(Transport.UDP, ip_address(at), 5353, ip_address(to), port)


def flow(target: str, answerer: str, answering_port: int = 53, port: int = 5353) -> Flow:
    source = "198.51.100.7" if ":" not in target else "2001:db8:1::7"
    ends = (ip_address(source), 4000, ip_address(target), port)
    return Flow(*ends, ip_address(answerer), answering_port)


@pytest.mark.parametrize("at", ["0.0.0.0", HOST])
def test_what_went_to_the_host_or_another_container_goes_to_the_new_one(at: str) -> None:
    opened = [forward(at, CONTAINER)]
    assert outdated(flow(HOST, HOST, 5353), opened, [], LOCAL)
    assert outdated(flow(HOST, FORMER), opened, [], LOCAL)
    assert outdated(flow(HOST, CONTAINER, 54), opened, [], LOCAL)


def test_what_is_right_or_of_others_is_left_alone() -> None:
    opened = [forward(HOST, CONTAINER)]
    assert not outdated(flow(HOST, CONTAINER), opened, [], LOCAL), "led there already"
    assert not outdated(flow("127.0.0.1", "127.0.0.1", 5353), opened, [], LOCAL)
    assert not outdated(flow(HOST, HOST, 5354, port=5354), opened, [], LOCAL)
    elsewhere = flow("203.0.113.9", "203.0.113.9", 5353)
    assert not outdated(elsewhere, [forward("0.0.0.0", CONTAINER)], [], LOCAL), "routed"


def test_what_went_to_a_container_ends_with_its_port() -> None:
    closed = [forward("0.0.0.0", CONTAINER)]
    assert outdated(flow(HOST, CONTAINER), [], closed, LOCAL)
    assert not outdated(flow(HOST, FORMER), [], closed, LOCAL)


def test_it_is_the_same_with_ipv6() -> None:
    opened = [forward("::", "fd00::2"), forward("0.0.0.0", CONTAINER)]
    assert outdated(flow("2001:db8::1", "2001:db8::1", 5353), opened, [], LOCAL)
    assert not outdated(flow("2001:db8::1", "fd00::2"), opened, [], LOCAL)
