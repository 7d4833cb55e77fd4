"""What a host looks like, and what a test waits for on it."""

import asyncio
import re
from collections.abc import Callable

from tests.integration.network.conftest import Facet
from tests.integration.network.guest import BOUND_SECONDS, Guest
from tests.integration.network.namespaces import run

PASSING = re.compile(r" linkdown|NO-CARRIER,|,LOWER_UP| state \w+")
"""What the kernel says of a bridge that has no port yet or any more, a moment later."""


def host_state() -> str:
    """Return links, addresses, routes and rules of the host, without handles.

    Without IPv6, whose addresses the kernel itself gives to the cable, a moment later.
    """
    state = "\n".join(
        (
            run("ip", "-4", "-o", "addr"),
            run("ip", "-o", "link"),
            run("ip", "-4", "route", "show", "table", "all"),
            run("nft", "-s", "list", "ruleset"),
        )
    )
    return PASSING.sub("", state)


def comparable(state: str) -> str:
    """Return a host's state without what a new bridge has new: its index."""
    lines = [line.partition(": ")[2] or line for line in state.splitlines()]
    return "\n".join(sorted(lines))


def talk(source: Guest, target: Guest, data: bytes) -> None:
    """Send a datagram from one card to another, and see it arrive."""
    source.send_udp(target.address, 5, data, target.mac)
    target.receive_data(data)


async def doubted(facet: Facet) -> None:
    """Wait until the driver has reason to look."""
    async with asyncio.timeout(BOUND_SECONDS):
        await facet.driver.doubt.wait()


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop go on until something holds, for which news are on the way."""
    async with asyncio.timeout(BOUND_SECONDS):
        while not condition():  # noqa: ASYNC110 - the driver announces this to nobody
            await asyncio.sleep(0)
