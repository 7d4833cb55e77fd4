"""Two replicas of exec on one vCenter and one PostgreSQL, as far as the driver is concerned."""

import secrets
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from portlayer.store import Store, open_store
from portlayer.vsphere.session import VCenter
from services.exec.drivers import MachineSpec
from services.exec.drivers.vsphere.driver import VsphereHypervisor
from services.exec.drivers.vsphere.hardware import machine_name
from services.exec.store import MIGRATIONS
from tests.integration.vsphere.hypervisor import (
    PLACE,
    caught_up,
    end_of,
    ended,
    machine,
    running,
    vm_of,
)
from tests.integration.vsphere.others import Issuer, find_vm
from tests.vcenter import Simulator


@pytest.fixture
async def stores(database: str) -> AsyncIterator[list[Store]]:
    """The way of each replica to the database."""
    made = [await open_store(database, MIGRATIONS) for _ in range(2)]
    yield made
    for store in made:
        await store.close()


@pytest.fixture
async def replicas(
    simulated: Simulator, stores: list[Store]
) -> AsyncIterator[tuple[VsphereHypervisor, VsphereHypervisor]]:
    """The drivers of one instance."""
    instance_id = secrets.token_hex(4)
    one, other = (
        VsphereHypervisor(
            VCenter(simulated.target()),
            PLACE,
            instance_id,
            cast(Any, Issuer(instance_id)),
            store.neighbours,
        )
        for store in stores
    )
    await one.open()
    await other.open()
    yield one, other
    for left in await one.inventory():
        await one.destroy(left.container_id)
    await one.close()
    await other.close()


async def forget(driver: VsphereHypervisor) -> None:
    """Forget all ends that are told, as exec does when they are on record."""
    async for position, exited in driver.exits(0):
        await driver.forget_exits(position)
        if exited is None:
            return


async def made_by_one(
    one: VsphereHypervisor, other: VsphereHypervisor, vcenter: VCenter
) -> MachineSpec:
    """A VM that one replica has made, and not let run, of which the other has been told."""
    made = machine()
    await one.create(made)
    await caught_up(other, vcenter)
    return made


async def test_a_vm_that_one_is_about_to_let_run_the_other_leaves_alone(
    replicas: tuple[VsphereHypervisor, VsphereHypervisor], vcenter: VCenter
) -> None:
    one, other = replicas
    made = await made_by_one(one, other, vcenter)
    assert made.container_id not in await ended(other)
    await forget(other)
    await one.load(made.container_id, made.boot_id)
    await one.run(made.container_id, made.boot_id)
    await caught_up(other, vcenter)
    assert made.container_id not in await ended(other)
    assert (made.container_id, made.boot_id) in await running(other)
    # Its end both hear of.
    vm = await vm_of(vcenter, made)
    await vcenter.finish(lambda _: vm.PowerOffVM_Task())
    for driver in replicas:
        assert (await end_of(driver, made))[1].detail == "powered off"


async def test_a_vm_that_a_dead_one_has_not_let_run_the_other_removes(
    replicas: tuple[VsphereHypervisor, VsphereHypervisor], vcenter: VCenter, stores: list[Store]
) -> None:
    one, other = replicas
    made = await made_by_one(one, other, vcenter)
    assert made.container_id not in await ended(other)
    # PostgreSQL takes back what a dead process had.
    await stores[0].close()
    await end_of(other, made)
    await forget(other)
    assert await find_vm(vcenter, machine_name(made)) is None
