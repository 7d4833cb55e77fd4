"""QEMU's monitor, for what takes descriptors: a waiting machine's disk, NICs. exec does the rest.

A container may run in the machine and have taken QEMU over: what it says is bounded and checked.
Source: https://www.qemu.org/docs/master/interop/qmp-spec.html
"""

import json
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hostagent.commandline import (
    DISK_NODE,
    FIRST_DISK_FDSET,
    FIRST_VOLUME_FDSET,
    PLACEHOLDER_NODE,
    ROOT_DEVICE,
    disk_nodes,
    plugged_backend,
    plugged_nic,
    spare_port,
    volume_device,
    volume_node,
)

MOST_SAID = 256 * 1024


class MonitorError(OSError):
    """QEMU refused a command, or went away, or said what is no answer."""


class NotThere(MonitorError):
    """QEMU does not have what a command names."""


@dataclass(frozen=True)
class Command:
    """A command, and the descriptor that goes with it."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    descriptor: int | None = None


def attach_disk(chain: Sequence[int]) -> list[Command]:
    """Return what puts a disk in the place holder's stead; ``chain`` has the machine's own first.

    The device stays: the guest sees other content on the disk that it has, of the same size.
    """
    commands = [
        Command("add-fd", {"fdset-id": fdset}, descriptor)
        for fdset, descriptor in enumerate(reversed(chain), FIRST_DISK_FDSET)
    ]
    commands += [Command("blockdev-add", node) for node in disk_nodes(len(chain))]
    target = {"path": f"/machine/peripheral/{ROOT_DEVICE}", "property": "drive"}
    commands.append(Command("qom-set", {**target, "value": DISK_NODE}))
    commands.append(Command("blockdev-del", {"node-name": PLACEHOLDER_NODE}))
    return commands


def hold() -> list[Command]:
    """Return what holds the CPUs of a machine that has run while it waited."""
    return [Command("stop")]


def attach_volumes(volumes: Sequence[tuple[int, bool]]) -> list[Command]:
    """Return what adds volumes, each a descriptor and whether it is only read."""
    commands = []
    for number, (descriptor, read_only) in enumerate(volumes):
        commands += [
            Command("add-fd", {"fdset-id": FIRST_VOLUME_FDSET + number}, descriptor),
            Command("blockdev-add", volume_node(number, read_only=read_only)),
            Command("device_add", volume_device(number)),
        ]
    return commands


def plug_nic(number: int, mac_address: str, tap: int) -> list[Command]:
    """Return what puts a NIC into a spare port; ``tap`` is its descriptor."""
    name = spare_port(number)
    return [
        Command("getfd", {"fdname": name}, tap),
        Command("netdev_add", plugged_backend(number, name)),
        Command("device_add", plugged_nic(number, mac_address)),
    ]


def drop_descriptor(number: int) -> list[Command]:
    """Return what closes the tap's descriptor that no backend has taken over."""
    return [Command("closefd", {"fdname": spare_port(number)})]


def drop_backend(backend: str) -> list[Command]:
    """Return what ends a NIC's tap, whatever its guest does with the device."""
    return [Command("netdev_del", {"id": backend})]


def request_unplug(device: str) -> list[Command]:
    """Return what asks the guest to let a device go; it is gone when the guest has done so."""
    return [Command("device_del", {"id": device})]


def devices(path: Path, seconds: float) -> set[str]:
    """Return the names of a QEMU's devices that have one. Blocks. Raises OSError."""
    (found,) = run(path, [Command("qom-list", {"path": "/machine/peripheral"})], seconds)
    try:
        return {str(item["name"]) for item in found}
    except (TypeError, KeyError) as error:
        raise MonitorError("QEMU said what is no list of devices") from error


def run(path: Path, commands: Sequence[Command], seconds: float) -> list[Any]:
    """Have a QEMU carry out commands, one after the other; return its answers. Blocks.

    All are sent at once and the answers read then: QEMU reads one at a time, and a descriptor stays
    with the command that it was sent with. Raises OSError.
    """
    deadline = time.monotonic() + seconds
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
        connection.settimeout(seconds)
        connection.connect(str(path))
        for command in (Command("qmp_capabilities"), *commands):
            message = {"execute": command.name, "arguments": command.arguments}
            data = json.dumps(message, separators=(",", ":")).encode()
            given = [] if command.descriptor is None else [command.descriptor]
            sent = socket.send_fds(connection, [data], given)
            if sent < len(data):  # sending nothing fails as well where the other side has closed
                connection.sendall(data[sent:])
        answers = _answers(connection, deadline)
        returned = []
        for name in ("qmp_capabilities", *(command.name for command in commands)):
            answer = next(answers)
            if "error" in answer:
                raise _refusal(name, answer["error"])
            returned.append(answer["return"])
        return returned[1:]


def _refusal(name: str, error: object) -> MonitorError:
    missing = isinstance(error, dict) and error.get("class") == "DeviceNotFound"
    return (NotThere if missing else MonitorError)(f"{name}: {str(error)[:500]}")


def _answers(connection: socket.socket, deadline: float) -> Iterator[dict[str, Any]]:
    """Yield answers; greeting and events are passed over."""
    said, buffer = 0, b""
    while True:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        data = connection.recv(65536)
        said += len(data)
        if not data or said > MOST_SAID:
            raise MonitorError("QEMU closed its monitor, or says too much")
        *lines, buffer = (buffer + data).split(b"\n")
        for line in lines:
            try:
                answer = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise MonitorError("QEMU said what is no answer") from error
            if not isinstance(answer, dict):
                raise MonitorError("QEMU said what is no answer")
            if "return" in answer or "error" in answer:
                yield answer
