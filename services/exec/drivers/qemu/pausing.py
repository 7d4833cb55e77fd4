"""Holding the CPUs of a VM, and letting them go on with a clock that is right."""

import logging
from typing import Any

from vic.hostagent.v1 import hostagent_pb2, hostagent_pb2_grpc

from portlayer.errors import VicError
from services.exec.drivers.qemu.qmp import command

log = logging.getLogger("vic.exec.qemu.pausing")


class Pausing:
    """Speaks to QEMU of CPUs that stand still. Errors: NotFound, Unavailable, QmpError."""

    def __init__(self, agent: "hostagent_pb2_grpc.HostAgentServiceAsyncStub") -> None:
        self._agent = agent

    async def pause(self, machine_id: str) -> None:
        """Hold the CPUs."""
        await command((await self._machine(machine_id)).qmp_path, "stop")

    async def unpause(self, machine_id: str) -> None:
        """Let them go on; the guest's clock has stood still with them, and is set first of all."""
        machine = await self._machine(machine_id)
        request = hostagent_pb2.SetClockRequest(machine_id=machine_id, launch_id=machine.launch_id)
        try:
            await self._agent.SetClock(request)
        except VicError as error:
            # The tether finds out by itself, within a minute.
            log.warning("the clock of %s is late: %s", machine_id, error.message)
        await command(machine.qmp_path, "cont")

    async def is_paused(self, machine_id: str) -> bool:
        """Ask QEMU whether the CPUs are held."""
        status: Any = await command((await self._machine(machine_id)).qmp_path, "query-status")
        return isinstance(status, dict) and status.get("status") == "paused"

    async def _machine(self, machine_id: str) -> hostagent_pb2.RunningMachine:
        request = hostagent_pb2.GetRequest(machine_id=machine_id)
        return (await self._agent.Get(request)).machine
