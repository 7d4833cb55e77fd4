"""What replicas of exec leave to one another on vSphere."""

import asyncio
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from pyVmomi import vim

from portlayer.errors import Unavailable
from portlayer.vsphere.identity import Identity
from services.exec.drivers.shapes import ShapeClass
from services.exec.drivers.vsphere import driver as of_driver
from services.exec.drivers.vsphere.claims import Claims
from services.exec.drivers.vsphere.driver import VsphereHypervisor
from services.exec.drivers.vsphere.found import OFF, ON, PARENT, Found
from services.exec.drivers.vsphere.parents import Parents
from services.exec.drivers.vsphere.settings import PlaceSettings

PLACE = PlaceSettings(
    folder="/DC0/vm",
    resource_pool="/DC0/host/DC0_C0/Resources",
    datastore="LocalDS_0",
    bootstrap="[LocalDS_0] a.iso",
)
SMALL, LARGE = ShapeClass(256, 1), ShapeClass(1024, 2)
MACHINE = Identity("0a1b2c3d", "c" * 64, "b" * 32)


class Others:
    """Stands for a database on which names may be taken by another process."""

    def __init__(self, *, alone: bool = False) -> None:
        self.alone = alone
        self.taken: set[str] = set()
        self.held: set[str] = set()

    @asynccontextmanager
    async def turn(self, name: str) -> Any:
        if name in self.taken:
            await asyncio.Event().wait()
        self.held.add(name)
        yield 1
        self.held.discard(name)


class Machines:
    """An inventory of parents; what is removed is noted."""

    def __init__(self) -> None:
        self.there: list[Found] = []

    def parents(self) -> list[Found]:
        return self.there


class Keeper(Parents):
    """Makes none, and notes which it would remove."""

    def __init__(self, machines: Machines, others: Others, place: PlaceSettings = PLACE) -> None:
        super().__init__(cast(Any, None), cast(Any, machines), place, "0a1b2c3d", cast(Any, others))
        self.removed: list[str] = []

    async def _make_of(self, shape: ShapeClass) -> None:
        """Nothing."""

    async def _remove(self, parent: Found) -> None:
        self.removed.append(parent.name)


def parent(of: Keeper, shape: ShapeClass, power: Any = ON) -> Found:
    key = of._key(shape)
    return Found(vim.VirtualMachine("vm-1"), name=key, power=power, options={PARENT: key})


async def removed_by(seen: Keeper) -> list[str]:
    seen.prepare(SMALL)
    assert seen._making is not None
    await seen._making
    return seen.removed


async def test_a_replica_keeps_parents_of_sizes_that_another_one_was_asked_for() -> None:
    machines, others = Machines(), Others()
    one, other = Keeper(machines, others), Keeper(machines, others)
    machines.there = [parent(other, LARGE)]
    assert await removed_by(one) == []
    # One that is off is half made, and another medium's are of no use to anybody.
    former = Keeper(machines, others, PLACE.model_copy(update={"bootstrap": "[LocalDS_0] b.iso"}))
    machines.there = [parent(other, LARGE, OFF), parent(former, SMALL)]
    names = [found.name for found in machines.there]
    assert await removed_by(one) == names


async def test_the_only_process_removes_parents_of_sizes_it_was_not_asked_for() -> None:
    machines, others = Machines(), Others(alone=True)
    one = Keeper(machines, others)
    machines.there = [parent(one, LARGE)]
    assert await removed_by(one) == [machines.there[0].name]


async def test_one_boot_that_stays_claimed_does_not_hold_up_another() -> None:
    others = Others()
    others.taken.add("slow")
    claims = Claims(cast(Any, others))
    slow = asyncio.create_task(claims.released("slow"))
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await claims.released("quick")
    slow.cancel()
    await asyncio.gather(slow, return_exceptions=True)


@pytest.mark.parametrize("boot_id", ["", MACHINE.boot_id])
async def test_a_boot_that_cannot_be_removed_is_claimed_no_more(
    boot_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = Others()
    driver = VsphereHypervisor(
        cast(Any, None), PLACE, MACHINE.instance_id, cast(Any, None), cast(Any, others)
    )

    async def fail(*_: object) -> None:
        raise Unavailable("vCenter is away")

    async def find(*_: object) -> Found:
        return Found(vim.VirtualMachine("vm-1"), power=OFF, identity=MACHINE)

    monkeypatch.setattr(of_driver, "remove", fail)
    monkeypatch.setattr(driver._inventory, "of", find)
    driver._inventory.expect(MACHINE.boot_id)
    await driver._claims.claim(MACHINE.boot_id)
    assert others.held == {MACHINE.boot_id}
    with pytest.raises(Unavailable):
        await driver.destroy(MACHINE.container_id, boot_id)
    assert not others.held
    assert MACHINE.boot_id not in driver._inventory._waiting
