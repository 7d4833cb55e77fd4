"""`vic status`: what runs, since when, where, and on which hypervisor."""

import asyncio
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vic.exec.v1 import exec_pb2
from vic.hostagent.v1 import hostagent_pb2

from installer.containers import report
from installer.control import ask
from installer.errors import NotRunningError
from installer.facets import exec_info, host_info
from installer.instance import check_data_dir, load_instance
from installer.records import load_processes
from installer.supervisor import State
from portlayer.errors import VicError

ACCELERATORS = {
    hostagent_pb2.ACCELERATOR_UNSPECIFIED: "undecided",
    hostagent_pb2.ACCELERATOR_KVM: "kvm",
    hostagent_pb2.ACCELERATOR_TCG: "tcg",
}
ALL_WELL, DEGRADED, NOT_RUNNING = 0, 1, 3
"""Exit codes, as the LSB has them for services' status."""


@dataclass(frozen=True)
class Hypervisor:
    """What runs the virtual machines."""

    name: str
    version: str
    accelerator: str
    reason: str
    machines: int
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class ReadyClones:
    """Clones that are kept ready for the next containers."""

    waiting: int
    wanted: int
    automatic: bool
    """Wanted are as many as suit the host's memory."""
    used: int
    failed: int
    """Used, and used in vain, since exec came up."""


@dataclass(frozen=True)
class Status:
    """An instance as a whole."""

    instance_id: str
    data_dir: str
    slot: int
    endpoint: str
    running: bool
    watcher: int | None
    """Process ID of what keeps the others running."""
    processes: list[dict[str, Any]]
    hypervisor: Hypervisor | None
    """None where the host agent, or exec of a VCH on a vCenter, does not answer."""
    ready_clones: ReadyClones | None
    """None where exec does not answer."""

    @property
    def exit_code(self) -> int:
        """0 where all is well, 1 where something isn't, 3 where the suite is not running."""
        if not self.running:
            return NOT_RUNNING
        healthy = all(process["state"] == State.HEALTHY for process in self.processes)
        return ALL_WELL if healthy and self.hypervisor is not None else DEGRADED

    def to_json(self) -> str:
        """Return it for programs."""
        return json.dumps(asdict(self), indent=2)

    def to_text(self) -> str:
        """Return it for people."""
        lines = [
            f"instance    {self.instance_id} in {self.data_dir} (slot {self.slot})",
            f"endpoint    {self.endpoint}",
        ]
        if self.hypervisor is not None:
            found = self.hypervisor
            product = f"{found.name} {found.version}".rstrip()
            lines.append(f"hypervisor  {product}, {found.machines} machines")
            lines.append(f"accelerator {found.accelerator}: {found.reason}")
            lines.extend(f"warning     {warning}" for warning in found.warnings)
        if self.ready_clones is not None:
            ready = self.ready_clones
            auto = " (auto)" if ready.automatic else ""
            lines.append(
                f"clones      {ready.waiting} of {ready.wanted}{auto} ready, {ready.used} used, "
                f"{ready.failed} failed"
            )
        lines.append("")
        lines.append(f"{'PROCESS':<12} {'STATE':<10} {'PID':>8} {'UPTIME':>9} {'RESTARTS':>8}")
        lines.extend(_line(process) for process in self.processes)
        if not self.running:
            lines.append("")
            lines.append("the suite is not running; start it with `vic up`")
        return "\n".join(lines)


def read_status(data_dir: Path, settle_seconds: float | None = None) -> Status:
    """Return the status of the instance in a data directory.

    With `settle_seconds`, waits so long until every process serves. Raises NotRunningError if
    there is no instance, InstallerError when it has not settled in time.
    """
    data_dir = check_data_dir(data_dir)
    instance = load_instance(data_dir)
    if instance is None:
        raise NotRunningError(f"{data_dir} holds no instance; make one with `vic up`")
    try:
        if settle_seconds is None:
            told = ask(instance.control_socket, "status")
        else:
            told = ask(instance.control_socket, "settle", settle_seconds)
        watcher, processes = told["watcher"], told["processes"]
    except NotRunningError:
        watcher = None
        processes = [
            {
                "role": role,
                "state": "orphaned",
                "pid": process.pid,
                "uptime_seconds": None,
                "restarts": 0,
                "last_exit": "",
            }
            for role, process in load_processes(instance.processes_file).items()
        ]
    if instance.in_containers:
        processes = [*processes, *report(instance)]
    try:
        info = asyncio.run(exec_info(instance))
    except (VicError, OSError):
        info = None
    if instance.options.driver == "qemu":
        try:
            hypervisor = _hypervisor(asyncio.run(host_info(instance)))
        except (VicError, OSError):
            hypervisor = None
    else:
        # The host agent there launches nothing: exec knows the hypervisor.
        hypervisor = None if info is None else _elsewhere(info)
    ready_clones = None if info is None else _ready_clones(info)
    return Status(
        instance_id=instance.id,
        data_dir=str(instance.data_dir),
        slot=instance.slot,
        endpoint=instance.options.host,
        running=watcher is not None,
        watcher=watcher,
        processes=processes,
        hypervisor=hypervisor,
        ready_clones=ready_clones,
    )


def _line(process: dict[str, Any]) -> str:
    uptime = _span(process["uptime_seconds"])
    last = f"  last: {process['last_exit']}" if process["last_exit"] else ""
    return (
        f"{process['role']:<12} {process['state']:<10} {process['pid'] or '-':>8} "
        f"{uptime:>9} {process['restarts']:>8}{last}"
    )


def _hypervisor(info: hostagent_pb2.InfoResponse) -> Hypervisor:
    return Hypervisor(
        name="QEMU",
        version=info.qemu_version,
        accelerator=ACCELERATORS[info.accelerator],
        reason=info.accelerator_reason,
        machines=info.machines,
        warnings=tuple(info.warnings),
    )


def _elsewhere(info: exec_pb2.InfoResponse) -> Hypervisor:
    return Hypervisor(
        name=info.hypervisor,
        version="",
        accelerator=info.accelerator,
        reason=info.accelerator_reason,
        machines=info.containers_running + info.containers_paused,
        warnings=(),
    )


def _ready_clones(info: exec_pb2.InfoResponse) -> ReadyClones:
    return ReadyClones(
        waiting=info.ready_clones_waiting,
        wanted=info.start_mode.ready_clones,
        automatic=info.start_mode.ready_clones_automatic,
        used=info.ready_clones,
        failed=info.ready_clones_failed,
    )


def _span(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours:02}h"
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"
