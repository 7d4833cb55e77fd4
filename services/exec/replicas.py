"""What replicas of this service on one database tell one another."""

import asyncio
import logging

from portlayer.errors import VicError
from portlayer.neighbours import Neighbours
from services.exec.eventlog import EventLog
from services.exec.exits import Exits
from services.exec.facts import FACTS_CHANNEL
from services.exec.history import EVENTS_CHANNEL
from services.exec.restarting import Restarts

# Who serves on this database holds a lock of this name.
REPLICAS = "vic_exec_replicas"

log = logging.getLogger("vic.exec.replicas")


async def follow_replicas(
    neighbours: Neighbours, events: EventLog, exits: Exits, restarts: Restarts
) -> None:
    """Pass on what other replicas have put on record, and that one has ended; never returns.

    What that one had in hand a comparison finishes or undoes.
    """
    async with asyncio.TaskGroup() as group:
        looking = asyncio.Event()

        def heard(container_id: str) -> None:
            events.announce(container_id)
            looking.set()

        def fact_heard(_: str) -> None:
            looking.set()

        group.create_task(neighbours.listen(EVENTS_CHANNEL, heard))
        group.create_task(neighbours.listen(FACTS_CHANNEL, fact_heard))
        group.create_task(neighbours.company(REPLICAS, exits.doubt.set))
        while True:
            await looking.wait()
            looking.clear()
            try:
                await exits.look_again()
                await restarts.look_again()
            except VicError as error:
                log.warning("cannot look at what the other replicas did: %s", error.message)
