"""Launches clones that go through the motions of a start with nobody, and then stand still."""

import asyncio
import logging
import secrets
from dataclasses import dataclass

from vic.hostagent.v1 import hostagent_pb2, hostagent_pb2_grpc

from portlayer.errors import NotFound, Reason, Unavailable, VicError
from services.exec.drivers.qemu.dialling import Dialling, Place
from services.exec.drivers.qemu.parents import Parents, load_clone, tether_reports
from services.exec.drivers.qemu.patience import LAUNCH_SECONDS
from services.exec.drivers.qemu.qmp import QmpError, command

log = logging.getLogger("vic.exec.qemu.warming")

READY_PREFIX = "ready-"
TEMPLATE_PREFIX = "template-"
# A warm-up takes two seconds on an idle machine; it has the lowest weight on a busy one.
WARM_SECONDS = 180.0


@dataclass(frozen=True)
class ReadyClone:
    """A clone that has warmed up."""

    machine_id: str
    parent_id: str
    # Where its tether is, and dials while it waits; None where it stands still.
    place: Place | None = None


class Warming:
    """Makes clones of a shape's parent that have warmed up, and ends them."""

    def __init__(
        self,
        agent: "hostagent_pb2_grpc.HostAgentServiceAsyncStub",
        parents: Parents,
        dialling: Dialling | None = None,
    ) -> None:
        self._agent = agent
        self._parents = parents
        self.dialling = dialling

    async def warm_up(
        self, prefix: str, kind: hostagent_pb2.MachineKind, shape: hostagent_pb2.Shape
    ) -> ReadyClone:
        """Launch a clone, let it warm up, and hold its CPUs. Raises VicError; nothing is left."""
        parent_id = await self._parents.ready(shape)
        machine = nameless(prefix, kind, shape, parent_id)
        machine_id = machine.machine_id
        try:
            launch = hostagent_pb2.LaunchRequest(machine=machine)
            running = (await self._agent.Launch(launch, timeout=LAUNCH_SECONDS)).machine
            await self._load(running)
            await command(running.qmp_path, "cont")
            async with asyncio.timeout(WARM_SECONDS):
                await tether_reports(self._agent, machine_id, hostagent_pb2.TETHER_STATE_WARM)
            await command(running.qmp_path, "stop")
        except TimeoutError as error:
            await self.end(machine_id)
            raise Unavailable(
                f"{machine_id} did not warm up within {WARM_SECONDS:.0f} s",
                Reason.HYPERVISOR_FAILED,
            ) from error
        except BaseException as error:
            if isinstance(error, VicError):
                self._parents.doubt()
            await asyncio.shield(self.end(machine_id))
            raise
        return ReadyClone(machine_id, parent_id)

    async def _load(self, running: hostagent_pb2.RunningMachine) -> None:
        try:
            await load_clone(running)
        except QmpError:
            await self._parents.failed(running.parent_id)
            raise
        self._parents.worked(running.parent_id)

    async def end(self, machine_id: str) -> None:
        """End a clone, and take its address back. Idempotent."""
        await self._kill(machine_id)
        if self.dialling is not None and machine_id.startswith(READY_PREFIX):
            await self.dialling.release(machine_id)

    async def release_places(self) -> None:
        """Take the addresses of all clones back, while there are none."""
        if self.dialling is not None:
            await self.dialling.release_all(READY_PREFIX)

    async def _kill(self, machine_id: str) -> None:
        try:
            await self._agent.Kill(hostagent_pb2.KillRequest(machine_id=machine_id))
        except NotFound:
            return
        except VicError as error:
            # The agent, when it is back, ends what waited before.
            log.warning("the ready clone %s may be left: %s", machine_id, error.message)


def nameless(
    prefix: str, kind: hostagent_pb2.MachineKind, shape: hostagent_pb2.Shape, parent_id: str
) -> hostagent_pb2.Machine:
    """Return a machine that is nobody's, under a new name."""
    name = prefix + secrets.token_hex(8)
    return hostagent_pb2.Machine(
        machine_id=name, launch_id=name, kind=kind, shape=shape, parent_id=parent_id
    )
