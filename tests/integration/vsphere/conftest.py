"""One vCenter for all tests that don't break it."""

import asyncio
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from portlayer.vsphere.session import VCenter
from services.exec.drivers.vsphere.driver import VsphereHypervisor
from tests.integration.vsphere.hypervisor import PLACE, new_driver
from tests.integration.vsphere.others import put_bootstrap
from tests.vcenter import Simulator, simulator


@pytest.fixture(scope="session")
def simulated() -> Iterator[Simulator]:
    """A vCenter with a cluster of three hosts, two datastores and two port groups."""
    with simulator() as running:
        asyncio.run(_prepare(running))
        yield running


async def _prepare(running: Simulator) -> None:
    session = VCenter(running.target())
    await session.open()
    await put_bootstrap(session)
    await session.close()


@pytest.fixture
async def vcenter(simulated: Simulator) -> AsyncIterator[VCenter]:
    """A session there."""
    session = VCenter(simulated.target())
    await session.open()
    yield session
    await session.close()


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory with a short path: that of a socket in a data directory has bounds."""
    with tempfile.TemporaryDirectory(prefix="vic-") as name:
        yield Path(name)


@pytest.fixture
def medium(short_path: Path) -> Path:
    """What stands for a boot medium."""
    path = short_path / "boot.iso"
    path.write_bytes(b"boot" * 1000)
    return path


@pytest.fixture
async def hypervisor(simulated: Simulator) -> AsyncIterator[VsphereHypervisor]:
    """The driver, of an instance of its own."""
    driver = new_driver(simulated, PLACE, secrets.token_hex(4))
    await driver.open()
    yield driver
    for machine in await driver.inventory():
        await driver.destroy(machine.container_id)
    await driver.close()
