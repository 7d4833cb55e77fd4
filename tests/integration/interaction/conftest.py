"""The interaction service, and the agent of a tether without its machine."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from portlayer.identity import Role
from tests.integration.interaction.supervisor import PlainSupervisor
from tests.ports import free_port
from tests.unit.interaction.fake_tether import BOOT
from tests.unit.interaction.suite import CONTAINER, Suite
from tests.unit.portlayer.conftest import TestAuthority


class TcpSuite(Suite):
    """Serves tethers on a TCP port, since an agent dials nothing else."""

    def __init__(self, authority: TestAuthority, directory: Path) -> None:
        super().__init__(authority, directory)
        self._port = free_port()

    @property
    def tether_address(self) -> str:
        """Where tethers go."""
        return f"127.0.0.1:{self._port}"

    def supervisor(self) -> PlainSupervisor:
        """Return the supervisor of a container."""
        credentials = self.credentials(Role.TETHER, CONTAINER)
        return PlainSupervisor(credentials, self.tether_address, BOOT)


@pytest.fixture(scope="session")
def authority() -> TestAuthority:
    """One authority for all tests."""
    return TestAuthority()


@pytest.fixture
async def suite(authority: TestAuthority, tmp_path: Path) -> AsyncIterator[TcpSuite]:
    """A service that runs."""
    suite = TcpSuite(authority, tmp_path)
    await suite.start()
    yield suite
    await suite.close()
