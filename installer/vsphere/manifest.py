"""The files that tell of VCHs, one for each, beside their images: ``vic/vchs/ID.json``.

By them `vic ls` finds the VCHs of a vCenter, and `vic delete` what another VCH still uses. They
name no secret.
"""

import asyncio
import json
from contextlib import suppress
from dataclasses import asdict, dataclass

from pyVmomi import vim

from installer.vsphere.wishes import Store
from portlayer.errors import FailedPrecondition, NotFound
from portlayer.vsphere import datastore
from portlayer.vsphere.lookup import path_of
from portlayer.vsphere.properties import read_below
from portlayer.vsphere.session import VCenter

DIRECTORY = "vic/vchs"
VERSION = 1


@dataclass(frozen=True)
class Manifest:
    """A VCH as its image store tells of it."""

    id: str
    name: str
    pool: str
    folder: str
    bootstrap: str
    """Datastore path of what its VMs boot from."""
    version: int = VERSION


async def write(vcenter: VCenter, datacenter: str, store: Store, manifest: Manifest) -> None:
    """Put a VCH's file into its image store."""
    content = json.dumps(asdict(manifest), indent=2).encode() + b"\n"
    await datastore.make_directory(vcenter, datacenter, store.below(DIRECTORY))
    path = store.below(DIRECTORY, f"{manifest.id}.json")
    await datastore.put(vcenter, datacenter, path, len(content), [content])


async def remove(vcenter: VCenter, datacenter: str, store: Store, vch_id: str) -> None:
    """Remove a VCH's file. Idempotent."""
    await datastore.delete(vcenter, datacenter, store.below(DIRECTORY, f"{vch_id}.json"))


async def of_store(vcenter: VCenter, datacenter: str, store: Store) -> list[Manifest]:
    """Return the VCHs of an image store."""
    directory = store.below(DIRECTORY)
    names = await datastore.list_files(vcenter, datacenter, directory)
    paths = [f"{directory}/{name}" for name in sorted(names) if name.endswith(".json")]
    texts = await asyncio.gather(*(datastore.get(vcenter, datacenter, path) for path in paths))
    return [found for text in texts if (found := _parse(text)) is not None]


async def of_vcenter(vcenter: VCenter) -> list[tuple[str, Manifest]]:
    """Return all VCHs whose image store is the root of a datastore, with their datacenters."""

    def look(content: vim.ServiceInstanceContent) -> list[tuple[str, str]]:
        found = []
        centers = read_below(content, content.rootFolder, vim.Datacenter, ["name"])
        for center, _ in centers:
            path = path_of(content, center)
            stores = read_below(content, center, vim.Datastore, ["name"])
            found += [(path, entry["name"]) for _, entry in stores]
        return found

    listed = []
    for datacenter, name in await vcenter.call(look, repeatable=True):
        try:
            there = await of_store(vcenter, datacenter, Store(name))
        except (NotFound, FailedPrecondition):
            continue  # One that can't be reached holds nothing that could be told.
        listed += [(datacenter, manifest) for manifest in there]
    return listed


async def of_others(vcenter: VCenter, datacenter: str, store: Store, vch_id: str) -> dict[str, str]:
    """Return the pools and folders of other VCHs, by path, with whose they are.

    Those are known whose image store is this one, or the root of a datastore that can be read.
    """
    found: list[Manifest] = []
    with suppress(NotFound, FailedPrecondition):
        found += await of_store(vcenter, datacenter, store)
    found += [entry for _, entry in await of_vcenter(vcenter)]
    return {path: one.id for one in found if one.id != vch_id for path in (one.pool, one.folder)}


def _parse(text: bytes | None) -> Manifest | None:
    try:
        fields = json.loads(text or b"")
        return Manifest(**{name: fields[name] for name in Manifest.__dataclass_fields__})
    except (ValueError, KeyError, TypeError):
        return None
