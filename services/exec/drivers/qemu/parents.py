"""Parents for Instant Clone: one for each machine shape, built on first use and kept.

A parent boots until its tether waits for an identity, is stopped, and its device state is saved
while its memory stays in the file that all clones map privately. It contains no secret.
"""

import asyncio
import logging
import secrets
import socket
import time
from collections import Counter
from dataclasses import dataclass

from vic.hostagent.v1 import hostagent_pb2, hostagent_pb2_grpc

from portlayer.errors import NotFound, Reason, Unavailable, VicError, domain_errors
from portlayer.neighbours import Neighbours
from services.exec.drivers.qemu.patience import LAUNCH_SECONDS, LOAD_SECONDS
from services.exec.drivers.qemu.qmp import connect

log = logging.getLogger("vic.exec.qemu.parents")

CAPABILITIES = [
    # Memory stays in its file; only the devices' state is written.
    {"capability": "x-ignore-shared", "state": True},
    # MIGRATION events, so that nobody polls.
    {"capability": "events", "state": True},
]

# A machine that moved tells its new switch where it is now. A clone has moved nowhere: its guest
# would send ARP at moments of QEMU's choice, under whatever address it has by then.
NO_ANNOUNCEMENT = {"announce-rounds": 0}

# Loads that fail one after the other before a parent is taken to be at fault: a busy host fails
# one now and then, and a parent takes 10 s to build.
MOST_FAILURES = 2
# A cold boot under emulation takes 10 s on an idle machine.
BOOT_SECONDS = 120.0
SAVE_SECONDS = 30.0
# A shape whose parent could not be built is booted cold until it is tried again. What failed may
# have been a moment's trouble, the host agent's end for one; each further attempt costs a boot.
FIRST_RETRY_SECONDS = 5.0
LONGEST_RETRY_SECONDS = 300.0
PREFIX = "parent-"
# Name of the turn at building.
BUILDING = "exec's parents"
MAX_STATE = 4 * 1024 * 1024


@dataclass(frozen=True)
class _FailedBuilds:
    """Builds of a shape's parent that failed one after the other."""

    retry_seconds: float
    retry_at: float
    """On the monotonic clock."""

    @classmethod
    def one_more(cls, before: "_FailedBuilds | None") -> "_FailedBuilds":
        """Return what is known after a failure that has just been."""
        seconds = FIRST_RETRY_SECONDS
        if before is not None:
            seconds = min(LONGEST_RETRY_SECONDS, before.retry_seconds * 2)
        return cls(seconds, time.monotonic() + seconds)


class Parents:
    """Finds the parent of a shape, or builds it; one build a shape at a time."""

    def __init__(
        self,
        agent: "hostagent_pb2_grpc.HostAgentServiceAsyncStub",
        neighbours: Neighbours | None = None,
    ) -> None:
        """Replicas, whom ``neighbours`` tell of one another, build one at a time, and share it."""
        self._agent = agent
        self._neighbours = neighbours or Neighbours(None)
        self._builds: dict[str, asyncio.Task[str]] = {}
        # Keys of shapes, by the shapes' bytes.
        self._keys: dict[bytes, str] = {}
        # Shapes whose parent could not be built the last times.
        self._failed_builds: dict[str, _FailedBuilds] = {}
        # Those that are being built; any other that isn't sealed while it is our turn to build was
        # left by an exec that is gone.
        self._unsealed: set[str] = set()
        # Loads that failed since the last one that didn't, by parent.
        self._failures: Counter[str] = Counter()

    async def ready(self, shape: hostagent_pb2.Shape) -> str:
        """Return the ID of a sealed parent, which is built where there is none.

        Raises VicError when it can't be built; the caller boots cold then.
        """
        key = await self._key(shape)
        build = self._builds.get(key)
        failed = build is not None and build.done() and (build.cancelled() or build.exception())
        before = self._failed_builds.get(key)
        if build is None or (failed and (before is None or time.monotonic() >= before.retry_at)):
            build = asyncio.create_task(self._attempt(key, shape), name=f"parent {key[:12]}")
            self._builds[key] = build
        # A start whose caller gives up must not end the build that others wait for.
        return await asyncio.shield(build)

    async def _key(self, shape: hostagent_pb2.Shape) -> str:
        """Return a shape's key, asked for once: it changes with the host alone."""
        name = shape.SerializeToString(deterministic=True)
        if name not in self._keys:
            request = hostagent_pb2.GetShapeRequest(shape=shape)
            self._keys[name] = (await self._agent.GetShape(request)).shape_key
        return self._keys[name]

    def doubt(self) -> None:
        """Look at all again, since a clone was refused.

        QEMU or the kernel may be others now, or another replica may have discarded the parent.
        """
        self._keys.clear()
        for key, build in list(self._builds.items()):
            if build.done() and not build.cancelled() and not build.exception():
                del self._builds[key]

    def worked(self, parent_id: str) -> None:
        """Take in that a clone of a parent was loaded."""
        self._failures.pop(parent_id, None)

    async def failed(self, parent_id: str) -> None:
        """Take in that a clone could not be loaded; the second time in a row ends the parent."""
        self._failures[parent_id] += 1
        if self._failures[parent_id] >= MOST_FAILURES:
            await self.discard(parent_id)

    async def discard(self, parent_id: str) -> None:
        """Forget a parent that clones can't be made of."""
        self._failures.pop(parent_id, None)
        for key, build in list(self._builds.items()):
            failed = not build.done() or build.cancelled() or build.exception()
            if not failed and build.result() == parent_id:
                del self._builds[key]
        await self._remove(parent_id)

    async def close(self) -> None:
        """Give up builds in hand, with their machines."""
        builds = list(self._builds.values())
        for build in builds:
            build.cancel()
        if builds:
            await asyncio.wait(builds)

    async def _attempt(self, key: str, shape: hostagent_pb2.Shape) -> str:
        """Find or build a parent, and count failures in a row."""
        try:
            async with self._neighbours.turn(BUILDING):
                parent_id = await self._find_or_build(key, shape)
        except BaseException:
            self._failed_builds[key] = _FailedBuilds.one_more(self._failed_builds.get(key))
            raise
        self._failed_builds.pop(key, None)
        return parent_id

    async def _find_or_build(self, key: str, shape: hostagent_pb2.Shape) -> str:
        request = hostagent_pb2.ListParentsRequest()
        found = ""
        for parent in (await self._agent.ListParents(request)).parents:
            sealed = parent.state == hostagent_pb2.PARENT_STATE_SEALED
            if sealed and parent.current and parent.shape_key == key and not found:
                found = parent.parent_id
            elif not sealed and parent.parent_id not in self._unsealed:
                await self._kill(parent.parent_id)
                await self._remove(parent.parent_id)
            elif sealed and (not parent.current or parent.shape_key == key):
                await self._remove(parent.parent_id)
        return found or await self._build(shape)

    async def _remove(self, parent_id: str) -> None:
        try:
            await self._agent.RemoveParent(hostagent_pb2.RemoveParentRequest(parent_id=parent_id))
        except VicError as error:
            log.warning("cannot remove parent %s: %s", parent_id, error.message)

    async def _build(self, shape: hostagent_pb2.Shape) -> str:
        parent_id = PREFIX + secrets.token_hex(8)
        log.info(
            "building a parent",
            extra={"parent": parent_id, "memory_mib": shape.memory_mib, "vcpus": shape.vcpus},
        )
        self._unsealed.add(parent_id)
        try:
            await self._agent.CreateParent(
                hostagent_pb2.CreateParentRequest(parent_id=parent_id, shape=shape)
            )
            state = await self._boot_and_save(parent_id, shape)
            await self._agent.SealParent(
                hostagent_pb2.SealParentRequest(parent_id=parent_id, device_state=state)
            )
        except BaseException:
            await self._kill(parent_id)
            await self._remove(parent_id)
            raise
        finally:
            self._unsealed.discard(parent_id)
        log.info("built a parent", extra={"parent": parent_id, "state_bytes": len(state)})
        return parent_id

    async def _boot_and_save(self, parent_id: str, shape: hostagent_pb2.Shape) -> bytes:
        machine = hostagent_pb2.Machine(
            machine_id=parent_id,
            launch_id=parent_id,
            kind=hostagent_pb2.MACHINE_KIND_PARENT,
            shape=shape,
            parent_id=parent_id,
        )
        launch = hostagent_pb2.LaunchRequest(machine=machine)
        running = (await self._agent.Launch(launch, timeout=LAUNCH_SECONDS)).machine
        try:
            async with asyncio.timeout(BOOT_SECONDS):
                await tether_reports(self._agent, parent_id, hostagent_pb2.TETHER_STATE_READY)
        except TimeoutError as error:
            raise Unavailable(
                f"the parent's tether was not ready within {BOOT_SECONDS:.0f} s; its console said "
                f"last: {await self._console(parent_id)}",
                Reason.HYPERVISOR_FAILED,
            ) from error
        return await _save(running.qmp_path)

    async def _console(self, parent_id: str) -> str:
        try:
            request = hostagent_pb2.GetConsoleRequest(machine_id=parent_id)
            text = (await self._agent.GetConsole(request)).data
        except VicError as error:
            return f"({error.message})"
        return console_end(text) or "nothing"

    async def _kill(self, parent_id: str) -> None:
        try:
            await self._agent.Kill(hostagent_pb2.KillRequest(machine_id=parent_id))
        except NotFound:
            return
        except VicError as error:
            log.warning("cannot end the parent %s: %s", parent_id, error.message)


async def tether_reports(
    agent: "hostagent_pb2_grpc.HostAgentServiceAsyncStub",
    machine_id: str,
    state: hostagent_pb2.TetherState,
) -> None:
    """Return when a machine's tether has reported a state. Raises VicError when it ends instead.

    The stream is opened first and the state asked then, so that nothing is missed.
    """
    with domain_errors():
        async for response in agent.Watch(hostagent_pb2.WatchRequest()):
            if response.WhichOneof("message") == "started":
                request = hostagent_pb2.GetRequest(machine_id=machine_id)
                machine = (await agent.Get(request)).machine
                if machine.tether.state == state:
                    return
                continue
            event = response.event
            if event.machine_id != machine_id:
                continue
            if event.WhichOneof("kind") == "exited":
                tail = console_end(event.exited.console_tail)
                raise Unavailable(f"{machine_id} ended: {tail}", Reason.HYPERVISOR_FAILED)
            if event.reported.state == state:
                return
    raise Unavailable("the host agent ended its stream of events")


def console_end(console: bytes) -> str:
    """Return the last words of a console, as far as they can be shown."""
    text = "".join(c for c in console.decode("utf-8", "replace") if c.isprintable() or c == "\n")
    return text.strip()[-500:]


async def load_clone(machine: hostagent_pb2.RunningMachine) -> None:
    """Load a clone's device state; its CPUs stand still. Raises QmpError, TimeoutError."""
    # Many at once on few processors: QEMU greets when it has come so far.
    async with asyncio.timeout(LOAD_SECONDS), connect(machine.qmp_path, LOAD_SECONDS) as qmp:
        await qmp.execute("migrate-set-capabilities", {"capabilities": CAPABILITIES})
        await qmp.execute("migrate-set-parameters", NO_ANNOUNCEMENT)
        await qmp.execute("migrate-incoming", {"uri": machine.incoming_uri})
        await qmp.wait_for_migration()


async def _save(qmp_path: str) -> bytes:
    """Stop a machine, return its device state, and end it; its memory stays where it is."""
    # No file: QEMU 9.1 and later deprecate an fd: that is one.
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    try:
        with ours, theirs:
            async with asyncio.timeout(SAVE_SECONDS), connect(qmp_path) as qmp:
                await qmp.execute("stop")
                await qmp.execute("migrate-set-capabilities", {"capabilities": CAPABILITIES})
                await qmp.execute("getfd", {"fdname": "state"}, descriptor=theirs.fileno())
                # The end is told when nobody has it any more.
                theirs.close()
                await qmp.execute("migrate", {"uri": "fd:state"})
                state = await _all_of(ours)
                await qmp.wait_for_migration()
                await qmp.execute("quit")
    except TimeoutError as error:
        raise Unavailable("saving the parent took too long", Reason.HYPERVISOR_FAILED) from error
    if not state:
        raise Unavailable("the parent has no device state", Reason.HYPERVISOR_FAILED)
    return state


async def _all_of(end: socket.socket) -> bytes:
    """Return what comes until the other end is closed, :data:`MAX_STATE` bytes at most.

    Raises Unavailable where it is more.
    """
    loop = asyncio.get_running_loop()
    received = bytearray()
    while some := await loop.sock_recv(end, 1 << 16):
        received += some
        if len(received) > MAX_STATE:
            raise Unavailable(f"device state above {MAX_STATE} bytes", Reason.HYPERVISOR_FAILED)
    return bytes(received)
