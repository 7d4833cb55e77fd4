"""What a process consists of, from proc(5)."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Descriptor:
    """An open descriptor of a process."""

    number: int
    target: str
    """As its link in /proc says: a path, "socket:[1]", "anon_inode:[eventfd]"."""
    identity: tuple[int, int]
    """Device and inode."""
    flags: int
    """As of open(2)."""
    details: dict[str, list[str]] = field(default_factory=dict)
    """Other lines of its fdinfo, by their names."""


@dataclass(frozen=True)
class Mapping:
    """A part of a process's memory that is a file's."""

    start: int
    length: int
    offset: int
    """In the file, of the first byte."""


def thread_ids(pid: int) -> list[int]:
    """Return the threads of a process, its main thread first."""
    others = {int(name) for name in os.listdir(f"/proc/{pid}/task")} - {pid}
    return [pid, *sorted(others)]


def descriptors(pid: int) -> Iterator[Descriptor]:
    """Yield a process's descriptors by their numbers. Raises OSError."""
    directory = Path(f"/proc/{pid}/fd")
    for number in sorted(int(name) for name in os.listdir(directory)):
        details: dict[str, list[str]] = {}
        for line in Path(f"/proc/{pid}/fdinfo/{number}").read_text().splitlines():
            name, _, value = line.partition(":")
            details.setdefault(name, []).append(value.strip())
        status = os.stat(directory / str(number))
        yield Descriptor(
            number,
            os.readlink(directory / str(number)),
            (status.st_dev, status.st_ino),
            int(details["flags"][0], 8),
            details,
        )


def kept_from_forks(pid: int) -> list[tuple[int, int]]:
    """Return start and length of the memory that a fork would not have (MADV_DONTFORK)."""
    found: list[tuple[int, int]] = []
    start, end = 0, 0
    with open(f"/proc/{pid}/smaps") as file:
        for line in file:
            first, _, rest = line.partition(" ")
            if first == "VmFlags:":
                if "dc" in rest.split():
                    found.append((start, end - start))
            elif not first.endswith(":"):
                start, end = (int(part, 16) for part in first.split("-"))
    return found


def mappings(pid: int, identity: tuple[int, int]) -> Iterator[Mapping]:
    """Yield where a process has a file of some device and inode in its memory. Raises OSError."""
    with open(f"/proc/{pid}/maps") as file:
        for line in file:
            places, _, offset, device, inode, *_ = line.split(maxsplit=5)
            major, minor = (int(part, 16) for part in device.split(":"))
            if (os.makedev(major, minor), int(inode)) == identity:
                start, end = (int(part, 16) for part in places.split("-"))
                yield Mapping(start, end - start, int(offset, 16))
