"""What the network facet relies on of every driver, tried on each of them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from portlayer.errors import FailedPrecondition, NotImplementedYet, Reason
from services.network.drivers import Forward, Level, Port, Segment, Transport, Uplink
from tests.conformance.network.platforms import EXCEPTIONS, Platform, linux, vsphere

PLATFORMS = {"linux": linux, "vsphere": vsphere}


@pytest.fixture(params=sorted(PLATFORMS))
async def platform(request: pytest.FixtureRequest) -> AsyncIterator[Platform]:
    """Each platform in turn."""
    async with PLATFORMS[request.param]() as made:
        yield made


def segment(ordinal: int, **fields: Any) -> Segment:
    """A bridge network."""
    subnet = IPv4Network(f"172.{17 + ordinal}.0.0/16")
    return Segment(ordinal, subnet, subnet[1], 1500, **fields)


async def test_the_life_of_segments_and_ports(platform: Platform) -> None:
    driver = platform.driver
    before = await platform.state()
    await driver.start([], [])
    one, two = segment(0), segment(1)
    for wanted in (one, two, one):
        await driver.add_segment(wanted)
    assert driver.segment_name(one) != driver.segment_name(two)
    assert before < await platform.state()

    # A card that no VM has can't be connected, and then none is.
    port = await platform.plug(one, one.gateway + 1)
    lost = Port("lost", 0, "02:42:ac:11:00:99", one.gateway + 2, container_id="ab" * 32)
    with pytest.raises(FailedPrecondition) as refused:
        await driver.attach([port, lost])
    assert refused.value.reason is Reason.TAP_MISSING
    assert not driver.attached(port.name)
    for _ in range(2):
        await driver.attach([port])
        assert driver.attached(port.name)
    other = await platform.plug(two, two.gateway + 1)
    await driver.attach([other])

    # What is as it should be is left alone; what somebody has taken away is there again.
    assert await driver.restore() == []
    await driver.detach([other.name])
    await platform.unplug(other)
    await platform.spoil(two)
    assert any(driver.segment_name(two) in line for line in await driver.restore())
    assert await driver.restore() == []

    # One that comes later knows what runs.
    later = platform.fresh()
    await later.start([one, two], [port])
    assert later.attached(port.name)
    assert await later.restore() == []
    await later.close()

    for _ in range(2):
        await driver.detach([port.name])
        assert not driver.attached(port.name)
    await platform.unplug(port)
    await driver.detach(["never-there"])
    for ordinal in (1, 1, 7):
        await driver.remove_segment(ordinal)
    await driver.teardown()
    assert await platform.state() == before
    # From a process that knows nothing, and where there is nothing.
    again = platform.fresh()
    await again.teardown()
    await again.close()
    assert await platform.state() == before


async def test_a_network_outside_is_found_or_named(platform: Platform) -> None:
    driver = platform.driver
    before = await platform.state()
    await driver.start([], [])
    outside = segment(1, uplink=Uplink(platform.parent, Level.OPEN))
    await driver.add_segment(outside)
    port = await platform.plug(outside, outside.gateway + 1)
    await driver.attach([port])
    assert driver.attached(port.name)
    nowhere = segment(2, uplink=Uplink("nowhere0", Level.OPEN))
    with pytest.raises(FailedPrecondition, match="nowhere0") as refused:
        await driver.add_segment(nowhere)
    assert refused.value.reason is Reason.PARENT_MISSING
    await driver.detach([port.name])
    await platform.unplug(port)
    await driver.remove_segment(1)
    await driver.teardown()
    # What is there without us stays.
    assert await platform.state() == before


async def test_what_a_platform_cant_do_is_refused_by_name(platform: Platform) -> None:
    driver = platform.driver
    before = await platform.state()
    await driver.start([segment(0)], [])
    host, inside = IPv4Address("0.0.0.0"), IPv4Address("172.17.0.2")
    published = Forward(Transport.TCP, host, 8080, inside, 80)
    tried: dict[str, Callable[[], Awaitable[None]]] = {
        "isolated members": lambda: driver.add_segment(segment(1, isolated=True)),
        "published ports": lambda: driver.forward([published], []),
    }
    for number, level in enumerate(Level, 2):
        outside = segment(number, uplink=Uplink(platform.parent, level))
        tried[f"level {level}"] = lambda outside=outside: driver.add_segment(outside)  # type: ignore[misc]
    for what, work in tried.items():
        if (platform.name, what) in EXCEPTIONS:
            with pytest.raises(NotImplementedYet):
                await work()
        else:
            await work()
    # What is kept by rules is kept by them still.
    assert await driver.restore() == []
    await driver.teardown()
    assert await platform.state() == before


def test_what_a_platform_cant_do_are_three_things() -> None:
    assert len(EXCEPTIONS) == 3
