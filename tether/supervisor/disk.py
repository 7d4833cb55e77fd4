"""The container's disk, and the files that are laid over it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from tether.guestconfig import Container, Dns, Root
from tether.supervisor import kernelfile, syscalls
from tether.supervisor.boot import RUN
from tether.supervisor.syscalls import BLKFLSBUF, MS_RDONLY, MS_REMOUNT, mount

_FILES = RUN / "files"
DISK_POINT = RUN / "disk"
"""Where the supervisor itself has the container's disk, with nothing mounted over it."""
_HOSTS = (
    "127.0.0.1\tlocalhost\n"
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::0\tip6-localnet\n"
    "ff00::0\tip6-mcastprefix\n"
    "ff02::1\tip6-allnodes\n"
    "ff02::2\tip6-allrouters\n"
)
MACHINE_ID = "/etc/machine-id"
# What a page fault in a program's file reads around it. A request costs an emulated guest and its
# host more than the bytes do: with the kernel's 128 KiB a program of 2 MB takes 13, with this two.
_READ_AHEAD_KB = b"1024"


class ContainerDisk:
    """The file system on the container's disk; the supervisor keeps a mount of it to flush it."""

    def __init__(self, mount_point: Path = DISK_POINT) -> None:
        """Make the place that it is mounted on."""
        self.mount_point = mount_point
        mount_point.mkdir(exist_ok=True)
        self._mounted = False

    def mount(self, root: Root) -> int:
        """Mount the disk; returns a detached copy of the mount for the container's namespace."""
        device = f"/dev/{root.device}"
        descriptor = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
        try:
            # The parent of a clone read another, empty disk here: forget what it saw.
            fcntl.ioctl(descriptor, BLKFLSBUF)
        finally:
            os.close(descriptor)
        kernelfile.put(f"/sys/block/{root.device}/queue/read_ahead_kb", _READ_AHEAD_KB)
        mount(device, str(self.mount_point), "ext4")
        self._mounted = True
        return syscalls.open_tree(str(self.mount_point))

    def flush(self) -> None:
        """Put everything on the disk and leave its file system clean; nothing writes any more."""
        if self._mounted:
            mount("none", str(self.mount_point), flags=MS_REMOUNT | MS_RDONLY)
            self._mounted = False


def overlay_files(container: Container, machine_id: str) -> dict[str, int]:
    """Path in the container → detached mount of a file that holds what the VM was told."""
    contents = {
        "/etc/hosts": hosts_text(container.hosts),
        "/etc/hostname": f"{container.hostname}\n",
        "/etc/resolv.conf": resolv_text(container.dns),
        MACHINE_ID: f"{machine_id}\n",
    }
    _FILES.mkdir(exist_ok=True)
    mounts = {}
    for path, text in contents.items():
        file = f"{_FILES}/{path.rpartition('/')[2]}"
        descriptor = os.open(file, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o644)
        os.write(descriptor, text.encode())
        os.close(descriptor)
        mounts[path] = syscalls.open_tree(file)
    return mounts


def hosts_text(hosts: tuple[tuple[str, str], ...]) -> str:
    """/etc/hosts as Docker writes it, then what the host gave."""
    return _HOSTS + "".join(f"{line}\n" for line in host_lines(hosts))


def host_lines(hosts: tuple[tuple[str, str], ...]) -> list[str]:
    """The lines of /etc/hosts that the host gave."""
    return [f"{address}\t{name}" for address, name in hosts]


def resolv_text(dns: Dns) -> str:
    """/etc/resolv.conf."""
    lines = [f"nameserver {server}" for server in dns.servers]
    if dns.search:
        lines.append(f"search {' '.join(dns.search)}")
    if dns.options:
        lines.append(f"options {' '.join(dns.options)}")
    return "".join(f"{line}\n" for line in lines)


def rewrite_hosts(former: list[str], lines: list[str]) -> None:
    """Put lines in the place of those that were given before; what the container wrote stays."""
    path = _FILES / "hosts"
    kept = [line for line in path.read_text(errors="replace").splitlines() if line not in former]
    _overwrite(path, "".join(f"{line}\n" for line in (*kept, *lines)))


def rewrite_resolv(former: Dns, dns: Dns) -> None:
    """Tell of other name servers, unless the container has written its own."""
    path = _FILES / "resolv.conf"
    if path.read_text(errors="replace") == resolv_text(former):
        _overwrite(path, resolv_text(dns))


def _overwrite(path: Path, text: str) -> None:
    # In place: the file is mounted over another one.
    path.write_text(text)
