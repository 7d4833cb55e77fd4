"""Finds virtio-serial ports by the names that the host gave them."""

from __future__ import annotations

import os
from pathlib import Path

from tether.supervisor.uevents import DeviceEvents

_CLASS = Path("/sys/class/virtio-ports")


class PortTimeoutError(Exception):
    """The host gave the machine no port of that name."""


class PortFinder:
    """Opens ports by name; a port's name arrives after its device, so it may have to wait."""

    def __init__(self) -> None:
        """Listen for the kernel's device events from now on; make it before loading drivers."""
        self._events = DeviceEvents()

    def open(self, name: str, timeout: float) -> int:
        """A non-blocking descriptor of the port; PortTimeoutError when it doesn't come."""
        device = self._events.until(lambda: self._find(name), timeout)
        if device is None:
            raise PortTimeoutError(f"the machine has no port named {name}")
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
