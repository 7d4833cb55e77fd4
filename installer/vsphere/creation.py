"""`vic create` on vSphere: pool, folder, port group, boot medium, and the record of them all.

Interrupted at any point it can be repeated, or undone by `vic delete`: the record is written before
anything is made.
"""

import asyncio
import hashlib
import os
import shutil
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from pyVmomi import vim

from installer.checks import require_root
from installer.container_networks import recorded
from installer.control import ask
from installer.errors import InstallerError, PreconditionError
from installer.instance import (
    Instance,
    check_data_dir,
    default_options,
    load_instance,
    new_instance_id,
    save_instance,
    write_file,
)
from installer.restart import ALL_SECONDS
from installer.up import is_running, lock_data_dir
from installer.vsphere import manifest
from installer.vsphere.plan import NO_SPEED, Plan, make_plan
from installer.vsphere.record import changed, given, section
from installer.vsphere.session import with_vcenter
from installer.vsphere.wishes import Store, VchLimits, VchWishes
from portlayer.errors import AlreadyExists, InvalidArgument, Unavailable, VicError
from portlayer.vsphere import datastore
from portlayer.vsphere.lookup import find, find_child
from portlayer.vsphere.session import VCenter
from portlayer.vsphere.target import Target
from services.exec.drivers.shapes import MIB
from services.network.drivers.vsphere.portgroups import Portgroups, Wanted, mark, own_name
from services.network.drivers.vsphere.settings import parse_vlans

T = TypeVar("T")
Say = Callable[[str], None]

DEFAULT_NETWORK = 0
"""Ordinal of the bridge network that is always there."""


def create(
    wishes: VchWishes, data_dir: Path, provide_medium: Callable[[], Path], say: Say
) -> Instance:
    """Make a VCH, and return its instance, which `vic up` starts.

    One that is made already, and up, has its services restarted: they take up what has changed.
    ``provide_medium`` returns the ISO image that its VMs boot from, and is called when nothing
    else is wrong: making one takes its time. Raises PreconditionError, which lists all that is
    wrong, before anything is changed; InstallerError where vCenter then refuses, and what was made
    is removed again.
    """
    require_root("create")
    check_server(wishes.target)
    check_credentials(wishes.target)
    data_dir = check_data_dir(data_dir)
    fresh = not data_dir.exists()
    try:
        with lock_data_dir(data_dir):
            known = _known(data_dir, wishes)
            work = partial(_create, wishes, data_dir, provide_medium, known, say)
            instance = with_vcenter(wishes.target, work)
            if known is not None and is_running(known):
                say("it is up; restarting the services with what has changed")
                ask(instance.control_socket, "restart", ALL_SECONDS, role=None)
            return instance
    except BaseException:
        if fresh and load_instance(data_dir) is None:
            shutil.rmtree(data_dir, ignore_errors=True)
        raise


def problems_there(wishes: VchWishes, data_dir: Path) -> list[str]:
    """Return all that is wrong with wishes on their vCenter. Raises InstallerError."""
    known = load_instance(data_dir) is not None
    look = partial(make_plan, wishes=wishes, known=known)
    plan = with_vcenter(wishes.target, lambda vcenter: vcenter.call(look, repeatable=True))
    return plan.problems


def check_server(target: Target) -> None:
    """Raise PreconditionError where no server could be believed, whatever vCenter says."""
    _usable(target.tls)


def check_credentials(target: Target) -> None:
    """Raise PreconditionError where there is nothing to be shown to vCenter."""
    if target.certificate_file is None:
        _usable(target.password)
    else:
        _usable(partial(target.tls, client=True))


def _usable(use: Callable[[], object]) -> None:
    try:
        use()
    except InvalidArgument as error:
        raise PreconditionError(error.message) from error


def _known(data_dir: Path, wishes: VchWishes) -> Instance | None:
    """Return the record of an earlier create of the same VCH."""
    known = load_instance(data_dir)
    if known is None:
        return None
    if known.options.driver != "vsphere" or known.options.name != wishes.name:
        raise PreconditionError(
            f"{data_dir} holds another instance ({known.options.name or known.id}); give a "
            "directory of its own by --data-dir"
        )
    return known


async def _create(
    wishes: VchWishes,
    data_dir: Path,
    provide_medium: Callable[[], Path],
    known: Instance | None,
    say: Say,
    vcenter: VCenter,
) -> Instance:
    look = partial(make_plan, wishes=wishes, known=known is not None)
    plan = await vcenter.call(look, repeatable=True)
    problems = list(plan.problems)
    if known is not None:
        problems += changed(known, wishes, plan)
        problems += await _lost(vcenter, known)
    if problems:
        raise PreconditionError("\n".join(problems))
    medium = await asyncio.to_thread(provide_medium)
    instance_id = known.id if known else new_instance_id()
    digest = await vcenter.call(lambda _: _digest(medium))
    boot = wishes.image_store.below("vic/bootstrap", f"{digest[:16]}.iso")
    former = known.options if known else default_options(data_dir)
    networks = former.container_networks if known else recorded(wishes.container_networks)
    options = replace(
        former,
        driver="vsphere",
        name=wishes.name,
        limits=given(wishes.limits),
        container_networks=networks,
        vsphere=section(wishes, plan, boot, data_dir),
    )
    instance = Instance(data_dir, instance_id, known.slot if known else 0, options)
    async with AsyncExitStack() as undo:
        making = _Making(vcenter, undo)
        if known is None:
            undo.callback(_forget, data_dir, making, say)
        _write_credentials(data_dir, wishes.target)
        save_instance(instance)
        again = known is not None
        await _make_pool(making, plan, wishes, again=again)
        say(f"resource pool {plan.parent_path}/{wishes.name}")
        await _make_folder(making, plan, wishes, again=again)
        say(f"folder {plan.datacenter_path}/vm/{wishes.name}")
        await _make_port_group(vcenter, plan, wishes, instance_id, making, say)
        await _put_medium(vcenter, plan, wishes, boot, medium)
        say(f"boot medium {boot}")
        told = manifest.Manifest(
            id=instance_id,
            name=wishes.name,
            pool=f"{plan.parent_path}/{wishes.name}",
            folder=f"{plan.datacenter_path}/vm/{wishes.name}",
            bootstrap=boot,
        )
        await manifest.write(vcenter, plan.datacenter_path, wishes.image_store, told)
        undo.pop_all()
    return instance


class _Making:
    """What a create has made, may have made, and could not take back."""

    def __init__(self, vcenter: VCenter, undo: AsyncExitStack) -> None:
        self.vcenter = vcenter
        self.doubtful: set[str] = set()
        """What may be there for all that we know."""
        self._undo = undo

    async def make(self, what: str, call: Callable[[vim.ServiceInstanceContent], T]) -> T:
        """Ask vCenter to make something. Whose answer doesn't come may be made all the same."""
        self.doubtful.add(what)
        try:
            made = await self.vcenter.call(call)
        except Unavailable:
            raise
        except VicError:
            self.doubtful.discard(what)
            raise
        self.doubtful.discard(what)
        return made

    def take_back(self, what: str, removal: Callable[[], Awaitable[object]]) -> None:
        """Have something removed should the create fail."""

        async def remove() -> None:
            self.doubtful.add(what)
            await removal()
            self.doubtful.discard(what)

        self._undo.push_async_callback(remove)


def _forget(data_dir: Path, making: _Making, say: Say) -> None:
    """Remove the record of a create that failed, unless that is all that tells of what is left."""
    if making.doubtful:
        left = ", ".join(sorted(making.doubtful))
        say(f"may be there still: {left}; `vic delete --data-dir {data_dir}` removes it")
        return
    shutil.rmtree(data_dir, ignore_errors=True)


async def _lost(vcenter: VCenter, known: Instance) -> list[str]:
    """Return what another VCH has made under the same name, when that of an earlier create was not
    there, or not any more."""
    told = known.options.vsphere
    store = Store(**told["image_store"])
    others = await manifest.of_others(vcenter, told["datacenter"], store, known.id)
    return [
        f"--name: {path} is VCH {others[path]}'s; `vic delete` this one, and choose another name"
        for path in (told["resource_pool"], told["folder"])
        if path in others
    ]


async def _make_pool(making: _Making, plan: Plan, wishes: VchWishes, *, again: bool) -> None:
    """Make the pool; that of an earlier create is there ``again``, and no one else's is taken."""
    spec = pool_spec(wishes.limits, plan.cpu_mhz)

    def make(content: vim.ServiceInstanceContent) -> vim.ResourcePool | None:
        assert plan.parent is not None
        there = find_child(content, plan.parent, wishes.name) if again else None
        if isinstance(there, vim.ResourcePool):
            return None
        return plan.parent.CreateResourcePool(wishes.name, spec)

    what = f"resource pool {plan.parent_path}/{wishes.name}"
    pool = await making.make(what, make)
    if pool is not None:
        making.take_back(what, lambda: making.vcenter.finish(lambda _: pool.Destroy_Task()))


def pool_spec(limits: VchLimits, cpu_mhz: int) -> vim.ResourceConfigSpec:
    """Return a pool's limits; it takes what it needs of its parent, within that one's.

    Raises PreconditionError for a limit of CPUs whose speed nobody tells: in MHz it would be none.
    """
    if limits.cpus and not cpu_mhz:
        raise PreconditionError(NO_SPEED)
    return vim.ResourceConfigSpec(
        cpuAllocation=_allocation(limits.cpus * cpu_mhz or -1),
        # Rounded up: what is less than a MiB is no word for without limit.
        memoryAllocation=_allocation(-(-limits.memory_bytes // MIB) or -1),
    )


def _allocation(limit: int) -> vim.ResourceAllocationInfo:
    return vim.ResourceAllocationInfo(
        reservation=0,
        expandableReservation=True,
        limit=limit,
        shares=vim.SharesInfo(level=vim.SharesInfo.Level.normal, shares=0),
    )


async def _make_folder(making: _Making, plan: Plan, wishes: VchWishes, *, again: bool) -> None:
    def make(content: vim.ServiceInstanceContent) -> vim.Folder | None:
        parent = find(content, f"{plan.datacenter_path}/vm")
        assert isinstance(parent, vim.Folder), "every datacenter has one"
        if again and find_child(content, parent, wishes.name) is not None:
            return None
        return parent.CreateFolder(wishes.name)

    what = f"folder {plan.datacenter_path}/vm/{wishes.name}"
    folder = await making.make(what, make)
    if folder is not None:
        making.take_back(what, lambda: making.vcenter.finish(lambda _: folder.Destroy_Task()))


async def _make_port_group(
    vcenter: VCenter,
    plan: Plan,
    wishes: VchWishes,
    instance_id: str,
    making: _Making,
    say: Say,
) -> None:
    """Make the default bridge network's port group, where none was given."""
    if wishes.bridge_networks:
        return
    groups = Portgroups(
        vcenter, f"{plan.datacenter_path}/vm", wishes.switch, parse_vlans(wishes.vlans)
    )
    name = own_name(instance_id, DEFAULT_NETWORK)
    if not any(group.name == name for group in await groups.of_switch()):
        what = f"port group {name}"
        making.take_back(what, lambda: groups.remove(name, mark(instance_id)))
    await groups.ensure([Wanted(name, mark(instance_id))])
    say(f"port group {name}")


async def _put_medium(
    vcenter: VCenter, plan: Plan, wishes: VchWishes, boot: str, medium: Path
) -> None:
    """Put the boot medium on the datastore once: under a name of its content, in one step."""
    datacenter = plan.datacenter_path
    if await datastore.file_exists(vcenter, datacenter, boot):
        return
    await datastore.make_directory(vcenter, datacenter, wishes.image_store.below("vic/bootstrap"))
    part = f"{boot}.{new_instance_id()}.part"
    try:
        size = await vcenter.call(lambda _: medium.stat().st_size)
        await datastore.put(vcenter, datacenter, part, size, _chunks(medium))
        await datastore.move(vcenter, datacenter, part, boot)
    except AlreadyExists:
        # Another VCH has put the same there meanwhile.
        await datastore.delete(vcenter, datacenter, part)
    except VicError as error:
        await datastore.delete(vcenter, datacenter, part)
        raise InstallerError(f"the boot medium can't be put there: {error.message}") from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(datastore.CHUNK):
            yield chunk


def _write_credentials(data_dir: Path, target: Target) -> None:
    """Keep what is shown to vCenter where the services can read it.

    `vic up` gives the directory to their group, which what is written there later has too.
    """
    if target.certificate_file is None:
        name, secret = "password", target.password().encode() + b"\n"
    else:
        name, secret = "certificate", target.certificate_file.read_bytes()
    directory = data_dir / "vcenter"
    directory.mkdir(mode=0o750, exist_ok=True)
    owner = (os.geteuid(), directory.stat().st_gid)
    write_file(directory / name, secret, mode=0o640, owner=owner)
