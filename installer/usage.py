"""`vic usage`: what the containers' VMs take of their hosts, beside what the VCH may take."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.message import Message
from vic.exec.v1 import exec_pb2

from installer.errors import InstallerError, NotRunningError
from installer.facets import measured_usage
from installer.instance import check_data_dir, load_instance
from portlayer.errors import VicError

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
_HEADER = (
    f"{'NAME':<24} {'CPUS':>6} {'WAITED':>6} {'OF':>3}  {'MEMORY':>9} {'ACTIVE':>9} {'OF':>9}  "
    f"{'READ/s':>9} {'WRITTEN/s':>9} {'NET IN/s':>9} {'OUT/s':>9}"
)


@dataclass(frozen=True)
class Usage:
    """What exec said."""

    info: exec_pb2.InfoResponse
    containers: tuple[exec_pb2.ContainerUsage, ...]

    def to_json(self) -> str:
        """Return it for programs, under the contract's names: see exec.proto for the units."""
        fields = {
            "containers": list(map(_fields, self.containers)),
            "limits": _fields(self.info.limits),
        }
        return json.dumps(fields, indent=2)

    def to_text(self) -> str:
        """Return it for people."""
        lines = [_HEADER, *map(_line, self.containers)]
        lines.append(_line(self._total()))
        limits = self.info.limits
        cpus = f"{limits.cpus} CPUs" if limits.cpus else "no limit of CPUs"
        memory = _bytes(limits.memory_bytes) if limits.memory_bytes else "no limit of memory"
        lines.append("")
        lines.append(
            f"given to VMs: {self.info.vm_cpus} CPUs, {_bytes(self.info.vm_memory_bytes)}; "
            f"limits: {cpus}, {memory}; "
            f"the hosts have {self.info.cpus} CPUs, {_bytes(self.info.memory_bytes)}"
        )
        if self.containers:
            seconds = max(usage.seconds for usage in self.containers)
            lines.append(f"averages over {seconds:.3g} s, as the hosts measure them")
        return "\n".join(lines)

    def _total(self) -> exec_pb2.ContainerUsage:
        """Return the sums of what was measured; what no VM tells stays absent."""
        total = exec_pb2.ContainerUsage(name="(all)")
        for usage in self.containers:
            for field, value in usage.ListFields():
                if isinstance(value, int | float) and field.name != "seconds":
                    setattr(total, field.name, getattr(total, field.name) + value)
        return total


def read_usage(data_dir: Path, seconds: float) -> Usage:
    """Measure the VMs of the instance in a data directory. Raises InstallerError."""
    data_dir = check_data_dir(data_dir)
    instance = load_instance(data_dir)
    if instance is None:
        raise NotRunningError(f"{data_dir} holds no instance; make one with `vic up`")
    try:
        info, measured = asyncio.run(measured_usage(instance, seconds))
    except VicError as error:
        raise InstallerError(f"what VMs take can't be told: {error.message}") from error
    return Usage(info, tuple(measured.containers))


def _fields(message: Message) -> dict[str, Any]:
    """Return what a message has; numbers as numbers, which protobuf's own JSON writes as text."""
    return {
        field.name: getattr(message, field.name)
        for field in message.DESCRIPTOR.fields
        if not field.has_presence or message.HasField(field.name)
    }


def _line(usage: exec_pb2.ContainerUsage) -> str:
    def figure(name: str) -> str:
        return f"{getattr(usage, name):.2f}" if usage.HasField(name) else "-"

    def size(name: str) -> str:
        return _bytes(getattr(usage, name)) if usage.HasField(name) else "-"

    rates = (
        "disk_read_bytes_per_second",
        "disk_written_bytes_per_second",
        "received_bytes_per_second",
        "sent_bytes_per_second",
    )
    return (
        f"{_short(usage.name, 24):<24} {figure('cpus_used'):>6} {figure('cpus_waited_for'):>6} "
        f"{usage.given_cpus:>3}  {size('memory_bytes'):>9} {size('memory_active_bytes'):>9} "
        f"{_bytes(usage.given_memory_bytes):>9}  {_columns(map(size, rates))}"
    )


def _columns(texts: Iterable[str]) -> str:
    return " ".join(f"{text:>9}" for text in texts)


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _bytes(count: float) -> str:
    """Return a size as people read it, with three digits or four."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if count >= unit:
            value = count / unit
            # What has a thousand units would be written as a power of ten.
            return f"{value:.0f} {name}" if value >= 1000 else f"{value:.3g} {name}"
    return f"{count:.0f} B"
