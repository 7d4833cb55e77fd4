"""Finds virtio-serial ports by the names that the host gave them."""

from __future__ import annotations

import os
import socket
from pathlib import Path

_CLASS = Path("/sys/class/virtio-ports")
_KOBJECT_UEVENT = 15
_KERNEL_GROUP = 1


class PortTimeoutError(Exception):
    """The host gave the machine no port of that name."""


class PortFinder:
    """Opens ports by name; a port's name arrives after its device, so it may have to wait."""

    def __init__(self) -> None:
        """Listen for the kernel's device events from now on; make it before loading drivers."""
        self._events = socket.socket(
            socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _KOBJECT_UEVENT
        )
        self._events.bind((0, _KERNEL_GROUP))

    def open(self, name: str, timeout: float) -> int:
        """A non-blocking descriptor of the port; PortTimeoutError when it doesn't come."""
        self._events.settimeout(timeout)
        while (device := self._find(name)) is None:
            try:
                self._events.recv(8192)
            except TimeoutError:
                raise PortTimeoutError(f"the machine has no port named {name}") from None
        return os.open(f"/dev/{device}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def close(self) -> None:
        """Stop listening."""
        self._events.close()

    @staticmethod
    def _find(name: str) -> str | None:
        if not _CLASS.exists():
            return None
        for path in _CLASS.iterdir():
            file = path / "name"
            if file.exists() and file.read_text().strip() == name:
                return path.name
        return None
