"""The templates of an instance: each is held by a forker from its first fork on."""

import asyncio
import logging

from hostagent.forking.forker import Forker
from hostagent.inventory import LiveMachine
from hostagent.machine import MachineKind
from hostagent.tetherport import TetherState
from portlayer.errors import FailedPrecondition
from portlayer.turns import Turns

log = logging.getLogger("vic.templates")


class Templates:
    """Knows the forkers."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks
        self._forkers: dict[str, Forker] = {}
        self._turns = Turns()

    async def forker_of(self, template: LiveMachine) -> Forker:
        """Return what forks a template, which must have warmed up and stand still.

        Raises FailedPrecondition, Internal (LAUNCH_FAILED).
        """
        record = template.record
        if record.kind is not MachineKind.TEMPLATE:
            raise FailedPrecondition(f"machine {record.machine_id} is no template")
        if record.tether_state != TetherState.WARM:
            raise FailedPrecondition(f"template {record.machine_id} has not warmed up")
        # One that doesn't come to rest keeps nobody else's forks waiting.
        async with self._turns.of(record.machine_id):
            forker = self._forkers.get(record.machine_id)
            if forker is None:
                forker = Forker(record.process.pid)
                try:
                    await forker.seized()
                except BaseException:
                    await forker.end()
                    raise
                self._forkers[record.machine_id] = forker
                self._tasks.create_task(self._end_with(template, forker))
        return forker

    async def _end_with(self, template: LiveMachine, forker: Forker) -> None:
        await template.gone.wait()
        self._forkers.pop(template.record.machine_id, None)
        await forker.end()

    async def close(self) -> None:
        """Let go of all templates, which end."""
        for forker in list(self._forkers.values()):
            await forker.end()
