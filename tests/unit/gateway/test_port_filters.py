"""The filters `publish` and `expose` of a list of containers."""

import json
import tracemalloc

import pytest
from vic.exec.v1.container_pb2 import Container, ContainerSpec, PortBinding, Protocol

from gateway.translate.filters import Filters
from gateway.translate.listing import FILTERS, Selection

CONTAINER = Container(
    id="c",
    spec=ContainerSpec(
        name="web",
        exposed_ports=["80/tcp", "53/udp", "99999/tcp", "9/abc", "x"],
        port_bindings=[PortBinding(container_port=80, protocol=Protocol.PROTOCOL_TCP)],
    ),
)


def selection(**filters: list[str]) -> Selection:
    """A list of all containers that these filters let through."""
    return Selection(Filters.parse(json.dumps(filters), FILTERS), set(), True, 0)


@pytest.mark.parametrize(
    ("value", "published", "exposed"),
    [
        ("80", True, True),
        ("80/tcp", True, True),
        ("80/udp", False, False),
        ("70-80", True, True),
        ("80-90/tcp", True, True),
        ("81-65535", False, False),
        ("0-79", False, False),
        ("53/udp", False, True),
        ("53", False, False),
        ("80/sctp", False, False),
        ("0-65535", True, True),
    ],
)
def test_a_container_with_one_of_the_ports_is_listed(
    value: str, published: bool, exposed: bool
) -> None:
    assert selection(publish=[value]).of([CONTAINER]) == [CONTAINER] * published
    assert selection(expose=[value]).of([CONTAINER]) == [CONTAINER] * exposed
    assert selection(publish=[]).of([CONTAINER]) == [CONTAINER]
    assert selection(publish=[value, "80"]).of([CONTAINER]) == [CONTAINER]


def test_ranges_take_no_memory_for_each_of_their_ports() -> None:
    ranges = [
        f"{first}-65535/{protocol}" for first in range(20) for protocol in ("tcp", "udp", "sctp")
    ]
    tracemalloc.start()
    try:
        chosen = selection(publish=ranges, expose=ranges)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 8 << 20
    assert chosen.of([CONTAINER]) == [CONTAINER]
