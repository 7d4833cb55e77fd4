"""The template: one clone that has warmed up, of whose process all others are forked.

Only under software emulation, where what a warm-up brings is translated code in the memory of the
emulator's process. See :mod:`hostagent.forking` for how.
"""

import asyncio
import logging
from collections.abc import Collection

from vic.hostagent.v1 import hostagent_pb2, hostagent_pb2_grpc

from portlayer.errors import Reason, VicError
from services.exec.drivers.qemu.dialling import Dialling
from services.exec.drivers.qemu.patience import LAUNCH_SECONDS
from services.exec.drivers.qemu.qmp import command
from services.exec.drivers.qemu.taps import nic
from services.exec.drivers.qemu.warming import (
    READY_PREFIX,
    TEMPLATE_PREFIX,
    ReadyClone,
    Warming,
    nameless,
)

log = logging.getLogger("vic.exec.qemu.template")

# In a row, with a new template after each: this host can't do it.
MOST_FAILURES = 3


class Template:
    """The template of the default class, where there is one."""

    def __init__(
        self, agent: "hostagent_pb2_grpc.HostAgentServiceAsyncStub", warming: Warming
    ) -> None:
        self._agent = agent
        self._warming = warming
        self._template: ReadyClone | None = None
        self._failures = 0

    @property
    def there(self) -> bool:
        """Whether a fork can be had."""
        return self._template is not None

    async def prepare(self, shape: hostagent_pb2.Shape) -> None:
        """Warm one up, if there is none and the host can fork it. Raises VicError.

        One that can't be launched counts as one that can't be forked.
        """
        if self._template is not None or self._failures >= MOST_FAILURES:
            return
        # Asked each time: another QEMU may run under KVM where the last one did not.
        info = await self._agent.Info(hostagent_pb2.InfoRequest())
        if info.accelerator != hostagent_pb2.ACCELERATOR_TCG:
            return
        kind = hostagent_pb2.MACHINE_KIND_TEMPLATE
        try:
            self._template = await self._warming.warm_up(TEMPLATE_PREFIX, kind, shape)
        except VicError as error:
            if error.reason is Reason.LAUNCH_FAILED:
                self._failures += 1
            raise
        log.info("a template is ready", extra={"machine": self._template.machine_id})

    async def fork(
        self, shape: hostagent_pb2.Shape, *, connected: bool = False
    ) -> ReadyClone | None:
        """Return a fork, which has warmed up and stands still; None where none can be had.

        One that is to be ``connected`` runs, and dials interaction, where it can have an address;
        nobody waits until it has got through: what it is asked to do waits for it.
        """
        template = self._template
        if template is None:
            return None
        kind = hostagent_pb2.MACHINE_KIND_READY
        machine = nameless(READY_PREFIX, kind, shape, template.parent_id)
        dialling = self._warming.dialling if connected else None
        place = None if dialling is None else await dialling.reserve(machine.machine_id)
        if place is not None:
            machine.nics.append(nic(place.endpoint))
            machine.management.CopyFrom(place.management)
        launch = hostagent_pb2.LaunchRequest(machine=machine, template_id=template.machine_id)
        try:
            forked = (await self._agent.Launch(launch, timeout=LAUNCH_SECONDS)).machine
        except VicError as error:
            log.warning("a template can't be forked: %s", error.message)
            await self._warming.end(machine.machine_id)
            if self._template is template:
                self._failures += 1
                await self.give_up()
            return None
        except BaseException:
            # The agent brings to its end what it has begun: it would wait for nobody.
            await asyncio.shield(self._warming.end(machine.machine_id))
            raise
        self._failures = 0
        if dialling is not None and place is not None:
            await self._let_dial(forked, dialling)
        return ReadyClone(machine.machine_id, template.parent_id, place)

    async def _let_dial(self, forked: hostagent_pb2.RunningMachine, dialling: Dialling) -> None:
        """Let a fork run that has an address. Raises VicError; it is ended then."""
        try:
            await dialling.bind(forked.machine_id)
            await command(forked.qmp_path, "cont")
        except BaseException:
            await asyncio.shield(self._warming.end(forked.machine_id))
            raise

    def ended(self, machine_id: str) -> bool:
        """Take in that a machine has ended; tell whether it was the template."""
        if self._template is None or self._template.machine_id != machine_id:
            return False
        self._template = None
        return True

    async def weed(self, current: Collection[str]) -> bool:
        """End it where it is of none of the parents that are current; tell whether it was."""
        if self._template is None or self._template.parent_id in current:
            return False
        await self.give_up()
        return True

    async def give_up(self) -> None:
        """End it, where there is one; clones that were forked of it go on."""
        template, self._template = self._template, None
        if template is not None:
            await self._warming.end(template.machine_id)
