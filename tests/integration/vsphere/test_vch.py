"""The life of a VCH on a vCenter, by the `vic` command."""

import asyncio
import itertools
import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pyVmomi import vim
from vic.exec.v1 import exec_pb2

from installer.__main__ import main
from installer.instance import Instance, load_instance
from installer.vsphere.creation import DEFAULT_NETWORK
from installer.vsphere.verbs import inspect, set_pool_limits
from portlayer.errors import Unavailable
from portlayer.vsphere import datastore
from portlayer.vsphere.lookup import find
from portlayer.vsphere.properties import read_below
from portlayer.vsphere.session import VCenter
from services.exec.drivers.vsphere.settings import VsphereSettings
from services.network.drivers.vsphere.portgroups import own_name
from tests.integration.vsphere.hypervisor import PLACE, ended, machine, new_driver, start
from tests.integration.vsphere.others import find_vm, plug, put_bootstrap, unplug, until
from tests.integration.vsphere.service import exec_service
from tests.integration.vsphere.test_exec_service import (
    SEEN_WITHIN,
    apart,
    delete,
    dies,
    migrate,
    run,
    state,
)
from tests.integration.vsphere.vch import CLUSTER, inventory, on, place, target
from tests.vcenter import PASSWORD, Simulator, simulator

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="vic create needs root")


@pytest.fixture(scope="module")
def own() -> Iterator[Simulator]:
    """A vCenter with VMs of others."""
    with simulator("-machines", "2") as running:
        yield running


async def pool_of_one(vcenter: VCenter) -> tuple[vim.ResourcePool, Any]:
    """Return the VCH's pool, and what it is told."""
    found = await vcenter.call(
        lambda content: read_below(
            content, content.rootFolder, vim.ResourcePool, ["name", "config"]
        )
    )
    return next((pool, told["config"]) for pool, told in found if told["name"] == "one")


async def prefer_pool(vcenter: VCenter) -> None:
    """Give the VCH's pool high shares of CPUs and a reservation of memory, as others may."""
    pool, config = await pool_of_one(vcenter)
    config.cpuAllocation.shares.level = vim.SharesInfo.Level.high
    config.memoryAllocation.reservation = 512
    await vcenter.call(lambda _: pool.UpdateConfig(name=None, config=config))


async def pool_preferences(vcenter: VCenter) -> tuple[str, int]:
    """Return the level of its shares of CPUs, and its reservation of memory in MiB."""
    _, config = await pool_of_one(vcenter)
    return config.cpuAllocation.shares.level, config.memoryAllocation.reservation


def test_a_vch_is_made_and_removed_and_the_inventory_is_as_before(
    own: Simulator,
    medium: Path,
    short_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on(own, put_bootstrap)
    before = inventory(own)
    data = ["--data-dir", str(short_path / "one")]
    limits = ["--memory", "8g", "--cpu", "4", "--containers", "10"]
    made = [*target(own), *place(), *limits, "--bootstrap-iso", str(medium)]
    assert main(["create", "--name", "one", *data, *made]) == 0
    instance = load_instance(short_path / "one")
    assert instance is not None
    said = capsys.readouterr()
    assert f"vic up --data-dir {short_path}/one" in said.out
    # It is idempotent: what an interrupted one has made is taken up.
    assert main(["create", "--name", "one", *data, *made]) == 0
    capsys.readouterr()
    # In other words it would change the record, and leave the pool as it is.
    others = [*made, "--memory", "4g", "--anti-affinity", "--vlans", "200-209"]
    record = (short_path / "one/instance.json").read_bytes()
    assert main(["create", "--name", "one", *data, *others]) == 1
    error = capsys.readouterr().err
    for option, advice in (
        ("--memory", "`vic configure` changes it"),
        ("--anti-affinity", "`vic delete` it first"),
        ("--vlans", "`vic delete` it first"),
    ):
        assert f"{option}: VCH one is made already, with another value; {advice}" in error
    assert len(error.strip().splitlines()) == 3
    assert (short_path / "one/instance.json").read_bytes() == record
    # The settings are what the facets read.
    section = VsphereSettings.model_validate(dict(instance.options.vsphere))
    assert section.folder == "/DC0/vm/one"
    assert dict(instance.options.limits) == {
        "containers": 10,
        "memory_bytes": 8 << 30,
        "cpus": 4,
    }

    # A nested one, with the same medium and a port group that was given.
    other = ["--data-dir", str(short_path / "two")]
    nested = place(
        **{
            "--compute-resource": f"{CLUSTER}/Resources/one",
            "--switch": "",
            "--vlans": "",
            "--bridge-network": "DC0_DVPG1",
        }
    )
    iso = ["--bootstrap-iso", str(medium)]
    assert main(["create", "--name", "two", *other, *target(own), *nested, *iso]) == 0

    capsys.readouterr()
    assert main(["ls", *target(own)]) == 0
    listed = capsys.readouterr().out
    assert f"{CLUSTER}/Resources/one/two" in listed
    assert instance.id in listed
    assert main(["inspect", *data]) == 0
    told = capsys.readouterr().out
    assert PASSWORD not in told
    assert json.loads(told)["vsphere"]["pool_state"] == {
        "there": True,
        "memory_limit_bytes": 8 << 30,
        "cpu_limit_mhz": 4 * 2294,
    }

    # What `vic configure` changes of the pool; what it isn't asked for stays, and what an
    # administrator has said of shares and reservations.
    on(own, prefer_pool)
    set_pool_limits(instance, exec_pb2.ConfigureRequest(memory_bytes=6 << 30))
    set_pool_limits(instance, exec_pb2.ConfigureRequest(cpus=0, containers=9))
    assert inspect(instance)["pool_state"] == {
        "there": True,
        "memory_limit_bytes": 6 << 30,
        "cpu_limit_mhz": 0,
    }
    assert on(own, pool_preferences) == ("high", 512)

    # A container and its parents, DRS rules, and somebody else's VM in our folder and port group.
    port_group = own_name(instance.id, DEFAULT_NETWORK)
    containers: list[str] = []

    async def use(vcenter: VCenter) -> None:
        section = {**instance.options.vsphere, "anti_affinity": True}
        async with exec_service(own, instance.id, **section) as service:
            first = await run(service, "first")
            third = await run(service, "third")
            containers.extend((first, await run(service, "second"), third))

            async def all_apart() -> bool:
                return await apart(service) == {"first", "second", "third"}

            await until(vcenter, all_apart)

            async def power_off(vm: vim.VirtualMachine) -> None:
                await vcenter.finish(lambda _: vm.PowerOffVM_Task())

            assert await dies(service, first, power_off) < SEEN_WITHIN
            await service.exec.Start(exec_pb2.StartRequest(reference=first))
            stood = await asyncio.to_thread(where, instance, "first")
            await migrate(service, first)
            begun = time.monotonic()
            assert await asyncio.to_thread(where, instance, "first") not in ("", stood)
            assert time.monotonic() - begun < SEEN_WITHIN

            async def removal(vm: vim.VirtualMachine) -> None:
                await delete(service, vm)

            assert await dies(service, third, removal) < SEEN_WITHIN
            await service.exec.Remove(exec_pb2.RemoveRequest(reference=third))
            assert await state(service, first) == "RUNNING"
        vm = await find_vm(vcenter, "DC0_C0_RP0_VM0")
        assert vm is not None

        def move(content: vim.ServiceInstanceContent) -> vim.Task:
            index = content.searchIndex
            assert index is not None
            folder = index.FindByInventoryPath("DC0/vm/one")
            assert isinstance(folder, vim.Folder)
            task: vim.Task = folder.MoveIntoFolder_Task([vm])
            return task

        await vcenter.finish(move)
        await plug(vcenter, vm, port_group)

    on(own, use)
    assert main(["delete", *data]) == 1
    assert "2 container VMs; --force" in capsys.readouterr().err

    # Interrupted in the middle, and by what isn't ours: it goes on.
    remove_files = datastore.delete

    async def refuse(*args: Any) -> None:
        raise Unavailable("the connection broke")

    monkeypatch.setattr(datastore, "delete", refuse)
    assert main(["delete", "--force", *data]) == 1
    monkeypatch.setattr(datastore, "delete", remove_files)
    assert main(["delete", "--force", *data]) == 1
    error = capsys.readouterr().err
    assert "folder /DC0/vm/one holds DC0_C0_RP0_VM0" in error
    assert f"port group {port_group} is in use by VM DC0_C0_RP0_VM0" in error
    assert f"resource pool {CLUSTER}/Resources/one holds two" in error
    # What isn't gone is still told of.
    assert main(["ls", *target(own)]) == 0
    assert instance.id in capsys.readouterr().out

    async def move_back(vcenter: VCenter) -> None:
        vm = await find_vm(vcenter, "DC0_C0_RP0_VM0")
        assert vm is not None
        await unplug(vcenter, vm)

        def move(content: vim.ServiceInstanceContent) -> vim.Task:
            index = content.searchIndex
            assert index is not None
            folder = index.FindByInventoryPath("DC0/vm")
            assert isinstance(folder, vim.Folder)
            task: vim.Task = folder.MoveIntoFolder_Task([vm])
            return task

        await vcenter.finish(move)

    on(own, move_back)
    assert main(["delete", *other]) == 0
    assert main(["delete", "--force", *data]) == 0

    # The containers' disks are storage's, which the test stands for.
    async def remove_disks(vcenter: VCenter) -> None:
        for container_id in containers:
            for suffix in (".vmdk", "-flat.vmdk"):
                path = f"[LocalDS_0] {container_id[:12]}{suffix}"
                await datastore.delete(vcenter, "/DC0", path)

    on(own, remove_disks)
    assert inventory(own) == before
    assert not (short_path / "one").exists()
    assert main(["delete", *data]) == 1
    assert "holds no instance" in capsys.readouterr().err


def where(instance: Instance, name: str) -> str:
    """Return the host of a container's VM as `vic inspect` shows it."""
    (found,) = [m for m in inspect(instance)["machines"] if m["name"].startswith(f"{name}-")]
    assert found["power"] == "poweredOn"
    return str(found["host"])


async def fill(vcenter: VCenter, simulated: Simulator, instance: Instance) -> None:
    """Give a VCH two container VMs that run, kept apart by a DRS rule."""
    section = instance.options.vsphere
    place = PLACE.model_copy(
        update={
            "folder": section["folder"],
            "resource_pool": section["resource_pool"],
            "anti_affinity": True,
        }
    )
    driver = new_driver(simulated, place, instance.id)
    await driver.open()
    port_group = own_name(instance.id, DEFAULT_NETWORK)
    for name in ("web", "db"):
        await start(driver, machine(port_group=port_group, name=name))

    async def kept_apart() -> bool:
        # By listening, as exec does, it sees that an update came late, if one did.
        await ended(driver)
        ((_, told),) = await vcenter.call(
            lambda content: read_below(
                content, content.rootFolder, vim.ClusterComputeResource, ["configurationEx"]
            )
        )
        rules = told["configurationEx"].rule or []
        return any(rule.name.startswith(f"vic-{instance.id}") for rule in rules)

    await until(vcenter, kept_apart)
    await driver.close()


DIED = 9


def delete_and_die(arguments: list[str], step: int) -> None:
    """Run a command in a process that ends after so many changes to the vCenter, as by SIGKILL."""
    finish, done = VCenter.finish, 0

    async def counted(self: VCenter, *args: Any, **kwargs: Any) -> Any:
        nonlocal done
        result = await finish(self, *args, **kwargs)
        done += 1
        if done == step:
            os._exit(DIED)
        return result

    VCenter.finish = counted  # type: ignore[method-assign]
    os._exit(main(arguments))


def test_what_another_vch_has_made_under_the_same_name_is_its_own(
    own: Simulator, medium: Path, short_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = inventory(own)
    options = ["--name", "same", *target(own), *place(), "--bootstrap-iso", str(medium)]
    first, second = (["--data-dir", str(short_path / name)] for name in ("first", "second"))
    assert main(["create", *first, *options]) == 0

    async def clear(vcenter: VCenter) -> None:
        for path in ("/DC0/vm/same", f"{CLUSTER}/Resources/same"):
            found: Any = await vcenter.call(lambda content, path=path: find(content, path))  # type: ignore[misc]
            await vcenter.finish(lambda _, found=found: found.Destroy_Task())  # type: ignore[misc]

    on(own, clear)
    assert main(["create", *second, *options]) == 0
    made = load_instance(short_path / "second")
    assert made is not None
    capsys.readouterr()
    assert main(["create", *first, *options]) == 1
    error = capsys.readouterr().err
    assert f"--name: /DC0/vm/same is VCH {made.id}'s; `vic delete` this one" in error
    assert len(error.splitlines()) == 2
    assert main(["delete", *first]) == 0
    assert f"/DC0/vm/same is VCH {made.id}'s by now, and stays" in capsys.readouterr().err
    assert main(["inspect", *second]) == 0
    told = json.loads(capsys.readouterr().out)["vsphere"]
    assert told["pool_state"]["there"]
    assert told["folder_there"]
    assert main(["delete", *second]) == 0
    assert inventory(own) == before


def test_what_is_in_folders_is_found_there(
    medium: Path, short_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with simulator("-folders") as filed:
        before = inventory(filed, "/F0/DC0")
        data = ["--data-dir", str(short_path / "filed"), "--bootstrap-iso", str(medium)]
        wrong = place(**{"--switch": "/F0/DC0/network/DVS0"})
        assert main(["create", "--name", "one", *data, *target(filed), *wrong]) == 1
        assert "there is /F0/DC0/network/F0/DVS0\n" in capsys.readouterr().err
        there = place(**{"--switch": "/F0/DC0/network/F0/DVS0"})
        assert main(["create", "--name", "one", *data, *target(filed), *there]) == 0
        assert main(["ls", *target(filed)]) == 0
        told = capsys.readouterr().out
        assert "  one   /F0/DC0/host/F0/DC0_C0/Resources/one  /F0/DC0/vm/one\n" in told
        assert main(["delete", *data[:2]]) == 0
        assert inventory(filed, "/F0/DC0") == before


def test_a_delete_that_is_killed_at_any_step_goes_on(
    own: Simulator, medium: Path, short_path: Path
) -> None:
    on(own, put_bootstrap)
    before = inventory(own)
    data = ["--data-dir", str(short_path / "vch")]
    made = [*target(own), *place(), "--bootstrap-iso", str(medium)]
    assert main(["create", "--name", "vch", *data, *made]) == 0
    instance = load_instance(short_path / "vch")
    assert instance is not None
    on(own, partial(fill, simulated=own, instance=instance))
    forked = multiprocessing.get_context("fork")
    # Each time it gets one step further than the last, whatever that has left.
    for step in itertools.count(1):
        delete = forked.Process(target=delete_and_die, args=(["delete", "--force", *data], step))
        delete.start()
        delete.join(timeout=120)
        if delete.exitcode != DIED:
            break
        assert (short_path / "vch/instance.json").exists()
    assert delete.exitcode == 0
    assert step > 3
    assert inventory(own) == before
    assert not (short_path / "vch").exists()
