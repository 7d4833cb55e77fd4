"""What the record of a VCH on a vCenter holds, and whether it was made by the same words."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from installer.container_networks import recorded
from installer.instance import Instance
from installer.vsphere.plan import Plan
from installer.vsphere.wishes import VchLimits, VchWishes
from portlayer.vsphere.target import Target

# What of a record each option has said. Who logs in, how the vCenter is known and what VMs boot
# from may change: a password does, and a new version of ours has another medium.
_SAID = {
    "--target": ("host", "port"),
    "--compute-resource": ("resource_pool",),
    "--image-store": ("image_store",),
    "--volume-store": ("volume_stores",),
    "--anti-affinity": ("anti_affinity",),
    "--host-group": ("host_group",),
    "--management-network": ("management_network",),
    "--bridge-network": ("bridge_networks",),
    "--switch": ("switch",),
    "--vlans": ("vlans",),
    "--public-network": ("public_network",),
    "--client-network": ("client_network",),
    "--container-network": ("container_networks",),
}
_LIMITS = {"--containers": "containers", "--memory": "memory_bytes", "--cpu": "cpus"}
# Where it isn't deleting.
_ADVICE = {
    **dict.fromkeys(_LIMITS, "`vic configure` changes it"),
    "--container-network": "`vic network external` changes it when the VCH is up",
}


def changed(known: Instance, wishes: VchWishes, plan: Plan) -> list[str]:
    """Return what a VCH that is made already was made with, where it is wished for otherwise.

    An interrupted create is repeated in its own words: others would change the record, and leave
    pool and networks as they are.
    """
    former = dict(known.options.vsphere)
    # As a record has it: with lists in place of tuples.
    wished = json.loads(json.dumps(section(wishes, plan, "", known.data_dir)))
    if plan.parent is None:
        wished["resource_pool"] = former["resource_pool"]
    # A record of an earlier version doesn't have them.
    former.setdefault("container_networks", wished["container_networks"])
    changed = [
        option
        for option, names in _SAID.items()
        if any(wished[name] != former.get(name) for name in names)
    ]
    limits, asked = dict(known.options.limits), given(wishes.limits)
    changed += [option for option, name in _LIMITS.items() if asked.get(name) != limits.get(name)]
    return [
        f"{option}: VCH {wishes.name} is made already, with another value; "
        + _ADVICE.get(option, "`vic delete` it first")
        for option in changed
    ]


def section(wishes: VchWishes, plan: Plan, boot: str, data_dir: Path) -> dict[str, Any]:
    """Return what the facets and later `vic` commands are told of the vCenter."""
    target = wishes.target
    return {
        "host": target.host,
        "port": target.port,
        "user": target.user,
        **_credentials(data_dir, target),
        "thumbprint": target.thumbprint,
        "ca_file": None if target.ca_file is None else str(target.ca_file.absolute()),
        "datacenter": plan.datacenter_path,
        "folder": f"{plan.datacenter_path}/vm/{wishes.name}",
        "resource_pool": f"{plan.parent_path}/{wishes.name}",
        "datastore": wishes.image_store.datastore,
        "bootstrap": boot,
        "image_store": asdict(wishes.image_store),
        "volume_stores": {name: asdict(store) for name, store in wishes.volume_stores.items()},
        "anti_affinity": wishes.anti_affinity,
        "host_group": wishes.host_group,
        "management_network": wishes.management_network,
        "bridge_networks": list(wishes.bridge_networks),
        "switch": wishes.switch,
        "vlans": wishes.vlans,
        "public_network": wishes.public_network,
        "client_network": wishes.client_network,
        # All that were asked for; the record's own list has those that aren't mapped yet.
        "container_networks": list(recorded(wishes.container_networks)),
    }


def given(limits: VchLimits) -> dict[str, int]:
    return {name: value for name, value in asdict(limits).items() if value}


def _credentials(data_dir: Path, target: Target) -> dict[str, str | None]:
    """Return where the services find what they show to vCenter."""
    name = "password" if target.certificate_file is None else "certificate"
    return {
        "password_file": None,
        "certificate_file": None,
        f"{name}_file": str(data_dir / "vcenter" / name),
    }
