"""Names and options of volumes, as users of Docker and of VIC write them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from services.storage.compiler.ext4.geometry import MIN_SIZE
from services.storage.vmdk import GRAIN
from services.storage.volumes.errors import DriverNotFound, InvalidVolume, StoreNotFound

DEFAULT_STORE = "default"
LOCAL = "local"
DRIVERS = (LOCAL, "vsphere")
"""Docker's default, and what VIC's users write in their compose files: the same here."""

MAX_SIZE = 2 << 40
"""Of a sparse VMDK (Virtual Disk Format 5.0)."""

LONGEST_NAME = 255
"""It is a directory's name."""

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_SIZE = re.compile(r"([0-9]+)(?:\.([0-9]+))? ?([kmgtp]?)(?:i?b)?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_MIB = 1 << 20

# Of Docker's local driver: it mounts what its host can reach, and there is no such mount here.
_MOUNT_OPTIONS = {"type", "device", "o"}


@dataclass(frozen=True)
class VolumeOptions:
    """What the options of a volume say."""

    store: str
    size_bytes: int
    """0 where nothing is said."""


def check_name(name: str) -> None:
    """Raise InvalidVolume, in Docker's words, for a name that no volume can have."""
    if len(name) == 1:
        raise InvalidVolume(
            "volume name is too short, names should be at least two alphanumeric characters"
        )
    if not _NAME.fullmatch(name):
        raise InvalidVolume(
            f'"{name[:LONGEST_NAME]}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, '
            "use absolute path"
        )
    if len(name) > LONGEST_NAME:
        raise InvalidVolume(
            f"volume name is too long: {len(name)} characters, {LONGEST_NAME} at most"
        )


def check_driver(driver: str) -> str:
    """Return the driver that is meant. Raises DriverNotFound in Docker's words."""
    if not driver:
        return LOCAL
    if driver not in DRIVERS:
        raise DriverNotFound(
            f'error looking up volume plugin {driver[:100]}: plugin "{driver[:100]}" not found'
        )
    return driver


def read_options(options: Mapping[str, str]) -> VolumeOptions:
    """Read the options of a create. Raises InvalidVolume naming the one that can't be."""
    store, sizes = DEFAULT_STORE, []
    for name, value in options.items():
        match name.lower():
            case "volumestore":
                if not value:
                    raise StoreNotFound(f"invalid option {name}: a volume store has a name")
                store = value
            case "size":
                sizes.append(parse_size(name, value, bare=1))
            case "capacity":
                # VIC's rule: a number alone counts megabytes.
                sizes.append(parse_size(name, value, bare=_MIB))
            case other if other in _MOUNT_OPTIONS:
                raise InvalidVolume(
                    f'invalid option: "{name}": a volume is a disk of its own and mounts nothing '
                    "of the host or the network; to keep volumes on NFS, configure a volume store "
                    "there and name it by VolumeStore"
                )
            case _:
                raise InvalidVolume(f'invalid option: "{name}"')
    if len(sizes) > 1:
        raise InvalidVolume("the size of a volume is given twice: size and Capacity")
    return VolumeOptions(store, sizes[0] if sizes else 0)


def parse_size(option: str, text: str, *, bare: int) -> int:
    """Return the bytes that an option's value says, a multiple of 64 KiB.

    Units are powers of 1024, as with Docker's own ``size``; a number without one counts `bare`
    bytes. Raises InvalidVolume, each fault with its own message.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None or len(text) > 40:
        raise InvalidVolume(f"invalid {option}: '{text[:40]}' is not a size, such as 10G or 512MB")
    whole, fraction, unit = found[1], found[2] or "", found[3].lower()
    factor = 1024 ** _POWERS[unit] if unit or text.strip()[-1] in "bB" else bare
    size = int(whole) * factor + (int(fraction) * factor // 10 ** len(fraction) if fraction else 0)
    return check_size(option, size)


def check_size(option: str, size: int) -> int:
    """Return a size in bytes, rounded up to a multiple of 64 KiB. Raises InvalidVolume."""
    if size == 0:
        raise InvalidVolume(f"invalid {option}: a volume of size 0 can hold nothing")
    if size < MIN_SIZE:
        raise InvalidVolume(
            f"invalid {option}: {size} bytes are too small, a volume has at least "
            f"{MIN_SIZE // _MIB} MiB"
        )
    if size > MAX_SIZE:
        raise InvalidVolume(
            f"invalid {option}: {size} bytes are too large, a volume has at most "
            f"{MAX_SIZE >> 40} TiB"
        )
    return -(-size // GRAIN) * GRAIN
