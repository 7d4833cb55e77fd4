"""Fixtures: a registry with Debian's own server, and the storage service."""

import os
import shutil
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.images import Registry
from tests.integration.storage.service import Service, run, storage_service


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    """A registry for the whole run."""
    if shutil.which("docker-registry") is None:
        pytest.skip("needs docker-registry")
    with Registry() as registry:
        yield registry


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """A fresh storage service."""
    async with storage_service() as service:
        yield service


@pytest.fixture
def address() -> Iterator[str]:
    """An address of this host that isn't loopback's own, of the range for tests of networks."""
    address = f"198.18.{os.getpid() // 250 % 250}.{os.getpid() % 250 + 1}"
    run("ip", "address", "add", f"{address}/32", "dev", "lo")
    yield address
    run("ip", "address", "delete", f"{address}/32", "dev", "lo")
