"""Settings of the network service."""

from ipaddress import IPv4Network
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from portlayer.identity import Role
from portlayer.settings import FacetSettings
from portlayer.vsphere.settings import Platform
from services.network.drivers.vsphere.settings import VsphereSettings


class NetworkSettings(FacetSettings):
    """What the network service needs to know beyond what every service does."""

    model_config = SettingsConfigDict(cli_implicit_flags=True)

    role: ClassVar[Role] = Role.NETWORK

    driver: Platform = Field(
        "qemu", description="Where container VMs run: on this machine, or on a vCenter's cluster."
    )
    vsphere: VsphereSettings | None = Field(
        None, description="What the driver vsphere needs to know."
    )
    tether_port: int = Field(
        7443, ge=1, le=65535, description="TCP port of interaction on the management network."
    )
    closed_ports: list[int] = Field(
        default_factory=list,
        description="TCP ports of this host that containers must not reach: the Docker endpoint's.",
    )
    default_subnet: IPv4Network | None = Field(
        None, description="Subnet of the default bridge; by default the first free one of Docker's."
    )
    dns_servers: list[str] = Field(
        default_factory=list,
        description="Name servers for containers; by default the host's own.",
    )
    mtu: int = Field(1500, ge=576, le=65535, description="MTU of networks that name none.")
    reconcile_seconds: float = Field(
        60.0, gt=0, description="Period of the comparison between the host and the database."
    )
    machine_lock: Path = Field(
        Path("/run/vic"),
        description="Directory that all instances lock while they choose a subnet.",
    )

    @model_validator(mode="after")
    def _check_replicas(self) -> Self:
        if self.share_ports:
            raise ValueError("there is one network service: two would undo each other's work")
        return self
