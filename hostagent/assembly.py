"""Puts together what a machine inherits: descriptors, numbers, limits, and the order for QEMU."""

import fcntl
import os
import socket
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path

from hostagent.accelerator import Verdict
from hostagent.bootstrap import Bootstrap, BootstrapImages
from hostagent.cgroups import Limits
from hostagent.commandline import OVERHEAD_MIB, command_line, places_for
from hostagent.files import open_disk, open_volume
from hostagent.launchpad import Order
from hostagent.layout import Layout
from hostagent.machine import HIGHEST_WEIGHT, NICS, Machine, MachineKind, Shape
from hostagent.outputs import Outputs
from hostagent.taps import create_tap
from hostagent.tetherport import port_pair
from hostagent.users import machine_uids

# QEMU's I/O threads (64 at most), its main, RCU, translation and worker threads, and reserve.
THREADS = 128
# A chain of 200 files, each known to QEMU twice, and the rest.
OPEN_FILES = 1024
# What a sparse VMDK of a size has beside its grains, and the files of console and exit record.
FILE_RESERVE = 64 << 20
QMP_BACKLOG = 4
READY_WEIGHT = 10
# CAP_SETGID, CAP_SETUID, CAP_SETPCAP, CAP_SYS_ADMIN: what a fork needs to get a user and namespaces
# of its own, and loses then. They are good over users of machines alone, as exec speaks to the
# template's monitor, by which QEMU can be told to run a program. Source: <linux/capability.h>.
TEMPLATE_POWERS = (6, 7, 8, 21)


@dataclass(frozen=True)
class Assembled:
    """A machine that is ready to be ordered."""

    order: Order
    qmp_path: Path
    config_peer: int
    """Number of QEMU's copy of :attr:`tether_port`."""
    tether_port: socket.socket
    """Our end of the port ``vic.config``."""
    incoming_uri: str
    disk: tuple[int, int] | None
    """Device and inode of the machine's own disk."""


def longest_file(disk_bytes: int) -> int:
    """Return what a file may grow to that holds a disk of so many bytes."""
    return disk_bytes + disk_bytes // 64 + FILE_RESERVE


def resource_limits(shape: Shape, largest_disk: int = 0) -> dict[str, int]:
    """Return QEMU's resource limits. Source: getrlimit(2)."""
    return {
        "CORE": 0,
        "FSIZE": longest_file(max(shape.disk_size_bytes, largest_disk)),
        "MEMLOCK": 0,
        "NOFILE": OPEN_FILES,
        "NPROC": THREADS + shape.vcpus,
    }


def group_limits(machine: Machine, verdict: Verdict) -> Limits:
    """Return the bounds of a machine's cgroup. One that warms up gives way to all that work."""
    shape = machine.shape
    memory = (shape.memory_mib + OVERHEAD_MIB[verdict.accelerator]) << 20
    return Limits(
        memory_bytes=memory,
        # What the instance's group has reserved, which bounds both, its machines divide by use.
        memory_reserved_bytes=memory,
        memory_protected_bytes=memory,
        pids=THREADS + shape.vcpus,
        cpu_weight=(
            READY_WEIGHT if machine.kind.warms_up else machine_weight(machine.cpu_weight, shape)
        ),
    )


def machine_weight(asked: int, shape: Shape) -> int:
    """Return a machine's share of the CPUs relative to 100; zero asks for the default one."""
    return asked or min(100 * shape.vcpus, HIGHEST_WEIGHT)


def file_identity(descriptor: int) -> tuple[int, int]:
    """Return device and inode of a file."""
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


class Assembler:
    """Opens and makes what machines inherit."""

    def __init__(
        self, layout: Layout, stores: list[Path], bootstraps: BootstrapImages, outputs: Outputs
    ) -> None:
        self._layout = layout
        self._stores = stores
        self._bootstraps = bootstraps
        self._outputs = outputs

    def assemble(
        self,
        machine: Machine,
        *,
        qemu: Path,
        verdict: Verdict,
        image: Bootstrap,
        frame: bytes,
        memory: int | None,
        state: bytes | None,
        closing: ExitStack,
        undo: AsyncExitStack,
    ) -> Assembled:
        """Gather everything, in the order of :class:`~hostagent.commandline.Places`.

        ``closing`` gets what must be closed when QEMU has its copies, ``undo`` what must be undone
        when it never runs. Raises VicError and OSError.
        """
        given: list[int] = []

        def give(descriptor: int) -> None:
            closing.callback(os.close, descriptor)
            given.append(descriptor)

        # What can be refused comes first, before anything is made.
        disks = self.open_chain(machine, closing)
        disk = file_identity(disks[0]) if disks else None
        volumes = self.open_volumes(machine, closing)
        boot = self._open_boot_files(machine, image, closing)

        give(self._outputs.open_console(machine.machine_id))
        qmp_path = self._layout.qmp_socket(machine.machine_id, machine.launch_id)
        qmp = closing.enter_context(listen(qmp_path, self._layout.exec_uid))
        undo.callback(qmp_path.unlink, missing_ok=True)
        given.append(qmp.fileno())
        theirs, ours = port_pair(frame)
        closing.enter_context(theirs)
        undo.callback(ours.close)
        given += [theirs.fileno(), ours.fileno()]
        undo.callback(self._outputs.remove_exit, machine.machine_id)
        give(self._outputs.open_exit(machine.machine_id))
        given += boot
        if memory is not None:
            given.append(memory)
        if state is not None:
            give(pipe_with(state))
        given += disks
        given += volumes
        for nic in machine.nics:
            give(create_tap(nic.tap_name))

        places = places_for(machine)
        idle = NICS - len(machine.nics)
        assert len(given) + idle == places.nics[-1] - places.console + 1
        argv = command_line(
            str(qemu), machine, verdict.accelerator, verdict.cpu, image.kernel_arguments, places
        )
        forked = machine.kind is MachineKind.TEMPLATE
        return Assembled(
            order=Order(
                argv,
                given,
                idle,
                resource_limits(machine.shape, machine.largest_disk_bytes),
                TEMPLATE_POWERS if forked else (),
                machine_uids(self._layout.slot) if forked else range(0),
            ),
            qmp_path=qmp_path,
            config_peer=places.config_peer,
            tether_port=ours,
            incoming_uri="" if places.state is None else f"fd:{places.state}",
            disk=disk,
        )

    def _open_boot_files(self, machine: Machine, image: Bootstrap, closing: ExitStack) -> list[int]:
        if machine.kind.is_clone:
            return []
        opened = []
        for open_file in (self._bootstraps.open_kernel, self._bootstraps.open_initrd):
            opened.append(open_file(image.digest))
            closing.callback(os.close, opened[-1])
        return opened

    def open_chain(self, machine: Machine, closing: ExitStack) -> list[int]:
        """Open the files of a machine's disk, its own first. Raises VicError."""
        opened = []
        for depth, path in enumerate(machine.disk_chain):
            descriptor = open_disk(path, self._stores, writable=depth == 0)
            closing.callback(os.close, descriptor)
            opened.append(descriptor)
        return opened

    def open_volumes(self, machine: Machine, closing: ExitStack) -> list[int]:
        """Open the disks of a machine's volumes, in their order. Raises VicError."""
        opened = []
        for volume in machine.volumes:
            opened.append(open_volume(volume.path, self._stores, read_only=volume.read_only))
            closing.callback(os.close, opened[-1])
        return opened


def listen(path: Path, uid: int) -> socket.socket:
    """Return a listening Unix socket that one user alone, and root, may connect to."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Bound under the agent's umask: until the next line it is root's alone.
        listener.bind(str(path))
        os.chown(path, uid, uid)
        path.chmod(0o600)
        listener.listen(QMP_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def pipe_with(data: bytes) -> int:
    """Return the end of a pipe in which some bytes wait, and nothing behind them.

    A pipe and no file: QEMU 9.1 and later deprecate an ``fd:`` that is one. Raises OSError where it
    can't hold them; above 1 MiB that takes CAP_SYS_RESOURCE (pipe(7)).
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, len(data))
        # It is empty and as large as that: all of them are taken at once.
        os.write(writer, data)
    except BaseException:
        os.close(reader)
        raise
    finally:
        os.close(writer)
    return reader
