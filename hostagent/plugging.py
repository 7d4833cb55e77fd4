"""NICs that come and go while a machine runs, and what its tether is told of them.

A tap is ours to make, and so is what QEMU does with it. What a guest does with its devices is its
own affair: a NIC that was taken away has no tap behind it any more, whether the guest lets the
device go or not.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from hostagent import monitor
from hostagent.commandline import SPARE_PORTS
from hostagent.guestconfig import change_frame
from hostagent.inventory import Inventory, LiveMachine
from hostagent.machine import Nic, Surroundings
from hostagent.monitor import Command, MonitorError, NotThere
from hostagent.records import PluggedNic
from hostagent.taps import create_tap
from portlayer.errors import Internal, Reason, ResourceExhausted, Unavailable

log = logging.getLogger("vic.plugging")

# Some milliseconds, on a host that isn't busy.
MONITOR_SECONDS = 30.0
LONGEST_WAIT_SECONDS = 60.0


class Plugging:
    """Plugs and unplugs. Its caller has the machine's turn."""

    def __init__(
        self, inventory: Inventory, slot: int, make_tap: Callable[[str], int] = create_tap
    ) -> None:
        """``make_tap`` makes a tap of a name, and returns its descriptor."""
        self._inventory = inventory
        self._slot = slot
        self._make_tap = make_tap

    async def plug(self, live: LiveMachine, nic: Nic) -> None:
        """Put a NIC into a spare port. Idempotent on its tap.

        Raises InvalidArgument, ResourceExhausted (LIMIT_EXCEEDED), Internal (PLUG_FAILED).
        """
        nic.check(self._slot)
        record = live.record
        path = Path(record.qmp_path)
        try:
            there = await asyncio.to_thread(monitor.devices, path, MONITOR_SECONDS)
            known = next((p for p in record.plugged if p.tap_name == nic.tap_name), None)
            if known is None:
                port = _free_port(there, record.plugged)
            elif f"plug{known.port}" in there:
                return
            else:
                # An agent before us came to its end in between.
                port = known.port
                await self._try(path, monitor.drop_backend(f"tap{port}"))
            others = tuple(p for p in record.plugged if p is not known)
            plugged = PluggedNic(port, nic.tap_name, nic.mac_address)
            # Written first, so that the next agent finds what there may be.
            self._inventory.change(live, replace(live.record, plugged=(*others, plugged)))
            try:
                await asyncio.to_thread(self._plug, path, plugged)
            except BaseException:
                await self._try(path, monitor.drop_descriptor(port))
                await self._try(path, monitor.drop_backend(f"tap{port}"))
                self._inventory.change(live, replace(live.record, plugged=others))
                raise
        except OSError as error:
            raise Internal(f"a NIC can't be plugged in: {error}", Reason.PLUG_FAILED) from error

    async def unplug(self, live: LiveMachine, tap_name: str) -> None:
        """Take a NIC away. Idempotent. Raises Internal (PLUG_FAILED)."""
        record = live.record
        plugged = next((p for p in record.plugged if p.tap_name == tap_name), None)
        if plugged is not None:
            device, backend = f"plug{plugged.port}", f"tap{plugged.port}"
        elif (place := _place(record.nics, tap_name)) > 0:
            device, backend = f"nic{place}", f"net{place}"
        else:
            return
        path = Path(record.qmp_path)
        await self._try(path, monitor.request_unplug(device))
        try:
            # An agent before us may have come to its end when it had done that.
            with suppress(NotThere):
                await asyncio.to_thread(
                    monitor.run, path, monitor.drop_backend(backend), MONITOR_SECONDS
                )
        except OSError as error:
            raise Internal(f"a NIC can't be unplugged: {error}", Reason.PLUG_FAILED) from error
        left = replace(
            live.record,
            nics=tuple(nic for nic in record.nics if nic.tap_name != tap_name),
            plugged=tuple(p for p in record.plugged if p is not plugged),
        )
        self._inventory.change(live, left)

    async def surround(
        self, live: LiveMachine, surroundings: Surroundings, wait_seconds: float
    ) -> bool:
        """Tell the tether of its container's surroundings; return whether it said that it is done.

        Raises InvalidArgument, Unavailable (PLUG_FAILED).
        """
        surroundings.check()
        if live.port is None:
            raise Unavailable("the machine's tether can't be spoken to", Reason.PLUG_FAILED)
        serial = live.record.surrounded + 1
        self._inventory.change(live, replace(live.record, surrounded=serial))
        frame = change_frame(serial, surroundings)
        try:
            async with asyncio.timeout(min(wait_seconds, LONGEST_WAIT_SECONDS)):
                refusal = await live.port.ask(serial, frame)
        except TimeoutError:
            return False
        except OSError as error:
            message = f"the machine's tether can't be spoken to: {error}"
            raise Unavailable(message, Reason.PLUG_FAILED) from error
        if refusal:
            message = f"the machine's tether refuses: {refusal}"
            raise Unavailable(message, Reason.PLUG_FAILED)
        return True

    def _plug(self, path: Path, plugged: PluggedNic) -> None:
        with ExitStack() as closing:
            tap = self._make_tap(plugged.tap_name)
            closing.callback(os.close, tap)
            commands = monitor.plug_nic(plugged.port, plugged.mac_address, tap)
            monitor.run(path, commands, MONITOR_SECONDS)

    async def _try(self, path: Path, commands: Sequence[Command]) -> None:
        """Have QEMU do what may have been done, or may not be possible any more."""
        try:
            await asyncio.to_thread(monitor.run, path, commands, MONITOR_SECONDS)
        except MonitorError as error:
            log.info("%s", error)


def _free_port(there: set[str], plugged: Sequence[PluggedNic]) -> int:
    taken = {nic.port for nic in plugged}
    for port in range(SPARE_PORTS):
        # The guest may hold a device that was taken from it.
        if port not in taken and f"plug{port}" not in there:
            return port
    raise ResourceExhausted(
        f"the container is in as many networks as its VM has room for: {SPARE_PORTS} beside the "
        "one that it was started with",
        Reason.LIMIT_EXCEEDED,
    )


def _place(nics: Sequence[Nic], tap_name: str) -> int:
    """Return the place of a NIC that the machine was launched with, but for the management one."""
    return next((i for i, nic in enumerate(nics) if nic.tap_name == tap_name), 0)
