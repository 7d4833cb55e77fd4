"""A whole exec service on a vCenter: what its callers see is what they see on QEMU."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from pyVmomi import vim
from vic.exec.v1 import container_pb2, exec_pb2

from portlayer.errors import FailedPrecondition, NotFound
from portlayer.identity import Role
from portlayer.vsphere import methods
from portlayer.vsphere.identity import CONFIG, options
from portlayer.vsphere.properties import read, read_below
from tests.integration.vsphere.others import until
from tests.integration.vsphere.service import Service, exec_service
from tests.vcenter import Simulator, simulator
from tether.guestconfig import FrameReader
from tether.guestparse import parse_body

SECONDS = 60.0
# What happens behind our back vCenter's stream tells, in a quarter of a second here; a comparison,
# which would find most of it as well, comes each minute. A busy machine takes its time.
SEEN_WITHIN = 20.0


@pytest.fixture(scope="module")
def own() -> Any:
    """A vCenter of this module's own: it is looked at as a whole."""
    with simulator() as running:
        yield running


@pytest.fixture
async def service(own: Simulator) -> AsyncIterator[Service]:
    """exec, whose VMs are kept apart."""
    async with exec_service(own, anti_affinity=True, instant_clone=False) as made:
        yield made


async def run(service: Service, name: str, **fields: Any) -> str:
    """Create and start a container; return its ID."""
    spec = container_pb2.ContainerSpec(image="busybox", name=name, **fields)
    create = exec_pb2.CreateRequest(spec=spec)
    made = (await service.exec.Create(create, wait_for_ready=True)).container
    await service.exec.Start(exec_pb2.StartRequest(reference=made.id))
    return str(made.id)


async def state(service: Service, container_id: str) -> str:
    """Return the word for a container's state."""
    got = await service.exec.Get(exec_pb2.GetRequest(reference=container_id))
    name = container_pb2.ContainerState.Name(got.container.status.state)
    return str(name).removeprefix("CONTAINER_STATE_")


async def properties(service: Service, container_id: str, *paths: str) -> dict[str, Any]:
    """Return properties of a container's VM."""
    vm = await service.machine(container_id)
    assert vm is not None
    ((_, told),) = await service.vcenter.call(
        lambda content: read(content, [vm], vim.VirtualMachine, paths)
    )
    return told


async def dies(service: Service, container_id: str, work: Any) -> float:
    """Do something to a container's VM; return the seconds until exec tells its end."""
    vm = await service.machine(container_id)
    watch = service.exec.WatchEvents(exec_pb2.WatchEventsRequest())
    events = aiter(watch)
    await anext(events)
    begun = time.monotonic()
    await work(vm)
    async with asyncio.timeout(SECONDS):
        async for response in events:
            event = response.event
            if event.container_id == container_id and event.kind == exec_pb2.EVENT_KIND_DIE:
                watch.cancel()
                return time.monotonic() - begun
    raise AssertionError("the events have ended")


async def test_a_container_lives_on_a_vcenter(service: Service) -> None:
    info = await service.exec.Info(exec_pb2.InfoRequest(), wait_for_ready=True)
    assert (info.driver, info.accelerator) == ("vsphere", "esxi")
    web = await run(service, "web")
    assert await state(service, web) == "RUNNING"
    told = await properties(service, web, "name", "runtime.powerState", "config.extraConfig")
    assert told["name"] == f"web-{web[:12]}"
    assert told["runtime.powerState"] == "poweredOn"

    # What its tether is told: who it is, by a certificate of its own, and where its disk is.
    frame = base64.b64decode(options(told["config.extraConfig"])[CONFIG])
    (body,) = FrameReader().feed(frame)
    config = parse_body(body)
    assert config.identity is not None
    assert config.container is not None
    assert config.identity.container_id == web
    assert config.identity.boot_id == service.facets.boots[web]
    assert config.container.root.device == "sda"
    port = service.facets.tether_port
    assert config.identity.management.endpoint == f"100.112.0.1:{port}"

    await service.exec.Pause(exec_pb2.PauseRequest(reference=web))
    assert (await properties(service, web, "runtime.powerState"))[
        "runtime.powerState"
    ] == "suspended"
    assert await state(service, web) == "PAUSED"
    await service.exec.Unpause(exec_pb2.UnpauseRequest(reference=web))
    assert await state(service, web) == "RUNNING"

    changes = container_pb2.Resources(cpu_shares=2048)
    await service.exec.Update(exec_pb2.UpdateRequest(reference=web, resources=changes))
    shares = (await properties(service, web, "config.cpuAllocation.shares"))[
        "config.cpuAllocation.shares"
    ]
    assert (shares.level, shares.shares) == ("custom", 2000)

    # It outlives exec, and exec finds it again.
    await service.end(Role.EXEC, kill=True)
    await service.start(Role.EXEC, "services.exec")
    await service.exec.Info(exec_pb2.InfoRequest(), wait_for_ready=True)
    assert await state(service, web) == "RUNNING"

    await service.exec.Stop(exec_pb2.StopRequest(reference=web, request_id="s"))
    assert await state(service, web) == "EXITED"
    # The tether was asked to power off.
    assert service.facets.powered_off == [web]
    await service.exec.Remove(exec_pb2.RemoveRequest(reference=web))
    assert await service.machine(web) is None
    assert json.dumps(service.facets.disks) == "{}"


async def migrate(service: Service, container_id: str) -> None:
    """Have a container's VM on another host."""
    hosts = await service.vcenter.call(
        lambda content: read_below(content, content.rootFolder, vim.HostSystem, ["name"])
    )
    former = (await properties(service, container_id, "runtime.host"))["runtime.host"]._GetMoId()
    other = next(host for host, _ in hosts if host._GetMoId() != former)
    vm = await service.machine(container_id)
    assert vm is not None
    await service.vcenter.finish(lambda _: vm.RelocateVM_Task(vim.vm.RelocateSpec(host=other)))


async def delete(service: Service, vm: vim.VirtualMachine) -> None:
    """Delete a VM as an administrator can who takes its protection away."""
    await service.vcenter.call(lambda content: methods.enable(content, vm))
    await service.vcenter.finish(lambda _: vm.PowerOffVM_Task())
    with suppress(NotFound):  # exec, which hears of its end, may be quicker.
        await service.vcenter.finish(lambda _: vm.Destroy_Task())


async def test_what_ha_restarts_elsewhere_is_found_and_its_container_starts_anew(
    service: Service,
) -> None:
    always = container_pb2.RestartPolicy(condition=container_pb2.RESTART_CONDITION_ALWAYS)
    web = await run(service, "web", restart_policy=always)
    former = await service.machine(web)
    boot = service.facets.boots[web]

    async def booted() -> bool:
        return "runtime.bootTime" in await properties(service, web, "runtime.bootTime")

    await until(service.vcenter, booted)

    async def host_fails(vm: vim.VirtualMachine) -> None:
        # As HA leaves it: on, on another host, and its guest has booted there.
        await migrate(service, web)
        await service.vcenter.finish(lambda _: vm.ResetVM_Task())

    assert await dies(service, web, host_fails) < SEEN_WITHIN

    async def runs_anew() -> bool:
        return await state(service, web) == "RUNNING" and service.facets.boots[web] != boot

    await until(service.vcenter, runs_anew)
    # The guest that HA started was nobody's: another VM is the container's now, and the only one.
    now = await service.machine(web)
    assert now is not None
    assert former is not None
    assert now._GetMoId() != former._GetMoId()
    got = await service.exec.Get(exec_pb2.GetRequest(reference=web))
    assert got.container.status.restart_count == 1
    found = await service.vcenter.call(
        lambda content: read_below(content, content.rootFolder, vim.VirtualMachine, ["name"])
    )
    assert [told["name"] for _, told in found].count(f"web-{web[:12]}") == 1
    await service.exec.Remove(exec_pb2.RemoveRequest(reference=web, force=True))


async def test_what_others_do_is_seen_at_once(service: Service) -> None:
    off, reset, deleted, moved = [
        await run(service, name) for name in ("off", "reset", "deleted", "moved")
    ]
    vcenter = service.vcenter

    # Others can't delete a container's VM, whose disks are others' as well.
    vm = await service.machine(deleted)
    assert vm is not None
    for method in (vm.Destroy_Task, vm.UnregisterVM):
        with pytest.raises(FailedPrecondition, match="MethodDisabled"):
            await vcenter.call(lambda _, method=method: method())  # type: ignore[misc]

    # DRS is told to keep them apart.
    async def all_apart() -> bool:
        return await apart(service) == {"off", "reset", "deleted", "moved"}

    await until(vcenter, all_apart)

    begun = time.monotonic()
    await migrate(service, moved)

    async def move_is_told() -> bool:
        return f"vCenter has moved moved-{moved[:12]} to host" in service.log(Role.EXEC)

    await until(vcenter, move_is_told)
    assert time.monotonic() - begun < SEEN_WITHIN

    async def power_off(vm: vim.VirtualMachine) -> None:
        await vcenter.finish(lambda _: vm.PowerOffVM_Task())

    async def reboot(vm: vim.VirtualMachine) -> None:
        await vcenter.finish(lambda _: vm.ResetVM_Task())

    async def removal(vm: vim.VirtualMachine) -> None:
        await delete(service, vm)

    for container_id, work in ((off, power_off), (reset, reboot), (deleted, removal)):
        assert await dies(service, container_id, work) < SEEN_WITHIN
        assert await state(service, container_id) == "EXITED"
    # One that was moved runs on, and is followed where it is now.
    assert await state(service, moved) == "RUNNING"
    assert await dies(service, moved, power_off) < SEEN_WITHIN

    # A VM that was reset has lost its container, and goes.
    async def gone() -> bool:
        return await service.machine(reset) is None

    await until(vcenter, gone)
    for container_id in (off, reset, deleted, moved):
        remove = exec_pb2.RemoveRequest(reference=container_id, force=True)
        await service.exec.Remove(remove)
    # A container whose VM is gone starts again.
    again = await run(service, "deleted")
    assert await state(service, again) == "RUNNING"
    await service.exec.Remove(exec_pb2.RemoveRequest(reference=again, force=True))


async def apart(service: Service) -> set[str]:
    """Return the names of the containers that DRS keeps apart."""
    found = await service.vcenter.call(
        lambda content: read_below(
            content, content.rootFolder, vim.ClusterComputeResource, ["configurationEx"]
        )
    )
    rules = [
        rule
        for _, told in found
        for rule in told["configurationEx"].rule or []
        if rule.name == f"vic-{service.instance_id}-apart"
    ]
    if not rules:
        return set()
    names = await service.vcenter.call(
        lambda content: read(content, rules[0].vm, vim.VirtualMachine, ["name"])
    )
    return {told["name"].rpartition("-")[0] for _, told in names}


async def test_containers_are_cloned_once_a_host_has_a_frozen_parent(own: Simulator) -> None:
    async with exec_service(own) as service:
        vcenter = service.vcenter
        first = await run(service, "first")
        got = (await service.exec.Get(exec_pb2.GetRequest(reference=first))).container
        assert got.status.start_kind == container_pb2.START_KIND_COLD_BOOT
        parents = await freeze_parents(service, 3)

        second = await run(service, "second")
        got = (await service.exec.Get(exec_pb2.GetRequest(reference=second))).container
        assert got.status.start_kind == container_pb2.START_KIND_INSTANT_CLONE
        told = await properties(
            service, second, "config.hardware.device", "config.extraConfig", "runtime.powerState"
        )
        devices = told["config.hardware.device"]
        disks = [d.backing for d in devices if isinstance(d, vim.vm.device.VirtualDisk)]
        assert [getattr(backing, "fileName", "") for backing in disks] == [
            f"[LocalDS_0] {second[:12]}.vmdk"
        ]
        cards = [d for d in devices if isinstance(d, vim.vm.device.VirtualEthernetCard)]
        # Management first; connected from the moment that the VM is on.
        macs = [e.mac_address for e in service.facets.reservations[second]]
        assert [card.macAddress for card in cards] == macs
        assert all(getattr(card.connectable, "startConnected", False) for card in cards)
        assert CONFIG in options(told["config.extraConfig"])

        # A parent that can't be cloned is given up, and the container boots.
        for parent in parents:
            await vcenter.finish(lambda _, parent=parent: parent.PowerOffVM_Task())  # type: ignore[misc]
        third = await run(service, "third")
        assert await state(service, third) == "RUNNING"
        for container_id in (first, second, third):
            remove = exec_pb2.RemoveRequest(reference=container_id, force=True)
            await service.exec.Remove(remove)


async def freeze_parents(service: Service, count: int) -> list[vim.VirtualMachine]:
    """Let the guests of the parents, of which there is one a host, freeze themselves."""
    prefix = f"vic-{service.instance_id}-parent-"
    parents: list[vim.VirtualMachine] = []

    async def all_on() -> bool:
        paths = ["name", "runtime.powerState"]
        found = await service.vcenter.call(
            lambda content: read_below(content, content.rootFolder, vim.VirtualMachine, paths)
        )
        parents[:] = [
            vm
            for vm, told in found
            # One that is being made has neither yet.
            if told.get("name", "").startswith(prefix)
            and told.get("runtime.powerState") == "poweredOn"
        ]
        return len(parents) == count

    await until(service.vcenter, all_on)
    frozen = vim.option.OptionValue(key="SET.runtime.instantCloneFrozen", value=True)
    for vm in parents:
        await service.vcenter.finish(
            lambda _, vm=vm: vm.ReconfigVM_Task(vim.vm.ConfigSpec(extraConfig=[frozen]))  # type: ignore[misc]
        )
    return parents
