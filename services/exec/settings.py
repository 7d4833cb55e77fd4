"""Settings of the exec facet."""

from typing import ClassVar, Literal

from pydantic import Field

from portlayer.identity import Role
from portlayer.settings import FacetSettings

GIB = 1024**3


class ExecSettings(FacetSettings):
    """What the exec service needs to know."""

    role: ClassVar[Role] = Role.EXEC

    driver: Literal["qemu"] = Field("qemu", description="Hypervisor driver.")
    bootstrap_digest: str = Field(
        "", description="Bootstrap image to boot; empty means the only one there is."
    )
    base_size_bytes: int = Field(
        8 * GIB, description="Size of containers' disks as their VMs see them."
    )
    ready_clones: int = Field(
        0, ge=0, le=64, description="Clones of the default shape that are kept ready; 0 is none."
    )
