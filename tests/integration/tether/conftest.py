"""What the tether's tests share: a bootstrap image, an authority, one VM for many processes."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.integration.tether.authority import Authority
from tests.integration.tether.interaction import Interaction, serve
from tests.integration.tether.machine import (
    Machine,
    cache_directory,
    configuration,
    machine,
    make_disk,
    make_tree,
)
from tether.bootstrap.image import BootstrapImage, build


@pytest.fixture(scope="session")
def image() -> BootstrapImage:
    """The bootstrap image of this tree."""
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("there is no qemu-system-x86_64 here")
    return build(cache_directory())


@pytest.fixture(scope="session")
def authority() -> Authority:
    """Certificates for all tests."""
    return Authority()


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A container's disk of its own."""
    return make_disk(tmp_path, make_tree(tmp_path / "tree"))


@dataclass(frozen=True)
class RunningContainer:
    """A VM with a container that runs."""

    interaction: Interaction
    machine: Machine


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(
    image: BootstrapImage, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningContainer]:
    """One VM for a whole module; its init process waits for ever."""
    directory = tmp_path_factory.mktemp("running")
    disk = make_disk(directory, make_tree(directory / "tree"))
    async with (
        serve(authority) as (interaction, port),
        machine(image, directory / "vm", disk) as vm,
    ):
        assert (await vm.line())["event"] == "ready"
        await vm.configure(configuration(authority, port))
        assert (await vm.line())["event"] == "configured"
        await interaction.launch("sh", "-c", "while :; do sleep 1000; done")
        await interaction.wait("started", "init")
        yield RunningContainer(interaction, vm)
