"""How the vsphere drivers are configured: the same section of the instance's file for all facets.

The section is ``vsphere``; each facet reads what it needs of it, and leaves the rest to others.
"""

from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from portlayer.vsphere.target import Target

S = TypeVar("S", bound=BaseModel)

Platform = Literal["qemu", "vsphere"]
"""Where container VMs run: on this machine, or on a vCenter's cluster."""


class VCenterSettings(BaseModel):
    """Which vCenter, and as whom; see :class:`~portlayer.vsphere.target.Target`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    host: str = Field(min_length=1)
    port: int = Field(443, ge=1, le=65535)
    user: str = Field(min_length=1)
    password_file: Path | None = None
    certificate_file: Path | None = None
    thumbprint: str = ""
    ca_file: Path | None = None

    def target(self) -> Target:
        """Return how to log in."""
        return Target(
            host=self.host,
            user=self.user,
            password_file=self.password_file,
            port=self.port,
            thumbprint=self.thumbprint,
            ca_file=self.ca_file,
            certificate_file=self.certificate_file,
        )


def required(section: S | None) -> S:
    """Return a facet's section ``vsphere``. Raises ValueError where the driver needs one."""
    if section is None:
        raise ValueError("the driver vsphere needs a section `vsphere` in the settings")
    return section
