"""What the exec service needs to know of a vCenter."""

from pydantic import BaseModel, ConfigDict, Field

from portlayer.vsphere.settings import VCenterSettings


class PlaceSettings(BaseModel):
    """Inventory paths, ``/DATACENTER/vm/FOLDER`` and alike, and a datastore's name."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    folder: str = Field(pattern=r"^(/[^/]+)+/vm(/[^/]+)*$")
    resource_pool: str = Field(pattern=r"^(/[^/]+)+/host/[^/]+.*$")
    datastore: str = Field(min_length=1)
    bootstrap: str = Field(
        pattern=r"^\[[^\]]+\] \S.*$",
        description="What container VMs boot from: an ISO image on a datastore, [NAME] PATH.",
    )
    instant_clone: bool = Field(
        default=True,
        description="Keep a frozen VM on each host, and clone containers' VMs of it.",
    )
    anti_affinity: bool = Field(
        default=False,
        description="Have DRS keep the container VMs on different hosts, where it can.",
    )
    host_group: str = Field(
        default="",
        description="DRS host group on which container VMs should run; empty for any host.",
    )


class VsphereSettings(VCenterSettings, PlaceSettings):
    """The section ``vsphere`` of the settings, as exec reads it."""
