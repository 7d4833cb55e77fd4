"""Settings of the exec facet."""

from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from portlayer.identity import Role
from portlayer.settings import FacetSettings
from portlayer.vsphere.settings import Platform
from services.exec.drivers.vsphere.settings import VsphereSettings
from services.exec.startmode import MOST_READY_CLONES

GIB = 1024**3


class InitialLimits(BaseModel):
    """Zero means none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    containers: int = Field(default=0, ge=0)
    memory_bytes: int = Field(default=0, ge=0)
    cpus: int = Field(default=0, ge=0)


class ExecSettings(FacetSettings):
    """What the exec service needs to know."""

    role: ClassVar[Role] = Role.EXEC

    driver: Platform = Field(
        "qemu", description="Where container VMs run: on this machine, or on a vCenter's cluster."
    )
    vsphere: VsphereSettings | None = Field(
        None, description="What the driver vsphere needs to know."
    )
    limits: InitialLimits = Field(
        InitialLimits(),
        description="Limits of the VCH until Configure has said others.",
    )
    bootstrap_digest: str = Field(
        "", description="Bootstrap image to boot; empty means the only one there is."
    )
    base_size_bytes: int = Field(
        8 * GIB, description="Size of containers' disks as their VMs see them."
    )
    ready_clones: int | None = Field(
        None,
        ge=0,
        le=MOST_READY_CLONES,
        description="Clones of the default size that are kept ready where Configure has not said "
        "otherwise; unset is as many as suit the host's memory, 0 is none.",
    )

    @model_validator(mode="after")
    def _check_replicas(self) -> Self:
        self.insist_on_shared_state()
        return self
