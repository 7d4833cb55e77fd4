"""A running interaction service."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.interaction.suite import Suite
from tests.unit.portlayer.conftest import TestAuthority


@pytest.fixture(scope="session")
def authority() -> TestAuthority:
    """One authority for all tests."""
    return TestAuthority()


@pytest.fixture
async def suite(authority: TestAuthority, tmp_path: Path) -> AsyncIterator[Suite]:
    """A service that runs."""
    suite = Suite(authority, tmp_path)
    await suite.start()
    yield suite
    await suite.close()
