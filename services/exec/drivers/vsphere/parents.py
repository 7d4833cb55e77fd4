"""Parents: frozen VMs that container VMs are cloned from, one for each host and size.

A parent is booted once, its guest does all that containers have in common, and freezes itself
(``instantclone.freeze``); each clone goes on at the next line. A clone runs on its parent's host,
so every host that may get containers has one. Until a host's is frozen, its containers are booted.
Source: InstantClone_Task in the vSphere Web Services API reference, 6.7.
"""

import asyncio
import hashlib
import logging

from pyVmomi import vim

from portlayer.errors import VicError
from portlayer.neighbours import Neighbours
from portlayer.vsphere.identity import PREFIX, VERSION, option_values
from portlayer.vsphere.session import VCenter
from services.exec.drivers.shapes import ShapeClass
from services.exec.drivers.vsphere.found import OFF, PARENT, Found
from services.exec.drivers.vsphere.hardware import bare_spec
from services.exec.drivers.vsphere.inventory import Inventory
from services.exec.drivers.vsphere.place import Place, find_place
from services.exec.drivers.vsphere.placement import Host, usable_hosts
from services.exec.drivers.vsphere.settings import PlaceSettings

log = logging.getLogger("vic.exec.vsphere.parents")

# A parent for every size would hold memory that nobody uses: the commonest sizes have one.
MOST_SIZES = 4
# What replicas take turns at, by its name.
MAKING = "vSphere's parents"


class Parents:
    """Knows the parents that are frozen, and makes those that are missing, in the background."""

    def __init__(
        self,
        vcenter: VCenter,
        inventory: Inventory,
        place: PlaceSettings,
        instance_id: str,
        neighbours: Neighbours,
    ) -> None:
        """Replicas, whom ``neighbours`` tell of one another, make and remove one at a time."""
        self._neighbours = neighbours
        self._vcenter = vcenter
        self._inventory = inventory
        self._place = place
        self._instance_id = instance_id
        self._sizes: dict[ShapeClass, str] = {}
        self._making: asyncio.Task[None] | None = None
        # Of parents that could not be made or cloned: nobody tries them again in this process.
        self._failed: set[str] = set()

    async def close(self) -> None:
        """Give up what is being made."""
        if self._making is not None:
            self._making.cancel()
            await asyncio.wait([self._making])

    async def take(self, shape: ShapeClass) -> Found | None:
        """Return a frozen parent of a size, on the host with the most free memory; None: boot."""
        if shape not in self._sizes and len(self._sizes) >= MOST_SIZES:
            return None
        self._sizes.setdefault(shape, self._key(shape))
        known = self._of(shape)

        def look(content: vim.ServiceInstanceContent) -> tuple[list[Host], list[Found]]:
            cluster = find_place(content, self._place).cluster
            return usable_hosts(content, cluster), self._inventory.look_again(content, known)

        hosts, parents = await self._vcenter.call(look, repeatable=True)
        frozen = {p.host: p for p in parents if p.frozen and p.power != OFF}
        if any(host.moid not in frozen for host in hosts):
            self._make_missing()
        return next((frozen[host.moid] for host in hosts if host.moid in frozen), None)

    def prepare(self, shape: ShapeClass) -> None:
        """Have parents of a size made."""
        self._sizes.setdefault(shape, self._key(shape))
        self._make_missing()

    async def fail(self, parent: Found) -> None:
        """Take a parent away that could not be cloned; its host's containers are booted."""
        self._failed.add(self._name(parent.options[PARENT], parent.host))
        await self._remove(parent)

    def _key(self, shape: ShapeClass) -> str:
        """Return what parents and clones have in common: the medium and the size."""
        return f"{self._medium()}{shape.memory_mib}m-{shape.vcpus}c"

    def _medium(self) -> str:
        return hashlib.sha256(self._place.bootstrap.encode()).hexdigest()[:8] + "-"

    def _name(self, key: str, host: str) -> str:
        return f"vic-{self._instance_id}-parent-{key}-{host}"

    def _of(self, shape: ShapeClass) -> list[Found]:
        key = self._sizes[shape]
        return [
            parent
            for parent in self._inventory.parents()
            if parent.options[PARENT] == key and self._name(key, parent.host) not in self._failed
        ]

    def _make_missing(self) -> None:
        if self._making is None or self._making.done():
            self._making = asyncio.create_task(self._make_all(), name="vSphere's parents")

    async def _make_all(self) -> None:
        """Make what is missing of each size, and remove what is of no use any more."""
        try:
            async with self._neighbours.turn(MAKING):
                for parent in self._inventory.parents():
                    if parent.power == OFF or not self._is_of_use(parent.options[PARENT]):
                        await self._remove(parent)
                for shape in list(self._sizes):
                    await self._make_of(shape)
        except VicError as error:
            log.warning("parents can't be made; containers are booted: %s", error.message)

    def _is_of_use(self, key: str) -> bool:
        """Tell whether containers may be cloned from parents of a key, here or elsewhere.

        Which sizes other replicas were asked for isn't known, but all have the same medium.
        """
        if self._neighbours.alone:
            return key in self._sizes.values()
        return key.startswith(self._medium())

    async def _make_of(self, shape: ShapeClass) -> None:
        hosts = await self._vcenter.call(
            lambda content: usable_hosts(content, find_place(content, self._place).cluster),
            repeatable=True,
        )
        there = {p.host for p in self._inventory.parents() if p.power != OFF}
        there = {p.host for p in self._of(shape)} & there
        for host in hosts:
            name = self._name(self._sizes[shape], host.moid)
            if host.moid in there or name in self._failed:
                continue
            try:
                await self._make(shape, host, name)
            except VicError as error:
                self._failed.add(name)
                log.warning("no parent on %s: %s", host.name, error.message)

    async def _make(self, shape: ShapeClass, host: Host, name: str) -> None:
        if await self._inventory.named(name) is not None:
            return  # Another replica makes it, or its update is on its way.

        def start(content: vim.ServiceInstanceContent) -> vim.Task:
            place: Place = find_place(content, self._place)
            spec = bare_spec(name, shape, place)
            spec.extraConfig = option_values(
                {
                    PREFIX + "version": VERSION,
                    PREFIX + "instance": self._instance_id,
                    PARENT: self._sizes[shape],
                }
            )
            task: vim.Task = place.folder.CreateVM_Task(spec, place.pool, host.host)
            return task

        vm: vim.VirtualMachine = await self._vcenter.finish(start)
        await self._vcenter.finish(lambda _: vm.PowerOnVM_Task())
        log.info("a parent of %d MiB boots on %s", shape.memory_mib, host.name)

    async def _remove(self, parent: Found) -> None:
        try:
            if parent.power != OFF:
                await self._vcenter.finish(lambda _: parent.vm.PowerOffVM_Task())
            await self._vcenter.finish(lambda _: parent.vm.Destroy_Task())
        except VicError as error:
            log.warning("%s can't be removed: %s", parent.name, error.message)
