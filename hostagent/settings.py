"""Settings of the host agent."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from hostagent.server import host_memory
from portlayer.identity import Role
from portlayer.settings import FacetSettings

MIB = 1 << 20
# What services, kernel and page cache need beside the machines: a tenth of the host, within these.
SMALLEST_RESERVE = 256 * MIB
LARGEST_RESERVE = 4096 * MIB


class HostAgentSettings(FacetSettings):
    """What the agent needs to know beside what every service does."""

    role: ClassVar[Role] = Role.HOSTAGENT

    driver: Literal["qemu", "vsphere"] = Field(
        "qemu",
        description="Platform of the container VMs. On vSphere this process launches none: it "
        "issues what their tethers are told.",
    )
    qemu: Path = Field(
        Path("/usr/bin/qemu-system-x86_64"),
        description="QEMU's program; it must lie below /usr, all that a machine's process sees.",
    )
    accelerator: Literal["auto", "kvm", "tcg"] = Field(
        "auto", description="What runs guests; auto finds out by a trial."
    )
    stores: list[Path] = Field(
        default_factory=list,
        description="Directories beside DATA/storage in which disks of machines may lie.",
    )
    machine_memory_mib: int = Field(
        0, ge=0, description="Memory for all machines together; 0 is the host's but for a tenth."
    )
    ready_launchers: int = Field(
        2, ge=0, le=16, description="Processes kept ready to become machines."
    )

    @property
    def disk_directories(self) -> list[Path]:
        """Directories in which the files of a machine's disk chain may lie."""
        return [self.data_dir / "storage", *self.stores]

    @field_validator("qemu")
    @classmethod
    def _below_usr(cls, path: Path) -> Path:
        if path.parts[:2] != ("/", "usr") or ".." in path.parts:
            raise ValueError("must lie below /usr")
        return path

    @property
    def memory_limit(self) -> int:
        """Bytes that all machines together may use."""
        if self.machine_memory_mib:
            return self.machine_memory_mib * MIB
        total = host_memory()
        return total - min(max(total // 10, SMALLEST_RESERVE), LARGEST_RESERVE)
