"""Fixtures: a registry with Debian's own server, and the storage service."""

import shutil
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.images import Registry
from tests.integration.storage.service import Service, storage_service


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
