"""What a container that has ended has still: who starts another with it waits until it is free."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from portlayer.errors import Reason, VicError
from services.exec.exits import POWER_OFF_SECONDS, Exits
from services.exec.record import Record
from services.exec.states import State
from services.exec.store import Containers

T = TypeVar("T")

RETIRE_SECONDS = POWER_OFF_SECONDS + 60
"""Long enough for the VM of a container that has ended to be gone: as long as its guest may take,
and what comes before and after. A start has several times that at the gateway."""
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
                if holder is None or _is_settled(holder):
                    # It may have given it back between the refusal and our look.
                    if over == other:
                        raise
                    over = other
                    continue
                if asyncio.get_running_loop().time() >= deadline:
                    raise
                await self._let_go(holder)

    async def _let_go(self, holder: Record) -> None:
        """Return when a container on its way out may have given back what it has.

        Or after a while: another replica of this service may have it in hand, and tells nobody.
        """
        # What is removed at its end has its ports until then.
        waits = {asyncio.create_task(self._exits.removed(holder), name=f"removal of {holder.id}")}
        if holder.boot_id:
            retired = self._exits.retired(holder)
            waits.add(asyncio.create_task(retired, name=f"end of {holder.id}"))
        try:
            done, _ = await asyncio.wait(
                waits, timeout=RETIRE_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                task.result()
        finally:
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)


def _is_settled(holder: Record) -> bool:
    """Tell whether a container without a VM stays as it is, with all that it has."""
    if holder.boot_id or holder.state is State.REMOVING:
        return False
    return not (holder.state is State.EXITED and holder.spec.auto_remove)
