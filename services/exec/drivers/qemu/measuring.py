"""What the machines take of this host: two readings of counters, and the time between them."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vic.hostagent.v1 import hostagent_pb2, hostagent_pb2_grpc

from services.exec.drivers import Usage
from services.exec.drivers.qemu.qmp import QmpError, command

log = logging.getLogger("vic.exec.qemu.measuring")

Boot = tuple[str, str]

NANOSECONDS = 10**9
# QEMUs that are asked for the figures of their disks at once.
ASKED_AT_ONCE = 16
# One that doesn't answer so soon is being made, or is busy with what matters more.
ANSWER_SECONDS = 3.0


@dataclass(frozen=True)
class Disks:
    """Bytes that a machine has read from its disks and written to them since it began."""

    read_bytes: int
    written_bytes: int


@dataclass(frozen=True)
class Reading:
    """One reading of all machines."""

    counters: Mapping[Boot, hostagent_pb2.MachineCounters]
    disks: Mapping[Boot, Disks]


async def measure(
    agent: "hostagent_pb2_grpc.HostAgentServiceAsyncStub",
    containers: Iterable[Boot],
    seconds: float,
) -> list[Usage]:
    """Measure machines over a time. Raises VicError."""
    boots = set(containers)
    before = await _read(agent, boots)
    await asyncio.sleep(seconds)
    after = await _read(agent, boots)
    return [
        _usage(boot, before, after)
        for boot in sorted(before.counters.keys() & after.counters.keys())
    ]


async def _read(agent: "hostagent_pb2_grpc.HostAgentServiceAsyncStub", boots: set[Boot]) -> Reading:
    listed = await agent.List(hostagent_pb2.ListRequest())
    paths = {
        (machine.machine_id, machine.launch_id): machine.qmp_path
        for machine in listed.machines
        if (machine.machine_id, machine.launch_id) in boots
    }
    some = asyncio.Semaphore(ASKED_AT_ONCE)
    async with asyncio.TaskGroup() as group:
        asked = {boot: group.create_task(_disks(path, some)) for boot, path in paths.items()}
    answer = await agent.ReadCounters(hostagent_pb2.ReadCountersRequest())
    counters = {(m.machine_id, m.launch_id): m for m in answer.machines}
    told = {boot: task.result() for boot, task in asked.items()}
    return Reading(
        {boot: counters[boot] for boot in boots & counters.keys()},
        {boot: disks for boot, disks in told.items() if disks is not None},
    )


async def _disks(qmp_path: str, some: asyncio.Semaphore) -> Disks | None:
    async with some:
        try:
            return parse_disks(await command(qmp_path, "query-blockstats", ANSWER_SECONDS))
        except QmpError as error:
            log.info("a machine's disks are not measured: %s", error.message)
            return None


def parse_disks(answer: Any) -> Disks | None:
    """Return what QEMU's answer to query-blockstats says; None where it is none: it isn't trusted.

    Each device has an entry; those of the files below it are inside of that.
    """
    try:
        found = [entry["stats"] for entry in answer]
        return Disks(
            sum(int(stats["rd_bytes"]) for stats in found),
            sum(int(stats["wr_bytes"]) for stats in found),
        )
    except (TypeError, KeyError, ValueError):
        return None


def _usage(boot: Boot, before: Reading, after: Reading) -> Usage:
    old, new = before.counters[boot], after.counters[boot]
    nanoseconds = max(1, new.read_nanoseconds - old.read_nanoseconds)

    def rate(former: int, latter: int) -> float:
        # A thread or a NIC that went takes its count with it.
        return max(0, latter - former) * NANOSECONDS / nanoseconds

    waits = old.HasField("cpu_wait_nanoseconds") and new.HasField("cpu_wait_nanoseconds")
    earlier, later = before.disks.get(boot), after.disks.get(boot)
    disks = None if earlier is None or later is None else (earlier, later)
    return Usage(
        *boot,
        seconds=nanoseconds / NANOSECONDS,
        cpus_used=rate(old.cpu_nanoseconds, new.cpu_nanoseconds) / NANOSECONDS,
        cpus_waited_for=(
            rate(old.cpu_wait_nanoseconds, new.cpu_wait_nanoseconds) / NANOSECONDS
            if waits
            else None
        ),
        memory_bytes=new.memory_bytes,
        disk_read_rate=rate(*(d.read_bytes for d in disks)) if disks else None,
        disk_written_rate=rate(*(d.written_bytes for d in disks)) if disks else None,
        received_rate=rate(old.received_bytes, new.received_bytes),
        sent_rate=rate(old.sent_bytes, new.sent_bytes),
    )
