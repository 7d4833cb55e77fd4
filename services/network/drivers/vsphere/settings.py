"""What the network service needs to know of a vCenter."""

import re

from pydantic import Field, field_validator

from portlayer.vsphere.settings import VCenterSettings

_RANGE = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?")
# 802.1Q: 0 is no VLAN at all, 4095 is reserved.
LAST_VLAN = 4094


class VsphereSettings(VCenterSettings):
    """The section ``vsphere`` of the settings, as network reads it."""

    folder: str = Field(description="Inventory path of the folder of the container VMs.")
    management_network: str = Field(
        min_length=1, description="Port group in which tethers reach interaction."
    )
    bridge_networks: tuple[str, ...] = Field(
        default=(),
        description="Port groups given for bridge networks: the first for the default one, the "
        "others for those that are created, in this order.",
    )
    switch: str = Field(
        default="",
        description="Inventory path of the distributed switch on which port groups are made for "
        "bridge networks that have none given.",
    )
    vlans: str = Field(default="", description="VLANs for those port groups, such as 100-199.")

    @field_validator("vlans")
    @classmethod
    def _is_range(cls, text: str) -> str:
        if text:
            parse_vlans(text)
        return text


def parse_vlans(text: str) -> range:
    """Return VLAN IDs of "100-199". Raises ValueError."""
    found = _RANGE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no range of VLANs: write it as 100-199")
    first = int(found[1])
    last = int(found[2] or first)
    if not 1 <= first <= last <= LAST_VLAN:
        raise ValueError(f"{text!r} is no range of VLANs from 1 to {LAST_VLAN}")
    return range(first, last + 1)
