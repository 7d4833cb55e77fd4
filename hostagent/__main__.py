"""``python -m hostagent``: the composition root. Runs as root."""

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path

from vic.hostagent.v1 import hostagent_pb2_grpc

from hostagent.accelerator import (
    KVM_DEVICE,
    TRIAL_MEMORY_MIB,
    AcceleratorChoice,
    TrialResult,
    run_trial,
)
from hostagent.agent import HostAgent
from hostagent.allocation import Capacity
from hostagent.assembly import Assembler, resource_limits
from hostagent.bootstrap import BootstrapImages
from hostagent.certificates import TetherAuthority
from hostagent.cgroups import Limits, MachineGroups, mounted_hierarchies
from hostagent.claims import Claims
from hostagent.commandline import OVERHEAD_MIB
from hostagent.forking.parts import PartsMaker
from hostagent.inventory import Inventory
from hostagent.issuer import ISSUER, ISSUER_ACCESS, IssuerServicer
from hostagent.journal import Journal
from hostagent.launching import Host
from hostagent.launchpad import Launchpad
from hostagent.layout import Layout
from hostagent.machine import Accelerator, Shape
from hostagent.outputs import Outputs
from hostagent.parents import Parents
from hostagent.qemu import Qemu
from hostagent.records import RecordStore
from hostagent.server import ACCESS, SERVICE, HostAgentServicer
from hostagent.settings import MIB, HostAgentSettings
from hostagent.users import MachineUsers, first_uid
from portlayer.descriptors import allow_descriptors
from portlayer.errors import FailedPrecondition, VicError
from portlayer.fencing import Fences, Turn
from portlayer.identity import Credentials, Role
from portlayer.logs import configure_logs
from portlayer.server import FacetServer, stop_requested
from portlayer.telemetry import configure_telemetry

log = logging.getLogger("vic.hostagent")

# Python's own number is four more than there are CPUs.
MOST_THREADS = 256


async def run(settings: HostAgentSettings) -> None:
    """Serve until asked to stop. Machines run on after that."""
    stop = stop_requested()
    have_threads()
    layout = Layout(settings.state_dir, settings.slot)
    layout.prepare()
    users = MachineUsers(settings.slot)
    groups = MachineGroups(settings.instance_id, mounted_hierarchies())
    groups.prepare(Limits(memory_bytes=settings.memory_limit))
    for warning in groups.warnings:
        log.warning(warning)
    devices = ["/dev/null", *([str(KVM_DEVICE)] if KVM_DEVICE.exists() else [])]
    launchpad = Launchpad(layout.empty, devices, users, groups, settings.ready_launchers)
    outputs = Outputs(layout.consoles, layout.exits)
    bootstraps = BootstrapImages(settings.data_dir / "bootstrap")
    qemu = Qemu(settings.qemu)
    # Without one that runs there is nothing to serve.
    await qemu.version()
    choice = AcceleratorChoice(
        layout.accelerator,
        settings.accelerator,
        qemu.version,
        trial(launchpad, groups, settings.qemu),
    )
    async with AsyncExitStack() as stack:
        journal = Journal(layout.journal)
        stack.callback(journal.close)
        capacity = Capacity(os.cpu_count() or 1, settings.memory_limit)
        claims = Claims(
            settings.instance_id, layout.allocation, groups, capacity, settings.memory_limit
        )
        claims.open()
        # After the group has ended, with which a claim does.
        stack.callback(claims.close)
        stack.callback(groups.end)
        inventory = Inventory(layout, RecordStore(layout.machines), journal, users, groups, outputs)
        stack.callback(inventory.close)
        inventory.recover()
        parents = Parents(layout.parents)
        stack.callback(parents.close)
        parents.load()
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        tasks.create_task(launchpad.keep_ready())
        stack.callback(launchpad.stop)
        host = Host(
            instance_id=settings.instance_id,
            slot=settings.slot,
            qemu=qemu,
            bootstraps=bootstraps,
            accelerator=choice,
            authority=TetherAuthority.load(settings.instance_id, settings.data_dir / "pki"),
            groups=groups,
            launchpad=launchpad,
            assembler=Assembler(layout, settings.disk_directories, bootstraps, outputs),
            parts=PartsMaker(layout, outputs),
            claims=claims,
        )
        agent = HostAgent(host, inventory, parents, tasks)
        stack.push_async_callback(agent.templates.close)
        stack.push_async_callback(agent.finish_work)
        fences = Fences()
        for live in inventory.live():
            # Who launched it has a later turn than whoever was paused before that.
            fences.raise_to(Turn(live.record.machine_id, live.record.turn))
        server = FacetServer(
            Credentials.load(settings.credentials_dir),
            settings.instance_id,
            ACCESS,
            [SERVICE],
            fences=fences,
        )
        limit = settings.memory_limit if groups.bounds_memory else 0
        hostagent_pb2_grpc.add_HostAgentServiceServicer_to_server(
            HostAgentServicer(agent, outputs, limit), server.server
        )
        await server.start(settings.addresses)
        stack.push_async_callback(server.stop)
        stack.callback(journal.end_streams)
        tasks.create_task(try_early(agent))
        give_to_suite(settings)
        await stop.wait()


async def issue(settings: HostAgentSettings) -> None:
    """Serve the authority alone until asked to stop: the machines are another platform's."""
    stop = stop_requested()
    authority = TetherAuthority.load(settings.instance_id, settings.data_dir / "pki")
    server = FacetServer(
        Credentials.load(settings.credentials_dir), settings.instance_id, ISSUER_ACCESS, [ISSUER]
    )
    servicer = IssuerServicer(settings.instance_id, authority)
    hostagent_pb2_grpc.add_IssuerServiceServicer_to_server(servicer, server.server)
    await server.start(settings.addresses)
    try:
        give_to_suite(settings)
        await stop.wait()
    finally:
        await server.stop()


def trial(
    launchpad: Launchpad, groups: MachineGroups, qemu: Path
) -> Callable[[int, str], Awaitable[TrialResult]]:
    """Return how a kernel is tried on a CPU under KVM: confined as every machine is."""
    shape = Shape(TRIAL_MEMORY_MIB, vcpus=1, bootstrap_digest="", disk_size_bytes=0)
    memory = (TRIAL_MEMORY_MIB + OVERHEAD_MIB[Accelerator.KVM]) * MIB
    bounds = Limits(memory_bytes=memory, pids=64, cpu_weight=100)

    async def run_one(kernel: int, cpu: str) -> TrialResult:
        launcher = await launchpad.take()
        try:
            groups.limit(launcher.group, bounds)
            return await run_trial(launcher, str(qemu), cpu, resource_limits(shape), kernel)
        finally:
            await launchpad.discard(launcher)

    return run_one


async def try_early(agent: HostAgent) -> None:
    """Find the accelerator out before anybody waits for it, where there is a kernel to try."""
    try:
        for image in agent.host.bootstraps.list()[:1]:
            await agent.verdict(image)
    except (VicError, OSError) as error:
        # Who launches a machine tries again, and is told.
        log.warning("the accelerator is not known yet: %s", error)


def have_threads() -> None:
    """Have threads for all that may wait in one at a time.

    A store whose server is away lets no file of it be opened, for as long as that takes, and a QEMU
    that was taken over says nothing on its monitor: a few such machines must keep nobody waiting.
    """
    executor = ThreadPoolExecutor(MOST_THREADS, "blocking")
    asyncio.get_running_loop().set_default_executor(executor)


def give_to_suite(settings: HostAgentSettings) -> None:
    """Let the suite's group reach our sockets; their mode lets nobody else."""
    for address in settings.addresses:
        if address.startswith("unix:"):
            os.chown(address.removeprefix("unix:"), 0, first_uid(settings.slot))


def close_inherited_on_exec() -> None:
    """Keep what we inherited (the installer's claim of the slot) from what we start."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                os.set_inheritable(int(name), False)
            except OSError:
                continue  # the descriptor that listed the directory


def main() -> int:
    """Run the host agent. Returns the exit code."""
    settings = HostAgentSettings.from_command_line()
    configure_logs(settings.role, settings.log_level)
    if os.geteuid() != 0:
        log.error("the host agent must run as root")
        return 1
    configure_telemetry(Role.HOSTAGENT, settings.instance_id, settings.otlp_endpoint)
    os.umask(0o077)
    close_inherited_on_exec()
    allow_descriptors()  # each machine has some; QEMU's own number is set when it is started
    try:
        asyncio.run(issue(settings) if settings.driver == "vsphere" else run(settings))
    except FailedPrecondition as error:
        log.error(error.message)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
