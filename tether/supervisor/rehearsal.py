"""Goes through the motions of a start once, so that the emulator has translated what they run.

Only in a clone that is kept ready: it has entropy of its own by then, but no identity yet. A
scratch disk takes the place of the container's, addresses for documentation (RFC 5737) that of its
own, and ``ld.so --version`` that of its program. Nothing of it stays.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tether import heap
from tether.guestconfig import (
    MINIMUM_ENTROPY,
    MIRROR,
    REHEARSAL_ADDRESS,
    Assignment,
    Container,
    Dns,
    FrameReader,
    GuestConfig,
    Identity,
    Management,
    Nic,
    Root,
    Tls,
    format_frame,
)
from tether.guestparse import parse_body
from tether.link import LinkClosedError
from tether.supervisor import syscalls
from tether.supervisor.disk import ContainerDisk, overlay_files
from tether.supervisor.identity import configure_management
from tether.supervisor.loop import Loop
from tether.supervisor.network import REHEARSAL_MAC, Networks, take_back
from tether.supervisor.processes import Sandbox, launch_order, open_streams
from tether.supervisor.request import ProcessRequest, SandboxRequest
from tether.supervisor.sandbox import EnterRoot

_BLOCKS = Path("/usr/lib/tether/scratch")
_IMAGE = Path("/run/scratch.img")
_HEADER = struct.Struct("<Q")
_BLOCK = 4096
_TOUCHED = 65536
# Not all that a start runs is run by the first: a cache is filled then, of which others are served.
_REHEARSALS = 3
# After each, and once more until it is frozen: what the kernel puts off (RCU's callbacks, its
# workers), and its way into idleness and out again, are to be translated too, not by every fork.
_REST_SECONDS = 0.25
_LOOP_CTL_GET_FREE = 0x4C82
_LOOP_SET_FD = 0x4C00
_LOOP_CLR_FD = 0x4C01
_MANAGEMENT = Management(REHEARSAL_MAC, REHEARSAL_ADDRESS, f"{MIRROR}:1", "interaction")
_REQUEST = ProcessRequest(["/bin/true", "--version"], env=["PATH=/bin", "HOME=/"], stdin=True)


class Rehearsals:
    """All of them; the agent goes through its own motions meanwhile, over the network."""

    def __init__(
        self,
        networks: Networks,
        loop: Loop,
        tell_agent: Callable[[], None],
        done: Callable[[], None],
    ) -> None:
        """``tell_agent`` has it rehearse once; ``done`` is called when nothing is left to do."""
        self._networks = networks
        self._loop = loop
        self._tell_agent = tell_agent
        self._done = done
        self._left = _REHEARSALS

    def begin(self) -> None:
        """Go through the motions; what follows comes by :meth:`agent_is_done`."""
        link = self._networks.management_link
        if link is not None:
            configure_management(self._networks.management, link, _MANAGEMENT)
        self._tell_agent()
        rehearse(self._networks, Root())

    def agent_is_done(self) -> None:
        """Go on when the agent's connection is closed: else it would try so for long."""
        self._loop.after(_REST_SECONDS, self._end)

    def _end(self) -> None:
        link = self._networks.management_link
        if link is not None:
            take_back(self._networks.management, link)
        self._left -= 1
        if self._left:
            self.begin()
        else:
            heap.settle()
            self._loop.after(_REST_SECONDS, self._done)


def rehearse(networks: Networks, disk: Root) -> None:
    """Start and end a container that is none."""
    _read_frames()
    networks.rehearse()
    _touch_disk(disk)
    with _ScratchDisk() as device:
        scratch = ContainerDisk(Path("/run/rehearsal"))
        root = scratch.mount(Root(device))
        files = overlay_files(Container("rehearsal"), "0" * 32)
        sandbox = Sandbox(networks.container_descriptor)
        sandbox.wait_until_prepared()
        order = EnterRoot("rehearsal", "", False, 1 << 20, list(files))
        descriptors = [root, *files.values()]
        sandbox.link.send(order.to_message(), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        _run(sandbox)
        _overwrite(scratch.mount_point / _REQUEST.args[0].lstrip("/"))
        scratch.flush()
        syscalls.unmount(str(scratch.mount_point), syscalls.MNT_DETACH)


def _read_frames() -> None:
    """Take in who the machine would be, and whose."""
    certificates = Tls("authority\n", "certificate\n", "key\n")
    container = Container(
        "rehearsal",
        nics=(Nic(1, REHEARSAL_MAC, (REHEARSAL_ADDRESS,), gateway=MIRROR),),
        dns=Dns((MIRROR,), ("example",), ("ndots:0",)),
        hosts=(("192.0.2.2", "rehearsal"),),
    )
    number = "0" * 32
    entropy = bytes(MINIMUM_ENTROPY)
    reader = FrameReader()
    for config in (
        GuestConfig(
            1,
            entropy,
            identity=Identity("rehearsal", number, number, number, _MANAGEMENT, certificates),
        ),
        GuestConfig(1, entropy, assignment=Assignment(number, number, number), container=container),
    ):
        for body in reader.feed(format_frame(config)):
            parse_body(body)


def _run(sandbox: Sandbox) -> None:
    ours, theirs = open_streams(_REQUEST)
    sandbox.link.send(launch_order(_REQUEST, SandboxRequest()), theirs)
    for descriptor in theirs:
        os.close(descriptor)
    with suppress(BlockingIOError, LinkClosedError):
        sandbox.link.receive(wait=False)
    try:
        while True:
            sandbox.link.receive()
    except LinkClosedError:
        pass  # executed, as every start ends here
    while os.read(ours["stdout"], 65536):
        continue
    os.waitpid(sandbox.pid, 0)
    for descriptor in (*ours.values(), sandbox.pidfd):
        os.close(descriptor)
    sandbox.link.close()


def _overwrite(program: Path) -> None:
    """Write a program over itself, in its pages, which are free for others' data from now on.

    The emulator keeps what it has translated of a page until it is written to. In a fork that would
    be the first who gets the page, with up to as many writes as it has blocks of code, and with
    each block QEMU 7.2 forgets where all others are (``tcg_flush_jmp_cache``).
    """
    with program.open("r+b", buffering=0) as file:
        there = file.read()
        file.seek(0)
        file.write(there)


def _touch_disk(root: Root) -> None:
    """Read from the disk's place holder, write and flush: the way to the host's block layer.

    What it read is what it writes, and the kernel forgets both with the last that has it open.
    """
    with open(f"/dev/{root.device}", "r+b", buffering=0) as file:
        fcntl.ioctl(file, syscalls.BLKFLSBUF)
        there = file.read(_TOUCHED)
        file.seek(0)
        file.write(there)
        os.fsync(file.fileno())


class _ScratchDisk:
    """A loop device on the scratch file system."""

    def __enter__(self) -> str:
        data = memoryview(_BLOCKS.read_bytes())
        with _IMAGE.open("w+b") as image:
            image.truncate(_HEADER.unpack_from(data)[0])
            for start in range(_HEADER.size, len(data), _HEADER.size + _BLOCK):
                image.seek(_HEADER.unpack_from(data, start)[0])
                image.write(data[start + _HEADER.size : start + _HEADER.size + _BLOCK])
            image.flush()
            with open("/dev/loop-control", "rb", buffering=0) as control:
                self._name = f"loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
            with open(f"/dev/{self._name}", "r+b", buffering=0) as device:
                fcntl.ioctl(device, _LOOP_SET_FD, image.fileno())
        return self._name

    def __exit__(self, *_exception: object) -> None:
        with open(f"/dev/{self._name}", "r+b", buffering=0) as device:
            fcntl.ioctl(device, _LOOP_CLR_FD)
        _IMAGE.unlink()
