"""First things first: kernel file systems, drivers, and the cgroups of tether and workload."""

from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path

from tether.supervisor import syscalls
from tether.supervisor.syscalls import MS_NODEV, MS_NOEXEC, MS_NOSUID, mount

CGROUPS = Path("/sys/fs/cgroup")
TETHER_CGROUP = CGROUPS / "tether"
WORKLOAD_CGROUP = CGROUPS / "workload"
# Small files of the container that are no part of its disk: hosts, hostname, resolv.conf.
RUN = Path("/run")
_RUN_SIZE = "4m"

_CONTROLLERS = ("cpu", "cpuset", "io", "memory", "pids")
# What the kernel keeps for the tether, whatever the workload's memory pressure.
_TETHER_MEMORY_MIN = 48 * 1024 * 1024
_MODULES = Path("/usr/lib/modules")
_OPEN_DEVICES = (Path("/dev/fuse"), Path("/dev/net/tun"))
# What a user's pipes may hold before new ones get two pages each (pipe(7)). Those that the tether
# makes for processes count, since the workload's root is its own; the kernel's 64 MB are 42 execs.
_PIPE_PAGES = "65536"
_BUSES = ("pci", "virtio", "scsi")


def mount_kernel_file_systems() -> None:
    """Mount /proc, /sys, /dev, cgroup v2 and a small /run."""
    quiet = MS_NOSUID | MS_NODEV | MS_NOEXEC
    mount("proc", "/proc", "proc", quiet)
    mount("sysfs", "/sys", "sysfs", quiet)
    mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID | MS_NOEXEC)
    _mount_cgroups(quiet)
    mount("tmpfs", str(RUN), "tmpfs", quiet, f"mode=755,size={_RUN_SIZE}")
    Path("/proc/sys/fs/pipe-user-pages-soft").write_text(_PIPE_PAGES)


def _mount_cgroups(flags: int) -> None:
    """Mount cgroup v2 so that a process joins a group at once (cgroups(7), favordynmods).

    Otherwise each waits for a grace period of RCU, 12 ms with a tick of 4. Linux 6.0 knows it.
    """
    try:
        mount("cgroup2", str(CGROUPS), "cgroup2", flags, "favordynmods")
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        mount("cgroup2", str(CGROUPS), "cgroup2", flags)


def prepare_cgroups() -> None:
    """Make the two cgroups, and put the caller into the tether's."""
    available = set((CGROUPS / "cgroup.controllers").read_text().split())
    wanted = " ".join(f"+{name}" for name in _CONTROLLERS if name in available)
    (CGROUPS / "cgroup.subtree_control").write_text(wanted)
    for group in (TETHER_CGROUP, WORKLOAD_CGROUP):
        group.mkdir()
    (TETHER_CGROUP / "cgroup.procs").write_text("0")
    (TETHER_CGROUP / "memory.min").write_text(str(_TETHER_MEMORY_MIN))
    # Out of memory kills the workload, never the tether.
    Path("/proc/self/oom_score_adj").write_text("-1000")


def open_devices() -> None:
    """Let every user open what harms nobody, as udev does: the kernel gives it to root alone."""
    for path in _OPEN_DEVICES:
        if path.exists():
            path.chmod(0o666)


class ModuleLoader:
    """Loads the kernel modules that the machine's devices ask for, dependencies first."""

    def __init__(self) -> None:
        """Read the plan that the builder of the image wrote."""
        plan = json.loads(Path("/etc/modules.json").read_bytes())
        self._always: list[str] = plan["always"]
        self._depends: dict[str, list[str]] = plan["depends"]
        self._aliases = [(_pattern(alias), name) for alias, name in plan["aliases"]]
        self._loaded: set[str] = set()

    def load_all(self) -> None:
        """Load until no device asks for anything new: a bus driver brings devices of its own."""
        asked: set[str] = set()
        while devices := self._device_aliases() - asked:
            asked |= devices
            for pattern, name in self._aliases:
                if any(pattern.fullmatch(device) for device in devices):
                    self._load(name)
        for name in self._always:
            self._load(name)

    @staticmethod
    def _device_aliases() -> set[str]:
        paths = (
            path for bus in _BUSES for path in Path(f"/sys/bus/{bus}/devices").glob("*/modalias")
        )
        return {path.read_text().strip() for path in paths}

    def _load(self, name: str) -> None:
        if name in self._loaded:
            return
        self._loaded.add(name)
        for dependency in self._depends[name]:
            self._load(dependency)
        with (_MODULES / f"{name}.ko").open("rb") as file:
            try:
                syscalls.finit_module(file.fileno())
            except OSError as error:
                # ENODEV: an accelerated algorithm that this CPU model doesn't have.
                if error.errno not in (errno.EEXIST, errno.ENODEV):
                    raise


def _pattern(alias: str) -> re.Pattern[str]:
    return re.compile(re.escape(alias).replace(r"\*", ".*").replace(r"\?", "."))


def log(text: str) -> None:
    """A line on the console, which the host keeps for whoever looks for a fault."""
    os.write(2, f"tether: {text}\n".encode())
