"""Disks of the controller of volumes, found by their logical units.

The host plugs them in and tells of none: each is asked for by its number.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from tether.guestconfig import ConfigError
from tether.supervisor.uevents import DeviceEvents

_HOSTS = Path("/sys/class/scsi_host")
_DEVICES = Path("/sys/class/scsi_device")
_DRIVER = "virtio_scsi"
# The kernel asks a disk some twenty things first, on a host that may be busy with others.
_DISK_SECONDS = 60.0


def find_disks(luns: Sequence[int]) -> list[str]:
    """Ask the controller for disks, and return their device nodes. Raises ConfigError, OSError."""
    host = next(
        (path for path in _HOSTS.iterdir() if (path / "proc_name").read_text().strip() == _DRIVER),
        None,
    )
    if host is None:
        raise ConfigError("disks: the machine has no controller for volumes")
    events = DeviceEvents()
    try:
        found = []
        for lun in luns:
            (host / "scan").write_text(f"0 0 {lun}")
        for lun in luns:
            place = _DEVICES / f"{host.name.removeprefix('host')}:0:0:{lun}" / "device" / "block"
            device = events.until(lambda place=place: _node(place), _DISK_SECONDS)  # type: ignore[misc]
            if device is None:
                raise ConfigError(f"disks: the machine has no disk {lun}")
            found.append(device)
        return found
    finally:
        events.close()


def _node(place: Path) -> str | None:
    """The node of the block device in a place of /sys, once it can be opened."""
    try:
        names = os.listdir(place)
    except FileNotFoundError:
        return None
    for name in names:
        try:
            os.close(os.open(f"/dev/{name}", os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            # The node is there before the device behind it is.
            if error.errno not in (errno.ENOENT, errno.ENXIO):
                raise
            return None
        return f"/dev/{name}"
    return None
