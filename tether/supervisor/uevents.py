"""The kernel's news of devices, to wait for one."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_KOBJECT_UEVENT = 15
_KERNEL_GROUP = 1


class DeviceEvents:
    """Device events from the moment it is made on."""

    def __init__(self) -> None:
        """Listen."""
        self._events = socket.socket(
            socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _KOBJECT_UEVENT
        )
        self._events.bind((0, _KERNEL_GROUP))

    def until(self, find: Callable[[], T | None], timeout: float) -> T | None:
        """What ``find`` returns as soon as that is something; None after ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while (found := find()) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._events.settimeout(left)
            try:
                self._events.recv(8192)
            except TimeoutError:
                return find()
        return found

    def close(self) -> None:
        """Stop listening."""
        self._events.close()
