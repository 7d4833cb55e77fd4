"""What a container that has ended has still: who starts another with it waits until it is free."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from portlayer.errors import Reason, VicError
from services.exec.exits import Exits
from services.exec.store import Containers

T = TypeVar("T")

RETIRE_SECONDS = 60.0
"""Long enough for the VM of a container that has ended to be gone."""
RETIRE_LOOK_SECONDS = 5.0


async def _gives_nothing(container_id: str) -> bool:
    return False


class Taken:
    """Waits for volumes and ports of containers whose process has ended, and whose VM has not."""

    def __init__(self, containers: Containers, exits: Exits) -> None:
        self._containers = containers
        self._exits = exits

    async def once_free(
        self,
        take: Callable[[], Awaitable[T]],
        refusal: Reason,
        give: Callable[[str], Awaitable[bool]] = _gives_nothing,
    ) -> T:
        """Take something, as soon as the container that a refusal names has given it back.

        `give` may have it given back at once, and tells whether it did. Raises what `take` raises,
        the refusal too where its container runs, or has been given time enough.
        """
        deadline = asyncio.get_running_loop().time() + RETIRE_SECONDS
        over = ""
        while True:
            try:
                return await take()
            except VicError as error:
                other = error.metadata.get("container", "")
                if error.reason is not refusal or not other:
                    raise
                if await give(other):
                    continue
                holder = await self._containers.get(other)
                if holder is not None and holder.state.has_vm:
                    raise
                if holder is None or not holder.boot_id:
                    # It may have given it back between the refusal and our look.
                    if over == other:
                        raise
                    over = other
                    continue
                if asyncio.get_running_loop().time() >= deadline:
                    raise
                with suppress(TimeoutError):
                    # Another replica of this service may have it in hand, and tells nobody.
                    async with asyncio.timeout(RETIRE_LOOK_SECONDS):
                        await self._exits.retired(holder)
