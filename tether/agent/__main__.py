"""The agent's start; the supervisor hands it one end of a link."""

from __future__ import annotations

import asyncio
import socket

from tether.agent.agent import Agent
from tether.link import Link


def main(descriptor: int) -> None:
    """Run the agent on a link's descriptor."""
    asyncio.run(_run(Link(socket.socket(fileno=descriptor))))


async def _run(link: Link) -> None:
    await Agent(link).run()
